"""Corpora: from a folder on disk and its official protocol to a manifest.

An adapter is a function from the dataset settings to a `Corpus`. It reads names and
tables, never audio.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.suggestions import suggest_path
from asc_tf.datasets import (
    asc_mini,
    corpus_hints,
    dcase,
    esc,
    folder,
    folds,
    fsdkaggle,
    table,
    urbansound8k,
)
from asc_tf.datasets.corpus import Corpus, ForeignFolderError, MissingTableError
from asc_tf.datasets.locations import split_by_location, tabulate_splits
from asc_tf.datasets.shared_recordings import describe_shared, drop_shared, find_shared
from asc_tf.manifest import Clip, Manifest, check_names, split_off

__all__ = ["Corpus", "load", "tabulate_splits", "usable_folds"]

ADAPTERS: dict[str, Callable[[Dataset, Path], Corpus]] = {
    "synthetic": table.read_synthetic,
    "folder": folder.read_folder,
    "csv": table.read_csv,
    "esc10": esc.read_esc,
    "esc50": esc.read_esc,
    "urbansound8k": urbansound8k.read_urbansound8k,
    "asc_mini": asc_mini.read_asc_mini,
    **dict.fromkeys(dcase.CORPORA, dcase.read_dcase),
    "fsdkaggle2018": fsdkaggle.read_fsdkaggle2018,
}
PROTOCOLS: dict[str, tuple[str, ...]] = {
    "folder": folds.PROTOCOLS,
    "csv": folds.PROTOCOLS,
    "urbansound8k": ("two_folds",),
    "fsdkaggle2018": ("kfold", "stratified_kfold"),
}
"""Protocols of a corpus besides `official` and `random`."""

UNPUBLISHED = ("synthetic", "folder", "csv")
"""Corpora without an official split; the protocol says how they are split instead."""

USUAL_SHARE = 0.15
USUAL_SHARE_BY_LOCATION = 0.30
"""DCASE's share: with about three locations per city, each city is in both splits."""


def load(dataset: Dataset) -> Manifest:
    """Read a corpus and split it; the clips are not scanned yet.

    Where a corpus has no test split, `test_share` of its recordings are drawn for it.
    Where it has no validation split, `validation_share` of the training recordings are
    drawn, or of the training clips by whole locations of each city where recordings are
    locations. The protocol `random` draws clips instead, whatever their recording. A
    published split is followed also where it divides a recording. With
    `dataset.validation = none` no validation split is drawn: all training clips stay in
    training.

    Returns:
        Manifest in which every row has a split.

    Raises:
        UsageError: If the folder is missing or empty, or a setting does not fit it.
        UserError: If a table cannot be read, or a name cannot be written to one.
    """
    directory = dataset.folder
    _check_settings(dataset)
    if dataset.dir and not directory.is_dir() and dataset.name != "synthetic":
        raise UsageError(
            f"dataset.dir = {dataset.dir}: no such folder{suggest_path(directory)}"
        )
    if not dataset.dir:
        raise UsageError(
            f"dataset.dir is missing: the folder of the {dataset.name} corpus"
        )
    corpus = _read_corpus(dataset, directory)
    check_names(corpus.clips)
    if dataset.name in ("folder", "csv") and dataset.protocol in folds.PROTOCOLS:
        corpus = folds.assign_folds(corpus, dataset)
    _check_unused_settings(dataset, corpus)
    name = {"corpus": dataset.name, "protocol": _describe_split(dataset, corpus)}
    if dataset.validation == "none":
        name["validation"] = "none"
    protocol = name | {"fold": None, "leaky": False} | corpus.protocol
    usual = USUAL_SHARE_BY_LOCATION if corpus.by_location else USUAL_SHARE
    share = dataset.validation_share or usual
    if dataset.protocol == "random":
        clips = _split_by_clip(corpus.clips, dataset, share)
        protocol = name | {"fold": None, "leaky": True}
    else:
        clips = _draw_missing_splits(corpus, dataset, share)
        shared = find_shared(clips, corpus.published)
        if dataset.drop_shared_recordings:
            clips = drop_shared(clips, shared)
        if described := describe_shared(clips, shared, directory):
            protocol["shared_recordings"] = described
    return Manifest(clips, corpus.labels, protocol)


def _read_corpus(dataset: Dataset, directory: Path) -> Corpus:
    """Read the clips of a corpus.

    Raises:
        UsageError: With a remedy, if there are no clips or the folder does not fit.
        UserError: If the adapter cannot read the folder.
    """
    place = f"dataset.dir = {dataset.dir}"
    try:
        corpus = ADAPTERS[dataset.name](dataset, directory)
    except ForeignFolderError as error:
        if not (remedy := corpus_hints.suggest_name(directory, ADAPTERS)):
            raise UserError(str(error)) from error
        raise UsageError(f"{error}; {remedy}") from error
    except MissingTableError as error:
        remedy = corpus_hints.suggest_inner_folder(dataset, directory, ADAPTERS)
        raise UsageError(f"{error}{'; ' * bool(remedy)}{remedy}") from error
    if len(corpus.labels) > 1:
        return corpus
    remedy = corpus_hints.suggest_inner_folder(dataset, directory, ADAPTERS)
    if not corpus.clips:
        if dataset.name == "folder":
            remedy = remedy or corpus_hints.explain_flat_folder(directory)
        raise UsageError(
            f"{place}: no clips found; expected {corpus.layout}"
            f"{'; ' * bool(remedy)}{remedy}"
        )
    if dataset.name == "folder" and remedy:
        raise UsageError(
            f"{place}: does not hold one folder per label, but only "
            f"{corpus.labels[0]}; {remedy}"
        )
    return corpus


