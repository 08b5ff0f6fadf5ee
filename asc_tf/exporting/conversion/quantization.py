"""Quantization of the body of a .tflite: one recipe of ai-edge-quantizer per format.

An operation belongs to the body if the name of its output has the body's scope. The
front-end stays in float32, because quantization ruins the logarithm of a spectrum, and
so does the softmax. The steps of a recurrent layer are operations in a loop: their
weights are quantized, and they compute in float.
"""

import contextlib
import io
from typing import Any

import numpy as np

from asc_tf.exporting.conversion.flatbuffer import LOOP, has_loops
from asc_tf.exporting.conversion.learned_ranges import Ranges
from asc_tf.exporting.formats import ACTIVATION_BITS


def quantize(content: bytes, name: str, body: str, ranges: Ranges) -> bytes:
    """Quantize the body of a float file.

    Args:
        content: Flatbuffer from `flatbuffer.mark_boundaries`.
        name: Format; `float32` returns the content.
        body: Name of the model without its front-end.
        ranges: Ranges of the activations; only formats of integer activations use them.

    Returns:
        The flatbuffer, with the names of its tensors.
    """
    if name == "float32":
        return content
    from ai_edge_quantizer import quantizer

    quantization = quantizer.Quantizer(content)
    if name in ACTIVATION_BITS:
        _add_static(quantization, _match(body), ACTIVATION_BITS[name])
    else:
        _add_weights(quantization, _match(body), name)
    if has_loops(content):
        weights = "float16" if name == "float16" else "dynamic"
        _add_weights(quantization, rf"{LOOP}\d+/.*", weights)
    statistics = {
        tensor: {"min": np.array([low], "f4"), "max": np.array([high], "f4")}
        for tensor, (low, high) in ranges.items()
    }
    # The quantizer prints a summary and bars of progress.
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        result = quantization.quantize(
            statistics if name in ACTIVATION_BITS else None,
            enable_progress_bar=False,
            enable_progress_report=False,
        )
    return bytes(result.quantized_model)


def _match(body: str) -> str:
    """Write the expression that fits the scopes of a body's operations."""
    return rf"(.*/)?{body}(_\d+)?/.*"


def _add_static(quantization: Any, scope: str, bits: int) -> None:
    """Quantize weights to int8, per channel, and activations; outputs stay float."""
    from ai_edge_quantizer.qtyping import TFLOperationName

    quantization.add_static_config(
        regex=scope,
        operation_name=TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=bits,
        weight_num_bits=8,
    )
    quantization.update_quantization_recipe(
        ".*", TFLOperationName.OUTPUT, algorithm_key="no_quantize"
    )


def _add_weights(quantization: Any, scope: str, name: str) -> None:
    """Store weights as float16 (`float16`) or int8 (`dynamic`)."""
    from ai_edge_quantizer import qtyping

    operations = qtyping.TFLOperationName
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    for operation in (
        *(operations.FULLY_CONNECTED, operations.CONV_2D),
        operations.DEPTHWISE_CONV_2D,
    ):
        if name == "float16":
            quantization.update_quantization_recipe(
                scope, operation, config, "float_casting"
            )
        else:
            quantization.add_dynamic_config(scope, operation, num_bits=8)
