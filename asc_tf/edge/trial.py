"""A first run of a model in a child process, which may crash or hang.

A .tflite can hold settings that a kernel of LiteRT does not survive (a stride of 0, a
loop without end), and no check of the file knows them all. So another process runs a
model once before this one does. It is a new interpreter and no copy made by `fork`: a
copy would keep locks that other threads hold, those of TensorFlow or NumPy for example.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable

from asc_tf.core.child_process import name_signal, remove_secrets
from asc_tf.core.errors import UserError
from asc_tf.core.files import hash_bytes

TRIAL_SECONDS = 30.0
"""Time that a first run may take."""

START_SECONDS = 60.0
"""Time that the start of the process may take besides."""

MAX_MEMORY = 2**30
"""Bytes of memory by which a first run may make the process grow."""

MODULE = "asc_tf.edge.trial_child"
"""Module that the child process runs."""

_TIME_SIGNAL = "SIGALRM"
"""Signal that ends a child whose time is over."""

_succeeded: set[tuple[str, str]] = set()


def run_trial(run: Callable[..., object], content: bytes, *settings: object) -> None:
    """Run a function in another process, and discard what it does.

    What has succeeded once in this process is not tried again.

    Args:
        run: Function of a module, which loads and runs the model. It is called with the
            content and the settings.
        content: The flatbuffer of the model.
        settings: Values that JSON can hold.

    Raises:
        UserError: If it raises UserError (with its message), crashes, takes more than
            `TRIAL_SECONDS`, or needs more than `MAX_MEMORY`; or if the process cannot
            be started.
    """
    job = {
        "function": [run.__module__, run.__qualname__],
        "settings": settings,
        "seconds": TRIAL_SECONDS,
        "memory": MAX_MEMORY,
    }
    key = json.dumps(job), hash_bytes(content)
    if key not in _succeeded:
        _run_child(key[0], content)
        _succeeded.add(key)


def _run_child(job: str, content: bytes) -> None:
    # The modules of this process, and none from the working directory.
    start = (
        "import sys; sys.path[:] = sys.argv[2:]; "
        f"from {MODULE} import main; main(sys.argv[1])"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", start, job, *map(str, sys.path)],
            input=content,
            env=remove_secrets(os.environ),
            capture_output=True,
            timeout=TRIAL_SECONDS + START_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(_describe_delay()) from error
    except OSError as error:
        raise UserError(
            f"the process that tries the model cannot be started ({error})"
        ) from error
    name = name_signal(done.returncode) if done.returncode < 0 else ""
    if name == "SIGKILL":
        raise UserError(
            "the process that tries the model was killed, perhaps because memory was "
            "full (a service has the limit MemoryMax)"
        )
    answer = done.stdout.decode(errors="replace").strip().split("\n")
    if answer[0] != "ready":
        lines = done.stderr.decode(errors="replace").strip().split("\n")
        raise UserError(
            f"the process that tries the model ended before it loaded the model "
            f"({lines[-1] or f'exit code {done.returncode}'})"
        )
    if name:
        if name == _TIME_SIGNAL:
            raise UserError(_describe_delay())
        raise UserError(f"LiteRT crashes on the model ({name}); export it again")
    if len(answer) < 2:
        code = done.returncode
        raise UserError(f"LiteRT crashes on the model (exit code {code:#x})")
    result = json.loads(answer[1])
    if "refused" in result:
        raise UserError(result["refused"])
    if "failed" in result:
        raise UserError(
            f"LiteRT fails on the model ({result['failed']}); export it again"
        )


def _describe_delay() -> str:
    return (
        "LiteRT did not load the model and classify two segments within "
        f"{TRIAL_SECONDS:.0f} s"
    )
