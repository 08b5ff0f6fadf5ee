"""Content of report.json and predictions.csv: scores, predictions and notes."""

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
"""Scores that are reported for segments too."""

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
    return metrics.compute_metrics(
        manifest.labels,
        get_label_ids(manifest.labels, clips),
        probabilities,
        devices=[clip.device for clip in clips],
        cities=[clip.city for clip in clips],
    )


def score_splits(
    manifest: Manifest, splits: Sequence[str], probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """Compute the main scores of each split, if there are several."""
    rows = []
    first = 0
    for split in splits if len(splits) > 1 else ():
        end = first + len(manifest.clips_in(split))
        scores = score(manifest, split, probabilities[first:end])
        names = ("n_clips", "accuracy", "macro_accuracy", "log_loss")
        rows.append({"split": split} | {name: scores[name] for name in names})
        first = end
    return rows


def get_label_ids(labels: Sequence[str], clips: Sequence[Clip]) -> np.ndarray:
    """Return the label ids of clips, int64 `[clips]`."""
    ids = {label: index for index, label in enumerate(labels)}
    return np.array([ids[clip.label] for clip in clips])


def score_segments(
    labels: Sequence[str],
    clips: Sequence[Clip],
    predictions: "ClipPredictions",
    settings: Evaluate,
) -> dict[str, Any]:
    """Count the segments, score them if they have labels, and name their pooling."""
    described = {"which": settings.segments, "pooling": settings.pooling}
    count = {"n_segments": len(predictions.segments)}
    if not all(clip.label for clip in clips):
        return count | described
    truth = get_label_ids(labels, clips)[predictions.clip_ids]
    scores = metrics.compute_metrics(labels, truth, predictions.segments)
    return count | {name: scores[name] for name in SEGMENT_SCORES} | described


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
    labels: Sequence[str], clips: Sequence[Clip], probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """Make a row of predictions.csv for each clip.

    Args:
        labels: Class order.
        clips: Clips.
        probabilities: Probabilities, `[clips, labels]`.
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
