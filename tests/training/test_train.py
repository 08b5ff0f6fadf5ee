"""Training: reproducible, resumable, and clear about what it refuses."""

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
from asc_tf.training.train import train
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory) -> Workdir:
    workdir = Workdir(tmp_path_factory.mktemp("run") / "run")
    train(tiny.config(corpus), workdir)
    return workdir


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
    assert [row["epoch"] for row in rows] == [1, 2, 3]
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


def test_two_runs_with_one_seed_are_equal_to_the_last_digit(corpus, finished, tmp_path):
    again = Workdir(tmp_path / "again")
    train(tiny.config(corpus), again)
    assert_same_run(finished, again)


@pytest.mark.slow
def test_a_run_by_steps_is_that_of_the_epochs_that_hold_them(
    corpus, finished, tmp_path, capsys
):
    per_epoch = -(-sum(c.split == "train" for c in finished.manifest().clips) // 8)
    by_steps = Workdir(tmp_path / "run")
    config = tiny.config(corpus, train__epochs=60, train__steps=2 * per_epoch + 1)
    train(config, by_steps)
    assert by_steps.history_file.read_text() == finished.history_file.read_text()
    assert f"3 epochs of {per_epoch} steps" in capsys.readouterr().out
    assert by_steps.config().train.steps == 2 * per_epoch + 1


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
def test_another_seed_gives_another_run(corpus, finished, tmp_path):
    other = Workdir(tmp_path / "other")
    train(tiny.config(corpus, train__seed=1), other)
    assert other.history_file.read_text() != finished.history_file.read_text()


def test_a_finished_run_is_left_as_it_is(corpus, finished, capsys):
    before = finished.model_file.stat().st_mtime_ns
    train(tiny.config(corpus), finished)
    assert finished.model_file.stat().st_mtime_ns == before
    assert "resuming after epoch 3 of 3" in capsys.readouterr().out


STATEFUL = {
    "as shipped": {},
    "plateau and averages": {
        "train__schedule": "plateau",
        "train__plateau_patience": 1,
        # So high that the loss rises, and the rate falls.
        "train__learning_rate": 1.0,
        "train__optimizer": "sgd",
        "train__ema": 0.9,
    },
    "float16": {"train__precision": "mixed_float16"},
    "last epoch without validation": {
        "train__keep": "last",
        "dataset__validation": "none",
    },
    "recurrent": {
        "model__name": "esa3_crnn",
        "model__filters": (4, 4, 4),
        "model__units": 4,
        "train__class_weights": "balanced",
    },
}


@pytest.mark.parametrize("case", tiny.cases(STATEFUL, "as shipped"))
def test_killed_with_9_and_started_again_it_ends_with_the_same_weights(
    corpus, tmp_path, case
):
    config_file, changes = tmp_path / "config.toml", STATEFUL[case]
    config = tiny.config(corpus, train__epochs=6, model__dropout=0.5, **changes)
    config_file.write_text(config.to_toml())

    def start(workdir: Workdir) -> subprocess.Popen:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "asc_tf.train"),
                *(f"--config={config_file}", f"--workdir={workdir.path}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    whole, killed = Workdir(tmp_path / "whole"), Workdir(tmp_path / "killed")
    assert start(whole).wait(300) == 0
    process = start(killed)
    deadline = time.monotonic() + 300
    while len(tiny.history(killed)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(tiny.history(killed)) < 6
    resumed = start(killed)
    output, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, output
    assert "resuming after epoch" in output
    assert_same_run(whole, killed)


def test_the_checkpoint_holds_the_seed_generators_of_dropout(finished):
    model = load_whole(finished.model_file)
    names = [variable.path for variable in model.variables]
    assert any("seed_generator" in name for name in names)


def test_training_stops_when_patience_runs_out_and_goes_on_with_more(
    corpus, tmp_path, capsys
):
    workdir = Workdir(tmp_path / "run")
    changes = {"train__learning_rate": 1e-9, "train__warmup_epochs": 0.0}
    train(tiny.config(corpus, train__epochs=30, train__patience=1, **changes), workdir)
    rows = tiny.history(workdir)
    losses = [row["val_loss"] for row in rows]
    # The first epoch without a lower loss is the last one.
    assert np.argmin(losses) + 2 == len(rows) < 30
    assert (np.diff(losses[:-1]) < 0).all()
    # Resuming a run that has stopped early adds nothing.
    capsys.readouterr()
    train(tiny.config(corpus, train__epochs=30, train__patience=1, **changes), workdir)
    assert len(tiny.history(workdir)) == len(rows)
    assert f"stopped after epoch {len(rows)}: " in capsys.readouterr().out
    # A larger patience does.
    train(tiny.config(corpus, train__epochs=30, train__patience=3, **changes), workdir)
    longer = tiny.history(workdir)
    assert longer[: len(rows)] == rows
    best = min(longer, key=lambda row: row["val_loss"])["epoch"]
    assert len(longer) == best + 3 < 30
    assert workdir.config().train.patience == 3


def test_a_bad_clip_is_named_and_left_out_and_training_goes_on(tmp_path, capsys):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=6)
    (corpus / "hum" / "hum90-0.wav").write_text("this is text")
    soundfile.write(corpus / "hum" / "hum91-0.wav", np.zeros(4000), tiny.RATE)
    config = tiny.config(corpus, train__epochs=1, dataset__test_share=0.1)
    workdir = Workdir(tmp_path / "run")
    train(config, workdir)
    reasons = {
        clip.path: clip.reason
        for clip in read_clips(workdir.manifest_file)
        if clip.reason
    }
    errors = capsys.readouterr().err
    for path, reason in reasons.items():
        assert f"left out: {path}: {reason}" in errors
    assert set(reasons) == {"hum/hum90-0.wav", "hum/hum91-0.wav"}
    assert "not an audio file" in reasons["hum/hum90-0.wav"]
    assert reasons["hum/hum91-0.wav"] == "silent: every sample is 0"


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


def test_another_cache_folder_is_no_other_configuration(corpus, finished, tmp_path):
    config = finished.config().replace({"audio.cache_dir": str(tmp_path)})
    finished.check_config(config)


def test_a_workdir_of_another_configuration_is_refused(corpus, finished):
    before = finished.config_file.read_text()
    with pytest.raises(UsageError, match=r"train\.seed is 0 there and 4 here"):
        train(tiny.config(corpus, train__seed=4), finished)
    with pytest.raises(UsageError, match=r"train\.epochs = 2: .* has 3 epochs already"):
        train(tiny.config(corpus, train__epochs=2), finished)
    assert finished.config_file.read_text() == before


def test_a_finished_run_that_is_trained_longer_equals_one_that_was_to_be_so_long(
    corpus, tmp_path
):
    # A warm-up that fits into the shorter run.
    changes = {"train__schedule": "constant", "train__warmup_epochs": 0.5}
    changes["train__keep"] = "last"
    short, long = Workdir(tmp_path / "short"), Workdir(tmp_path / "long")
    train(tiny.config(corpus, train__epochs=1, **changes), short)
    assert cli.main(["train", f"--workdir={short.path}", "--train.epochs=3"]) == 0
    train(tiny.config(corpus, train__epochs=3, **changes), long)
    assert len(tiny.history(short)) == 3
    assert_same_run(short, long)
    assert short.config() == long.config()


def test_a_schedule_over_all_epochs_is_another_one_in_a_longer_run_which_says_so(
    finished, tmp_path, capsys
):
    workdir = Workdir(tmp_path / "run")
    shutil.copytree(finished.path, workdir.path)
    # The run goes on by its folder alone.
    assert cli.main(["train", f"--workdir={workdir.path}"]) == 0
    assert "all epochs are done" in capsys.readouterr().out
    assert cli.main(["train", f"--workdir={workdir.path}", "--train.epochs=4"]) == 0
    rows = tiny.history(workdir)
    assert rows[:3] == tiny.history(finished)
    # 6 steps an epoch: a half cosine over 18 steps behind a warm-up of 6.
    last, next_, end = (
        0.005 * (1 + np.cos(np.pi * step / 18)) for step in (11 / 12 * 18, 12, 17)
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
            "_read_values",
            "_last_learning_rate",
            "_follow_history",
            "_write_history",
            "_save",
        ):
            monkeypatch.setattr(state, name, lambda: ())
        monkeypatch.setattr(
            state,
            "_save_model",
            lambda epochs=epochs, state=state: epochs.append(state.epochs_done),
        )
        for epoch, loss in enumerate(losses):
            state.on_epoch_end(epoch, {"val_loss": loss})
        assert state.saved_row["epoch"] == epochs[-1]
    assert saved == {"best": [1, 2], "last": [1, 2, 3]}


def test_a_run_is_not_resumed_on_another_corpus(tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=6)
    workdir = Workdir(tmp_path / "run")
    config = tiny.config(corpus, train__epochs=1)
    train(config, workdir)
    kept = workdir.manifest_file.read_text()
    gone = workdir.manifest().clips_in("train")[0]
    (corpus / gone.path).unlink()
    with pytest.raises(UserError, match=r"is not what it was when this run began"):
        train(config, workdir)
    assert workdir.manifest_file.read_text() == kept


def test_a_damaged_checkpoint_is_named(corpus, finished, tmp_path):
    workdir = Workdir(tmp_path / "run")
    train(tiny.config(corpus, train__epochs=1), workdir)
    whole = workdir.checkpoint_file.read_bytes()
    workdir.checkpoint_file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"latest\.npz: the checkpoint cannot be"):
        train(tiny.config(corpus, train__epochs=1), workdir)


def test_a_loss_that_is_never_finite_ends_with_a_message(tmp_path):
    state = SimpleNamespace(saved_row=None)
    with pytest.raises(UserError, match="validation loss was never finite"):
        conclude(state, Workdir(tmp_path), 3)


def test_clips_that_do_not_fit_in_memory_are_not_kept(
    corpus, finished, monkeypatch, capsys
):
    run = Run.open(finished)
    kept, _ = training_data.make_waveforms(run)
    assert "waveform" in kept.in_order().element_spec
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    training_data.make_waveforms(run)
    assert "decoded again in each epoch" in capsys.readouterr().out


def test_the_command_trains_and_names_the_next_step(corpus, tmp_path, capsys):
    config_file = tmp_path / "config.toml"
    config_file.write_text(tiny.config(corpus).to_toml())
    arguments = [f"--config={config_file}", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(["train", *arguments, "--train.epochs=1"]) == 0
    assert "asc-tf evaluate --workdir=" in capsys.readouterr().out
    assert cli.main(["train", *arguments, "--train.epoch=1"]) == 2
    assert "did you mean --train.epochs=" in capsys.readouterr().err
