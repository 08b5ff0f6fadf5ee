"""export.html: the files of an export beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf.core.files import write_text
from asc_tf.report import html
from asc_tf.report.export_code import list_code
from asc_tf.report.export_figures import PARTS, draw_sizes, draw_tradeoff
from asc_tf.report.export_scores import (
    SPLITS,
    Rows,
    list_changed_groups,
    list_worst,
    show_change,
    show_small,
    show_split,
)
from asc_tf.report.html import NO_VALUE
from asc_tf.report.layer_figures import draw_layers, find_worst


def write_export_page(
    path: Path,
    described: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    summaries: Mapping[str, str] | None = None,
) -> None:
    """Write the page of an export.

    Args:
        path: Path of export.html.
        described: Content of export.json. Files of earlier versions lack some fields of
            their rows; the page leaves those out.
        metadata: Content of model.json, with labels and sample rate.
        summaries: One sentence on each format.
    """
    metadata, summaries = metadata or {}, summaries or {}
    machine = described["environment"]["machine"]
    splits = [split for split in SPLITS if split in described["keras"]]
    measured = _list_measured(described)
    page = html.render(
        "export.html",
        page="export",
        title=f"Export: {described['model']}",
        described=described,
        summary={
            "parameters": described["parameters"],
            "million MACs per segment, without the front-end": described["macs"] / 1e6,
            "machine": f"{machine['processor']}, {machine['cores']} cores",
        },
        rejected=[_show_rejected(*each) for each in described["rejected"].items()],
        ladder=_make_ladder(measured, splits, summaries, described["macs"]),
        ladder_split=splits[0] if splits else "",
        tradeoffs=_draw_tradeoffs(described, measured, splits),
        parts=_show_parts(measured),
        parts_names=PARTS,
        latency=_show_latency(measured),
        layers=_show_layers(measured),
        splits=[show_split(described, measured, split) for split in splits],
        changed=[
            row for split in splits for row in list_changed_groups(measured, split)
        ],
        worst=[row for split in splits for row in list_worst(measured, split)],
        findings={
            name: row["findings"]
            for name, row in measured.items()
            if row.get("findings")
        },
        code=list_code(
            {name: row["file"] for name, row in described["formats"].items()}, metadata
        ),
        labels=metadata.get("labels", ()),
    )
    write_text(path, page)


def _list_measured(described: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """List the rows of files that have run; the names of rejected ones say so."""
    # A format that could not be run has no figures.
    rejected = {
        f"{name} (rejected)": row
        for name, row in described["rejected"].items()
        if {"latency_ms", *described["keras"]} <= set(row)
    }
    return {**described["formats"], **rejected}


def _show_rejected(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    failed = [
        each["text"] for each in row.get("findings", ()) if each["passed"] is False
    ]
    # The reason repeats the texts of the findings, as a rule.
    reasons = [row["reason"], *(text for text in failed if text not in row["reason"])]
    return {"name": name, "file": row["file"] or "none", "reasons": reasons}


LADDER = {
    "bytes": "kB",
    "compressed": "kB, compressed",
    "accuracy": "accuracy %",
    "change": "change (95 %)",
    "agreement": "agreement %",
    "kl": "KL",
    "one": "ms, 1 thread",
    "two": "ms, 2 threads",
    "arena": "memory, kB",
    "macs": "million MACs",
}
"""Columns of numbers of the ladder, and their headings."""


def _make_ladder(
    measured: Rows, splits: Sequence[str], summaries: Mapping[str, str], macs: int
) -> dict[str, Any]:
    """Format the ladder: its headings, and a row for each file.

    Columns that no file has a number for are left out.
    """
    rows = [
        _show_file(name, row, splits, summaries, macs) for name, row in measured.items()
    ]
    known = [
        key for key in LADDER if any(row["numbers"][key] != NO_VALUE for row in rows)
    ]
    for row in rows:
        row["numbers"] = [row["numbers"][key] for key in known]
    return {"heads": [LADDER[key] for key in known], "rows": rows}


def _show_file(
    name: str,
    row: Mapping[str, Any],
    splits: Sequence[str],
    summaries: Mapping[str, str],
    macs: int,
) -> dict[str, Any]:
    """Format a row of the ladder; its scores are those of the first split."""
    scores = row.get(splits[0], {}) if splits else {}
    changes = scores.get("change") or {}
    threads = {
        each["threads"]: each
        for each in row.get("latency", ())
        if each["part"] == "whole"
    }
    threads.setdefault(1, row["latency_ms"])
    return {
        "name": name,
        "summary": summaries.get(name.removesuffix(" (rejected)"), ""),
        "numbers": {
            "bytes": _show_kilobytes(row["bytes"]),
            "compressed": _show_kilobytes(row.get("compressed_bytes")),
            "accuracy": html.format_percent(scores.get("accuracy")),
            "change": show_change(changes.get("accuracy")),
            "agreement": html.format_percent(scores.get("agreement")),
            "kl": show_small(scores.get("kl_divergence")),
            "one": _show_milliseconds(threads[1]),
            "two": _show_milliseconds(threads.get(2)),
            "arena": _show_kilobytes(row.get("arena_bytes")),
            "macs": f"{macs / 1e6:.1f}",
        },
        "verdict": "rejected" if "reason" in row else "accepted",
    }


def _show_kilobytes(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value / 1000:.1f}"


def _show_milliseconds(row: Mapping[str, Any] | None) -> str:
    return f"{row['p50']:.2f} / {row['p95']:.2f}" if row else NO_VALUE


def _draw_tradeoffs(
    described: Mapping[str, Any], measured: Rows, splits: Sequence[str]
) -> list[tuple[str, str]]:
    """Draw the change of accuracy over size and latency: texts, and drawings."""
    if not splits:
        return []
    split = splits[0]
    keras = described["keras"][split]["accuracy"]
    rows = {
        name: row
        for name, row in measured.items()
        if row.get(split, {}).get("accuracy") is not None
    }
    if not rows or keras is None:
        return []
    sizes = {name: row["bytes"] / 1000 for name, row in rows.items()}
    medians = {name: row["latency_ms"]["p50"] for name, row in rows.items()}
    # The change of the accuracy against Keras, and the ends of its interval.
    changes = {
        name: (row[split].get("change") or {}).get("accuracy")
        or (row[split]["accuracy"] - keras, None, None)
        for name, row in rows.items()
    }
    drawings = []
    for of, label, costs in (
        ("size", "size (kB)", sizes),
        ("latency", "ms per segment, p50", medians),
    ):
        points = [(name, costs[name], *change) for name, change in changes.items()]
        drawing = draw_tradeoff(points, label, of)
        drawings.append((f"Change of accuracy over {of}", drawing))
    return drawings


def _show_parts(measured: Rows) -> dict[str, Any]:
    """Draw and list the sizes of the parts of each file; empty if none is known."""
    parts = {name: row["parts"] for name, row in measured.items() if row.get("parts")}
    if not parts:
        return {}
    rows = [
        (name, [_show_kilobytes(sizes.get(part, 0)) for part in PARTS])
        for name, sizes in parts.items()
    ]
    return {"drawing": draw_sizes(parts), "rows": rows}


def _show_latency(measured: Rows) -> list[tuple[str, list[str], str]]:
    """Format latency by threads and parts, and memory, of files that have them."""
    rows = []
    for name, row in measured.items():
        by_kind = {
            (each["threads"], each["part"]): each for each in row.get("latency", ())
        }
        if by_kind:
            cells = [
                _show_milliseconds(by_kind.get((threads, part)))
                for threads in (1, 2)
                for part in ("whole", "frontend", "body")
            ]
            rows.append((name, cells, _show_kilobytes(row.get("arena_bytes"))))
    return rows


def _show_layers(measured: Rows) -> list[dict[str, Any]]:
    """Draw the error of the layers of each integer file."""
    known = {
        name: [each for each in row.get("layers", ()) if each["sqnr_db"] is not None]
        for name, row in measured.items()
    }
    return [
        {"name": name, "worst": find_worst(rows), "drawing": draw_layers(rows)}
        for name, rows in known.items()
        if rows
    ]
