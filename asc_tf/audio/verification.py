"""Compare a corpus's tables with the files in its folder."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asc_tf.datasets.corpus import is_audio, list_files
from asc_tf.manifest import SPLITS, Manifest


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        splits: The split of each file that is in a table.
        missing: Files in a table that are not in the folder.
        extra: Audio files in the folder that the protocol does not use.
        unreadable: Files that cannot be used, with reasons; none if `quick`.
        quick: Whether the files were not decoded.
    """

    splits: dict[str, str]
    missing: list[str]
    extra: list[str]
    unreadable: dict[str, str]
    quick: bool

    @property
    def whole(self) -> bool:
        """Whether all that is in a table is there and, as far as tried, readable."""
        return not self.missing and not self.unreadable

    def by_split(self) -> dict[str, dict[str, int]]:
        """Numbers of files, of missing and of unreadable ones, by split and in all."""
        rows = {}
        for split in (*SPLITS, "total"):
            mine = {
                path for path, its in self.splits.items() if split in (its, "total")
            }
            rows[split] = {
                "files": len(mine),
                "missing": len(mine.intersection(self.missing)),
                "unreadable": len(mine.intersection(self.unreadable)),
            }
        return rows

    def to_json(self) -> dict[str, Any]:
        """The record that `asc-tf datasets verify --json` prints."""
        return {
            "whole": self.whole,
            "decoded": not self.quick,
            "splits": self.by_split(),
            "missing": self.missing,
            "unreadable": self.unreadable,
            "extra": self.extra,
        }


def verify(
    manifest: Manifest, root: Path, max_seconds: float, *, quick: bool
) -> Findings:
    """Look for every file of a manifest, and decode those that are there.

    Args:
        manifest: The manifest.
        root: The corpus folder.
        max_seconds: A longer file counts as unreadable.
        quick: Look only, do not decode.

    Returns:
        The findings; paths are relative to `root`, sorted.
    """
    splits = {clip.path: clip.split for clip in manifest.clips}
    missing = sorted(path for path in splits if not (root / path).is_file())
    there = sorted(set(splits).difference(missing))
    unreadable = {} if quick else _unreadable(root, there, max_seconds)
    known = {os.path.normpath(path) for path in splits}
    extra = sorted(
        path.relative_to(root).as_posix()
        for path in list_files(root)
        if is_audio(path, root) and str(path.relative_to(root)) not in known
    )
    return Findings(splits, missing, extra, unreadable, quick)


def _unreadable(root: Path, paths: list[str], max_seconds: float) -> dict[str, str]:
    from tqdm import tqdm

    from asc_tf.audio.inspect import inspect_all

    def progress(done: Iterable) -> Iterable:
        return tqdm(
            done,
            "decode",
            total=len(paths),
            unit=" files",
            leave=False,
            disable=None,
        )

    found = inspect_all([root / path for path in paths], max_seconds, progress)
    return {
        path: each.refusal
        for path, each in zip(paths, found, strict=True)
        if each.refusal
    }
