"""Scores of a classifier, computed from arrays.

The rows of the arrays are clips, whose probabilities have been pooled from segments, or
the segments themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from asc_tf.evaluation.arrays import (
    check_labels,
    check_names,
    check_probabilities,
    check_truth,
)
from asc_tf.evaluation.calibration import N_BINS, measure_calibration
from asc_tf.evaluation.groups import (
    Row,
    compute_log_loss,
    score_groups,
    score_overall,
)
from asc_tf.evaluation.intervals import bootstrap_intervals
from asc_tf.evaluation.rankings import score_rankings

DEVICE_GROUPS = ("real", "seen", "unseen")
"""Groups of devices of the DCASE tasks, in the order of their tables."""

SCORES = (
    *("accuracy", "macro_accuracy", "log_loss", "intervals", "micro_f1", "roc_auc"),
    *("kappa", "top_k_accuracy", "map_at_3", "map_at_k"),
)
"""Scores that need true labels."""

NOT_CALIBRATED: dict[str, None] = {"temperature": None, "calibrated": None}
"""Values of `calibration` that need a validation split, without one."""


def compute_metrics(
    labels: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    *,
    devices: Sequence[str] | None = None,
    cities: Sequence[str] | None = None,
    device_groups: Sequence[str] | None = None,
    recordings: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Compute the scores of clips whose true labels are known.

    Args:
        labels: Labels in the order of the model's outputs; two or more, unique.
        truth: True label ids, integers `[clips]` in [0, number of labels).
        probabilities: Finite and not negative, `[clips, labels]`; each row sums to 1
            within 1e-3 and is scaled to sum to exactly 1 before the log loss.
        devices: Recording device of each clip, empty where unknown.
        cities: City of each clip, empty where unknown.
        device_groups: Group of the device of each clip, one of `DEVICE_GROUPS`; empty
            where it is in none.
        recordings: Identifier of the recording of each clip; without them there are no
            confidence intervals.

    Returns:
        Plain Python values that `json.dumps(allow_nan=False)` accepts. The section "A
        report" of docs/architecture.md describes each key. `unknown`, and the keys of
        `NOT_CALIBRATED` in `calibration`, are None: they need a validation split.

    Raises:
        ValueError: If an argument has the wrong shape, type or values; the message
            names the argument and what was received.
    """
    labels = check_labels(labels)
    truth = check_truth(truth, len(labels))
    probabilities = check_probabilities(probabilities, len(truth), len(labels))
    named = {"devices": devices, "device_groups": device_groups, "cities": cities}
    intervals = None
    if recordings is not None:
        intervals = bootstrap_intervals(labels, truth, probabilities, recordings)
    return {
        "n_clips": len(truth),
        "has_labels": True,
        **score_overall(truth, probabilities),
        "intervals": intervals,
        **score_rankings(truth, probabilities),
        "calibration": measure_calibration(truth, probabilities) | NOT_CALIBRATED,
        "unknown": None,
        "per_class": _score_classes(labels, truth, probabilities),
        **_score_tables(named, truth, probabilities),
        "confusion_matrix": _count_confusions(truth, probabilities),
        "labels": labels,
    }


def summarize_unlabelled(
    labels: Sequence[str], probabilities: np.ndarray
) -> dict[str, Any]:
    """Summarize the predictions of clips whose true labels are unknown.

    Returns:
        The keys of `compute_metrics`, with None for scores and confusion matrix, empty
        lists for the tables, `has_labels` False, and `n_predicted`: the number of clips
        for which each label is the most probable one, by label.

    Raises:
        ValueError: As `compute_metrics` does.
    """
    labels = check_labels(labels)
    probabilities = check_probabilities(probabilities, len(probabilities), len(labels))
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(labels)).tolist()
    return {
        "n_clips": len(probabilities),
        "has_labels": False,
        **dict.fromkeys(SCORES),
        "calibration": {"ece": None, "n_bins": N_BINS, "bins": [], **NOT_CALIBRATED},
        "unknown": None,
        "per_class": [],
        "per_device": [],
        "per_device_group": [],
        "per_city": [],
        "confusion_matrix": None,
        "n_predicted": dict(zip(labels, counts, strict=True)),
        "labels": labels,
    }


def _score_tables(
    named: Mapping[str, Sequence[str] | None],
    truth: np.ndarray,
    probabilities: np.ndarray,
) -> dict[str, list[Row]]:
    """Compute the main scores of each device, group of devices and city."""
    tables = {}
    for parameter, key, order in (
        ("devices", "device", None),
        ("device_groups", "device_group", DEVICE_GROUPS),
        ("cities", "city", None),
    ):
        names = check_names(parameter, named[parameter], len(truth))
        tables[f"per_{key}"] = score_groups(key, names, truth, probabilities, order)
    return tables


def _score_classes(
    labels: list[str], truth: np.ndarray, probabilities: np.ndarray
) -> list[dict[str, Any]]:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, n_clips = precision_recall_fscore_support(
        truth,
        probabilities.argmax(axis=1),
        labels=np.arange(len(labels)),
        zero_division=0.0,
    )
    rows = []
    for index, label in enumerate(labels):
        row: dict[str, Any] = {"label": label, "n_clips": int(n_clips[index])}
        scores = dict.fromkeys(("accuracy", "precision", "recall", "f1", "log_loss"))
        if row["n_clips"]:
            own = truth == index
            scores = {
                "accuracy": float(recall[index]),
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "log_loss": compute_log_loss(truth[own], probabilities[own]),
            }
        rows.append(row | scores)
    return rows


def _count_confusions(
    truth: np.ndarray, probabilities: np.ndarray
) -> dict[str, list[list[Any]]]:
    from sklearn.metrics import confusion_matrix

    ids = np.arange(probabilities.shape[1])
    counts = confusion_matrix(truth, probabilities.argmax(axis=1), labels=ids).tolist()
    normalized = [
        [count / sum(row) if sum(row) else None for count in row] for row in counts
    ]
    return {"counts": counts, "row_normalized": normalized}
