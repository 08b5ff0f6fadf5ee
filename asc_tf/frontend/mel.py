"""Mel scales and filter banks, equal to librosa's.

Sources: M. Slaney, "Auditory Toolbox" (1998); S. Young et al., "The HTK Book".
"""

import numpy as np

_LINEAR_STEP = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _LINEAR_STEP
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(frequency: np.ndarray | float, scale: str) -> np.ndarray:
    """Convert frequencies in Hz to mels of the `slaney` or the `htk` scale."""
    frequency = np.asarray(frequency, np.float64)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + frequency / 700.0)
    above = np.log(np.maximum(frequency, 1e-9) / _LOG_START_HZ) / _LOG_STEP
    linear = frequency / _LINEAR_STEP
    return np.where(frequency < _LOG_START_HZ, linear, _LOG_START_MEL + above)


def mel_to_hz(mel: np.ndarray | float, scale: str) -> np.ndarray:
    """Convert mels of the `slaney` or the `htk` scale to frequencies in Hz."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    above = _LOG_START_HZ * np.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return np.where(mel < _LOG_START_MEL, mel * _LINEAR_STEP, above)


def make_filter_bank(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    scale: str,
    norm: str,
) -> np.ndarray:
    """Compute triangular filters between neighbouring mel-spaced frequencies.

    Args:
        sample_rate: Sample rate in Hz.
        n_fft: FFT length in samples.
        n_mels: Number of bands.
        fmin: Lower edge of the lowest band in Hz.
        fmax: Upper edge of the highest band in Hz.
        scale: `slaney` or `htk`.
        norm: `slaney` for bands of equal area, `none` for equal peaks.

    Returns:
        float32 `[n_fft // 2 + 1, n_mels]`.
    """
    edges = mel_to_hz(
        np.linspace(hz_to_mel(fmin, scale), hz_to_mel(fmax, scale), n_mels + 2), scale
    )
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, np.newaxis] - low) / (peak - low)
    falling = (high - bins[:, np.newaxis]) / (high - peak)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    if norm == "slaney":
        weights *= 2.0 / (high - low)
    return weights.astype(np.float32)
