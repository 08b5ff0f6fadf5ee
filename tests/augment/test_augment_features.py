"""Augmentations of features: distributions as documented, statistics as drawn."""

import numpy as np
import pytest
import tensorflow as tf
from draws import normal, seed
from scipy import stats

from asc_tf import augment
from asc_tf.augment import features as feature_ops
from asc_tf.config import Augment


def runs_of_zeros(row: np.ndarray) -> list[tuple[int, int]]:
    """(start, width) of each run of zeros in a vector."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row == 0, [0]])))
    return [(start, end - start) for start, end in edges.reshape(-1, 2)]


def ramp(batch: int, bands: int, frames: int = 2) -> np.ndarray:
    """Features that tell their band: `[batch, frames, bands]`."""
    return np.tile(np.arange(bands, dtype=np.float32), (batch, frames, 1))


@pytest.mark.parametrize("axis", [1, 2])
def test_masks_are_zero_stripes_across_the_other_axis(axis):
    features = tf.ones([64, 30, 20])
    masked = feature_ops.mask(
        features, seed(1), count=1, max_width=6, axis=axis
    ).numpy()
    lines = masked.min(axis=3 - axis)
    np.testing.assert_array_equal(lines, masked.max(axis=3 - axis))
    widths = [sum(width for _, width in runs_of_zeros(line)) for line in lines]
    assert set(widths) == set(range(7))
    assert all(len(runs_of_zeros(line)) <= 1 for line in lines)


def test_mask_widths_are_uniform_and_starts_reach_both_ends():
    features = tf.ones([20000, 12, 1])
    masked = feature_ops.mask(features, seed(2), count=1, max_width=4, axis=1).numpy()
    found = [runs_of_zeros(line[:, 0]) for line in masked]
    widths = np.array([runs[0][1] if runs else 0 for runs in found])
    assert stats.chisquare(np.bincount(widths, minlength=5)).pvalue > 0.01
    starts = np.array([runs[0][0] for runs in found if runs and runs[0][1] == 4])
    assert stats.chisquare(np.bincount(starts, minlength=9)).pvalue > 0.01


def test_two_masks_hide_up_to_twice_the_width():
    features = tf.ones([500, 100, 1])
    masked = feature_ops.mask(features, seed(3), count=2, max_width=10, axis=1).numpy()
    hidden = (masked == 0).sum(axis=(1, 2))
    assert 10 < hidden.max() <= 20


def test_a_mask_wider_than_the_axis_is_cut_to_it():
    features = tf.ones([200, 5, 3])
    masked = feature_ops.mask(features, seed(4), count=1, max_width=50, axis=1).numpy()
    assert set((masked[:, :, 0] == 0).sum(axis=1)) == set(range(6))


@pytest.mark.parametrize("shape", [(30, 20, 12), (30, 20, 12, 2)])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize(
    ("fill", "value"),
    [
        ("zero", lambda x: np.zeros_like(x)),
        ("mean", lambda x: x.mean(axis=(1, 2), keepdims=True) + 0 * x),
        ("minimum", lambda x: x.min(axis=(1, 2), keepdims=True) + 0 * x),
    ],
)
def test_masks_are_filled_as_told_each_channel_by_its_own(fill, value, axis, shape):
    features = normal(*shape) + np.arange(1, shape[-1] + 1, dtype=np.float32)
    ones = tf.ones(shape[:3])
    hidden = feature_ops.mask(ones, seed(5), 2, 6, axis).numpy() == 0
    hidden = np.broadcast_to(hidden.reshape(*shape[:3], *[1] * (len(shape) - 3)), shape)
    assert 0.05 < hidden.mean() < 0.6
    masked = feature_ops.mask(features, seed(5), 2, 6, axis, fill).numpy()
    np.testing.assert_allclose(masked[hidden], value(features)[hidden], atol=1e-5)
    np.testing.assert_array_equal(masked[~hidden], features[~hidden])


def test_an_unknown_fill_is_refused():
    with pytest.raises(ValueError, match="must be zero, mean or minimum"):
        feature_ops.mask(tf.ones([1, 4, 4]), seed(1), 1, 2, 1, fill="median")


def test_time_and_frequency_masks_have_one_fill_the_mean_of_the_unmasked_segment():
    settings = Augment(
        time_masks=1, frequency_masks=1, mask_fill="mean", time_mask_frames=20
    )
    features = normal(40, 30, 16) + 3
    masked, _ = augment.augment_features(features, tf.eye(40), seed(6), settings)
    means = features.mean(axis=(1, 2))
    for before, after, mean in zip(features, masked.numpy(), means, strict=True):
        np.testing.assert_allclose(after[after != before], mean, rtol=1e-5)


@pytest.mark.parametrize("bands", [12, 64, 300])
def test_a_warp_keeps_both_ends_and_the_order_of_bands(bands):
    warped = feature_ops.frequency_warp(ramp(200, bands), seed(1), 0.4).numpy()
    np.testing.assert_allclose(warped[..., 0], 0, atol=1e-4)
    np.testing.assert_allclose(warped[..., -1], bands - 1, rtol=1e-5)
    assert (np.diff(warped, axis=2) > 0).all()


def moved_middle(warped: np.ndarray, bands: int) -> np.ndarray:
    """Where the middle band has gone, in bands: `[batch]`."""
    middle = (bands - 1) / 2
    return np.array([np.interp(middle, row, np.arange(bands)) for row in warped[:, 0]])


def test_the_middle_band_moves_by_a_uniform_share_of_the_bands():
    # Interpolation rounds off the bend, by less than a band.
    bands = 2000
    warped = feature_ops.frequency_warp(ramp(3000, bands, 1), seed(2), 0.2).numpy()
    shift = (moved_middle(warped, bands) - (bands - 1) / 2) / bands
    assert stats.kstest(shift, stats.uniform(-0.2, 0.4).cdf).pvalue > 0.01


def test_a_warp_is_linear_below_and_above_the_middle():
    warped = feature_ops.frequency_warp(ramp(50, 101), seed(3), 0.3).numpy()[:, 0]
    slopes = np.diff(warped, axis=1)
    np.testing.assert_allclose(slopes[:, :10], slopes[:, :1] * np.ones(10), atol=1e-4)
    np.testing.assert_allclose(slopes[:, -10:], slopes[:, -1:] * np.ones(10), atol=1e-4)
    moved = 50 / slopes[:, 0]
    np.testing.assert_allclose(slopes[:, -1], 50 / (100 - moved), rtol=1e-3)


@pytest.mark.parametrize("shape", [(5, 7, 40), (5, 7, 40, 3)])
def test_a_warp_by_matrix_and_one_by_look_up_are_the_same(shape, monkeypatch):
    features = normal(*shape)
    by_matrix = feature_ops.frequency_warp(features, seed(4), 0.3)
    monkeypatch.setattr(feature_ops, "MATRIX_BANDS", 0)
    by_look_up = feature_ops.frequency_warp(features, seed(4), 0.3)
    np.testing.assert_allclose(by_matrix, by_look_up, atol=1e-5)
    assert np.abs(by_matrix - features).max() > 0.1


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
def test_very_few_bands_stay_finite_and_in_order_when_warped(bands):
    warped = feature_ops.frequency_warp(ramp(100, bands), seed(5), 0.4).numpy()
    np.testing.assert_allclose(warped[..., [0, -1]], ramp(100, bands)[..., [0, -1]])
    assert (np.diff(warped, axis=2) > 0).all()


def test_a_tilt_is_linear_over_the_bands_and_uniform_in_decibels():
    deviation = np.linspace(2, 8, 21).astype(np.float32)
    features = normal(3000, 2, 21)
    tilted = feature_ops.eq_tilt(features, seed(6), 10.0, 1 / deviation).numpy()
    gains = (tilted - features) * deviation
    np.testing.assert_allclose(gains[:, 0], gains[:, 1], atol=1e-4)
    tilts = gains[:, 0, -1] - gains[:, 0, 0]
    line = tilts[:, np.newaxis] * np.linspace(-0.5, 0.5, 21)
    np.testing.assert_allclose(gains[:, 0], line, atol=1e-4)
    assert stats.kstest(tilts, stats.uniform(-10, 20).cdf).pvalue > 0.01


def test_a_tilt_leaves_derivatives_alone():
    features = normal(4, 5, 8, 3)
    per_decibel = np.zeros((8, 3), np.float32)
    per_decibel[:, 0] = 0.25
    tilted = feature_ops.eq_tilt(features, seed(7), 6.0, per_decibel).numpy()
    alone = feature_ops.eq_tilt(features[..., 0], seed(7), 6.0, per_decibel[:, 0])
    np.testing.assert_array_equal(tilted[..., 1:], features[..., 1:])
    np.testing.assert_array_equal(tilted[..., 0], alone)
    assert np.abs(tilted[..., 0] - features[..., 0]).max() > 0.05


def test_a_tilt_takes_one_figure_per_band_for_all_channels():
    features, per_decibel = normal(4, 5, 8, 2), normal(8)
    both = feature_ops.eq_tilt(
        features, seed(8), 6.0, np.stack([per_decibel] * 2, axis=1)
    )
    same = feature_ops.eq_tilt(features, seed(8), 6.0, per_decibel)
    np.testing.assert_array_equal(both, same)


def test_a_single_band_has_no_tilt():
    features = normal(4, 5, 1)
    np.testing.assert_array_equal(
        feature_ops.eq_tilt(features, seed(8), 6.0, np.ones(1)), features
    )


def test_a_tilt_without_what_a_decibel_is_is_refused():
    with pytest.raises(ValueError, match=r"augment\.eq_tilt_db is set"):
        augment.augment_features(
            tf.ones([1, 4, 4]), tf.eye(1), seed(1), Augment(eq_tilt_db=3.0)
        )


def test_a_warp_reads_no_memory_that_nobody_wrote():
    """What a single clip of two channels did within one einsum, now and then."""
    warp = tf.function(
        lambda values: feature_ops.frequency_warp(values, tf.constant([1, 7]), 0.2),
        input_signature=[tf.TensorSpec([None, 40, 16, 2])],
    )
    features = tf.random.stateless_normal([1, 40, 16, 2], [1, 2])
    for _ in range(100):
        for size in (16, 64, 640, 1280, 2560, 5120):
            unclean = [tf.fill([size], np.nan) for _ in range(4)]
            del unclean
        assert np.isfinite(warp(features)).all()
