"""Weights of an earlier run as the first weights, and frozen layers."""

import numpy as np
import pytest

from asc_tf import models
from asc_tf.config import Model
from asc_tf.core.errors import UsageError, UserError

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
    assert message.startswith(
        f"model.freeze: {pattern} matches no layer of separable_cnn"
    )


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
