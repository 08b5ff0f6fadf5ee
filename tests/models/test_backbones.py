"""Backbones trained on ImageNet: their weights, preprocessing and trained layers."""

import keras
import numpy as np
import pytest
import tiny

from asc_tf import models
from asc_tf.config import Model
from asc_tf.core.errors import UsageError, UserError
from asc_tf.models import imagenet
from asc_tf.models.blocks import Blocks
from asc_tf.models.imagenet import BACKBONES

IMAGE = (75, 75, 3)


def settings_of(name="mobilenet_v2", weights="none", **settings):
    return Model(name="imagenet", backbone=name, weights=str(weights), **settings)


def built(*names, **settings):
    return models.build(settings_of(*names, **settings), IMAGE, 3)


def application(library, name, **settings):
    function = getattr(library.applications, BACKBONES[name].application)
    return function(include_top=False, weights=None, input_shape=IMAGE)


def images(count=2):
    generator = np.random.default_rng(0)
    return generator.uniform(0, 255, (count, *IMAGE)).astype("float32")


def weights_of(model):
    """Weights behind the input and before the last layer."""
    layers = [layer for layer in model.layers if layer.name != "logits"]
    return [weight for layer in layers for weight in layer.weights]


def refusal(kind, call, *arguments):
    with pytest.raises(kind) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A function: a network of tf_keras, its weights in the format of the official
    files, and the model built with these."""
    import tf_keras

    found = {}

    def make(name):
        if name in found:
            return found[name]
        source, generator = application(tf_keras, name), np.random.default_rng(1)
        source.set_weights(
            [
                np.abs(generator.normal(1, 0.1, w.shape)) if w.ndim == 1 else w
                for w in source.get_weights()
            ]
        )
        path = tmp_path_factory.mktemp(name) / "notop.h5"
        source.save_weights(path)
        # Other layers of the process do not change the names of these.
        keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()
        found[name] = source, path, built(name, path)
        return found[name]

    return make


@pytest.mark.parametrize("name", tiny.cases(BACKBONES, "mobilenet_v2"))
def test_a_backbone_with_official_weights_takes_pixels_as_its_own_preprocessing_does(
    name, official
):
    import tf_keras

    module = {
        "inception_v3": tf_keras.applications.inception_v3,
        "mobilenet_v2": tf_keras.applications.mobilenet_v2,
        "efficientnet_v2_b0": tf_keras.applications.efficientnet_v2,
    }[name]
    source, _, model = official(name)
    wanted = source(module.preprocess_input(images())).numpy().mean(axis=(1, 2))
    found = keras.Model(model.inputs[0], model.get_layer("mean").output)(images())
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert len(weights_of(model)) == len(source.get_weights()) > 200


@pytest.mark.parametrize(
    "name", tiny.cases(["mobilenet_v2", "inception_v3"], "mobilenet_v2")
)
def test_weights_come_from_files_that_keras_wrote_and_from_no_others(name, tmp_path):
    network = application(keras, name)
    generator = np.random.default_rng(0)

    def load(path):
        imagenet._load_weights(network, path, BACKBONES[name])

    for ending, save in (
        (".weights.h5", network.save_weights),
        (".keras", network.save),
    ):
        wanted = [
            generator.uniform(0.5, 1.5, w.shape).astype("float32")
            for w in network.weights
        ]
        network.set_weights(wanted)
        path = tmp_path / f"notop{ending}"
        save(path)
        network.set_weights([0 * w for w in wanted])
        load(path)
        for found, value in zip(network.weights, wanted, strict=True):
            np.testing.assert_array_equal(found, value)
    wrong, empty = tmp_path / "wrong.weights.h5", tmp_path / "empty.h5"
    models.build(Model(filters=(4,)), (40, 16), 3).save_weights(wrong)
    empty.touch()
    for path in (wrong, empty):
        message = refusal(UserError, load, path)
        assert message.startswith(f"{path}: no weights of ")


def test_a_file_of_weights_that_is_not_there_is_refused_by_name():
    message = refusal(UsageError, built, "mobilenet_v2", "nowhere.h5")
    assert message.startswith("model.weights = nowhere.h5: no such file")


def test_only_the_last_layer_is_trained_unless_a_first_one_is_named(official):
    _, path, frozen = official("mobilenet_v2")
    assert [weight.path for weight in frozen.trainable_weights] == [
        "logits/kernel",
        "logits/bias",
    ]
    tuned = built("mobilenet_v2", path, train_from="block_16_project")
    assert [weight.path for weight in tuned.trainable_weights] == [
        "block_16_project/kernel",
        "Conv_1/kernel",
        "logits/kernel",
        "logits/bias",
    ]
    norms = [weight for weight in tuned.weights if "moving" in weight.path]
    before = [np.array(weight) for weight in norms]
    tuned(np.full((2, *IMAGE), 100, "float32"), training=True)
    for weight, value in zip(norms, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.slow
def test_names_of_a_backbone_do_not_depend_on_what_was_built_before(official):
    """Inception's layers are named by class and number; the others have own names."""
    _, _, model = official("inception_v3")
    names = {layer.name for layer in model.layers}
    assert {f"conv2d_{number}" for number in range(1, 95)} <= names
    assert {f"batch_normalization_{number}" for number in range(1, 95)} <= names
    assert not {"conv2d", "conv2d_95", "batch_normalization"} & names
    assert "mixed7" in names


@pytest.mark.parametrize("name", tiny.cases(BACKBONES, "mobilenet_v2"))
def test_the_twin_of_a_backbone_gives_equal_probabilities(name, official):
    import tf_keras

    _, _, model = official(name)
    twin = models.build(settings_of(name), IMAGE, 3, library=tf_keras)
    twin.set_weights(model.get_weights())
    found, wanted = (m(images(), training=False).numpy() for m in (twin, model))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert {layer.name for layer in twin.layers} == {
        layer.name for layer in model.layers
    }


@pytest.mark.parametrize("name", tiny.cases(BACKBONES, "mobilenet_v2"))
def test_a_backbone_with_its_preprocessing_is_saved_and_loaded(
    name, official, tmp_path
):
    from asc_tf.training.model_file import load_whole

    _, _, model = official(name)
    model.save(tmp_path / "model.keras")
    again = load_whole(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images(1)), model(images(1)), atol=1e-6)
    assert len(again.trainable_weights) == len(model.trainable_weights) == 2


@pytest.mark.parametrize("name", BACKBONES)
def test_without_network_the_file_to_fetch_is_named(name, monkeypatch):
    def unreachable(*arguments, **settings):
        raise Exception("URL fetch failure on https://...: None -- unreachable")

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    message = refusal(UserError, built, name, "imagenet")
    assert BACKBONES[name].file in message
    assert "https://storage.googleapis.com/tensorflow/keras-applications/" in message
    assert "unreachable" in message
    assert "~/.keras/models" in message


def test_an_unknown_first_layer_is_refused_with_the_nearest(official):
    _, _, network = official("mobilenet_v2")
    settings, blocks = settings_of(train_from="block_16_projekt"), Blocks(keras, 0.9)
    message = refusal(UsageError, imagenet._set_trainable, network, settings, blocks)
    assert "did you mean block_16_project?" in message


def test_features_that_are_no_image_are_refused():
    message = refusal(UsageError, models.build, settings_of(), (40, 64), 3)
    assert "set frontend.image_frames" in message
