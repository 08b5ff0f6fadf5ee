"""Rows of windows, and their output as text or JSON lines."""

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asc_tf.command_line.prediction_rows import format_json, make_segment_row, rank
from asc_tf.core.files import SAYS_FULL, is_disk_full
from asc_tf.dsp.levels import SILENCE
from asc_tf.edge.listening.analysis import Window
from asc_tf.edge.listening.decisions import Decision
from asc_tf.edge.listening.status import Status
from asc_tf.edge.tflite_metadata import Metadata

Row = dict[str, Any]
"""Result of a window that JSON can hold; see `make_row`."""


@dataclass(frozen=True)
class Report:
    """Result of a window for the outputs.

    Attributes:
        window: The window.
        stream: Number of the stream, from 1: it grows when the source is opened again.
        row: Its row; None if the window is private, or the model failed.
        is_private: True if the window is private.
    """

    window: Window
    stream: int
    row: Row | None
    is_private: bool


class Output:
    """Output of results. Its problems are alarms, not errors."""

    def begin(self, metadata: Metadata) -> None:
        """Prepare for the results of a model, the first one or a new one."""

    def write(self, report: Report) -> None:
        """Take the result of a window."""

    def interrupt(self) -> None:
        """Learn that the next window does not follow the last one."""

    def close(self) -> None:
        """Write what is left."""


def make_row(
    window: Window,
    source: str,
    numbers: tuple[int, int],
    labels: Sequence[str],
    decision: Decision,
    time: str | None,
) -> Row:
    """Make the row of a window.

    Args:
        window: The window; its model did not fail.
        source: Name of the source.
        numbers: Number of the stream, from 1, and of the window, from 0.
        labels: Class names, in the order of the probabilities.
        decision: Decision at its end.
        time: Local time of its start; None if it is not known.

    Returns:
        `source`, `stream`, `window`, `start` and `end` (seconds in the stream), `time`,
        `label` and `probability` of the best label, `probabilities` by label, a `note`
        if it is silent, `decision`, `decision_probability` and `changed`.
    """
    assert window.probabilities is not None
    note = SILENCE if window.is_silent else ""
    times = window.start, window.end
    row = make_segment_row(source, labels, times, window.probabilities, note)
    del row["file"]
    stream, number = numbers
    return {
        "source": source,
        "stream": stream,
        "window": number,
        "time": time,
        **row,
        "decision": decision.label,
        "decision_probability": decision.probability,
        "changed": decision.is_new,
    }


class Printer(Output):
    """Output to stdout: JSON lines, or text for a person.

    Lines that do not fit a full disk are lost and counted; none is cut. They do not
    pass through Python's buffer, from which a line that counts as lost would come
    later. The rest of a line that was begun is written when there is room.
    """

    def __init__(self, is_json: bool, top_k: int, status: Status) -> None:
        self._is_json, self._top_k, self._status = is_json, top_k, status
        self._lost = 0
        self._rest = b""
        status.reports["stdout"] = lambda: {"lost": self._lost}

    def write(self, report: Report) -> None:
        """Implement `Output.write`."""
        if report.row is None:
            return
        if self._is_json:
            text = json.dumps(format_json(report.row, self._top_k))
        else:
            text = format_text(report.row, self._top_k)
        try:
            self._print(text)
        except OSError as error:
            # A reader that has left, for one, ends the program.
            if not is_disk_full(error):
                raise
            self._status.raise_alarm("stdout", SAYS_FULL[0])
        else:
            self._status.clear_alarm("stdout")

    def close(self) -> None:
        """Implement `Output.close`."""
        with contextlib.suppress(OSError):
            self._write_rest()

    def _print(self, text: str) -> None:
        """Write a line.

        Raises:
            OSError: If it cannot be written.
        """
        line = (text + "\n").encode(_choose_encoding(), "backslashreplace")
        is_begun = False
        try:
            self._write_rest()
            self._rest = line[_write(line) :]
            is_begun = True
            self._write_rest()
        except OSError:
            self._lost += not is_begun
            raise

    def _write_rest(self) -> None:
        while self._rest:
            self._rest = self._rest[_write(self._rest) :]


def _choose_encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _write(data: bytes) -> int:
    """Write bytes to stdout without its buffer; return how many were written."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        # A stream in memory.
        sys.stdout.write(data.decode(_choose_encoding()))
        sys.stdout.flush()
        return len(data)
    return os.write(descriptor, data)


def format_text(row: Row, top_k: int) -> str:
    """Write the line of a window: time, decision, labels."""
    time = row["time"]
    shown = f"{row['start']:>10.3f}" if time is None else time[:19].replace("T", " ")
    labels = "  ".join(
        f"{item['label']} {item['probability']:.4f}"
        for item in rank(row["probabilities"], top_k)
    )
    sign = "*" if row["changed"] else " "
    note = f"  {row['note']}" if row.get("note") else ""
    return f"{shown} {sign} {row['decision']}  ({labels}){note}"
