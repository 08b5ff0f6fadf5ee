"""report.html: the scores of a split as one page."""

from collections.abc import Mapping, Sequence
from typing import Any

from asc_tf.report import html
from asc_tf.report.headline import headline


def render(
    report: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    light: Mapping[str, bytes],
    dark: Mapping[str, bytes],
) -> str:
    """Render a report as HTML.

    Args:
        report: As in `asc_tf.report.write_report`.
        predictions: As in `asc_tf.report.write_report`.
        light: PNG figures by file name, for the light page and for print.
        dark: The same figures for the dark page.
    """
    names = [report.get("model"), report.get("workdir")]
    protocol = {"split": report.get("split"), **(report.get("protocol") or {})}
    is_leaky = protocol.pop("leaky", False)
    # A note names them.
    protocol.pop("shared_recordings", None)
    figures = headline(report) if report["has_labels"] else []
    groups = {key: report.get(f"per_{key}") for key in ("split", "device", "city")}
    mistakes = [row for row in predictions if row["label"] != row["predicted"]]
    return html.render(
        "report.html",
        page="report",
        title=" · ".join(str(name) for name in names if name) or "Scene classification",
        report=report,
        protocol=protocol,
        is_leaky=is_leaky,
        headline=[
            *((name, text.replace("%", " %")) for name, text in figures),
            ("clips", report["n_clips"]),
        ],
        groups={key: rows for key, rows in groups.items() if rows},
        mistakes=sorted(mistakes, key=lambda row: -float(row["probability"])),
        light=light,
        dark=dark,
    )