def usable_folds(manifest: Manifest, dataset: Dataset) -> list[int]:
    """List the folds that can be `dataset.fold` with the files that exist.

    Returns:
        Those of the corpus's folds with which every split has some of its files.
    """
    root = dataset.folder
    usable = []
    for fold in manifest.protocol.get("folds", ()):
        clips = load(dataclasses.replace(dataset, fold=fold)).clips
        if all(
            any(c.split == split and (root / c.path).is_file() for c in clips)
            for split in {clip.split for clip in clips}
        ):
            usable.append(fold)
    return usable


def _check_settings(dataset: Dataset) -> None:
    has = ("official", *PROTOCOLS.get(dataset.name, ()), "random")
    if dataset.protocol not in has:
        raise UsageError(
            f"dataset.protocol = {dataset.protocol}: {dataset.name} has the protocols "
            f"{', '.join(has)}"
        )
    if dataset.protocol == "random" and not dataset.allow_leaky:
        raise UsageError(
            "dataset.protocol = random: divides clips of one recording between "
            "training and test, so that results are too good; set dataset.allow_leaky "
            "to have it all the same"
        )


def _check_unused_settings(dataset: Dataset, corpus: Corpus) -> None:
    """Refuse a setting that has no effect with this corpus and protocol."""
    is_random = dataset.protocol == "random"
    has = {clip.split for clip in corpus.clips}
    if dataset.validation == "none" and "validation" in has and not is_random:
        raise UsageError(
            f"dataset.validation = none: {dataset.name} has a validation split of its "
            f"own under dataset.protocol = {dataset.protocol}; use dataset.validation "
            "= split, or a protocol (or table) that has none"
        )
    idle = {
        "fold": is_random or corpus.protocol.get("fold") is None,
        "folds": not dataset.protocol.endswith("kfold"),
        "validation_share": "validation" in has and not is_random,
        "test_share": "test" in has and not is_random,
        "subset": dataset.name != "tau2022_mobile",
        "test_table": dataset.name != "fsdkaggle2018",
        "unverified_weight": not any(clip.verified for clip in corpus.clips),
        "drop_shared_recordings": is_random or not corpus.published,
    }
    for name, is_idle in idle.items():
        value, usual = getattr(dataset, name), getattr(Dataset(), name)
        if is_idle and value != usual:
            raise UsageError(
                f"dataset.{name} = {value}: {dataset.name} has no use for it under "
                f"dataset.protocol = {dataset.protocol}; leave it out"
            )


def _describe_split(dataset: Dataset, corpus: Corpus) -> str:
    """Name the protocol, or describe the split of a corpus without a published one."""
    if dataset.protocol != "official" or dataset.name not in UNPUBLISHED:
        return dataset.protocol
    if dataset.name == "synthetic":
        return "built in"
    have = {clip.split for clip in corpus.clips}
    wanted = ("test", *dataset.training_splits[1:])
    lacking = [split for split in wanted if split not in have]
    by_file = all(clip.identifier == clip.path for clip in corpus.clips)
    drawn = f"drawn by {'file' if by_file else 'recording'}, seed {dataset.seed}"
    if len(lacking) == len(wanted):
        return drawn
    kind = "split" if corpus.protocol.get("fold") is None else "folds"
    drawn = f", {lacking[0]} split {drawn}" if lacking else ""
    return f"{kind} of the table{drawn}"


def _draw_missing_splits(
    corpus: Corpus, dataset: Dataset, share: float
) -> tuple[Clip, ...]:
    """Draw the splits that a corpus does not have, by recording."""
    clips = corpus.clips
    have = {clip.split for clip in clips}
    if "test" not in have:
        clips = split_off(clips, "train", "test", dataset.test_share, dataset.seed)
    if "validation" in have or dataset.validation == "none":
        return clips
    if corpus.by_location:
        return split_by_location(clips, share, dataset.seed)
    return split_off(clips, "train", "validation", share, dataset.seed)


def _split_by_clip(
    clips: Sequence[Clip], dataset: Dataset, share: float
) -> tuple[Clip, ...]:
    """Split the clips of each label as if each were a recording of its own (leaky)."""
    drawn = tuple(
        dataclasses.replace(clip, identifier=str(number), split="train")
        for number, clip in enumerate(clips)
    )
    drawn = split_off(drawn, "train", "test", dataset.test_share, dataset.seed)
    if dataset.validation == "split":
        drawn = split_off(drawn, "train", "validation", share, dataset.seed)
    return tuple(
        dataclasses.replace(clip, split=other.split)
        for clip, other in zip(clips, drawn, strict=True)
    )
