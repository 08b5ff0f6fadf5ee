"""Pooled report of a crossval: the test clips of all folds and seeds together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.files import write_csv, write_json
from asc_tf.evaluation.metrics import compute_metrics
from asc_tf.evaluation.scoring import describe_origin, group_devices
from asc_tf.report.crossval_page import write_crossval_page
from asc_tf.studies.predictions import (
    OWN_COLUMNS,
    TestPredictions,
    read_report,
    read_test_predictions,
)
from asc_tf.studies.runner import StudyRun

SCORES = ("accuracy", "macro_accuracy", "log_loss", "roc_auc", "map_at_3", "kappa")
"""Scores whose mean and standard deviation are reported, where a run has them."""


@dataclass(frozen=True)
class Cell:
    """A fold (None where the corpus has no folds) with a seed, and its run."""

    fold: int | None
    seed: int
    run: StudyRun

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return name_cell(self.fold, self.seed)


def name_cell(fold: int | None, seed: int) -> str:
    """Name the run folder of a fold and a seed."""
    return f"seed{seed}" if fold is None else f"fold{fold}_seed{seed}"


def write_pooled_report(folder: Path, cells: Sequence[Cell]) -> dict[str, Any] | None:
    """Write report.json, predictions.csv and report.html of finished runs.

    Args:
        folder: Folder of the runs; the report is in its folder `report`.
        cells: Runs, those that are not finished too. All folds with all seeds of these
            are expected, and the report names those that are missing.

    Returns:
        Content of report.json; None if no run is finished.

    Raises:
        UserError: If a report of a run is damaged, or the runs have other labels.
    """
    finished = sorted(
        (cell for cell in cells if cell.run.read_result("test")),
        key=lambda cell: (cell.fold or 0, cell.seed),
    )
    if not finished:
        return None
    reports = [read_report(cell.run.workdir.report) for cell in finished]
    tables = [read_test_predictions(cell.run.workdir.report) for cell in finished]
    report = _make_report(folder, cells, finished, reports, tables)
    rows = [*_list_rows(finished, tables)]
    target = folder / "report"
    # Where report.json lies, the other files are complete and belong to it.
    (target / "report.json").unlink(missing_ok=True)
    write_csv(target / "predictions.csv", list(rows[0]), rows)
    write_crossval_page(target, report)
    write_json(target / "report.json", report)
    return report


def _make_report(
    folder: Path,
    cells: Sequence[Cell],
    finished: Sequence[Cell],
    reports: Sequence[Mapping[str, Any]],
    tables: Sequence[TestPredictions],
) -> dict[str, Any]:
    """Make the content of report.json."""
    pooled = _pool(finished, tables)
    rows = [_make_run_row(c, r) for c, r in zip(finished, reports, strict=True)]
    first = finished[0]
    folds = sorted({cell.fold for cell in cells if cell.fold is not None})
    seeds = sorted({cell.seed for cell in cells})
    expected = [
        name_cell(fold, seed) for fold in (*folds,) or (None,) for seed in seeds
    ]
    there = {cell.name for cell in finished}
    return {
        "split": "test",
        "name": folder.name,
        "model": first.run.config.model.name,
        "folds": folds,
        "seeds": seeds,
        "missing": [name for name in expected if name not in there],
        **compute_metrics(
            pooled.labels,
            pooled.truth,
            pooled.probabilities,
            devices=[row["device"] for row in pooled.rows],
            cities=[row["city"] for row in pooled.rows],
            device_groups=_group_devices(finished, tables),
            recordings=pooled.recordings,
        ),
        "n_predictions": len(pooled.rows),
        "n_clips": len({(row["file"], row["start"]) for row in pooled.rows}),
        "n_recordings": len(set(pooled.recordings)),
        "over_runs": _summarize(rows),
        "over_folds": _summarize(_average_by("fold", rows)) if folds else None,
        "over_seeds": _summarize(_average_by("seed", rows)),
        "per_fold": _average_by("fold", rows) if folds else [],
        "per_run": rows,
        "protocol": _join_protocols(reports),
        "excluded": [
            {"run": cell.name, **clip}
            for cell, report in zip(finished, reports, strict=True)
            for clip in report.get("excluded", ())
        ],
        "notes": _join_notes(finished, reports),
        **describe_origin(first.run.config),
        # The day only, so that a resumed study has the report of one that was not
        # stopped.
        "created": datetime.now(UTC).date().isoformat(),
    }


def _pool(cells: Sequence[Cell], tables: Sequence[TestPredictions]) -> TestPredictions:
    """Concatenate the predictions of runs.

    Raises:
        UserError: If two runs have other labels.
    """
    labels = tables[0].labels
    for cell, table in zip(cells, tables, strict=True):
        if table.labels != labels:
            raise UserError(
                f"{cell.run.workdir.path}: its labels are not those of "
                f"{cells[0].run.workdir.path}"
            )
    return TestPredictions(
        labels,
        tuple(row for table in tables for row in table.rows),
        np.concatenate([table.truth for table in tables]),
        np.concatenate([table.probabilities for table in tables]),
    )


def _group_devices(
    cells: Sequence[Cell], tables: Sequence[TestPredictions]
) -> list[str]:
    """Name the group of the device of each prediction; see `scoring.group_devices`."""
    return [
        group
        for cell, table in zip(cells, tables, strict=True)
        for group in group_devices(
            cell.run.workdir.manifest(), [row["device"] for row in table.rows]
        )
    ]


def _list_rows(
    cells: Sequence[Cell], tables: Sequence[TestPredictions]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the pooled predictions.csv."""
    for cell, table in zip(cells, tables, strict=True):
        own = dict(zip(OWN_COLUMNS, (cell.name, cell.fold, cell.seed), strict=True))
        for row in table.rows:
            yield {**own, **row}


