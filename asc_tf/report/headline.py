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
