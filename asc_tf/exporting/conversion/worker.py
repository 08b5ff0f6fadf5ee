"""Child process of a conversion: a SavedModel in, one .tflite per format out.

The parent writes a task as one line of JSON to the standard input. On its standard
output the child reports each step, a JSON object per line, so that the parent knows
which step ended the process, and a second child can continue with the next step. An
empty object reports progress. Results of a step are files, complete if they exist.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.child_process import read_job, take_standard_output
from asc_tf.core.errors import UserError
from asc_tf.core.files import is_disk_full, write_atomically, write_text
from asc_tf.evaluation.divergence import compute_kl_divergence
from asc_tf.exporting.conversion import flatbuffer, quantization, ranges
from asc_tf.exporting.conversion.flatbuffer_packing import find_bad_scale
from asc_tf.exporting.conversion.learned_ranges import replace_ranges
from asc_tf.exporting.conversion.tflite import BASE, BASE_FILE, RANGES
from asc_tf.exporting.formats import ACTIVATION_BITS

N_CHECKED = 2
"""Segments on which a new file must give finite probabilities."""

SIGN_SECONDS = 10.0
"""Time between two progress reports while segments are read."""

MIN_MAX, LEARNED = "min_max", "learned"
"""Ranges of those names: those of the file, and those that were measured during
training."""

Report = Callable[..., None]


class Conversion:
    """Steps of a conversion."""

    def __init__(
        self, task: dict[str, Any], report_progress: Callable[[], None] = lambda: None
    ) -> None:
        self.task, self.folder = task, Path(task["folder"])
        self._report_progress, self._shown = report_progress, time.monotonic()
        self.base_file = self.folder / BASE_FILE
        self.ranges_file = self.folder / "ranges.json"

    def run_step(self, name: str) -> dict[str, Any]:
        """Run one step, and return notes on its result."""
        if name == BASE:
            return self._convert_base()
        if name == RANGES:
            return self._measure_ranges()
        return self._convert(name)

    def _convert_base(self) -> dict[str, Any]:
        """Convert the SavedModel to a float flatbuffer with named boundaries."""
        import tensorflow as tf

        source = str(self.folder / "saved_model")
        content = tf.lite.TFLiteConverter.from_saved_model(source).convert()
        content = flatbuffer.mark_boundaries(
            content, self.task["scope"], has_embedding=self.task["has_embedding"]
        )
        _write(self.base_file, content)
        return {}

    def _measure_ranges(self) -> dict[str, Any]:
        is_clipped = self.task["ranges"] != MIN_MAX and not self.task["learned"]
        found = ranges.measure_ranges(
            self.base_file.read_bytes(),
            self._watch(self._read_segments("calibration")),
            self.task["percentile"] if is_clipped else None,
        )
        write_text(self.ranges_file, json.dumps(found))
        return {}

    def _convert(self, name: str) -> dict[str, Any]:
        """Convert the float flatbuffer to a format, and check and write the file."""
        base = self.base_file.read_bytes()
        notes: dict[str, Any] = {}
        if name in ACTIVATION_BITS:
            content, notes["ranges"] = self._choose_ranges(base, name)
        else:
            content = quantization.quantize(base, name, self.task["body"], {})
        content, notes["tensor_names"] = flatbuffer.strip_names(content)
        if tensor := find_bad_scale(content):
            raise UserError(
                f"the quantizer gave a scale that is not a positive number ({tensor})"
            )
        checked = self._read_segments("calibration")[:N_CHECKED]
        probabilities = ranges.classify(content, checked)
        if self.task["separate"]:
            for part, each in self._separate(content, checked, probabilities).items():
                _write(self.folder / f"{name}_{part}.tflite", each)
        _write(self.folder / f"{name}.tflite", content)
        return notes

    def _choose_ranges(self, base: bytes, name: str) -> tuple[bytes, dict[str, Any]]:
        """Quantize with the ranges of training, those asked for, or the better ones."""
        measured = json.loads(self.ranges_file.read_text(encoding="utf-8"))
        wanted = self.task["ranges"]
        methods = list(measured) if wanted == "auto" else [wanted]
        if learned := self.task["learned"]:
            replaced = replace_ranges(measured[MIN_MAX], learned, self.task["body"])
            measured, methods = {LEARNED: replaced}, [LEARNED]
        files = {
            method: quantization.quantize(
                base, name, self.task["body"], measured[method]
            )
            for method in methods
        }
        notes: dict[str, Any] = {"chosen": methods[0]}
        if len(methods) > 1:
            segments = self._read_segments("check")
            reference = ranges.classify(base, self._watch(segments))
            drifts = {
                method: compute_kl_divergence(
                    reference, ranges.classify(content, self._watch(segments))
                )
                for method, content in files.items()
            }
            chosen = min(drifts, key=lambda method: drifts[method])
            notes = {"chosen": chosen, "drift": drifts, "n_segments": len(segments)}
        if notes["chosen"] == "percentile":
            notes["percentile"] = self.task["percentile"]
        return files[notes["chosen"]], notes

    def _separate(
        self, content: bytes, segments: np.ndarray, probabilities: np.ndarray
    ) -> dict[str, bytes]:
        """Cut a file into front-end and body, and check that they agree with it."""
        frontend, body = flatbuffer.split_at_features(content)
        found = ranges.classify_in_parts(frontend, body, segments)
        difference = float(np.abs(found - probabilities).max())
        if difference > 1e-6:
            raise UserError(
                f"front-end and body apart differ from the file by {difference:.1e}"
            )
        return {"frontend": frontend, "body": body}

    def _read_segments(self, name: str) -> np.ndarray:
        """Open segments that the parent wrote, without reading them all."""
        path, shape = self.task[name]
        return np.memmap(path, np.float32, "r", shape=tuple(shape))

    def _watch(self, segments: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield segments, and report progress now and then."""
        for segment in segments:
            if time.monotonic() - self._shown > SIGN_SECONDS:
                self._shown = time.monotonic()
                self._report_progress()
            yield segment


def _write(path: Path, content: bytes) -> None:
    """Write a file that is complete if it exists, even if this process crashes."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def run(
    task: dict[str, Any],
    report: Report,
    report_progress: Callable[[], None] = lambda: None,
) -> None:
    """Run the steps of a task; one that fails is reported, and the next one runs.

    Steps that need the result of one that failed are left out.
    """
    conversion, failed = Conversion(task, report_progress), set()
    for step in task["steps"]:
        is_calibrated = step in ACTIVATION_BITS
        if BASE in failed or (RANGES in failed and is_calibrated):
            continue
        report(step=step, state="begins")
        try:
            notes = conversion.run_step(step)
        except Exception as error:
            traceback.print_exc()
            failed.add(step)
            reason = str(error).strip().split("\n")[-1]
            if not isinstance(error, UserError):
                reason = f"{type(error).__name__}: {reason}"
            full = is_disk_full(error)
            report(step=step, state="failed", reason=reason, full=full)
        else:
            report(step=step, state="ends", notes=notes)


def main() -> None:
    """Run the task on the standard input."""
    task = read_job()
    reports = take_standard_output()

    def report(**fields: Any) -> None:
        print(json.dumps(fields), file=reports, flush=True)

    run(task, report, report)


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    # Threads of the libraries may keep the process alive.
    os._exit(0)
