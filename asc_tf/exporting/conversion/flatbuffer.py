"""Operations on the flatbuffer of an exported .tflite: names, parts, sizes.

Subgraph 0 computes probabilities from a waveform. The tensor `features` in it lies
between front-end and body, `embedding` is the input of the last dense layer. Further
subgraphs are the loops of recurrent layers.
"""

import copy
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from asc_tf.core.errors import UserError
from asc_tf.exporting.conversion.flatbuffer_packing import (
    read_constant,
    read_model,
    write_model,
)
from asc_tf.exporting.formats import EMBEDDING, FEATURES

SIGNATURE = b"serving_default"


def strip_names(content: bytes) -> tuple[bytes, list[str]]:
    """Remove the names of internal tensors, and write the file compactly.

    Inputs and outputs keep their names, as do `features` and `embedding`: a tensor
    whose name ends with `/embedding` gets the short name.

    Returns:
        The smaller flatbuffer, which computes the same, and the name that each tensor
        of subgraph 0 had, in the order of their indices.
    """
    model = read_model(content)
    names = [_decode(tensor.name) for tensor in model.subgraphs[0].tensors]
    model.subgraphs[0].name = None
    for number, graph in enumerate(model.subgraphs):
        kept = {*graph.inputs, *graph.outputs} if number == 0 else set()
        for index, tensor in enumerate(graph.tensors):
            last = _decode(tensor.name).rsplit("/", 1)[-1]
            if number == 0 and last in (FEATURES, EMBEDDING):
                tensor.name = last.encode()
            elif index not in kept:
                tensor.name = None
    return write_model(model), names


def mark_boundaries(content: bytes, scope: str, *, has_embedding: bool) -> bytes:
    """Name the tensors `features` and `embedding` after outputs of these names.

    A file that is converted with both as outputs tells which tensors they are.

    Args:
        content: Flatbuffer with the outputs `features`, `embedding`, `probabilities`.
        scope: Scope of the layer that gives the embedding, for the quantizer, which
            chooses operations by the names of their outputs: `body/layer`.
        has_embedding: Whether `embedding` stays an output.

    Returns:
        The flatbuffer without the outputs that are not wanted. Names in all subgraphs
        are unique.
    """
    model = read_model(content)
    graph, signature = model.subgraphs[0], _get_signature(model)
    by_name = {_decode(each.name): each for each in signature.outputs}
    names = {FEATURES: FEATURES, EMBEDDING: f"/{scope}/{EMBEDDING}"}
    for output in names.keys() & by_name.keys():
        tensor = graph.tensors[by_name[output].tensorIndex]
        tensor.name = names[output].encode()
    removed = [FEATURES] if has_embedding else [FEATURES, EMBEDDING]
    signature.outputs = [each for name, each in by_name.items() if name not in removed]
    graph.outputs = [each.tensorIndex for each in signature.outputs]
    # The quantizer knows tensors by their names, which are the same in each loop.
    for number, loop in enumerate(model.subgraphs[1:]):
        for index, tensor in enumerate(loop.tensors):
            tensor.name = f"{LOOP}{number}/{index}/".encode()
    return write_model(model)


LOOP = "loop"
"""Begin of the names of tensors in loops."""


def has_loops(content: bytes) -> bool:
    """Check whether a file has loops, which recurrent layers are."""
    return len(read_model(content).subgraphs) > 1


def list_body_tensors(content: bytes) -> dict[int, str]:
    """List the computed float tensors of the body by index, `features` first.

    Tensors that nothing reads, of which a loop has some, are left out: they may have no
    memory.

    Args:
        content: Flatbuffer from `mark_boundaries`.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = read_model(content).subgraphs[0]
    features = _find_features(graph)
    ahead = _list_ancestors(graph, features)
    computed = [
        int(index)
        for position, operator in enumerate(graph.operators)
        if position not in ahead
        for index in operator.outputs
    ]
    read = {index for each in graph.operators for index in _list_inputs(each)}
    tensors = {
        index: graph.tensors[index]
        for index in (features, *computed)
        if index in read.union(graph.outputs)
    }
    return {
        index: _decode(tensor.name)
        for index, tensor in tensors.items()
        if tensor.type == schema.TensorType.FLOAT32
    }


def split_at_features(content: bytes) -> tuple[bytes, bytes]:
    """Cut a file at the tensor `features` into front-end and body.

    Args:
        content: Flatbuffer from `strip_names`.

    Returns:
        The front-end (`waveform` in, `features` out) and the body (`features` in, the
        outputs of the file out), both with the signature `serving_default`.

    Raises:
        UserError: If the file has no such tensor, or the body needs more than it.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    features = _find_features(graph)
    ahead = _list_ancestors(graph, features)
    front, body = copy.deepcopy(model), model
    _keep_operators(front, ahead)
    signature = _get_signature(front)
    front.subgraphs[0].outputs = [features]
    signature.outputs = signature.outputs[:1]
    signature.outputs[0].name = FEATURES.encode()
    signature.outputs[0].tensorIndex = features
    _keep_operators(body, set(range(len(graph.operators))) - ahead)
    signature = _get_signature(body)
    graph.inputs = [features]
    signature.inputs[0].name = FEATURES.encode()
    signature.inputs[0].tensorIndex = features
    _check_inputs(model)
    return tuple(write_model(_prune(each)) for each in (front, body))  # type: ignore[return-value]


