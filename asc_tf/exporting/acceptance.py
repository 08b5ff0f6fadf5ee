"""Exported files are run beside the Keras model before they are accepted."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.core.files import DiskFullError, count_bytes, hash_path
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.edge.container import FORMAT_VERSION
from asc_tf.evaluation.evaluate import predict_split, scan_splits
from asc_tf.evaluation.predictor import Predictor, load
from asc_tf.evaluation.scoring import score
from asc_tf.manifest import Manifest, pick_evenly
from asc_tf.workdir import Workdir, describe_environment

FILES = {
    "saved_model": "saved_model/1",
    "float32": "float32.tflite",
    "int8": "int8.tflite",
}
"""The file of each format in an export folder."""

REJECTED = ".rejected"
"""What is added to the name of a file that is not accepted."""

MAX_FLOAT_DIFFERENCE = 1e-3
"""Largest accepted difference of the probabilities of a float file and Keras."""

WARM_UP, LATENCY_RUNS = 5, 50


def measure(
    model: Any,
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    split: str,
    folder: Path,
    missing: str,
) -> dict[str, Any]:
    """Run every file of an export folder beside Keras.

    Args:
        model: The Keras model.
        config: The configuration.
        workdir: The run folder.
        manifest: The table, with the clips of `split` scanned.
        split: The split that files have to agree on; the test part is reported too.
        folder: The export folder. A file that is rejected is renamed.
        missing: The reason why a format has no file.

    Returns:
        The content of export.json.
    """
    from asc_tf.models.cost import macs

    chosen = tuple(pick_evenly(manifest.clips_in(split), config.export.check_clips))
    parts = {split: dataclasses.replace(manifest, clips=chosen)}
    try:
        parts["test"] = scan_splits(config, workdir, "test")
    except DiskFullError:
        raise
    except UserError as error:
        print(f"no figures on the test part: {error}", file=sys.stderr)
    keras_model = load(workdir.path)
    wanted = {
        name: predict_split(keras_model, config, workdir, part, name).clips
        for name, part in parts.items()
    }
    described: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "model": config.model.name,
        "parameters": model.count_params(),
        "macs": macs(model),
        "macs_note": "one segment, without the front-end",
        "environment": {
            k: v for k, v in describe_environment().items() if k != "command"
        },
        "keras": {
            name: {
                "n_clips": len(found),
                "accuracy": score(parts[name], name, found)["accuracy"],
            }
            for name, found in wanted.items()
        },
        "formats": {},
        "rejected": {},
    }
    for name in config.export.formats:
        row = {"file": "", "reason": missing}
        if (folder / FILES[name]).exists():
            row = _check_file(name, folder, config, workdir, parts, wanted)
        described["rejected" if "reason" in row else "formats"][name] = row
    return described


def _check_file(
    name: str,
    folder: Path,
    config: Config,
    workdir: Workdir,
    parts: dict[str, Manifest],
    wanted: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Size, scores and latency of a file; with a `reason` where it is rejected.

    The first of `parts` decides. A rejected file is renamed.
    """
    path = folder / FILES[name]
    row: dict[str, Any] = {"file": FILES[name], "bytes": count_bytes(path)}
    row["sha256"] = hash_path(path)
    try:
        predictor = load(path)
        for split, manifest in parts.items():
            found = predict_split(predictor, config, workdir, manifest, split).clips
            row[split] = _compare(manifest, split, found, wanted[split])
        row["latency_ms"] = _measure_latency(predictor)
        split = next(iter(parts))
        reason = _reason_to_reject(name, row[split], split, config)
    except DiskFullError:
        raise
    except UserError as error:
        reason = str(error).replace(f"{path}: ", "")
    if reason:
        path.rename(f"{path}{REJECTED}")
        row |= {"file": FILES[name] + REJECTED, "reason": reason}
    return row


def _compare(
    manifest: Manifest, split: str, found: np.ndarray, wanted: np.ndarray
) -> dict[str, Any]:
    scores = score(manifest, split, found)
    same = found.argmax(axis=1) == wanted.argmax(axis=1)
    return {
        "n_clips": len(found),
        "accuracy": scores["accuracy"],
        "log_loss": scores["log_loss"],
        "agreement": float(same.mean()),
        "max_difference": float(np.abs(found - wanted).max()),
    }


def _reason_to_reject(
    name: str, row: dict[str, Any], split: str, config: Config
) -> str:
    """The reason why a file does not agree with Keras; empty if it does."""
    if name != "int8" and row["max_difference"] > MAX_FLOAT_DIFFERENCE:
        return (
            f"probabilities differ from Keras by {row['max_difference']:.1e} on "
            f"{split} clips, more than {MAX_FLOAT_DIFFERENCE:.0e}"
        )
    if row["agreement"] < config.export.min_agreement:
        return (
            f"agrees with Keras on {row['agreement']:.1%} of {row['n_clips']} "
            f"{split} clips, less than export.min_agreement = "
            f"{config.export.min_agreement:.1%}; more export.calibration_segments may "
            "help, or leave it out of --formats"
        )
    return ""


def _measure_latency(predictor: Predictor) -> dict[str, float]:
    """Median and 95th percentile of the time for one segment of silence, ms."""
    shape = Preprocessing.from_config(predictor.audio, predictor.evaluate).segment_shape
    segment = np.zeros([1, *shape], np.float32)
    times = []
    for _ in range(WARM_UP + LATENCY_RUNS):
        began = time.perf_counter()
        predictor.predict_segments(segment)
        times.append(1000 * (time.perf_counter() - began))
    p50, p95 = np.percentile(times[WARM_UP:], [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
