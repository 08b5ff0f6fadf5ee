"""Numeric precision: dtype policies, TF32, and the float32 twin of a model."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

TENSOR_CORES = (7, 0)
"""Lowest compute capability at which float16 is faster than float32."""


def choose_precision(wanted: str) -> str:
    """Choose the dtype policy of the body that `train.precision` asks for.

    Returns:
        `float32`, `mixed_float16` or `mixed_bfloat16`.
    """
    if wanted != "auto":
        return wanted
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    fast = [each.get("compute_capability", (0, 0)) >= TENSOR_CORES for each in details]
    return "mixed_float16" if fast and all(fast) else "float32"


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Set the dtype policy of layers that are built inside the context."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def allow_tensor_float_32(is_allowed: bool) -> None:
    """Set whether a GPU may round the inputs of matrix products to 10 bits (TF32).

    Where a GPU computes features it may not: a log-mel would lose digits that training
    and the exported files have. So this is switched off for every model that takes
    waveforms; a body that trains on features from the pipeline may use it.
    """
    tf.config.experimental.enable_tensor_float_32_execution(is_allowed)


def make_float32_twin(body: keras.Model) -> keras.Model:
    """Make a float32 model of the same layers and weights, for one device.

    A body in mixed precision converts without an error, and LiteRT cannot run it.
    """

    def copy(layer: keras.Layer) -> keras.Layer:
        settings = layer.get_config() | {"dtype": "float32"}
        # A wrapper holds its layers.
        for inner in ("layer", "backward_layer"):
            if settings.get(inner):
                settings[inner]["config"]["dtype"] = "float32"
        if isinstance(layer, keras.layers.BatchNormalization):
            settings["synchronized"] = False
        return layer.__class__.from_config(settings)

    twin = keras.models.clone_model(body, clone_function=copy, recursive=True)
    twin.set_weights(body.get_weights())
    return twin


def list_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """List all layers, also those of models inside the model."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from list_layers(layer)
        yield layer
