"""Label tracks: the scenes of a recording over time, for Audacity and Raven."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from asc_tf.command_line.inputs import InputFile
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import open_atomically

SAME_TIME = 1e-6
"""Largest gap in seconds between two segments that follow each other."""


@dataclass
class Region:
    """Part of a recording with one label.

    Attributes:
        start: Start in seconds.
        end: End in seconds.
        label: Label of all its segments.
        probability: Mean of their probabilities.
        n_segments: Number of segments.
    """

    start: float
    end: float
    label: str
    probability: float
    n_segments: int = 1

    def is_continued_by(self, other: "Region") -> bool:
        """Check whether another region has the same label and leaves no gap."""
        return self.label == other.label and other.start <= self.end + SAME_TIME

    def extend(self, other: "Region") -> None:
        """Add a segment that continues this region."""
        total = self.probability * self.n_segments + other.probability
        self.n_segments += 1
        self.probability = total / self.n_segments
        self.end = max(self.end, other.end)


class TrackError(UserError):
    """The file of a track cannot be written, and those of others perhaps can."""


class TrackFormat(NamedTuple):
    """Text format of a label track.

    Attributes:
        ending: End of the file names, with a dot.
        header: First line, or the empty string.
        format_line: Function that writes the line of a region, from its number (from
            1), the region, and the lower one of the rates of recording and model in Hz.
    """

    ending: str
    header: str
    format_line: Callable[[int, Region, int], str]


def _format_audacity(_number: int, region: Region, _sample_rate: int) -> str:
    """Write a label as Audacity imports it (File, Import, Labels): start, end, label.

    https://manual.audacityteam.org/man/importing_and_exporting_labels.html
    """
    return f"{region.start:.6f}\t{region.end:.6f}\t{_clean(region.label)}\n"


def _format_raven(number: int, region: Region, sample_rate: int) -> str:
    """Write a line of a selection table as Raven opens it.

    A selection reaches from 0 Hz to the highest frequency that the model is given.
    (Cornell Lab of Ornithology, "Raven Pro User's Manual", selection tables.)
    """
    return (
        f"{number}\tSpectrogram 1\t1\t{region.start:.6f}\t{region.end:.6f}\t0.0\t"
        f"{sample_rate / 2:.1f}\t{_clean(region.label)}\t{region.probability:.4f}\n"
    )


FORMATS = {
    "audacity": TrackFormat(".txt", "", _format_audacity),
    "raven": TrackFormat(
        ".Table.1.selections.txt",
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\t"
        "High Freq (Hz)\tLabel\tScore\n",
        _format_raven,
    ),
}
"""Formats by the names of their flags."""


def _clean(label: str) -> str:
    """Replace the characters that separate columns and lines."""
    return " ".join(label.split())


class TrackWriter:
    """Writer of one label track; it holds no more than one region.

    Args:
        stream: Text file.
        form: Format of the track.
        sample_rate: Lower one of the rates of recording and model, in Hz.
        should_join: Whether segments of one label that follow each other, or overlap,
            become one region.

    Attributes:
        error: Error with which the stream refused a line, or None.
    """

    def __init__(
        self, stream: TextIO, form: TrackFormat, sample_rate: int, should_join: bool
    ) -> None:
        self._stream, self._form, self._rate = stream, form, sample_rate
        self._should_join = should_join
        self._pending: Region | None = None
        self._count = 0
        self.error: OSError | None = None
        self._write(form.header)

    def add(self, start: float, end: float, label: str, probability: float) -> None:
        """Add a segment; times are in seconds."""
        region = Region(start, end, label, probability)
        if (
            self._should_join
            and self._pending is not None
            and self._pending.is_continued_by(region)
        ):
            self._pending.extend(region)
            return
        self.flush()
        self._pending = region

    def flush(self) -> None:
        """Write the region that could have been continued."""
        if self._pending is not None:
            self._count += 1
            text = self._form.format_line(self._count, self._pending, self._rate)
            self._write(text)
            self._pending = None

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except OSError as error:
            self.error = error
            raise


@contextlib.contextmanager
def open_track(
    path: Path, form: TrackFormat, sample_rate: int, should_join: bool
) -> Iterator[TrackWriter]:
    """Open a label track; the file has its name when the block has succeeded.

    Args:
        path: File to write.
        form: Format of the track.
        sample_rate: As in `TrackWriter`.
        should_join: As in `TrackWriter`.

    Raises:
        DiskFullError: If the disk is full.
        TrackError: If the file cannot be written for another reason; the message names
            it.
    """
    of_block: OSError | None = None
    try:
        with open_atomically(path) as stream:
            writer = TrackWriter(stream, form, sample_rate, should_join)
            try:
                yield writer
            except OSError as error:
                # Another output, like stdout, may have failed.
                of_block = None if error is writer.error else error
                raise
            writer.flush()
    except OSError as error:
        if error is of_block:
            raise
        raise TrackError(
            f"its label track {path} cannot be written: {error.strerror or error}"
        ) from error


def plan_tracks(
    flag: str, target: Path, files: Sequence[InputFile], form: TrackFormat
) -> list[Path]:
    """Choose the file of each recording's track.

    Args:
        flag: Name of the flag that gives the target, for messages.
        target: Folder (an existing one, or a name without a suffix), or file.
        files: The recordings.
        form: Format of the tracks.

    Returns:
        Path of the track of each recording. In a folder these are the recordings' own
        paths with another ending, below the folder. Where two would be the same, the
        name keeps the recording's suffix, and where that is not enough it gets a
        number.

    Raises:
        UsageError: If there are several recordings for one file, or if a track would
            replace a recording or a folder.
    """
    if target.is_dir() or not target.suffix:
        paths = _name_tracks(target, files, form.ending)
    elif len(files) > 1:
        raise UsageError(
            f"--{flag}={target}: a file, but there are {len(files)} recordings; name a "
            "folder (make a new one first if its name has a dot)"
        )
    else:
        paths = [target]
    inputs = {os.path.realpath(file.path) for file in files}
    for path in paths:
        # A name may be too long for `Path.is_dir`.
        if os.path.isdir(path) or os.path.realpath(path) in inputs:
            raise UsageError(
                f"--{flag}={target}: {path} is a folder, or one of the recordings; "
                "name another folder"
            )
    return paths


def _name_tracks(folder: Path, files: Sequence[InputFile], ending: str) -> list[Path]:
    """Name a track for each file below a folder, no two of them alike."""
    # Some file systems ignore case.
    count = Counter(str(file.name.with_suffix("")).casefold() for file in files)
    taken: set[str] = set()
    paths = []
    for file in files:
        stem = file.name.with_suffix("")
        if count[str(stem).casefold()] > 1:
            stem = file.name
        name, number = f"{stem}{ending}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}{ending}"
        taken.add(name.casefold())
        paths.append(folder / name)
    return paths
