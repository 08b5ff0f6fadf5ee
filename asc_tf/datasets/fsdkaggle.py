"""Adapter for FSDKaggle2018: Freesound clips of 41 sounds, some labels unverified.

Source: E. Fonseca et al., "General-purpose Tagging of Freesound Audio with AudioSet
Labels: Task Description, Dataset, and Baseline", DCASE 2018.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.corpus import (
    Corpus,
    Row,
    choose_fold,
    find_file,
    find_table,
    parse_clip_path,
    read_rows,
    sort_clips,
)
from asc_tf.datasets.folds import draw_folds, put_in_fold
from asc_tf.manifest import Clip

LAYOUT = (
    "FSDKaggle2018.meta with train_post_competition.csv and "
    "test_post_competition_scoring_clips.csv beside FSDKaggle2018.audio_train and "
    "FSDKaggle2018.audio_test, or train.csv and test_post_competition.csv (or, without "
    "labels, sample_submission.csv) beside audio_train and audio_test"
)
_META = "FSDKaggle2018.meta"
# The first table has a column with the Freesound recording, unlike Kaggle's.
_TRAIN = (
    f"{_META}/train_post_competition.csv",
    "train_post_competition.csv",
    "train.csv",
)
_TEST = (
    f"{_META}/test_post_competition_scoring_clips.csv",
    "test_post_competition_scoring_clips.csv",
    f"{_META}/test_post_competition.csv",
    "test_post_competition.csv",
    "test.csv",
    "sample_submission.csv",
)
# Its labels only show the format: the same guess for each clip.
_WITHOUT_LABELS = "sample_submission.csv"


def read_fsdkaggle2018(dataset: Dataset, directory: Path) -> Corpus:
    """Read the official training and test clips, without rows that pad the test table.

    A test table without labels, as published in the competition, gives a test split
    without labels. With the protocols `kfold` and `stratified_kfold` the training
    recordings make `dataset.folds` folds, of which `dataset.fold` is the validation
    split.

    Raises:
        UsageError: If a table is missing, or the folds do not fit.
        UserError: Naming the table and the line, if a row does not fit.
    """
    train_table = find_table(directory, _TRAIN, LAYOUT)
    test_table = _find_test_table(dataset, directory)
    train_prefix = _find_prefix(directory, train_table, "audio_train")
    test_prefix = _find_prefix(directory, test_table, "audio_test")
    train_rows = read_rows(train_table, ("fname", "label", "manually_verified"))
    train = [_make_train_clip(row, f"{train_prefix}audio_train") for row in train_rows]
    labels = sorted({clip.label for _, clip in train})
    test_rows = _read_test_rows(test_table)
    used = [row for row in test_rows if not _is_padding(row)]
    test = [_make_test_clip(row, f"{test_prefix}audio_test", labels) for row in used]
    protocol: dict[str, Any] = {"ignored": len(test_rows) - len(used)}
    if dataset.protocol in ("kfold", "stratified_kfold"):
        folds = list(range(1, dataset.folds + 1))
        fold = choose_fold(dataset, folds, dataset.protocol)
        train = _assign_folds(train, dataset, fold)
        protocol |= {"fold": fold, "folds": folds}
    return Corpus(
        sort_clips((*train, *test)),
        tuple(labels),
        LAYOUT,
        protocol,
        published=("train", "test"),
    )


def _find_test_table(dataset: Dataset, directory: Path) -> Path:
    if not dataset.test_table:
        return find_table(directory, _TEST, LAYOUT)
    if table := find_file(directory, dataset.test_table):
        return table
    raise UsageError(
        f"dataset.test_table = {dataset.test_table}: no such file below {directory}"
    )


def _read_test_rows(table: Path) -> list[Row]:
    """Read the rows of a test table; rows without labels have the label "".

    Raises:
        UserError: If some rows have a label and some have none.
    """
    if table.name.lower().startswith("test_post_competition"):
        return read_rows(table, ("fname", "label", "usage"))
    rows = read_rows(table, ("fname",))
    if table.name.lower() == _WITHOUT_LABELS:
        return [Row(row.where, row.values | {"label": ""}) for row in rows]
    without = [row for row in rows if not row.get("label")]
    if without and len(without) < len(rows):
        raise UserError(
            f"{without[0].where}: no label, but other lines have one; give all clips "
            "of the test split their labels, or none"
        )
    return rows


def _find_prefix(directory: Path, table: Path, folder: str) -> str:
    """Find the prefix of the folder of a table's clips, `FSDKaggle2018.` or none."""
    for prefix in ("FSDKaggle2018.", ""):
        if (directory / f"{prefix}{folder}").is_dir():
            return prefix
    return "FSDKaggle2018." if table.parent.name == _META else ""


def _make_train_clip(row: Row, folder: str) -> tuple[str, Clip]:
    verified = row["manually_verified"]
    if verified not in ("0", "1"):
        raise UserError(f"{row.where}: manually_verified {verified!r} is not 0 or 1")
    return row.where, _make_clip(row, folder, split="train", verified=verified)


def _is_padding(row: Row) -> bool:
    return row.get("usage").lower() == "ignored" or row.get("label") == "None"


def _make_test_clip(row: Row, folder: str, labels: list[str]) -> tuple[str, Clip]:
    label = row.get("label")
    if label and label not in labels:
        raise UserError(
            f"{row.where}: label {label!r} is not among the {len(labels)} of the "
            "training table"
        )
    return row.where, _make_clip(row, folder, split="test", usage=row.get("usage"))


def _make_clip(row: Row, folder: str, **columns: str) -> Clip:
    identifier = row.get("freesound_id") or row["fname"]
    path = parse_clip_path(f"{folder}/{row['fname']}", row.where)
    return Clip(path, row.get("label"), identifier, **columns)  # type: ignore[arg-type]


def _assign_folds(
    train: Sequence[tuple[str, Clip]], dataset: Dataset, fold: int
) -> list[tuple[str, Clip]]:
    """Give every training clip a fold; `fold` becomes the validation split.

    The folds are those of scikit-learn, unshuffled as published, on the recordings in
    the order of the table.
    """
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for _, clip in train:
        labels[clip.identifier][clip.label] += 1
    recordings = {name: its.most_common(1)[0][0] for name, its in labels.items()}
    folds = draw_folds(recordings, dataset, None)
    return [
        (where, put_in_fold(clip, folds, fold, "validation")) for where, clip in train
    ]
