"""Runs and crossvals that are compared: their reports, settings and curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.config.run_search import suggest_run
from asc_tf.core.errors import UsageError
from asc_tf.evaluation.intervals import bootstrap_intervals
from asc_tf.report.history import read_history
from asc_tf.studies.folder import RUN_KEYS, read_study_folder
from asc_tf.studies.predictions import (
    TestPredictions,
    read_report,
    read_test_predictions,
)
from asc_tf.workdir import Workdir

CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")

Curves = dict[str, list[float]]


@dataclass(frozen=True)
class Entry:
    """A run or a crossval with its test report.

    Attributes:
        name: Name in tables and figures, unique.
        folder: Its folder.
        report: Content of report.json, with `intervals`.
        predictions: Its predictions.
        settings: Values of the configuration by key; those of a crossval lack what its
            runs differ in.
        runs: Accuracy of each run of a crossval; empty for a run.
        curves: `epoch` and the `CURVES` of history.csv, the mean over the runs of a
            crossval; empty if there are none.
    """

    name: str
    folder: Path
    report: dict[str, Any]
    predictions: TestPredictions
    settings: dict[str, Any]
    runs: list[float]
    curves: Curves


def read_entries(folders: Sequence[Path]) -> list[Entry]:
    """Read the runs and crossvals in some folders.

    A crossval of several points gives an entry for each of them.

    Raises:
        UsageError: If a folder holds no run, has no report, or is named twice.
        UserError: If a report is damaged.
    """
    places = [place for folder in folders for place in _find_places(folder)]
    resolved = [place.resolve() for place in places]
    if twice := [str(p) for p in places if resolved.count(p.resolve()) > 1]:
        raise UsageError(f"{twice[0]}: given twice; name each run once")
    names = [place.resolve().name for place in places]
    is_unique = len(set(names)) == len(names)
    return [
        _read_entry(place, name if is_unique else str(place))
        for place, name in zip(places, names, strict=True)
    ]


def _find_places(folder: Path) -> list[Path]:
    """Find the folders with a report that a folder stands for."""
    if folder.name == "model.keras" and folder.is_file():
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder{suggest_run(folder)}")
    study = read_study_folder(folder)
    if study and study.get("command") == "sweep":
        raise UsageError(
            f"{folder}: a sweep, whose runs have seen no test clip; evaluate those to "
            f"compare, asc-tf evaluate {folder}/POINT, and name them"
        )
    if study and "" not in study["points"]:
        return [
            place for name in study["points"] for place in _find_places(folder / name)
        ]
    if (folder / "report" / "report.json").is_file():
        return [folder]
    if study or any(folder.glob("*seed*/config.toml")):
        raise UsageError(
            f"{folder}: a crossval without a report; give its asc-tf crossval command "
            "again, which finishes it"
        )
    if Workdir(folder).config_file.is_file():
        raise UsageError(
            f"{folder}: no report/report.json; run asc-tf evaluate {folder} first"
        )
    raise UsageError(f"{folder}: no run here (no config.toml){suggest_run(folder)}")


def _read_entry(folder: Path, name: str) -> Entry:
    report = read_report(folder / "report")
    if report["accuracy"] is None:
        raise UsageError(
            f"{folder}: its test clips have no labels, so that there are no scores"
        )
    predictions = read_test_predictions(folder / "report")
    if not report.get("intervals"):
        # A report of an earlier version has none.
        report["intervals"] = bootstrap_intervals(
            predictions.labels,
            predictions.truth,
            predictions.probabilities,
            predictions.recordings,
        )
    if (rows := report.get("per_run")) is None:
        rows, workdirs = [], [Workdir(folder)]
        settings = dict(workdirs[0].config().flat())
    else:
        workdirs = [Workdir(folder / row["run"]) for row in rows]
        settings = {k: v for k, v in report["settings"].items() if k not in RUN_KEYS}
    accuracies = [row["accuracy"] for row in rows]
    curves = _read_curves(workdirs)
    return Entry(name, folder, report, predictions, settings, accuracies, curves)


def _read_curves(runs: Sequence[Workdir]) -> Curves:
    """Read the curves of runs, averaged over those that have an epoch."""
    files = [run.history_file for run in runs if run.history_file.is_file()]
    histories = [history for file in files if (history := read_history(file))]
    epochs = sorted({epoch for history in histories for epoch in history["epoch"]})
    curves: Curves = {"epoch": epochs} if epochs else {}
    for key in CURVES:
        values = [
            dict(zip(history["epoch"], history[key], strict=True))
            for history in histories
            if key in history
        ]
        if values:
            curves[key] = [_average([v[e] for v in values if e in v]) for e in epochs]
    return curves


def _average(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
