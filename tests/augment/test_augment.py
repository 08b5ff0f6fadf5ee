"""All augmentations together: pure functions of their seed, in any graph."""

import numpy as np
import pytest
import tensorflow as tf
from draws import normal, seed

from asc_tf import augment
from asc_tf.augment import NoiseBanks, mixing
from asc_tf.augment import features as feature_ops
from asc_tf.config import Augment

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


@pytest.mark.parametrize("channels", [(), (3,)])
def test_each_feature_augmentation_is_the_same_in_a_dataset(channels):
    rows, labels = normal(7, 40, 16, *channels), np.eye(7, 6, dtype=np.float32)

    def augmented(features, targets):
        found = {}
        for name, value in FOR_FEATURES.items():
            settings = Augment(**{name: value}, mixstyle_share=1.0)
            found[name] = changed_features(features, targets, seed(1), settings)
        return found

    # A batch of six and one of one: the graph knows no size.
    batches = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(6)
    for (features, targets), mapped in zip(
        batches, batches.map(augmented), strict=True
    ):
        for name, eager in augmented(features, targets).items():
            for one, same in zip(eager, mapped[name], strict=True):
                np.testing.assert_allclose(one, same, atol=1e-5, err_msg=name)
            assert eager[0].shape == features.shape
            if len(features) > 1:
                assert np.abs(eager[0] - features).max() > 0.01, name


@pytest.mark.parametrize("channels", [(), (2,)])
def test_a_seed_gives_the_same_batch_again_and_another_seed_another(channels):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 300, *channels]),
            tf.TensorSpec([None, 40, 16, *channels]),
            tf.TensorSpec([None, 5]),
            tf.TensorSpec([2], tf.int64),
        ]
    )
    def both(waveforms, features, targets, seed):
        return (
            augment.augment_waveforms(waveforms, seed, ALL_FOR_WAVEFORMS, BANKS),
            *changed_features(features, targets, seed, ALL_FOR_FEATURES),
        )

    for batch in (1, 7):
        given = (
            normal(batch, 300, *channels),
            normal(batch, 40, 16, *channels),
            np.eye(5, dtype=np.float32)[np.arange(batch) % 5],
        )
        found, again, other = (both(*given, seed(number)) for number in (3, 3, 4))
        for values, same, different, before in zip(
            found, again, other, given, strict=True
        ):
            assert values.shape == before.shape
            assert values.dtype == tf.float32
            assert np.isfinite(values).all()
            np.testing.assert_array_equal(values, same)
            assert batch == 1 or not np.array_equal(values, different)
        np.testing.assert_allclose(tf.reduce_sum(found[2], axis=1), 1, atol=1e-6)


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


# With these seeds mixstyle happens for a share of 0.9, and not for the usual 0.5.
@pytest.mark.parametrize(
    ("per", "fill", "number"), [("batch", "mean", 5), ("sample", "minimum", 6)]
)
def test_features_are_changed_in_their_order(per, fill, number):
    features, targets = normal(5, 40, 16), tf.eye(5)
    own, per_decibel = seed(number), np.full(16, 0.2, np.float32)
    settings = Augment(
        **FOR_FEATURES, mixstyle_share=0.9, mixup_per=per, mask_fill=fill
    )
    found, found_targets = augment.augment_features(
        features, targets, own, settings, per_decibel
    )
    wanted = feature_ops.frequency_warp(features, augment.fold_in(own, 9), 0.2)
    wanted = feature_ops.eq_tilt(wanted, augment.fold_in(own, 10), 6.0, per_decibel)
    before = wanted
    wanted = mixing.mixstyle(wanted, augment.fold_in(own, 11), 0.4, 0.9)
    assert not np.array_equal(wanted, before)
    wanted, wanted_targets = mixing.mixup(
        wanted, targets, augment.fold_in(own, 2), 0.3, per
    )
    values = feature_ops.compute_fill(wanted, fill)
    wanted = feature_ops.mask(wanted, augment.fold_in(own, 3), 2, 10, 1, values)
    wanted = feature_ops.mask(wanted, augment.fold_in(own, 4), 1, 8, 2, values)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(found_targets, wanted_targets, atol=1e-6)
