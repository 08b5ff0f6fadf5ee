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
"""Smallest power before the logarithm, as in librosa."""

NEGLIGIBLE = 1e-9
"""Weight of an earlier frame in PCEN's smoothed energy that is left out."""


def take_logarithm(spectrum: tf.Tensor, settings: Frontend) -> tf.Tensor:
    """Convert a spectrum to decibels below a reference, or to natural logarithms.

    Args:
        spectrum: float32 `[batch, frames, bands, ...]`; the channels of a segment share
            its maximum, so that their difference in level stays.
        settings: The front-end settings, of which `logarithm`, `log_offset`, the `db_`
            ones and `top_db` are used.

    Returns:
        float32 of the same shape.
    """
    if settings.logarithm == "natural":
        return tf.math.log(spectrum + settings.log_offset)
    values = _to_decibels(spectrum)
    own = tuple(range(1, len(values.shape)))
    highest = tf.reduce_max(values, axis=own, keepdims=True)
    if settings.db_reference == "clip_max":
        values, highest = values - highest, tf.zeros_like(highest)
    else:
        reference = _to_decibels(tf.constant(settings.db_reference_value))
        values, highest = values - reference, highest - reference
    if settings.top_db:
        values = tf.maximum(values, highest - settings.top_db)
    return values


def _to_decibels(power: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(power, AMIN)) * np.float32(10 / np.log(10))


def change_per_decibel(settings: Frontend) -> float:
    """Compute the change of a logarithmic feature per dB of sound."""
    if settings.logarithm == "natural":
        return settings.power * math.log(10) / 20
    return settings.power / 2


def apply_dct(features: tf.Tensor, coefficients: int) -> tf.Tensor:
    """Compute the first coefficients of the orthonormal DCT-II over the bands.

    Args:
        features: float32 `[batch, frames, bands, ...]`.
        coefficients: Number of coefficients.

    Returns:
        float32 `[batch, frames, coefficients, ...]`.
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


def apply_pcen(spectrum: tf.Tensor, settings: Frontend, sample_rate: int) -> tf.Tensor:
    """Apply per-channel energy normalization, equal to `librosa.pcen`.

    The energy is smoothed by a first-order filter that begins at 1. Its sum over the
    past is folded: each of a few steps doubles how far back it reaches, which needs no
    loop over the frames.

    Args:
        spectrum: float32 `[batch, frames, bands, ...]`.
        settings: The front-end settings, of which the `pcen_` ones are used.
        sample_rate: Sample rate of the waveform in Hz.

    Returns:
        float32 of the same shape.
    """
    frames_smoothed = settings.pcen_seconds * sample_rate / settings.hop_length
    share = (math.sqrt(1 + 4 * frames_smoothed**2) - 1) / (2 * frames_smoothed**2)
    smoothed = share * spectrum
    others = [[0, 0]] * (len(spectrum.shape) - 2)
    reach, frames = 1, tf.shape(spectrum)[1]
    # Before the first frame there are zeros, which change no bit.
    furthest = spectrum.shape[1] or math.inf
    while reach < furthest and (1 - share) ** reach > NEGLIGIBLE:
        padded = tf.pad(smoothed, [[0, 0], [reach, 0], *others])
        smoothed += (1 - share) ** reach * padded[:, :frames]
        reach *= 2
    # Rest of the filter's initial state, after t + 1 steps.
    steps = tf.cast(tf.range(frames), tf.float32) + 1
    start = tf.exp(steps * math.log(1 - share)) if share < 1 else 0 * steps
    # `pcen_scale` comes in only now: numbers near 1 have the most exact logarithms.
    scale, gain = settings.pcen_scale, settings.pcen_gain
    smoothed += tf.reshape(start / scale, [1, -1, *[1] * len(others)])
    quieter = tf.exp(-gain * tf.math.log(smoothed + settings.pcen_epsilon / scale))
    bias, power = settings.pcen_bias, settings.pcen_power
    ratio = spectrum * quieter * (scale ** (1 - gain) / bias)
    return bias**power * tf.math.expm1(power * tf.math.log1p(ratio))


def stack_deltas(features: tf.Tensor, orders: int, width: int) -> tf.Tensor:
    """Stack derivatives in time as channels: static ones first, then by order.

    A derivative is that of the polynomial (of degree `order`) which fits the `width`
    frames around best: Savitzky and Golay's filter. Within half a width of the ends it
    is that of the outermost such polynomial, a constant, as in `librosa.feature.delta`.

    Args:
        features: float32 `[batch, frames, bands]` or `[..., channels]`.
        orders: Number of derivatives, 0 to 2.
        width: Frames that a derivative is taken over, odd.

    Returns:
        float32 `[batch, frames, bands, channels * (1 + orders)]`; unchanged where
        orders is 0.
    """
    if not orders:
        return features
    static = features[..., tf.newaxis] if len(features.shape) == 3 else features
    channels = static.shape[3]
    half = width // 2
    stacked = [static]
    for order in range(1, orders + 1):
        powers = np.vander(np.arange(-half, half + 1.0), order + 1, increasing=True)
        weights = math.factorial(order) * np.linalg.pinv(powers)[order]
        kernel = np.zeros((width, 1, channels, 1), np.float32)
        kernel[:, 0, :, 0] = weights[:, np.newaxis]
        inner = tf.nn.depthwise_conv2d(static, kernel, [1, 1, 1, 1], "VALID")
        ends = inner[:, :1], inner[:, -1:]
        first, last = (tf.tile(end, [1, half, 1, 1]) for end in ends)
        stacked.append(tf.concat([first, inner, last], axis=1))
    return tf.concat(stacked, axis=3)


def make_image(features: tf.Tensor, frames: int, bands: int) -> tf.Tensor:
    """Make images of features: resize them, spread each segment over 0 to 255.

    Args:
        features: float32 `[batch, frames, bands]`, or `[..., 3]`.
        frames: Height of the image in pixels.
        bands: Width of the image in pixels.

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
