"""An exported .tflite as an object: waveform in, probabilities out."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf import resampling, segments
from asc_tf.edge import container, wav
from asc_tf.errors import UserError

SIGNATURE, INPUT, OUTPUT = "serving_default", "waveform", "probabilities"

MAX_THREADS = 64

MAX_CHANNELS = 256
"""More are taken for samples: other libraries put the channels first."""


class EdgeModel:
    """A .tflite that asc-tf exported, run by LiteRT.

    Not for use by several threads at once.

    Attributes:
        metadata: What the file says of itself.
        labels: Class names, in the order of the probabilities.
        sample_rate: What the model takes, Hz; other rates are resampled.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        """Load and check a model.

        Args:
            path: The .tflite.
            threads: CPU threads that one inference may use, 1 to 64.

        Raises:
            UserError: If the file is no such model, is damaged, or does not fit its
                metadata; or if LiteRT is not installed.
        """
        if not 1 <= threads <= MAX_THREADS:
            raise UserError(f"threads={threads}: give 1 to {MAX_THREADS}")
        self.metadata, flatbuffer = container.load(path)
        self.labels = self.metadata.labels
        self.sample_rate = self.metadata.sample_rate
        try:
            self._runner = _signature_runner(flatbuffer, threads)
            _check_signature(self._runner, self.metadata)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def predict(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Classify a clip: the mean over its segments.

        Args:
            waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`; the
                channels are averaged.
            sample_rate: Its rate, Hz, 1000 to 768000.

        Returns:
            float32 `[labels]`.

        Raises:
            UserError: If the waveform is empty, not finite or of another shape or
                type, or the rate is out of range.
        """
        return self._clip(waveform, sample_rate)[0]

    def predict_segments(self, waveforms: np.ndarray) -> np.ndarray:
        """Classify segments, each by itself.

        Args:
            waveforms: Floats `[n, segment_samples]`, mono, at the model's rate.

        Returns:
            float32 `[n, labels]`.

        Raises:
            UserError: If the segments are not finite or of another shape or type.
        """
        waveforms = _finite_float32("waveforms", waveforms)
        length = self.metadata.segment_samples
        if waveforms.ndim != 2 or waveforms.shape[1] != length:
            raise UserError(
                f"waveforms has shape {waveforms.shape}; give [n, {length}], mono at "
                f"{self.sample_rate} Hz"
            )
        return self._run(waveforms)

    def predict_files(self, paths: Iterable[str | Path]) -> list[dict[str, Any]]:
        """Classify WAV files; a bad one does not stop the others.

        Args:
            paths: The files.

        Returns:
            For each file a dict that JSON can hold: `file`, `label` (the most probable)
            and its `probability`, `probabilities` (of every label, by name), `seconds`
            of audio and `ms` of inference per segment; or `file` and `error`.
        """
        return [self._file(path) for path in paths]

    def _file(self, path: str | Path) -> dict[str, Any]:
        try:
            waveform, rate = wav.read(path)
            try:
                probabilities, ms = self._clip(waveform, rate)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        except UserError as error:
            return {"file": str(path), "error": str(error)}
        except MemoryError:
            return {"file": str(path), "error": f"{path}: too large for the memory"}
        best = int(np.argmax(probabilities))
        return {
            "file": str(path),
            "label": self.labels[best],
            "probability": float(probabilities[best]),
            "probabilities": dict(
                zip(self.labels, probabilities.tolist(), strict=True)
            ),
            "seconds": len(waveform) / rate,
            "ms": ms,
        }

    def _clip(self, waveform: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
        """Probabilities of a clip, and milliseconds per segment."""
        mono = resampling.resample(
            to_mono(waveform), checked_rate(rate), self.sample_rate
        )
        began = time.perf_counter()
        probabilities = self._run(self._segments(mono))
        ms = (time.perf_counter() - began) * 1000 / len(probabilities)
        return probabilities.mean(axis=0, dtype=np.float64).astype(np.float32), ms

    def _segments(self, mono: np.ndarray) -> Iterator[np.ndarray]:
        """As `segments.split`, one at a time: a Raspberry Pi has little memory."""
        length, hop = self.metadata.segment_samples, self.metadata.hop_samples
        for start in segments.starts(len(mono), length, hop):
            yield segments.split(mono[start : start + length], length, hop)[0]

    def _run(self, waveforms: Iterable[np.ndarray]) -> np.ndarray:
        """One inference per segment: float32 `[n, labels]`."""
        rows = np.empty((0, len(self.labels)), np.float32)
        try:
            results = [self._runner(waveform=row[np.newaxis]) for row in waveforms]
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the model failed: {error}; export it again") from error
        if results:
            rows = np.concatenate([result[OUTPUT] for result in results])
        if not np.isfinite(rows).all():
            raise UserError("the model gave probabilities that are not finite")
        return rows


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Keep LiteRT's INFO lines off stderr while a model loads.

    They come from C++, which has neither a setting nor a function for it: stderr goes
    to a file meanwhile, and every other line of it is passed on.
    """
    try:
        original = os.dup(2)
    except OSError:  # a service may run without stderr
        yield
        return
    with tempfile.TemporaryFile() as notes, os.fdopen(original, "wb") as stderr:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            notes.seek(0)
            stderr.writelines(line for line in notes if line[:5] != b"INFO:")


def _signature_runner(flatbuffer: bytes, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            f"LiteRT is missing ({error}); pip install 'asc-tf[edge]'"
        ) from error
    try:
        interpreter = Interpreter(model_content=flatbuffer, num_threads=threads)
        interpreter.allocate_tensors()
        return interpreter.get_signature_runner(SIGNATURE)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"LiteRT refuses the model: {str(error).strip()}; export it again"
        ) from error


def _check_signature(runner: Any, metadata: container.Metadata) -> None:
    """Refuse a model whose tensors are not what its metadata promise."""
    inputs = {INPUT: (1, metadata.segment_samples)}
    outputs = {OUTPUT: (1, len(metadata.labels))}
    for kind, details, expected in (
        ("input", runner.get_input_details(), inputs),
        ("output", runner.get_output_details(), outputs),
    ):
        found = {
            name: (tuple(map(int, item["shape"])), np.dtype(item["dtype"]).name)
            for name, item in details.items()
        }
        wanted = {name: (shape, "float32") for name, shape in expected.items()}
        if found != wanted:
            raise UserError(
                f"the model's {kind} is {found}, its metadata say {wanted}; "
                "export it again"
            )


def _finite_float32(name: str, values: Any) -> np.ndarray:
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise UserError(f"{name} is {values.dtype}; give floats in [-1, 1]")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{name} holds values that are not finite; give floats")
    return values


def to_mono(waveform: Any) -> np.ndarray:
    """Floats `[samples]` or `[samples, channels]` to float32 `[samples]`, their mean.

    Raises:
        UserError: If the values or the shape cannot be a waveform's.
    """
    waveform = _finite_float32("waveform", waveform)
    if waveform.ndim not in (1, 2):
        raise UserError(
            f"waveform has shape {waveform.shape}; give [samples] or "
            "[samples, channels]"
        )
    if not waveform.size:
        raise UserError(f"waveform has shape {waveform.shape}: no samples; give some")
    if waveform.ndim == 2 and waveform.shape[1] > MAX_CHANNELS:
        raise UserError(
            f"waveform has shape {waveform.shape}, {waveform.shape[1]} channels; give "
            "[samples, channels]"
        )
    return waveform if waveform.ndim == 1 else waveform.mean(axis=1)


def checked_rate(rate: Any) -> int:
    """A sample rate as a whole number of Hz.

    Raises:
        UserError: If it is none, or outside `resampling.RATES`.
    """
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    lowest, highest = resampling.RATES
    if whole != rate or not lowest <= whole <= highest:
        raise UserError(
            f"sample_rate is {rate!r}; give a whole number of Hz from {lowest} to "
            f"{highest}"
        )
    return whole
