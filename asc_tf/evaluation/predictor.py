"""Predictor of a trained model, in whatever format the model was saved.

`asc_tf.evaluation.load` makes predictors of run folders, SavedModels and .tflite files.
"""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asc_tf.audio.stream import open_stream
from asc_tf.config import Config, Evaluate
from asc_tf.core.errors import NotFiniteError, UserError
from asc_tf.core.read_ahead import read_ahead
from asc_tf.core.untrusted_files import name_in_errors
from asc_tf.dsp import segments
from asc_tf.dsp.preprocessing import Preprocessing, choose_hop
from asc_tf.dsp.recordings import Recording, choose_batch_size, meter_levels
from asc_tf.pipeline.feature_store import StoredFeatures

if TYPE_CHECKING:
    import keras

    from asc_tf.pipeline.run import Run
    from asc_tf.pipeline.waveforms import Waveforms


@dataclasses.dataclass(frozen=True)
class ClipPredictions:
    """Probabilities of the clips of a split and of their segments.

    Attributes:
        clips: Probabilities of clips, pooled from their segments, `[clips, labels]`.
        segments: Probabilities of segments, `[segments, labels]`.
        clip_ids: Position of the clip of each segment, `[segments]`.
    """

    clips: np.ndarray
    segments: np.ndarray
    clip_ids: np.ndarray


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A model that takes waveforms and files.

    Attributes:
        labels: Class names, in the order of the probabilities.
        preprocessing: Sample rate, channels, segments and pooling of the model.
        predict_batch: Function from segments, float32 `[n, segment_samples]` (or
            `[n, segment_samples, 2]`), to probabilities `[n, labels]`.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    predict_batch: Callable[[np.ndarray], np.ndarray]

    @property
    def sample_rate(self) -> int:
        """Sample rate of the model in Hz; other rates are resampled to it."""
        return self.preprocessing.sample_rate

    def predict(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Classify a clip: its segments, pooled as in evaluation.

        Args:
            waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`.
            sample_rate: Sample rate of the waveform in Hz.

        Returns:
            Probabilities, float32 `[labels]`.

        Raises:
            UserError: If the waveform is empty, not finite, far beyond full scale or of
                another shape or type.
        """
        return self._predict_clip(self.preprocessing.cut(waveform, sample_rate))

    def _predict_clip(self, segments_of_clip: Iterator[np.ndarray]) -> np.ndarray:
        """Pool the probabilities of a clip, whose segments come one at a time."""
        rows = []
        size = choose_batch_size(self.preprocessing.segment_samples)
        while batch := list(itertools.islice(segments_of_clip, size)):
            rows.append(self.predict_segments(np.stack(batch)))
        return self.preprocessing.pool(np.concatenate(rows))

    def predict_segments(self, waveforms: np.ndarray) -> np.ndarray:
        """Classify segments, each by itself.

        Args:
            waveforms: Floats in [-1, 1], `[n, segment_samples]` (or `[n,
                segment_samples, 2]`), at the sample rate of the model.

        Returns:
            Probabilities, float32 `[n, labels]`; each row has the sum 1.

        Raises:
            UserError: If the segments are not finite, far beyond full scale, or of
                another shape or type.
        """
        waveforms = self.preprocessing.check_segments(waveforms)
        if not len(waveforms):
            return np.empty((0, len(self.labels)), np.float32)
        return _normalize(self.predict_batch(waveforms))

    def predict_files(
        self,
        paths: Iterable[str | Path] | str | Path,
        max_seconds: float = math.inf,
    ) -> list[dict[str, Any]]:
        """Classify files; the result of an unusable file is an error message.

        Only a few segments of a file are in memory at a time, however long it is.

        Args:
            paths: Paths of one or more files.
            max_seconds: Longest clip that is not refused, in seconds.

        Returns:
            For each file `file`, `label`, `probability`, `probabilities` (by label)
            and a `note` if it is silent, clipped or short; or `file` and `error`.
        """
        if isinstance(paths, str | Path):
            paths = [paths]
        return [self._predict_file(path, max_seconds) for path in paths]

    def _predict_file(self, path: str | Path, max_seconds: float) -> dict[str, Any]:
        try:
            with name_in_errors(path):
                stream = open_stream(path, max_seconds)
                meter = meter_levels(stream, self.preprocessing)
                cut = self.preprocessing.cut_stream(meter.stream)
                size = choose_batch_size(self.preprocessing.segment_samples)
                with contextlib.closing(read_ahead(cut, size)) as ahead:
                    probabilities = self._predict_clip(ahead)
        except UserError as error:
            return {"file": str(path), "error": str(error)}
        best = int(probabilities.argmax())
        by_label = {
            label: float(value)
            for label, value in zip(self.labels, probabilities, strict=True)
        }
        return {
            "file": str(path),
            "label": self.labels[best],
            "probability": float(probabilities[best]),
            "probabilities": by_label,
            **meter.note(),
        }

    def predict_recording(
        self,
        path: str | Path,
        hop_seconds: float = 0.0,
        max_seconds: float = math.inf,
    ) -> Recording:
        """Open a recording of any length, to classify its segments one by one.

        Args:
            path: Path of the file.
            hop_seconds: Seconds between the starts of neighbouring segments; 0: as the
                model has them.
            max_seconds: Longest recording that is not refused, in seconds.

        Returns:
            Recording; iterating over its `predict()` reads and classifies it.

        Raises:
            UserError: If it is not an audio file; the message names it.
        """
        with name_in_errors(path):
            stream = open_stream(path, max_seconds)
        return Recording(
            path, stream, self.preprocessing, self.predict_segments, hop_seconds
        )

    def predict_split(self, run: "Run", split: str) -> ClipPredictions:
        """Classify the clips of a scanned split, pooled as the run is configured."""
        from asc_tf.pipeline.evaluation_data import load_waveforms

        return self.predict_clips(load_waveforms(run, split), run.config)

    def predict_clips(self, waveforms: "Waveforms", config: Config) -> ClipPredictions:
        """Classify clips that the graph decodes."""
        from asc_tf.pipeline.segments import make_segment_batches
        from asc_tf.pipeline.waveforms import explain_read_errors
        from asc_tf.training.device_memory import explain_full_memory

        evaluate = config.evaluate
        preprocessing = dataclasses.replace(
            self.preprocessing,
            hop_samples=choose_hop(config.audio, evaluate),
            segments=evaluate.segments,
            pooling=evaluate.pooling,
        )
        batches = make_segment_batches(waveforms, preprocessing, evaluate.batch_size)
        with explain_read_errors(), explain_full_memory(config, "evaluate"):
            return _pool(
                (
                    (self.predict_segments(row["waveform"].numpy()), row["clip"])
                    for row in batches
                ),
                waveforms.n_clips,
                evaluate,
            )


def predict_stored(
    model: "keras.Model", stored: StoredFeatures, split: str, config: Config
) -> ClipPredictions:
    """Run the model of a run folder on stored features.

    Raises:
        UsageError: If the split is not stored.
        UserError: If a file of the folder is damaged, or the memory is full.
    """
    from asc_tf.training.device_memory import explain_full_memory

    *_, frontend, body = model.layers
    # Keras would choose XLA on a GPU, with other values than those of the whole model.
    body.jit_compile = False
    rows = stored.batches(split, config.evaluate.batch_size)
    with explain_full_memory(config, "evaluate"):
        batches = (
            (body.predict_on_batch(frontend.standardize(row["features"])), row["clip"])
            for row in rows
        )
        return _pool(
            ((_normalize(probabilities), clip) for probabilities, clip in batches),
            stored.n_clips(split),
            config.evaluate,
        )


def _pool(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], clips: int, evaluate: Evaluate
) -> ClipPredictions:
    """Pool the probabilities of segments to clips; a terminal shows a bar.

    Args:
        batches: Probabilities `[n, labels]` and clip indices `[n]` of each batch.
        clips: Number of clips.
        evaluate: Settings of pooling.
    """
    from tqdm import tqdm

    done = []
    with tqdm(total=clips, unit=" clips", leave=False, disable=None) as bar:
        for by_segment, clip_ids in batches:
            done.append((by_segment, np.asarray(clip_ids)))
            bar.update(int(done[-1][1].max()) + 1 - bar.n)
    probabilities, ids = map(np.concatenate, zip(*done, strict=True))
    pooled = segments.pool(probabilities, ids, clips, evaluate.pooling)
    return ClipPredictions(pooled, probabilities, ids)


def _normalize(probabilities: np.ndarray) -> np.ndarray:
    """Scale rows of finite probabilities to the sum 1.

    Raises:
        NotFiniteError: If they are not finite.
    """
    if not np.isfinite(probabilities).all():
        raise NotFiniteError("the model gave probabilities that are not finite")
    # Float rounding leaves other sums, and scikit-learn requires exact ones.
    return probabilities / probabilities.sum(axis=1, keepdims=True)
