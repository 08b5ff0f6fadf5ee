"""history.csv: losses and scores of a training run, one row per epoch."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from asc_tf.core.errors import UserError

CURVES = ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")


def read_history(path: Path) -> dict[str, list[float]]:
    """Read the columns of a history.csv; an empty cell becomes NaN.

    Without an `epoch` column epochs count from 1.

    Returns:
        Columns of equal length, `epoch` among them; empty if the file has no row or no
        curve.

    Raises:
        UserError: If a cell is not a number; the message names file, row and column.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, list[float]] = {}
    for name in ("epoch", *CURVES):
        if rows and name in rows[0]:
            columns[name] = [
                _parse_cell(row[name], f"{path}, row {index}, column {name}")
                for index, row in enumerate(rows, start=1)
            ]
    columns.setdefault("epoch", [float(index + 1) for index in range(len(rows))])
    return columns if rows and set(columns) != {"epoch"} else {}


def _parse_cell(cell: str | None, place: str) -> float:
    if not cell:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise UserError(f"{place}: expected a number, received {cell!r}") from None
