"""Child process of the doctor: it runs one .tflite on LiteRT, without TensorFlow.

A request is a line with a JSON object on standard input, its answer one on standard
output. A file can crash, hang or fill the memory: then only this process ends. Lines
`{}` between the answers say that it still works.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from asc_tf.core.child_process import lower_limits, take_standard_output
from asc_tf.core.errors import NotFiniteError
from asc_tf.edge import tflite_metadata
from asc_tf.exporting.conversion import flatbuffer_parts
from asc_tf.exporting.doctor import layer_errors, litert_measurements

ALIVE_SECONDS = 1.0
"""Time between the lines that say that the process works."""

MAX_OUTPUT_BYTES = 2**28
"""Largest file that this process may write."""


def main(settings: str) -> None:
    """Answer requests until standard input ends.

    Args:
        settings: JSON object: `path` of the .tflite, `memory` in bytes.
    """
    given = json.loads(settings)
    answers = take_standard_output()
    lower_limits(
        RLIMIT_AS=given["memory"], RLIMIT_FSIZE=MAX_OUTPUT_BYTES, RLIMIT_CORE=0
    )
    model = ChildModel(Path(given["path"]), _make_progress(answers))
    for request in _read_requests():
        command = request.pop("command")
        try:
            answer = getattr(model, command)(**request)
        except MemoryError:
            answer = {"error": "needs more memory than it may use", "is_memory": True}
        # Damaged files raise anything, struct.error and AttributeError among them.
        except Exception as error:
            text = str(error).strip().split("\n")[0] or type(error).__name__
            answer = {"error": text, "kind": type(error).__name__}
        _write(answers, {"answer": command, **answer})


class ChildModel:
    """The .tflite that this process examines."""

    def __init__(self, path: Path, report_progress: Callable[[], None]) -> None:
        self._path = path
        self._report_progress = report_progress
        self._model: Any = None

    def inspect(self) -> dict[str, Any]:
        """List the operations of the file, and the bytes of its parts."""
        flatbuffer = tflite_metadata.load(self._path)[1]
        custom = litert_measurements.list_custom_operations(flatbuffer)
        metadata_bytes = self._path.stat().st_size - len(flatbuffer)
        parts = flatbuffer_parts.measure_parts(flatbuffer, metadata_bytes)
        return {"custom": custom, "parts": parts}

    def load(self) -> dict[str, Any]:
        """Load the model, run it once, and measure by how much the process grew."""
        # The library itself is not part of the model.
        import ai_edge_litert.interpreter  # noqa: F401

        from asc_tf.edge.runtime import EdgeModel

        before = litert_measurements.read_resident_bytes()
        self._model = EdgeModel(self._path)
        silence = np.zeros(self._model.metadata.preprocessing.segment_shape, np.float32)
        with contextlib.suppress(ValueError):
            self._model.predict_segments(silence[np.newaxis])
        after = litert_measurements.read_resident_bytes()
        if before is None or after is None:
            return {}
        return {"resident_bytes": max(after - before, 0)}

    def predict(self, segments: str, shape: list[int], output: str) -> dict[str, Any]:
        """Compute the probabilities of segments.

        Args:
            segments: File of the segments, raw float32.
            shape: Their shape, `[n, segment_samples]` or `[n, segment_samples, 2]`.
            output: File to write: raw float32 `[n, labels]`; rows of NaN where the
                model gives no finite values.
        """
        labels = len(self._model.labels)
        rows = []
        for segment in _map_segments(segments, shape):
            try:
                row = self._model.predict_segments(segment[np.newaxis])
            except NotFiniteError:
                row = np.full([1, labels], np.nan, np.float32)
            rows.append(row)
            self._report_progress()
        Path(output).write_bytes(np.concatenate(rows).astype(np.float32).data)
        return {"shape": [len(rows), labels]}

    def measure_memory(self) -> dict[str, Any]:
        """Measure the memory of the arena."""
        flatbuffer = tflite_metadata.load(self._path)[1]
        return {"bytes": litert_measurements.measure_arena(flatbuffer)}

    def measure_latency(self) -> dict[str, Any]:
        """Measure the latency of a segment."""
        metadata, flatbuffer = tflite_metadata.load(self._path)
        shape = (1, *metadata.preprocessing.segment_shape)
        rows, note = litert_measurements.measure_latency(
            flatbuffer, shape, self._report_progress
        )
        return {"latency": rows, "note": note}

    def compare_layers(
        self,
        reference: str,
        names: list[list[str]],
        segments: str,
        shape: list[int],
    ) -> dict[str, Any]:
        """Compare the layers with those of the float32 file.

        Args:
            reference: The float32 file, or the flatbuffer of one.
            names: Tensor names of this file and of the float32 file by index; empty
                where they are in the files.
            segments: File of the segments, raw float32.
            shape: Their shape.
        """
        models = [tflite_metadata.load(self._path)[1]]
        if zipfile.is_zipfile(reference):
            models.append(tflite_metadata.load(reference)[1])
        else:
            models.append(Path(reference).read_bytes())
            names = [names[0], []]
        rows = _map_segments(segments, shape)
        layers = layer_errors.compare_layers(models, names, rows, self._report_progress)
        return {"layers": layers}


def _map_segments(path: str, shape: list[int]) -> np.ndarray:
    return np.memmap(path, np.float32, "r", shape=tuple(shape))


def _write(answers: TextIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _make_progress(answers: TextIO) -> Callable[[], None]:
    """Make the function that says that the process works, not too often."""
    last = [time.monotonic()]

    def report_progress() -> None:
        if time.monotonic() - last[0] > ALIVE_SECONDS:
            last[0] = time.monotonic()
            _write(answers, {})

    return report_progress


def _read_requests() -> Iterator[dict[str, Any]]:
    """Yield the requests; the process ends at once when standard input does.

    A thread reads them: the parent may be killed while the model hangs.
    """
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield requests.get()


if __name__ == "__main__":
    main(sys.argv[1])
