"""Models: features to probabilities, by name. They never see files or waveforms.

What each family is, with its source, is in `asc_tf.config.FAMILIES`. One builder a
family makes the model in Keras 3 or, for what takes only that, its twin in tf_keras.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras

from asc_tf.config import Model
from asc_tf.core.errors import UsageError, UserError
from asc_tf.models import (
    cp_mobile,
    dcase2018_cnn,
    esa3_cnn,
    esa3_crnn,
    fsdkaggle2018_cnn,
    imagenet,
    separable_cnn,
    us8k_cnn,
)
from asc_tf.models.transfer import (
    body_of,
    check_resumable,
    freeze_layers,
    initialize,
)

__all__ = [
    "BUILDERS",
    "body_of",
    "build",
    "check_resumable",
    "freeze_layers",
    "initialize",
    "momentum_for",
    "with_frontend",
]

BUILDERS: dict[str, Callable[..., Any]] = {
    "separable_cnn": separable_cnn.build,
    "esa3_cnn": esa3_cnn.build,
    "esa3_crnn": esa3_crnn.build,
    "us8k_cnn": us8k_cnn.build,
    "dcase2018_cnn": dcase2018_cnn.build,
    "fsdkaggle2018_cnn": fsdkaggle2018_cnn.build,
    "cp_mobile": cp_mobile.build,
    "imagenet": imagenet.build,
}


def build(
    settings: Model,
    shape: tuple[int, ...],
    labels: int,
    momentum: float = 0.9,
    library: ModuleType = keras,
) -> Any:
    """Build the model that `settings.name` names.

    Args:
        settings: The model settings.
        shape: Of a segment's features, `[frames, bands]` or with channels behind.
        labels: Number of classes.
        momentum: Of the running statistics of batch norms; `momentum_for` gives it.
        library: `keras`, or `tf_keras` for a twin with the same layers, names and
            order of weights, so that `twin.set_weights(model.get_weights())` makes
            them equal.

    Returns:
        A model from float32 `[batch, *shape]` to probabilities `[batch, labels]`.

    Raises:
        UsageError: If the features are too small for the family's poolings, or a
            setting does not fit the backbone.
        UserError: If weights cannot be fetched or read.
    """
    too_small = (
        f"model.name = {settings.name}: features of {' x '.join(map(str, shape))} are "
        "too small for its poolings; use longer segments or more bands"
    )
    try:
        model = BUILDERS[settings.name](settings, shape, labels, momentum, library)
    except UserError:
        raise
    except ValueError as error:
        raise UsageError(f"{too_small} ({_first_line(error)})") from error
    if any(0 in layer.output.shape for layer in model.layers):
        raise UsageError(too_small)
    return model


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def momentum_for(steps_per_epoch: int) -> float:
    """Momentum of batch norms by which an epoch leaves at most a fifth of the old.

    With a fixed one, the statistics of a small corpus (few steps an epoch) lag behind
    the weights for many epochs, and validation sees a model that knows nothing.
    """
    return min(0.9, 0.2 ** (1 / steps_per_epoch))


def with_frontend(
    frontend: keras.layers.Layer, body: keras.Model, shape: tuple[int, ...]
) -> keras.Model:
    """The whole model: waveform `[batch, *shape]` to probabilities."""
    waveform = keras.Input(shape, name="waveform")
    return keras.Model(waveform, body(frontend(waveform)), name="classifier")
