"""The registry, the twins in tf_keras, costs and budgets."""

import itertools
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from keras import layers
from networks import SMALL, randomize, spread_answers

import asc_tf
from asc_tf import models
from asc_tf.config import FAMILIES, Config, Frontend, Model
from asc_tf.core.errors import UsageError, UserError
from asc_tf.exporting.conversion import tflite
from asc_tf.exporting.saved_model import (
    expose_parts,
    find_embedding_scope,
    write_one_segment,
)
from asc_tf.frontend import FrontendLayer
from asc_tf.models.budget import (
    METADATA,
    check_budget,
    estimate_body_kb,
    estimate_frontend_kb,
    summarize,
)
from asc_tf.models.cost import compute_costs, count_macs, format_table
from asc_tf.training.model_file import load_whole

NETWORKS = [name for name in FAMILIES if name != "imagenet"]


def lively(settings, shape, labels, features):
    """A model whose every layer matters, and whose answers differ between inputs.

    Without momentum, batch norms have the statistics of `features` after one step.
    """
    model = models.build(settings, shape, labels, momentum=0.0)
    randomize(model)
    model(features, training=True)
    spread_answers(model, features)
    return model


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("separable_cnn", (24, 40)),
        *zip(NETWORKS, itertools.cycle([(20, 32, 2), (24, 40)]), strict=False),
    ],
)
def test_the_twin_in_tf_keras_gives_equal_probabilities(name, shape):
    import tf_keras

    keras.utils.set_random_seed(0)
    features = np.random.default_rng(1).standard_normal((3, *shape)).astype("float32")
    model = lively(SMALL[name], shape, 5, features)
    twin = models.build(SMALL[name], shape, 5, library=tf_keras)
    assert isinstance(twin, tf_keras.Model)
    assert [layer.name for layer in twin.layers] == [
        layer.name for layer in model.layers
    ]
    twin.set_weights(model.get_weights())
    found, wanted = (m(features, training=False).numpy() for m in (twin, model))
    # How much a random network's last layer must amplify, it amplifies rounding too.
    amplified = max(1, np.abs(model.get_layer("logits").get_weights()[0]).max())
    np.testing.assert_allclose(found, wanted, atol=3e-6 * amplified, rtol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.01
    assert compute_costs(twin) == compute_costs(model)


def test_tf_keras_is_imported_only_for_fine_tuning():
    """Elsewhere callers hand it to `build`."""
    folders = {
        path.parent.name
        for path in Path(asc_tf.__file__).parent.rglob("*.py")
        if re.search(r"import tf_keras|from tf_keras", path.read_text())
    }
    assert folders == {"fine_tuning"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_model_of_every_family_is_saved_loaded_and_a_start(name, tmp_path):
    config = Config().replace({"frontend.n_mels": 40, "frontend.deltas": 1})
    layer = FrontendLayer(32000, config.frontend)
    waveform = sounds(2, 10240)
    shape = (21, 40, 2)
    body = lively(SMALL[name], shape, 4, layer(waveform))
    whole = models.attach_frontend(layer, body, (10240,))
    whole.save(tmp_path / "model.keras")
    again = load_whole(tmp_path / "model.keras")
    np.testing.assert_allclose(again(waveform), whole(waveform), atol=1e-6)
    earlier = models.get_body(again)
    assert earlier.name == name
    new = models.build(SMALL[name], shape, 3)
    models.initialize(new, earlier)
    features = layer(waveform)
    before_last = [
        keras.Model(each.inputs[0], each.get_layer("dropout").output)(features)
        for each in (body, new)
    ]
    np.testing.assert_allclose(*before_last, rtol=1e-5)


@pytest.mark.parametrize("name", ["us8k_cnn", "fsdkaggle2018_cnn", "dcase2018_cnn"])
def test_features_too_small_for_the_poolings_are_refused(name):
    with pytest.raises(UsageError) as caught:
        models.build(SMALL[name], (3, 3), 4)
    assert f"model.name = {name}: features of 3 x 3 are too small" in str(caught.value)


@pytest.mark.parametrize("name", ["separable_cnn", "esa3_crnn", "cp_mobile"])
@pytest.mark.parametrize("frames, bands", [(1, 1), (2, 5)])
def test_features_of_any_size_build_where_nothing_is_flattened(name, frames, bands):
    model = models.build(SMALL[name], (frames, bands), 2)
    assert model(tf.zeros([1, frames, bands])).shape == (1, 2)


def test_the_default_model_has_at_most_64k_parameters_and_gives_probabilities():
    model = models.build(Model(), (313, 64), labels=10)
    assert model.count_params() <= 64_000
    probabilities = model(tf.random.stateless_normal([3, 313, 64], [1, 2])).numpy()
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_macs_are_those_of_a_hand_count():
    model = models.build(Model(filters=(4, 8)), (10, 6), labels=3)
    first = 5 * 3 * 4 * 9
    separable = 5 * 3 * (4 * 9 + 4 * 8) + 5 * 3 * (8 * 9 + 8 * 8)
    assert count_macs(model) == first + separable + 8 * 3


def test_the_whole_model_is_front_end_then_body():
    config = Config()
    layer = FrontendLayer(32000, config.frontend)
    body = models.build(config.model, (config.frontend.frames(16000), 64), 4)
    whole = models.attach_frontend(layer, body, (16000,))
    waveform = tf.random.stateless_normal([2, 16000], [1, 2])
    np.testing.assert_allclose(whole(waveform), body(layer(waveform)), atol=1e-6)
    assert whole.count_params() == body.count_params() + 2 * 64


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 15, 16, 100])
def test_an_epoch_leaves_little_of_the_old_batch_norm_statistics(steps):
    momentum = models.choose_momentum(steps)
    assert 0 < momentum <= 0.9
    assert momentum**steps <= 0.2 + 1e-9


