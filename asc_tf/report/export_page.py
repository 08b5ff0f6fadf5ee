"""export.html: the files of an export beside each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asc_tf.core.files import write_text
from asc_tf.report.html import (
    bar_cell,
    document,
    facts,
    name_cell,
    number_cell,
    section,
    table,
    text_cell,
)


def write_export_page(path: Path, described: Mapping[str, Any]) -> None:
    """Write the page of an export.

    Args:
        path: export.html.
        described: The content of export.json.
    """
    title = f"Export: {described['model']}"
    machine = described["environment"]["machine"]
    note = facts(
        {
            "parameters": described["parameters"],
            "million MACs per segment, without the front-end": described["macs"] / 1e6,
            "machine": f"{machine['processor']}, {machine['cores']} cores",
        }
    )
    body = "\n".join(
        [
            f"<header>\n<h1>{title}</h1>\n<p class=muted>{note}</p>\n</header>",
            _rejected(described),
            _cost(described),
            _quality(described, "test", "Test part: reported, not a gate"),
            _quality(described, "validation", "Validation clips: the gate"),
            _quality(
                described,
                "train",
                "Training clips: the gate, as the run has no validation part",
            ),
        ]
    )
    write_text(
        path, document(title, body, "The numbers of this page are in export.json.")
    )


def _rejected(described: Mapping[str, Any]) -> str:
    """The formats that did not agree with Keras, and why."""
    rows = [
        [name_cell(name), text_cell(row["file"] or "none"), text_cell(row["reason"])]
        for name, row in described["rejected"].items()
    ]
    if not rows:
        return ""
    note = "These files did not pass the check. Do not deploy them."
    return section("Rejected", table(["format", "file", "reason"], rows), note)


def _measured(described: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of all formats that could be run, the rejected ones named as such."""
    rejected = {
        f"{name} (rejected)": row
        for name, row in described["rejected"].items()
        if "latency_ms" in row
    }
    return {**described["formats"], **rejected}


def _cost(described: Mapping[str, Any]) -> str:
    rows = [
        [
            name_cell(name),
            text_cell(row["file"]),
            number_cell(f"{row['bytes'] / 1000:.1f}"),
            number_cell(f"{row['latency_ms']['p50']:.2f}"),
            number_cell(f"{row['latency_ms']['p95']:.2f}"),
        ]
        for name, row in _measured(described).items()
    ]
    if not rows:
        return ""
    heads = ["format", "file", "kB", "ms, p50", "ms, p95"]
    note = (
        "Latency of one segment from waveform to probabilities, .tflite on one thread."
    )
    return section("Size and latency", table(heads, rows), note)


def _quality(described: Mapping[str, Any], split: str, title: str) -> str:
    if split not in described["keras"]:
        return ""
    keras = described["keras"][split]
    rows = [
        [
            name_cell("Keras"),
            number_cell(keras["n_clips"]),
            bar_cell(keras["accuracy"]),
            number_cell("&ndash;"),
            number_cell("&ndash;"),
        ]
    ]
    for name, row in _measured(described).items():
        found = row[split]
        rows.append(
            [
                name_cell(name),
                number_cell(found["n_clips"]),
                bar_cell(found["accuracy"]),
                bar_cell(found["agreement"]),
                number_cell(f"{found['max_difference']:.1e}"),
            ]
        )
    heads = ["format", "clips", "accuracy %", "agreement %", "largest difference"]
    return section(title, table(heads, rows))
