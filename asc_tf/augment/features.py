"""Augmentations of features: `[batch, frames, bands]`, or with channels behind.

The channels of a clip are changed alike.
"""

import numpy as np
import tensorflow as tf

from asc_tf.augment.mixing import mixstyle, mixup
from asc_tf.augment.seeds import fold_in, per_clip
from asc_tf.config import Augment

MATRIX_BANDS = 256
"""Up to so many bands a matrix product warps faster than a look-up of each value."""


def augment_features(
    features: tf.Tensor,
    targets: tf.Tensor,
    seed: tf.Tensor,
    settings: Augment,
    per_decibel: np.ndarray | tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """All that is configured for features.

    Masks come last so that they are cut as wide as configured, instead of being half
    filled by the other clip of a mixture.

    Args:
        features: Features as the model takes them, float32 `[batch, frames, bands]` or
            `[batch, frames, bands, channels]`.
        targets: One-hot labels and whatever else is mixed, float32 `[batch, n]`.
        seed: int64 `[2]`.
        settings: The augmentation settings.
        per_decibel: What `eq_tilt` takes; needed for `settings.eq_tilt_db` alone.

    Returns:
        Features and targets of the same shapes.

    Raises:
        ValueError: If `eq_tilt_db` is set without `per_decibel`.
    """
    if settings.frequency_warp:
        features = frequency_warp(features, fold_in(seed, 9), settings.frequency_warp)
    if settings.eq_tilt_db:
        if per_decibel is None:
            raise ValueError("augment.eq_tilt_db is set: needs per_decibel")
        tilt_db = settings.eq_tilt_db
        features = eq_tilt(features, fold_in(seed, 10), tilt_db, per_decibel)
    if settings.mixstyle_alpha:
        alpha, share = settings.mixstyle_alpha, settings.mixstyle_share
        features = mixstyle(features, fold_in(seed, 11), alpha, share)
    if settings.mixup_alpha:
        alpha, per = settings.mixup_alpha, settings.mixup_per
        features, targets = mixup(features, targets, fold_in(seed, 2), alpha, per)
    return _masked(features, seed, settings), targets


def _masked(features: tf.Tensor, seed: tf.Tensor, settings: Augment) -> tf.Tensor:
    """Stripes in time and in frequency, filled with the same."""
    fill: str | tf.Tensor = settings.mask_fill
    if fill != "zero" and settings.time_masks and settings.frequency_masks:
        # The mean of the whole segment, not of one with stripes in it.
        fill = fill_values(features, settings.mask_fill)
    if settings.time_masks:
        count, width = settings.time_masks, settings.time_mask_frames
        features = mask(features, fold_in(seed, 3), count, width, axis=1, fill=fill)
    if settings.frequency_masks:
        count, width = settings.frequency_masks, settings.frequency_mask_bands
        features = mask(features, fold_in(seed, 4), count, width, axis=2, fill=fill)
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
    hidden = (position >= start) & (position < start + width)
    kept = ~tf.reduce_any(hidden, axis=1)
    others = [1] * (len(features.shape) - axis - 1)
    kept = tf.reshape(kept, [batch, *[1] * (axis - 1), length, *others])
    if isinstance(fill, str):
        if fill == "zero":
            return features * tf.cast(kept, features.dtype)
        fill = fill_values(features, fill)
    return tf.where(kept, features, fill)


def fill_values(features: tf.Tensor, fill: str) -> tf.Tensor:
    """Mean or minimum of each example and channel: `[batch, 1, 1, ...]`.

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
    # Of very few bands the largest share would be beyond the ends.
    moved = tf.clip_by_value(middle + share * bands, 0.05 * last, 0.95 * last)
    band = tf.range(bands, dtype=tf.float32)
    below = band * middle / moved
    above = last - (last - band) * (last - middle) / (last - moved)
    return _between_bands(features, tf.where(band < moved, below, above))


def _between_bands(features: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Values at positions `[batch, bands]`, counted in bands from 0."""
    bands = features.shape[2]
    if bands <= MATRIX_BANDS:
        from_band = tf.range(bands, dtype=tf.float32)[:, tf.newaxis]
        weights = tf.nn.relu(1 - tf.abs(position[:, tf.newaxis] - from_band))
        if len(features.shape) == 3:
            return tf.matmul(features, weights)
        # Not as one einsum, which takes up memory that nobody has written to (seen in
        # TensorFlow 2.17, with one clip of two channels): NaN, now and then.
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
    within +- `tilt_db`; it is linear over the bands and nothing in their middle.

    Source: H. Nam, S.-H. Kim, Y.-H. Park, "FilterAugment: An Acoustic Environmental
    Data Augmentation Method", ICASSP 2022 (its linear type, over all bands at once).

    Args:
        features: Log features, float32 `[batch, frames, bands]`, or with channels
            behind.
        seed: int64 `[2]`.
        tilt_db: Largest tilt, dB.
        per_decibel: What one dB more adds to a feature: 1 / deviation where features
            are standardized, 0 for derivatives. float32 `[bands]` or
            `[bands, channels]`, or what goes with it.

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
    return features + per_clip(tilt, rank) * (gains * per_decibel)
