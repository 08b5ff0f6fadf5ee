"""Load the predictor of a run folder, an export folder, a SavedModel or a .tflite."""

import contextlib
import json
from pathlib import Path

import numpy as np

from asc_tf.config import Audio, Evaluate
from asc_tf.config.run_search import find_run, suggest_run
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.paths import expand_home
from asc_tf.core.tensorflow_start import prepare_tensorflow, suppress_notes
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.edge.tflite_metadata import PARTS
from asc_tf.evaluation.predictor import Predictor

REJECTED = ".rejected"
"""Suffix of the files of an export that did not agree with the Keras model."""

METADATA = Path("assets.extra") / "model.json"
"""File in an exported SavedModel with its labels and configuration."""


def load(path: str | Path) -> Predictor:
    """Load a trained model.

    Args:
        path: Run folder (or the model.keras in it), export folder, SavedModel or
            .tflite.

    Raises:
        UsageError: If there is no such file, or it is none of these.
        UserError: If the model is damaged.
    """
    prepare_tensorflow()
    path = expand_home(path)
    path = find_run(path) or path
    if path.is_file() and path.suffix == ".tflite":
        return _load_tflite(path)
    for folder in (path, path / "1", path / "saved_model" / "1"):
        if (folder / "saved_model.pb").is_file():
            return _load_saved_model(folder)
    if (path / "config.toml").is_file():
        return load_workdir(path)
    if path.is_dir() and len(files := _list_tflite(path)) == 1:
        return _load_tflite(files[0])
    if rejected := _list_rejected(path):
        raise UsageError(_describe_rejected(path, rejected))
    reason = "no such file" if not path.exists() else "no model"
    raise UsageError(
        f"{path}: {reason}; a model is a run folder, an export folder, a SavedModel or "
        f"a .tflite{_suggest_model(path)}"
    )


def _list_tflite(folder: Path) -> list[Path]:
    """List the .tflite files of a folder, without front-ends and bodies alone."""
    parts = tuple(f"_{part}" for part in PARTS)
    files = sorted(folder.glob("*.tflite"))
    return [path for path in files if not path.stem.endswith(parts)]


def _list_rejected(path: Path) -> list[Path]:
    """List the rejected files of an export folder that has no other model."""
    if path.name.endswith(REJECTED) and path.exists():
        return [path]
    has_model = any(path.glob("*.tflite"))
    return [] if has_model else sorted(path.glob(f"*{REJECTED}"))


def _describe_rejected(path: Path, rejected: list[Path]) -> str:
    """Say why there is no model to load, with the reasons of export.json."""
    reasons: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
        text = (rejected[0].parent / "export.json").read_text(encoding="utf-8")
        for row in json.loads(text)["rejected"].values():
            reasons[row["file"]] = row["reason"]
    files = "; ".join(
        f"{file.name} ({reasons.get(file.name, 'see export.json')})"
        for file in rejected
    )
    return (
        f"{path}: no model to use: asc-tf export rejected {files}. Export again with "
        "other --formats, or give the run folder as --model"
    )


def _suggest_model(path: Path) -> str:
    """Suggest models for a path without one, as the end of a sentence."""
    if path.suffix == ".keras" and path.is_file():
        return "; outside its run folder a .keras file lacks its settings and labels"
    if path.is_dir() and (files := _list_tflite(path)):
        return f"; did you mean {' or '.join(map(str, files))}?"
    return suggest_run(path)


def load_workdir(path: str | Path) -> Predictor:
    """Load the model of a run folder.

    Raises:
        UserError: If a file of the folder is missing or damaged.
    """
    from asc_tf.models.precision import allow_tensor_float_32
    from asc_tf.training.model_file import load_whole
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
    preprocessing = Preprocessing.from_config(config.audio, config.evaluate)
    return Predictor(labels, preprocessing, model.predict_on_batch)


def _load_saved_model(path: Path) -> Predictor:
    import tensorflow as tf

    from asc_tf.edge.tflite_metadata import check_labels, read_config_section
    from asc_tf.models.precision import allow_tensor_float_32

    allow_tensor_float_32(False)
    try:
        described = json.loads((path / METADATA).read_text(encoding="utf-8"))
        if not isinstance(described, dict) or "config" not in described:
            raise UserError(f"{METADATA} has no config")
        preprocessing = Preprocessing.from_config(
            Audio(**read_config_section(described, "audio")),
            Evaluate(**read_config_section(described, "evaluate")),
        )
        labels = check_labels(described.get("labels"))
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

    def predict_batch(waveforms: np.ndarray) -> np.ndarray:
        return serve(waveform=tf.constant(waveforms))["probabilities"].numpy()

    # A signature alone does not keep its model's variables alive.
    predict_batch.model = model  # type: ignore[attr-defined]
    return Predictor(labels, preprocessing, predict_batch)


def _load_tflite(path: Path) -> Predictor:
    from asc_tf.edge.runtime import EdgeModel

    with suppress_notes():
        model = EdgeModel(path)
    return Predictor(model.labels, model.metadata.preprocessing, model.predict_segments)
