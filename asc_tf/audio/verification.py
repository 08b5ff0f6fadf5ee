"""Verification of a corpus: its tables against the files in its folder."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from asc_tf.config import Audio
from asc_tf.core.folders import list_audio
from asc_tf.core.progress_bar import make_bar
from asc_tf.manifest import SPLITS, Manifest


@dataclasses.dataclass(frozen=True)
class Findings:
    """Result of a verification.

    Attributes:
        splits: Split of each file in the tables.
        missing: Files in the tables that are not in the folder.
        extra: Audio files in the folder that the protocol does not use.
        unreadable: Reason of each file that the scan would leave out, silent and very
            short ones too; empty if `quick`.
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
    """Look for every file of a manifest, and decode those that exist unless `quick`.

    Returns:
        Findings; paths are relative to `root`, sorted.
    """
    splits = {clip.path: clip.split for clip in manifest.clips}
    gone = {path for path in splits if not (root / path).is_file()}
    unusable = {} if quick else _find_unreadable(manifest, root, max_seconds)
    unreadable = {p: why for p, why in unusable.items() if p not in gone}
    known = {os.path.normpath(path) for path in splits}
    extra = sorted(
        path.relative_to(root).as_posix()
        for path in list_audio(root)
        if str(path.relative_to(root)) not in known
    )
    return Findings(splits, sorted(gone), extra, unreadable, quick)


def _find_unreadable(
    manifest: Manifest, root: Path, max_seconds: float
) -> dict[str, str]:
    from asc_tf.audio.scan import scan

    audio, bar = Audio(max_seconds=max_seconds), make_bar("decode", "files")
    scanned = scan(manifest, root, SPLITS, audio, progress=bar)
    return {
        clip.path: clip.reason
        for clip in sorted(scanned.clips, key=lambda clip: clip.path)
        if clip.reason and not clip.is_dropped
    }
