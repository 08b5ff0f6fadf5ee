"""An exported .tflite as an object: waveform in, probabilities out."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import NotFiniteError, UserError
from asc_tf.core.untrusted_files import name_in_errors
from asc_tf.dsp import wav_reader
from asc_tf.dsp.recordings import Recording, meter_levels
from asc_tf.edge import litert, tflite_metadata
from asc_tf.edge.flatbuffer_check import check_flatbuffer
from asc_tf.edge.litert import EMBEDDING, OUTPUT
from asc_tf.edge.trial import run_trial

MAX_THREADS = 64


class EdgeModel:
    """An exported .tflite, run by LiteRT; not for several threads at once.

    Attributes:
        metadata: Metadata of the file.
        labels: Class names, in the order of the probabilities.
        sample_rate: Sample rate of the model in Hz; other rates are resampled.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        """Load and check a model.

        Args:
            path: The .tflite.
            threads: CPU threads of one inference, 1 to 64.

        Raises:
            UserError: If the file is no such model, is damaged, or does not fit its
                metadata; or if LiteRT is not installed.
        """
        if not 1 <= threads <= MAX_THREADS:
            raise UserError(f"threads={threads}: give 1 to {MAX_THREADS}")
        self.metadata, flatbuffer = tflite_metadata.load(path)
        self.labels = self.metadata.labels
        self.sample_rate = self.metadata.sample_rate
        try:
            check_flatbuffer(flatbuffer)
            _check_whole(self.metadata)
            litert.import_interpreter()
            shape = self.metadata.preprocessing.segment_shape
            run_trial(litert.run_once, flatbuffer, threads, shape, len(self.labels))
            self._runner = litert.load_runner(flatbuffer, threads)
            litert.check_signature(self._runner, shape, len(self.labels))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def predict(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Classify a clip: its segments, pooled as in evaluation.

        Args:
            waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`.
            sample_rate: Sample rate of the waveform in Hz, 1000 to 768000.

        Returns:
            float32 `[labels]`.

        Raises:
            UserError: If the waveform is empty, not finite, far beyond full scale or of
                another shape or type, or the rate is out of range.
        """
        segments = self.metadata.preprocessing.cut(waveform, sample_rate)
        return self.predict_clip(segments)[0]

    def predict_segments(self, waveforms: np.ndarray) -> np.ndarray:
        """Classify each segment on its own.

        Args:
            waveforms: Floats `[n, segment_samples]` at the model's rate; `[n,
                segment_samples, 2]` for a model of two channels: left and right, or
                half their sum and half their difference (`mid_side`).

        Returns:
            float32 `[n, labels]`.

        Raises:
            UserError: If the segments are not finite, far beyond full scale, or of
                another shape or type.
        """
        return self._run(self.metadata.preprocessing.check_segments(waveforms))[0]

    def embed_segments(self, waveforms: np.ndarray) -> np.ndarray:
        """Compute the embedding of each segment: the input of the last dense layer.

        Returns:
            float32 `[n, units]`.

        Raises:
            UserError: If the file has no such output, or as `predict_segments`.
        """
        if EMBEDDING not in self._runner.get_output_details():
            raise UserError("the file gives no embedding; use --export.embedding")
        checked = self.metadata.preprocessing.check_segments(waveforms)
        return self._run(checked, EMBEDDING)[0]

    def predict_files(self, paths: Iterable[str | Path]) -> list[dict[str, Any]]:
        """Classify WAV files of any length; a bad one does not stop the others.

        Returns:
            For each file a dict that JSON can hold: `file`, `label` (the most probable)
            and its `probability`, `probabilities` (of every label, by name), `seconds`
            of audio, `ms` of inference per segment and a `note` if it is silent,
            clipped or short; or `file` and `error`.
        """
        return [self._predict_file(path) for path in paths]

    def _predict_file(self, path: str | Path) -> dict[str, Any]:
        try:
            with name_in_errors(path):
                stream = wav_reader.open_stream(path)
                meter = meter_levels(stream, self.metadata.preprocessing)
                segments = self.metadata.preprocessing.cut_stream(meter.stream)
                probabilities, ms = self.predict_clip(segments)
        except UserError as error:
            return {"file": str(path), "error": str(error)}
        best = int(np.argmax(probabilities))
        return {
            "file": str(path),
            "label": self.labels[best],
            "probability": float(probabilities[best]),
            "probabilities": dict(
                zip(self.labels, probabilities.tolist(), strict=True)
            ),
            "seconds": stream.count_samples() / stream.sample_rate,
            "ms": ms,
            **meter.note(),
        }

    def predict_recording(
        self, path: str | Path, hop_seconds: float = 0.0
    ) -> Recording:
        """Open a WAV file of any length, to classify its segments one by one.

        Args:
            path: Path of the file.
            hop_seconds: Seconds between the starts of neighbouring segments; 0: as the
                model has them.

        Returns:
            Recording; iterating over its `predict()` reads and classifies it.

        Raises:
            UserError: If it is not a WAV file; the message names it.
        """
        with name_in_errors(path):
            stream = wav_reader.open_stream(path)
        return Recording(
            path,
            stream,
            self.metadata.preprocessing,
            self.predict_segments,
            hop_seconds,
        )

    def predict_clip(self, segments: Iterable[np.ndarray]) -> tuple[np.ndarray, float]:
        """Classify a clip by its segments, which come one at a time.

        Args:
            segments: One or more segments, float32 `[segment_samples]` or
                `[segment_samples, 2]`, as `Preprocessing.check_segments` gives them;
                they are not checked again.

        Returns:
            Probabilities, float32 `[labels]`, and milliseconds per segment.

        Raises:
            UserError: If LiteRT fails, or the iteration over `segments` does.
            NotFiniteError: If the model gives an output that is not finite.
        """
        probabilities, seconds = self._run(segments)
        pooled = self.metadata.preprocessing.pool(probabilities)
        return pooled, 1000 * seconds / len(probabilities)

    def _run(
        self, waveforms: Iterable[np.ndarray], output: str = OUTPUT
    ) -> tuple[np.ndarray, float]:
        """Run one inference per segment: float32 `[n, width]`, and the seconds taken.

        The segments come one at a time, because a Raspberry Pi has little memory.
        """
        width = self._runner.get_output_details()[output]["shape"][1]
        rows, seconds = [np.empty((0, width), np.float32)], 0.0
        for waveform in waveforms:
            began = time.perf_counter()
            rows.append(litert.infer(self._runner, waveform, output))
            seconds += time.perf_counter() - began
        values = np.concatenate(rows)
        if not np.isfinite(values).all():
            raise NotFiniteError(
                f"the model gave an output, {output}, that is not finite"
            )
        return values, seconds


def _check_whole(metadata: tflite_metadata.Metadata) -> None:
    """Refuse the front-end or the body of a model alone."""
    if (part := metadata.extra.get("part")) in tflite_metadata.PARTS:
        raise UserError(
            f"is the {part} of a model alone; give the file of the same export that "
            f"has both, {metadata.precision}.tflite"
        )
