"""Rows of predictions: the threshold, and the forms in which a row is written."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.files import open_atomically

Result = dict[str, Any]
"""Prediction for one file: `file`, `label`, `probability`, `probabilities` (by label)
and perhaps a `note`; for one segment also `start` and `end` in seconds; or `file` and
`error`."""

UNKNOWN = "unknown"
"""Answer in place of a label of low probability."""


def make_segment_row(
    file: str,
    labels: Sequence[str],
    times: tuple[float, float],
    probabilities: np.ndarray,
    note: str,
) -> Result:
    """Make the result of one segment.

    Args:
        file: Path of the recording.
        labels: Class names, in the order of the probabilities.
        times: Start and end of the segment in seconds.
        probabilities: Probabilities, `[labels]`.
        note: Note on the segment, or the empty string.
    """
    best = int(probabilities.argmax())
    return {
        "file": file,
        "start": round(times[0], 6),
        "end": round(times[1], 6),
        "label": labels[best],
        "probability": float(probabilities[best]),
        "probabilities": dict(zip(labels, map(float, probabilities), strict=True)),
        **({"note": note} if note else {}),
    }


def apply_threshold(result: Result, threshold: float | None) -> Result:
    """Answer `unknown` where the most probable label is less probable than a threshold.

    Args:
        result: Result of a file or segment.
        threshold: Smallest probability of an answer; None: the result stays as it is.

    Returns:
        The result; with a threshold its most probable label is also `raw_label`.
    """
    if threshold is None or "error" in result:
        return result
    is_known = result["probability"] >= threshold
    answer = {"label": result["label"] if is_known else UNKNOWN}
    return result | answer | {"raw_label": result["label"]}


def rank(probabilities: Mapping[str, float], count: int) -> list[dict[str, Any]]:
    """Choose the most probable labels, the first the best."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return [{"label": label, "probability": p} for label, p in ranked[:count]]


def format_json(result: Result, top_k: int) -> Result:
    """Replace the probabilities of all labels by the `top` ones."""
    if "probabilities" not in result:
        return result
    rest = {name: value for name, value in result.items() if name != "probabilities"}
    return rest | {"top": rank(result["probabilities"], top_k)}


def format_lines(result: Result, top_k: int, width: int) -> str:
    """Write a line per label, the first with the file's name, `width` wide."""
    rows = [
        (item["label"], f"{item['probability']:.4f}")
        for item in rank(result["probabilities"], top_k)
    ]
    if result["label"] != rows[0][0]:
        rows.insert(0, (result["label"], ""))
    label_width = max(map(len, (*result["probabilities"], result["label"])))
    names = [result["file"]] + [""] * (len(rows) - 1)
    return "\n".join(
        f"{name:<{width}}  {label:<{label_width}}  {probability}".rstrip()
        for name, (label, probability) in zip(names, rows, strict=True)
    )


def format_segment(result: Result, top_k: int, width: int) -> str:
    """Write the line of a segment: file, `width` wide, start, end, answer, labels."""
    labels = [
        f"{item['label']} {item['probability']:.4f}"
        for item in rank(result["probabilities"], top_k)
    ]
    if result["label"] != result.get("raw_label", result["label"]):
        labels.insert(0, result["label"])
    times = f"{result['start']:>10.3f}  {result['end']:>10.3f}"
    return f"{result['file']:<{width}}  {times}  {'  '.join(labels)}"


@contextmanager
def open_table(
    path: Path, labels: Sequence[str], has_segments: bool, has_threshold: bool
) -> Iterator[Callable[[Result], None]]:
    """Open a CSV table that is written row by row and has its name when it is complete.

    Args:
        path: File to write.
        labels: Class names, for a column of probabilities each.
        has_segments: Whether rows have a start and an end.
        has_threshold: Whether rows have a raw label.

    Yields:
        Function that writes the row of a result.
    """
    times = ("start", "end") if has_segments else ()
    raw = ("raw_label",) if has_threshold else ()
    own = ("file", *times, "label", "probability", *raw, "error", "note")
    columns = [*own, *(f"p_{label}" for label in labels)]
    with open_atomically(path) as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n", restval="")
        writer.writeheader()

        def write(result: Result) -> None:
            row = {name: value for name, value in result.items() if name in own}
            probabilities = result.get("probabilities", {})
            row |= {f"p_{name}": value for name, value in probabilities.items()}
            writer.writerow(row)

        yield write