def test_batch_norms_have_the_momentum_that_is_given():
    model = models.build(Model(), (40, 16), 3, 0.7)
    found = [layer.momentum for layer in model.layers if hasattr(layer, "momentum")]
    assert found == [0.7] * 13


def costs_of(*stack):
    """What layers cost, one on top of the other."""
    model = keras.Sequential(stack)
    return compute_costs(keras.Model(model.inputs, model.outputs))


@pytest.mark.parametrize(
    ("shape", "layer", "wanted"),
    [
        ((10, 6, 3), layers.Conv2D(8, (5, 3), padding="same"), 60 * 8 * 15 * 3),
        ((10, 6, 4), layers.Conv2D(8, 3, groups=2), 8 * 4 * 8 * 9 * 2),
        ((10, 6, 3), layers.Conv2D(8, 3, strides=2, padding="same"), 15 * 8 * 27),
        ((10, 6, 3), layers.DepthwiseConv2D(3, padding="same"), 60 * 3 * 9),
        (
            (10, 6, 3),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            60 * 6 * 9,
        ),
        ((10, 6, 3), layers.SeparableConv2D(8, 3, padding="same"), 60 * (27 + 24)),
        ((10, 6), layers.Conv1D(8, 3, padding="same"), 10 * 8 * 3 * 6),
        ((7,), layers.Dense(5), 35),
        ((4, 7), layers.Dense(5), 4 * 35),
        ((10, 6), layers.GRU(8), 10 * 3 * 8 * (6 + 8)),
        ((10, 6), layers.LSTM(8, return_sequences=True), 10 * 4 * 8 * (6 + 8)),
        ((10, 6), layers.Bidirectional(layers.GRU(8)), 2 * 10 * 3 * 8 * (6 + 8)),
        ((10, 6, 3), layers.BatchNormalization(), 0),
        ((10, 6, 3), layers.MaxPooling2D(2), 0),
    ],
)
def test_macs_of_a_layer_are_those_of_its_closed_form(shape, layer, wanted):
    (cost,) = costs_of(keras.Input(shape), layer)
    assert cost.macs == wanted
    assert cost.parameters == layer.count_params()
    assert cost.kind == type(layer).__name__


def test_the_table_has_a_line_per_layer_and_the_totals():
    model = models.build(Model(filters=(4, 8)), (10, 6), labels=3)
    costs = compute_costs(model)
    heads, *rows, total = format_table(costs).split("\n")
    assert len(rows) == len(costs) == len(model.layers) - 1
    assert rows[1].split() == (
        ["conv", "Conv2D", *["5", "x", "3", "x", "4"], "36", "540", "0.2", "0.1"]
    )
    largest = max(cost.activations for cost in costs)
    assert total.split()[-4:] == [
        f"{model.count_params():,}",
        f"{count_macs(model):,}",
        f"{4 * largest / 1000:.1f}",
        f"{largest / 1000:.1f}",
    ]
    assert heads.startswith("layer")


def test_a_front_end_costs_no_macs():
    body = models.build(SMALL["cp_mobile"], (63, 64), 4)
    layer = FrontendLayer(32000, Frontend())
    assert count_macs(models.attach_frontend(layer, body, (32000,))) == count_macs(body)


def test_both_kernels_of_a_separable_convolution_count_as_bytes():
    features = keras.Input((10, 6, 3))
    body = keras.Model(features, keras.layers.SeparableConv2D(8, 3)(features))
    assert estimate_body_kb(body) == pytest.approx((27 + 24 + 13 * 8 + 210) / 1000)


