"""Manifest: the table of a run's clips, with their source, label and split.

An adapter in `asc_tf.datasets` makes clips without a split or with the official one;
`asc_tf.datasets.load` draws the missing splits; `Manifest.check` refuses a table that
would make a result wrong.
"""

import csv
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.files import write_csv

SPLITS = ("train", "validation", "test")

DROPPED = "its recording is also in the "
"""Start of the reason of a clip that `dataset.drop_shared_recordings` excluded."""


@dataclass(frozen=True)
class Clip:
    """Row of the manifest; the columns from `size` on come from the scan.

    Unknown values are the empty string, or None for `fold`.

    Attributes:
        path: Path relative to the corpus folder, with forward slashes.
        label: Scene label; may be empty for a test clip.
        identifier: Recording location or source recording.
        city: City of the location.
        device: Recording device.
        fold: Cross-validation fold.
        split: `train`, `validation` or `test`.
        start: Start of the clip in its file in seconds.
        duration: Duration in seconds; 0 means up to the end of the file.
        verified: "1" if a person has checked the label, "0" if not.
        usage: Role of the clip in a competition.
        size: Size of the file in bytes.
        mtime_ns: Modification time of the file in nanoseconds.
        route: Decoder of the file.
        sample_rate: Sample rate of the file in Hz.
        channels: Channels of the file.
        samples: Samples per channel of the file.
        peak: Largest absolute sample value.
        note: Defect of a file that can be used all the same.
        reason: Reason why the clip is excluded.
    """

    path: str
    label: str
    identifier: str
    city: str = ""
    device: str = ""
    fold: int | None = None
    split: str = ""
    start: float = 0.0
    duration: float = 0.0
    verified: str = ""
    usage: str = ""
    size: int = 0
    mtime_ns: int = 0
    route: str = ""
    sample_rate: int = 0
    channels: int = 0
    samples: int = 0
    peak: float = 0.0
    note: str = ""
    reason: str = ""

    @property
    def bounds(self) -> tuple[int, int]:
        """First sample of the clip in its scanned file, and the one after the last."""
        start, length = (
            round(min(time * self.sample_rate, self.samples))
            for time in (self.start, self.duration)
        )
        has_end = self.duration * self.sample_rate > 0
        return start, min(start + length, self.samples) if has_end else self.samples

    @property
    def seconds(self) -> float:
        """Duration of the clip in seconds, once its file has been scanned."""
        whole = self.samples / self.sample_rate if self.sample_rate else 0.0
        left = max(whole - self.start, 0.0)
        return min(self.duration, left) if self.duration else left

    @property
    def is_dropped(self) -> bool:
        """Whether `dataset.drop_shared_recordings` excluded it, not the scan."""
        return self.reason.startswith(DROPPED)


@dataclass(frozen=True)
class Manifest:
    """All clips of a run, in a fixed order.

    Attributes:
        clips: Rows, excluded ones as well.
        labels: Class names; a class's index is its `label_id`.
        protocol: Description of the split: `corpus`, `protocol`, `fold`, `leaky`;
            `validation`, which is "none" if there is no validation split; and
            `shared_recordings` if a published split divides recordings.
    """

    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    protocol: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of the corpus, in order."""
        if self.protocol.get("validation") == "none":
            return tuple(split for split in SPLITS if split != "validation")
        return SPLITS

    def clips_in(self, *splits: str) -> tuple[Clip, ...]:
        """List the usable clips of some splits, those of the first split first."""
        return tuple(
            clip
            for split in splits
            for clip in self.clips
            if clip.split == split and not clip.reason
        )

    @property
    def excluded(self) -> tuple[Clip, ...]:
        """Excluded clips, each with its reason."""
        return tuple(clip for clip in self.clips if clip.reason)

    def check(self) -> None:
        """Refuse a table that cannot give a valid result.

        Raises:
            UserError: If an identifier is in two splits, unless the protocol is leaky
                or a published split divides it; if there are fewer than two labels, a
                row without a split, or a split without clips.
        """
        if not self.protocol.get("leaky"):
            shared = self.protocol.get("shared_recordings", {})
            check_leaks(self.clips, shared.get("names", {}))
        if len(self.labels) < 2:
            names = ", ".join(self.labels) or "none"
            raise UserError(f"the corpus has fewer than two labels (found: {names})")
        for clip in self.clips:
            if clip.split not in self.splits:
                raise UserError(
                    f"{clip.path}: split {clip.split!r} is none of "
                    f"{', '.join(self.splits)}"
                )
            if not clip.label and clip.split != "test":
                raise UserError(
                    f"{clip.path}: has no label, and is in the {clip.split} split; "
                    "only test clips may have none"
                )
        for split in self.splits:
            if not self.clips_in(split):
                # All of them, since the split has no usable clip.
                left_out = sum(clip.split == split for clip in self.excluded)
                reason = f": all {left_out} were left out" if left_out else ""
                raise UserError(
                    f"the {split} split has no usable clips{reason}; more clips or "
                    "recordings are needed, or other shares"
                )
        present = {clip.label for clip in self.clips_in("train")}
        if missing := [label for label in self.labels if label not in present]:
            names = ", ".join(missing)
            raise UserError(f"no training clip has the label {names}; add such clips")

    def write(self, path: Path) -> None:
        """Write the table as CSV, atomically."""
        columns = [item.name for item in dataclasses.fields(Clip)]
        write_csv(path, columns, map(dataclasses.asdict, self.clips))


def read_clips(path: Path) -> tuple[Clip, ...]:
    """Read a table that `Manifest.write` wrote.

    Raises:
        UserError: If the file is missing or is not such a table.
    """
    types: dict[str, Any] = {
        item.name: type(item.default) for item in dataclasses.fields(Clip)
    }
    types |= {"path": str, "label": str, "identifier": str}
    types["fold"] = lambda text: int(text) if text else None
    names = list(types)
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            if next(reader, []) != names:
                raise ValueError(f"its columns are not {', '.join(names)}")
            return tuple(
                Clip(**{n: types[n](cell) for n, cell in zip(names, row, strict=True)})
                for row in reader
            )
    except (OSError, csv.Error, ValueError) as error:
        raise UserError(f"{path}: not a manifest: {error}") from error


def find_divided_recordings(clips: Iterable[Clip]) -> dict[str, tuple[str, ...]]:
    """Find identifiers, and files, that are in more than one split.

    Returns:
        Splits in the order of `SPLITS`, by name; the names are sorted.
    """
    splits = defaultdict(set)
    for clip in clips:
        if clip.split:
            splits[clip.identifier].add(clip.split)
            splits[clip.path].add(clip.split)
    return {
        name: tuple(sorted(splits[name], key=SPLITS.index))
        for name in sorted(splits)
        if len(splits[name]) > 1
    }


def check_leaks(
    clips: Iterable[Clip], published: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Refuse a table in which an identifier, or a file, is in two splits.

    Args:
        clips: Rows to check.
        published: Splits of the recordings that a published split divides.

    Raises:
        UserError: Naming the first ones.
    """
    offenders = {
        name: splits
        for name, splits in find_divided_recordings(clips).items()
        if not set(splits) <= set((published or {}).get(name, ()))
    }
    if offenders:
        shown = ", ".join(
            f"{name} ({' and '.join(sorted(splits))})"
            for name, splits in list(offenders.items())[:5]
        )
        more = f" and {len(offenders) - 5} more" if len(offenders) > 5 else ""
        raise UserError(
            f"in two splits: {shown}{more}; give the clips of a recording one split, "
            "or correct dataset.identifier_pattern (or dataset.identifier_column)"
        )


