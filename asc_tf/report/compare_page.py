"""compare.html: runs side by side."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from asc_tf.report import html
from asc_tf.report.headline import MAIN_SCORES, show_interval, show_score
from asc_tf.report.study_figures import draw_curves, draw_scores

SCORES, CURVES = "accuracy.png", "curves.png"


def write_compare_page(
    folder: Path,
    content: Mapping[str, Any],
    curves: Mapping[str, Mapping[str, list[float]]],
) -> Path:
    """Write compare.html and its figures; return its path.

    Args:
        folder: Folder to write to.
        content: Content of compare.json, see `asc_tf.studies.compare`.
        curves: Curves as for `study_figures.draw_curves`; none: a figure of them that
            is there is removed.
    """
    runs = content["runs"]
    figures = {SCORES: partial(draw_scores, [_make_point(row) for row in runs])}
    if curves:
        figures[CURVES] = partial(draw_curves, curves)
    path = html.write_page(
        folder / "compare.html",
        "compare.html",
        figures,
        page="compare",
        title=f"Comparison of {len(runs)} runs",
        runs=[
            {
                **row,
                "shown": {key: show_score(key, row[key]) for key in MAIN_SCORES},
                "ends": {key: show_interval(row, key) for key in MAIN_SCORES},
                "std": None if row["std"] is None else f"± {100 * row['std']:.1f}",
            }
            for row in runs
        ],
        settings=list(runs[0]["settings"]),
        pairs=[_show_pair(pair) for pair in content["pairs"]],
        leaky=[row["name"] for row in runs if row["leaky"]],
        partial=[row["name"] for row in runs if row["missing"] or row["partial"]],
    )
    if not curves:
        (folder / CURVES).unlink(missing_ok=True)
    return path


def _make_point(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["intervals"].get("accuracy") or (None, None)
    own = {"name": row["name"], "accuracy": row["accuracy"]}
    return {**own, "low": low, "high": high, "runs": row["run_accuracies"]}


def _show_pair(pair: Mapping[str, Any]) -> dict[str, Any]:
    """Format a pair; the text says what the interval leaves open."""
    if not pair["same_clips"]:
        return {**pair, "points": "", "ends": "", "verdict": ""}
    low, high = pair["interval"]
    verdict = "unclear: the interval contains 0"
    if low > 0:
        verdict = f"{pair['second']} is better"
    elif high < 0:
        verdict = f"{pair['first']} is better"
    return {
        **pair,
        "points": f"{100 * pair['difference']:+.1f}",
        "ends": f"{100 * low:+.1f} to {100 * high:+.1f}",
        "verdict": verdict,
    }
