"""Main scores of a report, in the order in which terminal and page show them."""

from collections.abc import Mapping
from typing import Any


def headline(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Format the main scores of labelled clips, the leading one first.

    Args:
        report: As in `asc_tf.report.write_report`.

    Returns:
        Names and texts.
    """
    scores = [
        ("accuracy", f"{report['accuracy']:.1%}"),
        ("macro-averaged accuracy", f"{report['macro_accuracy']:.1%}"),
        ("log loss", f"{report['log_loss']:.3f}"),
    ]
    for name, key in (("ROC AUC", "roc_auc"), ("mAP@3", "map_at_3")):
        # There is no ROC AUC where all clips have one label.
        if report.get(key) is not None:
            scores.append((name, f"{report[key]:.3f}"))
    return scores


def format_main_scores(scores: Mapping[str, Any]) -> str:
    """Format accuracies and log loss with their confidence intervals, for the screen.

    Args:
        scores: `accuracy`, `macro_accuracy`, `log_loss` and `intervals`, which may be
            None, of a report or of one of its splits.

    Returns:
        A line like `accuracy 92.5 % (86.3 to 97.5 %), ...`.
    """
    named = {
        "accuracy": "accuracy",
        "macro_accuracy": "macro-averaged accuracy",
        "log_loss": "log loss",
    }
    return ", ".join(
        f"{name} {_format_score(key, scores[key])}"
        f"{_format_interval(key, scores.get('intervals'))}"
        for key, name in named.items()
    )


def _format_score(key: str, value: float) -> str:
    return f"{value:.3f}" if key == "log_loss" else f"{100 * value:.1f} %"


def _format_interval(key: str, intervals: Mapping[str, Any] | None) -> str:
    if not intervals:
        return ""
    low, high = (_format_score(key, end) for end in intervals[key])
    return f" ({low.removesuffix(' %')} to {high})"
