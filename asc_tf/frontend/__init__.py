"""Waveform to features: the only place where a spectrogram is computed.

One Keras layer serves tf.data, the model, the SavedModel and the .tflite alike. It is
float32 whatever the model's precision, and takes each segment on its own: its
neighbours in the batch change nothing. `Frontend.frames` gives the number of frames.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend import compression
from asc_tf.frontend.spectrum import count_bands, make_spectrum

MIN_DEVIATION = 0.05
"""Minimum band deviation relative to the RMS deviation, so that a band that hardly
changes is not amplified to noise."""


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
        sample_rate: Sample rate of the waveforms in Hz.
        settings: The front-end settings, or their mapping.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        portable: Whether to use only operations that LiteRT has; values differ in the
            last bits.
    """

    def __init__(
        self, sample_rate: int, settings: Frontend | dict[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(**(kwargs | {"dtype": "float32", "trainable": False}))
        if isinstance(settings, dict):
            settings = Frontend(**settings)
        self.sample_rate, self.settings = sample_rate, settings
        self.portable = False
        # spectrum.py reads complex numbers as pairs of floats, which XLA cannot do.
        self.supports_jit = False
        self._spectrum = make_spectrum(settings, sample_rate)

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
        """Compute features as the model takes them."""
        return self.standardize(self.extract(waveform))

    def extract(self, waveform: tf.Tensor) -> tf.Tensor:
        """Compute features before standardization (in dB, for log-mel)."""
        settings = self.settings
        if settings.waveform_range == "min_max":
            waveform = _scale_to_range(waveform)
        spectrum = self._compute_spectra(waveform)
        if settings.kind == "pcen":
            features = compression.apply_pcen(spectrum, settings, self.sample_rate)
        else:
            features = compression.take_logarithm(spectrum, settings)
        if settings.kind == "mfcc":
            features = compression.apply_dct(features, settings.n_mfcc)
        return compression.stack_deltas(features, settings.deltas, settings.delta_width)

    def _compute_spectra(self, waveform: tf.Tensor) -> tf.Tensor:
        """Compute the spectrum of each channel: `[batch, frames, bands, ...]`."""
        if len(waveform.shape) == 2:
            return self._spectrum(waveform, self.portable)
        channels = tf.unstack(waveform, axis=2)
        spectra = [self._spectrum(channel, self.portable) for channel in channels]
        return tf.stack(spectra, axis=3)

    def standardize(self, features: tf.Tensor) -> tf.Tensor:
        """Standardize the features that `extract` gives, and make an image of them."""
        settings = self.settings
        if settings.standardize == "per_clip":
            mean, variance = tf.nn.moments(features, axes=[1, 2], keepdims=True)
            features = (features - mean) / tf.maximum(tf.sqrt(variance), 1e-5)
        elif settings.standardize != "none":
            features = (features - self.mean) * self.scale
        if settings.image_frames:
            features = compression.make_image(
                features, settings.image_frames, settings.image_bands
            )
        return features

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Set the mean and the deviation that standardize features.

        Args:
            mean: Mean of the training split, from `compute_statistics`, or of a shape
                that broadcasts to the layer's.
            deviation: Standard deviation, likewise.
        """
        shape = self.mean.shape
        deviation = np.broadcast_to(deviation, shape)
        own = tuple(range(len(shape) - (1 if self._has_channels else 0)))
        usual = np.sqrt(np.mean(np.square(deviation), axis=own, keepdims=True))
        floored = np.maximum(deviation, MIN_DEVIATION * usual)
        self.mean.assign(np.broadcast_to(mean, shape))
        self.scale.assign(1 / np.where(floored > 0, floored, 1))

    def with_constants(self) -> "FrontendLayer":
        """Return a copy of a built layer whose statistics are constants.

        With deterministic operations, `tf.data` calls a function that reads variables
        one at a time, and only when its result is requested.
        """
        layer = FrontendLayer(self.sample_rate, self.settings)
        layer.portable = self.portable
        with tf.init_scope():
            layer.mean, layer.scale = np.asarray(self.mean), np.asarray(self.scale)
        layer.built = True
        return layer

    @property
    def _has_channels(self) -> bool:
        rank = 3 if self.settings.standardize == "per_position" else 2
        return len(self.mean.shape) == rank

    @property
    def per_decibel(self) -> tf.Tensor:
        """Change of each logarithmic feature per dB of sound.

        float32, of a shape that broadcasts to features; 0 for deltas, which a constant
        level does not change.
        """
        change = compression.change_per_decibel(self.settings)
        values = change * tf.convert_to_tensor(self.scale)
        if not self.settings.deltas:
            return values
        channels = values.shape[-1]
        is_static = np.arange(channels) < channels // (1 + self.settings.deltas)
        return values * is_static.astype(np.float32)

    def extracted_shape(self, input_shape: tuple) -> tuple:
        """Compute the shape of the features that `extract` gives."""
        batch, samples, *rest = input_shape
        settings = self.settings
        frames = None if samples is None else settings.frames(samples)
        width = count_bands(settings, self.sample_rate)
        if settings.kind == "mfcc":
            width = settings.n_mfcc
        channels = (rest[0] if rest else 1) * (1 + settings.deltas)
        own_axis = rest or settings.deltas
        return (batch, frames, width, *([channels] if own_axis else []))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Compute the shape of the features as the model takes them."""
        batch, *shape = self.extracted_shape(input_shape)
        if self.settings.image_frames:
            shape = [self.settings.image_frames, self.settings.image_bands, 3]
        return (batch, *shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that `from_config` needs."""
        own = {
            "sample_rate": self.sample_rate,
            "settings": dataclasses.asdict(self.settings),
        }
        return super().get_config() | own


def compute_statistics(
    layer: FrontendLayer, batches: Iterable[tf.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean and the deviation of the features of the training split.

    Args:
        layer: The front-end.
        batches: Features as `extract` gives them.

    Returns:
        Mean and deviation, float64. Their shape depends on `standardize`: `[frames,
        bands, ...]` where it is per_position, else `[bands, ...]`, with one band where
        it is scalar.
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


def _scale_to_range(waveform: tf.Tensor) -> tf.Tensor:
    """Move each waveform's minimum and maximum to -0.5 and 0.5; silence to 0."""
    own = tuple(range(1, len(waveform.shape)))
    low = tf.reduce_min(waveform, axis=own, keepdims=True)
    high = tf.reduce_max(waveform, axis=own, keepdims=True)
    return tf.math.divide_no_nan(waveform - (low + high) / 2, high - low)
