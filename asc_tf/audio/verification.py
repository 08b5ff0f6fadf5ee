"""Verification of a corpus: its tables against the files in its folder."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asc_tf.datasets.corpus import list_audio
from asc_tf.manifest import SPLITS, Manifest


@dataclasses.dataclass(frozen=True)
class Findings:
    """Result of a verification.

    Attributes:
        splits: Split of each file in the tables.
        missing: Files in the tables that are not in the folder.
        extra: Audio files in the folder that the protocol does not use.
        unreadable: Reason of each file that cannot be used; empty if `quick`.
        quick: Whether the files were not decoded.
    """

    splits: dict[str, str]
    missing: list[str]
    extra: list[str]
    unreadable: dict[str, str]
    quick: bool

    @property
    def is_complete(self) -> bool:
        """Whether no file of the tables is missing or, if decoded, unreadable."""
        return not self.missing and not self.unreadable

    def count_by_split(self) -> dict[str, dict[str, int]]:
        """Count all, missing and unreadable files, by split and in total."""
        rows = {}
        for split in (*SPLITS, "total"):
            paths = {
                path for path, its in self.splits.items() if split in (its, "total")
            }
            rows[split] = {
                "files": len(paths),
                "missing": len(paths.intersection(self.missing)),
                "unreadable": len(paths.intersection(self.unreadable)),
            }
        return rows

    def to_json(self) -> dict[str, Any]:
        """Make the record that `asc-tf datasets verify --json` prints."""
        return {
            "whole": self.is_complete,
            "decoded": not self.quick,
            "splits": self.count_by_split(),
            "missing": self.missing,
            "unreadable": self.unreadable,
            "extra": self.extra,
        }


def verify(
    manifest: Manifest, root: Path, max_seconds: float, *, quick: bool
) -> Findings:
    """Look for every file of a manifest, and decode those that exist.

    Args:
        manifest: Manifest of the corpus.
        root: Folder of the corpus.
        max_seconds: Longest duration that is accepted, in seconds.
        quick: Whether to look only, without decoding.

    Returns:
        Findings; paths are relative to `root`, sorted.
    """
    splits = {clip.path: clip.split for clip in manifest.clips}
    missing = sorted(path for path in splits if not (root / path).is_file())
    present = sorted(set(splits).difference(missing))
    unreadable = {} if quick else _find_unreadable(root, present, max_seconds)
    known = {os.path.normpath(path) for path in splits}
    extra = sorted(
        path.relative_to(root).as_posix()
        for path in list_audio(root)
        if str(path.relative_to(root)) not in known
    )
    return Findings(splits, missing, extra, unreadable, quick)


def _find_unreadable(
    root: Path, paths: list[str], max_seconds: float
) -> dict[str, str]:
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

    inspections = inspect_all([root / path for path in paths], max_seconds, progress)
    return {
        path: inspection.refusal
        for path, inspection in zip(paths, inspections, strict=True)
        if inspection.refusal
    }
