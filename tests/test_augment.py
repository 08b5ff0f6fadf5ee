"""Augmentation: distributions as documented, and pure functions of their seed."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from asc_tf import augment
from asc_tf.config import Augment


def seed(number: int) -> tf.Tensor:
    return tf.constant([number, 7], tf.int64)


def runs_of_zeros(row: np.ndarray) -> list[tuple[int, int]]:
    """(start, width) of each run of zeros in a vector."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row == 0, [0]])))
    return [(start, end - start) for start, end in edges.reshape(-1, 2)]


@pytest.mark.parametrize("axis", [1, 2])
def test_masks_are_zero_stripes_across_the_other_axis(axis):
    features = tf.ones([64, 30, 20])
    masked = augment.mask(features, seed(1), count=1, max_width=6, axis=axis).numpy()
    lines = masked.min(axis=3 - axis)
    np.testing.assert_array_equal(lines, masked.max(axis=3 - axis))
    widths = [sum(width for _, width in runs_of_zeros(line)) for line in lines]
    assert set(widths) == set(range(7))
    assert all(len(runs_of_zeros(line)) <= 1 for line in lines)


def test_mask_widths_are_uniform_and_starts_reach_both_ends():
    features = tf.ones([20000, 12, 1])
    masked = augment.mask(features, seed(2), count=1, max_width=4, axis=1).numpy()
    found = [runs_of_zeros(line[:, 0]) for line in masked]
    widths = np.array([runs[0][1] if runs else 0 for runs in found])
    assert stats.chisquare(np.bincount(widths, minlength=5)).pvalue > 0.01
    starts = np.array([runs[0][0] for runs in found if runs and runs[0][1] == 4])
    assert stats.chisquare(np.bincount(starts, minlength=9)).pvalue > 0.01


def test_two_masks_hide_up_to_twice_the_width():
    features = tf.ones([500, 100, 1])
    masked = augment.mask(features, seed(3), count=2, max_width=10, axis=1).numpy()
    hidden = (masked == 0).sum(axis=(1, 2))
    assert 10 < hidden.max() <= 20


def test_a_mask_wider_than_the_axis_is_cut_to_it():
    features = tf.ones([200, 5, 3])
    masked = augment.mask(features, seed(4), count=1, max_width=50, axis=1).numpy()
    assert set((masked[:, :, 0] == 0).sum(axis=1)) == set(range(6))


def test_mixup_mixes_features_and_targets_with_the_same_share():
    features = np.eye(8, dtype=np.float32)[:, :, np.newaxis]
    targets = np.eye(8, dtype=np.float32)
    mixed, mixed_targets = augment.mixup(features, targets, seed(5), alpha=0.5)
    np.testing.assert_allclose(mixed[:, :, 0], mixed_targets, atol=1e-7)
    np.testing.assert_allclose(tf.reduce_sum(mixed_targets, axis=1), 1, atol=1e-6)
    assert (np.count_nonzero(mixed_targets, axis=1) <= 2).all()


@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0, 4.0])
def test_mixup_shares_follow_the_beta_distribution(alpha):
    shares = []
    for number in range(2):
        batch = tf.range(5000, dtype=tf.float64)[:, tf.newaxis]
        mixed, _ = augment.mixup(batch, batch, seed(number), alpha)
        partner = tf.random.experimental.stateless_shuffle(
            tf.range(5000), augment.fold_in(seed(number), 1)
        )
        own, other = batch[:, 0].numpy(), tf.cast(partner, tf.float64).numpy()
        use = own != other
        shares.append((mixed[:, 0].numpy() - other)[use] / (own - other)[use])
    found = np.concatenate(shares)
    assert stats.kstest(found, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_mixup_with_a_tiny_alpha_stays_finite():
    batch = tf.random.stateless_normal([256, 4], [1, 2])
    mixed, _ = augment.mixup(batch, batch, seed(6), alpha=1e-3)
    assert np.isfinite(mixed).all()


def test_mixup_partners_are_a_fresh_permutation_each_step():
    batch = tf.eye(16)
    orders = []
    for number in range(2):
        mixed, _ = augment.mixup(batch, batch, seed(number), alpha=1.0)
        partners = mixed.numpy() * (1 - np.eye(16))
        # Each clip is a partner at most once.
        assert (np.count_nonzero(partners, axis=0) <= 1).all()
        orders.append(partners.argmax(axis=1))
    assert (orders[0] != orders[1]).any()


def test_roll_rotates_each_waveform_by_its_own_shift():
    waveforms = np.tile(np.arange(100, dtype=np.float32), (50, 1))
    rolled = augment.time_roll(waveforms, seed(7)).numpy()
    shifts = rolled[:, 0].astype(int)
    for row, shift in zip(rolled, shifts, strict=True):
        np.testing.assert_array_equal(row, np.roll(waveforms[0], -shift))
    assert len(set(shifts)) > 20


def test_gain_is_uniform_in_decibels():
    gains = augment.gain(tf.ones([5000, 1]), seed(8), gain_db=6.0).numpy()[:, 0]
    decibels = 20 * np.log10(gains)
    assert stats.kstest(decibels, stats.uniform(-6, 12).cdf).pvalue > 0.01


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


SETTINGS = Augment(
    gain_db=6.0, time_roll=True, time_masks=1, frequency_masks=1, mixup_alpha=0.3
)


def test_the_same_seed_gives_the_same_batch_and_another_seed_another():
    waveforms = tf.random.stateless_normal([4, 200], [1, 2])
    features = tf.random.stateless_normal([4, 40, 16], [3, 4])

    @tf.function
    def both(seed):
        return (
            augment.augment_waveforms(waveforms, seed, SETTINGS),
            *augment.augment_features(features, tf.eye(4), seed, SETTINGS),
        )

    first, again, other = both(seed(10)), both(seed(10)), both(seed(11))
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)
