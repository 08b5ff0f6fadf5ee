"""All augmentations together: pure functions of their seed, in any graph."""

import numpy as np
import pytest
import tensorflow as tf

from asc_tf import augment
from asc_tf.augment import NoiseBanks
from asc_tf.config import Augment


def seed(number: int) -> tf.Tensor:
    return tf.constant([number, 7], tf.int64)


def normal(*shape: int, number: int = 0) -> np.ndarray:
    values = np.random.default_rng(number).standard_normal(shape)
    return values.astype(np.float32)


BANKS = NoiseBanks(normal(2, 640), normal(3, 20))
ALL_FOR_WAVEFORMS = Augment(
    time_reverse=True,
    time_roll=True,
    impulse_dir="impulses",
    noise="white",
    gain_db=6.0,
)
FOR_FEATURES = {
    "frequency_warp": 0.2,
    "eq_tilt_db": 6.0,
    "mixstyle_alpha": 0.4,
    "mixup_alpha": 0.3,
    "time_masks": 2,
    "frequency_masks": 1,
}
ALL_FOR_FEATURES = Augment(**FOR_FEATURES, mixstyle_share=1.0, mask_fill="mean")


def changed_features(features, targets, own_seed, settings):
    per_decibel = np.full(features.shape[2], 0.2, np.float32)
    return augment.augment_features(features, targets, own_seed, settings, per_decibel)


def test_nothing_configured_changes_nothing():
    waveforms = tf.random.stateless_normal([2, 50], [1, 2])
    features = tf.random.stateless_normal([2, 5, 3], [3, 4])
    targets = tf.eye(2)
    settings = Augment()
    same = augment.augment_waveforms(waveforms, seed(9), settings)
    np.testing.assert_array_equal(same, waveforms)
    same, same_targets = augment.augment_features(features, targets, seed(9), settings)
    np.testing.assert_array_equal(same, features)
    np.testing.assert_array_equal(same_targets, targets)


def test_the_same_seed_gives_the_same_batch_and_another_seed_another():
    waveforms, features = normal(4, 200), normal(4, 40, 16)

    @tf.function
    def both(seed):
        return (
            augment.augment_waveforms(waveforms, seed, ALL_FOR_WAVEFORMS, BANKS),
            *changed_features(features, tf.eye(4), seed, ALL_FOR_FEATURES),
        )

    first, again, other = both(seed(10)), both(seed(10)), both(seed(11))
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)


@pytest.mark.parametrize("name", FOR_FEATURES)
@pytest.mark.parametrize("shape", [(6, 40, 16), (6, 40, 16, 3), (1, 40, 16)])
def test_each_feature_augmentation_is_the_same_in_a_dataset(name, shape):
    settings = Augment(**{name: FOR_FEATURES[name]}, mixstyle_share=1.0)
    features, targets = normal(*shape), np.eye(6, dtype=np.float32)[: shape[0]]
    eager = changed_features(features, targets, seed(1), settings)
    batches = tf.data.Dataset.from_tensor_slices((features, targets)).batch(shape[0])
    mapped = batches.map(lambda x, y: changed_features(x, y, seed(1), settings))
    for one, same in zip(eager, next(iter(mapped)), strict=True):
        np.testing.assert_allclose(one, same, atol=1e-5)
    assert eager[0].shape == shape
    if shape[0] > 1:
        assert np.abs(eager[0] - features).max() > 0.01


@pytest.mark.parametrize("channels", [(), (2,)])
def test_all_of_them_take_a_batch_of_any_size_with_or_without_channels(channels):
    width = len(channels) + 1

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 300, *channels]),
            tf.TensorSpec([None, 40, 16, *channels]),
            tf.TensorSpec([None, 5]),
        ]
    )
    def both(waveforms, features, targets):
        return (
            augment.augment_waveforms(waveforms, seed(3), ALL_FOR_WAVEFORMS, BANKS),
            *changed_features(features, targets, seed(3), ALL_FOR_FEATURES),
        )

    for batch in (1, 2, 7):
        given = (
            normal(batch, 300, *channels),
            normal(batch, 40, 16, *channels),
            np.eye(5, dtype=np.float32)[np.arange(batch) % 5],
        )
        waveforms, features, targets = both(*given)
        assert waveforms.shape == given[0].shape
        assert features.shape == given[1].shape
        assert len(features.shape) == 2 + width
        np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1, atol=1e-6)
        for values in (waveforms, features, targets):
            assert values.dtype == tf.float32
            assert np.isfinite(values).all()


def test_silence_stays_finite_everywhere():
    waveforms = augment.augment_waveforms(
        tf.zeros([4, 300]), seed(4), ALL_FOR_WAVEFORMS, BANKS
    )
    np.testing.assert_array_equal(waveforms, np.zeros((4, 300)))
    # Features of silence do not change, neither in time nor over the bands.
    features = tf.fill([4, 40, 16], -3.0)
    found, _ = changed_features(features, tf.eye(4), seed(4), ALL_FOR_FEATURES)
    assert np.isfinite(found).all()
    assert np.abs(found + 3.0).max() < 1.0


def test_features_are_changed_in_their_order():
    features, targets = normal(5, 40, 16), tf.eye(5)
    own, per_decibel = seed(5), np.full(16, 0.2, np.float32)
    found, found_targets = augment.augment_features(
        features, targets, own, ALL_FOR_FEATURES, per_decibel
    )
    wanted = augment.frequency_warp(features, augment.fold_in(own, 9), 0.2)
    wanted = augment.eq_tilt(wanted, augment.fold_in(own, 10), 6.0, per_decibel)
    wanted = augment.mixstyle(wanted, augment.fold_in(own, 11), 0.4, 1.0)
    wanted, wanted_targets = augment.mixup(
        wanted, targets, augment.fold_in(own, 2), 0.3
    )
    fill = augment.compute_fill(wanted, "mean")
    wanted = augment.mask(wanted, augment.fold_in(own, 3), 2, 10, 1, fill)
    wanted = augment.mask(wanted, augment.fold_in(own, 4), 1, 8, 2, fill)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(found_targets, wanted_targets, atol=1e-6)
