"""Waveform to spectrum: frames, window, FFT, mel bands."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend.mel import filter_bank

MEL_BLOCKS = 8
"""The mel matrix is nearly all zeros: it is applied in blocks of neighbouring bands.
`benchmarks/frontend.py` compares other numbers of blocks."""

PORTABLE_BLOCKS = 16
"""More of them make a smaller .tflite, which is as fast."""


def window(settings: Frontend) -> np.ndarray:
    """The periodic window, centred in `n_fft` zeros: float32 `[n_fft]`."""
    length = settings.win_length or settings.n_fft
    phase = 2 * np.pi * np.arange(length) / length
    values = {
        "hann": 0.5 - 0.5 * np.cos(phase),
        "hamming": 0.54 - 0.46 * np.cos(phase),
        "rectangular": np.ones(length),
    }[settings.window]
    before = (settings.n_fft - length) // 2
    padded = np.pad(values, (before, settings.n_fft - length - before))
    return padded.astype(np.float32)


def kept_bins(settings: Frontend, sample_rate: int) -> slice:
    """The FFT bins from `fmin` to `fmax`, both included."""
    frequencies = np.arange(settings.n_fft // 2 + 1) * sample_rate / settings.n_fft
    highest = settings.fmax or sample_rate / 2
    inside = np.flatnonzero((frequencies >= settings.fmin) & (frequencies <= highest))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def bands(settings: Frontend, sample_rate: int) -> int:
    """Bands of the spectrum: mel bands, or FFT bins where `kind` is linear."""
    if settings.kind != "linear":
        return settings.n_mels
    kept = kept_bins(settings, sample_rate)
    return kept.stop - kept.start


def spectrum_of(
    settings: Frontend, sample_rate: int
) -> Callable[[tf.Tensor, bool], tf.Tensor]:
    """What turns waveforms into spectra, its constants computed once.

    Args:
        settings: The front-end settings.
        sample_rate: Hz.

    Returns:
        A function of float32 waveforms `[batch, samples]`, and of whether only
        operations that LiteRT has may be used, to `[batch, frames, bands]`: mel bands
        or bins of `|STFT| ** power`.
    """
    shape = window(settings)
    if settings.kind == "linear":
        return functools.partial(_linear, shape, settings, sample_rate)
    filters = filter_bank(
        sample_rate,
        settings.n_fft,
        settings.n_mels,
        settings.fmin,
        settings.fmax or sample_rate / 2,
        settings.mel_scale,
        settings.mel_norm,
    )
    # Real and imaginary parts lie side by side: each has its row.
    twice = np.repeat(filters, 2, axis=0)

    def mel(waveform: tf.Tensor, portable: bool) -> tf.Tensor:
        transformed = _transform(waveform, shape, settings)
        if settings.power != 2.0 or portable:
            blocks = PORTABLE_BLOCKS if portable else MEL_BLOCKS
            return _mel(_magnitudes(transformed, settings), filters, blocks)
        # Their squares need not be added first, for the mel product adds them.
        parts = tf.square(tf.bitcast(transformed, tf.float32))
        flat = tf.concat([tf.shape(parts)[:2], [2 * (settings.n_fft // 2 + 1)]], axis=0)
        return _mel(tf.reshape(parts, flat), twice, MEL_BLOCKS)

    return mel


def _linear(
    shape: np.ndarray,
    settings: Frontend,
    sample_rate: int,
    waveform: tf.Tensor,
    portable: bool,
) -> tf.Tensor:
    """Bins from `fmin` to `fmax`."""
    del portable  # Nothing here is not.
    magnitudes = _magnitudes(_transform(waveform, shape, settings), settings)
    kept = kept_bins(settings, sample_rate)
    above = settings.n_fft // 2 + 1 - kept.stop
    # A slice would be moved to before the magnitudes by the converter to LiteRT, which
    # cannot slice complex numbers.
    return tf.split(magnitudes, [kept.start, kept.stop - kept.start, above], axis=-1)[1]


def _transform(waveform: tf.Tensor, shape: np.ndarray, settings: Frontend) -> tf.Tensor:
    """STFT: complex64 `[batch, frames, n_fft // 2 + 1]`."""
    if settings.center:
        half = settings.n_fft // 2
        waveform = tf.pad(waveform, [[0, 0], [half, half]])
    frames = tf.signal.frame(waveform, settings.n_fft, settings.hop_length)
    if settings.max_frames:
        frames = frames[:, : settings.max_frames]
    return tf.signal.rfft(frames * shape)


def _magnitudes(transformed: tf.Tensor, settings: Frontend) -> tf.Tensor:
    """Spectrum to the configured power: float32 of the same shape."""
    real, imaginary = tf.math.real(transformed), tf.math.imag(transformed)
    power = tf.square(real) + tf.square(imaginary)
    if settings.power == 2.0:
        return power
    if settings.power == 1.0:
        return tf.sqrt(power)
    return tf.pow(power, settings.power / 2)


def _mel(values: tf.Tensor, filters: np.ndarray, blocks: int) -> tf.Tensor:
    """Blocks of neighbouring bands, each from the rows that reach into them."""
    parts = []
    for members in np.array_split(np.arange(filters.shape[1]), blocks):
        block = filters[:, members]
        used = np.flatnonzero(block.any(axis=1))
        if not members.size:
            continue
        first, last = (used[0], used[-1] + 1) if used.size else (0, 1)
        parts.append(tf.matmul(values[..., first:last], block[first:last]))
    return tf.concat(parts, axis=-1)
