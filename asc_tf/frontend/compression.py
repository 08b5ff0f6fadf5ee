"""Spectrum to features: logarithms, PCEN, cepstrum, derivatives, images.

Each segment is taken on its own. Sources: B. McFee et al., "librosa" (2015), whose
conventions these are; Y. Wang et al., "Trainable Frontend For Robust and Far-Field
Keyword Spotting", ICASSP 2017 (PCEN).
"""

import math

import numpy as np
import tensorflow as tf

from asc_tf.config import Frontend

AMIN = 1e-10
"""Smallest power before the logarithm, librosa's."""

NEGLIGIBLE = 1e-9
"""Share of a frame in PCEN's smoothed energy that is not worth an addition."""


def logarithm(spectrum: tf.Tensor, settings: Frontend) -> tf.Tensor:
    """Decibels below a reference, or natural logarithm.

    Args:
        spectrum: float32 `[batch, frames, bands, ...]`; the channels of a segment share
            its maximum, so that their difference in level is kept.
        settings: `logarithm` and what belongs to it.

    Returns:
        float32 of the same shape.
    """
    if settings.logarithm == "natural":
        return tf.math.log(spectrum + settings.log_offset)
    values = _decibels(spectrum)
    own = tuple(range(1, len(values.shape)))
    highest = tf.reduce_max(values, axis=own, keepdims=True)
    if settings.db_reference == "clip_max":
        values, highest = values - highest, tf.zeros_like(highest)
    else:
        reference = _decibels(tf.constant(settings.db_reference_value))
        values, highest = values - reference, highest - reference
    if settings.top_db:
        values = tf.maximum(values, highest - settings.top_db)
    return values


def _decibels(power: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(power, AMIN)) * np.float32(10 / np.log(10))


def per_decibel(settings: Frontend) -> float:
    """How much one decibel more of sound adds to a logarithmic feature."""
    if settings.logarithm == "natural":
        return settings.power * math.log(10) / 20
    return settings.power / 2


def cepstrum(features: tf.Tensor, coefficients: int) -> tf.Tensor:
    """The first coefficients of the orthonormal DCT-II over the bands.

    `[batch, frames, bands, ...]` to `[batch, frames, coefficients, ...]`.
    """
    bands = features.shape[2]
    angles = np.outer(np.arange(bands) + 0.5, np.arange(coefficients)) * np.pi / bands
    matrix = np.sqrt(2 / bands) * np.cos(angles)
    matrix[:, 0] /= np.sqrt(2)
    matrix = matrix.astype(np.float32)
    if len(features.shape) == 3:
        return tf.matmul(features, matrix)
    return tf.stack(
        [tf.matmul(channel, matrix) for channel in tf.unstack(features, axis=3)], axis=3
    )


def pcen(spectrum: tf.Tensor, settings: Frontend, sample_rate: int) -> tf.Tensor:
    """Per-channel energy normalization, equal to `librosa.pcen`.

    The energy is smoothed by a first-order filter that begins at 1. Its sum over the
    past is folded: each of a few steps doubles how far back it reaches, which needs no
    loop over the frames.

    Args:
        spectrum: float32 `[batch, frames, bands, ...]`.
        settings: The `pcen_` settings.
        sample_rate: Hz.

    Returns:
        float32 of the same shape.
    """
    frames_smoothed = settings.pcen_seconds * sample_rate / settings.hop_length
    share = (math.sqrt(1 + 4 * frames_smoothed**2) - 1) / (2 * frames_smoothed**2)
    smoothed = share * spectrum
    others = [[0, 0]] * (len(spectrum.shape) - 2)
    reach, frames = 1, tf.shape(spectrum)[1]
    while (1 - share) ** reach > NEGLIGIBLE:
        padded = tf.pad(smoothed, [[0, 0], [reach, 0], *others])
        smoothed += (1 - share) ** reach * padded[:, :frames]
        reach *= 2
    # What is left of the filter's initial state, after t + 1 steps.
    steps = tf.cast(tf.range(frames), tf.float32) + 1
    start = tf.exp(steps * math.log(1 - share)) if share < 1 else 0 * steps
    # `pcen_scale` comes in only now: numbers near 1 have the most exact logarithms.
    scale, gain = settings.pcen_scale, settings.pcen_gain
    smoothed += tf.reshape(start / scale, [1, -1, *[1] * len(others)])
    quieter = tf.exp(-gain * tf.math.log(smoothed + settings.pcen_epsilon / scale))
    bias, power = settings.pcen_bias, settings.pcen_power
    ratio = spectrum * quieter * (scale ** (1 - gain) / bias)
    return bias**power * tf.math.expm1(power * tf.math.log1p(ratio))


def with_deltas(features: tf.Tensor, orders: int, width: int) -> tf.Tensor:
    """Stack derivatives in time as channels: static ones first, then by order.

    A derivative is that of the polynomial (of degree `order`) which fits the `width`
    frames around best: Savitzky and Golay's filter. Within half a width of the ends it
    is that of the outermost such polynomial, a constant, as in `librosa.feature.delta`.

    Args:
        features: float32 `[batch, frames, bands]` or `[..., channels]`.
        orders: 0 to 2.
        width: Frames, odd.

    Returns:
        float32 `[batch, frames, bands, channels * (1 + orders)]`; unchanged where
        orders is 0.
    """
    if not orders:
        return features
    static = features[..., tf.newaxis] if len(features.shape) == 3 else features
    channels = static.shape[3]
    half = width // 2
    parts = [static]
    for order in range(1, orders + 1):
        powers = np.vander(np.arange(-half, half + 1.0), order + 1, increasing=True)
        weights = math.factorial(order) * np.linalg.pinv(powers)[order]
        kernel = np.zeros((width, 1, channels, 1), np.float32)
        kernel[:, 0, :, 0] = weights[:, np.newaxis]
        inner = tf.nn.depthwise_conv2d(static, kernel, [1, 1, 1, 1], "VALID")
        ends = inner[:, :1], inner[:, -1:]
        first, last = (tf.tile(end, [1, half, 1, 1]) for end in ends)
        parts.append(tf.concat([first, inner, last], axis=1))
    return tf.concat(parts, axis=3)


def image(features: tf.Tensor, frames: int, bands: int) -> tf.Tensor:
    """Features as an image: resized, each segment spread over 0 to 255.

    Args:
        features: float32 `[batch, frames, bands]`, or `[..., 3]`.
        frames: Height of the image.
        bands: Width of the image.

    Returns:
        float32 `[batch, frames, bands, 3]`; one channel is repeated.
    """
    if len(features.shape) == 3:
        features = features[..., tf.newaxis]
    features = tf.image.resize(features, [frames, bands])
    low = tf.reduce_min(features, axis=[1, 2, 3], keepdims=True)
    high = tf.reduce_max(features, axis=[1, 2, 3], keepdims=True)
    spread = 255.0 * tf.math.divide_no_nan(features - low, high - low)
    return tf.tile(spread, [1, 1, 1, 3]) if features.shape[3] == 1 else spread
