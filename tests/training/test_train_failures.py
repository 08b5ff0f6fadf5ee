"""What stops a run, and that it goes on as if nothing had been."""

import errno
import gc
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from processes import start_interruptible
from test_train import assert_same_run

from asc_tf import cli
from asc_tf.config import Config
from asc_tf.core import files
from asc_tf.core.errors import UserError
from asc_tf.core.files import write_text
from asc_tf.training import checkpoint, fit, tensorboard
from asc_tf.training.model_file import load_whole
from asc_tf.training.train import train
from asc_tf.training.trainer import Trainer
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    folder = tiny.write_features(tmp_path_factory.mktemp("features") / "stored")
    # A rate with which each epoch is better than the one before.
    return tiny.features_config(folder, train__learning_rate=0.03)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> Workdir:
    """A run that nothing stopped."""
    workdir = Workdir(tmp_path_factory.mktemp("whole") / "run")
    train(config, workdir)
    return workdir


def hidden_files(workdir: Workdir) -> list[str]:
    return [
        path.name for path in workdir.path.rglob(".*") if path.name not in (".lock",)
    ]


def break_weight(monkeypatch, find, step, is_behind=False):
    """Make a weight NaN before a step, counted from 0, or behind it."""
    made = Trainer.make_train_function

    def broken(self, force=False):
        function, count = made(self, force), iter(range(10**6))

        def train_function(iterator):
            factor = np.nan if next(count) == step else 1.0
            logs = function(iterator) if is_behind else None
            find(self.body).assign(factor * find(self.body))
            return logs or function(iterator)

        self.train_function = train_function
        return train_function

    monkeypatch.setattr(Trainer, "make_train_function", broken)


def assert_first_epoch_is_kept(workdir):
    assert [row["epoch"] for row in tiny.history(workdir)] == [1]
    for variable in load_whole(workdir.model_file).variables:
        assert np.isfinite(variable.numpy()).all()


def test_a_loss_that_is_not_finite_stops_in_that_step_and_keeps_what_was(
    config, whole, tmp_path, monkeypatch
):
    workdir = Workdir(tmp_path / "run")
    # An epoch has 3 steps: it is in the second of the second one.
    break_weight(monkeypatch, lambda body: body.get_layer("logits").kernel, 4)
    with pytest.raises(UserError) as caught:
        train(config, workdir)
    message = str(caught.value)
    assert "not finite in step 2 of epoch 2, at learning rate 0.0" in message
    assert f"{workdir.checkpoint_file} holds epoch 1" in message
    assert "train.clip_norm" in message
    assert_first_epoch_is_kept(workdir)
    monkeypatch.undo()
    train(config, workdir)
    assert_same_run(whole, workdir)


@pytest.mark.slow
def test_an_interrupt_just_after_a_checkpoint_counts_its_epoch(
    config, whole, tmp_path, monkeypatch
):
    workdir, replace = Workdir(tmp_path / "run"), os.replace

    def replace_and_interrupt(source, target):
        replace(source, target)
        if Path(target) == workdir.checkpoint_file and len(tiny.history(workdir)) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace_and_interrupt)
    with pytest.raises(UserError, match="interrupted; 2 of 3 epochs are saved"):
        train(config, workdir)
    monkeypatch.undo()
    train(config, workdir)
    assert_same_run(whole, workdir)


def test_weights_that_are_not_finite_are_never_kept_where_pooling_hides_them(
    config, tmp_path, monkeypatch
):
    network = {"model.name": "esa3_cnn", "model.filters": (2, 2, 2), "model.units": 2}
    config = config.replace(network)
    workdir = Workdir(tmp_path / "run")
    # Behind the last step of the second epoch.
    break_weight(monkeypatch, lambda body: body.trainable_variables[0], 5, True)
    with pytest.raises(UserError, match="a weight is not finite at the end of epoch 2"):
        train(config, workdir)
    assert_first_epoch_is_kept(workdir)
    monkeypatch.undo()
    train(config, workdir)
    assert [row["epoch"] for row in tiny.history(workdir)] == [1, 2, 3]


def test_a_rate_that_is_far_too_high_ends_with_a_message(config, tmp_path):
    changes = {
        "train.optimizer": "sgd",
        "train.learning_rate": 100.0,
        "train.warmup_epochs": 0.0,
        "train.weight_decay": 10.0,
        "train.batch_size": 2,
    }
    with pytest.raises(UserError, match=r"not finite in step .*so nothing is saved"):
        train(config.replace(changes), Workdir(tmp_path / "run"))


def full(path: Path) -> None:
    """What a writer does on a disk that fills up."""
    path.write_bytes(b"the beginning")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.mark.parametrize(
    "name", tiny.cases(["model.keras", "latest.npz", "history.csv"], "latest.npz")
)
def test_a_full_disk_stops_the_run_and_harms_neither_checkpoint_nor_best_model(
    config, whole, tmp_path, monkeypatch, name
):
    workdir = Workdir(tmp_path / "run")
    stem = name.split(".")[0]
    writes = iter(range(10**6))

    def filling(write, place):
        def written(*arguments, **named):
            path = Path(arguments[place])
            # The second time: the first epoch was kept.
            if path.name.startswith(f".{stem}.") and next(writes) == 1:
                full(path)
            return write(*arguments, **named)

        return written

    monkeypatch.setattr(keras.Model, "save", filling(keras.Model.save, 1))
    monkeypatch.setattr(checkpoint, "write_npz", filling(checkpoint.write_npz, 0))
    monkeypatch.setattr(Path, "write_text", filling(Path.write_text, 0))
    with pytest.raises(UserError, match=r"the disk is full.*Free disk space") as caught:
        train(config, workdir)
    assert name in str(caught.value)
    assert hidden_files(workdir) == []
    assert load_whole(workdir.model_file).input_shape == (None, 4000)
    monkeypatch.undo()
    train(config, workdir)
    assert_same_run(whole, workdir)


