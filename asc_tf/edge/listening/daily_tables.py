"""CSV tables, one for each day, whose lines are written whole."""

import contextlib
import csv
import io
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from asc_tf.core.errors import UserError
from asc_tf.core.files import is_disk_full
from asc_tf.edge.listening.clock import FIRST_VALID
from asc_tf.edge.listening.folder_lock import FolderLock
from asc_tf.edge.listening.outputs import Output, Report
from asc_tf.edge.listening.status import Status
from asc_tf.edge.tflite_metadata import Metadata

MAX_WAITING_BYTES = 2**24
"""Size of the lines that wait in memory while the disk is full."""

LINE_BYTES = 200
"""Memory that a waiting line needs beyond its own bytes."""

REPAIR_BYTES = 2**20
"""Bytes of a table that are read at once, from its end, to find its last line."""

COLUMNS = (
    *("time", "source", "stream", "window", "start", "end", "label", "probability"),
    *("decision", "decision_probability", "note"),
)
"""Columns before the probabilities."""


class DailyTables(Output):
    """Output to `listen_YYYY-MM-DD.csv` in a folder, by the local day of a window.

    Each line is one write to a file opened for appending. Whatever the clock does, a
    line goes to the table of its own day; windows before the clock is set go to
    `listen_clock-not-set.csv`. A table of other columns stays as it is, and
    `listen_YYYY-MM-DD_2.csv` is begun. What a power cut left of a last line is moved to
    `listen_YYYY-MM-DD.csv.cut`. The folder is locked until `close`.

    Args:
        folder: The folder; it is made if it is missing.
        status: State of the listener.

    Raises:
        UserError: If another process writes to this folder.
    """

    def __init__(self, folder: Path, status: Status) -> None:
        self._folder, self._status = folder, status
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = self._lost = 0
        self._lock = FolderLock(folder, ".lock", "csv")
        self._labels: tuple[str, ...] = ()
        self._header = b""
        self._path: Path | None = None
        self._key: tuple[str, bytes] | None = None
        self._descriptor: int | None = None
        status.reports["csv"] = lambda: {
            "waiting": len(self._waiting),
            "lost": self._lost,
        }
        # A disk that is full or not mounted is an alarm later on.
        with contextlib.suppress(OSError):
            self._lock.acquire()

    def begin(self, metadata: Metadata) -> None:
        """Implement `Output.begin`."""
        self._labels = metadata.labels
        self._header = format_line((*COLUMNS, *(f"p_{name}" for name in self._labels)))

    def write(self, report: Report) -> None:
        """Implement `Output.write`."""
        if report.row is not None:
            row = report.row
            cells = [row.get(name, "") for name in COLUMNS]
            cells += [row["probabilities"][label] for label in self._labels]
            day = "clock-not-set"
            if report.window.unix >= FIRST_VALID:
                local = self._status.clock.to_local(report.window.unix)
                day = local.date().isoformat()
            line = format_line(cells)
            self._waiting.append((day, line))
            self._waiting_bytes += len(line) + LINE_BYTES
        self._flush()
        while self._waiting_bytes > MAX_WAITING_BYTES:
            self._forget_first()
            self._lost += 1

    def close(self) -> None:
        """Implement `Output.close`."""
        self._flush()
        if self._waiting:
            self._status.say(f"{len(self._waiting)} lines could not be written")
        self._close()
        self._lock.close()

    def _forget_first(self) -> None:
        _, line = self._waiting.popleft()
        self._waiting_bytes -= len(line) + LINE_BYTES

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._append(*self._waiting[0])
                self._forget_first()
        except (OSError, UserError) as error:
            with contextlib.suppress(OSError):
                self._close()
            text = f"{self._folder}: the disk is full"
            if not is_disk_full(error):
                is_other = isinstance(error, UserError)
                text = str(error) if is_other else f"{self._folder}: {error}"
            self._status.raise_alarm("csv", text)
        else:
            self._status.clear_alarm("csv")

    def _append(self, day: str, line: bytes) -> None:
        if self._key != (day, self._header) or self._is_deleted():
            self._close()
            self._open(day)
        assert self._descriptor is not None
        write_whole(self._descriptor, line)

    def _is_deleted(self) -> bool:
        """Check whether somebody removed or renamed the open table."""
        assert self._descriptor is not None and self._path is not None
        try:
            found = os.stat(self._path)
        except OSError:
            return True
        return not os.path.samestat(found, os.fstat(self._descriptor))

    def _open(self, day: str) -> None:
        """Open the table of a day, and repair its end or write its header."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        number = 1
        while True:
            suffix = f"_{number}" if number > 1 else ""
            path = self._folder / f"listen_{day}{suffix}.csv"
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if self._has_our_header(descriptor):
                    self._repair(descriptor, path)
                    break
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)
            number += 1
        self._path, self._descriptor = path, descriptor
        self._key = day, self._header

    def _has_our_header(self, descriptor: int) -> bool:
        """Check whether a table has our columns, or only a part of our header."""
        start = os.pread(descriptor, len(self._header), 0)
        is_cut = b"\n" not in start and self._header.startswith(start.rstrip(b"\0"))
        return start == self._header or is_cut

    def _repair(self, descriptor: int, path: Path) -> None:
        cut = path.with_name(f"{path.name}.cut")
        if removed := repair_end(descriptor, cut):
            self._status.say(f"{path}: moved {removed} bytes of a cut line to {cut}")
        if not os.fstat(descriptor).st_size:
            write_whole(descriptor, self._header)

    def _close(self) -> None:
        self._key, descriptor, self._descriptor = None, self._descriptor, None
        if descriptor is not None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def format_line(cells: Sequence[object]) -> bytes:
    """Format cells as a line of CSV in UTF-8."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="backslashreplace")


def write_whole(descriptor: int, line: bytes) -> None:
    """Append a line to a file, or nothing.

    Args:
        descriptor: File opened for appending.
        line: The line, with its end.

    Raises:
        OSError: If it cannot be written as a whole.
    """
    size = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, line)
        # The rest of a short write tells what is wrong: mostly a full disk.
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def repair_end(descriptor: int, cut_file: Path) -> int:
    """Cut off zeros that a power cut left, and a last line that has no end.

    Nobody can tell whether such a line is whole: its last number may be cut too.

    Args:
        descriptor: File opened for reading and appending.
        cut_file: File to which the bytes of the line are appended before.

    Returns:
        Number of bytes that were cut off.

    Raises:
        OSError: If a file cannot be written; then nothing is cut off.
    """
    size = os.fstat(descriptor).st_size
    filled = _find_last(descriptor, size, lambda block: len(block.rstrip(b"\0")))
    keep = _find_last(descriptor, filled, lambda block: block.rfind(b"\n") + 1)
    if keep < filled:
        cut = os.open(cut_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            write_whole(cut, os.pread(descriptor, filled - keep, keep) + b"\n")
            os.fsync(cut)
        finally:
            os.close(cut)
    if keep < size:
        os.ftruncate(descriptor, keep)
    return size - keep


def _find_last(descriptor: int, end: int, find: Callable[[bytes], int]) -> int:
    """Search a file from a position to its start, block by block.

    Args:
        descriptor: The file.
        end: Position.
        find: Function that returns the end of the last match in a block; 0 if none.

    Returns:
        The end of the last match in the file, or 0.
    """
    while end:
        first = max(end - REPAIR_BYTES, 0)
        if found := find(os.pread(descriptor, end - first, first)):
            return first + found
        end = first
    return 0
