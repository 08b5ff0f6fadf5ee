"""Pages and figures: how good a model is, what an export holds, what a corpus is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.core.files import format_csv, write_atomically
from asc_tf.report import figures, page
from asc_tf.report.canvas import DARK, LIGHT, Theme
from asc_tf.report.confusions import MAX_LABELS
from asc_tf.report.export_page import write_export_page
from asc_tf.report.history import read_history
from asc_tf.report.mistakes import Mistake

__all__ = ["write_export_page", "write_report"]

FIGURES = (
    "confusion_matrix_row_normalized.png",
    "confusion_matrix_counts.png",
    "per_class.png",
    "history.png",
)


def write_report(
    directory: Path,
    report: dict[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    history: Path | None = None,
    mistakes: Sequence[Mistake] = (),
) -> Path:
    """Write report.json, predictions.csv, the figures and report.html.

    Everything is made in memory, written under temporary names and then renamed: a
    failure before the renames leaves an older report as it was. report.json goes first
    and comes back last: where it lies, the other files are complete and belong to it.

    Args:
        directory: Folder to write to; made if it does not exist.
        report: Result of `compute_metrics` or `summarize_unlabelled` of
            `asc_tf.evaluation.metrics` and, all of them optional, the keys that
            `asc_tf.evaluation.scoring` adds; see docs/architecture.md.
        predictions: One row per clip with at least `file`, `label`, `predicted`,
            `probability` (of the predicted label, in [0, 1]); all rows have the same
            keys.
        history: Path of history.csv of the training run; None, a missing file and one
            without rows give no curves.
        mistakes: Mistakes to show with picture and sound, of clips in `predictions`.

    Returns:
        The path of report.html.

    Raises:
        ValueError: If a number in `report` is not finite, a prediction has a key that
            the first one has not, or `history` holds something that is not a number.
    """
    directory = Path(directory)
    curves = read_history(history) if history and history.exists() else {}
    drawn, pictures = _draw_pictures(report, curves)
    files: dict[str, bytes | str] = {
        "predictions.csv": _format_csv(predictions),
        **drawn,
        "report.html": page.render(report, predictions, pictures, mistakes),
        "report.json": _format_json(report),
    }
    _replace_all(directory, files)
    for name in FIGURES:
        if name not in files:
            (directory / name).unlink(missing_ok=True)
    return directory / "report.html"


def _draw_pictures(
    report: Mapping[str, Any], curves: Mapping[str, Any]
) -> tuple[dict[str, bytes], page.Pictures]:
    """Draw the figures: files by name, and the pictures of the page."""
    best_epoch = (report.get("model_epoch") or {}).get("epoch")
    drawn = _draw(report, LIGHT)
    history: dict[str, str] = {}
    reliability = ""
    # A matrix of few labels is a table on the page.
    dark = _draw(report, DARK) if len(report["labels"]) > MAX_LABELS else {}
    if curves:
        drawn["history.png"] = figures.draw_history(curves, best_epoch)
        history = figures.draw_history_panels(curves, best_epoch)
    calibration = report.get("calibration") or {}
    if bins := calibration.get("bins"):
        after = (calibration.get("calibrated") or {}).get("bins") or ()
        reliability = figures.draw_reliability(bins, after)
    if report["has_labels"]:
        drawn["per_class.png"] = figures.draw_per_class(report["per_class"])
    pictures = page.Pictures(
        history=history, reliability=reliability, light=drawn, dark=dark
    )
    return drawn, pictures


def _draw(report: Mapping[str, Any], theme: Theme) -> dict[str, bytes]:
    """Draw the confusion matrices, by file name."""
    matrices = report["confusion_matrix"] or {}
    return {
        f"confusion_matrix_{kind}.png": figures.draw_confusion_matrix(
            report["labels"], matrix, percent=kind == "row_normalized", theme=theme
        )
        for kind, matrix in matrices.items()
    }


def _format_json(report: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(
            f"report: expected finite numbers or None, received another: {error}"
        ) from error
    return f"{text}\n"


def _format_csv(predictions: Sequence[Mapping[str, Any]]) -> str:
    columns = list(predictions[0]) if predictions else []
    for index, row in enumerate(predictions):
        if set(row) != set(columns):
            raise ValueError(
                f"predictions: expected the columns of the first row, {columns}, "
                f"received {list(row)} in row {index}"
            )
    return format_csv(columns, predictions) if predictions else ""


def _replace_all(directory: Path, files: Mapping[str, bytes | str]) -> None:
    """Write `files` under temporary names, then rename them in the given order."""
    with contextlib.ExitStack() as stack:
        # The files get their names in the reverse order of this loop.
        for name, content in reversed([*files.items()]):
            if isinstance(content, str):
                # A file name that is not UTF-8 has characters that cannot be encoded.
                content = content.encode(errors="backslashreplace")
            stack.enter_context(write_atomically(directory / name)).write_bytes(content)
        # From here to the last rename the directory mixes two reports.
        (directory / "report.json").unlink(missing_ok=True)
