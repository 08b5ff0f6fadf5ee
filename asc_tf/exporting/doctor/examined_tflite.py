"""A .tflite while the doctor examines it, in a child process."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.edge.tflite_metadata import read_metadata
from asc_tf.exporting.doctor import gates
from asc_tf.exporting.doctor.examined_files import ExaminedFile, ExaminedSavedModel
from asc_tf.exporting.doctor.gates import Finding
from asc_tf.exporting.doctor.layer_errors import has_layer_name
from asc_tf.exporting.doctor.litert_process import LiteRtProcess
from asc_tf.exporting.doctor.segment_file import SegmentFile
from asc_tf.report.layer_figures import find_worst

_NUMBERS = itertools.count()
"""Numbers of the temporary files."""


class ExaminedTflite(ExaminedFile):
    """A .tflite, which a child process runs on LiteRT; its answers are in `folder`."""

    def __init__(self, name: str, path: Path, folder: Path) -> None:
        super().__init__(name, path)
        self._answer = folder / f"answer{next(_NUMBERS)}.float32"
        self._child: LiteRtProcess | None = None

    @property
    def child(self) -> LiteRtProcess:
        """The process that runs the file; started when it is needed."""
        if self._child is None:
            self._child = LiteRtProcess(self.path)
        return self._child

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.close()
        self._answer.unlink(missing_ok=True)

    def _read(self, labels: Sequence[str], preprocessing: Preprocessing) -> None:
        metadata = read_metadata(self.path)
        self._fit(metadata.labels, metadata.preprocessing, labels, preprocessing)

    def _load(self) -> None:
        found = self.child.ask("inspect")
        self._check_operations(found["custom"])
        self.row["parts"] = found["parts"]
        if not self.is_usable:
            return
        self.row |= {
            key: value
            for key, value in self.child.ask("load").items()
            if key == "resident_bytes"
        }
        text = "LiteRT loads and runs it, through its signature"
        self.findings.append(gates.make_finding("run", True, text))

    def _check_operations(self, custom: Sequence[str]) -> None:
        """Refuse operations that LiteRT alone does not have."""
        if not custom:
            text = "builtin operations of LiteRT only"
            self.findings.append(gates.make_finding("operations", True, text))
            return
        is_flex = any(name.startswith("Flex") for name in custom)
        kind = "TensorFlow (Flex)" if is_flex else "other libraries"
        text = (
            f"needs operations of {kind}, which LiteRT alone does not have: "
            f"{', '.join(custom)}; use another layer in their place, or leave the "
            "format out of --formats"
        )
        self.findings.append(gates.make_finding("operations", False, text))

    def _predict(self, segments: SegmentFile) -> np.ndarray:
        answer = self.child.ask(
            "predict",
            segments=str(segments.path),
            shape=segments.shape,
            output=str(self._answer),
        )
        values = np.fromfile(self._answer, np.float32)
        return values.reshape(answer["shape"])

    def measure(self) -> None:
        """Measure the latency of one segment, and the memory of the arena."""
        found = self.child.ask("measure_latency")
        first = found["latency"][0]
        self.row["latency_ms"] = {"p50": first["p50"], "p95": first["p95"]}
        self.row["latency"] = found["latency"]
        if found["note"]:
            text = f"front-end and body could not be timed apart: {found['note']}"
            self.findings.append(gates.make_finding("latency", None, text))
        self._ask_about("memory", self._measure_memory)

    def _measure_memory(self) -> None:
        size = self.child.ask("measure_memory")["bytes"]
        if size is None:
            raise UserError("the input of the file is in no block of LiteRT's memory")
        self.row["arena_bytes"] = size

    def _ask_about(self, check: str, step: Callable[[], None]) -> None:
        """Make a step that only describes the file: its failure does not reject it."""
        if not self.attempt(check, step, None, f"{check} could not be measured: "):
            self._start_again()

    def _start_again(self) -> None:
        """End the child process, which may hang; the next request starts another."""
        self.close()
        self._child = None

    def compare_layers(
        self,
        reference: Path | None,
        names: Sequence[Sequence[str]],
        segments: SegmentFile,
    ) -> None:
        """Compare the layers with those of the float32 file.

        Args:
            reference: The float32 file; None if there is none.
            names: Tensor names of this file and of the float32 file by index, or empty.
            segments: Segments to compare them on.
        """
        if reference is None:
            text = "layers are not compared: there is no float32 file with its weights"
            self.findings.append(gates.make_finding("layers", None, text))
            return
        arguments = {
            "reference": str(reference),
            "names": [list(each) for each in names],
            "segments": str(segments.path),
            "shape": segments.shape,
        }
        self._ask_about("layers", lambda: self._compare_layers(arguments))

    def _compare_layers(self, arguments: dict[str, Any]) -> None:
        layers = self.child.ask("compare_layers", **arguments)["layers"]
        self.row["layers"] = layers
        self.findings.append(_describe_worst_layer(layers))
        if layers and not any(map(has_layer_name, layers)):
            text = "layers are numbered: no export.json with their names is beside it"
            self.findings.append(gates.make_finding("names", None, text))


def _describe_worst_layer(layers: Sequence[dict[str, Any]]) -> Finding:
    """Name the layer that loses most."""
    worst = find_worst(layers)
    text = "no layer loses accuracy of its values"
    if worst is not None:
        text = (
            f"the layer that loses most is {worst['name']}: {worst['loss_db']:.1f} dB, "
            f"to {worst['sqnr_db']:.1f} dB signal to noise"
        )
    return gates.make_finding("layers", True, text)


def open_examined(name: str, path: Path, folder: Path) -> ExaminedFile:
    """Make the object that examines a file of a format."""
    if path.is_dir():
        return ExaminedSavedModel(name, path)
    return ExaminedTflite(name, path, folder)
