"""Fine-tuning for int8_qat and int8_pruned: resumed, repeated, used again, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tiny

import asc_tf
from asc_tf import cli, models
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.exporting.fine_tuning import fine_tune as fine_tuning
from asc_tf.exporting.fine_tuning import identity as identities
from asc_tf.exporting.fine_tuning.fine_tune import (
    FineTuned,
    check_fine_tuning,
    fine_tune,
)
from asc_tf.exporting.fine_tuning.identity import identify
from asc_tf.pipeline.run import Run
from asc_tf.training.model_file import load_whole
from asc_tf.workdir import Workdir

pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

EPOCHS = 2


def tune(workdir, folder, name="int8_qat", **changes):
    changes = {"export.qat_epochs": EPOCHS} | changes
    run = Run.open(workdir, changes)
    return fine_tune(run, load_whole(workdir.model_file), name, folder)


def weights(tuned):
    return models.get_body(tuned.model).get_weights()


@pytest.fixture(scope="module")
def tuned(tiny_run, tmp_path_factory):
    """The result of a fine-tuning that was not interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("tuned") / "int8_qat"
    return tune(tiny_run, folder), folder


def interrupt_after(monkeypatch, epochs):
    """Interrupt fine-tuning, as Ctrl-C does, in the epoch behind so many."""
    from asc_tf.exporting.fine_tuning.loop import FineTuner

    original = FineTuner._run_epoch

    def stopped(self, *arguments):
        if len(self.history) == epochs:
            raise KeyboardInterrupt
        original(self, *arguments)

    monkeypatch.setattr(FineTuner, "_run_epoch", stopped)