def test_arrays_on_a_full_disk_raise_one_error_and_print_nothing(monkeypatch):
    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        files.write_npz(Path("/dev/full"), {"a": np.zeros(100_000)})
    gc.collect()
    assert not ignored


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (
            "a; No space left on device\n\tFailed to flush",
            UserError,
            "the disk is full",
        ),
        ("OOM when allocating", tf.errors.ResourceExhaustedError, "OOM"),
    ],
)
def test_event_files_that_fill_the_disk_are_told_from_memory_that_is_exhausted(
    tmp_path, message, kind, words
):
    with pytest.raises(kind, match=words), tensorboard.check_disk(tmp_path):
        raise tf.errors.ResourceExhaustedError(None, None, message)


OUT_OF_MEMORY = """Graph execution error:

Detected at node classifier/conv1/Conv2D defined at (most recent call last):
OOM when allocating tensor with shape[64,32,501,128] on /device:GPU:0
 [[{{node classifier/conv1/Conv2D}}]] [Op:__inference_step_1]"""


def test_a_full_memory_is_one_line_that_names_the_batch_sizes(
    config, tmp_path, monkeypatch
):
    def fill(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, OUT_OF_MEMORY)

    monkeypatch.setattr(fit, "fit_epochs", fill)
    with pytest.raises(UserError) as caught:
        train(config, Workdir(tmp_path / "run"))
    assert str(caught.value) == (
        "the memory of the device is full (OOM when allocating tensor with "
        "shape[64,32,501,128] on /device:GPU:0); give a smaller --train.batch_size "
        "(now 8) or --evaluate.batch_size (now 32), and a new --workdir: a run folder "
        "keeps its batch sizes"
    )


def test_another_error_of_the_disk_is_left_as_it_is(tmp_path, monkeypatch):
    def failing(*arguments, **named):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    state = checkpoint.RunState(Workdir(tmp_path), None, None, 0)
    state.history = [{"epoch": 1}]
    monkeypatch.setattr(Path, "write_text", failing)
    with pytest.raises(OSError, match="Input/output error"):
        state._write_history()


@pytest.mark.slow
def test_what_stops_a_run_while_it_writes_is_not_said_to_be_kept(
    config, tmp_path, monkeypatch
):
    def stopped(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.RunState, "_write_history", stopped)
    with pytest.raises(UserError, match="0 of 3 epochs are saved"):
        train(config, Workdir(tmp_path / "run"))


def test_a_run_that_is_interrupted_before_its_first_epoch_says_how_to_go_on(
    config, tmp_path, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("asc_tf.training.fit.set_statistics", stop)
    with pytest.raises(UserError, match="interrupted; 0 of 3 epochs are saved"):
        train(config, Workdir(tmp_path / "run"))


@pytest.mark.parametrize("is_older", [True, False])
def test_training_says_that_a_report_is_older_than_the_model(
    whole, tmp_path, capsys, is_older
):
    workdir = Workdir(shutil.copytree(whole.path, tmp_path / "run"))
    report = workdir.report / "report.json"
    report.parent.mkdir(exist_ok=True)
    write_text(report, "{}")
    time_ns = workdir.model_file.stat().st_mtime_ns + (-1 if is_older else 1) * 10**9
    os.utime(report, ns=(time_ns, time_ns))
    assert cli.main(["train", f"--workdir={workdir.path}"]) == 0
    said = capsys.readouterr().out
    assert "all epochs are done" in said
    assert ("is of the model before this training" in said) == is_older


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> tuple[Path, Workdir]:
    """A run of many epochs that nothing stopped, and its configuration."""
    folder = tmp_path_factory.mktemp("long")
    corpus = tiny.write_corpus(folder / "corpus")
    config = tiny.config(corpus, train__epochs=15, model__dropout=0.5)
    (folder / "config.toml").write_text(config.to_toml())
    train(config, Workdir(folder / "run"))
    return folder / "config.toml", Workdir(folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", tiny.cases([signal.SIGINT, signal.SIGTERM], signal.SIGINT)
)
def test_an_interrupted_run_says_how_to_go_on_and_ends_as_if_it_never_was(
    long, tmp_path, capsys, number
):
    config_file, other = long
    workdir = Workdir(tmp_path / "stopped")
    command = [sys.executable, "-m", "asc_tf.cli", "train"]
    process = start_interruptible(
        [*command, f"--config={config_file}", f"--workdir={workdir.path}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while len(tiny.history(workdir)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in errors
    done = int(re.search(r"interrupted; (\d+) of 15 epochs are saved", errors)[1])
    assert 0 < done < 15
    assert hidden_files(workdir) == []
    words = shlex.split(errors.strip().splitlines()[-1])
    assert words[:2] == ["asc-tf", "train"]
    capsys.readouterr()
    assert cli.main(words[1:]) == 0
    assert f"resuming after epoch {done} of 15" in capsys.readouterr().out
    assert_same_run(other, workdir)
