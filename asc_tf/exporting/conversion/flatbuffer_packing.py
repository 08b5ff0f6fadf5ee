"""Reading and compact writing of the flatbuffer of a .tflite.

Tensors with the same zero points or the same shape share one vector, and tensors with
the same constant share one buffer: offsets in a flatbuffer may meet. An int8 file has a
zero point of eight bytes, always 0, for each channel of each convolution and of its
bias, which without sharing takes more bytes than the scales.
"""

from typing import Any

import numpy as np

OMITTED_METADATA = (b"CONVERSION_METADATA",)
"""Metadata of the converter on its own environment, which no runtime reads."""


def read_model(content: bytes) -> Any:
    """Read a flatbuffer, of which the metadata behind it may still be a part."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def write_model(model: Any) -> bytes:
    """Write a model, which is changed, as a compact flatbuffer of the same order."""
    from ai_edge_litert.tools import flatbuffer_utils

    model.metadata = [
        each for each in model.metadata or [] if each.name not in OMITTED_METADATA
    ] or None
    model.description = None
    _compact_buffers(model)
    shared = _make_shared_class()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            # The signature of a fixed shape is the shape itself.
            if -1 not in (tensor.shapeSignature or []):
                tensor.shapeSignature = None
            tensor.quantization = _share(tensor.quantization, shared)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def read_constant(model: Any, tensor: Any) -> bytes | None:
    """Read the bytes of a constant tensor; None for a tensor that is computed."""
    data = model.buffers[tensor.buffer].data
    return None if data is None else bytes(data)


def find_bad_scale(content: bytes) -> str:
    """Find a tensor whose scale is no positive number: index and shape, or empty."""
    for graph in read_model(content).subgraphs:
        for index, tensor in enumerate(graph.tensors):
            scale = tensor.quantization and tensor.quantization.scale
            if scale is None or not len(scale):
                continue
            if not (np.isfinite(scale).all() and np.min(scale) > 0):
                return f"tensor {index}, shape {list(tensor.shape)}"
    return ""


def _compact_buffers(model: Any) -> None:
    """Merge buffers of equal bytes, and remove those that nothing uses."""
    from ai_edge_litert import schema_py_generated as schema

    # Buffer 0 is empty by convention: that of tensors which are computed.
    buffers, positions = [schema.BufferT()], {b"": 0}
    owners = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for owner in [*owners, *(model.metadata or [])]:
        data = model.buffers[owner.buffer].data
        content = b"" if data is None else bytes(data)
        if content not in positions:
            positions[content] = len(buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content, np.uint8)
            buffers.append(buffer)
        owner.buffer = positions[content]
    model.buffers = buffers


def _share(quantization: Any, shared: type) -> Any:
    """Return parameters that share their vectors; None if there are none."""
    if quantization is None or quantization.details is not None:
        return quantization
    if quantization.scale is None or not len(quantization.scale):
        return None
    return shared(quantization)


def _make_shared_class() -> type:
    """Make a class of quantization parameters that share equal vectors in one file."""
    from ai_edge_litert import schema_py_generated as schema

    offsets: dict[tuple[str, bytes], int] = {}

    def add(builder: Any, kind: str, values: Any) -> int:
        array = np.asarray(values, {"scale": np.float32, "zero": np.int64}[kind])
        key = (kind, array.tobytes())
        if key not in offsets:
            offsets[key] = builder.CreateNumpyVector(array)
        return offsets[key]

    class SharedQuantization(schema.QuantizationParametersT):
        def __init__(self, source: Any) -> None:
            super().__init__()
            self.__dict__.update(source.__dict__)

        def Pack(self, builder: Any) -> int:  # noqa: N802
            scale = add(builder, "scale", self.scale)
            has_zero = self.zeroPoint is not None and len(self.zeroPoint)
            zero = add(builder, "zero", self.zeroPoint) if has_zero else None
            schema.QuantizationParametersStart(builder)
            schema.QuantizationParametersAddScale(builder, scale)
            if zero is not None:
                schema.QuantizationParametersAddZeroPoint(builder, zero)
            schema.QuantizationParametersAddQuantizedDimension(
                builder, self.quantizedDimension
            )
            return int(schema.QuantizationParametersEnd(builder))

    return SharedQuantization
