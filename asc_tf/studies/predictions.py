"""Predictions of evaluated runs, read from report/predictions.csv."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError

OWN_COLUMNS = ("run", "fold", "seed")
"""Columns that the pooled table of a crossval has before those of a run."""


@dataclass(frozen=True)
class TestPredictions:
    """Predictions for labelled test clips.

    Attributes:
        labels: Class order.
        rows: Rows of the table, as text by column.
        truth: True label ids, int64 `[clips]`.
        probabilities: Probabilities, float64 `[clips, labels]`.
    """

    # pytest would take the name for that of a test.
    __test__ = False

    labels: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    truth: np.ndarray
    probabilities: np.ndarray

    @property
    def recordings(self) -> list[str]:
        """Identifier of each clip; a clip without one is a recording of its own."""
        return [row["identifier"] or row["file"] for row in self.rows]

    @property
    def is_correct(self) -> np.ndarray:
        """Whether the most probable label of each clip is the true one, `[clips]`."""
        correct: np.ndarray = self.probabilities.argmax(axis=1) == self.truth
        return correct


def read_test_predictions(report: Path) -> TestPredictions:
    """Read the predictions of the report folder of a run or a crossval.

    Raises:
        UserError: If the table is missing or damaged, or its clips have no labels.
    """
    path = report / "predictions.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = tuple(csv.DictReader(stream))
        columns = [name for name in (rows[0] if rows else ()) if name[:2] == "p_"]
        labels = tuple(name[2:] for name in columns)
        ids = {label: index for index, label in enumerate(labels)}
        if not rows or any(not row["label"] for row in rows):
            raise ValueError("no clips" if not rows else "clips without a label")
        for name in ("file", "start", "identifier"):
            _ = rows[0][name]
        truth = np.array([ids[row["label"]] for row in rows])
        values = np.array([[float(row[name]) for name in columns] for row in rows])
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a table of predictions for labelled clips ({error}); run "
            f"asc-tf evaluate --workdir={report.parent} again"
        ) from error
    return TestPredictions(labels, rows, truth, values)


def read_report(report: Path) -> dict[str, Any]:
    """Read report.json of a report folder.

    Raises:
        UserError: If it is missing or damaged.
    """
    path = report / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "accuracy" not in content:
            raise ValueError("it has no accuracy")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a report ({error}); run asc-tf evaluate "
            f"--workdir={report.parent} again"
        ) from error
    return content
