"""The networks layer by layer: published shapes, and parameters counted by hand."""

import keras
import numpy as np
import pytest
import tiny
from keras import layers

from asc_tf import models
from asc_tf.config import FAMILIES, Model
from asc_tf.models.cost import count_macs


def built(name, shape, labels=10, **settings):
    return models.build(Model(name=name, **settings), shape, labels)


def shapes(model, *names):
    return [model.get_layer(name).output.shape[1:] for name in names]


def kernels(model):
    """Shape of the kernel of each layer that has one, in order."""
    return [
        tuple(layer.kernel.shape) for layer in model.layers if hasattr(layer, "kernel")
    ]


def norm(*filters):
    """Parameters of batch norms."""
    return 4 * sum(filters)


def test_separable_cnn_has_the_layers_that_it_always_had():
    model = built("separable_cnn", (313, 64))
    names = [f"block{n}_pool" for n in (1, 2, 3)]
    assert shapes(model, "conv", *names) == [
        (157, 32, 24),
        (79, 16, 48),
        (40, 8, 96),
        (20, 4, 144),
    ]
    separable = [(24, 48), (48, 48), (48, 96), (96, 96), (96, 144), (144, 144)]
    counted = 9 * 24 + norm(24) + 144 * 10 + 10
    counted += sum(9 * a + norm(a) + a * b + norm(b) for a, b in separable)
    assert model.count_params() == counted == 61834


def test_esa3_cnn_pools_twice_and_joins_average_and_maximum():
    model = built("esa3_cnn", (128, 64))
    assert shapes(model, "stage1_pool", "stage2_pool", "stage3_conv1") == [
        (64, 32, 32),
        (32, 16, 64),
        (32, 16, 128),
    ]
    convolutions = [(1, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 128)]
    assert kernels(model) == [
        *((3, 3, a, b) for a, b in convolutions),
        (256, 256),
        (256, 10),
    ]
    counted = sum(9 * a * b + norm(b) for a, b in convolutions)
    counted += 256 * 256 + 256 + 256 * 10 + 10
    assert model.count_params() == counted == 217514
    rows = [128 * 64] * 3 + [64 * 32] * 2 + [32 * 16]
    positions = zip(rows, convolutions, strict=True)
    assert count_macs(model) == (
        sum(n * 9 * a * b for n, (a, b) in positions) + 256 * 256 + 256 * 10
    )


def test_esa3_crnn_keeps_its_frames_and_reads_them_in_both_directions():
    model = built("esa3_crnn", (128, 64))
    assert shapes(model, "stage1_pool", "stage2_pool", "stage3_pool", "sequence") == [
        (128, 16, 32),
        (128, 4, 64),
        (128, 1, 128),
        (128, 128),
    ]
    assert shapes(model, "both_ways", "mean", "dense") == [(128, 128), (128,), (128,)]
    convolutions = [(1, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 128)]
    counted = sum(9 * a * b + norm(b) for a, b in convolutions)
    counted += 2 * 3 * 64 * (128 + 64 + 2)  # two biases a gate
    counted += 128 * 128 + 128 + 128 * 10 + 10
    assert model.count_params() == counted == 241450


def test_us8k_cnn_convolves_single_points_of_two_channels():
    model = built("us8k_cnn", (41, 60, 2))
    assert shapes(model, "block1_pool", "block2_pool", "flat") == [
        (20, 30, 48),
        (10, 15, 96),
        (14400,),
    ]
    assert kernels(model) == [
        (1, 1, 2, 48),
        (1, 1, 48, 48),
        (1, 1, 48, 96),
        (1, 1, 96, 96),
        (14400, 256),
        (256, 10),
    ]
    weights = sum(int(np.prod(kernel)) for kernel in kernels(model))
    biases = 48 + 48 + 96 + 96 + 256 + 10
    assert model.count_params() == weights + biases == 3705738


def test_dcase2018_cnn_pools_more_frames_than_bands():
    model = built("dcase2018_cnn", (500, 40))
    assert shapes(model, "conv1", "pool1", "pool2", "maximum") == [
        (500, 40, 64),
        (125, 20, 64),
        (62, 10, 64),
        (64,),
    ]
    counted = 25 * 64 + norm(64) + 25 * 64 * 64 + norm(64) + 64 * 10 + 10
    assert model.count_params() == counted == 105162


