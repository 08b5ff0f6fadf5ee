"""Waveform to spectrum: frames, window, FFT, mel bands."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend.log_axis import nearest_bins
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


def bin_frequencies(settings: Frontend, sample_rate: int) -> np.ndarray:
    """Frequencies of all FFT bins in Hz: `[n_fft // 2 + 1]`."""
    return np.arange(settings.n_fft // 2 + 1) * sample_rate / settings.n_fft


def kept_bins(settings: Frontend, sample_rate: int) -> slice:
    """The FFT bins from `fmin` to `fmax`, both included."""
    frequencies = bin_frequencies(settings, sample_rate)
    highest = settings.fmax or sample_rate / 2
    inside = np.flatnonzero((frequencies >= settings.fmin) & (frequencies <= highest))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def bands(settings: Frontend, sample_rate: int) -> int:
    """Bands of the spectrum: mel bands, or as many as FFT bins are kept."""
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
        or bins of `|STFT| ** power`, or rows of these on a logarithmic axis.
    """
    shape = window(settings)
    if settings.kind == "linear":
        kept = kept_bins(settings, sample_rate)
        rows = None
        if settings.frequency_axis == "logarithmic":
            rows = nearest_bins(bin_frequencies(settings, sample_rate)[kept])
        return functools.partial(_linear, shape, settings, kept, rows)
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
    kept: slice,
    rows: np.ndarray | None,
    waveform: tf.Tensor,
    portable: bool,
) -> tf.Tensor:
    """The bins that are kept, or the rows of a logarithmic axis, taken from them."""
    del portable  # LiteRT has all of these operations.
    magnitudes = _magnitudes(_transform(waveform, shape, settings), settings)
    above = settings.n_fft // 2 + 1 - kept.stop
    # A slice would be moved to before the magnitudes by the converter to LiteRT, which
    # cannot slice complex numbers.
    sizes = [kept.start, kept.stop - kept.start, above]
    inside = tf.split(magnitudes, sizes, axis=-1)[1]
    return inside if rows is None else tf.gather(inside, rows, axis=-1)


def _transform(waveform: tf.Tensor, shape: np.ndarray, settings: Frontend) -> tf.Tensor:
    """STFT: complex64 `[batch, frames, n_fft // 2 + 1]`."""
    if settings.center:
        half = settings.n_fft // 2
        mode = settings.pad_mode.upper()
        waveform = tf.pad(waveform, [[0, 0], [half, half]], mode)
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
