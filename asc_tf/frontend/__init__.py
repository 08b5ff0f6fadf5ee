"""Waveform to features: the only place where a spectrogram is computed.

One Keras layer serves tf.data, the model, the SavedModel and the .tflite alike. It is
float32 whatever the model's precision, and takes each segment on its own: what else is
in the batch changes nothing.

Frame-count law: `frames(samples)` is `1 + (samples + padding - n_fft) // hop_length`
with `padding` of `n_fft` where frames are centred, else 0.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend.mel import filter_bank

AMIN = 1e-10
"""Smallest power before the logarithm, librosa's."""

MIN_DEVIATION = 1.0
"""Decibels; a band that hardly changes is not blown up into noise."""

MEL_BLOCKS = 8
"""The mel matrix is nearly all zeros: it is applied in blocks of neighbouring bands."""


@keras.saving.register_keras_serializable(package="asc_tf")
class FrontendLayer(keras.layers.Layer):
    """Log-mel spectrogram in dB, standardized by training-set statistics.

    Equal to `librosa.power_to_db(librosa.feature.melspectrogram(...))` within 1e-3 dB,
    with `librosa`'s conventions: periodic window centred in the FFT frame, zeros beyond
    the ends, mel filters on `|STFT| ** power`.

    Input shape: float32 `[batch, samples]` or `[batch, samples, channels]`, in [-1, 1].
    Output shape: float32 `[batch, frames, n_mels]` or
    `[batch, frames, n_mels, channels]`. The channels of a clip share its 0 dB, so that
    their difference in level is kept; each has statistics of its own.

    Args:
        sample_rate: Hz.
        settings: The front-end settings, or their mapping.
        **kwargs: Of `keras.layers.Layer`.
    """

    def __init__(
        self, sample_rate: int, settings: Frontend | dict[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(**(kwargs | {"dtype": "float32", "trainable": False}))
        if isinstance(settings, dict):
            settings = Frontend(**settings)
        self.sample_rate, self.settings = sample_rate, settings
        self._filters = filter_bank(
            sample_rate,
            settings.n_fft,
            settings.n_mels,
            settings.fmin,
            settings.fmax or sample_rate / 2,
            settings.mel_scale,
            settings.mel_norm,
        )
        self._window = _window(settings)

    def build(self, input_shape: Any) -> None:
        """Create the statistics: mean 0 and scale 1 until `set_statistics`."""
        shape = (self.settings.n_mels, *input_shape[2:])
        for name, start in (("mean", "zeros"), ("scale", "ones")):
            weight = self.add_weight(
                shape=shape, initializer=start, trainable=False, name=name
            )
            setattr(self, name, weight)

    def call(self, waveform: tf.Tensor) -> tf.Tensor:
        """Waveforms to standardized features."""
        return (self.extract(waveform) - self.mean) * self.scale

    def extract(self, waveform: tf.Tensor) -> tf.Tensor:
        """Waveforms to features in dB: float32 `[batch, frames, n_mels, ...]`."""
        settings = self.settings
        decibels = _decibels(self._spectrogram(waveform))
        own = tuple(range(1, len(decibels.shape)))
        highest = tf.reduce_max(decibels, axis=own, keepdims=True)
        if settings.db_reference == "clip_max":
            decibels, highest = decibels - highest, tf.zeros_like(highest)
        else:
            reference = _decibels(tf.constant(settings.db_reference_value))
            decibels, highest = decibels - reference, highest - reference
        if settings.top_db:
            decibels = tf.maximum(decibels, highest - settings.top_db)
        return decibels

    def _spectrogram(self, waveform: tf.Tensor) -> tf.Tensor:
        """Mel spectrum of each channel: `[batch, frames, n_mels, ...]`."""
        if len(waveform.shape) == 2:
            return self._mel(self._magnitudes(waveform))
        channels = tf.unstack(waveform, axis=2)
        spectra = [self._mel(self._magnitudes(channel)) for channel in channels]
        return tf.stack(spectra, axis=3)

    def _magnitudes(self, waveform: tf.Tensor) -> tf.Tensor:
        """Spectrum to the configured power: `[batch, frames, n_fft // 2 + 1]`."""
        settings = self.settings
        if settings.center:
            half = settings.n_fft // 2
            waveform = tf.pad(waveform, [[0, 0], [half, half]])
        frames = tf.signal.frame(waveform, settings.n_fft, settings.hop_length)
        spectrum = tf.signal.rfft(frames * self._window)
        real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
        power = tf.square(real) + tf.square(imaginary)
        if settings.power == 2.0:
            return power
        return tf.pow(power, settings.power / 2)

    def _mel(self, magnitudes: tf.Tensor) -> tf.Tensor:
        """Bands of neighbours, each from the bins that reach into them."""
        parts = []
        for bands in np.array_split(np.arange(self.settings.n_mels), MEL_BLOCKS):
            block = self._filters[:, bands]
            used = np.flatnonzero(block.any(axis=1))
            if not bands.size:
                continue
            first, last = (used[0], used[-1] + 1) if used.size else (0, 1)
            parts.append(tf.matmul(magnitudes[..., first:last], block[first:last]))
        return tf.concat(parts, axis=-1)

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set what standardizes: of the training part, in dB.

        Args:
            mean: `[n_mels]`, `[n_mels, channels]` or scalar.
            deviation: Likewise.
        """
        bands = np.ones(self.mean.shape, np.float32)
        self.mean.assign(bands * mean)
        self.scale.assign(bands / np.maximum(deviation, MIN_DEVIATION))

    def frames(self, samples: int) -> int:
        """The frame-count law."""
        padding = self.settings.n_fft // 2 * 2 if self.settings.center else 0
        return 1 + (samples + padding - self.settings.n_fft) // self.settings.hop_length

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """`[batch, samples, ...]` to `[batch, frames, n_mels, ...]`."""
        batch, samples, *channels = input_shape
        frames = None if samples is None else self.frames(samples)
        return (batch, frames, self.settings.n_mels, *channels)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        own = {
            "sample_rate": self.sample_rate,
            "settings": dataclasses.asdict(self.settings),
        }
        return super().get_config() | own


def statistics(
    layer: FrontendLayer, batches: Iterable[tf.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the features of the training part.

    Args:
        layer: The front-end.
        batches: Waveforms `[batch, samples]` or `[batch, samples, channels]`.

    Returns:
        Mean and deviation in dB, `[n_mels]` or `[n_mels, channels]` each; all the same
        for `standardize = scalar`.
    """
    count = 0
    sums: np.ndarray | float = 0.0
    decibels = tf.function(layer.extract)
    for batch in batches:
        values = decibels(batch).numpy().astype(np.float64)
        values = values.reshape(-1, *values.shape[2:])
        count += len(values)
        sums = sums + np.stack([values.sum(axis=0), np.square(values).sum(axis=0)])
    mean, square = np.asarray(sums) / count
    if layer.settings.standardize == "scalar":
        mean = np.full_like(mean, mean.mean())
        square = np.full_like(square, square.mean())
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def _decibels(power: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.maximum(power, AMIN)) * np.float32(10 / np.log(10))


def _window(settings: Frontend) -> np.ndarray:
    """The periodic window, centred in `n_fft` zeros: float32 `[n_fft]`."""
    length = settings.win_length or settings.n_fft
    phase = 2 * np.pi * np.arange(length) / length
    window = {
        "hann": 0.5 - 0.5 * np.cos(phase),
        "hamming": 0.54 - 0.46 * np.cos(phase),
        "rectangular": np.ones(length),
    }[settings.window]
    before = (settings.n_fft - length) // 2
    padded = np.pad(window, (before, settings.n_fft - length - before))
    return padded.astype(np.float32)
