"""Scores of a report: how terminal and pages call and format the main ones."""

from collections.abc import Mapping
from typing import Any

from asc_tf.report import html

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
    texts = []
    for key in MAIN_SCORES:
        interval = show_interval(scores, key)
        end = f" ({interval})" if interval else ""
        texts.append(f"{SCORE_NAMES[key]} {show_score(key, scores[key])}{end}")
    return ", ".join(texts)


def show_score(key: str, value: float | None) -> str:
    """Format a score: accuracies as per cent, others with three decimals."""
    if value is not None and "accuracy" in key:
        return f"{html.format_percent(value)} %"
    return html.format_decimals(value)


def show_interval(report: Mapping[str, Any], key: str) -> str:
    """Format the confidence interval of a score; empty if it has none."""
    interval = (report.get("intervals") or {}).get(key)
    if not interval:
        return ""
    low, high = (show_score(key, end) for end in interval)
    return f"{low.removesuffix(' %')} to {high}"
