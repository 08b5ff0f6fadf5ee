"""Augmentations of features: `[batch, frames, bands]`, or with channels behind.

The channels of a clip are changed alike.
"""

import numpy as np
import tensorflow as tf

from asc_tf.augment.mixing import mixstyle, mixup
from asc_tf.augment.seeds import derive_seed, expand_per_clip, fold_in
from asc_tf.config import Augment

MATRIX_BANDS = 256
"""Most bands that a matrix product warps faster than a look-up of each value."""


def augment_features(
    features: tf.Tensor,
    targets: tf.Tensor,
    seed: tf.Tensor,
    settings: Augment,
    per_decibel: np.ndarray | tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply all augmentations of features that are configured.

    Masks come last so that they are cut as wide as configured, instead of being half
    filled by the other clip of a mixture.

    Args:
        features: Features as the model takes them, float32 `[batch, frames, bands]` or
            `[batch, frames, bands, channels]`.
        targets: One-hot labels and whatever else is mixed, float32 `[batch, n]`.
        seed: int64 `[2]`.
        settings: The augmentation settings.
        per_decibel: As for `eq_tilt`; needed for `settings.eq_tilt_db` alone.

    Returns:
        Features and targets of the same shapes.

    Raises:
        ValueError: If `eq_tilt_db` is set without `per_decibel`.
    """
    if settings.frequency_warp:
        own_seed = derive_seed(seed, "frequency_warp")
        features = frequency_warp(features, own_seed, settings.frequency_warp)
    if settings.eq_tilt_db:
        if per_decibel is None:
            raise ValueError("augment.eq_tilt_db is set: needs per_decibel")
        own_seed = derive_seed(seed, "eq_tilt")
        features = eq_tilt(features, own_seed, settings.eq_tilt_db, per_decibel)
    if settings.mixstyle_alpha:
        alpha, share = settings.mixstyle_alpha, settings.mixstyle_share
        features = mixstyle(features, derive_seed(seed, "mixstyle"), alpha, share)
    if settings.mixup_alpha:
        alpha, per = settings.mixup_alpha, settings.mixup_per
        own_seed = derive_seed(seed, "mixup")
        features, targets = mixup(features, targets, own_seed, alpha, per)
    return _apply_masks(features, seed, settings), targets


def _apply_masks(features: tf.Tensor, seed: tf.Tensor, settings: Augment) -> tf.Tensor:
    """Fill stripes in time and in frequency with the same values."""
    fill: str | tf.Tensor = settings.mask_fill
    if fill != "zero" and settings.time_masks and settings.frequency_masks:
        # The mean of the whole segment, not of one with stripes in it.
        fill = compute_fill(features, settings.mask_fill)
    if settings.time_masks:
        count, width = settings.time_masks, settings.time_mask_frames
        own_seed = derive_seed(seed, "time_mask")
        features = mask(features, own_seed, count, width, axis=1, fill=fill)
    if settings.frequency_masks:
        count, width = settings.frequency_masks, settings.frequency_mask_bands
        own_seed = derive_seed(seed, "frequency_mask")
        features = mask(features, own_seed, count, width, axis=2, fill=fill)
    return features


def mask(
    features: tf.Tensor,
    seed: tf.Tensor,
    count: int,
    max_width: int,
    axis: int,
    fill: str | tf.Tensor = "zero",
) -> tf.Tensor:
    """Fill random stripes of each example.

    A stripe's width is uniform on 0 to `max_width` (or the axis, where that is less),
    its start uniform among the places where it fits. Stripes may overlap.

    Source: D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for
    Automatic Speech Recognition", Interspeech 2019.

    Args:
        features: float32 `[batch, frames, bands]`, or with channels behind.
        seed: int64 `[2]`.
        count: Stripes per example.
        max_width: Largest width.
        axis: 1 for stripes in time, 2 in frequency.
        fill: `zero` (the mean of standardized features), `mean` or `minimum` (of each
            example and channel), or values that go with the features.

    Returns:
        float32 of the same shape.
    """
    shape = tf.shape(features)
    batch, length = shape[0], shape[axis]
    widest = tf.minimum(max_width, length)
    width = tf.random.stateless_uniform(
        [batch, count, 1], fold_in(seed, 0), 0, widest + 1, tf.int32
    )
    places = tf.cast(length - width + 1, tf.float32)
    start = tf.random.stateless_uniform([batch, count, 1], fold_in(seed, 1)) * places
    start = tf.cast(start, tf.int32)
    position = tf.range(length)
    in_stripe = (position >= start) & (position < start + width)
    is_clear = ~tf.reduce_any(in_stripe, axis=1)
    others = [1] * (len(features.shape) - axis - 1)
    is_clear = tf.reshape(is_clear, [batch, *[1] * (axis - 1), length, *others])
    if isinstance(fill, str):
        if fill == "zero":
            return features * tf.cast(is_clear, features.dtype)
        fill = compute_fill(features, fill)
    return tf.where(is_clear, features, fill)


def compute_fill(features: tf.Tensor, fill: str) -> tf.Tensor:
    """Compute the mean or minimum of each example and channel: `[batch, 1, 1, ...]`.

    Raises:
        ValueError: If `fill` is neither `mean` nor `minimum`.
    """
    if fill == "mean":
        return tf.reduce_mean(features, axis=[1, 2], keepdims=True)
    if fill == "minimum":
        return tf.reduce_min(features, axis=[1, 2], keepdims=True)
    raise ValueError(f"fill = {fill!r}: must be zero, mean or minimum")


def frequency_warp(features: tf.Tensor, seed: tf.Tensor, amount: float) -> tf.Tensor:
    """Squeeze the bands on one side of the middle and stretch those on the other.

    The middle moves by a share of the bands that is uniform within +- `amount`, for
    each clip anew; both ends stay. Between bands values are interpolated linearly.

    Source: the time warp of D. S. Park et al., "SpecAugment", Interspeech 2019, along
    frequency, as N. Jaitly and G. E. Hinton, "Vocal Tract Length Perturbation (VTLP)
    improves speech recognition", ICML Workshop on Deep Learning for Audio, Speech and
    Language 2013, warp it.

    Args:
        features: float32 `[batch, frames, bands]`, or with channels behind.
        seed: int64 `[2]`.
        amount: Largest shift, as a share of the bands.

    Returns:
        float32 of the same shape.
    """
    batch, bands = tf.shape(features)[0], features.shape[2]
    if bands < 3:
        return tf.identity(features)
    middle, last = (bands - 1) / 2, bands - 1.0
    share = tf.random.stateless_uniform([batch, 1], seed, -amount, amount)
    # With very few bands the largest share would lie beyond the ends.
    moved = tf.clip_by_value(middle + share * bands, 0.05 * last, 0.95 * last)
    band = tf.range(bands, dtype=tf.float32)
    below = band * middle / moved
    above = last - (last - band) * (last - middle) / (last - moved)
    return _interpolate_bands(features, tf.where(band < moved, below, above))


def _interpolate_bands(features: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Interpolate values at positions `[batch, bands]`, counted in bands from 0."""
    bands = features.shape[2]
    if bands <= MATRIX_BANDS:
        from_band = tf.range(bands, dtype=tf.float32)[:, tf.newaxis]
        weights = tf.nn.relu(1 - tf.abs(position[:, tf.newaxis] - from_band))
        if len(features.shape) == 3:
            return tf.matmul(features, weights)
        # One einsum would now and then give NaN: in TensorFlow 2.17, with one clip of
        # two channels, it reads memory that nothing has been written to.
        channels = tf.unstack(features, axis=3)
        return tf.stack([tf.matmul(channel, weights) for channel in channels], axis=3)
    lower = tf.clip_by_value(tf.cast(position, tf.int32), 0, bands - 2)
    share = position - tf.cast(lower, tf.float32)
    others = [1] * (len(features.shape) - 3)
    share = tf.reshape(share, [-1, 1, bands, *others])
    first = tf.gather(features, lower, axis=2, batch_dims=1)
    second = tf.gather(features, lower + 1, axis=2, batch_dims=1)
    return first + share * (second - first)


def eq_tilt(
    features: tf.Tensor,
    seed: tf.Tensor,
    tilt_db: float,
    per_decibel: np.ndarray | tf.Tensor,
) -> tf.Tensor:
    """Raise the high bands over the low ones, or the other way round.

    The tilt of each clip, the gain of the highest band over the lowest, is uniform
    within +- `tilt_db`; it is linear over the bands, and 0 dB in their middle.

    Source: H. Nam, S.-H. Kim, Y.-H. Park, "FilterAugment: An Acoustic Environmental
    Data Augmentation Method", ICASSP 2022 (its linear type, over all bands at once).

    Args:
        features: Log features, float32 `[batch, frames, bands]`, or with channels
            behind.
        seed: int64 `[2]`.
        tilt_db: Largest tilt, dB.
        per_decibel: Change of a feature per dB: 1 / deviation where features are
            standardized, 0 for derivatives. float32 `[bands]` or `[bands, channels]`,
            or a shape that broadcasts to it.

    Returns:
        float32 of the same shape.
    """
    bands, rank = features.shape[2], len(features.shape)
    tilt = tf.random.stateless_uniform([tf.shape(features)[0]], seed, -tilt_db, tilt_db)
    gains = (np.arange(bands) - (bands - 1) / 2) / max(bands - 1, 1)
    gains = tf.constant(gains, tf.float32)
    per_decibel = tf.convert_to_tensor(per_decibel, tf.float32)
    if rank == 4:
        gains = gains[:, tf.newaxis]
        if len(per_decibel.shape) == 1:
            per_decibel = per_decibel[:, tf.newaxis]
    return features + expand_per_clip(tilt, rank) * (gains * per_decibel)
