"""Pages and figures: how good a model is, what an export holds, what a corpus is."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.core.files import format_csv
from asc_tf.report import figures, page
from asc_tf.report.canvas import DARK, LIGHT, Theme
from asc_tf.report.export_page import write_export_page
from asc_tf.report.history import read_history

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
) -> Path:
    """Write report.json, predictions.csv, the figures and report.html.

    Everything is made in memory, written under temporary names and then renamed: a
    failure before the renames leaves an older report as it was. report.json goes first
    and comes back last: where it lies, the other files are complete and belong to it.

    Args:
        directory: Folder to write to; made if it does not exist.
        report: Result of `compute_metrics` or `summarize_unlabelled` of
            `asc_tf.evaluation.metrics` and, all of them optional,
            `split` (str), `partial` (names missing clips),
            `split_table` (of `asc_tf.datasets`), `energy` (of energy.json), `model`
            and `workdir` (names for the title), `protocol` (dict of `corpus`, `fold`,
            `leaky` and other facts), `per_split` (scores of several splits),
            `segments` (dict of `n_segments`, `accuracy`, `pooling`, ...), `excluded`
            (list of `file` and `reason`), `notes` (list of str).
        predictions: One row per clip with at least `file`, `label`, `predicted`,
            `probability` (of the predicted label, in [0, 1]); all rows have the same
            keys.
        history: Path of history.csv of the training run; None, a missing file and one
            without rows give no curves.

    Returns:
        The path of report.html.

    Raises:
        ValueError: If a number in `report` is not finite, a prediction has a key that
            the first one has not, or `history` holds something that is not a number.
    """
    directory = Path(directory)
    curves = read_history(history) if history and history.exists() else {}
    light, dark = (_draw(report, curves, theme) for theme in (LIGHT, DARK))
    files: dict[str, bytes | str] = {"predictions.csv": _format_csv(predictions)}
    files |= light
    if report["has_labels"]:
        files["per_class.png"] = figures.draw_per_class(report["per_class"])
    files["report.html"] = page.render(report, predictions, light, dark)
    files["report.json"] = _format_json(report)
    _replace_all(directory, files)
    for name in FIGURES:
        if name not in files:
            (directory / name).unlink(missing_ok=True)
    return directory / "report.html"


def _draw(
    report: Mapping[str, Any], curves: Mapping[str, list[float]], theme: Theme
) -> dict[str, bytes]:
    """Draw the figures of the page, by file name."""
    matrices = report["confusion_matrix"] or {}
    drawn = {
        f"confusion_matrix_{kind}.png": figures.draw_confusion_matrix(
            report["labels"], matrix, percent=kind == "row_normalized", theme=theme
        )
        for kind, matrix in matrices.items()
    }
    if curves:
        drawn["history.png"] = figures.draw_history(curves, theme=theme)
    return drawn


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
    directory.mkdir(parents=True, exist_ok=True)
    temporary = {name: directory / f".{name}.{os.getpid()}.tmp" for name in files}
    try:
        for name, content in files.items():
            if isinstance(content, str):
                # A file name that is not UTF-8 has characters that cannot be encoded.
                content = content.encode(errors="backslashreplace")
            temporary[name].write_bytes(content)
        # From here to the last rename the directory mixes two reports.
        (directory / "report.json").unlink(missing_ok=True)
        for name in files:
            os.replace(temporary[name], directory / name)
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
