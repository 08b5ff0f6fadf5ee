"""A .tflite behind a pool of LiteRT interpreters."""

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.tensorflow_start import suppress_notes
from asc_tf.dsp import segments, wav_reader
from asc_tf.dsp.preprocessing import check_floats
from asc_tf.dsp.segments import Segment
from asc_tf.edge.runtime import EdgeModel
from asc_tf.serving.backends import (
    UNKNOWN,
    Arrays,
    IsCancelled,
    Signature,
    TensorSpec,
    check_cancelled,
    never,
)
from asc_tf.serving.descriptions import read_max_seconds
from asc_tf.serving.settings import QueueFullError, Settings


class TfliteBackend:
    """Exported .tflite with the signatures of a SavedModel, but without embeddings.

    Raises:
        UserError: If the file is no such model, or LiteRT is not installed.
    """

    def __init__(self, path: Path, version: int, settings: Settings) -> None:
        self.version = version
        self._pool: queue.Queue[EdgeModel] = queue.Queue()
        with suppress_notes():
            for _ in range(settings.workers):
                model = EdgeModel(path)
                self._pool.put(model)
        self._places = threading.BoundedSemaphore(settings.threads)
        self.labels = model.labels
        metadata = dataclasses.asdict(model.metadata)
        self.description: dict[str, Any] = metadata | dict(model.metadata.extra)
        self._preprocessing = model.metadata.preprocessing
        self._max_seconds = read_max_seconds(self.description)
        self.signatures = self._describe()

    def _describe(self) -> dict[str, Signature]:
        width = len(self.labels)
        shape = (UNKNOWN, UNKNOWN, *self._preprocessing.segment_shape[1:])
        waveform = {"waveform": TensorSpec("DT_FLOAT", shape)}
        encoded = {"encoded": TensorSpec("DT_STRING", (UNKNOWN,))}
        strings = TensorSpec("DT_STRING", (UNKNOWN,))
        clips = {
            "error": strings,
            "label": strings,
            "probabilities": TensorSpec("DT_FLOAT", (UNKNOWN, width)),
        }
        seconds = TensorSpec("DT_FLOAT", (UNKNOWN, UNKNOWN))
        times = {
            "end": seconds,
            "error": strings,
            "probabilities": TensorSpec("DT_FLOAT", (UNKNOWN, UNKNOWN, width)),
            "start": seconds,
        }
        label_id = {"label_id": TensorSpec("DT_INT64", (UNKNOWN,))}
        return {
            "serving_default": Signature(waveform, clips),
            "encoded": Signature(encoded, clips),
            "segments": Signature(waveform, times),
            "encoded_segments": Signature(encoded, times),
            "labels": Signature(label_id, {"label": strings}),
        }

    def run(
        self, signature: str, inputs: Arrays, is_cancelled: IsCancelled = never
    ) -> dict[str, np.ndarray]:
        """Run a signature; see `Backend`."""
        (values,) = inputs.values()
        if signature == "labels":
            return {"label": self._name_labels(values)}
        if not self._places.acquire(blocking=False):
            raise QueueFullError
        try:
            with self._borrow() as model:
                if signature.endswith("segments"):
                    return self._segment(model, values, is_cancelled)
                return self._classify(model, values, is_cancelled)
        finally:
            self._places.release()

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[EdgeModel]:
        model = self._pool.get()
        try:
            yield model
        finally:
            self._pool.put(model)

    def _name_labels(self, ids: np.ndarray) -> np.ndarray:
        known = range(len(self.labels))
        names = [self.labels[i] if i in known else "" for i in ids.tolist()]
        return np.array([name.encode() for name in names], object)

    def _classify(
        self, model: EdgeModel, clips: np.ndarray, is_cancelled: IsCancelled
    ) -> dict[str, np.ndarray]:
        """Classify each clip on its own; a bad one gets its reason."""
        probabilities = np.full((len(clips), len(self.labels)), np.nan, np.float32)
        labels = np.full(len(clips), b"", object)
        errors = np.full(len(clips), b"", object)
        for row, clip in enumerate(clips):
            check_cancelled(is_cancelled)
            try:
                views = self._cut(clip, self._preprocessing.segments)
                # Checked again, because resampling can lift a peak beyond `MAX_PEAK`.
                waveforms = (
                    waveform
                    for segment in views
                    for waveform in self._preprocessing.check_segments(
                        np.stack([view.waveform for view in segment])
                    )
                )
                probabilities[row], _ = model.predict_clip(waveforms)
                labels[row] = self.labels[int(probabilities[row].argmax())].encode()
            except UserError as error:
                errors[row] = str(error).encode()
        return {"error": errors, "label": labels, "probabilities": probabilities}

    def _segment(
        self, model: EdgeModel, clips: np.ndarray, is_cancelled: IsCancelled
    ) -> dict[str, np.ndarray]:
        """Classify each segment of each clip; shorter clips are filled with NaN."""
        found: list[list[tuple[float, float, np.ndarray]]] = []
        errors = np.full(len(clips), b"", object)
        for row, clip in enumerate(clips):
            check_cancelled(is_cancelled)
            rows: list[tuple[float, float, np.ndarray]] = []
            try:
                for views in self._cut(clip, "all"):
                    waveforms = np.stack([view.waveform for view in views])
                    pooled = self._preprocessing.pool(model.predict_segments(waveforms))
                    rate = self._preprocessing.sample_rate
                    rows.append((views[0].start / rate, views[0].end / rate, pooled))
            except UserError as error:
                errors[row], rows = str(error).encode(), []
            found.append(rows)
        shape = (len(clips), max(map(len, found), default=0))
        probabilities = np.full((*shape, len(self.labels)), np.nan, np.float32)
        times = np.full((*shape, 2), np.nan, np.float32)
        for row, segments_of_clip in enumerate(found):
            for number, (start, end, values) in enumerate(segments_of_clip):
                times[row, number] = start, end
                probabilities[row, number] = values
        return {
            "end": times[..., 1],
            "error": errors,
            "probabilities": probabilities,
            "start": times[..., 0],
        }

    def _cut(self, clip: bytes | np.ndarray, which: str) -> Iterator[list[Segment]]:
        """Cut a clip, the bytes of a file or a waveform, into the views of segments."""
        preprocessing = self._preprocessing
        if isinstance(clip, bytes):
            stream = wav_reader.open_contents(clip, self._max_seconds)
            wanted = dataclasses.replace(preprocessing, segments=which)
            yield from wanted.cut_views(stream)
            return
        waveform = check_floats("waveform", clip)
        if not len(waveform):
            raise UserError("no samples")
        for segment in segments.cut_blocks(
            [waveform],
            len(waveform),
            preprocessing.segment_samples,
            preprocessing.hop_samples,
            which,
            preprocessing.short_clips,
            preprocessing.last_segment,
        ):
            yield [segment]
