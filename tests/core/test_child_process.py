"""How a process ended, in words, and limits of a process."""

import json
import subprocess
import sys

import pytest

from asc_tf.core.child_process import describe_end, name_signal, remove_secrets


@pytest.mark.parametrize(
    ("code", "name", "text"),
    [
        (0, "", "exit code 0"),
        (3, "", "exit code 3"),
        (-11, "SIGSEGV", "ended by SIGSEGV"),
        (-9, "SIGKILL", "ended by SIGKILL, perhaps because memory was full"),
        (-40, "signal 40", "ended by signal 40"),
    ],
)
def test_the_end_of_a_process_is_described(code, name, text):
    assert (name_signal(code), describe_end(code)) == (name, text)


def test_a_limit_is_lowered_and_never_raised():
    resource = pytest.importorskip("resource")
    code = (
        "import json, resource\n"
        "from asc_tf.core.child_process import lower_limits\n"
        "limits = []\n"
        "for value in (4000, 5000, 3000):\n"
        "    lower_limits(RLIMIT_FSIZE=value)\n"
        "    limits.append(resource.getrlimit(resource.RLIMIT_FSIZE)[0])\n"
        "print(json.dumps(limits))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    assert usual == resource.RLIM_INFINITY or usual >= 4000
    assert json.loads(done.stdout) == [4000, 4000, 3000]


def test_secrets_are_not_for_child_processes():
    names = ("MQTT_PASSWORD", "SOURCE_PASSWORD", "SERVE_TOKEN")
    given = {"PATH": "/bin"} | {f"ASC_TF_{name}": "secret" for name in names}
    assert remove_secrets(given) == {"PATH": "/bin"}
