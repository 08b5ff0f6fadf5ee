"""Folds of a corpus that has none, by whole recordings."""

import dataclasses
from collections import Counter
from collections.abc import Mapping

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError
from asc_tf.datasets.corpus import Corpus, choose_fold
from asc_tf.manifest import Clip, group_recordings

PROTOCOLS = ("kfold", "stratified_kfold", "grouped_kfold")
"""Recordings in random order; the other two also spread each label's evenly."""


def assign_folds(corpus: Corpus, dataset: Dataset) -> Corpus:
    """Give every clip a fold; fold `dataset.fold` becomes the test split.

    The folds are those of `draw_folds`. A recording has the label of most of its clips,
    and no protocol divides it.

    Raises:
        UsageError: If the corpus has splits of its own, or too few recordings.
    """
    if any(clip.split != "train" for clip in corpus.clips):
        raise UsageError(
            f"dataset.protocol = {dataset.protocol}: the table has a split or folds of "
            "its own; use dataset.protocol = official, or leave its column out"
        )
    groups = group_recordings(corpus.clips, "train")
    recordings = {name: label for label, names in groups.items() for name in names}
    fold_of = draw_folds(recordings, dataset, dataset.seed)
    folds = list(range(1, dataset.folds + 1))
    test = choose_fold(dataset, folds, dataset.protocol)
    clips = tuple(put_in_fold(clip, fold_of, test, "test") for clip in corpus.clips)
    protocol = corpus.protocol | {"fold": test, "folds": folds}
    return dataclasses.replace(corpus, clips=clips, protocol=protocol)


def draw_folds(
    recordings: Mapping[str, str], dataset: Dataset, seed: int | None
) -> dict[str, int]:
    """Draw folds of recordings, those of scikit-learn's `KFold` or `StratifiedKFold`.

    Args:
        recordings: Label of each recording, in the order in which they are divided.
        dataset: Dataset settings.
        seed: Random seed of their order; None: they are not shuffled.

    Returns:
        Fold of each recording, from 1.

    Raises:
        UsageError: If there are fewer recordings (of a label, where labels are spread)
            than folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    names, labels = list(recordings), list(recordings.values())
    is_plain = dataset.protocol == "kfold"
    sizes = {"": len(names)} if is_plain else Counter(labels)
    least = min(sizes, key=lambda label: sizes[label])
    if sizes[least] < dataset.folds:
        raise UsageError(
            f"dataset.folds = {dataset.folds}: more than the {sizes[least]} recordings"
            f"{least and f' of {least}'}; give fewer folds"
        )
    kind = KFold if is_plain else StratifiedKFold
    splitter = kind(dataset.folds, shuffle=seed is not None, random_state=seed)
    return {
        names[place]: number
        for number, (_, places) in enumerate(splitter.split(names, labels), start=1)
        for place in places
    }


def put_in_fold(
    clip: Clip, folds: Mapping[str, int], held_out: int, split: str
) -> Clip:
    """Give a clip the fold of its recording; the fold `held_out` is the split."""
    fold = folds[clip.identifier]
    return dataclasses.replace(
        clip, fold=fold, split=split if fold == held_out else "train"
    )
