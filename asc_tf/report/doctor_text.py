"""Text of an examined file for the screen."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from asc_tf.core.text_table import align_columns

Row = Mapping[str, Any]

SPLITS = ("train", "validation", "test")

MARKS = {True: "ok", False: "FAILED", None: "-"}
"""Words for passed, failed and not checked."""

TEXT_WIDTH = 66

PARTS = {"whole": "whole", "frontend": "front-end", "body": "body"}


def format_examination(row: Row) -> str:
    """Write what is known of a file that `doctor.by_hand` examined, with its checks."""
    verdict = "passes" if row["passed"] else "FAILS"
    blocks = [f"{row['file']} ({row['format']}) {verdict}", _format_costs(row)]
    splits = [split for split in SPLITS if split in row]
    if splits:
        blocks.append(_format_scores(row, splits))
        blocks += _format_groups(row, splits)
        blocks += [_format_worst(split, row[split]["worst"]) for split in splits]
    blocks.append(_format_findings(row["findings"]))
    first, *others = blocks
    indented = ["\n".join(f"  {line}" for line in each.split("\n")) for each in others]
    return "\n\n".join([first, *indented])


def _format_findings(findings: Iterable[Row]) -> str:
    """Write the checks, their texts in lines of usual length."""
    lines = []
    for each in findings:
        first, *others = textwrap.wrap(each["text"], TEXT_WIDTH) or [""]
        lines.append((MARKS[each["passed"]], each["check"], first))
        lines += [("", "", other) for other in others]
    return align_columns(lines, right=())


def _format_costs(row: Row) -> str:
    """Write size, memory and latency."""
    kilobytes = f"{row['bytes'] / 1000:.1f} kB"
    if "compressed_bytes" in row:  # of files that could be read
        kilobytes += f", compressed {row['compressed_bytes'] / 1000:.1f}"
    lines = [("size", kilobytes)]
    if "parts" in row:
        sizes = sorted(row["parts"].items(), key=lambda item: -item[1])
        shown = [
            f"{name.replace('_', ' ')} {size / 1000:.1f}"
            for name, size in sizes
            if size
        ]
        text = f"of which {', '.join(shown)}"
        lines += [("", each) for each in textwrap.wrap(text, TEXT_WIDTH)]
    memory = []
    if "arena_bytes" in row:
        memory.append(f"{row['arena_bytes'] / 1000:.1f} kB arena of LiteRT")
    if "resident_bytes" in row:
        memory.append(f"the process grows by {row['resident_bytes'] / 1e6:.1f} MB")
    if memory:
        lines.append(("memory", ", ".join(memory)))
    lines.append(("work", f"{row['macs'] / 1e6:.1f} million MACs without front-end"))
    for each in _format_latency(row):
        lines.append(("" if lines[-1][0] in ("latency", "") else "latency", each))
    return align_columns(lines, right=())


def _format_latency(row: Row) -> list[str]:
    """Write latency, one line for each number of threads."""
    if "latency" not in row:
        found = row.get("latency_ms")
        return [f"p50 {found['p50']:.2f} ms, p95 {found['p95']:.2f}"] if found else []
    lines = ["ms for a segment, p50 (p95)"]
    for threads in sorted({each["threads"] for each in row["latency"]}):
        shown = [
            f"{PARTS[each['part']]} {each['p50']:.2f} ({each['p95']:.2f})"
            for each in row["latency"]
            if each["threads"] == threads
        ]
        plural = "s" if threads > 1 else ""
        lines.append(f"{threads} thread{plural}: {', '.join(shown)}")
    return lines


def _format_scores(row: Row, splits: Iterable[str]) -> str:
    """Write the comparison with Keras as a table, one column for each split."""
    columns = [_describe_split(split, row[split]) for split in splits]
    lines = [
        (name, *(column[place][1] for column in columns))
        for place, (name, _) in enumerate(columns[0])
    ]
    return align_columns(lines, right=())


def _describe_split(split: str, found: Row) -> list[tuple[str, str]]:
    """Write the comparison with Keras on a split: names and values."""

    def show(name: str, factor: float, form: str) -> str:
        value = found[name]
        shown = "-" if value is None else form.format(factor * value)
        return shown + _format_change(found, name, factor)

    return [
        ("against Keras", f"{split}, {found['n_clips']} clips"),
        ("same label", f"{100 * found['agreement']:.1f} %"),
        ("accuracy", show("accuracy", 100, "{:.1f} %")),
        ("macro accuracy", show("macro_accuracy", 100, "{:.1f} %")),
        ("log loss", show("log_loss", 1, "{:.3f}")),
        ("cosine similarity", f"{found['cosine']:.5f}"),
        ("largest difference", f"{found['max_difference']:.2g}"),
        ("mean difference", f"{found['mean_difference']:.2g}"),
        ("KL divergence", f"{found['kl_divergence']:.2g} nats"),
    ]


def _format_change(found: Row, name: str, factor: float) -> str:
    """Write a change with its interval."""
    change = found["change"][name]
    if change is None:
        return ""
    digits = 1 if factor == 100 else 3
    value, low, high = (f"{factor * each:+.{digits}f}" for each in change)
    return f", {value} [{low}, {high}]"


def _format_groups(row: Row, splits: Iterable[str]) -> list[str]:
    """Write the classes and devices whose answers differ from those of Keras."""
    lines = []
    for split in splits:
        for key, plural in (("per_class", "classes"), ("per_device", "devices")):
            own = key.removeprefix("per_").replace("class", "label")
            shown = [
                f"{each[own]} {100 * each['accuracy']:.1f} "
                f"({100 * each['keras_accuracy']:.1f})"
                for each in row[split][key]
                if each["agreement"] < 1
            ]
            if shown:
                lines.append((split, plural, ", ".join(shown)))
    if not lines:
        return []
    head = (
        "Classes and devices on which file and Keras disagree: accuracy in per cent "
        "(Keras in brackets)"
    )
    return [f"{head}\n{align_columns(lines, right=())}"]


def _format_worst(split: str, worst: Row) -> str:
    """Write both answers to the clip whose probabilities differ most."""
    start = f" from {worst['start']:g} s" if "start" in worst else ""
    truth = f", true label: {worst['label']}" if worst["label"] else ""

    def show(answer: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {100 * p:.1f} %" for name, p in answer.items())

    return (
        f"largest difference in {split}: {worst['file']}{start}{truth}\n"
        f"  Keras: {show(worst['keras'])}\n"
        f"  file:  {show(worst['answer'])}"
    )
