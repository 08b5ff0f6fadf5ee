"""Content of report.json and predictions.csv: scores, predictions and notes."""

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asc_tf.config import Config, Evaluate
from asc_tf.core.environment import describe_environment
from asc_tf.datasets.dcase import DEVICE_CORPORA, DEVICE_GROUPS
from asc_tf.evaluation import metrics
from asc_tf.evaluation.validation import ValidationFit, score_fit
from asc_tf.manifest import Clip, Manifest
from asc_tf.workdir import Workdir

if TYPE_CHECKING:
    from asc_tf.evaluation.predictor import ClipPredictions

MAIN_SCORES = ("n_clips", "accuracy", "macro_accuracy", "log_loss", "intervals")
"""Scores of each of several splits."""

SEGMENT_SCORES = (
    *("accuracy", "macro_accuracy", "log_loss", "intervals", "micro_f1", "roc_auc"),
    *("kappa", "top_k_accuracy", "map_at_3", "map_at_k"),
)
"""Scores that are reported for segments too."""

SEGMENT_GROUPS = ("per_device", "per_device_group", "per_city")
"""Tables that are reported for segments too."""

MAX_LABELS = 12
"""Largest number of labels that are named as incomplete."""


def score(
    manifest: Manifest, split: str | Sequence[str], probabilities: np.ndarray
) -> dict[str, Any]:
    """Compute the metrics of the clips of one or more splits.

    See `metrics.compute_metrics`, and `metrics.summarize_unlabelled` for clips without
    labels.
    """
    clips = manifest.clips_in(*([split] if isinstance(split, str) else split))
    if not all(clip.label for clip in clips):
        return metrics.summarize_unlabelled(manifest.labels, probabilities)
    truth = get_label_ids(manifest.labels, clips)
    names = _name_groups(manifest, clips)
    return metrics.compute_metrics(manifest.labels, truth, probabilities, **names)


def _name_groups(manifest: Manifest, clips: Sequence[Clip]) -> dict[str, list[str]]:
    """Name device, city, group of devices and recording of each clip."""
    return {
        "devices": [clip.device for clip in clips],
        "cities": [clip.city for clip in clips],
        "device_groups": group_devices(manifest, [clip.device for clip in clips]),
        "recordings": [clip.identifier for clip in clips],
    }


def group_devices(manifest: Manifest, devices: Sequence[str]) -> list[str]:
    """Name the group of the device of each clip, as the DCASE tasks do.

    Returns:
        `real`, `seen` or `unseen`; all empty where the corpus has other devices, or
        the training split does not have the seen ones and not the unseen ones.
    """
    trained = {clip.device for clip in manifest.clips if clip.split == "train"}
    groups = [DEVICE_GROUPS.get(device, "") for device in devices]
    holds = all(
        (device in trained) == (group != "unseen")
        for device, group in zip(devices, groups, strict=True)
        if group
    )
    is_known = manifest.protocol.get("corpus") in DEVICE_CORPORA
    return groups if is_known and holds else [""] * len(devices)