def pick_evenly(items: Sequence[Any] | np.ndarray, count: int) -> list[Any]:
    """Pick at most `count` items, evenly spaced, so that every class is among them."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round()
    return [items[int(place)] for place in places]


def check_names(clips: Iterable[Clip]) -> None:
    """Refuse names that a table cannot hold, and labels that cannot be printed.

    Raises:
        UserError: If a path, label or other name has a line break, or bytes that are
            not UTF-8; or if a label has another character that cannot be printed.
    """
    for clip in clips:
        for field in ("path", "label", "identifier", "city", "device"):
            text = getattr(clip, field)
            is_utf8 = text == text.encode(errors="replace").decode()
            if not is_utf8 or "\0" in text or text.splitlines() not in ([], [text]):
                raise UserError(
                    f"{clip.path!r}: its {field} {text!r} has a line break, or bytes "
                    "that are not UTF-8; rename it"
                )
        is_missing = not clip.label and clip.split != "test"
        if not clip.label.isprintable() or is_missing:
            raise UserError(
                f"{clip.path!r}: its label {clip.label!r} has a character that cannot "
                "be printed, or is empty; rename it"
            )


def split_off(
    clips: Sequence[Clip], source: str, target: str, share: float, seed: int
) -> tuple[Clip, ...]:
    """Move a share, 0 to 1, of a split's recordings to another split, at random.

    Recordings (identifiers) move whole, about `share` of them for each label, at least
    one where a label has two. A recording with several labels counts for its most
    frequent one. The same seed moves the same ones. All rows are returned, in order.
    """
    generator = np.random.default_rng(seed)
    moved = set()
    for recordings in group_recordings(clips, source).values():
        names = list(recordings)
        wanted = max(round(share * len(names)), 1) if len(names) > 1 else 0
        order = generator.permutation(len(names))
        moved |= {names[index] for index in order[: min(wanted, len(names) - 1)]}
    return move_recordings(clips, moved, source, target)


def group_recordings(clips: Iterable[Clip], split: str) -> dict[str, dict[str, int]]:
    """Group the recordings of a split by label, that of most of their clips.

    Returns:
        Number of clips of each recording, by label and identifier, both sorted.
    """
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if clip.split == split:
            labels[clip.identifier][clip.label] += 1
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for identifier, counts in sorted(labels.items()):
        main = min(counts, key=lambda label: (-counts[label], label))
        groups[main][identifier] = counts.total()
    return dict(sorted(groups.items()))


def move_recordings(
    clips: Iterable[Clip], identifiers: Collection[str], source: str, target: str
) -> tuple[Clip, ...]:
    """Move the clips of some recordings from one split to another."""
    return tuple(
        dataclasses.replace(clip, split=target)
        if clip.split == source and clip.identifier in identifiers
        else clip
        for clip in clips
    )


def format_counts(manifest: Manifest) -> str:
    """Format the numbers of labels, and of clips and recordings by split, in a line."""
    counts = [
        f"{split} {len(clips)} clips of {len({c.identifier for c in clips})} recordings"
        for split in manifest.splits
        for clips in [manifest.clips_in(split)]
    ]
    text = f"{len(manifest.labels)} labels; " + ", ".join(counts)
    excluded = manifest.excluded
    return text + (f"; {len(excluded)} left out" if excluded else "")
