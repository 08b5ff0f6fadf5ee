import contextlib
import os
import subprocess
import sys

import pytest

from asc_tf.core import tensorflow_start

NOTES = (
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    "WARNING: All log messages before absl::InitializeLog() is called are written\n"
    "I0000 00:00:1795219478.666869   13565 port.cc:153] oneDNN custom operations\n"
)
PROBLEMS = (
    "E0000 00:00:1795219478.666869   13565 cuda.cc:31] no memory\n"
    "INFORMATION: kept\n"
    "WARNING: kept\n"
)


def python(code, **changes):
    env = os.environ | changes
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env=env | changes,
    )


def test_notes_are_left_out_and_problems_are_passed_on(capfd):
    with tensorflow_start.suppress_notes():
        os.write(2, (NOTES + PROBLEMS).encode())
    os.write(2, b"after\n")
    assert capfd.readouterr().err == PROBLEMS + "after\n"


def test_what_was_said_before_an_exception_is_passed_on(capfd):
    with pytest.raises(KeyError), tensorflow_start.suppress_notes():
        os.write(2, (NOTES + PROBLEMS).encode())
        raise KeyError
    assert capfd.readouterr().err == PROBLEMS


def test_two_threads_that_load_at_once_leave_stderr_as_it_was(capfd):
    before = os.fstat(2)
    first, second = tensorflow_start.suppress_notes(), tensorflow_start.suppress_notes()
    with contextlib.ExitStack() as loads:
        with first:
            loads.enter_context(second)
            os.write(2, b"within both\n")
        os.write(2, b"within the second\n")
    assert os.path.samestat(os.fstat(2), before)
    with tensorflow_start.suppress_notes():
        os.write(2, NOTES.encode())
    assert capfd.readouterr().err == "within both\nwithin the second\n"


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_a_full_disk_does_not_end_the_load_of_a_model(monkeypatch, has_memory_files):
    def refuse(*_args, **_options):
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tensorflow_start.tempfile, "TemporaryFile", refuse)
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    before = len(os.listdir("/proc/self/fd"))
    with tensorflow_start.suppress_notes():
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_tensorflow_says_nothing():
    code = (
        "from asc_tf.core.tensorflow_start import prepare_tensorflow\n"
        "prepare_tensorflow()\n"
        "import keras, tensorflow as tf; tf.zeros([2]) + 1"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


def fake_tensorflow(folder, text):
    (folder / "tensorflow.py").write_text(
        f"import os\nos.write(2, {text.encode()!r})\n"
    )
    return str(folder)


@pytest.mark.parametrize(("level", "expected"), [("3", ""), ("1", ""), ("0", NOTES)])
@pytest.mark.parametrize("first", ["tensorflow", "another"])
def test_notes_of_the_import_are_shown_only_to_who_asks_for_them(
    tmp_path, first, level, expected
):
    path = fake_tensorflow(tmp_path, NOTES)
    (tmp_path / "another.py").write_text("from tensorflow import os")
    code = (
        f"import sys; sys.path.insert(0, {path!r})\n"
        "from asc_tf.core.tensorflow_start import prepare_tensorflow\n"
        "prepare_tensorflow(); prepare_tensorflow()\n"
        f"import {first}, tensorflow; print(tensorflow.__file__)"
    )
    done = python(code, TF_CPP_MIN_LOG_LEVEL=level)
    assert (done.returncode, done.stderr) == (0, expected)
    assert done.stdout.startswith(path)


def test_a_tensorflow_that_does_not_load_says_why(tmp_path):
    path = tmp_path / "tensorflow.py"
    path.write_text("raise ImportError('no such symbol')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from asc_tf.core.tensorflow_start import prepare_tensorflow\n"
        "prepare_tensorflow()\n"
        "import tensorflow"
    )
    done = python(code)
    assert done.stderr.endswith("ImportError: no such symbol\n")


@pytest.mark.parametrize(
    ("quota", "given", "threads"), [(3, "", "3"), (8, "", None), (3, "5", "5")]
)
def test_threads_of_tensorflow_are_bounded_by_the_quota_of_a_container(
    monkeypatch, quota, given, threads
):
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = {name: given for name in names if given}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(tensorflow_start, "count_processors", lambda: quota)
    monkeypatch.setattr(tensorflow_start, "count_schedulable", lambda: 8)
    tensorflow_start.prepare_tensorflow()
    assert [environment.get(name) for name in names] == [threads, threads]
