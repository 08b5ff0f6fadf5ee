"""report.html of a crossval: pooled scores, folds, seeds and classes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from asc_tf.report import html
from asc_tf.report.figures import draw_confusion_matrix
from asc_tf.report.headline import SCORE_NAMES, show_interval, show_score


def write_crossval_page(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write report.html and the confusion matrix; return its path.

    `report` is the content of report.json; see `asc_tf.studies.pooling`.
    """
    shares = report["confusion_matrix"]["row_normalized"]
    draw = partial(draw_confusion_matrix, report["labels"], shares, percent=True)
    return html.write_page(
        folder / "report.html",
        "crossval.html",
        {"confusion_matrix_row_normalized.png": draw},
        page="crossval",
        title=f"Crossval: {report['name']}",
        report=report,
        facts_shown=_list_facts(report),
        headline=[
            (name, show_score(key, report[key]), show_interval(report, key))
            for key, name in SCORE_NAMES.items()
            if show_interval(report, key)
        ],
        spread=_tabulate_spread(report),
    )


def _list_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    protocol = {k: v for k, v in report["protocol"].items() if k != "leaky"}
    return {
        **protocol,
        "model": report["model"],
        "folds": report["folds"] or None,
        "seeds": report["seeds"],
        "n_runs": len(report["per_run"]),
    }


def _tabulate_spread(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Make the rows of the table of means and standard deviations."""
    rows = []
    for key, name in SCORE_NAMES.items():
        row = {"score": name, "together": show_score(key, report.get(key))}
        for over in ("over_runs", "over_folds", "over_seeds"):
            found = (report[over] or {}).get(key)
            row[over] = show_mean(key, found) if found else html.NO_VALUE
        if key in report["over_runs"]:
            rows.append(row)
    return rows


def show_mean(key: str, found: Mapping[str, Any]) -> str:
    """Format a mean with its standard deviation, where there is more than one run."""
    text = show_score(key, found["mean"])
    if found["std"] is None:
        return text
    return f"{text.removesuffix(' %')} ± {show_score(key, found['std'])}"
