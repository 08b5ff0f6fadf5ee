"""Conversion of a SavedModel to .tflite files, in child processes.

The converter and the quantizer can crash their process on some networks. In a child
process this is a message on one format, and a second child converts the others.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from asc_tf.core.child_process import describe_end, parse_answer
from asc_tf.core.files import DiskFullError, is_disk_full
from asc_tf.exporting.formats import ACTIVATION_BITS

COMMAND = (sys.executable, "-m", "asc_tf.exporting.conversion.worker")

BASE, RANGES = "float model", "ranges"
"""Steps of the child process before the formats."""

DOING = {
    BASE: "converting the network to TensorFlow Lite ...",
    RANGES: "measuring the ranges of activations ...",
}

BASE_FILE = "base.flatbuffer"
"""File of the float model, whose tensors have names, beside the converted ones."""


HANG_SECONDS = 1800.0
"""Time without a progress report after which the child is ended. The converter, which
takes a minute for the largest networks, gives none while it works."""


@dataclass(frozen=True)
class Settings:
    """Settings of a conversion.

    Attributes:
        body: Name of the model without its front-end. Only the body is quantized,
            because quantization ruins the logarithm of a spectrum.
        scope: Scope of the layer that gives the embedding, `body/layer`.
        has_embedding: Whether the embedding is an output.
        ranges: `min_max`, `percentile` or `auto`, as in `export.ranges`.
        percentile: Percentage of the values that a clipped range holds.
        separate: Whether front-end and body are also written apart.
        learned: Ranges measured during training, by the names of layers, which are used
            in place of the others; see `asc_tf.exporting.conversion.learned_ranges`.
    """

    body: str
    scope: str = ""
    has_embedding: bool = False
    ranges: str = "min_max"
    percentile: float = 99.99
    separate: bool = False
    learned: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass
class Converted:
    """Result of a conversion.

    Attributes:
        paths: The .tflite of each format that was converted.
        notes: For each of them `tensor_names`, and `ranges` if it has some.
        reasons: For each other format the reason why it has no file.
        references: Float flatbuffer that each format was made from.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    references: dict[str, Path] = field(default_factory=dict)


def convert(
    saved_model: Path,
    formats: Sequence[str],
    settings: Settings,
    segments: np.ndarray,
    check_segments: np.ndarray | None = None,
) -> Converted:
    """Convert a SavedModel of one segment; the .tflite files are written beside it.

    A line is printed as each step begins and ends.

    Args:
        saved_model: Folder `saved_model` that
            `asc_tf.exporting.saved_model.write_one_segment` wrote.
        formats: Formats that are .tflite files.
        settings: Settings of the conversion.
        segments: Representative data of the training split, float32 `[n, samples]`.
        check_segments: Segments on which `ranges = auto` is decided.

    Returns:
        The files, notes on them, and the reasons why formats are missing.

    Raises:
        DiskFullError: If the disk is full.
    """
    folder = saved_model.parent
    steps = [BASE]
    if not ACTIVATION_BITS.keys().isdisjoint(formats):
        steps.append(RANGES)
    task = {
        **asdict(settings),
        "folder": str(folder),
        "calibration": _write_segments(folder / "calibration.float32", segments),
        "steps": [*steps, *formats],
    }
    if check_segments is not None:
        task["check"] = _write_segments(folder / "check.float32", check_segments)
    result = _Progress(formats).run(task)
    result.paths = {name: folder / f"{name}.tflite" for name in result.notes}
    return result


def _write_segments(path: Path, segments: np.ndarray) -> tuple[str, tuple[int, ...]]:
    # Raw bytes, because the error of `np.save` does not tell that the disk is full.
    path.write_bytes(np.ascontiguousarray(segments, np.float32).data)
    return str(path), segments.shape


class _Progress:
    """Steps of a task that child processes have done, and what remains."""

    def __init__(self, formats: Sequence[str]) -> None:
        self._formats, self._result = formats, Converted()
        self._began = time.monotonic()

    def run(self, task: Mapping[str, Any]) -> Converted:
        """Run a task; a child that crashes is followed by another."""
        folder, steps = Path(task["folder"]), list(task["steps"])
        while steps:
            current, end = self._run_child({**task, "steps": steps}, steps, folder)
            if end:
                self._fail(current, f"the conversion failed: {end}", steps)
                if not current:
                    break
        return self._result

    def _run_child(
        self, task: Mapping[str, Any], steps: list[str], folder: Path
    ) -> tuple[str, str]:
        """Run a child; steps that it has done are removed from `steps`.

        Returns:
            The step that ended the child too early, and how; empty if none did.
        """
        process = subprocess.Popen(
            COMMAND,
            # The memory of a GPU belongs to this process, which holds the Keras model.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        assert process.stdin and process.stdout and process.stderr
        lines: deque[str] = deque(maxlen=50)
        reports: queue.SimpleQueue[str] = queue.SimpleQueue()
        readers = (
            threading.Thread(target=lines.extend, args=(process.stderr,)),
            threading.Thread(target=_pass_lines, args=(process.stdout, reports)),
        )
        for reader in readers:
            reader.start()
        current, is_hanging = "", False
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
            while line := reports.get(timeout=HANG_SECONDS):
                if report := parse_answer(line):
                    current = self._take(report, steps, folder)
            code = process.wait(timeout=HANG_SECONDS)
        except (queue.Empty, subprocess.TimeoutExpired):
            is_hanging = True
        finally:
            process.kill()
            process.wait()
            for reader in readers:
                reader.join()
            for stream in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        message = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if not steps:
            return "", ""
        if is_disk_full(message):
            raise DiskFullError(folder)
        if is_hanging:
            return current, (
                f"it reported no progress for {HANG_SECONDS:g} s and was stopped: "
                f"{message or 'no message'}"
            )
        return current, f"{describe_end(code)}: {message or 'no message'}"

    def _take(self, report: dict[str, Any], steps: list[str], folder: Path) -> str:
        """Take a report of the child; returns the step that is running."""
        step, state = report["step"], report["state"]
        if state == "begins":
            self._began = time.monotonic()
            print(DOING.get(step, f"writing {step} ..."), flush=True)
            return str(step)
        if step in steps:
            steps.remove(step)
        if state == "failed":
            if report["full"]:
                raise DiskFullError(folder)
            self._fail(step, report["reason"], steps)
        elif step in self._formats:
            self._result.notes[step] = report["notes"]
            size = (folder / f"{step}.tflite").stat().st_size / 1000
            seconds = time.monotonic() - self._began
            print(f"  {step}: {size:.1f} kB without metadata, {seconds:.1f} s")
        return ""

    def _fail(self, step: str, reason: str, steps: list[str]) -> None:
        """Note a step that failed, and all the formats that need it."""
        needing = [step] if step in self._formats else list(self._formats)
        if step == RANGES:
            needing = [name for name in self._formats if name in ACTIVATION_BITS]
        for name in needing:
            if name not in self._result.notes:
                self._result.reasons.setdefault(name, reason)
        steps[:] = [name for name in steps if name not in (step, *needing)]
        if step == BASE or not step:
            steps.clear()
        print(f"  {step or 'conversion'}: {reason}", flush=True)


def _pass_lines(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    """Pass the lines of a stream on, and an empty text at its end."""
    for line in stream:
        lines.put(line)
    lines.put("")
