"""Measurements of a .tflite on LiteRT: operations, memory and latency."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP, MAX_RUNS, MIN_RUNS = 3, 50, 5

MAX_SECONDS = 1.0
"""Time after which no further run is measured, if there are `MIN_RUNS`."""

THREADS = (1, 2)

LARGEST_GAP = 2**12
"""Largest gap between neighbouring tensors of one arena in bytes."""


def list_custom_operations(flatbuffer: bytes) -> list[str]:
    """List the names of operations that are not builtin operations of LiteRT.

    Names that begin with `Flex` are operations of TensorFlow.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(flatbuffer, 0)
    names = []
    for index in range(model.OperatorCodesLength()):
        name = model.OperatorCodes(index).CustomCode()
        if name is not None:
            names.append(name.decode(errors="replace"))
    return sorted(set(names))


def read_resident_bytes() -> int | None:
    """Read the resident memory of this process; None where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure_arena(flatbuffer: bytes) -> int | None:
    """Measure the arena of LiteRT in bytes: its memory for all but the weights.

    None if the memory of the input is in no block, or has no address to read.

    LiteRT plans one block for the inputs, the outputs, all tensors between operations
    and their scratch memory, in which tensors that do not live at the same time share
    bytes. It has no function that tells the size, so this is the span of the addresses
    of these tensors after a run with the builtin kernels (without XNNPACK, which
    manages memory of its own). Tensors whose size is only known at run time, those of
    loops for example, are outside the block and not counted.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=flatbuffer,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.invoke()
    spans = []
    weights = np.frombuffer(flatbuffer, np.uint8).__array_interface__["data"][0]
    (given,) = interpreter.get_input_details()
    first = None
    # Scratch tensors without a type are not in the list; reading one is a crash.
    for index in [item["index"] for item in interpreter.get_tensor_details()]:
        try:
            values = interpreter.tensor(index)()
        except (ValueError, RuntimeError):  # no memory of its own
            continue
        start = values.__array_interface__["data"][0]
        if index == given["index"]:
            first = start
        if values.nbytes and not weights <= start < weights + len(flatbuffer):
            spans.append((start, start + values.nbytes))
        del values
    return find_block(sorted(spans), first)


def find_block(spans: list[tuple[int, int]], member: int | None) -> int | None:
    """Find the length of the block of neighbouring spans that holds an address.

    Args:
        spans: Start and end of each tensor, sorted.
        member: Address of the input; None if it could not be read.

    Returns:
        Bytes; None if no block holds the address.
    """
    blocks: list[list[int]] = []
    for start, stop in spans:
        if blocks and start <= blocks[-1][1] + LARGEST_GAP:
            blocks[-1][1] = max(blocks[-1][1], stop)
        else:
            blocks.append([start, stop])
    if member is None:
        return None
    return next((end - begin for begin, end in blocks if begin <= member < end), None)


def measure_latency(
    flatbuffer: bytes, shape: tuple[int, ...], report_progress: Callable[[], None]
) -> tuple[list[dict[str, Any]], str]:
    """Measure the latency of one segment, with LiteRT's default kernels.

    Returns:
        For each number of threads and each of `whole`, `frontend` and `body` a row with
        `threads`, `part`, `p50` and `p95` in ms; and the reason why front-end and body
        could not be measured, or an empty text.
    """
    parts, note = {"whole": flatbuffer}, ""
    try:
        from asc_tf.exporting.conversion.flatbuffer import split_at_features

        parts["frontend"], parts["body"] = split_at_features(flatbuffer)
    except Exception as error:
        note = str(error).strip().split("\n")[0] or type(error).__name__
    generator = np.random.default_rng(0)
    noise = generator.uniform(-0.1, 0.1, shape).astype(np.float32)
    rows = []
    for threads in THREADS:
        values = noise
        for part, content in parts.items():
            if part == "frontend":
                values = noise
            times, output = _time_runs(content, values, threads, report_progress)
            if part == "frontend":
                values = output
            p50, p95 = (round(float(x), 3) for x in np.percentile(times, [50, 95]))
            rows.append({"threads": threads, "part": part, "p50": p50, "p95": p95})
    return rows, note


def _time_runs(
    content: bytes,
    values: np.ndarray,
    threads: int,
    report_progress: Callable[[], None],
) -> tuple[list[float], np.ndarray]:
    """Run a model some times: milliseconds of each run, and its first output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    (given, *_), (taken, *_) = (
        interpreter.get_input_details(),
        interpreter.get_output_details(),
    )
    interpreter.set_tensor(given["index"], values)
    times: list[float] = []
    end = time.perf_counter() + MAX_SECONDS
    while len(times) < WARM_UP + MAX_RUNS:
        began = time.perf_counter()
        if began > end and len(times) >= WARM_UP + MIN_RUNS:
            break
        interpreter.invoke()
        times.append(1000 * (time.perf_counter() - began))
        report_progress()
    return times[WARM_UP:], interpreter.get_tensor(taken["index"])