def test_a_model_within_its_budget_or_without_one_passes():
    body = models.build(Model(), (63, 64), 10)
    check_budget(body, Model(), Frontend())
    check_budget(body, Model(budget_kb=150, budget_mmacs=11), Frontend())


@pytest.mark.parametrize(
    ("budget", "wanted"),
    [
        ({"budget_kb": 100.0}, "model.budget_kb = 100: separable_cnn takes about 10"),
        ({"budget_mmacs": 10.0}, "model.budget_mmacs = 10: separable_cnn takes about"),
    ],
)
def test_a_model_over_its_budget_is_refused_with_its_table(budget, wanted):
    body = models.build(Model(), (63, 64), 10)
    with pytest.raises(UserError) as caught:
        check_budget(body, Model(**budget), Frontend())
    message = str(caught.value)
    assert message.startswith(wanted)
    assert format_table(compute_costs(body)) in message
    assert message.endswith(summarize(body, Frontend()))


def test_statistics_per_position_count_in_the_front_end():
    usual, each = Frontend(), Frontend(standardize="per_position")
    grown = estimate_frontend_kb(each, (63, 64)) - estimate_frontend_kb(usual, (63, 64))
    assert grown == pytest.approx(8 * 63 * 64 / 1000)


def sounds(count, samples):
    """Pulsed tones, low, middle and high by turns, in noise: `[count, samples]`."""
    generator = np.random.default_rng(0)
    time = np.arange(samples) / 32000
    found = []
    for number in range(count):
        pitch = (300, 1500, 7000)[number % 3] * generator.uniform(0.8, 1.25)
        pulse = np.sin(2 * np.pi * generator.uniform(1, 20) * time) > 0
        tone = np.sin(2 * np.pi * pitch * time) * pulse * generator.uniform(0.1, 0.3)
        found.append(tone + 0.01 * generator.standard_normal(samples))
    return np.float32(found)


@pytest.mark.parametrize(
    ("settings", "measured_kb"),
    [(SMALL["esa3_crnn"], 42.1), (Model(name="cp_mobile"), 68.8), (Model(), 97.6)],
    ids=["esa3_crnn", "cp_mobile", "separable_cnn"],
)
def test_the_estimated_size_is_that_of_files_that_were_written(settings, measured_kb):
    """As TensorFlow 2.17 wrote them, without metadata; the test below does it again."""
    body = models.build(settings, (63, 64), 3)
    estimated = estimate_body_kb(body) + estimate_frontend_kb(Frontend(), (63, 64))
    assert estimated == pytest.approx(measured_kb + METADATA / 1000, abs=2)


@pytest.mark.parametrize(
    ("settings", "most_kb"),
    [
        pytest.param(SMALL["esa3_crnn"], 50, id="esa3_crnn", marks=tiny.SLOW),
        pytest.param(Model(name="cp_mobile"), 80, id="cp_mobile", marks=tiny.SLOW),
    ],
)
def test_litert_files_agree_with_keras_and_are_as_large_as_estimated(
    settings, most_kb, tmp_path
):
    from ai_edge_litert.interpreter import Interpreter

    layer, segments = FrontendLayer(32000, Frontend()), sounds(48, 32000)
    layer(segments)
    layer.set_statistics(np.float32(-40), np.float32(15))
    keras.utils.set_random_seed(1)
    body = models.build(settings, (63, 64), 3, momentum=0.5)
    body.compile(
        keras.optimizers.Adam(0.01), "categorical_crossentropy", jit_compile=False
    )
    labels = np.eye(3)[np.arange(48) % 3]
    body.fit(layer(segments), labels, batch_size=16, epochs=6, verbose=0)
    whole = models.attach_frontend(layer, body, (32000,))
    write_one_segment(expose_parts(whole), tmp_path / "saved_model")
    settings = tflite.Settings(body.name, find_embedding_scope(whole))
    paths = tflite.convert(
        tmp_path / "saved_model", ["float32", "int8"], settings, segments
    ).paths
    wanted = whole(segments).numpy()
    assert (wanted.argmax(axis=1) == labels.argmax(axis=1)).mean() > 0.9
    for name, (limit, agreement) in {
        "float32": (1e-6, 1),
        "int8": (0.03, 0.95),
    }.items():
        run = Interpreter(str(paths[name])).get_signature_runner("serving_default")
        found = np.concatenate(
            [run(waveform=row[None])["probabilities"] for row in segments]
        )
        assert np.abs(found - wanted).mean() < limit
        same = found.argmax(axis=1) == wanted.argmax(axis=1)
        assert same.mean() >= agreement
    kb = paths["int8"].stat().st_size / 1000
    assert kb <= most_kb
    estimated = estimate_body_kb(body) + estimate_frontend_kb(Frontend(), (63, 64))
    assert estimated == pytest.approx(kb + METADATA / 1000, abs=3)
