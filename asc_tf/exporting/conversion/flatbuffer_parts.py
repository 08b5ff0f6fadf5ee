"""Size of a .tflite by part: weights, front-end, quantization, names, graph."""

from collections.abc import Iterator
from typing import Any

from asc_tf.exporting.formats import FEATURES

PARTS = (
    *("weights", "mel_matrix", "frontend", "quantization", "names", "metadata"),
    "graph",
)


def measure_parts(content: bytes, metadata_bytes: int) -> dict[str, int]:
    """Measure the parts of a .tflite in bytes; vectors that are shared count once.

    Returns:
        `weights` (constants of the body: weights, biases, shapes), `mel_matrix` (the
        filters of the front-end, as blocks of their non-zero part), `frontend` (its
        other constants: window, positions of frames), `quantization` (scales and zero
        points), `names` (of tensors), `metadata`, and `graph` (operators, shapes,
        signature, padding). Their sum is the size of the file.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    kinds = _classify_buffers(model)
    vectors: dict[str, dict[int, int]] = {name: {} for name in PARTS}
    for kind, start, size in _list_vectors(model, kinds):
        vectors[kind][start] = size
    sizes = {name: sum(found.values()) for name, found in vectors.items()}
    sizes |= {"metadata": metadata_bytes, "graph": 0}
    return sizes | {"graph": len(content) + metadata_bytes - sum(sizes.values())}


def _list_vectors(model: Any, kinds: dict[int, str]) -> Iterator[tuple[str, int, int]]:
    """List the part, the start and the bytes of each vector in a flatbuffer."""
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        kind = kinds.get(index, "graph")
        yield from ((kind, *each) for each in _find_vector(buffer, 4, 1))
        if buffer.Offset() > 1:
            yield kind, int(buffer.Offset()), int(buffer.Size())
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            # A string ends with a zero that its length does not count.
            for start, size in _find_vector(tensor, 10, 1):
                yield "names", start, size + 1
            if (quantization := tensor.Quantization()) is not None:
                for field, width in ((4, 4), (6, 4), (8, 4), (10, 8)):
                    found = _find_vector(quantization, field, width)
                    yield from (("quantization", *each) for each in found)


def _find_vector(table: Any, field: int, width: int) -> Iterator[tuple[int, int]]:
    """Find a vector in a table: its start, and its bytes with the length before it.

    Args:
        table: Table of a flatbuffer.
        field: Offset of the vector's field in the table's list of fields.
        width: Bytes of an item.
    """
    found = table._tab
    if offset := found.Offset(field):
        yield found.Vector(offset), 4 + width * found.VectorLen(offset)


def _classify_buffers(model: Any) -> dict[int, str]:
    """Tell for each constant which part of the file it belongs to.

    Operators before the tensor `features` are the front-end; a matrix that it
    multiplies by before it takes a logarithm is a part of the mel filters.
    """
    from ai_edge_litert import schema_py_generated as schema

    builtin = schema.BuiltinOperator
    graph = model.Subgraphs(0)
    kinds: dict[int, str] = {}
    n_ahead = _count_frontend_operators(graph)
    has_logarithm = False
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        code = model.OperatorCodes(operator.OpcodeIndex())
        code = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        is_matrix = code in (builtin.FULLY_CONNECTED, builtin.BATCH_MATMUL)
        has_logarithm |= code == builtin.LOG
        for place, tensor in enumerate(operator.InputsAsNumpy()):
            kind = "frontend" if position < n_ahead else "weights"
            if kind == "frontend" and is_matrix and place == 1 and not has_logarithm:
                kind = "mel_matrix"
            if tensor >= 0:
                # A constant that front-end and body share is the front-end's.
                kinds.setdefault(graph.Tensors(int(tensor)).Buffer(), kind)
    for number in range(1, model.SubgraphsLength()):
        loop = model.Subgraphs(number)
        for index in range(loop.TensorsLength()):
            kinds.setdefault(loop.Tensors(index).Buffer(), "weights")
    return kinds


def _count_frontend_operators(graph: Any) -> int:
    """Count the operators up to the one that computes `features`; 0 without it."""
    name = FEATURES.encode()
    for position in range(graph.OperatorsLength()):
        outputs = graph.Operators(position).OutputsAsNumpy()
        if any(graph.Tensors(int(each)).Name() == name for each in outputs):
            return position + 1
    return 0
