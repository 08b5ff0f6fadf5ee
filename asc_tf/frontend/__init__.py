"""Waveform to features: the only place where a spectrogram is computed.

One Keras layer serves tf.data, the model, the SavedModel and the .tflite alike. It is
float32 whatever the model's precision, and takes each segment on its own: what else is
in the batch changes nothing. `Frontend.frames` states the frame-count law.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend import compression
from asc_tf.frontend.spectrum import bands, spectrum_of

MIN_DEVIATION = 0.05
"""Of a band, as a share of the deviation of all bands: one that hardly changes is not
blown up into noise."""


@keras.saving.register_keras_serializable(package="asc_tf")
class FrontendLayer(keras.layers.Layer):
    """Log-mel or linear spectrogram, MFCC or PCEN, with deltas, standardized.

    Equal to librosa's functions (log-mel within 1e-3 dB), with its conventions:
    periodic window centred in the FFT frame, zeros beyond the ends (or, as before
    librosa 0.9, the segment reflected), filters on `|STFT| ** power`.

    Input shape: float32 `[batch, samples]` or `[batch, samples, channels]`, in [-1, 1].
    Output shape: float32 `[batch, frames, bands]`, or `[..., channels]` where there are
    several: those of the waveform, then their deltas. Each has statistics of its own.

    Args:
        sample_rate: Hz.
        settings: The front-end settings, or their mapping.
        **kwargs: Of `keras.layers.Layer`.

    Attributes:
        portable: Use only operations that LiteRT has; numbers differ in the last bits.
    """

    def __init__(
        self, sample_rate: int, settings: Frontend | dict[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(**(kwargs | {"dtype": "float32", "trainable": False}))
        if isinstance(settings, dict):
            settings = Frontend(**settings)
        self.sample_rate, self.settings = sample_rate, settings
        self.portable = False
        # XLA cannot take complex numbers for pairs of floats, which spectrum.py does.
        self.supports_jit = False
        self._spectrum = spectrum_of(settings, sample_rate)

    def build(self, input_shape: Any) -> None:
        """Create the statistics: mean 0 and scale 1 until `set_statistics`."""
        _, *shape = self.extracted_shape(input_shape)
        if self.settings.standardize != "per_position":
            shape = shape[1:]
        for name, start in (("mean", "zeros"), ("scale", "ones")):
            weight = self.add_weight(
                shape=shape, initializer=start, trainable=False, name=name
            )
            setattr(self, name, weight)

    def call(self, waveform: tf.Tensor) -> tf.Tensor:
        """Waveforms to features as the model takes them."""
        return self.standardize(self.extract(waveform))

    def extract(self, waveform: tf.Tensor) -> tf.Tensor:
        """Waveforms to features before standardization (in dB, for log-mel)."""
        settings = self.settings
        if settings.waveform_range == "min_max":
            waveform = _spread(waveform)
        spectrum = self._spectra(waveform)
        if settings.kind == "pcen":
            features = compression.pcen(spectrum, settings, self.sample_rate)
        else:
            features = compression.logarithm(spectrum, settings)
        if settings.kind == "mfcc":
            features = compression.cepstrum(features, settings.n_mfcc)
        return compression.with_deltas(features, settings.deltas, settings.delta_width)

    def _spectra(self, waveform: tf.Tensor) -> tf.Tensor:
        """Spectrum of each channel: `[batch, frames, bands, ...]`."""
        if len(waveform.shape) == 2:
            return self._spectrum(waveform, self.portable)
        channels = tf.unstack(waveform, axis=2)
        spectra = [self._spectrum(channel, self.portable) for channel in channels]
        return tf.stack(spectra, axis=3)

    def standardize(self, features: tf.Tensor) -> tf.Tensor:
        """What `extract` gives to features as the model takes them."""
        settings = self.settings
        if settings.standardize == "per_clip":
            mean, variance = tf.nn.moments(features, axes=[1, 2], keepdims=True)
            features = (features - mean) / tf.maximum(tf.sqrt(variance), 1e-5)
        elif settings.standardize != "none":
            features = (features - self.mean) * self.scale
        if settings.image_frames:
            features = compression.image(
                features, settings.image_frames, settings.image_bands
            )
        return features

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set what standardizes, as `statistics` gives it.

        Args:
            mean: Of the training part, of a shape that broadcasts to the layer's.
            deviation: Likewise.
        """
        shape = self.mean.shape
        deviation = np.broadcast_to(deviation, shape)
        own = tuple(range(len(shape) - (1 if self._has_channels else 0)))
        usual = np.sqrt(np.mean(np.square(deviation), axis=own, keepdims=True))
        floored = np.maximum(deviation, MIN_DEVIATION * usual)
        self.mean.assign(np.broadcast_to(mean, shape))
        self.scale.assign(1 / np.where(floored > 0, floored, 1))

    @property
    def _has_channels(self) -> bool:
        rank = 3 if self.settings.standardize == "per_position" else 2
        return len(self.mean.shape) == rank

    @property
    def per_decibel(self) -> tf.Tensor:
        """How much a decibel more of sound adds to each logarithmic feature.

        float32, of a shape that broadcasts to features; 0 for deltas, which a constant
        level does not change.
        """
        units = compression.per_decibel(self.settings)
        values = units * tf.convert_to_tensor(self.scale)
        if not self.settings.deltas:
            return values
        channels = values.shape[-1]
        static = np.arange(channels) < channels // (1 + self.settings.deltas)
        return values * static.astype(np.float32)

    def extracted_shape(self, input_shape: tuple) -> tuple:
        """Shape of what `extract` gives."""
        batch, samples, *rest = input_shape
        settings = self.settings
        frames = None if samples is None else settings.frames(samples)
        cepstral = settings.kind == "mfcc"
        width = settings.n_mfcc if cepstral else bands(settings, self.sample_rate)
        channels = (rest[0] if rest else 1) * (1 + settings.deltas)
        own_axis = rest or settings.deltas
        return (batch, frames, width, *([channels] if own_axis else []))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Shape of the features."""
        batch, *shape = self.extracted_shape(input_shape)
        if self.settings.image_frames:
            shape = [self.settings.image_frames, self.settings.image_bands, 3]
        return (batch, *shape)

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
        batches: Features as `extract` gives them.

    Returns:
        Mean and deviation, float64, as `standardize` asks: `[bands, ...]`; the same for
        all bands where it is scalar; `[frames, bands, ...]` where it is per_position.
    """
    count = 0
    sums: np.ndarray | float = 0.0
    for batch in batches:
        values = np.asarray(batch, np.float64)
        count += len(values)
        sums = sums + np.stack([values.sum(axis=0), np.square(values).sum(axis=0)])
    mean, square = np.asarray(sums) / count
    pooled = {"per_position": (), "scalar": (0, 1)}.get(layer.settings.standardize, 0)
    mean = np.mean(mean, axis=pooled, keepdims=True)
    square = np.mean(square, axis=pooled, keepdims=True)
    if layer.settings.standardize != "per_position":
        mean, square = mean[0], square[0]
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def _spread(waveform: tf.Tensor) -> tf.Tensor:
    """Move each waveform's minimum and maximum to -0.5 and 0.5; silence to 0."""
    own = tuple(range(1, len(waveform.shape)))
    low = tf.reduce_min(waveform, axis=own, keepdims=True)
    high = tf.reduce_max(waveform, axis=own, keepdims=True)
    return tf.math.divide_no_nan(waveform - (low + high) / 2, high - low)
