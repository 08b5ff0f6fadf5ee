"""Adapters for corpora that a table describes: the user's CSV, the synthetic scenes."""

import dataclasses
import os
import posixpath
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.paths import expand_home
from asc_tf.datasets import corpus_hints
from asc_tf.datasets import synthetic as scenes
from asc_tf.datasets.corpus import (
    Corpus,
    ForeignFolderError,
    Row,
    choose_fold,
    read_rows,
    sort_clips,
)
from asc_tf.manifest import SPLITS, Clip

CLIP_FIELDS = (
    "path",
    "label",
    "identifier",
    "city",
    "device",
    "fold",
    "split",
    "start",
    "duration",
)
"""Fields of a clip; `dataset.path_column` names the column of its path, and so on."""


def read_csv(dataset: Dataset, directory: Path) -> Corpus:
    """Read a CSV or tab-separated table whose columns are named by the settings.

    With a split column the split is the table's own; with a fold column the clips of
    `dataset.fold` are the test split; with neither, recordings are drawn for it. The
    table's own split is followed also where it divides a recording.

    Raises:
        UsageError: If the table or a column is missing.
        UserError: Naming the table and the line, if a value does not fit.
    """
    if not dataset.csv_file:
        raise UsageError(
            "dataset.csv_file is missing: the table of the csv corpus"
            f"{corpus_hints.list_tables(directory)}"
        )
    path = directory / expand_home(dataset.csv_file)
    if not path.is_file():
        raise UsageError(
            f"dataset.csv_file = {dataset.csv_file}: no such file; "
            f"{corpus_hints.explain_missing_table(directory, dataset.csv_file)}"
        )
    clips = _read_clips(dataset, path)
    protocol: dict[str, Any] = {}
    if dataset.fold_column and not dataset.split_column:
        folds = sorted({int(clip.fold or 0) for clip in clips})
        test = choose_fold(dataset, folds, "the table")
        clips = tuple(
            dataclasses.replace(clip, split="test" if clip.fold == test else "train")
            for clip in clips
        )
        protocol = {"fold": test, "folds": folds}
    has_own_split = bool(dataset.split_column or dataset.fold_column)
    splits = {clip.split for clip in clips} if has_own_split else set()
    return Corpus(
        clips=clips,
        labels=tuple(sorted({clip.label for clip in clips})),
        layout=f"a table with the columns {dataset.path_column}, "
        f"{dataset.label_column}",
        protocol=protocol,
        published=tuple(split for split in SPLITS if split in splits),
    )


def choose_default_folder(dataset: Dataset) -> Path:
    """Choose the folder of synthetic scenes if none is named: one for each setting.

    Raises:
        UsageError: If the user has no home folder.
    """
    cache = expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if cache.parts[0] == "~":
        raise UsageError(
            "dataset.dir is missing, and so is a home folder, where the synthetic "
            "scenes would be written; name a folder for them"
        )
    seconds = str(dataset.seconds).removesuffix(".0")
    name = f"scenes-{dataset.locations}x{dataset.takes}-{seconds}s"
    return cache / "asc_tf" / f"{name}-seed{dataset.seed}"


def read_synthetic(dataset: Dataset, directory: Path) -> Corpus:
    """Read the synthetic scenes, after writing them unless the folder has them."""

    def progress(done: int, of: int) -> None:
        end = "\n" if done == of else ""
        print(f"\rwriting scenes: {done} of {of}", end=end, file=sys.stderr, flush=True)

    try:
        meta = scenes.write_scenes(
            directory,
            seed=dataset.seed,
            locations=dataset.locations,
            takes=dataset.takes,
            seconds=dataset.seconds,
            progress=progress if sys.stderr.isatty() else None,
        )
    except ValueError as error:
        raise ForeignFolderError(f"dataset.dir = {directory}: {error}") from error
    columns: dict[str, Any] = {f"{name}_column": name for name in scenes.COLUMNS}
    return Corpus(
        clips=_read_clips(dataclasses.replace(dataset, **columns), meta),
        labels=scenes.SCENES,
        layout="an empty or new folder",
    )


def _read_clips(dataset: Dataset, path: Path) -> tuple[Clip, ...]:
    columns = {field: getattr(dataset, f"{field}_column") for field in CLIP_FIELDS}
    used = {field: column for field, column in columns.items() if column}
    rows = read_rows(path, (), delimiter="")
    for field, column in used.items():
        if column not in rows[0].values:
            raise UsageError(
                f"dataset.{field}_column = {column}: {path} has no such column (it "
                f"has {', '.join(rows[0].values)})"
            )
    return sort_clips(
        (row.where, _make_clip(row, used, dataset.folder)) for row in rows
    )


def _make_clip(row: Row, columns: Mapping[str, str], folder: Path) -> Clip:
    """Make a clip of a row; without an identifier column the file is the recording."""
    where, values = row.where, {field: row.get(name) for field, name in columns.items()}
    for field in ("path", "label", "identifier"):
        if values.get(field) == "":
            raise UserError(f"{where}: no {field}")
    split = values.get("split", "train")
    if split not in SPLITS:
        raise UserError(f"{where}: split {split!r} is none of {', '.join(SPLITS)}")
    path = _shorten_path(values["path"].replace("\\", "/"), folder)
    try:
        return Clip(
            path=path,
            label=values["label"],
            identifier=values.get("identifier") or path,
            city=values.get("city", ""),
            device=values.get("device", ""),
            fold=_parse_fold(values["fold"]) if "fold" in values else None,
            split=split,
            start=_parse_seconds("start", values.get("start", "")),
            duration=_parse_seconds("duration", values.get("duration", "")),
        )
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _shorten_path(text: str, folder: Path) -> str:
    """Write an absolute path into the corpus folder relative to that folder."""
    path, place = Path(posixpath.normpath(text)), os.path.abspath(folder)
    return (path.relative_to(place) if path.is_relative_to(place) else path).as_posix()


def _parse_fold(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"fold {text!r} is not a whole number") from error


def _parse_seconds(field: str, text: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ValueError(f"{field} {text!r} is not a time in seconds")
    return value
