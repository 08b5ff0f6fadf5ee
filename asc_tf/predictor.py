"""One way to run a trained model, whatever it was saved as.

`load` takes a run folder, an export folder, a SavedModel or a .tflite; what comes back
takes waveforms and files. A .tflite runs through `asc_tf.edge`, as on a Raspberry Pi.
"""

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asc_tf import segments
from asc_tf.config import Audio, Evaluate
from asc_tf.errors import UsageError, UserError
from asc_tf.listening import Listening
from asc_tf.quiet import quiet_tensorflow, without_notes
from asc_tf.stored import StoredFeatures

if TYPE_CHECKING:
    from asc_tf.pipeline import Waveforms

BATCH = 32
"""Segments of a clip that run at a time."""

METADATA = Path("assets.extra") / "model.json"
"""Where an exported SavedModel says what it takes."""


@dataclass(frozen=True)
class ClipPredictions:
    """Probabilities of a part of the manifest.

    Attributes:
        clips: `[clips, labels]`, pooled from each clip's segments.
        segments: `[segments, labels]`.
        clip_ids: `[segments]`, the clip of each segment.
    """

    clips: np.ndarray
    segments: np.ndarray
    clip_ids: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A model that takes waveforms and files.

    Attributes:
        labels: Class names, in the order of the probabilities.
        audio: What the model takes: rate, segment length and hop, channels.
        evaluate: Which segments it hears, and how they are pooled.
        run: Segments float32 `[n, segment_samples]` (or `[..., 2]`) to probabilities
            `[n, labels]`.
    """

    labels: tuple[str, ...]
    audio: Audio
    evaluate: Evaluate
    run: Callable[[np.ndarray], np.ndarray]

    @property
    def sample_rate(self) -> int:
        """What the model takes, Hz; other rates are resampled."""
        return self.audio.sample_rate

    def predict(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Classify a clip: its segments, pooled as in evaluation.

        Args:
            waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`.
            sample_rate: Its rate, Hz.

        Returns:
            Probabilities, float32 `[labels]`.

        Raises:
            UserError: If the waveform is empty, not finite, far beyond full scale or of
                another shape or type.
        """
        listening = Listening.of(self.audio, self.evaluate)
        cut = listening.cut(waveform, sample_rate)
        rows = []
        while batch := list(itertools.islice(cut, BATCH)):
            rows.append(self.predict_segments(np.stack(batch)))
        return listening.pool(np.concatenate(rows))

    def predict_segments(self, waveforms: np.ndarray) -> np.ndarray:
        """Segments `[n, segment_samples, ...]` to `[n, labels]`, with sums of 1.

        Raises:
            UserError: If the segments are not finite, far beyond full scale, or of
                another shape or type.
        """
        listening = Listening.of(self.audio, self.evaluate)
        waveforms = listening.checked_segments(waveforms)
        if not len(waveforms):
            return np.empty((0, len(self.labels)), np.float32)
        return _normalized(self.run(waveforms))

    def predict_files(
        self, paths: Iterable[str | Path] | str | Path
    ) -> list[dict[str, Any]]:
        """Classify files; a bad file has an error and ends nothing.

        Returns:
            For each file `file`, `label`, `probability` and `probabilities` (by
            label), or `file` and `error`.
        """
        if isinstance(paths, str | Path):
            paths = [paths]
        return [self._file(path) for path in paths]

    def _file(self, path: str | Path) -> dict[str, Any]:
        try:
            probabilities = self.predict(*self._read(path))
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
        }

    def _read(self, path: str | Path) -> tuple[np.ndarray, int]:
        """A file's waveform and its rate; without TensorFlow, of a WAV file."""
        try:
            from asc_tf.audio.read import read
        except ModuleNotFoundError:
            from asc_tf.edge import wav

            return wav.read(path, self.audio.max_seconds)
        # How training decoded does not matter here.
        return read(path, replace(self.audio, decoder="auto"))

    def predict_clips(
        self, waveforms: "Waveforms", evaluate: Evaluate
    ) -> ClipPredictions:
        """Run the segments of a part of the manifest and pool them to clips."""
        from asc_tf.pipeline import reading, segment_batches

        batches = segment_batches(waveforms, self.audio, evaluate)
        with reading():
            return _pooled(
                (
                    (self.predict_segments(row["waveform"].numpy()), row["clip"])
                    for row in batches
                ),
                waveforms.clips,
                evaluate,
            )


def predict_stored(
    path: Path, stored: StoredFeatures, split: str, evaluate: Evaluate
) -> ClipPredictions:
    """Run the best model of a run folder on stored features.

    Raises:
        UsageError: If the split is not stored.
        UserError: If the model or a file of the folder is damaged.
    """
    from asc_tf.checkpoint import load_whole
    from asc_tf.devices import allow_tensor_float_32

    allow_tensor_float_32(False)
    *_, frontend, body = load_whole(path).layers

    def run(features: np.ndarray) -> np.ndarray:
        found = body.predict_on_batch(frontend.standardize(features))
        return _normalized(found)

    rows = stored.batches(split, evaluate.batch_size)
    return _pooled(
        ((run(row["features"]), row["clip"]) for row in rows),
        stored.n_clips(split),
        evaluate,
    )


