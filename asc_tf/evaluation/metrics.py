"""Scores of a classifier, computed from arrays.

The rows of the arrays are clips, whose probabilities have been pooled from segments, or
the segments themselves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from asc_tf.evaluation.arrays import (
    check_labels,
    check_names,
    check_probabilities,
    check_truth,
)


def compute_metrics(
    labels: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    *,
    devices: Sequence[str] | None = None,
    cities: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Compute the scores of clips whose true labels are known.

    Args:
        labels: Labels in the order of the model's outputs; two or more, unique.
        truth: True label ids, integers `[clips]` in [0, number of labels).
        probabilities: Finite and not negative, `[clips, labels]`; each row sums to 1
            within 1e-3 and is scaled to sum to exactly 1 before the log loss.
        devices: Recording device of each clip, empty where unknown.
        cities: City of each clip, empty where unknown.

    Returns:
        Plain Python values that `json.dumps(allow_nan=False)` accepts:

        - `n_clips`, `has_labels` (True).
        - `accuracy`: Share of clips whose most probable label (the first one, if there
          is a tie) is the true one, 0 to 1.
        - `macro_accuracy`: Mean of the accuracies of the classes that have clips, the
          headline score of the DCASE tasks of scene classification.
        - `log_loss`: Mean cross-entropy in nats. Probabilities are clipped to the
          machine epsilon of float64, so that a clip adds at most 36.04.
        - `micro_f1`: F1 score of all decisions together. It equals the accuracy where
          each clip has one label; published tables name both.
        - `roc_auc`: Mean over the labels that have clips of the area under the ROC
          curve of the label against all others; None if all clips have one label.
        - `map_at_3`: Mean average precision of the three most probable labels: 1, 1/2
          or 1/3 where the true label is the first, second or third, else 0.
        - `per_class`: One dict per label with `label`, `n_clips`, `accuracy`,
          `precision`, `recall`, `f1`, `log_loss`. The accuracy of a class is its
          recall, as DCASE reports it. All scores of a class without clips are None; the
          precision of a class with clips that was never predicted is 0.
        - `per_device`, `per_city`: One dict per name, sorted by name, with `device` or
          `city`, `n_clips`, `accuracy`, `macro_accuracy`, `log_loss`. Clips without a
          name form the group ''; if no clip has a name the list is empty.
        - `confusion_matrix`: `counts` and `row_normalized`, lists of rows; rows are the
          true labels and columns the predicted ones. The normalized row of a class
          without clips is all None.
        - `labels`.

    Raises:
        ValueError: If an argument has the wrong shape, type or values; the message
            names the argument and what was received.
    """
    labels = check_labels(labels)
    truth = check_truth(truth, len(labels))
    probabilities = check_probabilities(probabilities, len(truth), len(labels))
    groups = {
        "device": check_names("devices", devices, len(truth)),
        "city": check_names("cities", cities, len(truth)),
    }
    return {
        "n_clips": len(truth),
        "has_labels": True,
        **_score_overall(truth, probabilities),
        **_score_rankings(truth, probabilities),
        "per_class": _score_classes(labels, truth, probabilities),
        "per_device": _score_groups("device", groups["device"], truth, probabilities),
        "per_city": _score_groups("city", groups["city"], truth, probabilities),
        "confusion_matrix": _count_confusions(truth, probabilities),
        "labels": labels,
    }


def summarize_unlabelled(
    labels: Sequence[str], probabilities: np.ndarray
) -> dict[str, Any]:
    """Summarize the predictions of clips whose true labels are unknown.

    Args:
        labels: Labels, as for `compute_metrics`.
        probabilities: Probabilities, as for `compute_metrics`.

    Returns:
        The keys of `compute_metrics`, with None for scores and confusion matrix, empty
        lists for the tables, `has_labels` False, and `n_predicted`: the number of clips
        for which each label is the most probable one, by label.

    Raises:
        ValueError: As `compute_metrics` does.
    """
    labels = check_labels(labels)
    probabilities = check_probabilities(probabilities, len(probabilities), len(labels))
    scores = ("accuracy", "macro_accuracy", "log_loss", "micro_f1", "roc_auc")
    counts = np.bincount(probabilities.argmax(axis=1), minlength=len(labels)).tolist()
    return {
        "n_clips": len(probabilities),
        "has_labels": False,
        **dict.fromkeys((*scores, "map_at_3")),
        "per_class": [],
        "per_device": [],
        "per_city": [],
        "confusion_matrix": None,
        "n_predicted": dict(zip(labels, counts, strict=True)),
        "labels": labels,
    }


def _score_overall(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, recall_score

    predicted = probabilities.argmax(axis=1)
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        # balanced_accuracy_score would warn of each label that a group of clips lacks,
        # which is normal here.
        "macro_accuracy": float(
            recall_score(truth, predicted, labels=np.unique(truth), average="macro")
        ),
        "log_loss": _compute_log_loss(truth, probabilities),
    }


def _score_rankings(
    truth: np.ndarray, probabilities: np.ndarray
) -> dict[str, float | None]:
    from sklearn.metrics import f1_score, roc_auc_score

    present = np.unique(truth)
    own = truth[:, np.newaxis] == present
    area = (
        float(roc_auc_score(own, probabilities[:, present], average="macro"))
        if len(present) > 1
        else None
    )
    # A stable sort resolves ties in favour of the first label, as the accuracy does.
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :3]
    hits = order == truth[:, np.newaxis]
    return {
        "micro_f1": float(f1_score(truth, order[:, 0], average="micro")),
        "roc_auc": area,
        "map_at_3": float((hits / np.arange(1, hits.shape[1] + 1)).sum(axis=1).mean()),
    }


def _compute_log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    from sklearn.metrics import log_loss

    # With `labels`, scikit-learn accepts clips that do not cover every class.
    ids = np.arange(probabilities.shape[1])
    return float(log_loss(truth, probabilities, labels=ids))


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
                "log_loss": _compute_log_loss(truth[own], probabilities[own]),
            }
        rows.append(row | scores)
    return rows


def _score_groups(
    key: str, names: np.ndarray, truth: np.ndarray, probabilities: np.ndarray
) -> list[dict[str, Any]]:
    if not any(names):
        return []
    rows = []
    for name in sorted(set(names)):
        own = names == name
        scores = _score_overall(truth[own], probabilities[own])
        rows.append({key: str(name), "n_clips": int(own.sum()), **scores})
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
