"""Adapter for UrbanSound8K by its ten official folds.

Five Freesound recordings are in two folds each, every time with another class; the
folds are followed as published (see `shared`).

Source: J. Salamon, C. Jacoby and J. P. Bello, "A Dataset and Taxonomy for Urban Sound
Research", ACM Multimedia 2014.
"""

from pathlib import Path

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.corpus import (
    Corpus,
    Row,
    choose_fold,
    find_table,
    parse_clip_path,
    read_rows,
    sort_clips,
)
from asc_tf.manifest import SPLITS, Clip

LAYOUT = "metadata/UrbanSound8K.csv and audio/fold1/100032-3-0-0.wav"
TABLES = ("metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
COLUMNS = ("slice_file_name", "fsID", "fold", "classID", "class")
CLASSES = (
    *("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling"),
    *("engine_idling", "gun_shot", "jackhammer", "siren", "street_music"),
)
"""Classes in the order of `classID`."""


def read_urbansound8k(dataset: Dataset, directory: Path) -> Corpus:
    """Read the corpus: test on `dataset.fold`, validate on the fold before it.

    The official protocol trains on all other folds. `two_folds` trains on the two folds
    before the validation fold and leaves out the others: train on f and f + 1, validate
    on f + 2, test on f + 3. Both wrap around the folds that the table has.

    Raises:
        UsageError: If the table is missing, or has too few folds or not that one.
        UserError: Naming the table and the line, if a row does not fit.
    """
    table = find_table(directory, TABLES, LAYOUT)
    rows = read_rows(table, COLUMNS)
    folds = sorted({_parse_fold(row) for row in rows})
    test = choose_fold(dataset, folds, "the table")
    splits = _assign_splits(folds, test, dataset.protocol)
    # Some copies have the folders fold1 ... fold10 beside the table.
    has_folder = table.parent != directory or (directory / "audio").is_dir()
    audio = "audio" if has_folder else "."
    clips = sort_clips(
        (row.where, _make_clip(row, audio, splits[_parse_fold(row)]))
        for row in rows
        if _parse_fold(row) in splits
    )
    present = {clip.label for clip in clips}
    labels = tuple(label for label in CLASSES if label in present)
    protocol = {"fold": test, "folds": folds}
    return Corpus(clips, labels, LAYOUT, protocol, published=SPLITS)


def _assign_splits(folds: list[int], test: int, protocol: str) -> dict[int, str]:
    """Assign a split to each fold that is used."""
    needed = 4 if protocol == "two_folds" else 3
    if len(folds) < needed:
        raise UsageError(
            f"dataset.protocol = {protocol}: needs {needed} folds or more, the table "
            f"has {', '.join(map(str, folds))}"
        )
    # Negative places count from the end, so that the folds wrap around.
    place = folds.index(test)
    training = (place - 3, place - 2) if protocol == "two_folds" else range(len(folds))
    splits = {folds[number]: "train" for number in training}
    return splits | {folds[place - 1]: "validation", test: "test"}


def _parse_fold(row: Row) -> int:
    if not row["fold"].isdecimal():
        raise UserError(f"{row.where}: fold {row['fold']!r} is not a whole number")
    return int(row["fold"])


def _make_clip(row: Row, audio: str, split: str) -> Clip:
    number = row["classID"]
    known = number.isdecimal() and int(number) < len(CLASSES)
    if not known or CLASSES[int(number)] != row["class"]:
        classes = ", ".join(f"{n} {name}" for n, name in enumerate(CLASSES))
        raise UserError(
            f"{row.where}: classID {number} with class {row['class']!r} is no class of "
            f"UrbanSound8K, whose classes are {classes}"
        )
    path = f"{audio}/fold{_parse_fold(row)}/{row['slice_file_name']}"
    return Clip(
        path=parse_clip_path(path, row.where),
        label=row["class"],
        identifier=row["fsID"],
        fold=_parse_fold(row),
        split=split,
    )
