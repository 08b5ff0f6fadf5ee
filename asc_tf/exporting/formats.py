"""The formats of an export: the properties of each one, in a single table."""

import dataclasses

from asc_tf.config.export import FORMATS


@dataclasses.dataclass(frozen=True)
class Format:
    """Properties of a format.

    Attributes:
        summary: One sentence on it.
        computes_as_keras: True if it computes in float32 with the weights of Keras.
        has_int8_weights: True if the weights of the body are int8.
        activation_bits: Bits of integer activations; 0 for activations in float.
        is_trained: True if the network is trained further for it.
    """

    summary: str
    computes_as_keras: bool = False
    has_int8_weights: bool = False
    activation_bits: int = 0
    is_trained: bool = False


TABLE = {
    "saved_model": Format(
        "SavedModel for TensorFlow and TensorFlow Serving, in float32.",
        computes_as_keras=True,
    ),
    "float32": Format(
        "Weights and arithmetic in float32, as in Keras.", computes_as_keras=True
    ),
    "float16": Format("Weights of the body in float16, arithmetic in float32."),
    "dynamic": Format(
        "Weights of the body in int8; LiteRT quantizes activations as it runs.",
        has_int8_weights=True,
    ),
    "int8": Format(
        "Weights and activations of the body in int8, with measured ranges.",
        has_int8_weights=True,
        activation_bits=8,
    ),
    "int16x8": Format(
        "Weights of the body in int8, its activations in int16.",
        has_int8_weights=True,
        activation_bits=16,
    ),
    "int8_qat": Format(
        "As int8, after further training with simulated quantization.",
        has_int8_weights=True,
        activation_bits=8,
        is_trained=True,
    ),
    "int8_pruned": Format(
        "As int8, after further training that sets small weights to zero.",
        has_int8_weights=True,
        activation_bits=8,
        is_trained=True,
    ),
}
"""Properties of each of `asc_tf.config.export.FORMATS`, in the same order."""

FILES = {
    name: "saved_model/1" if name == "saved_model" else f"{name}.tflite"
    for name in FORMATS
}
"""File of each format in an export folder."""

SUMMARIES = {name: each.summary for name, each in TABLE.items()}
"""One sentence on each format."""

FLOAT = tuple(name for name, each in TABLE.items() if each.computes_as_keras)
"""Formats that compute as Keras does."""

QUANTIZED = tuple(name for name, each in TABLE.items() if each.has_int8_weights)
"""Formats with int8 weights."""

ACTIVATION_BITS = {
    name: each.activation_bits for name, each in TABLE.items() if each.activation_bits
}
"""Bits of the activations of formats with integer activations."""

TRAINED = tuple(name for name, each in TABLE.items() if each.is_trained)
"""Formats for which the network is trained further."""


def is_tflite(name: str) -> bool:
    """Tell if a format is a .tflite file."""
    return name != "saved_model"


FEATURES, EMBEDDING = "features", "embedding"
"""Tensors of a .tflite that keep their names: between front-end and body, and the input
of the last dense layer. The names of outputs and of measured ranges are the same."""
