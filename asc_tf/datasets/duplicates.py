"""Duplicate files: exact copies, byte by byte.

A copy of a validation or test clip in training makes the result too good, whatever the
identifiers say; of two copies with different labels one label is wrong.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from asc_tf.core.files import hash_bytes, hash_path
from asc_tf.core.processors import count_processors
from asc_tf.core.wording import count
from asc_tf.manifest import Clip

PIECE_BYTES = 4096
"""Bytes in the middle of a file that are compared before whole files are."""

MAX_NAMED = 3
"""Most pairs of copies that a note names."""

Group = tuple[Clip, ...]
"""Clips of files that are copies of each other."""


def find_duplicates(clips: Sequence[Clip], root: Path) -> list[Group]:
    """Find clips whose files are copies of each other.

    Of most files only the size is compared, which the scan noted, and of some a piece;
    whole files are read only if both agree.

    Args:
        clips: Scanned clips; clips without a size, or of a file that cannot be read,
            are ignored.
        root: Folder of the corpus.

    Returns:
        Groups with two files or more each; their clips are in the given order.
    """
    by_path: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.size:
            by_path[clip.path].append(clip)
    groups = _divide([list(by_path)], lambda path: by_path[path][0].size)
    groups = _divide(groups, lambda path: _hash(root / path, _hash_piece))
    groups = _divide(groups, lambda path: _hash(root / path, hash_path))
    return [tuple(clip for path in group for clip in by_path[path]) for group in groups]


def describe_duplicates(groups: Iterable[Group], splits: Sequence[str]) -> list[str]:
    """Describe the copies that falsify the results of some splits, and what to do.

    Returns:
        A sentence each for copies in different splits, copies with different labels,
        and other copies.
    """
    divided, contradicting, repeated = [], [], []
    for group in groups:
        if not {clip.split for clip in group} & set(splits):
            continue
        if len({clip.split for clip in group}) > 1:
            divided.append(group)
        if differing := _list_contradictions(group):
            contradicting.append(differing)
        elif len({clip.split for clip in group}) == 1:
            repeated.append(group)
    notes = []
    if divided:
        notes.append(
            f"{count(len(divided), 'file has', 'files have')} an exact copy in "
            "another split "
            f"({_name_pairs(divided, splits, 'split')}): the result is too good; "
            "remove the copies, or give copies one recording "
            "(dataset.identifier_pattern or dataset.identifier_column), which keeps "
            "them in one split"
        )
    if contradicting:
        notes.append(
            f"{count(len(contradicting), 'file has', 'files have')} an exact copy with "
            "another label "
            f"({_name_pairs(contradicting, splits, 'label')}): remove the wrong one"
        )
    if repeated:
        notes.append(
            f"{count(len(repeated), 'file has', 'files have')} an exact copy in the "
            f"same split ({_name_pairs(repeated, splits, 'split')}), and so count more "
            "than once; "
            "remove the copies if that is not meant"
        )
    return notes


def _list_contradictions(group: Group) -> Group:
    """List the clips of copies whose labels differ for the same span of time."""
    labels: dict[tuple[float, float], set[str]] = defaultdict(set)
    for clip in group:
        # Clips of a test split may have no labels.
        if clip.label:
            labels[clip.start, clip.duration].add(clip.label)
    return tuple(c for c in group if len(labels[c.start, c.duration]) > 1)


def _divide(
    groups: Iterable[Sequence[str]], key: Callable[[str], Hashable]
) -> list[list[str]]:
    """Divide groups of paths by a key; drop single paths and empty keys."""
    groups = [list(group) for group in groups]
    with ThreadPoolExecutor(count_processors()) as pool:
        keys = iter(list(pool.map(key, [path for group in groups for path in group])))
    divided = []
    for group in groups:
        alike: dict[Hashable, list[str]] = defaultdict(list)
        for path in group:
            if value := next(keys):
                alike[value].append(path)
        divided += [paths for paths in alike.values() if len(paths) > 1]
    return divided


def _hash(path: Path, digest: Callable[[Path], str]) -> str:
    """Hash a file; empty if it cannot be read."""
    try:
        return digest(path)
    except OSError:
        return ""


def _hash_piece(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(os.fstat(stream.fileno()).st_size - PIECE_BYTES, 0) // 2)
        return hash_bytes(stream.read(PIECE_BYTES))


def _name_pairs(groups: Sequence[Group], splits: Sequence[str], field: str) -> str:
    """Name two files of each of the first groups, the second one in these splits."""
    shown = []
    for group in groups[:MAX_NAMED]:
        ordered = sorted(group, key=lambda clip: clip.split in splits)
        first, others = ordered[0], [c for c in ordered if c.path != ordered[0].path]
        value = getattr(first, field)
        differing = [clip for clip in others if getattr(clip, field) != value]
        other = (differing or others)[-1]
        shown.append(
            f"{first.path} in {value} and {other.path} in {getattr(other, field)}"
        )
    return "; ".join(shown) + ("; ..." if len(groups) > MAX_NAMED else "")
