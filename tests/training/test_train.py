"""Training: reproducible, resumable, and clear about what it refuses."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny

from asc_tf import cli
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.manifest import Clip, Manifest, read_clips
from asc_tf.pipeline import corpus_checks, prepare, training_data
from asc_tf.pipeline.run import Run
from asc_tf.training.checkpoint import RunState
from asc_tf.training.fit import conclude
from asc_tf.training.model_file import load_whole
from asc_tf.training.train import _describe_missing, train
from asc_tf.workdir import Workdir

BAD = {
    "hum/hum90-0.wav": "libsndfile cannot read this file",
    "hum/hum91-0.wav": "silent: every sample is 0",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A corpus with a clip that cannot be read, and one that is silent."""
    folder = tiny.write_corpus(tmp_path_factory.mktemp("corpus"))
    text, silent = (folder / name for name in BAD)
    text.write_text("this is text")
    soundfile.write(silent, np.zeros(4000), tiny.RATE)
    return folder


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> Workdir:
    """A run that nothing stopped."""
    workdir = Workdir(tmp_path_factory.mktemp("run") / "run")
    train(tiny.config(corpus, train__epochs=6, model__dropout=0.5), workdir)
    return workdir


@pytest.fixture
def copied(finished, tmp_path) -> Workdir:
    """A copy of the finished run, for a test to change."""
    return Workdir(shutil.copytree(finished.path, tmp_path / "copied"))


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return tiny.write_features(tmp_path_factory.mktemp("features") / "stored")


def checkpoint_of(workdir: Workdir) -> dict[str, np.ndarray]:
    with np.load(workdir.checkpoint_file) as saved:
        return dict(saved)


