"""Models: features to probabilities, by name. They never see files or waveforms."""

from collections.abc import Callable

import keras

from asc_tf.config import Model
from asc_tf.models import separable_cnn

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "separable_cnn": separable_cnn.build,
}


def build(settings: Model, frames: int, bands: int, labels: int) -> keras.Model:
    """Build the model that `settings.name` names.

    Args:
        settings: The model settings.
        frames: Frames of a segment.
        bands: Feature bands.
        labels: Number of classes.

    Returns:
        A model from float32 `[batch, frames, bands]` to probabilities
        `[batch, labels]`.
    """
    return BUILDERS[settings.name](settings, frames, bands, labels)


def with_frontend(
    frontend: keras.layers.Layer, body: keras.Model, samples: int
) -> keras.Model:
    """The whole model: waveform `[batch, samples]` to probabilities."""
    waveform = keras.Input((samples,), name="waveform")
    return keras.Model(waveform, body(frontend(waveform)), name="classifier")
