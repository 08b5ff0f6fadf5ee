"""A first run in a child process: its crash, its hang and its memory are errors."""

import builtins
import importlib
import os
import signal
import sys
import threading
import time

import pytest
import trial_runs
from processes import run_python

from asc_tf.core.errors import UserError
from asc_tf.edge import trial, trial_child


@pytest.fixture(autouse=True)
def no_child_is_left(monkeypatch):
    monkeypatch.setattr(trial, "_succeeded", set())
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_run_that_succeeds_says_nothing_and_is_not_repeated(capfd, monkeypatch):
    trial.run_trial(trial_runs.print_text, b"model")
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys, "executable", "/nowhere")
    trial.run_trial(trial_runs.print_text, b"model")
    for run, content in (
        (trial_runs.print_text, b"other"),
        (trial_runs.refuse, b"model"),
    ):
        with pytest.raises(UserError, match="that tries the model cannot be started"):
            trial.run_trial(run, content)


def test_the_message_of_a_refusal_comes_through():
    with pytest.raises(UserError, match=r"^the métro is closed$"):
        trial.run_trial(trial_runs.refuse, b"")


def test_crashes_and_other_failures_are_named(capfd):
    for number in (signal.SIGSEGV, signal.SIGABRT):
        message = rf"LiteRT crashes on the model \({number.name}\); export it again"
        with pytest.raises(UserError, match=message):
            trial.run_trial(trial_runs.end, b"", number)
    with pytest.raises(UserError, match=r"was killed, perhaps because memory was full"):
        trial.run_trial(trial_runs.end, b"", signal.SIGKILL)
    with pytest.raises(UserError, match=r"crashes on the model \(exit code 0x3\)"):
        trial.run_trial(trial_runs.leave, b"")
    with pytest.raises(UserError, match=r"fails on the model \(ZeroDivisionError"):
        trial.run_trial(trial_runs.divide, b"")
    assert capfd.readouterr() == ("", "")


def test_a_process_that_does_not_start_is_named(monkeypatch):
    monkeypatch.setattr(trial, "MODULE", "asc_tf.edge.absent")
    with pytest.raises(UserError, match=r"ended before it loaded .*No module named"):
        trial.run_trial(trial_runs.divide, b"")


def test_a_run_without_an_end_is_stopped(monkeypatch):
    message = "did not load the model and classify two segments within 0 s"
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(UserError, match=message):
        trial.run_trial(trial_runs.hang, b"")
    # Without the limit that the process sets for itself, as on Windows.
    monkeypatch.setattr(trial, "_run_child", run_with_little_time(trial._run_child))
    with pytest.raises(UserError, match=message):
        trial.run_trial(trial_runs.hang, b"")
    assert time.monotonic() - began < 60


def run_with_little_time(run_child):
    def run(job, content):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trial, "START_SECONDS", 0.0)
            run_child(job.replace('"seconds": 0.3', '"seconds": 600'), content)

    return run


@pytest.mark.parametrize("run", [trial_runs.reserve_memory, trial_runs.use_memory])
def test_a_run_that_needs_much_memory_is_refused(run, monkeypatch):
    monkeypatch.setattr(trial, "MAX_MEMORY", 2**27)
    message = r"fails on the model \(it needs more than 0.125 GiB\)"
    with pytest.raises(UserError, match=message):
        trial.run_trial(run, b"")
    monkeypatch.setattr(trial, "MAX_MEMORY", 2**30)
    trial.run_trial(run, b"")


def test_locks_that_other_threads_hold_do_not_reach_the_trial(monkeypatch):
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 20.0)
    monkeypatch.setattr(trial_runs, "LOCK", threading.Lock(), raising=False)
    with trial_runs.LOCK:
        trial.run_trial(trial_runs.take_lock, b"")


def test_nothing_of_it_needs_what_windows_lacks(monkeypatch):
    original = builtins.__import__

    def import_without(name, *given):
        if name == "resource":
            raise ModuleNotFoundError(name)
        return original(name, *given)

    monkeypatch.setattr(builtins, "__import__", import_without)
    monkeypatch.delattr(os, "fork")
    monkeypatch.delattr(signal, "SIGALRM")
    for module in (trial, trial_child):
        importlib.reload(module)
    trial_child._limit_time(1)
    trial_child._limit_memory(2**30)


def test_modules_of_the_working_directory_are_not_imported(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('of a stranger')")
    code = (
        "import sys; sys.path.remove(''); sys.path[:0] = sys.argv[1:]; "
        "import trial_runs; from asc_tf.edge.trial import run_trial; "
        "run_trial(trial_runs.print_text, b'model')"
    )
    folders = [os.path.dirname(trial_runs.__file__), *sys.path]
    done = run_python(code, *folders, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
