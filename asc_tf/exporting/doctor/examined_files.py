"""Exported files while the doctor examines them: answers, measurements, findings."""

import contextlib
import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.config.export import FORMATS
from asc_tf.core.errors import UserError
from asc_tf.core.files import DiskFullError, count_bytes, hash_path, is_disk_full
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.edge.tflite_metadata import UNKNOWN, check_temperature, read_metadata
from asc_tf.evaluation.load import METADATA, REJECTED, load
from asc_tf.exporting.doctor import gates
from asc_tf.exporting.doctor.gates import Finding
from asc_tf.exporting.doctor.segment_file import SegmentFile

WARM_UP, LATENCY_RUNS = 5, 50

BLOCK_BYTES = 2**20
"""Bytes that are compressed at a time."""

BATCH_SIZE = 32
"""Segments that a SavedModel classifies at a time."""


class ExaminedFile:
    """An exported file that is examined; a failure is a finding and ends its part.

    Attributes:
        name: Format of the file.
        path: The file, or the folder of a SavedModel.
        row: Its row of export.json.
        findings: Findings so far.
        labels: Labels in the order of its outputs.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.findings: list[Finding] = []
        self.labels: tuple[str, ...] = ()
        self._answers: list[np.ndarray] = []
        self._has_failed = False
        self.row: dict[str, Any] = {
            "file": path.name,
            "bytes": count_bytes(path),
            "sha256": hash_path(path),
        }

    @property
    def is_usable(self) -> bool:
        """True if the file could be loaded and has answered so far."""
        return not any(
            finding["check"] in ("file", "operations", "run")
            and finding["passed"] is False
            for finding in self.findings
        )

    def close(self) -> None:
        """Free what the file holds."""

    def open(self, labels: Sequence[str], preprocessing: Preprocessing) -> None:
        """Load the file, and check that it fits the run."""
        self.attempt("file", lambda: self._read(labels, preprocessing))
        if self.is_usable:
            self.attempt("file", self._measure_compression)
            self.attempt("run", self._load)

    def _measure_compression(self) -> None:
        self.row["compressed_bytes"] = _count_compressed_bytes(self.path)

    def predict(self, segments: SegmentFile, split: str, is_gate: bool) -> None:
        """Classify segments; the answers are kept until `take_answers`.

        Args:
            segments: Segments of the split, all or some.
            split: Split of the segments.
            is_gate: Whether a failure rejects the file. Otherwise it is a finding, and
                the file has no answers for this split.
        """

        def step() -> None:
            self._answers.append(self._predict(segments))

        if not self.is_usable or self._has_failed:
            return
        if is_gate:
            self.attempt("run", step)
        else:
            where = f"on {split} clips, which do not decide: "
            self._has_failed = not self.attempt("run", step, None, where)
            if self._has_failed:
                self._start_again()

    def take_answers(self) -> np.ndarray | None:
        """Return the probabilities of all segments since the last call.

        Returns:
            Probabilities `[n, labels]`; None if the file has failed on some.
        """
        answers, self._answers = self._answers, []
        has_failed, self._has_failed = self._has_failed, False
        return None if has_failed or not answers else np.concatenate(answers)

    def attempt(
        self,
        check: str,
        step: Callable[[], None],
        passed: bool | None = False,
        where: str = "",
    ) -> bool:
        """Make a step; its failure is a finding, whatever the file has raised.

        Args:
            check: Name of the check.
            step: Function to call.
            passed: Field of the finding: False rejects the file, None does not.
            where: Beginning of the text of the finding.

        Returns:
            Whether the step succeeded.

        Raises:
            DiskFullError: If the disk is full.
        """
        try:
            step()
        except DiskFullError:
            raise
        # TensorFlow raises errors of its own, NumPy any, for damaged files.
        except Exception as error:
            if is_disk_full(error):
                raise DiskFullError(self.path) from error
            text = where + self._describe(error)
            self.findings.append(gates.make_finding(check, passed, text))
            return False
        return True

    def _describe(self, error: Exception) -> str:
        """Describe an error in a line; an unexpected one begins with its type."""
        text = str(error).replace(f"{self.path}: ", "").strip().split("\n")[0]
        if isinstance(error, UserError):
            return text
        return f"{type(error).__name__}: {text}" if text else type(error).__name__

    def _start_again(self) -> None:
        """Make the file ready for measurements after a failure."""

    def _fit(
        self,
        labels: Sequence[str],
        found: Preprocessing,
        expected_labels: Sequence[str],
        expected: Preprocessing,
    ) -> None:
        """Check labels and preprocessing against those of the run."""
        self.labels = tuple(labels)
        self.findings.append(gates.check_labels(labels, expected_labels))
        self.findings.append(gates.check_preprocessing(found, expected))
        if found.segment_shape != expected.segment_shape:
            raise UserError("its input is not a segment of this run; export it again")
        if set(labels) != set(expected_labels):
            raise UserError("its labels are others than those of this run")

    def _read(self, labels: Sequence[str], preprocessing: Preprocessing) -> None:
        raise NotImplementedError

    def _load(self) -> None:
        raise NotImplementedError

    def _predict(self, segments: SegmentFile) -> np.ndarray:
        raise NotImplementedError

    def measure(self) -> None:
        """Measure memory and latency."""
        raise NotImplementedError


class ExaminedSavedModel(ExaminedFile):
    """A SavedModel, which runs in this process."""

    def _read(self, labels: Sequence[str], preprocessing: Preprocessing) -> None:
        self._predictor = load(self.path)
        _read_saved_temperature(self.path)
        found = self._predictor
        self._fit(found.labels, found.preprocessing, labels, preprocessing)

    def _load(self) -> None:
        shape = self._predictor.preprocessing.segment_shape
        self._predictor.predict_segments(np.zeros([1, *shape], np.float32))
        text = "TensorFlow loads and runs it"
        self.findings.append(gates.make_finding("run", True, text))

    def _predict(self, segments: SegmentFile) -> np.ndarray:
        waveforms = segments.read()
        rows = []
        for first in range(0, len(waveforms), BATCH_SIZE):
            batch = np.array(waveforms[first : first + BATCH_SIZE])
            rows.append(self._predictor.predict_batch(batch))
        return np.concatenate(rows)

    def measure(self) -> None:
        """Measure the latency of one segment."""
        shape = self._predictor.preprocessing.segment_shape
        segment = np.zeros([1, *shape], np.float32)
        times = []
        for _ in range(WARM_UP + LATENCY_RUNS):
            began = time.perf_counter()
            self._predictor.predict_batch(segment)
            times.append(1000 * (time.perf_counter() - began))
        p50, p95 = np.percentile(times[WARM_UP:], [50, 95])
        self.row["latency_ms"] = {
            "p50": round(float(p50), 3),
            "p95": round(float(p95), 3),
        }


def read_format(path: Path) -> str:
    """Read the format of an exported file; its name where it cannot be read.

    Returns:
        One of `FORMATS`, or `UNKNOWN`: the text in a file may be anything.
    """
    if path.is_dir():
        return "saved_model"
    name = path.name.removesuffix(REJECTED).removesuffix(".tflite")
    with contextlib.suppress(UserError, OSError):
        name = read_metadata(path).precision
    return name if name in FORMATS else UNKNOWN


def read_temperature(path: Path) -> float:
    """Read the temperature that is folded into a file.

    Returns:
        A number from 0.01 to 100; 1 where the file does not say, and where what it
        says is refused by `ExaminedFile.open`.
    """
    with contextlib.suppress(UserError, OSError, ValueError, RecursionError):
        if not path.is_dir():
            return float(read_metadata(path).extra.get("temperature", 1.0))
        return _read_saved_temperature(path)
    return 1.0


def _read_saved_temperature(path: Path) -> float:
    """Read and check the temperature in the metadata of a SavedModel."""
    metadata = json.loads((path / METADATA).read_text(encoding="utf-8"))
    has_fields = isinstance(metadata, Mapping)
    return check_temperature(metadata.get("temperature", 1.0) if has_fields else 1.0)


def _count_compressed_bytes(path: Path) -> int:
    """Count the bytes of a file, or of those in a folder, compressed by zlib."""
    files = [path]
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.is_file())
    count = 0
    for each in files:
        compressor = zlib.compressobj(9)
        with each.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                count += len(compressor.compress(block))
        count += len(compressor.flush())
    return count