def assert_same_run(one: Workdir, other: Workdir) -> None:
    assert one.history_file.read_text() == other.history_file.read_text()
    first, second = checkpoint_of(one), checkpoint_of(other)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    models = [load_whole(workdir.model_file) for workdir in (one, other)]
    for a, b in zip(models[0].weights, models[1].weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_a_run_folder_holds_what_the_contract_says(finished):
    names = {path.name for path in finished.path.iterdir()}
    assert names >= {
        "config.toml",
        "manifest.csv",
        "labels.txt",
        "history.csv",
        "environment.json",
        "model.keras",
        "checkpoints",
        "tensorboard",
    }
    assert [name for name in names if name.startswith(".")] == [".lock"]
    assert finished.labels_file.read_text() == "hiss\nhum\nwhistle\n"
    rows = tiny.history(finished)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert set(rows[0]) >= {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert list((finished.path / "tensorboard").rglob("events*"))


def test_the_saved_model_takes_waveforms(finished):
    model = load_whole(finished.model_file)
    assert model.input_shape == (None, 4000)
    probabilities = model.predict_on_batch(np.zeros((2, 4000), np.float32))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_test_part_is_not_read(finished):
    clips = read_clips(finished.manifest_file)
    assert {clip.split for clip in clips if not clip.size} == {"test"}
    assert {clip.split for clip in clips if clip.size} == {"train", "validation"}


@pytest.mark.slow
def test_two_runs_with_one_seed_are_equal_to_the_last_digit(finished, tmp_path):
    again = Workdir(tmp_path / "again")
    train(finished.config(), again)
    assert_same_run(finished, again)


@pytest.mark.slow
def test_a_run_by_steps_is_that_of_the_epochs_that_hold_them(
    finished, tmp_path, capsys
):
    per_epoch = -(-len(finished.manifest().clips_in("train")) // 8)
    by_steps = Workdir(tmp_path / "run")
    length = {"train.epochs": 60, "train.steps": 5 * per_epoch + 1}
    config = finished.config().replace(length)
    train(config, by_steps)
    assert by_steps.history_file.read_text() == finished.history_file.read_text()
    assert f"6 epochs of {per_epoch} steps" in capsys.readouterr().out
    assert by_steps.config().train.steps == 5 * per_epoch + 1


@pytest.mark.slow
def test_a_small_corpus_is_learned_in_validation_as_soon_as_in_training(
    corpus, tmp_path
):
    config = tiny.config(
        corpus,
        train__epochs=8,
        train__batch_size=16,
        model__filters=(24, 48, 96, 144),
        augment__mixup_alpha=0.0,
        augment__time_masks=0,
        augment__frequency_masks=0,
    )
    workdir = Workdir(tmp_path / "run")
    train(config, workdir)
    last = tiny.history(workdir)[-1]
    assert last["accuracy"] > 0.9
    assert last["val_accuracy"] > 0.9


@pytest.mark.slow
def test_another_seed_gives_another_run(finished, tmp_path):
    other = Workdir(tmp_path / "other")
    train(finished.config().replace({"train.seed": 1}), other)
    assert other.history_file.read_text() != finished.history_file.read_text()


def test_a_finished_run_is_left_as_it_is_and_the_next_step_is_named(finished, capsys):
    before = finished.model_file.stat().st_mtime_ns
    # The folder alone says what to train.
    assert cli.main(["train", f"--workdir={finished.path}"]) == 0
    assert finished.model_file.stat().st_mtime_ns == before
    said = capsys.readouterr().out
    assert "resuming after epoch 6 of 6\nall epochs are done" in said
    assert f"asc-tf evaluate --workdir={finished.path}" in said


def test_a_mistyped_setting_of_the_command_is_refused_with_the_one_that_is_meant(
    finished, capsys
):
    command = ["train", f"--workdir={finished.path}", "--train.epoch=1"]
    assert cli.main(command) == 2
    assert "did you mean --train.epochs=" in capsys.readouterr().err


STATEFUL = {
    "as shipped": {},
    "float16 with plateau and averages": {
        "train.precision": "mixed_float16",
        "train.schedule": "plateau",
        "train.plateau_patience": 1,
        # So high that the loss rises, and the rate falls.
        "train.learning_rate": 1.0,
        "train.optimizer": "sgd",
        "train.ema": 0.9,
    },
    "last epoch of a recurrent one without validation": {
        "train.keep": "last",
        "dataset.validation": "none",
        "model.name": "esa3_crnn",
        "model.filters": (4, 4, 4),
        "model.units": 4,
        "train.class_weights": "balanced",
    },
}


@pytest.mark.parametrize("case", tiny.cases(STATEFUL, "as shipped"))
def test_killed_with_9_and_started_again_it_ends_with_the_same_weights(
    finished, tmp_path, capsys, case
):
    config, whole = finished.config().replace(STATEFUL[case]), finished
    if STATEFUL[case]:
        whole = Workdir(tmp_path / "whole")
        train(config, whole)
    killed, config_file = Workdir(tmp_path / "killed"), tmp_path / "config.toml"
    config_file.write_text(config.to_toml())
    arguments = [f"--config={config_file}", f"--workdir={killed.path}"]
    command = [sys.executable, "-m", "asc_tf.train", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(tiny.history(killed)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(tiny.history(killed)) < 6
    assert cli.main(["train", *arguments]) == 0
    assert "resuming after epoch" in capsys.readouterr().out
    assert_same_run(whole, killed)


def test_the_checkpoint_holds_the_seed_generators_of_dropout(finished):
    model = load_whole(finished.model_file)
    names = [variable.path for variable in model.variables]
    assert any("seed_generator" in name for name in names)


def test_training_stops_when_patience_runs_out_and_goes_on_with_more(
    features, tmp_path, capsys
):
    workdir = Workdir(tmp_path / "run")
    # A rate with which the loss falls, and soon rises.
    changes = {"train__learning_rate": 0.03, "train__warmup_epochs": 0.0}
    config = tiny.features_config(
        features, train__epochs=30, train__patience=1, **changes
    )
    train(config, workdir)
    rows = tiny.history(workdir)
    losses = [row["val_loss"] for row in rows]
    # The first epoch without a lower loss is the last one.
    assert 3 <= np.argmin(losses) + 2 == len(rows) < 30
    assert (np.diff(losses[:-1]) < 0).all()
    # Resuming a run that has stopped early adds nothing.
    capsys.readouterr()
    train(config, workdir)
    assert len(tiny.history(workdir)) == len(rows)
    assert f"stopped after epoch {len(rows)}: " in capsys.readouterr().out
    # A larger patience does.
    train(config.replace({"train.patience": 3}), workdir)
    longer = tiny.history(workdir)
    assert longer[: len(rows)] == rows
    best = min(longer, key=lambda row: row["val_loss"])["epoch"]
    assert len(longer) == best + 3 < 30
    assert workdir.config().train.patience == 3


def test_a_bad_clip_is_named_and_left_out_and_training_goes_on(finished, capsys):
    reasons = {
        clip.path: clip.reason
        for clip in read_clips(finished.manifest_file)
        if clip.reason
    }
    assert reasons.keys() == BAD.keys()
    assert all(BAD[path] in reason for path, reason in reasons.items())
    prepare.prepare(finished.config(), finished)
    errors = capsys.readouterr().err
    for path, reason in reasons.items():
        assert f"left out: {path}: {reason}" in errors


def one_label(folder: Path) -> None:
    (folder / "hum").mkdir()
    soundfile.write(folder / "hum" / "hum1-0.wav", tiny.clip("hum", 1), tiny.RATE)


def only_broken(folder: Path) -> None:
    for label in tiny.LABELS:
        (folder / label).mkdir()
        for number in range(6):
            (folder / label / f"x{number}-0.wav").write_text("text")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda folder: None, "no clips found"),
        (one_label, "fewer than two labels"),
        (only_broken, "no usable clips"),
    ],
)
def test_a_corpus_that_cannot_train_is_refused_and_nothing_is_written(
    tmp_path, make, message
):
    folder = tmp_path / "corpus"
    folder.mkdir()
    make(folder)
    with pytest.raises(UserError, match=message):
        train(tiny.config(folder), Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_corpus_without_its_files_is_refused_once(tmp_path, capsys):
    rows = [f"{n}.wav,{tiny.LABELS[n % 2]}" for n in range(40)]
    (tmp_path / "table.csv").write_text("filename,label\n" + "\n".join(rows) + "\n")
    changes = {"dataset__name": "csv", "dataset__csv_file": "table.csv"}
    expected = r"files are missing: \d+ of \d+ in train, .*No file of the corpus is"
    with pytest.raises(UserError, match=expected):
        train(tiny.config(tmp_path, **changes), Workdir(tmp_path / "run"))
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "run").exists()


def test_a_corpus_that_lacks_some_files_is_trained_on_without_them(tmp_path, capsys):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=6)
    config = tiny.config(corpus, train__epochs=1, dataset__name="csv").replace(
        {"dataset.csv_file": "table.csv"}
    )
    clips = sorted(path.relative_to(corpus) for path in corpus.rglob("*.wav"))
    rows = [f"{path},{path.parent}" for path in clips] + ["hum/gone.wav,hum"]
    (corpus / "table.csv").write_text("\n".join(["filename,label", *rows]))
    workdir = Workdir(tmp_path / "run")
    manifest = prepare.prepare(config, workdir).manifest
    said = capsys.readouterr().err
    assert said.startswith("files are missing: ")
    assert said.count("1 of ") == 1
    assert len(manifest.clips) == 37
    allowed = config.replace({"dataset.max_missing": 0.03})
    with pytest.raises(UserError, match=r"more than dataset\.max_missing"):
        prepare.prepare(config.replace({"dataset.max_missing": 0.02}), workdir)
    assert prepare.prepare(allowed, workdir).manifest.clips == manifest.clips


def test_the_line_of_counts_says_how_many_test_files_are_missing(tiny_run, tmp_path):
    config = tiny_run.config()
    run = Run(config, tiny_run, tiny_run.manifest())
    assert _describe_missing(run) == ""
    there = run.manifest.clips_in("test")[0].path
    elsewhere = tmp_path / there
    elsewhere.parent.mkdir()
    elsewhere.touch()
    run = dataclasses.replace(
        run, config=config.replace({"dataset.dir": str(tmp_path)})
    )
    missing = len(run.manifest.clips_in("test")) - 1
    said = f"; {missing} of the test files are missing"
    assert _describe_missing(run) == said


def test_a_label_whose_clips_weigh_nothing_is_refused():
    clips = tuple(
        Clip(f"{n}.wav", "ab"[n % 2], str(n), split="train", verified=str(n % 2))
        for n in range(4)
    )
    manifest = Manifest(clips, ("a", "b"))
    config = Config().replace({"dataset.unverified_weight": 0.0})
    with pytest.raises(UserError, match="no training clip of a is verified"):
        corpus_checks.check_weights(manifest, config)
    corpus_checks.check_weights(manifest, Config())


def test_another_cache_folder_is_no_other_configuration(finished, tmp_path):
    config = finished.config().replace({"audio.cache_dir": str(tmp_path)})
    finished.check_config(config)


def test_a_workdir_of_another_configuration_is_refused(finished):
    before, config = finished.config_file.read_text(), finished.config()
    with pytest.raises(UsageError, match=r"train\.seed is 0 in the run and 4 in"):
        train(config.replace({"train.seed": 4}), finished)
    with pytest.raises(UsageError, match=r"train\.epochs = 2: .* has 6 epochs already"):
        train(config.replace({"train.epochs": 2}), finished)
    assert finished.config_file.read_text() == before


@pytest.mark.slow
def test_a_finished_run_that_is_trained_longer_equals_one_that_was_to_be_so_long(
    features, tmp_path
):
    # A warm-up that fits into the shorter run.
    changes = {"train__schedule": "constant", "train__warmup_epochs": 0.5}
    changes["train__keep"] = "last"
    short, long = Workdir(tmp_path / "short"), Workdir(tmp_path / "long")
    train(tiny.features_config(features, train__epochs=1, **changes), short)
    assert cli.main(["train", f"--workdir={short.path}", "--train.epochs=3"]) == 0
    train(tiny.features_config(features, train__epochs=3, **changes), long)
    assert len(tiny.history(short)) == 3
    assert_same_run(short, long)
    assert short.config() == long.config()


def test_a_schedule_over_all_epochs_is_another_one_in_a_longer_run_which_says_so(
    features, tmp_path, capsys
):
    workdir = Workdir(tmp_path / "run")
    train(tiny.features_config(features), workdir)
    before = tiny.history(workdir)
    assert cli.main(["train", f"--workdir={workdir.path}", "--train.epochs=4"]) == 0
    rows = tiny.history(workdir)
    assert rows[:3] == before
    # 3 steps an epoch: a half cosine over 9 steps behind a warm-up of 3.
    last, next_, end = (
        0.005 * (1 + np.cos(np.pi * step / 9)) for step in (5 / 6 * 9, 6, 8)
    )
    said = capsys.readouterr().out
    assert f"learning rate was {last:.3g} in the last step and is {next_:.3g}" in said
    assert rows[3]["learning_rate"] == pytest.approx(end, rel=1e-4)
    # Started once more, it says nothing of the kind.
    assert cli.main(["train", f"--workdir={workdir.path}"]) == 0
    assert "learning rate" not in capsys.readouterr().out


def test_the_model_is_that_of_the_epoch_which_is_to_be_kept(
    corpus, tmp_path, monkeypatch
):
    losses = [0.5, 0.4, 0.6]
    saved: dict[str, list[int]] = {"best": [], "last": []}
    for keep, epochs in saved.items():
        state = RunState(Workdir(tmp_path), None, None, 0, keep=keep)
        for name in (
            "_variables",
            "_last_learning_rate",
            "_follow_history",
            "_write_history",
            "_save",
        ):
            monkeypatch.setattr(state, name, lambda *_: ())
        monkeypatch.setattr(
            state,
            "_save_model",
            lambda epochs=epochs, state=state: epochs.append(state.epochs_done),
        )
        for epoch, loss in enumerate(losses):
            state.on_epoch_end(epoch, {"val_loss": loss})
        assert state.saved_row["epoch"] == epochs[-1]
    assert saved == {"best": [1, 2], "last": [1, 2, 3]}


def test_a_run_is_not_resumed_on_another_corpus(corpus, copied, tmp_path):
    kept = copied.manifest_file.read_text()
    other = shutil.copytree(corpus, tmp_path / "other")
    (other / copied.manifest().clips_in("train")[0].path).unlink()
    config = copied.config().replace({"dataset.dir": str(other)})
    with pytest.raises(UserError, match=r"is not what it was when this run began"):
        train(config, copied)
    assert copied.manifest_file.read_text() == kept


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_damaged_checkpoint_is_named(copied, share):
    whole = copied.checkpoint_file.read_bytes()
    copied.checkpoint_file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"latest\.npz: the checkpoint cannot be"):
        train(copied.config(), copied)


def test_a_loss_that_is_never_finite_ends_with_a_message(tmp_path):
    state = SimpleNamespace(saved_row=None)
    with pytest.raises(UserError, match="validation loss was never finite"):
        conclude(state, Workdir(tmp_path), 3)


def test_clips_that_do_not_fit_in_memory_are_not_kept(finished, monkeypatch, capsys):
    run = Run.open(finished)
    kept, _ = training_data.make_waveforms(run)
    assert "waveform" in kept.in_order().element_spec
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    training_data.make_waveforms(run)
    assert "decoded again in each epoch" in capsys.readouterr().out
