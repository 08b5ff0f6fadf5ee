"""Compare runs and crossvals: settings, scores, curves, and paired differences."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asc_tf.config.options import format_value
from asc_tf.core.errors import UsageError
from asc_tf.core.files import write_csv, write_json
from asc_tf.report.compare_page import write_compare_page
from asc_tf.studies.entries import Entry, read_entries
from asc_tf.studies.paired import (
    LEVEL,
    adjust_p_values,
    collect_accuracies,
    compare_pair,
)
from asc_tf.workdir import PLACES, SOURCES

SCORES = ("accuracy", "macro_accuracy", "log_loss")

NOT_COMPARED = {*PLACES} - {*SOURCES}
"""Settings that are not compared: no result depends on them."""


def compare(folders: Sequence[Path], output: Path) -> tuple[dict[str, Any], Path]:
    """Compare evaluated runs, crossvals, or the points of crossvals.

    The folder `output` gets compare.json, compare.csv, compare.html and the figures.

    Returns:
        Content of compare.json, and path of compare.html.

    Raises:
        UsageError: If there are fewer than two, or one has no report.
        UserError: If a report is damaged.
    """
    entries = read_entries(folders)
    if len(entries) < 2:
        raise UsageError("one run only; give two or more run folders to compare")
    content = make_comparison(entries)
    output.mkdir(parents=True, exist_ok=True)
    curves = {entry.name: entry.curves for entry in entries if entry.curves}
    page = write_compare_page(output, content, curves)
    rows = [_make_csv_row(row) for row in content["runs"]]
    write_csv(output / "compare.csv", list(rows[0]), rows)
    write_json(output / "compare.json", content)
    return content, page


def make_comparison(entries: Sequence[Entry]) -> dict[str, Any]:
    """Make the content of compare.json."""
    differing = find_differing([entry.settings for entry in entries])
    pairs = []
    accuracies = [collect_accuracies(entry.predictions) for entry in entries]
    for one, two in itertools.combinations(range(len(entries)), 2):
        compared = compare_pair(accuracies[one], accuracies[two])
        names = {"first": entries[one].name, "second": entries[two].name}
        pairs.append({**names, **compared})
    adjusted = adjust_p_values([pair["p_value"] for pair in pairs])
    for pair, value in zip(pairs, adjusted, strict=True):
        pair["p_adjusted"] = value
    return {
        "level": LEVEL,
        "test": "McNemar's exact test (binomial, two-sided) of the answers for the "
        "clips, each the label with the largest mean probability over the seeds; "
        "p_adjusted by Holm",
        "runs": [_describe(entry, differing) for entry in entries],
        "pairs": pairs,
    }


def find_differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Find the keys whose values differ, or that some settings lack."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [
        key
        for key in keys
        if key not in NOT_COMPARED
        and len({_show_setting(each, key) for each in settings}) > 1
    ]


def _show_setting(settings: dict[str, Any], key: str) -> str:
    """Format a value; that of a setting in which the runs of a crossval differ is -."""
    if key not in settings:
        return "\N{EN DASH}"
    return format_value(settings[key])


def _describe(entry: Entry, differing: Sequence[str]) -> dict[str, Any]:
    report = entry.report
    return {
        "name": entry.name,
        "folder": str(entry.folder),
        "n_runs": len(entry.runs) or 1,
        "n_clips": report["n_clips"],
        **{name: report[name] for name in SCORES},
        "intervals": report["intervals"],
        "run_accuracies": entry.runs,
        "std": ((report.get("over_runs") or {}).get("accuracy") or {}).get("std"),
        "leaky": bool((report.get("protocol") or {}).get("leaky")),
        "missing": report.get("missing") or [],
        "partial": report.get("partial"),
        "settings": {key: _show_setting(entry.settings, key) for key in differing},
    }


def _make_csv_row(row: dict[str, Any]) -> dict[str, Any]:
    ends: dict[str, Any] = {}
    for name in SCORES:
        low, high = row["intervals"].get(name) or (None, None)
        ends |= {name: row[name], f"{name}_low": low, f"{name}_high": high}
    own = ("name", "folder", "n_runs", "n_clips")
    return {
        **{key: row[key] for key in own},
        **ends,
        "std": row["std"],
        "leaky": row["leaky"],
        **row["settings"],
    }
