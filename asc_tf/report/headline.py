"""Scores of a report: how terminal and pages call and format the main ones."""

from collections.abc import Mapping
from typing import Any

SCORE_NAMES = {
    "accuracy": "accuracy",
    "macro_accuracy": "macro-averaged accuracy",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "map_at_3": "mAP@3",
    "kappa": "Cohen's kappa",
}
"""Scores as terminal and pages call them, in the order in which they show them."""

MAIN_SCORES = ("accuracy", "macro_accuracy", "log_loss")
"""Scores that have confidence intervals, the leading one first."""


def format_main_scores(scores: Mapping[str, Any]) -> str:
    """Format accuracies and log loss with their confidence intervals, for the screen.

    Args:
        scores: `accuracy`, `macro_accuracy`, `log_loss` and `intervals`, which may be
            None, of a report or of one of its splits.

    Returns:
        A line like `accuracy 92.5 % (86.3 to 97.5 %), ...`.
    """
    return ", ".join(
        f"{SCORE_NAMES[key]} {_format_score(key, scores[key])}"
        f"{_format_interval(key, scores.get('intervals'))}"
        for key in MAIN_SCORES
    )


def _format_score(key: str, value: float) -> str:
    return f"{value:.3f}" if key == "log_loss" else f"{100 * value:.1f} %"


def _format_interval(key: str, intervals: Mapping[str, Any] | None) -> str:
    if not intervals:
        return ""
    low, high = (_format_score(key, end) for end in intervals[key])
    return f" ({low.removesuffix(' %')} to {high})"
