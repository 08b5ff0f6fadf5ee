"""Manifest rows and probabilities to what report.json and predictions.csv hold."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from asc_tf.config import Config, Evaluate
from asc_tf.evaluation import metrics
from asc_tf.manifest import Clip, Manifest
from asc_tf.workdir import Workdir

if TYPE_CHECKING:
    from asc_tf.evaluation.predictor import ClipPredictions

SEGMENT_SCORES = ("accuracy", "micro_f1", "roc_auc", "log_loss")
"""Scores that are given for segments too."""

MAX_LABELS = 12
"""Labels that are named as incomplete."""


def score(
    manifest: Manifest, split: str | Sequence[str], probabilities: np.ndarray
) -> dict[str, Any]:
    """Compute the metrics of the clips of one or more splits; see `metrics.evaluate`.

    Clips without labels have no scores: see `metrics.without_labels`.
    """
    clips = manifest.clips_in(*([split] if isinstance(split, str) else split))
    if not all(clip.label for clip in clips):
        return metrics.without_labels(manifest.labels, probabilities)
    return metrics.evaluate(
        manifest.labels,
        truth_of(manifest.labels, clips),
        probabilities,
        devices=[clip.device for clip in clips],
        cities=[clip.city for clip in clips],
    )


def score_splits(
    manifest: Manifest, splits: Sequence[str], probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """The main scores of each part, where there are several."""
    rows = []
    first = 0
    for split in splits if len(splits) > 1 else ():
        end = first + len(manifest.clips_in(split))
        scores = score(manifest, split, probabilities[first:end])
        names = ("n_clips", "accuracy", "macro_accuracy", "log_loss")
        rows.append({"split": split} | {name: scores[name] for name in names})
        first = end
    return rows


def truth_of(labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
    """Label ids of clips: int64 `[clips]`."""
    ids = {label: index for index, label in enumerate(labels)}
    return np.array([ids[clip.label] for clip in clips])


def score_segments(
    labels: Sequence[str],
    clips: Sequence[Clip],
    predictions: "ClipPredictions",
    settings: Evaluate,
) -> dict[str, Any]:
    """Number of segments, how they are pooled, and scores of labelled ones."""
    described = {"which": settings.segments, "pooling": settings.pooling}
    counted = {"n_segments": len(predictions.segments)}
    if not all(clip.label for clip in clips):
        return counted | described
    truth = truth_of(labels, clips)[predictions.clip_ids]
    scores = metrics.evaluate(labels, truth, predictions.segments)
    return counted | {name: scores[name] for name in SEGMENT_SCORES} | described


def describe_left_out(manifest: Manifest, splits: Sequence[str]) -> str | None:
    """A sentence on the clips that a report lacks, by label; None if it has all."""
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


def prediction_rows(
    labels: Sequence[str], clips: Sequence[Clip], probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """A row of predictions.csv for each clip; probabilities are `[clips, labels]`."""
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
                "second": labels[second],
                "second_probability": float(values[second]),
                "identifier": clip.identifier,
                "city": clip.city,
                "device": clip.device,
            }
            | {f"p_{name}": float(p) for name, p in zip(labels, values, strict=True)}
        )
    return rows


def join_predictions(parts: Sequence["ClipPredictions"]) -> "ClipPredictions":
    """The predictions of several parts, one after the other."""
    from asc_tf.evaluation.predictor import ClipPredictions

    sizes = [len(part.clips) for part in parts]
    firsts = np.cumsum([0, *sizes[:-1]])
    ids = [part.clip_ids + first for part, first in zip(parts, firsts, strict=True)]
    return ClipPredictions(
        np.concatenate([part.clips for part in parts]),
        np.concatenate([part.segments for part in parts]),
        np.concatenate(ids),
    )


def kept_epoch(workdir: Workdir, config: Config) -> dict[str, Any] | None:
    """Find the epoch whose model `model.keras` is.

    Returns:
        `keep` (best or last), `epoch` and `epochs` (trained so far); None where the run
        has no history.
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


def describe_kept(kept: dict[str, Any] | None) -> list[str]:
    """A sentence on the epoch that `kept_epoch` gives, if it gives one."""
    if kept is None:
        return []
    why = {"best": "the one with the lowest validation loss", "last": "the last one"}
    return [
        f"The model is that of epoch {kept['epoch']} of {kept['epochs']}, "
        f"{why[kept['keep']]}."
    ]