def _make_run_row(cell: Cell, report: Mapping[str, Any]) -> dict[str, Any]:
    scores = {name: report[name] for name in SCORES if report.get(name) is not None}
    own = {"run": cell.name, "fold": cell.fold, "seed": cell.seed}
    epoch = (report.get("model_epoch") or {}).get("epoch")
    return {**own, "n_clips": report["n_clips"], **scores, "epoch": epoch}


def _average_by(key: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Average the scores of runs with the same fold or seed."""
    averaged = []
    for value in sorted({row[key] for row in rows}):
        own = [row for row in rows if row[key] == value]
        means = {name: each["mean"] for name, each in _summarize(own).items()}
        clips = own[0]["n_clips"] if key == "fold" else sum(r["n_clips"] for r in own)
        averaged.append({key: value, "n_runs": len(own), "n_clips": clips, **means})
    return averaged


def _summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Compute mean and standard deviation of the scores that all rows have.

    Returns:
        `mean`, `std` (of a sample, with n - 1; None for one row) and `n` by score.
    """
    summary = {}
    for name in SCORES:
        if all(name in row for row in rows):
            values = np.array([row[name] for row in rows])
            std = float(values.std(ddof=1)) if len(values) > 1 else None
            summary[name] = {"mean": float(values.mean()), "std": std, "n": len(values)}
    return summary


def _join_protocols(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the protocols of runs; it is leaky if one of them is."""
    protocols = [report.get("protocol") or {} for report in reports]
    kept = ("corpus", "protocol", "validation")
    joined = {key: protocols[0][key] for key in kept if key in protocols[0]}
    return {**joined, "leaky": any(p.get("leaky") for p in protocols)}


def _join_notes(
    cells: Sequence[Cell], reports: Sequence[Mapping[str, Any]]
) -> list[str]:
    """List what the reports of the runs say about missing and shared clips."""
    notes = []
    for cell, report in zip(cells, reports, strict=True):
        if report.get("partial"):
            notes.append(f"{cell.name}: {report['partial']}")
        shared = (report.get("protocol") or {}).get("shared_recordings") or {}
        if shared.get("clips_present"):
            notes.append(
                f"{cell.name}: {shared['clips_present']} clips of "
                f"{shared['recordings_present']} recordings are on both sides of the "
                "split"
            )
    return notes
