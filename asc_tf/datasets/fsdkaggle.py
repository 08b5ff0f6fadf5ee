"""FSDKaggle2018: Freesound clips of 41 sounds, some with labels that nobody checked.

Source: E. Fonseca et al., "General-purpose Tagging of Freesound Audio with AudioSet
Labels: Task Description, Dataset, and Baseline", DCASE 2018.
"""

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from asc_tf.config import Dataset
from asc_tf.datasets.corpus import (
    Corpus,
    Row,
    choose_fold,
    clip_path,
    find_table,
    in_order,
    read_rows,
)
from asc_tf.errors import UsageError, UserError
from asc_tf.manifest import Clip

LAYOUT = (
    "FSDKaggle2018.meta with train_post_competition.csv and "
    "test_post_competition_scoring_clips.csv beside FSDKaggle2018.audio_train and "
    "FSDKaggle2018.audio_test, or train.csv and test_post_competition.csv beside "
    "audio_train and audio_test"
)
_META = "FSDKaggle2018.meta"
# The first has a column with the Freesound recording, which Kaggle's has not.
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
)


def fsdkaggle2018(dataset: Dataset, directory: Path) -> Corpus:
    """The official training and test clips; rows that only padded the test are none.

    With the protocols `kfold` and `stratified_kfold` the training recordings are dealt
    into `dataset.folds` folds, of which `dataset.fold` is the validation part.

    Raises:
        UsageError: If a table is missing, or the folds do not fit.
        UserError: Naming the table and the line, if a row does not fit.
    """
    train_table = find_table(directory, _TRAIN, LAYOUT)
    test_table = find_table(directory, _TEST, LAYOUT)
    homes = [_home(directory, table) for table in (train_table, test_table)]
    train_rows = read_rows(train_table, ("fname", "label", "manually_verified"))
    train = [_train_clip(row, f"{homes[0]}audio_train") for row in train_rows]
    labels = sorted({clip.label for _, clip in train})
    test_rows = read_rows(test_table, ("fname", "label", "usage"))
    scored = [row for row in test_rows if not _is_padding(row)]
    test = [_test_clip(row, f"{homes[1]}audio_test", labels) for row in scored]
    protocol: dict[str, Any] = {
        "corpus": "fsdkaggle2018",
        "fold": None,
        "leaky": False,
        "ignored": len(test_rows) - len(scored),
    }
    clips = in_order((*train, *test))
    if dataset.protocol in ("kfold", "stratified_kfold"):
        folds = list(range(1, dataset.folds + 1))
        fold = choose_fold(dataset, folds, dataset.protocol)
        clips = _deal(clips, dataset, fold)
        protocol |= {"fold": fold, "folds": folds}
    return Corpus(clips, tuple(labels), LAYOUT, protocol, published=("train", "test"))


def _home(directory: Path, table: Path) -> str:
    """What the folder of a table's clips begins with, `FSDKaggle2018.` or nothing."""
    part = "audio_train" if table.name.startswith("train") else "audio_test"
    for home in ("FSDKaggle2018.", ""):
        if (directory / f"{home}{part}").is_dir():
            return home
    return "FSDKaggle2018." if table.parent.name == _META else ""


def _train_clip(row: Row, folder: str) -> tuple[str, Clip]:
    verified = row["manually_verified"]
    if verified not in ("0", "1"):
        raise UserError(f"{row.where}: manually_verified {verified!r} is not 0 or 1")
    return row.where, _clip(row, folder, split="train", verified=verified)


def _is_padding(row: Row) -> bool:
    return row["usage"].lower() == "ignored" or row["label"] == "None"


def _test_clip(row: Row, folder: str, labels: list[str]) -> tuple[str, Clip]:
    if row["label"] not in labels:
        raise UserError(
            f"{row.where}: label {row['label']!r} is not among the {len(labels)} of "
            "the training table"
        )
    return row.where, _clip(row, folder, split="test", usage=row["usage"])


def _clip(row: Row, folder: str, **columns: str) -> Clip:
    identifier = row.get("freesound_id") or row["fname"]
    path = clip_path(f"{folder}/{row['fname']}", row.where)
    return Clip(path, row["label"], identifier, **columns)  # type: ignore[arg-type]


def _deal(clips: tuple[Clip, ...], dataset: Dataset, fold: int) -> tuple[Clip, ...]:
    """Give every training clip a fold; that of `fold` becomes the validation part."""
    from sklearn.model_selection import KFold, StratifiedKFold

    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if clip.split == "train":
            labels[clip.identifier][clip.label] += 1
    names = sorted(labels)
    mains = [labels[name].most_common(1)[0][0] for name in names]
    stratified = dataset.protocol == "stratified_kfold"
    sizes = Counter(mains) if stratified else Counter({"the training part": len(names)})
    least, size = min(sizes.items(), key=lambda item: item[1])
    if size < dataset.folds:
        raise UsageError(
            f"dataset.folds = {dataset.folds}: {least} has only {size} recordings"
        )
    kind = StratifiedKFold if stratified else KFold
    dealer = kind(dataset.folds, shuffle=True, random_state=dataset.seed)
    folds = {
        names[place]: number
        for number, (_, places) in enumerate(dealer.split(names, mains), start=1)
        for place in places
    }
    return tuple(
        dataclasses.replace(
            clip,
            fold=folds[clip.identifier],
            split="validation" if folds[clip.identifier] == fold else "train",
        )
        if clip.split == "train"
        else clip
        for clip in clips
    )
