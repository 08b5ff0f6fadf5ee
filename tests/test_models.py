"""The registry and the compact CNN."""

import numpy as np
import pytest
import tensorflow as tf

from asc_tf import models
from asc_tf.config import Config, Model
from asc_tf.frontend import FrontendLayer
from asc_tf.models.cost import macs


def test_the_default_model_has_at_most_64k_parameters_and_gives_probabilities():
    model = models.build(Model(), (313, 64), labels=10)
    assert model.count_params() <= 64_000
    probabilities = model(tf.random.stateless_normal([3, 313, 64], [1, 2])).numpy()
    assert probabilities.shape == (3, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("frames, bands", [(1, 1), (2, 5), (41, 60), (500, 40)])
def test_any_feature_size_builds(frames, bands):
    model = models.build(Model(filters=(8, 8, 8, 8)), (frames, bands), labels=2)
    assert model(tf.zeros([1, frames, bands])).shape == (1, 2)


def test_macs_are_those_of_a_hand_count():
    model = models.build(Model(filters=(4, 8)), (10, 6), labels=3)
    first = 5 * 3 * 4 * 9
    separable = 5 * 3 * (4 * 9 + 4 * 8) + 5 * 3 * (8 * 9 + 8 * 8)
    assert macs(model) == first + separable + 8 * 3


def test_the_whole_model_is_front_end_then_body():
    config = Config()
    layer = FrontendLayer(32000, config.frontend)
    body = models.build(config.model, (config.frontend.frames(16000), 64), 4)
    whole = models.with_frontend(layer, body, (16000,))
    waveform = tf.random.stateless_normal([2, 16000], [1, 2])
    np.testing.assert_allclose(whole(waveform), body(layer(waveform)), atol=1e-6)
    assert whole.count_params() == body.count_params() + 2 * 64


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 15, 16, 100])
def test_an_epoch_leaves_little_of_the_old_batch_norm_statistics(steps):
    momentum = models.momentum_for(steps)
    assert 0 < momentum <= 0.9
    assert momentum**steps <= 0.2 + 1e-9
    model = models.build(Model(), (40, 16), 3, momentum)
    found = [layer.momentum for layer in model.layers if hasattr(layer, "momentum")]
    assert found == [momentum] * 13
