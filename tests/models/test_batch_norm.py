"""Batch norm by the fused kernel: the layer of Keras, faster."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from asc_tf import models
from asc_tf.config import Model
from asc_tf.models.batch_norm import BatchNormalization

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(1, 3, (8, 20, 10, 16)).astype(np.float32)


def make_pair(images: np.ndarray, **settings) -> list:
    """The layer of Keras and ours, with the same weights."""
    pair = []
    for layer_class in (keras.layers.BatchNormalization, BatchNormalization):
        layer = layer_class(momentum=0.9, **settings)
        layer.build((None, *images.shape[1:]))
        random = np.random.default_rng(1)
        for weight in layer.weights:
            weight.assign(random.uniform(0.5, 2, weight.shape))
        pair.append(layer)
    return pair


def run(layer, images, training) -> tuple:
    """Outputs, gradients of inputs and weights, and moving statistics afterwards."""
    inputs = tf.constant(images)
    weights = [weight.value for weight in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=training)
        target = tf.reduce_mean(tf.cast(outputs, inputs.dtype) ** 2 * inputs)
    gradients = tape.gradient(target, [inputs, *weights])
    return outputs, gradients, [w.numpy() for w in layer.non_trainable_weights]


def is_fused(layer, images, training=True, **named) -> bool:
    graph = tf.function(lambda x: layer(x, training=training, **named))
    operations = graph.get_concrete_function(tf.constant(images)).graph.get_operations()
    return any(operation.type == "FusedBatchNormV3" for operation in operations)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}])
def test_it_computes_what_keras_computes(settings, training):
    theirs, ours = make_pair(IMAGES, **settings)
    wanted, found = (run(layer, IMAGES, training) for layer in (theirs, ours))
    np.testing.assert_allclose(found[0], wanted[0], atol=4e-6)
    for gradient, expected in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    for statistic, expected in zip(found[2], wanted[2], strict=True):
        np.testing.assert_allclose(statistic, expected, rtol=1e-6)
    assert is_fused(ours, IMAGES, training) == training


def test_moving_statistics_of_a_single_value_are_those_of_keras():
    image = IMAGES[:1, :1, :1]
    theirs, ours = make_pair(image)
    wanted, found = (run(layer, image, training=True) for layer in (theirs, ours))
    for statistic, expected in zip(found[2], wanted[2], strict=True):
        np.testing.assert_allclose(statistic, expected, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_in_mixed_precision_its_statistics_are_float32(policy):
    theirs, ours = make_pair(IMAGES, dtype=policy)
    images = IMAGES.astype(ours.compute_dtype).astype(np.float32)
    wanted, found = (run(layer, images, training=True) for layer in (theirs, ours))
    assert is_fused(ours, images)
    assert found[0].dtype == ours.compute_dtype
    digits = {"mixed_float16": 0.005, "mixed_bfloat16": 0.04}[policy]
    np.testing.assert_allclose(
        tf.cast(found[0], tf.float32), tf.cast(wanted[0], tf.float32), atol=digits
    )
    for statistic, expected in zip(found[2], wanted[2], strict=True):
        np.testing.assert_allclose(statistic, expected, rtol=1e-3)
    for gradient, expected in zip(found[1], wanted[1], strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, atol=20 * digits * scale)


@pytest.mark.parametrize(
    ("images", "settings"),
    [
        (IMAGES, {"trainable": False}),
        (IMAGES, {"synchronized": True}),
        (IMAGES, {"axis": 1}),
        (IMAGES, {"epsilon": 1e-6}),
        (IMAGES.astype(np.float64), {"dtype": "float64"}),
        (IMAGES[:, 0], {}),
    ],
    ids=["frozen", "synchronized", "axis", "epsilon", "float64", "rank"],
)
def test_what_the_kernel_does_not_fit_is_computed_by_keras(images, settings):
    theirs, ours = make_pair(images, **settings)
    assert not is_fused(ours, images)
    wanted, found = (run(layer, images, training=True) for layer in (theirs, ours))
    np.testing.assert_array_equal(found[0], wanted[0])


def test_masked_frames_are_computed_by_keras():
    theirs, ours = make_pair(IMAGES)
    mask = tf.constant(RANDOM.uniform(size=IMAGES.shape[:3]) > 0.5)
    wanted, found = (
        layer(IMAGES, training=True, mask=mask).numpy() for layer in (theirs, ours)
    )
    np.testing.assert_array_equal(found, wanted)


def test_the_networks_are_built_with_it_and_their_files_load_either_way(tmp_path):
    body = models.build(Model(name="separable_cnn", filters=(4,)), (8, 8), 3)
    [norm] = [each for each in body.layers if isinstance(each, BatchNormalization)][:1]
    assert type(norm).__name__ == "BatchNormalization"
    names = [weight.path for weight in body.weights]

    def as_keras(layer):
        is_norm = isinstance(layer, BatchNormalization)
        layer_class = keras.layers.BatchNormalization if is_norm else layer.__class__
        return layer_class.from_config(layer.get_config())

    plain = keras.models.clone_model(body, clone_function=as_keras)
    assert [weight.path for weight in plain.weights] == names
    for one, other in ((body, plain), (plain, body)):
        one.save_weights(tmp_path / "model.weights.h5")
        values = [np.array(weight) for weight in one.weights]
        other.set_weights([np.zeros_like(value) for value in values])
        other.load_weights(tmp_path / "model.weights.h5")
        for weight, value in zip(other.weights, values, strict=True):
            np.testing.assert_array_equal(weight, value)


def test_a_model_that_is_loaded_has_the_simple_operations_of_keras(tmp_path):
    from asc_tf.training.model_file import load_whole

    body = models.build(Model(name="separable_cnn", filters=(4,)), (8, 8), 3)
    body.save(tmp_path / "model.keras")
    loaded = load_whole(tmp_path / "model.keras")
    norms = [each for each in loaded.layers if "BatchNorm" in type(each).__name__]
    assert norms
    assert {type(each) for each in norms} == {keras.layers.BatchNormalization}
    for weight, value in zip(loaded.weights, body.weights, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_a_model_is_loaded_where_this_layer_was_never_imported(tmp_path, monkeypatch):
    from asc_tf.training.model_file import load_whole

    body = models.build(Model(name="separable_cnn", filters=(4,)), (8, 8), 3)
    body.save(tmp_path / "model.keras")
    name = "asc_tf>BatchNormalization"
    monkeypatch.delitem(keras.saving.get_custom_objects(), name)
    loaded = load_whole(tmp_path / "model.keras")
    assert len(loaded.weights) == len(body.weights)