def score_splits(
    manifest: Manifest, splits: Sequence[str], probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """Compute the main scores of each split, if there are several."""
    rows = []
    first = 0
    for split in splits if len(splits) > 1 else ():
        end = first + len(manifest.clips_in(split))
        scores = score(manifest, split, probabilities[first:end])
        rows.append({"split": split} | {name: scores[name] for name in MAIN_SCORES})
        first = end
    return rows


def get_label_ids(labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
    """Return the label ids of clips, int64 `[clips]`."""
    ids = {label: index for index, label in enumerate(labels)}
    return np.array([ids[clip.label] for clip in clips])


def score_segments(
    manifest: Manifest,
    clips: Sequence[Clip],
    predictions: "ClipPredictions",
    settings: Evaluate,
) -> dict[str, Any]:
    """Count the segments, score them if they have labels, and name their pooling."""
    described = {"which": settings.segments, "pooling": settings.pooling}
    if settings.overlap:
        described["overlap"] = f"{settings.overlap:.1%}".replace("%", " %")
    count = {"n_segments": len(predictions.segments)}
    if not all(clip.label for clip in clips):
        return count | described
    of_segment = [clips[index] for index in predictions.clip_ids]
    scores = metrics.compute_metrics(
        manifest.labels,
        get_label_ids(manifest.labels, of_segment),
        predictions.segments,
        **_name_groups(manifest, of_segment),
    )
    groups = {
        name: [_count_as_segments(row) for row in scores[name]]
        for name in SEGMENT_GROUPS
    }
    chosen = {name: scores[name] for name in (*SEGMENT_SCORES, "calibration")}
    return count | chosen | groups | described


def _count_as_segments(row: dict[str, Any]) -> dict[str, Any]:
    return {"n_segments" if key == "n_clips" else key: row[key] for key in row}


def add_fit(
    report: dict[str, Any],
    fit: ValidationFit | None,
    clips: Sequence[Clip],
    predictions: "ClipPredictions",
    settings: Evaluate,
) -> dict[str, Any]:
    """Add the effect of temperature and threshold to a report.

    Args:
        report: Content of report.json.
        fit: Temperature and threshold; None: there are none, and nothing is added.
        clips: Clips of the report.
        predictions: Their predictions.
        settings: Settings of pooling.

    Returns:
        The content with `calibration`, `unknown` and `segments` completed.
    """
    if fit is None:
        return report
    truth = get_label_ids(report["labels"], clips) if report["has_labels"] else None
    found = score_fit(fit, truth, predictions, settings.pooling)
    by_segment = dict(report["segments"])
    if truth is not None:
        by_segment["calibration"] = by_segment["calibration"] | found["segments"]
    return report | {
        "calibration": report["calibration"] | found["calibration"],
        "unknown": found["unknown"],
        "segments": by_segment,
    }


def describe_origin(config: Config) -> dict[str, Any]:
    """Collect the provenance of a report: settings, command, time, environment."""
    settings = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in config.flat().items()
    }
    environment = describe_environment()
    program, *arguments = environment.pop("command")
    name = Path(program).name
    shown = "python -m asc_tf.cli" if name == "cli.py" else shlex.quote(name)
    return {
        "settings": settings,
        "command": f"{shown} {shlex.join(arguments)}".rstrip(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment,
    }


def describe_left_out(manifest: Manifest, splits: Sequence[str]) -> str | None:
    """Describe how many clips a report lacks, by label; None if it has all."""
    listed = [c for c in manifest.clips if c.split in splits and not c.is_dropped]
    lost = [clip for clip in listed if clip.reason]
    if not lost:
        return None
    whole = Counter(clip.label for clip in listed)
    lacking = Counter(clip.label for clip in lost)
    shown = ", ".join(
        f"{label or 'clips without a label'} {count} of {whole[label]}"
        for label, count in lacking.most_common(MAX_LABELS)
    )
    more = ", ..." if len(lacking) > MAX_LABELS else ""
    return (
        f"{len(lost)} of {len(listed)} {' and '.join(splits)} clips are missing or "
        f"cannot be used and are not in the scores ({shown}{more})"
    )


def make_prediction_rows(
    labels: Sequence[str],
    clips: Sequence[Clip],
    probabilities: np.ndarray,
    threshold: float | None = None,
) -> list[dict[str, Any]]:
    """Make a row of predictions.csv for each clip.

    Args:
        labels: Class order.
        clips: Clips.
        probabilities: Probabilities, `[clips, labels]`.
        threshold: Top probability below which a clip is `unknown`: 1, else 0; None: the
            column is empty.
    """
    rows = []
    for clip, values in zip(clips, probabilities, strict=True):
        best, second = np.argsort(-values, kind="stable")[:2]
        rows.append(
            {
                "file": clip.path,
                "split": clip.split,
                "start": clip.start,
                "label": clip.label,
                "predicted": labels[best],
                "probability": float(values[best]),
                "unknown": "" if threshold is None else int(values[best] < threshold),
                "second": labels[second],
                "second_probability": float(values[second]),
                "identifier": clip.identifier,
                "city": clip.city,
                "device": clip.device,
            }
            | {f"p_{name}": float(p) for name, p in zip(labels, values, strict=True)}
        )
    return rows


def join_predictions(splits: Sequence["ClipPredictions"]) -> "ClipPredictions":
    """Concatenate the predictions of several splits."""
    from asc_tf.evaluation.predictor import ClipPredictions

    sizes = [len(each.clips) for each in splits]
    firsts = np.cumsum([0, *sizes[:-1]])
    ids = [each.clip_ids + first for each, first in zip(splits, firsts, strict=True)]
    return ClipPredictions(
        np.concatenate([each.clips for each in splits]),
        np.concatenate([each.segments for each in splits]),
        np.concatenate(ids),
    )


def find_model_epoch(workdir: Workdir, config: Config) -> dict[str, Any] | None:
    """Find the epoch of the model in `model.keras`.

    Returns:
        `keep` (best or last), `epoch` and `epochs` (number of trained ones); None if
        the run has no history.
    """
    from asc_tf.report.history import read_history
    from asc_tf.training.model_file import select_row

    if not workdir.history_file.is_file():
        return None
    columns = read_history(workdir.history_file)
    rows = [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]
    row = select_row(rows, config.train.keep)
    if row is None:
        return None
    return {
        "keep": config.train.keep,
        "epoch": int(row["epoch"]),
        "epochs": int(rows[-1]["epoch"]),
    }


def describe_model_epoch(epoch: dict[str, Any] | None) -> list[str]:
    """Describe the result of `find_model_epoch` in a sentence, if there is one."""
    if epoch is None:
        return []
    why = {"best": "the one with the lowest validation loss", "last": "the last one"}
    return [
        f"The model is that of epoch {epoch['epoch']} of {epoch['epochs']}, "
        f"{why[epoch['keep']]}."
    ]
