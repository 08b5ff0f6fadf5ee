"""Figures and the HTML page that show how well a model did on a split."""

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

HISTORY_FIGURE = "history.png"
FIGURES = (
    *("confusion_matrix_row_normalized.png", "confusion_matrix_counts.png"),
    *("per_class.png", HISTORY_FIGURE),
)


def write_report(
    directory: Path,
    report: dict[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    *,
    history: Path | None = None,
) -> Path:
    """Writes report.json, predictions.csv, the figures and report.html.

    Everything is made in memory, written under temporary names and then renamed: a
    failure before the renames leaves an older report as it was. report.json goes first
    and comes back last: where it lies, the other files are complete and belong to it.

    Args:
      directory: where to write; made if it does not exist.
      report: the result of `asc_tf.evaluation.metrics.evaluate` or `without_labels`
        and, all of them optional, `split` (str), `partial` (names missing
        clips), `split_table` (of `asc_tf.datasets`), `energy` (of energy.json), `model`
        and `workdir` (names for the title), `protocol` (dict of `corpus`, `fold`,
        `leaky` and anything else worth a word), `per_split` (scores of several splits),
        `segments` (dict of `n_segments`, `accuracy`, `pooling`, ...), `excluded` (list
        of `file` and `reason`), `notes` (list of str).
      predictions: one row per clip with at least `file`, `label`, `predicted`,
        `probability` (of the predicted label, in [0, 1]); all rows have the same keys.
      history: history.csv of the training run, with the columns `epoch`, `loss`,
        `accuracy`, `val_loss`, `val_accuracy`, `learning_rate`; curves are drawn of
        those it has. No curves if it is None, does not exist or has no row.

    Returns:
      The path of report.html.

    Raises:
      ValueError: a number in `report` is not finite, a prediction has a key that the
        first one has not, or `history` holds something that is not a number.
    """
    directory = Path(directory)
    curves = read_history(history) if history and history.exists() else {}
    light = _draw(report, curves, LIGHT)
    dark = _draw(report, curves, DARK)
    files: dict[str, bytes | str] = {
        "predictions.csv": _csv_text(predictions),
        **light,
    }
    if report["has_labels"]:
        files["per_class.png"] = figures.per_class(report["per_class"])
    files["report.html"] = page.render(report, predictions, light, dark)
    files["report.json"] = _json_text(report)
    _replace_all(directory, files)
    for name in FIGURES:
        if name not in files:
            (directory / name).unlink(missing_ok=True)
    return directory / "report.html"


def _draw(
    report: Mapping[str, Any], curves: Mapping[str, list[float]], theme: Theme
) -> dict[str, bytes]:
    """The figures of the page, by file name."""
    matrices = report["confusion_matrix"] or {}
    drawn = {
        f"confusion_matrix_{kind}.png": figures.confusion_matrix(
            report["labels"], matrix, percent=kind == "row_normalized", theme=theme
        )
        for kind, matrix in matrices.items()
    }
    if curves:
        drawn[HISTORY_FIGURE] = figures.history(curves, theme=theme)
    return drawn


def _json_text(report: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(
            f"report: expected finite numbers or None, received another: {error}"
        ) from error
    return f"{text}\n"


def _csv_text(predictions: Sequence[Mapping[str, Any]]) -> str:
    columns = list(predictions[0]) if predictions else []
    for index, row in enumerate(predictions):
        if set(row) != set(columns):
            raise ValueError(
                f"predictions: expected the columns of the first row, {columns}, "
                f"received {list(row)} in row {index}"
            )
    return format_csv(columns, predictions) if predictions else ""


def _replace_all(directory: Path, files: Mapping[str, bytes | str]) -> None:
    """Writes `files` under temporary names, then renames them in the given order."""
    directory.mkdir(parents=True, exist_ok=True)
    temporary = {name: directory / f".{name}.{os.getpid()}.tmp" for name in files}
    try:
        for name, content in files.items():
            if isinstance(content, str):
                # A file name that is no UTF-8 holds characters that cannot be encoded.
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