def _find_features(graph: Any) -> int:
    """Find the index of the tensor `features`."""
    for index, tensor in enumerate(graph.tensors):
        if _decode(tensor.name) == FEATURES:
            return index
    raise UserError(
        f"has no tensor {FEATURES} between front-end and body; export it again"
    )


def _list_ancestors(graph: Any, tensor: int) -> set[int]:
    """List the operators on which a tensor depends, by their positions."""
    producers = {
        output: position
        for position, operator in enumerate(graph.operators)
        for output in operator.outputs
    }
    found: set[int] = set()
    pending = [tensor]
    while pending:
        position = producers.get(pending.pop())
        if position is not None and position not in found:
            found.add(position)
            pending += _list_inputs(graph.operators[position])
    return found


def _list_inputs(operator: Any) -> list[int]:
    """List the tensors that an operator reads; -1 stands for one that is left out."""
    return [int(index) for index in operator.inputs if index >= 0]


def _keep_operators(model: Any, positions: Collection[int]) -> None:
    graph = model.subgraphs[0]
    graph.operators = [
        each for position, each in enumerate(graph.operators) if position in positions
    ]


def _check_inputs(model: Any) -> None:
    """Refuse a body that reads other computed tensors of the front-end."""
    graph = model.subgraphs[0]
    known = {*graph.inputs}
    for operator in graph.operators:
        for index in _list_inputs(operator):
            tensor = graph.tensors[index]
            if index not in known and read_constant(model, tensor) is None:
                raise UserError(
                    f"its body needs more than the tensor {FEATURES}; front-end and "
                    "body cannot be separated"
                )
        known.update(operator.outputs)


def _prune(model: Any) -> Any:
    """Remove tensors, subgraphs and operator codes that nothing uses."""
    loops = sorted(set(_list_loops(model, model.subgraphs[:1])) | {0})
    model.subgraphs = [model.subgraphs[index] for index in loops]
    numbers = {old: new for new, old in enumerate(loops)}
    codes: dict[int, int] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            for name in _LOOP_FIELDS:
                options = operator.builtinOptions
                if hasattr(options, name):
                    setattr(options, name, numbers[getattr(options, name)])
            old = operator.opcodeIndex
            operator.opcodeIndex = codes.setdefault(old, len(codes))
    model.operatorCodes = [model.operatorCodes[old] for old in codes]
    _remove_tensors(model)
    return model


_LOOP_FIELDS = ("condSubgraphIndex", "bodySubgraphIndex")


def _list_loops(model: Any, graphs: Iterable[Any]) -> Iterator[int]:
    """List the subgraphs that operators call, also those within loops."""
    for graph in graphs:
        for operator in graph.operators:
            for name in _LOOP_FIELDS:
                if hasattr(operator.builtinOptions, name):
                    index = getattr(operator.builtinOptions, name)
                    yield index
                    yield from _list_loops(model, [model.subgraphs[index]])


def _remove_tensors(model: Any) -> None:
    """Remove the tensors of subgraph 0 that nothing uses, and renumber the others."""
    graph, signature = model.subgraphs[0], _get_signature(model)
    used = {*graph.inputs, *graph.outputs}
    for operator in graph.operators:
        used.update(_list_inputs(operator), operator.outputs)
    order = {old: new for new, old in enumerate(sorted(used))} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    for operator in graph.operators:
        operator.inputs = [order[index] for index in operator.inputs]
        operator.outputs = [order[index] for index in operator.outputs]
    graph.inputs = [order[index] for index in graph.inputs]
    graph.outputs = [order[index] for index in graph.outputs]
    for each in (*signature.inputs, *signature.outputs):
        each.tensorIndex = order[each.tensorIndex]


def _get_signature(model: Any) -> Any:
    return next(each for each in model.signatureDefs if each.signatureKey == SIGNATURE)


def _decode(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")
