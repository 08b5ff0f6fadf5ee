"""Adapters for ESC-10 and ESC-50 by their five official folds.

`dataset.fold` is the test split. The clips of one source recording share a fold.
Source: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM
Multimedia 2015.
"""

import re
from pathlib import Path

from asc_tf.config import Dataset
from asc_tf.core.errors import UserError
from asc_tf.datasets.corpus import (
    Corpus,
    choose_fold,
    find_file,
    parse_clip_path,
    read_rows,
    sort_clips,
)
from asc_tf.manifest import Clip

LAYOUT = (
    "ESC-50's audio/1-100032-A-0.wav with meta/esc50.csv, or one folder per class like "
    "'001 - Dog bark/1-100032-A.ogg'"
)
FOLDS = 5
COLUMNS = ("filename", "fold", "target", "category", "esc10")
SUFFIXES = (".ogg", ".wav")
ESC10_TARGETS = {
    0: "dog",
    1: "rooster",
    10: "rain",
    11: "sea_waves",
    12: "crackling_fire",
    20: "crying_baby",
    21: "sneezing",
    38: "clock_tick",
    40: "helicopter",
    41: "chainsaw",
}
"""Names of the ten classes of ESC-10, by ESC-50's target numbers."""

FOLDER_NAMES = {
    "dog bark": "dog",
    "fire crackling": "crackling_fire",
    "baby cry": "crying_baby",
    "person sneeze": "sneezing",
}
"""Names of classes in ESC-50's table, by folder names that differ."""

_CLIP_NAME = re.compile(r"(?P<fold>[1-5])-(?P<source>\d+)-(?P<take>[A-Z]+)(-\d+)?\.\w+")


def read_esc(dataset: Dataset, directory: Path) -> Corpus:
    """Read ESC-10 or ESC-50, in the layout of ESC-50 or in one folder per class."""
    name = dataset.name
    if meta := find_file(directory, "meta/esc50.csv"):
        rows, order = _read_table(meta, name)
    else:
        rows, order = _read_folders(directory, name)
    if not rows:
        return Corpus((), (), LAYOUT)
    folds = sorted({int(match["fold"]) for _, _, _, match in rows})
    test = choose_fold(dataset, folds, name)
    clips = sort_clips(
        (
            where,
            Clip(
                path=path,
                label=label,
                identifier=match["source"],
                fold=int(match["fold"]),
                split="test" if int(match["fold"]) == test else "train",
            ),
        )
        for where, path, label, match in rows
    )
    protocol = {"fold": test, "folds": folds}
    return Corpus(clips, tuple(order), LAYOUT, protocol, published=("train", "test"))


_Rows = list[tuple[str, str, str, re.Match]]


def _read_table(meta: Path, name: str) -> tuple[_Rows, list[str]]:
    """Read `meta/esc50.csv`; the classes are in the order of their target numbers."""
    targets: dict[str, int] = {}
    rows: _Rows = []
    for row in read_rows(meta, COLUMNS):
        if name == "esc10" and row["esc10"].lower() != "true":
            continue
        if not row["target"].isdecimal():
            raise UserError(f"{row.where}: target {row['target']} is no whole number")
        targets[row["category"]] = int(row["target"])
        path = parse_clip_path(f"audio/{row['filename']}", row.where)
        match = _match_name(path, row.where)
        if row["fold"] != match["fold"]:
            raise UserError(
                f"{row.where}: fold {row['fold']}, but {path} is of fold "
                f"{match['fold']} by its name"
            )
        rows.append((row.where, path, row["category"], match))
    return rows, sorted(targets, key=lambda label: targets[label])


def _read_folders(directory: Path, name: str) -> tuple[_Rows, list[str]]:
    """Read clips below folders like `001 - Dog bark`."""
    rows: _Rows = []
    labels: list[str] = []
    for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
        title = re.fullmatch(r"\d+ - (.+)", folder.name)
        clips = sorted(p for p in folder.glob("[!.]*") if p.suffix.lower() in SUFFIXES)
        if not title or not clips:
            continue
        words = title[1].strip().lower()
        label = FOLDER_NAMES.get(words, words.replace(" ", "_"))
        if name == "esc10" and label not in ESC10_TARGETS.values():
            raise UserError(
                f"{folder}: no class of ESC-10, whose classes are "
                f"{', '.join(ESC10_TARGETS.values())}"
            )
        labels.append(label)
        for path in clips:
            relative = path.relative_to(directory).as_posix()
            rows.append((str(path), relative, label, _match_name(relative, relative)))
    if name == "esc10":
        labels = [label for label in ESC10_TARGETS.values() if label in labels]
    return rows, labels


def _match_name(path: str, where: str) -> re.Match:
    match = _CLIP_NAME.fullmatch(Path(path).name)
    if not match:
        raise UserError(
            f"{where}: {Path(path).name} is not an ESC clip name, which is "
            f"fold-source-take like 1-100032-A.ogg with a fold from 1 to {FOLDS}; move "
            "the file out of the corpus"
        )
    return match
