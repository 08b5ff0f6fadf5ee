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
        "top_k_accuracy": _compute_top_k(truth, probabilities),
        "map_at_3": precisions["3"],
        "map_at_k": precisions,
    }


def find_places(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Find the place of the true label of each clip, from 1: int64 `[clips]`."""
    return 1 + _rank(probabilities)[np.arange(len(truth)), truth]


def _rank(probabilities: np.ndarray) -> np.ndarray:
    """Rank the labels of each clip, 0 for the most probable one."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return np.argsort(order, axis=1)


def _compute_top_k(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import top_k_accuracy_score

    n_labels = probabilities.shape[1]
    # scikit-learn puts the last of equal scores first; ranks have no equals.
    ranks = _rank(probabilities)
    scores = ranks[:, 0] - ranks[:, 1] if n_labels == 2 else -ranks
    return {
        str(k): float(top_k_accuracy_score(truth, scores, k=k, labels=range(n_labels)))
        for k in TOP_K
        if k < n_labels
    }


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
