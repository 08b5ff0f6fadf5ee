"""Weights of an earlier run, frozen layers, and backbones trained on ImageNet."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from asc_tf import models
from asc_tf.config import Config, Model
from asc_tf.core.errors import UsageError, UserError
from asc_tf.frontend import FrontendLayer
from asc_tf.models import imagenet

SHAPE = (40, 16)
SMALL = Model(filters=(4, 8))


def built(settings=SMALL, shape=SHAPE, labels=3):
    return models.build(settings, shape, labels)


def randomized(model):
    """The model with random weights and statistics, as if it were trained."""
    generator = np.random.default_rng(0)
    model.set_weights(
        [generator.uniform(0.5, 1.5, w.shape) for w in model.get_weights()]
    )
    return model


def refusal(kind, call, *arguments):
    with pytest.raises(kind) as caught:
        call(*arguments)
    return str(caught.value)


def test_all_weights_but_the_last_layer_s_come_from_the_earlier_run():
    earlier, new = randomized(built(labels=7)), built(labels=3)
    head = [w.copy() for w in new.get_layer("logits").get_weights()]
    models.initialize(new, earlier)
    for layer in new.layers:
        wanted = earlier.get_layer(layer.name).get_weights()
        wanted = head if layer.name == "logits" else wanted
        assert len(layer.get_weights()) == len(wanted)
        for found, value in zip(layer.get_weights(), wanted, strict=True):
            np.testing.assert_array_equal(found, value)
    assert all(layer.trainable for layer in new.layers)


@pytest.mark.parametrize("name", ["esa3_crnn", "cp_mobile", "us8k_cnn"])
def test_a_saved_model_of_another_family_is_a_start_too(name, tmp_path):
    settings = Model(name=name, units=8 if name != "cp_mobile" else 0)
    config = Config().replace({"frontend.n_mels": 16})
    layer = FrontendLayer(32000, config.frontend)
    samples = 16384
    shape = (config.frontend.frames(samples), 16)
    earlier = randomized(built(settings, shape))
    whole = models.attach_frontend(layer, earlier, (samples,))
    whole.save(tmp_path / "model.keras")
    from asc_tf.training.model_file import load_whole

    again = load_whole(tmp_path / "model.keras")
    wave = tf.random.stateless_normal([2, samples], [1, 2])
    np.testing.assert_allclose(again(wave), whole(wave), atol=1e-6)
    new = built(settings, shape)
    models.initialize(new, models.get_body(again))
    features = tf.random.stateless_normal([2, *shape], [1, 2])
    before_last = [
        keras.Model(body.inputs[0], body.get_layer("dropout").output)(features)
        for body in (earlier, new)
    ]
    np.testing.assert_allclose(*before_last, rtol=1e-5)


def test_the_last_layer_comes_too_where_it_is_kept():
    earlier, new = randomized(built()), built()
    models.initialize(new, earlier, ["conv*"], keep_head=True)
    for found, wanted in zip(new.get_weights(), earlier.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_frozen_layer_learns_nothing_and_its_batch_norm_keeps_its_statistics():
    new = built()
    models.initialize(new, randomized(built()), ["conv*"])
    before = {layer.name: layer.get_weights() for layer in new.layers}
    new.compile("sgd", "categorical_crossentropy", jit_compile=False)
    features = np.random.default_rng(1).standard_normal((8, *SHAPE)).astype("float32")
    new.fit(features, np.eye(3)[np.arange(8) % 3], epochs=2, verbose=0)
    changed = {
        layer.name
        for layer in new.layers
        if any(
            not np.array_equal(old, now)
            for old, now in zip(before[layer.name], layer.get_weights(), strict=True)
        )
    }
    assert not {"conv", "conv_norm"} & changed
    assert {"block1a_depthwise", "block1b_pointwise_norm", "logits"} <= changed


def test_the_new_last_layer_is_never_frozen():
    model = built()
    models.freeze_layers(model, ["*"])
    trained = [layer.name for layer in model.layers if layer.trainable_weights]
    assert trained == ["logits"]


@pytest.mark.parametrize("pattern", ["blocks1*", "logits", "block1_pool", ""])
def test_a_pattern_that_fits_no_layer_with_weights_is_refused(pattern):
    message = refusal(UsageError, models.freeze_layers, built(), [pattern])
    assert message.startswith(f"model.freeze: {pattern} fits no layer of separable_cnn")


def test_another_family_is_refused_by_name():
    earlier = built(Model(name="cp_mobile"))
    message = refusal(UserError, models.initialize, built(), earlier)
    assert "its model is cp_mobile, and this one is separable_cnn" in message


def test_other_shapes_are_refused_with_a_table_and_nothing_is_copied():
    new, earlier = built(), randomized(built(Model(filters=(4, 6, 6))))
    before = new.get_weights()
    message = refusal(UserError, models.initialize, new, earlier)
    first, heads, *rows = message.split("\n")
    assert "layers differ" in first
    assert heads.split() == ["layer", "there", "here"]
    assert rows[0].split() == ["block1a_pointwise", "1x1x4x6", "1x1x4x8"]
    assert rows[-1].startswith("and ")
    assert len(rows) == 9
    for found, wanted in zip(new.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_layers_that_only_one_of_the_two_has_are_in_the_table():
    message = refusal(UserError, models.initialize, built(Model(filters=(4,))), built())
    assert "block1a_depthwise" in message
    assert message.split("\n")[2].split()[-1] == "none"


IMAGE = (75, 75, 3)


def backbone(name="mobilenet_v2", weights="none", **settings):
    section = Model(name="imagenet", backbone=name, weights=weights, **settings)
    return models.build(section, IMAGE, 3)


@pytest.mark.parametrize("name", imagenet.BACKBONES)
def test_a_backbone_takes_pixels_as_its_own_preprocessing_does(name):
    model = backbone(name)
    image = np.random.default_rng(0).uniform(0, 255, (2, *IMAGE)).astype("float32")
    application = getattr(keras.applications, imagenet.BACKBONES[name].application)
    plain = application(include_top=False, weights=None, input_shape=IMAGE)
    module = {
        "inception_v3": keras.applications.inception_v3,
        "mobilenet_v2": keras.applications.mobilenet_v2,
        "efficientnet_v2_b0": keras.applications.efficientnet_v2,
    }[name]
    generator = np.random.default_rng(1)
    plain.set_weights(
        [
            np.abs(generator.normal(1, 0.1, w.shape)) if w.ndim == 1 else w
            for w in plain.get_weights()
        ]
    )
    inner = [
        w for layer in model.layers if layer.name != "logits" for w in layer.weights
    ]
    for weight, value in zip(inner, plain.get_weights(), strict=True):
        weight.assign(value)
    wanted = plain(module.preprocess_input(image.copy())).numpy().mean(axis=(1, 2))
    found = keras.Model(model.inputs[0], model.get_layer("mean").output)(image)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", [".weights.h5", ".keras"])
@pytest.mark.parametrize(
    "name", tiny.cases(["mobilenet_v2", "inception_v3"], "mobilenet_v2")
)
def test_weights_come_from_a_file_that_keras_wrote(name, ending, tmp_path):
    application = getattr(keras.applications, imagenet.BACKBONES[name].application)
    source = randomized(application(include_top=False, weights=None, input_shape=IMAGE))
    path = tmp_path / f"notop{ending}"
    (source.save if ending == ".keras" else source.save_weights)(path)
    model = backbone(name, str(path))
    found = [
        w for layer in model.layers if layer.name != "logits" for w in layer.weights
    ]
    for weight, value in zip(found, source.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("name", imagenet.BACKBONES)
def test_weights_come_from_a_file_in_the_format_of_the_official_ones(name, tmp_path):
    import tf_keras

    function = imagenet.BACKBONES[name].application
    application = getattr(tf_keras.applications, function)
    source = application(include_top=False, weights=None, input_shape=IMAGE)
    source.set_weights(
        [
            np.random.default_rng(number).normal(0.5, 0.1, weight.shape)
            for number, weight in enumerate(source.get_weights())
        ]
    )
    path = tmp_path / "notop.h5"
    source.save_weights(path)
    model = backbone(name, str(path))
    found = sorted(float(np.sum(weight)) for weight in model.weights[:-2])
    wanted = sorted(float(np.sum(weight)) for weight in source.get_weights())
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert len(found) > 200


def test_only_the_last_layer_is_trained_unless_a_first_one_is_named(tmp_path):
    source = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=IMAGE
    )
    path = tmp_path / "notop.weights.h5"
    source.save_weights(path)
    frozen = backbone(weights=str(path))
    assert [weight.path for weight in frozen.trainable_weights] == [
        "logits/kernel",
        "logits/bias",
    ]
    tuned = backbone(weights=str(path), train_from="block_16_project")
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


def test_names_of_a_backbone_do_not_depend_on_what_was_built_before():
    first, second = backbone("inception_v3"), backbone("inception_v3")
    names = [layer.name for layer in first.layers]
    assert names == [layer.name for layer in second.layers]
    assert "mixed7" in names
    models.initialize(second, first, ["conv2d_1"])
    assert not second.get_layer("conv2d_1").trainable


def test_a_backbone_with_its_preprocessing_is_saved_and_loaded(tmp_path):
    from asc_tf.training.model_file import load_whole

    for name in imagenet.BACKBONES:
        model = backbone(name)
        model.save(tmp_path / "model.keras")
        again = load_whole(tmp_path / "model.keras")
        image = np.full((1, *IMAGE), 100, "float32")
        np.testing.assert_allclose(again(image), model(image), atol=1e-6)
        assert len(again.trainable_weights) == len(model.trainable_weights) == 2


@pytest.mark.parametrize("name", imagenet.BACKBONES)
def test_without_network_the_file_to_fetch_is_named(name, monkeypatch):
    def unreachable(*arguments, **settings):
        raise Exception("URL fetch failure on https://...: None -- unreachable")

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    message = refusal(UserError, backbone, name, "imagenet")
    assert imagenet.BACKBONES[name].file in message
    assert "https://storage.googleapis.com/tensorflow/keras-applications/" in message
    assert "unreachable" in message
    assert "~/.keras/models" in message


def test_a_file_of_other_weights_or_none_at_all_is_refused_by_name(tmp_path):
    wrong = tmp_path / "wrong.weights.h5"
    built().save_weights(wrong)
    assert str(wrong) in refusal(UserError, backbone, "mobilenet_v2", str(wrong))
    empty = tmp_path / "empty.h5"
    empty.touch()
    assert str(empty) in refusal(UserError, backbone, "mobilenet_v2", str(empty))
    message = refusal(UsageError, backbone, "mobilenet_v2", "nowhere.h5")
    assert message.startswith("model.weights = nowhere.h5: no such file")


def test_an_unknown_first_layer_is_refused_with_the_nearest():
    with pytest.raises(UsageError) as caught:
        backbone(train_from="block_16_projekt")
    assert "did you mean block_16_project?" in str(caught.value)


def test_features_that_are_no_image_are_refused():
    section = Model(name="imagenet", weights="none")
    message = refusal(UsageError, models.build, section, (40, 64), 3)
    assert "set frontend.image_frames" in message