def _pooled(
    found: Iterable[tuple[np.ndarray, np.ndarray]], clips: int, evaluate: Evaluate
) -> ClipPredictions:
    """Probabilities and clips of the segments of batches, by segment and by clip."""
    probabilities, ids = map(np.concatenate, zip(*found, strict=True))
    pooled = segments.pool(probabilities, ids, clips, evaluate.pooling)
    return ClipPredictions(pooled, probabilities, ids)


def _normalized(probabilities: np.ndarray) -> np.ndarray:
    """Finite probabilities with sums of 1.

    Raises:
        UserError: If they are not finite.
    """
    if not np.isfinite(probabilities).all():
        raise UserError("the model gave probabilities that are not finite")
    # Float rounding; scikit-learn wants exact sums.
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def load(path: str | Path) -> Predictor:
    """Load a trained model.

    Args:
        path: A run folder, an export folder, a SavedModel or a .tflite.

    Returns:
        The predictor.

    Raises:
        UsageError: If there is no such file, or it is none of these.
        UserError: If the model is damaged.
    """
    quiet_tensorflow()
    path = Path(path).expanduser()
    if path.is_file() and path.suffix == ".tflite":
        return _load_tflite(path)
    for folder in (path, path / "1", path / "saved_model" / "1"):
        if (folder / "saved_model.pb").is_file():
            return _load_saved_model(folder)
    if (path / "config.toml").is_file():
        return load_workdir(path)
    if path.is_dir() and len(found := sorted(path.glob("*.tflite"))) == 1:
        return _load_tflite(found[0])
    found_here = "no such file" if not path.exists() else "none of these"
    raise UsageError(
        f"{path}: {found_here}; a model is a run folder, an export folder, a "
        "SavedModel or a .tflite"
    )


def load_workdir(path: str | Path) -> Predictor:
    """Load the best model of a run folder."""
    from asc_tf.checkpoint import load_whole
    from asc_tf.devices import allow_tensor_float_32
    from asc_tf.workdir import Workdir

    allow_tensor_float_32(False)
    workdir = Workdir(Path(path))
    config = workdir.config()
    model, labels = load_whole(workdir.require_model()), workdir.labels()
    if model.output_shape[-1] != len(labels):
        raise UserError(
            f"{workdir.labels_file}: {len(labels)} labels, but the model has "
            f"{model.output_shape[-1]}; restore the file or train again"
        )
    return Predictor(labels, config.audio, config.evaluate, model.predict_on_batch)


def _load_saved_model(path: Path) -> Predictor:
    import tensorflow as tf

    from asc_tf.devices import allow_tensor_float_32
    from asc_tf.edge.container import checked_labels, config_section

    allow_tensor_float_32(False)
    try:
        described = json.loads((path / METADATA).read_text(encoding="utf-8"))
        if not isinstance(described, dict) or "config" not in described:
            raise UserError(f"{METADATA} has no config")
        audio = Audio(**config_section(described, "audio"))
        evaluate = Evaluate(**config_section(described, "evaluate"))
        labels = checked_labels(described.get("labels"))
        model = tf.saved_model.load(str(path))
        serve = model.signatures["serving_default"]
        width = serve.structured_outputs["probabilities"].shape[-1]
        if len(labels) != width:
            raise UserError(f"{len(labels)} labels, but the model has {width}")
    except (
        *(OSError, LookupError, ValueError, TypeError, RecursionError),
        tf.errors.OpError,
    ) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{path}: not a SavedModel of asc-tf export, or damaged: {reason}"
        ) from error

    def run(waveforms: np.ndarray) -> np.ndarray:
        return serve(waveform=tf.constant(waveforms))["probabilities"].numpy()

    # A signature alone does not keep its model's variables alive.
    run.model = model  # type: ignore[attr-defined]
    return Predictor(labels, audio, evaluate, run)


def _load_tflite(path: Path) -> Predictor:
    from asc_tf.edge.container import config_section
    from asc_tf.edge.runtime import EdgeModel

    with without_notes():
        model = EdgeModel(path)
    metadata, rate = model.metadata, model.sample_rate
    try:
        trained = config_section(metadata.extra, "audio")
        audio = Audio(
            sample_rate=rate,
            segment_seconds=metadata.segment_samples / rate,
            hop_seconds=metadata.hop_samples / rate,
            max_seconds=trained.get("max_seconds", Audio.max_seconds),
            channels=metadata.channels,
            short_clips=metadata.short_clips,
        )
    except UserError as error:
        # A wrong value is no wrong usage of the command.
        raise UserError(f"{path}: {error}") from error
    evaluate = Evaluate(segments=metadata.segments, pooling=metadata.pooling)
    return Predictor(model.labels, audio, evaluate, model.predict_segments)
