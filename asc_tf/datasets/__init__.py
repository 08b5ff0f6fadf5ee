"""Corpora: a folder on disk and its official protocol become a manifest.

An adapter is a function from the dataset settings to `Corpus`. It reads names and
tables, never audio.
"""

import os
from collections.abc import Callable
from pathlib import Path

from asc_tf.config import Dataset
from asc_tf.datasets import esc, folder, table
from asc_tf.datasets.corpus import Corpus
from asc_tf.errors import UsageError
from asc_tf.manifest import Manifest, check_names, split_off

__all__ = ["Corpus", "load"]

ADAPTERS: dict[str, Callable[[Dataset, Path], Corpus]] = {
    "synthetic": table.synthetic,
    "esc10": esc.esc10,
    "esc50": esc.esc50,
    "folder": folder.folder,
    "csv": table.csv_table,
}


def load(dataset: Dataset) -> Manifest:
    """Read a corpus and split it; the clips are not scanned yet.

    A corpus without a test part gives up `test_share` of its recordings for one, and
    one without a validation part `validation_share` of its training recordings.

    Args:
        dataset: The dataset settings.

    Returns:
        The manifest, every row with a split.

    Raises:
        UsageError: If the folder is missing or empty, or a setting does not fit it.
        UserError: If a table cannot be read, or a name cannot be written to one.
    """
    directory = Path(os.path.expanduser(dataset.dir))
    if dataset.dir and not directory.is_dir() and dataset.name != "synthetic":
        raise UsageError(f"dataset.dir = {dataset.dir}: no such folder")
    if not dataset.dir:
        raise UsageError(
            f"dataset.dir is missing: the folder of the {dataset.name} corpus"
        )
    corpus = ADAPTERS[dataset.name](dataset, directory)
    if not corpus.clips:
        raise UsageError(
            f"dataset.dir = {dataset.dir}: no clips found; expected {corpus.layout}"
        )
    clips = corpus.clips
    check_names(clips)
    have = {clip.split for clip in clips}
    if "test" not in have:
        clips = split_off(clips, "train", "test", dataset.test_share, dataset.seed)
    if "validation" not in have:
        clips = split_off(
            clips, "train", "validation", dataset.validation_share, dataset.seed
        )
    return Manifest(clips, corpus.labels, corpus.protocol)
