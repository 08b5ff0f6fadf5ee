"""Mixed precision: in the body alone, and nowhere in what is saved."""

import contextlib
import io
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from asc_tf import models, report
from asc_tf.config import Config, Model
from asc_tf.core.errors import UserError
from asc_tf.edge.tflite_metadata import read_metadata
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.exporting.export import export
from asc_tf.models.precision import (
    choose_precision,
    dtype_policy,
    list_layers,
    make_float32_twin,
)
from asc_tf.training import build, distribution
from asc_tf.training.model_file import load_whole
from asc_tf.training.train import train
from asc_tf.workdir import Workdir

PRECISIONS = tiny.cases(["mixed_float16", "mixed_bfloat16"], "mixed_float16")


def train_in(precision, config, workdir):
    """Train with the precision that `auto` chooses; returns what was printed."""
    stdout = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stdout):
        patch.setattr(build, "choose_precision", lambda wanted: precision)
        train(config, workdir)
    return stdout.getvalue()


@pytest.fixture(scope="module", params=PRECISIONS)
def trained(request, tmp_path_factory):
    """The configuration of a run with `auto` precision, its folder, and its output."""
    folder = tmp_path_factory.mktemp(request.param)
    features = tiny.write_features(folder / "features")
    config = tiny.features_config(features, train__precision="auto", train__epochs=2)
    workdir = Workdir(folder / "run")
    return config, workdir, train_in(request.param, config, workdir)


@pytest.fixture(scope="module")
def run(trained):
    return trained[1]


def test_the_saved_model_is_float32_and_holds_the_weights_of_the_best_epoch(
    run, monkeypatch
):
    monkeypatch.setattr(report, "write_report", lambda *arguments, **named: None)
    whole = load_whole(run.model_file)
    layers = [*whole.layers, *list_layers(whole)]
    assert {layer.compute_dtype for layer in layers} == {"float32"}
    best = min(tiny.history(run), key=lambda row: row["val_loss"])
    scores, _ = evaluate(run, "validation")
    # The loss of training was computed in half precision.
    assert scores["log_loss"] == pytest.approx(best["val_loss"], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_what_was_trained_in_mixed_precision_is_exported_as_its_float32_copy(
    precision, tmp_path
):
    formats = ("float32", "int8") if precision == "mixed_float16" else ("float32",)
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=5)
    config = tiny.config(corpus, train__precision="auto", train__epochs=2)
    run = Workdir(tmp_path / "run")
    assert precision in train_in(precision, config, run)
    changes = {
        "export.formats": formats,
        "export.min_agreement": 0.0,
        "export.max_accuracy_drop": 1.0,
    }
    export(run, tmp_path / "export", changes)
    copy = Workdir(shutil.copytree(run.path, tmp_path / "copy"))
    whole = load_whole(run.model_file)
    body = models.get_body(whole)
    twin = models.build(config.model, body.input_shape[1:], 3)
    twin.set_weights(body.get_weights())
    frontend = whole.layers[1]
    shape = whole.input_shape[1:]
    models.attach_frontend(frontend, twin, shape).save(copy.model_file)
    export(copy, tmp_path / "other", changes)
    for name in formats:
        folders = ("export", "other")
        files = [tmp_path / folder / f"{name}.tflite" for folder in folders]
        assert read_metadata(files[0]).sha256 == read_metadata(files[1]).sha256
        assert b"Flex" not in files[0].read_bytes()


def test_the_policy_of_the_process_is_as_before(run):
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(ZeroDivisionError), dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        1 / 0  # noqa: B018
    assert keras.config.dtype_policy().name == "float32"


def test_the_checkpoint_holds_the_state_of_loss_scaling(trained):
    _, run, output = trained
    with np.load(run.checkpoint_file) as saved:
        arrays = [saved[name] for name in saved if name != "history"]
    scales = [a for a in arrays if a.shape == () and a == 2.0**15]
    assert len(scales) == ("mixed_float16" in output)


def test_the_features_and_probabilities_of_a_mixed_body_are_float32():
    from asc_tf import models

    with dtype_policy("mixed_float16"):
        body = models.build(Config().model, (32, 16), 3)
    assert body.compute_dtype == "float16"
    assert body(tf.zeros((2, 32, 16))).dtype == tf.float32
    assert {v.dtype for v in body.trainable_variables} == {"float32"}


@pytest.mark.parametrize("name", ["separable_cnn", "esa3_crnn", "cp_mobile"])
def test_a_plain_model_is_alike_in_layers_and_weights(name):
    from asc_tf import models

    with dtype_policy("mixed_bfloat16"):
        body = models.build(Model(name=name), (32, 16), 3)
    distribution.synchronize(body)
    twin = make_float32_twin(body)
    assert [layer.name for layer in twin.layers] == [x.name for x in body.layers]
    # Those within wrappers too.
    assert {x.compute_dtype for x in twin._flatten_layers()} == {"float32"}
    for one, other in zip(twin.weights, body.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    norms = keras.layers.BatchNormalization
    found = [x for x in list_layers(twin) if isinstance(x, norms)]
    assert found and not any(layer.synchronized for layer in found)


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ([], "float32"),
        ([(6, 1)], "float32"),
        ([(7, 0)], "mixed_float16"),
        ([(9, 0), (6, 1)], "float32"),
    ],
)
def test_auto_goes_by_the_compute_capability_of_the_gpus(
    monkeypatch, capabilities, chosen
):
    monkeypatch.setattr(
        distribution.tf.config, "list_physical_devices", lambda kind: capabilities
    )
    monkeypatch.setattr(
        distribution.tf.config.experimental,
        "get_device_details",
        lambda gpu: {"compute_capability": gpu},
    )
    assert choose_precision("auto") == chosen
    assert choose_precision("mixed_bfloat16") == "mixed_bfloat16"


def test_auto_says_what_was_chosen_and_a_run_does_not_change_its_precision(trained):
    config, workdir, output = trained
    assert re.search(r"^training in mixed_b?float16 on 1 device$", output, re.MULTILINE)
    assert choose_precision("auto") == "float32"
    # With bfloat16 there is no loss scale, so the variables are those of float32.
    if "mixed_float16" in output:
        with pytest.raises(UserError, match=r"cannot be restored .*train\.precision"):
            train(config, workdir)