def test_fsdkaggle2018_cnn_has_kernels_of_ten_frames_and_four_coefficients():
    model = built("fsdkaggle2018_cnn", (173, 40), labels=41)
    assert shapes(model, "pool1", "pool2", "pool3", "pool4", "flat") == [
        (86, 20, 32),
        (43, 10, 32),
        (21, 5, 32),
        (10, 2, 32),
        (640,),
    ]
    counted = 40 * 32 + 3 * 40 * 32 * 32 + norm(32, 32, 32, 32)
    counted += 640 * 64 + norm(64) + 64 * 41 + 41
    assert kernels(model)[0] == (10, 4, 1, 32)
    assert model.count_params() == counted == 168553


def test_cp_mobile_halves_frames_thrice_and_bands_thrice():
    model = built("cp_mobile", (63, 64))
    outputs = [f"block{number}_relu" for number in range(1, 7)]
    assert shapes(model, "conv1", "conv2", *outputs) == [
        (32, 32, 5),
        (16, 16, 20),
        (16, 16, 20),
        (16, 16, 20),
        (8, 8, 20),
        (8, 8, 40),
        (8, 8, 40),
        (8, 8, 88),
    ]
    added = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    assert added == ["block1_add", "block2_add", "block3_add", "block5_add"]


def test_cp_mobile_has_the_published_size_with_the_published_filters():
    model = built("cp_mobile", (65, 256), filters=(32, 56, 104))
    blocks = [(32, 32)] * 3 + [(32, 56), (56, 56), (56, 104)]
    counted = 9 * 8 + norm(8) + 9 * 8 * 32 + norm(32) + 104 * 10 + 10
    for a, b in blocks:
        wide = 2 * a
        counted += a * wide + norm(wide) + 9 * wide + norm(wide) + wide * b + norm(b)
    assert model.count_params() == counted
    assert 58_000 < counted < 64_000


@pytest.mark.parametrize("seconds, frames", [(1, 63), (10, 626)])
def test_cp_mobile_stays_within_30_million_macs(seconds, frames):
    model = built("cp_mobile", (frames, 64))
    assert model.count_params() == 32127
    assert count_macs(model) <= 30e6


def test_every_family_has_a_builder():
    assert list(models.BUILDERS) == list(FAMILIES)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "imagenet"])
def test_the_published_filters_can_be_given_and_are_what_none_stands_for(name):
    shape = (173, 60, 2)
    own, usual = built(name, shape, filters=FAMILIES[name].filters), built(name, shape)
    assert own.count_params() == usual.count_params()
    assert own.name == usual.name == name


@pytest.mark.parametrize(
    "name", [name for name, family in FAMILIES.items() if family.units]
)
def test_units_change_the_dense_layers(name):
    model = built(name, (173, 60, 2), units=24)
    wanted = 48 if name == "esa3_crnn" else 24
    assert model.get_layer("dense").output.shape == (None, wanted)


def conv_norm_relu(x, filters, kernel):
    x = layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def plain_us8k_cnn(x):
    for filters in (48, 96):
        x = layers.Conv2D(filters, 1, padding="same")(x)
        x = layers.Conv2D(filters, 1, padding="same")(x)
        x = layers.Dropout(0.5)(layers.MaxPooling2D(2)(layers.Activation("relu")(x)))
    x = layers.Activation("relu")(layers.Dense(256)(layers.Flatten()(x)))
    return layers.Dropout(0.5)(x)


def plain_esa3_cnn(x):
    x = x[..., np.newaxis]
    for filters in (32, 32, 32):
        x = conv_norm_relu(x, filters, 3)
    x = layers.MaxPooling2D()(x)
    x = conv_norm_relu(conv_norm_relu(x, 64, 3), 64, 3)
    x = conv_norm_relu(layers.MaxPooling2D()(x), 128, 3)
    sides = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    x = layers.Dense(256, activation="relu")(layers.Concatenate()(sides))
    return layers.Dropout(0.5)(x)


