"""Main scores of all clips, and of the clips of each device or city."""

from collections.abc import Sequence

import numpy as np

Row = dict[str, str | int | float]


def score_overall(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute `accuracy`, `macro_accuracy` and `log_loss`.

    Args:
        truth: Label ids, int64 `[clips]`.
        probabilities: Probabilities, float64 `[clips, labels]`.
    """
    from sklearn.metrics import accuracy_score, recall_score

    predicted = probabilities.argmax(axis=1)
    return {
        "accuracy": float(accuracy_score(truth, predicted)),
        # balanced_accuracy_score would warn of each label that a group of clips lacks,
        # which is normal here.
        "macro_accuracy": float(
            recall_score(truth, predicted, labels=np.unique(truth), average="macro")
        ),
        "log_loss": compute_log_loss(truth, probabilities),
    }


def compute_log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the mean cross-entropy in nats, also of clips that lack some labels."""
    from sklearn.metrics import log_loss

    # With `labels`, scikit-learn accepts clips that do not cover every class.
    ids = np.arange(probabilities.shape[1])
    return float(log_loss(truth, probabilities, labels=ids))


def score_groups(
    key: str,
    names: np.ndarray,
    truth: np.ndarray,
    probabilities: np.ndarray,
    order: Sequence[str] | None = None,
) -> list[Row]:
    """Compute the main scores of each group of clips.

    Args:
        key: Key of the name in a row, `device` for example.
        names: Name of the group of each clip, `[clips]`.
        truth: Label ids, int64 `[clips]`.
        probabilities: Probabilities, float64 `[clips, labels]`.
        order: Names of the groups to score, in order; None: all, sorted by name.

    Returns:
        A row for each group that has clips; none if no clip has a name.
    """
    if not any(names):
        return []
    rows: list[Row] = []
    for name in sorted(set(names)) if order is None else order:
        own = names == name
        if own.any():
            scores = score_overall(truth[own], probabilities[own])
            rows.append({key: str(name), "n_clips": int(own.sum()), **scores})
    return rows
