"""Scores of the order of the labels: top-k accuracy, average precision, ROC area.

Of equally probable labels the first one comes first, as in the accuracy.
"""

from typing import Any

import numpy as np

TOP_K = (1, 3, 5)
"""Numbers of labels of the top-k accuracy, where the model has more labels."""

MAP_K = (3, 5)
"""Numbers of labels of the mean average precision."""


def score_rankings(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Compute the scores of `metrics.compute_metrics` that depend on the order.

    Args:
        truth: Label ids, int64 `[clips]`.
        probabilities: Probabilities, float64 `[clips, labels]`.

    Returns:
        `micro_f1`, `roc_auc`, `kappa`, `top_k_accuracy`, `map_at_3` and `map_at_k`.
    """
    from sklearn.metrics import f1_score

    predicted = probabilities.argmax(axis=1)
    places = find_places(truth, probabilities)
    precisions = {
        str(k): float(np.where(places <= k, 1 / places, 0).mean()) for k in MAP_K
    }
    return {
        "micro_f1": float(f1_score(truth, predicted, average="micro")),
        "roc_auc": _compute_roc_area(truth, probabilities),
        "kappa": _compute_kappa(truth, predicted),
        "top_k_accuracy": {
            str(k): float((places <= k).mean())
            for k in TOP_K
            if k < probabilities.shape[1]
        },
        "map_at_3": precisions["3"],
        "map_at_k": precisions,
    }


def find_places(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Find the place of the true label of each clip, from 1: int64 `[clips]`."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return 1 + np.argmax(order == truth[:, np.newaxis], axis=1)


def _compute_kappa(truth: np.ndarray, predicted: np.ndarray) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    # Agreement by chance is certain where all labels, true and predicted, are one.
    if len(np.union1d(truth, predicted)) == 1:
        return None
    return float(cohen_kappa_score(truth, predicted))


def _compute_roc_area(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    present = np.unique(truth)
    if len(present) == 1:
        return None
    own = truth[:, np.newaxis] == present
    return float(roc_auc_score(own, probabilities[:, present], average="macro"))
