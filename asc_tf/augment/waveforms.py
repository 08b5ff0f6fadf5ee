"""Augmentations of waveforms: `[batch, samples]` or `[batch, samples, channels]`.

The channels of a clip are changed alike, so that their differences stay.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asc_tf.augment.seeds import derive_seed, draw_bernoulli, expand_per_clip, fold_in
from asc_tf.config import Augment

NOISE_BLOCK = 64
"""Samples of a block of noise: to copy whole blocks is ten times faster than to gather
single samples."""

FFT_LENGTHS = np.unique(
    [odd << power for odd in (1, 3, 5, 9, 15) for power in range(27)]
).astype(np.int32)
"""Lengths at which FFTs are fast, close enough to each other to waste little."""


class NoiseBanks(NamedTuple):
    """Noise and impulse-response banks; `asc_tf.pipeline.noise_banks` loads them.

    Attributes:
        noise: float32 `[n, samples]`, each row of power (mean square) 1.
        impulses: Impulse responses, float32 `[n, taps]`.
    """

    noise: np.ndarray | tf.Tensor | None = None
    impulses: np.ndarray | tf.Tensor | None = None


def augment_waveforms(
    waveforms: tf.Tensor,
    seed: tf.Tensor,
    settings: Augment,
    banks: NoiseBanks | None = None,
    is_mid_side: bool = False,
) -> tf.Tensor:
    """Apply all augmentations of waveforms that are configured.

    The impulse response of a device comes after what happens in front of it, and noise
    after the device, so that the ratio is the one drawn; gain comes last, for signal
    and noise alike.

    Args:
        waveforms: float32 `[batch, samples]` or `[batch, samples, 2]`.
        seed: int64 `[2]`.
        settings: The augmentation settings.
        banks: The banks that `settings.noise` and `settings.impulse_dir` name.
        is_mid_side: Whether two channels are mid and side instead of left and right.

    Returns:
        float32 of the same shape; with `random_channel`, `[batch, samples]`.

    Raises:
        ValueError: If a bank is missing that the settings call for.
    """
    banks = banks or NoiseBanks()
    if settings.random_channel:
        waveforms = random_channel(waveforms, derive_seed(seed, "random_channel"))
    if settings.time_reverse:
        waveforms = time_reverse(waveforms, derive_seed(seed, "time_reverse"))
    if settings.time_roll:
        waveforms = time_roll(waveforms, derive_seed(seed, "time_roll"))
    if settings.impulse_dir:
        if banks.impulses is None:
            raise ValueError("augment.impulse_dir is set: needs banks.impulses")
        own_seed, share = derive_seed(seed, "convolve"), settings.impulse_share
        waveforms = convolve(waveforms, own_seed, banks.impulses, share)
    if settings.noise != "none":
        if banks.noise is None:
            raise ValueError(f"augment.noise = {settings.noise}: needs banks.noise")
        waveforms = add_noise(
            waveforms,
            derive_seed(seed, "add_noise"),
            banks.noise,
            settings.noise_min_snr_db,
            settings.noise_max_snr_db,
            settings.noise_share,
            is_mid_side,
        )
    if settings.gain_db:
        waveforms = gain(waveforms, derive_seed(seed, "gain"), settings.gain_db)
    return waveforms


def random_channel(waveforms: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Choose left, right or their mean for each clip, each with probability 1/3.

    Args:
        waveforms: float32 `[batch, samples, 2]`.
        seed: int64 `[2]`.

    Returns:
        float32 `[batch, samples]`.
    """
    weights = tf.constant([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    batch = tf.shape(waveforms)[0]
    choice = tf.random.stateless_uniform([batch], seed, 0, 3, tf.int32)
    left, right = tf.split(tf.gather(weights, choice), 2, axis=1)
    # No matrix product: on a GPU it may round to the bits of TF32.
    return waveforms[..., 0] * left + waveforms[..., 1] * right


def time_reverse(waveforms: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Play each waveform backwards with probability 1/2; shapes as in `time_roll`."""
    is_reversed = draw_bernoulli(seed, 0.5, [tf.shape(waveforms)[0]])
    is_reversed = expand_per_clip(is_reversed, len(waveforms.shape))
    return tf.where(is_reversed, tf.reverse(waveforms, [1]), waveforms)


def time_roll(waveforms: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Rotate each waveform by its own uniform number of samples.

    Args:
        waveforms: float32 `[batch, samples]` or `[batch, samples, channels]`.
        seed: int64 `[2]`.

    Returns:
        float32 of the same shape.
    """
    batch, samples = tf.unstack(tf.shape(waveforms)[:2])
    shift = tf.random.stateless_uniform(
        [batch], seed, minval=0, maxval=samples, dtype=tf.int32
    )
    # Clip by clip, because to look up each sample takes four times as long.
    rolled = tf.map_fn(
        lambda clip: tf.roll(waveforms[clip], -shift[clip], axis=0),
        tf.range(batch),
        fn_output_signature=tf.TensorSpec(waveforms.shape[1:], waveforms.dtype),
    )
    return tf.ensure_shape(rolled, waveforms.shape)


def gain(waveforms: tf.Tensor, seed: tf.Tensor, gain_db: float) -> tf.Tensor:
    """Scale each waveform by its own gain, uniform in dB within +- `gain_db`.

    Args:
        waveforms: float32 `[batch, samples]` or `[batch, samples, channels]`.
        seed: int64 `[2]`.
        gain_db: Largest gain, dB.

    Returns:
        float32 of the same shape.
    """
    others = [1] * (len(waveforms.shape) - 1)
    decibels = tf.random.stateless_uniform(
        [tf.shape(waveforms)[0], *others], seed, -gain_db, gain_db
    )
    return waveforms * 10.0 ** (decibels / 20.0)


def add_noise(
    waveforms: tf.Tensor,
    seed: tf.Tensor,
    bank: np.ndarray | tf.Tensor,
    min_snr_db: float,
    max_snr_db: float,
    share: float = 1.0,
    is_mid_side: bool = False,
) -> tf.Tensor:
    """Add a random span of a noise bank to a share of the waveforms.

    Row, place and sign are uniform; a row is a loop, so that it may be shorter than a
    segment. The signal-to-noise ratio, of powers over the whole segment (and all
    channels), is uniform in dB. Left and right get the same noise, which is all in mid.
    Silence stays silent.

    Args:
        waveforms: float32 `[batch, samples]` or `[batch, samples, channels]`.
        seed: int64 `[2]`.
        bank: Noise bank, float32 `[rows, length]`; fastest where the length is a
            multiple of `NOISE_BLOCK`.
        min_snr_db: Lowest ratio, dB.
        max_snr_db: Highest ratio, dB.
        share: Share of the waveforms that get noise.
        is_mid_side: Whether two channels are mid and side instead of left and right.

    Returns:
        float32 of the same shape.
    """
    batch, samples = tf.unstack(tf.shape(waveforms)[:2])
    noise = _draw_spans(_share_constant(bank), batch, samples, fold_in(seed, 0))
    own = list(range(1, len(waveforms.shape)))
    signal_power = tf.reduce_mean(tf.square(waveforms), axis=own)
    if is_mid_side:
        signal_power *= 2.0  # The mean power of left and right is that of mid and side.
    noise_power = tf.reduce_mean(tf.square(noise), axis=1)
    snr_db = tf.random.stateless_uniform(
        [batch], fold_in(seed, 1), min_snr_db, max_snr_db
    )
    power = signal_power * 10.0 ** (-snr_db / 10.0)
    scale = tf.sqrt(tf.math.divide_no_nan(power, noise_power))
    scale = tf.where(draw_bernoulli(fold_in(seed, 2), 0.5, [batch]), scale, -scale)
    scale = tf.where(draw_bernoulli(fold_in(seed, 3), share, [batch]), scale, 0.0)
    noise *= scale[:, tf.newaxis]
    if len(own) == 1:
        return waveforms + noise
    if is_mid_side:
        return waveforms + tf.stack([noise, tf.zeros_like(noise)], axis=2)
    return waveforms + noise[..., tf.newaxis]


def _draw_spans(
    bank: tf.Tensor, batch: tf.Tensor, samples: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Draw a random span of a random row for each clip: `[batch, samples]`."""
    rows, length = bank.shape
    block = math.gcd(length, NOISE_BLOCK)
    in_row = length // block
    row = tf.random.stateless_uniform([batch, 1], fold_in(seed, 0), 0, rows, tf.int32)
    start = tf.random.stateless_uniform(
        [batch, 1], fold_in(seed, 1), 0, in_row, tf.int32
    )
    blocks = tf.range(-(-samples // block))
    taken = tf.gather(
        tf.reshape(bank, [-1, block]), row * in_row + (start + blocks) % in_row
    )
    return tf.reshape(taken, [batch, -1])[:, :samples]


def convolve(
    waveforms: tf.Tensor,
    seed: tf.Tensor,
    bank: np.ndarray | tf.Tensor,
    share: float = 1.0,
) -> tf.Tensor:
    """Convolve a share of the waveforms with random impulse responses of devices.

    The result begins where the waveform begins and is as long.

    Source: T. Morocutti, F. Schmid, K. Koutini, G. Widmer, "Device-Robust Acoustic
    Scene Classification via Impulse Response Augmentation", EUSIPCO 2023.

    Args:
        waveforms: float32 `[batch, samples]` or `[batch, samples, channels]`.
        seed: int64 `[2]`.
        bank: Bank of impulse responses, float32 `[rows, taps]`.
        share: Share of the waveforms that are convolved.

    Returns:
        float32 of the same shape.
    """
    bank = _share_constant(bank)
    batch = tf.shape(waveforms)[0]
    row = tf.random.stateless_uniform(
        [batch], fold_in(seed, 0), 0, bank.shape[0], tf.int32
    )
    if share >= 1:
        return _convolve_each(waveforms, tf.gather(bank, row))
    # Only the drawn waveforms are convolved: no other augmentation takes as long.
    is_drawn = draw_bernoulli(fold_in(seed, 1), share, [batch])
    drawn, others = (tf.where(which)[:, 0] for which in (is_drawn, ~is_drawn))

    def convolve_drawn() -> tf.Tensor:
        impulses = tf.gather(bank, tf.gather(row, drawn))
        parts = [_convolve_each(tf.gather(waveforms, drawn), impulses)]
        parts.append(tf.gather(waveforms, others))
        indices = [tf.cast(which, tf.int32) for which in (drawn, others)]
        # Whole rows are copied: to scatter them takes as long as to convolve all.
        return tf.ensure_shape(tf.dynamic_stitch(indices, parts), waveforms.shape)

    # The FFT refuses to pad an empty batch.
    return tf.cond(
        tf.reduce_any(is_drawn), convolve_drawn, lambda: tf.identity(waveforms)
    )


def _convolve_each(waveforms: tf.Tensor, impulses: tf.Tensor) -> tf.Tensor:
    """Convolve each waveform with its own row of `[batch, taps]`, by one FFT.

    For 500 to 32,000 taps that is as fast as overlapping blocks of the best length.
    """
    samples, shape = tf.shape(waveforms)[1], waveforms.shape
    needed = samples + impulses.shape[1] - 1
    length = tf.gather(FFT_LENGTHS, tf.searchsorted(FFT_LENGTHS, [needed]))
    response = tf.signal.rfft(impulses, length)
    if len(shape) == 3:
        waveforms = tf.transpose(waveforms, [0, 2, 1])
        response = response[:, tf.newaxis]
    result = tf.signal.irfft(tf.signal.rfft(waveforms, length) * response, length)
    result = result[..., :samples]
    if len(shape) == 3:
        result = tf.transpose(result, [0, 2, 1])
    return tf.ensure_shape(result, shape)


def _share_constant(bank: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Convert a bank once so that all graphs refer to one tensor instead of copies."""
    if tf.is_tensor(bank):
        return bank
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.constant(bank, tf.float32)