@pytest.mark.slow
def test_a_stopped_fine_tuning_says_so_and_resumes_to_the_same_weights(
    tiny_run, tuned, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(UserError, match=r"1 of 2 epochs of int8_qat are saved"):
            tune(tiny_run, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "result.npz").exists()
    resumed = tune(tiny_run, tmp_path / "stopped")
    assert "resuming after epoch 1 of 2" in capsys.readouterr().out
    for ours, wanted in zip(weights(resumed), weights(tuned[0]), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    assert resumed.ranges == tuned[0].ranges
    histories = [
        (folder / "history.csv").read_text()
        for folder in (tmp_path / "stopped", tuned[1])
    ]
    assert histories[0] == histories[1]


def test_a_finished_fine_tuning_is_used_again(tiny_run, tuned, capsys):
    first, folder = tuned
    assert sorted(path.name for path in folder.iterdir()) == [
        *(".lock", "history.csv", "result.npz")
    ]
    again = tune(tiny_run, folder)
    assert (
        f"int8_qat: using the network trained earlier, in {folder}"
        in capsys.readouterr().out
    )
    for ours, wanted in zip(weights(again), weights(first), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    assert again.ranges == first.ranges


def test_a_result_is_of_one_model_and_one_length_and_not_of_one_place(tiny_run):
    model = load_whole(tiny_run.model_file)
    body, frontend = models.get_body(model), model.layers[1]
    config = tiny_run.config()

    def identity(name="int8_qat", **changes):
        given = {key.replace("__", "."): value for key, value in changes.items()}
        changed = config.replace(given)
        return identify(changed, body, frontend, name)

    before = identity()
    assert identity(dataset__dir="/elsewhere", audio__cache_dir="/other") == before
    assert identity(export__check_clips=3) == before
    assert identity(evaluate__batch_size=5, train__energy=True) == before
    assert identity(train__strategy="one_device", train__jit_compile=True) == before
    assert identity(train__precision="mixed_bfloat16") == before
    others = [
        identity("int8_pruned"),
        identity("int8_pruned", export__sparsity=0.6),
        identity(export__qat_epochs=3),
        identity(export__calibration_segments=12),
        identity(train__learning_rate=0.02),
        identity(augment__mixup_alpha=0.2),
    ]
    body.get_layer("logits").bias.assign_add([1e-3, 0, 0])
    assert len({before, identity(), *others}) == 8


def test_a_result_of_other_versions_is_not_used_again(tiny_run, monkeypatch):
    model = load_whole(tiny_run.model_file)
    given = (tiny_run.config(), models.get_body(model), model.layers[1], "int8_qat")
    before = identify(*given)
    versions = json.loads(before)["versions"]
    assert set(versions) == {"asc_tf", "tensorflow", *identities.PACKAGES}
    assert versions["asc_tf"] == asc_tf.__version__
    monkeypatch.setattr(identities, "__version__", "999")
    assert identify(*given) != before


def test_a_result_or_a_checkpoint_of_other_shapes_changes_nothing(tiny_run):
    from asc_tf.exporting.fine_tuning.loop import FineTuner, Result

    body = models.get_body(load_whole(tiny_run.model_file))
    values = body.get_weights()
    assert fine_tuning._fits(Result(values, {}, [], 1), body)
    assert not fine_tuning._fits(Result(values[:-1], {}, [], 1), body)
    assert not fine_tuning._fits(Result([*values[:-1], np.ones(1)], {}, [], 1), body)

    tuner = object.__new__(FineTuner)
    tuner._variables = [SimpleNamespace(shape=(2, 3)), SimpleNamespace(shape=())]
    saved = {"history": np.array("[]"), "before": np.array(0.0)}
    saved |= {"a": np.zeros([2, 3]), "b": np.zeros([])}
    assert tuner._fits(saved, ["a", "b"])
    assert not tuner._fits(saved | {"a": np.zeros([3, 2])}, ["a", "b"])
    for name in saved:
        rest = {key: value for key, value in saved.items() if key != name}
        assert not tuner._fits(rest, ["a", "b"]), name


def test_a_validation_loss_that_is_never_finite_is_an_error_with_advice():
    from asc_tf.exporting.fine_tuning.loop import FineTuner

    tuner = object.__new__(FineTuner)
    tuner._best = None
    with pytest.raises(UserError, match=r"validation loss is not finite in any epoch"):
        tuner._require_best()


def test_fine_tuning_changes_the_network_and_learns_a_range_of_each_layer(
    tiny_run, tuned
):
    body = models.get_body(load_whole(tiny_run.model_file))
    assert models.get_body(tuned[0].model).name == body.name
    changed = [
        not np.array_equal(ours, wanted)
        for ours, wanted in zip(weights(tuned[0]), body.get_weights(), strict=True)
    ]
    is_statistic = ["moving" in weight.name for weight in body.weights]
    # Batch norms use the statistics of the run, which the file has, too.
    assert changed == [not each for each in is_statistic]
    ranges = tuned[0].ranges
    assert {"features", "conv_relu", "mean", "logits"} <= set(ranges)
    assert all(low <= 0 < high for low, high in ranges.values())
    assert ranges["conv_relu"][0] == 0


def test_the_network_before_is_exported_if_no_epoch_is_better():
    from asc_tf.exporting.fine_tuning.loop import FineTuner

    def choose(before, losses, is_complete=lambda steps: True):
        tuner = object.__new__(FineTuner)
        tuner._twin = SimpleNamespace(
            weights=list, ranges=dict, is_complete=is_complete
        )
        tuner._keeps_best, tuner._steps, tuner._before = True, 5, before
        tuner.history = []
        tuner._best = tuner._take_result(0) if is_complete(0) else None
        for number, loss in enumerate(losses, 1):
            tuner.history.append({"epoch": number, "val_loss": loss})
            tuner._keep_best(number)
        return tuner._best.epoch

    assert choose(0.5, [0.6, 0.5, 0.7]) == 0
    assert choose(0.5, [0.6, 0.4, 0.45]) == 2
    assert choose(0.5, [0.3, 0.7, 0.6], lambda steps: steps >= 10) == 3


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY" + bytes(99)])
def test_a_damaged_checkpoint_or_result_is_not_used(tmp_path, content):
    from asc_tf.exporting.fine_tuning.loop import read_npz

    (tmp_path / "result.npz").write_bytes(content)
    assert read_npz(tmp_path / "result.npz", "") is None


def test_a_backbone_of_imagenet_is_refused_before_any_work():
    image = {"frontend.image_frames": 64, "frontend.image_bands": 64}
    config = Config().replace({"model.name": "imagenet"} | image)
    with pytest.raises(UsageError, match=r"int8_qat cannot be made of model\.name"):
        check_fine_tuning(config, ["float32", "int8_qat"])
    check_fine_tuning(config, ["float32", "int8"])


def test_without_tensorflow_model_optimization_only_these_formats_are_refused(
    monkeypatch,
):
    def missing(name):
        raise ModuleNotFoundError(f"no module {name}", name=name)

    monkeypatch.setattr(fine_tuning, "require_package", missing)
    check_fine_tuning(Config(), ["float32", "int8"])
    with pytest.raises(ModuleNotFoundError, match="no module tf_keras"):
        check_fine_tuning(Config(), ["int8_pruned"])


def test_a_temperature_divides_the_logits_and_their_range(tiny_run):
    whole = load_whole(tiny_run.model_file)
    tuned = FineTuned(whole, {"mean": (0.0, 2.0), "logits": (-4.0, 6.0)})
    assert tuned.fold(1.0) == tuned
    folded = tuned.fold(2.0)
    assert folded.ranges == {"mean": (0, 2), "logits": (-2, 3)}
    heads = [
        models.get_body(each.model).get_layer("logits") for each in (tuned, folded)
    ]
    before, after = (head.get_weights() for head in heads)
    np.testing.assert_allclose(after[0], before[0] / 2)


def test_a_package_that_cannot_be_imported_is_named_before_any_work(monkeypatch):
    def fail(name):
        raise AttributeError("module 'tensorflow' has no attribute 'contrib'")

    monkeypatch.setattr(fine_tuning.importlib, "import_module", fail)
    check_fine_tuning(Config(), ["float32", "int8"])
    with pytest.raises(UserError, match=r"tf_keras cannot be imported beside TensorFl"):
        check_fine_tuning(Config(), ["int8_qat"])


def test_the_features_of_the_ranges_are_computed_without_tensor_float_32(
    tiny_run, tmp_path, monkeypatch
):
    is_allowed = tf.config.experimental.tensor_float_32_execution_enabled
    allowed = []

    def run_tuner():
        allowed.append(is_allowed())
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating x")

    def make_tuner(*given):
        allowed.append(is_allowed())
        return SimpleNamespace(history=[], run=run_tuner)

    monkeypatch.setattr(fine_tuning, "_open_corpus", lambda run: run)
    monkeypatch.setattr(fine_tuning, "_make_tuner", make_tuner)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    with pytest.raises(UserError, match=r"leave int8_qat and int8_pruned out"):
        tune(tiny_run, tmp_path)
    assert [*allowed, is_allowed()] == [False, True, False]


@pytest.mark.slow
def test_mixed_precision_and_the_place_of_the_front_end_change_nothing_else(
    tiny_run, tuned, tmp_path
):
    changes = {"train.precision": "mixed_bfloat16", "frontend.placement": "model"}
    other = tune(tiny_run, tmp_path / "other", **changes)
    for ours, wanted in zip(weights(other), weights(tuned[0]), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, wanted, atol=2e-3)


@pytest.mark.slow
def test_without_a_validation_split_the_last_epoch_is_exported(
    tiny_run, tmp_path, capsys
):
    changes = {"dataset.validation": "none", "train.class_weights": "balanced"}
    changes["train.ema"] = 0.5
    tune(tiny_run, tmp_path / "alone", "int8_pruned", **changes)
    said = capsys.readouterr().out
    assert "int8_pruned: train.ema is not used, no weights are averaged" in said
    assert "int8_pruned: epoch 2 of 2 is exported, training loss" in said
    assert "validation" not in said


@pytest.mark.slow
def test_both_formats_are_exported_and_the_second_export_trains_nothing(
    tiny_run, tmp_path, capsys
):
    workdir = Workdir(Path(shutil.copytree(tiny_run.path, tmp_path / "run")))
    formats = ("int8", "int8_qat", "int8_pruned")
    words = [f"--workdir={workdir.path}", "--export.qat_epochs=4"]
    words += ["--export.sparsity=0.8"]
    # A network that has barely learned changes its answers.
    words += ["--export.min_agreement=0", "--export.max_accuracy_drop=1"]
    first = [f"--formats={','.join(formats)}", f"--output={tmp_path / 'first'}"]
    assert cli.main(["export", *words, *first]) == 0
    assert "int8_qat: training separable_cnn further" in capsys.readouterr().out
    second = ["--formats=int8_qat,int8_pruned", f"--output={tmp_path / 'second'}"]
    assert cli.main(["export", *words, *second, "--export.check_clips=8"]) == 0
    said = capsys.readouterr().out
    assert said.count("using the network trained earlier") == 2
    rows = json.loads((tmp_path / "first" / "export.json").read_text())["formats"]
    assert tuple(rows) == formats
    assert rows["int8_qat"]["ranges"] == {"chosen": "learned"}
    sizes = {
        name: len(zlib.compress((tmp_path / "first" / f"{name}.tflite").read_bytes()))
        for name in formats
    }
    assert sizes["int8_pruned"] < sizes["int8"]
    waveform = tiny.clip("hum", 5, 0.5)
    answers = {
        name: asc_tf.load(tmp_path / "first" / f"{name}.tflite").predict(
            waveform, tiny.RATE
        )
        for name in formats
    }
    assert not np.array_equal(answers["int8_qat"], answers["int8"])
    assert not np.array_equal(answers["int8_pruned"], answers["int8"])


# --- pruning -------------------------------------------------------------------------


@pytest.mark.slow
def test_pruning_leaves_zeros_and_resumes_to_the_same_weights(
    tiny_run, tmp_path, monkeypatch
):
    changes = {"export.qat_epochs": 4, "export.sparsity": 0.75}
    wanted = tune(tiny_run, tmp_path / "whole", "int8_pruned", **changes)
    body = models.get_body(wanted.model)
    for layer in body.layers:
        kernel = layer.get_weights()[0] if layer.weights else np.ones(1)
        is_pruned = "pointwise" in layer.name and "norm" not in layer.name
        if (is_pruned and kernel.ndim == 4) or layer.name == "logits":
            assert np.mean(kernel == 0) == pytest.approx(0.75, abs=0.02), layer.name
        elif kernel.ndim == 4:
            assert not np.any(kernel == 0), layer.name
    assert wanted.ranges == {}
    for epochs in (1, 3):
        with monkeypatch.context() as patch:
            interrupt_after(patch, epochs)
            with pytest.raises(UserError, match="interrupted"):
                tune(tiny_run, tmp_path / "stopped", "int8_pruned", **changes)
    resumed = tune(tiny_run, tmp_path / "stopped", "int8_pruned", **changes)
    for ours, theirs in zip(weights(resumed), weights(wanted), strict=True):
        np.testing.assert_array_equal(ours, theirs)


KILLED = """
import sys, pathlib
from asc_tf.exporting.fine_tuning.fine_tune import fine_tune
from asc_tf.pipeline.run import Run
from asc_tf.training.model_file import load_whole
from asc_tf.workdir import Workdir
workdir = Workdir(pathlib.Path(sys.argv[1]))
run = Run.open(workdir, {"export.qat_epochs": 12})
model = load_whole(workdir.model_file)
fine_tune(run, model, "int8_qat", pathlib.Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_fine_tuning_resumes_to_the_same_weights(tiny_run, tmp_path):
    folder = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(tiny_run.path), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while not (folder / "latest.npz").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "result.npz").exists()
    changes = {"export.qat_epochs": 12}
    resumed = tune(tiny_run, folder, **changes)
    wanted = tune(tiny_run, tmp_path / "whole", **changes)
    for ours, theirs in zip(weights(resumed), weights(wanted), strict=True):
        np.testing.assert_array_equal(ours, theirs)
