"""Mel spectrograms to look at, and the axes of features."""

import dataclasses
import functools

import numpy as np

from asc_tf.config import Frontend
from asc_tf.frontend import FrontendLayer
from asc_tf.frontend.log_axis import hz_to_octaves
from asc_tf.frontend.mel import hz_to_mel
from asc_tf.report.clip_figures import BandAxis, Image

DYNAMIC_RANGE = 80.0
"""Range of a spectrogram in dB, below its maximum."""


def make_mel_settings(settings: Frontend) -> Frontend:
    """Make the settings of a mel spectrogram in dB, whatever the features are."""
    return dataclasses.replace(
        settings,
        kind="log_mel",
        waveform_range="as_is",
        center=True,
        max_frames=0,
        power=2.0,
        logarithm="decibel",
        db_reference="clip_max",
        top_db=DYNAMIC_RANGE,
        deltas=0,
        standardize="none",
        image_frames=0,
        image_bands=0,
    )


def make_band_axis(settings: Frontend, sample_rate: int) -> BandAxis:
    """Make the axis of the bands of a front-end.

    Args:
        settings: Settings of the front-end.
        sample_rate: Sample rate in Hz.
    """
    low, high = settings.fmin, settings.fmax or sample_rate / 2
    if settings.kind == "mfcc":
        return BandAxis("coefficient", -0.5, settings.n_mfcc - 0.5)
    if settings.kind == "linear" and settings.frequency_axis == "linear":
        return BandAxis("Hz", low, high)
    if settings.kind == "linear":
        low, high = hz_to_octaves(np.array([low, high]))
        return BandAxis("Hz (log)", low, high, hz_to_octaves)
    to_mel = functools.partial(hz_to_mel, scale=settings.mel_scale)
    low, high = to_mel(np.array([low, high]))
    # The centre of the first band is one step above the lower edge.
    half = (high - low) / (settings.n_mels + 1) / 2
    return BandAxis("Hz (mel)", low + half, high - half, to_mel)


class MelSpectrogram:
    """Mel spectrogram in dB of waveforms of any length.

    Args:
        sample_rate: Sample rate of the waveforms in Hz.
        settings: Settings of the model's front-end, whose bands and frames are used.
    """

    def __init__(self, sample_rate: int, settings: Frontend) -> None:
        self._settings = make_mel_settings(settings)
        self._layer = FrontendLayer(sample_rate, self._settings)
        self._axis = make_band_axis(self._settings, sample_rate)

    def make_image(self, waveform: np.ndarray, **options: int) -> Image:
        """Compute the spectrogram of a waveform as a panel of a picture.

        Args:
            waveform: float32 `[samples]`. One that is shorter than a frame is
                extended by zeros.
            **options: Further arguments of `Image`.
        """
        missing = max(self._settings.n_fft - len(waveform), 0)
        padded = np.pad(waveform, (0, missing)).astype(np.float32)
        values = np.asarray(self._layer.extract(padded[np.newaxis]))[0]
        return Image(values, "mel spectrogram (dB)", self._axis, **options)
