"""Models: features to probabilities, by name. They never see files or waveforms.

`asc_tf.config.FAMILIES` describes each family and names its source. One builder per
family makes the model in Keras 3, or its twin in tf_keras for tools that need that.
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
from asc_tf.models.blocks import Blocks
from asc_tf.models.transfer import (
    check_resumable,
    freeze_layers,
    get_body,
    initialize,
)

__all__ = [
    "BUILDERS",
    "attach_frontend",
    "build",
    "check_resumable",
    "choose_momentum",
    "freeze_layers",
    "get_body",
    "initialize",
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
"""Builder of each family.

A builder takes the layers of Keras or tf_keras (`Blocks`), the model settings, the
shape of a segment's features (`[frames, bands]` or with channels behind) and the number
of classes. It returns a model from `[batch, *shape]` to probabilities
`[batch, labels]`.
"""


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
        shape: Shape of a segment's features, `[frames, bands]` or with channels behind.
        labels: Number of classes.
        momentum: Momentum of the running statistics of batch norms, from
            `choose_momentum`.
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
    blocks = Blocks(library, momentum)
    try:
        model = BUILDERS[settings.name](blocks, settings, shape, labels)
    except UserError:
        raise
    except ValueError as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(f"{too_small} ({reason})") from error
    if any(0 in layer.output.shape for layer in model.layers):
        raise UsageError(too_small)
    return model


def choose_momentum(steps_per_epoch: int) -> float:
    """Choose the momentum of batch norms so that an epoch renews four fifths of them.

    With a fixed one, the statistics of a small corpus (few steps per epoch) lag behind
    the weights for many epochs, and validation sees a model that knows nothing.
    """
    return min(0.9, 0.2 ** (1 / steps_per_epoch))


def attach_frontend(
    frontend: keras.layers.Layer, body: keras.Model, shape: tuple[int, ...]
) -> keras.Model:
    """Make the whole model: waveform `[batch, *shape]` to probabilities."""
    waveform = keras.Input(shape, name="waveform")
    return keras.Model(waveform, body(frontend(waveform)), name="classifier")
