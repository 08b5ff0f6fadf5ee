"""Scores of the files of an export on one split, as export.html shows them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from asc_tf.report import html
from asc_tf.report.html import NO_VALUE

Rows = Mapping[str, Mapping[str, Any]]
"""Rows of export.json by the name of the format."""

SPLITS = {
    "test": "Test split: reported, not a gate",
    "validation": "Validation clips: the gate",
    "train": "Training clips: the gate, as the run has no validation split",
}
"""Headings of the splits that files are compared on, in their order on the page."""

COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "macro_accuracy": ("macro %", html.format_percent),
    "log_loss": ("log loss", html.format_decimals),
    "max_difference": ("largest difference", "{:.1e}".format),
    "mean_difference": ("mean difference", "{:.1e}".format),
    "cosine": ("cosine", "{:.6f}".format),
}
"""Scores of a split beside accuracy and agreement: heading, and how they are shown."""


def show_small(value: float | None) -> str:
    """Format a small number with two digits."""
    return NO_VALUE if value is None else f"{value:.1e}"


def show_change(change: Sequence[float] | None, scale: float = 100) -> str:
    """Format a change and its 95 % interval; shares in percentage points."""
    if not change or change[0] is None:
        return NO_VALUE
    digits = 1 if scale == 100 else 3
    # A sum with 0 takes the sign from a rounded 0.
    value, low, high = (
        f"{round(scale * each, digits) + 0.0:+.{digits}f}" for each in change
    )
    return f"{value} ({low} to {high})"


def show_split(
    described: Mapping[str, Any], measured: Rows, split: str
) -> dict[str, Any]:
    """Format the scores of Keras and each file on a split, where they are known."""
    rows = {"Keras": described["keras"][split]}
    # A file that failed on the test split has no scores of it.
    rows |= {name: row[split] for name, row in measured.items() if split in row}
    known = [
        key for key in COLUMNS if any(row.get(key) is not None for row in rows.values())
    ]
    scales = {"accuracy": 100.0, "macro_accuracy": 100.0, "log_loss": 1.0}
    return {
        "heading": SPLITS[split],
        "heads": [COLUMNS[key][0] for key in known],
        "rows": [
            {
                "name": name,
                "n_clips": row["n_clips"],
                "accuracy": row["accuracy"],
                "agreement": row.get("agreement"),
                "cells": [_show_score(key, row.get(key)) for key in known],
            }
            for name, row in rows.items()
        ],
        "changes": [
            (
                name,
                [show_change(row["change"].get(key), s) for key, s in scales.items()],
            )
            for name, row in rows.items()
            if row.get("change", {}).get("accuracy")
        ],
    }


def _show_score(key: str, value: float | None) -> str:
    return NO_VALUE if value is None else COLUMNS[key][1](value)


def list_changed_groups(measured: Rows, split: str) -> Iterator[dict[str, Any]]:
    """Yield the classes and devices on which a file and Keras differ."""
    for name, row in measured.items():
        for key, kind in (("per_class", "label"), ("per_device", "device")):
            for group in row.get(split, {}).get(key) or ():
                if group["agreement"] < 1:
                    yield {
                        **group,
                        "name": name,
                        "split": split,
                        "group": f"{kind} {group[kind]}",
                        "points": _show_points(group),
                        "macro": _show_pair(
                            group, "macro_accuracy", html.format_percent
                        ),
                        "loss": _show_pair(group, "log_loss", html.format_decimals),
                    }


def _show_points(group: Mapping[str, Any]) -> str:
    """Format the change of the accuracy of a group, with its interval if it has one."""
    if "change" in group:
        return show_change(group["change"])
    difference = group["accuracy"] - group["keras_accuracy"]
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def _show_pair(group: Mapping[str, Any], key: str, show: Callable[[float], str]) -> str:
    """Format a score of a group: that of the file, and that of Keras."""
    if group.get(key) is None:
        return NO_VALUE
    return f"{show(group[key])} ({show(group[f'keras_{key}'])})"


def list_worst(measured: Rows, split: str) -> Iterator[dict[str, Any]]:
    """Yield the clip on which each file is farthest from Keras, with both answers."""
    for name, row in measured.items():
        if worst := row.get(split, {}).get("worst"):
            clip = {"file": worst["file"], "label": worst.get("label", "")}
            answers = {
                key: ", ".join(f"{label} {p:.3f}" for label, p in worst[key].items())
                for key in ("keras", "answer")
            }
            yield {"name": name, "split": split, **clip, **answers}
