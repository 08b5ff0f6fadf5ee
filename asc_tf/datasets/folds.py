"""Folds of a corpus that has none: whole recordings, each label's spread evenly."""

import dataclasses

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError
from asc_tf.datasets.corpus import Corpus, choose_fold
from asc_tf.manifest import group_recordings

PROTOCOL = "grouped_kfold"


def assign_folds(corpus: Corpus, dataset: Dataset) -> Corpus:
    """Give every clip a fold; fold `dataset.fold` becomes the test split.

    The folds are those of scikit-learn's `StratifiedKFold` on the recordings, each with
    the label of most of its clips, shuffled with `dataset.seed`.

    Args:
        corpus: Corpus whose clips are all in the training split.
        dataset: Dataset settings.

    Raises:
        UsageError: If the corpus has splits of its own, or a label has fewer recordings
            than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    if any(clip.split != "train" for clip in corpus.clips):
        raise UsageError(
            f"dataset.protocol = {PROTOCOL}: the table has a split or folds of its "
            "own; use dataset.protocol = official, or leave its column out"
        )
    groups = group_recordings(corpus.clips, "train")
    least = min(groups, key=lambda label: len(groups[label]))
    if len(groups[least]) < dataset.folds:
        raise UsageError(
            f"dataset.folds = {dataset.folds}: {least} has only {len(groups[least])} "
            "recordings; give fewer folds"
        )
    pairs = [(name, label) for label, names in groups.items() for name in names]
    labels = [label for _, label in pairs]
    splitter = StratifiedKFold(dataset.folds, shuffle=True, random_state=dataset.seed)
    fold_of = {
        pairs[place][0]: number
        for number, (_, places) in enumerate(splitter.split(pairs, labels), start=1)
        for place in places
    }
    folds = list(range(1, dataset.folds + 1))
    test = choose_fold(dataset, folds, PROTOCOL)
    clips = tuple(
        dataclasses.replace(
            clip,
            fold=fold_of[clip.identifier],
            split="test" if fold_of[clip.identifier] == test else "train",
        )
        for clip in corpus.clips
    )
    protocol = corpus.protocol | {"fold": test, "folds": folds}
    return dataclasses.replace(corpus, clips=clips, protocol=protocol)
