"""Error of each layer of a quantized .tflite against the float32 file."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from asc_tf.exporting.formats import EMBEDDING, FEATURES

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "DELEGATE")
"""Operations that only one of the files has."""

CEILING = 40.0
"""SQNR in dB above which an error counts as none: 1 % of the signal."""

HIGHEST, LOWEST = 120.0, -40.0
"""SQNR in dB of an output without error, and of one that is nothing but error."""


def compare_layers(
    models: Sequence[bytes],
    names: Sequence[Sequence[str]],
    segments: Iterable[np.ndarray],
    report_progress: Callable[[], None],
) -> list[dict[str, Any]]:
    """Compute the signal-to-quantization-noise ratio of each layer.

    Both files compute the same segments with the builtin kernels of LiteRT, which keep
    every tensor. The signal is the output of an operation in the float32 file, the
    noise what that of the quantized file adds; both are summed over the segments.
    Operations are matched by their order, because both files have the same ones, but
    for conversions between float and integers. Those of the front-end have no error and
    are left out.

    Args:
        models: Flatbuffers: the quantized one, and the float32 one.
        names: Their tensor names by index; empty where the files have them.
        segments: Segments, float32 `[samples]` or `[samples, 2]` each.
        report_progress: Function to call after each segment.

    Returns:
        For each operation, in the order of the graph, `name` (layer), `operation`,
        `sqnr_db`, `error` (root mean square of the noise relative to the signal) and
        `loss_db`: by how much the ratio is lower than at its noisiest input. Ratios
        above 40 dB count as 40 dB in this, so that the first rounding is no loss.

    Raises:
        ValueError: If the files have different operations.
    """
    interpreters = [_load(each) for each in models]
    steps = _match_operations(*interpreters)
    powers = np.zeros([2, len(steps)])
    for segment in segments:
        for interpreter in interpreters:
            (given,) = interpreter.get_input_details()
            interpreter.set_tensor(given["index"], segment[np.newaxis])
            interpreter.invoke()
        for place, (_, ours, theirs) in enumerate(steps):
            noise, signal = _measure_noise(
                interpreters, ours["outputs"], theirs["outputs"]
            )
            powers[:, place] += noise, signal
        report_progress()
    return _make_rows(interpreters, steps, powers, names)


def has_layer_name(row: dict[str, Any]) -> bool:
    """Tell if a row of `compare_layers` has the name of a layer, not of an operation.

    The input and the output of the last dense layer have names in every file.
    """
    return not row["name"].startswith((row["operation"], *KEPT))


def _load(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter


def _match_operations(quantized: Any, floating: Any) -> list[tuple[str, Any, Any]]:
    """Match the operations of two files by their order: name, and both of them."""
    lists = []
    for interpreter in (quantized, floating):
        details = interpreter._get_ops_details()
        lists.append([each for each in details if each["op_name"] not in CONVERSIONS])
    ours, theirs = lists
    if [each["op_name"] for each in ours] != [each["op_name"] for each in theirs]:
        raise ValueError(
            f"the operations of the files differ ({len(ours)} and {len(theirs)}), so "
            "that layers cannot be compared"
        )
    return [(a["op_name"], a, b) for a, b in zip(ours, theirs, strict=True)]


def _measure_noise(
    interpreters: Sequence[Any], ours: np.ndarray, theirs: np.ndarray
) -> tuple[float, float]:
    """Sum the squares of noise and signal over the outputs of an operation."""
    noise = signal = 0.0
    for pair in zip(ours, theirs, strict=True):
        if min(pair) < 0:  # an output of a loop that nothing reads
            continue
        values = [
            _read_floats(interpreter, int(index))
            for interpreter, index in zip(interpreters, pair, strict=True)
        ]
        quantized, floating = values
        if quantized is None or floating is None or quantized.size != floating.size:
            continue
        noise += float(((quantized.ravel() - floating.ravel()) ** 2).sum())
        signal += float((floating**2).sum())
    return noise, signal


def _read_floats(interpreter: Any, index: int) -> np.ndarray | None:
    """Read a tensor as float64; None if it holds no measurements (indices, shapes)."""
    values = interpreter.get_tensor(index)
    if values.dtype in (np.float32, np.float16):
        return values.astype(np.float64)
    if values.dtype not in (np.int8, np.uint8, np.int16):
        return None
    found = interpreter._get_tensor_details(index, 0)["quantization_parameters"]
    if len(found["scales"]) != 1:
        return None
    zero = found["zero_points"][0] if len(found["zero_points"]) else 0
    return (values.astype(np.float64) - zero) * found["scales"][0]


def _make_rows(
    interpreters: Sequence[Any],
    steps: Sequence[tuple[str, Any, Any]],
    powers: np.ndarray,
    names: Sequence[Sequence[str]],
) -> list[dict[str, Any]]:
    """Make the rows of the operations that have an error."""
    quantized = interpreters[0]
    ratios: dict[int, float] = {}
    rows: list[dict[str, Any]] = []
    sources = _trace_conversions(quantized)
    for (operation, ours, theirs), (noise, signal) in zip(steps, powers.T, strict=True):
        given = [sources.get(int(index), int(index)) for index in ours["inputs"]]
        before = min(
            [ratios[index] for index in given if index in ratios], default=HIGHEST
        )
        ratio = HIGHEST if noise == 0 else _to_decibels(signal, noise)
        for index in ours["outputs"]:
            ratios[int(index)] = ratio
        if ratio == HIGHEST and not rows:
            continue
        rows.append(
            {
                "name": _name_layer(interpreters, ours, theirs, names) or operation,
                "operation": operation,
                "sqnr_db": round(ratio, 2),
                "error": float(f"{10 ** (-ratio / 20):.4g}"),
                "loss_db": round(max(min(before, CEILING) - min(ratio, CEILING), 0), 2),
            }
        )
    return _number_equal_names(rows)


def _to_decibels(signal: float, noise: float) -> float:
    if not np.isfinite(noise) or signal <= 0:
        return LOWEST
    return float(np.clip(10 * np.log10(signal / noise), LOWEST, HIGHEST))


def _trace_conversions(interpreter: Any) -> dict[int, int]:
    """Map the output of each conversion to the tensor that it converts."""
    sources: dict[int, int] = {}
    for each in interpreter._get_ops_details():
        if each["op_name"] in CONVERSIONS[:2]:
            source = int(each["inputs"][0])
            sources[int(each["outputs"][0])] = sources.get(source, source)
    return sources


def _name_layer(
    interpreters: Sequence[Any], ours: Any, theirs: Any, names: Sequence[Sequence[str]]
) -> str:
    """Name the layer of an operation, from the names of its output in either file."""
    candidates = []
    for place, operation in ((1, theirs), (0, ours)):
        index = int(operation["outputs"][0])
        if index < 0:
            continue
        if index < len(names[place]):
            candidates.append(names[place][index])
        candidates.append(interpreters[place]._get_tensor_details(index, 0)["name"])
    return next(filter(None, map(shorten_tensor_name, candidates)), "")


def shorten_tensor_name(name: str) -> str:
    """Find the name of a Keras layer in the name of a tensor; empty if there is none.

    The converter joins the names of operations that it has merged by semicolons, of
    which that of a convolution or matrix product says most.
    """
    joined = [part.split("/") for part in name.split(";") if "/" in part]
    if not joined:
        return name if name in KEPT else ""
    weighted = [part for part in joined if part[-1] in WEIGHTED]
    scopes = [part for part in (weighted or joined)[0][:-1] if part not in PLAIN_SCOPES]
    return re.sub(r"(_\d+)$", "", scopes[-1]) if scopes else ""


KEPT = (FEATURES, EMBEDDING)

WEIGHTED = ("convolution", "depthwise", "MatMul", "separable_conv2d")
PLAIN_SCOPES = ("batchnorm", "StatefulPartitionedCall")


def _number_equal_names(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Append the operation, and a number, to names that several rows have."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["name"]] = counts.get(row["name"], 0) + 1
    seen: dict[str, int] = {}
    for row in rows:
        name = row["name"]
        if counts[name] > 1:
            full = name if name == row["operation"] else f"{name} {row['operation']}"
            seen[full] = seen.get(full, 0) + 1
            row["name"] = full if seen[full] == 1 else f"{full} {seen[full]}"
    return rows