def plain_esa3_crnn(x):
    x = x[..., np.newaxis]
    for filters, depth in ((32, 3), (64, 2), (128, 1)):
        for _ in range(depth):
            x = conv_norm_relu(x, filters, 3)
        x = layers.MaxPooling2D((1, 4), padding="same")(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * 128))(x)
    x = layers.Bidirectional(layers.GRU(64, return_sequences=True))(x)
    x = layers.Dense(128, activation="relu")(layers.GlobalAveragePooling1D()(x))
    return layers.Dropout(0.5)(x)


def plain_dcase2018_cnn(x):
    x = layers.MaxPooling2D((4, 2))(conv_norm_relu(x[..., np.newaxis], 64, 5))
    x = layers.MaxPooling2D(2)(conv_norm_relu(layers.Dropout(0.2)(x), 64, 5))
    return layers.GlobalMaxPooling2D()(layers.Dropout(0.2)(x))


def plain_fsdkaggle2018_cnn(x):
    x = x[..., np.newaxis]
    for _ in range(4):
        x = layers.MaxPooling2D()(conv_norm_relu(x, 32, (10, 4)))
    x = layers.Dense(64, use_bias=False)(layers.Flatten()(x))
    return layers.ReLU()(layers.BatchNormalization()(x))


def plain_imagenet(x):
    # Pixels of 0 to 255 as -1 to 1; another order of sums differs by 1e-4 behind it.
    scaled = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, input_tensor=scaled
    )
    return layers.GlobalAveragePooling2D()(network.output)


PLAIN = {
    "us8k_cnn": (plain_us8k_cnn, (41, 60, 2)),
    "esa3_cnn": (plain_esa3_cnn, (64, 32)),
    "esa3_crnn": (plain_esa3_crnn, (16, 64)),
    "dcase2018_cnn": (plain_dcase2018_cnn, (100, 40)),
    "fsdkaggle2018_cnn": (plain_fsdkaggle2018_cnn, (48, 40)),
    "imagenet": (plain_imagenet, (75, 75, 3)),
}
"""Each network up to its last layer, written with Keras's own layers, and an input."""


SCALES = {"us8k_cnn": 20, "imagenet": 60}
"""Deviation of the features of networks that take decibels or pixels."""


def unlike_the_first(weights, generator):
    """Weights whose biases and statistics of batch norms are neither 0 nor 1."""
    return [
        generator.uniform(0.5, 1.5, value.shape) if value.ndim == 1 else value
        for value in weights
    ]


@pytest.mark.parametrize("name", tiny.cases(PLAIN, *set(PLAIN) - {"imagenet"}))
def test_a_published_network_gives_the_probabilities_of_its_plain_keras_layers(name):
    body, shape = PLAIN[name]
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    batch = generator.normal(0, SCALES.get(name, 1), (4, *shape)).astype(np.float32)
    backbone = {"backbone": "inception_v3", "weights": "none", "train_from": "conv2d_1"}
    settings = Model(name=name, **(backbone if name == "imagenet" else {}))
    model = models.build(settings, shape, 10, momentum=0.0)
    model.set_weights(unlike_the_first(model.get_weights(), generator))
    # Batch norms take the statistics of these examples, which then differ to the end.
    model(batch, training=True)
    features = keras.Input(shape)
    x = layers.Dense(10)(body(features))
    plain = keras.Model(features, layers.Softmax()(x))
    plain.set_weights(model.get_weights())
    found, wanted = model(batch).numpy(), plain(batch).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.max() < 0.999
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_the_kernels_of_us8k_cnn_begin_normal_and_its_dense_layers_as_glorot_s():
    model = built("us8k_cnn", (41, 60, 2))
    deviations = {
        layer.name: np.std(layer.kernel)
        for layer in model.layers
        if hasattr(layer, "kernel")
    }
    glorot = {"dense": np.sqrt(2 / (14400 + 256)), "logits": np.sqrt(2 / (256 + 10))}
    normal = dict.fromkeys([f"block{n}_conv{k}" for n in (1, 2) for k in (1, 2)], 0.05)
    wanted = normal | glorot
    assert deviations.keys() == wanted.keys()
    for layer, deviation in wanted.items():
        assert deviations[layer] == pytest.approx(deviation, rel=0.25), layer
    kernels = [model.get_layer(f"block{n}_conv2").kernel for n in (1, 2)]
    assert abs(np.mean(kernels[1])) < 0.002
    assert not np.array_equal(kernels[0][0, 0, :, :48], kernels[1][0, 0, :48, :48])
