"""Waveform to spectrum: frames, window, FFT, mel bands."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend.log_axis import find_nearest_bins
from asc_tf.frontend.mel import make_filter_bank

MEL_BLOCKS = 8
"""Blocks of neighbouring bands in which the mel matrix, nearly all zeros, is applied.
`benchmarks/frontend.py` compares other numbers."""

PORTABLE_BLOCKS = 16
"""Blocks in a .tflite: more of them make it smaller, and it is as fast."""


def make_window(settings: Frontend) -> np.ndarray:
    """Compute the periodic window, centred in `n_fft` zeros: float32 `[n_fft]`."""
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


def compute_bin_frequencies(settings: Frontend, sample_rate: int) -> np.ndarray:
    """Compute the frequencies of all FFT bins in Hz: `[n_fft // 2 + 1]`."""
    return np.arange(settings.n_fft // 2 + 1) * sample_rate / settings.n_fft


def select_bins(settings: Frontend, sample_rate: int) -> slice:
    """Select the FFT bins from `fmin` to `fmax`, both included."""
    frequencies = compute_bin_frequencies(settings, sample_rate)
    highest = settings.fmax or sample_rate / 2
    inside = np.flatnonzero((frequencies >= settings.fmin) & (frequencies <= highest))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def count_bands(settings: Frontend, sample_rate: int) -> int:
    """Count the bands of the spectrum: mel bands, or the selected FFT bins."""
    if settings.kind != "linear":
        return settings.n_mels
    bins = select_bins(settings, sample_rate)
    return bins.stop - bins.start


Spectrum = Callable[[tf.Tensor, bool], tf.Tensor]
"""Function of float32 waveforms `[batch, samples]`, and of whether only operations that
LiteRT has may be used, to `[batch, frames, bands]`."""


def make_spectrum(settings: Frontend, sample_rate: int) -> Spectrum:
    """Make a function from waveforms to spectra, its constants computed once.

    Args:
        settings: The front-end settings.
        sample_rate: Sample rate of the waveforms in Hz.

    Returns:
        A function that gives mel bands or bins of `|STFT| ** power`, or rows of these
        on a logarithmic axis.
    """
    make = _make_linear if settings.kind == "linear" else _make_mel
    return make(settings, sample_rate, make_window(settings))


def _make_mel(settings: Frontend, sample_rate: int, window: np.ndarray) -> Spectrum:
    filters = make_filter_bank(
        sample_rate,
        settings.n_fft,
        settings.n_mels,
        settings.fmin,
        settings.fmax or sample_rate / 2,
        settings.mel_scale,
        settings.mel_norm,
    )
    # Real and imaginary parts lie side by side, and each has its row.
    twice = np.repeat(filters, 2, axis=0)

    def compute(waveform: tf.Tensor, portable: bool) -> tf.Tensor:
        stft = _compute_stft(waveform, window, settings)
        if settings.power != 2.0 or portable:
            blocks = PORTABLE_BLOCKS if portable else MEL_BLOCKS
            return _apply_filters(_compute_magnitudes(stft, settings), filters, blocks)
        # The mel product itself adds the squares of both parts.
        parts = tf.square(tf.bitcast(stft, tf.float32))
        flat = tf.concat([tf.shape(parts)[:2], [2 * (settings.n_fft // 2 + 1)]], axis=0)
        return _apply_filters(tf.reshape(parts, flat), twice, MEL_BLOCKS)

    return compute


def _make_linear(settings: Frontend, sample_rate: int, window: np.ndarray) -> Spectrum:
    bins, rows = select_bins(settings, sample_rate), None
    if settings.frequency_axis == "logarithmic":
        frequencies = compute_bin_frequencies(settings, sample_rate)
        rows = find_nearest_bins(frequencies[bins])
    above = settings.n_fft // 2 + 1 - bins.stop

    def compute(waveform: tf.Tensor, portable: bool) -> tf.Tensor:
        # `portable` changes nothing: LiteRT has all of these operations.
        stft = _compute_stft(waveform, window, settings)
        magnitudes = _compute_magnitudes(stft, settings)
        # The converter to LiteRT would move a slice before the magnitudes, and LiteRT
        # cannot slice complex numbers.
        sizes = [bins.start, bins.stop - bins.start, above]
        inside = tf.split(magnitudes, sizes, axis=-1)[1]
        return inside if rows is None else tf.gather(inside, rows, axis=-1)

    return compute


def _compute_stft(
    waveform: tf.Tensor, window: np.ndarray, settings: Frontend
) -> tf.Tensor:
    """Compute the STFT: complex64 `[batch, frames, n_fft // 2 + 1]`."""
    if settings.center:
        half = settings.n_fft // 2
        mode = settings.pad_mode.upper()
        waveform = tf.pad(waveform, [[0, 0], [half, half]], mode)
    frames = tf.signal.frame(waveform, settings.n_fft, settings.hop_length)
    if settings.max_frames:
        frames = frames[:, : settings.max_frames]
    return tf.signal.rfft(frames * window)


def _compute_magnitudes(stft: tf.Tensor, settings: Frontend) -> tf.Tensor:
    """Raise magnitudes to the configured power: float32 of the same shape."""
    real, imaginary = tf.math.real(stft), tf.math.imag(stft)
    power = tf.square(real) + tf.square(imaginary)
    if settings.power == 2.0:
        return power
    if settings.power == 1.0:
        return tf.sqrt(power)
    return tf.pow(power, settings.power / 2)


def _apply_filters(values: tf.Tensor, filters: np.ndarray, blocks: int) -> tf.Tensor:
    """Apply filters in blocks of bands, each to the rows that reach into them."""
    parts = []
    for members in np.array_split(np.arange(filters.shape[1]), blocks):
        block = filters[:, members]
        used = np.flatnonzero(block.any(axis=1))
        if not members.size:
            continue
        first, last = (used[0], used[-1] + 1) if used.size else (0, 1)
        parts.append(tf.matmul(values[..., first:last], block[first:last]))
    return tf.concat(parts, axis=-1)
