"""Result type of the adapters, and the reading of their folders and tables."""

import csv
import io
import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.manifest import Clip


class MissingTableError(UsageError):
    """The folder lacks the tables that describe the corpus."""


class ForeignFolderError(UserError):
    """The folder holds other files, so that nothing may be written to it."""


@dataclass(frozen=True)
class Corpus:
    """Clips of a corpus, each with split `train` or with its official split.

    Attributes:
        clips: Rows, sorted.
        labels: Class order.
        layout: Folder layout that the adapter expects, for error messages.
        protocol: `fold`, where there are folds, and `folds`, the list of them, if there
            are several; and what else protocol.json should have.
        published: Splits made by the authors, which are followed also where they divide
            a recording; the others are drawn from the training split.
        by_location: Whether identifiers are locations in cities, so that a validation
            split is drawn by `locations.split_by_location`.
    """

    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    layout: str
    protocol: dict[str, Any] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    by_location: bool = False


@dataclass(frozen=True)
class Row:
    """Row of a table with its place in the file, like `meta.csv: line 3`."""

    where: str
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values[column]

    def get(self, column: str) -> str:
        """Give the value, or the empty string if the table has no such column."""
        return self.values.get(column, "")


def choose_fold(dataset: Dataset, folds: Collection[int], owner: str) -> int:
    """Choose the fold that `dataset.fold` names; -1 is the last.

    Raises:
        UsageError: Naming the folds that `owner` has, if it is none of them.
    """
    if dataset.fold == -1 and folds:
        return max(folds)
    if dataset.fold not in folds:
        known = ", ".join(map(str, sorted(folds))) or "none"
        raise UsageError(
            f"dataset.fold = {dataset.fold}: {owner} has the folds: {known}"
        )
    return dataset.fold


def find_table(directory: Path, names: Sequence[str], layout: str) -> Path:
    """Find the first of some tables that exists.

    Raises:
        MissingTableError: If none of them exists.
    """
    if path := find_file(directory, *names):
        return path
    raise MissingTableError(
        f"dataset.dir = {directory}: has no {' or '.join(names)}; expected {layout}"
    )


def find_file(directory: Path, *names: str) -> Path | None:
    """Find the first of some files, by their paths below a folder, ignoring case."""
    for name in names:
        if (path := directory / name).is_file():
            return path
        places = [directory]
        for part in Path(name).parts:
            places = [
                path
                for place in places
                if place.is_dir()
                for path in sorted(place.iterdir())
                if path.name.lower() == part.lower()
            ]
        if files := [place for place in places if place.is_file()]:
            return files[0]
    return None


def read_rows(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    without_header: Sequence[str] = (),
) -> list[Row]:
    """Read a table; a byte order mark, CRLF, empty lines and blanks are accepted.

    Args:
        path: Path of the table.
        columns: Required columns, each with a value in each row.
        delimiter: Character between two columns; empty: the comma, tab or semicolon
            that is most frequent in the header, or that of a first line `sep=;`.
        without_header: Column names of a table whose first line is not a header.

    Raises:
        UserError: Naming the table and the line, if it cannot be read, lacks a column
            or a value.
    """
    rows = []
    names: list[str] = []
    text = read_table(path)
    if not delimiter:
        text, delimiter = _find_delimiter(text)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True
    )
    try:
        for line in reader:
            cells = [cell.strip() for cell in line]
            if not any(cells):
                continue
            if not names:
                is_header = not without_header or without_header[0] in cells
                names = cells if is_header else list(without_header)
                if missing := [name for name in columns if name not in names]:
                    raise UserError(f"{path}: no column {', '.join(missing)}")
                if is_header:
                    continue
            row = Row(
                f"{path}: line {reader.line_num}",
                dict(zip(names, cells + len(names) * [""], strict=False)),
            )
            for name in columns:
                if not row.get(name):
                    raise UserError(f"{row.where}: no {name}")
            rows.append(row)
    except csv.Error as error:
        where = f"line {reader.line_num}"
        raise UserError(f"{path}: cannot be read: {where}: {error}") from error
    if not names:
        raise UserError(f"{path}: is empty; write a header and a row for each clip")
    if not rows:
        raise UserError(f"{path}: has a header but no row; add one for each clip")
    return rows


def _find_delimiter(text: str) -> tuple[str, str]:
    """Find the character between columns; empty a line of a spreadsheet that names it.

    Returns:
        Text of the table, and the character.
    """
    if match := re.match(r"sep=(.)(?=\r?\n)", text):
        return text[match.end() :], match[1]
    lines = (line for line in text.splitlines() if line.strip(", \t;"))
    return text, max(",\t;", key=next(lines, "").count)


def read_table(path: Path) -> str:
    """Read the text of a table, without a byte order mark.

    Raises:
        UserError: If it cannot be read, or is not UTF-8, with a command to convert it.
    """
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        encoding = "UTF-16" if is_wide else "LATIN1"
        raise UserError(
            f"{path}: cannot be read: line {line} has the byte "
            f"0x{content[error.start]:02x}, which is not UTF-8; save it as CSV in "
            f"UTF-8, or convert it: iconv -f {encoding} -t UTF-8 {path.name} > utf8.csv"
        ) from error


def parse_clip_path(text: str, where: str) -> str:
    """Normalize a path from a table: relative to the corpus folder, forward slashes.

    Raises:
        UserError: If it leads out of the corpus folder.
    """
    path = text.replace("\\", "/")
    if path.startswith("/") or path[1:2] == ":" or ".." in path.split("/"):
        raise UserError(
            f"{where}: {text} is not in the corpus folder; write it relative to the "
            "folder, without .."
        )
    return posixpath.normpath(path)


def sort_clips(rows: Iterable[tuple[str, Clip]]) -> tuple[Clip, ...]:
    """Sort clips by path and start, each given with its place in a table.

    Raises:
        UserError: Naming both places, if a clip of a file is in the tables twice, or
            two clips begin at the same time of a file. Reports name a clip by its file
            and its start.
    """
    first: dict[tuple[str, float], tuple[str, Clip]] = {}
    for where, clip in rows:
        earlier, other = first.setdefault((clip.path, clip.start), (where, clip))
        if other is clip:
            continue
        if other.duration == clip.duration:
            raise UserError(f"{where}: {clip.path} is there already, {earlier}")
        raise UserError(
            f"{where}: another clip of {clip.path} begins at {clip.start:g} s too, "
            f"{earlier}; keep one of the two"
        )
    clips = (clip for _, clip in first.values())
    return tuple(sorted(clips, key=lambda clip: (clip.path, clip.start)))
