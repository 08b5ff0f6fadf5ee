"""The one table of a run: every clip, where it comes from and which part it is in.

An adapter in `asc_tf.datasets` makes clips without a split or with the official one;
`split` fills in what is missing; `Manifest.check` refuses what would make a result
wrong. The table is written to the run folder and read back by later commands.
"""

import csv
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.files import write_csv

SPLITS = ("train", "validation", "test")

DROPPED = "its recording is also in the "
"""Beginning of the reason of a clip that `dataset.drop_shared_recordings` left out."""


@dataclass(frozen=True)
class Clip:
    """One row. What a corpus does not say is the empty string, or None for `fold`.

    The label of a test clip may be empty too: such a part can be predicted only.
    `path` is relative to the corpus folder, with forward slashes. `start`, `duration`
    (seconds) cut the clip out of its file; a duration of 0 reaches to its end.
    `verified` is "1" where a person has checked the label and "0" where not, `usage`
    what a competition used the clip for. The columns from `size` on are what the scan
    found: `route` is the decoder, `note` what is odd about a file that can be used,
    `reason` why a clip is left out; it then belongs to no split.
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
    def seconds(self) -> float:
        """Duration of the clip, once its file has been scanned."""
        whole = self.samples / self.sample_rate if self.sample_rate else 0.0
        left = max(whole - self.start, 0.0)
        return min(self.duration, left) if self.duration else left

    @property
    def is_dropped(self) -> bool:
        """Whether `dataset.drop_shared_recordings` left it out: no scan can mend it."""
        return self.reason.startswith(DROPPED)


@dataclass(frozen=True)
class Manifest:
    """All clips of a run, in a fixed order.

    Attributes:
        clips: The rows, those left out included.
        labels: Class names; a class's index is its `label_id`.
        protocol: How the corpus was split: `corpus`, `protocol`, `fold`, `leaky`;
            `validation`, which is "none" where there is no validation part; and
            `shared_recordings` where a published split divides recordings.
    """

    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    protocol: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the corpus is divided into."""
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
        """The clips that are left out, each with its reason."""
        return tuple(clip for clip in self.clips if clip.reason)

    def check(self) -> None:
        """Refuse a table that cannot give an honest result.

        Raises:
            UserError: If an identifier is in two splits (naming some), the protocol
                does not say that it is leaky and no published split put it there; if
                there are fewer than two labels, a row without a split, or a split
                without clips.
        """
        if not self.protocol.get("leaky"):
            shared = self.protocol.get("shared_recordings", {})
            check_leaks(self.clips, shared.get("names", {}))
        if len(self.labels) < 2:
            found = ", ".join(self.labels) or "none"
            raise UserError(f"the corpus has fewer than two labels (found: {found})")
        for clip in self.clips:
            if clip.split not in self.splits:
                raise UserError(
                    f"{clip.path}: split {clip.split!r} is none of "
                    f"{', '.join(self.splits)}"
                )
            if not clip.label and clip.split != "test":
                raise UserError(
                    f"{clip.path}: has no label, and is in the {clip.split} part; only "
                    "test clips may have none"
                )
        for split in self.splits:
            if not self.clips_in(split):
                raise UserError(
                    f"the {split} part has no usable clips "
                    f"({_summary(self.clips, split)}); more clips or recordings are "
                    "needed, or other shares"
                )
        trained = {clip.label for clip in self.clips_in("train")}
        if missing := [label for label in self.labels if label not in trained]:
            raise UserError(f"no training clip has the label {', '.join(missing)}")

    def write(self, path: Path) -> None:
        """Write the table as CSV, whole or not at all."""
        columns = [item.name for item in dataclasses.fields(Clip)]
        write_csv(path, columns, map(dataclasses.asdict, self.clips))


def read_clips(path: Path) -> tuple[Clip, ...]:
    """Read a table that `Manifest.write` wrote.

    Raises:
        UserError: If the file is missing or is no such table.
    """
    kinds: dict[str, Any] = {
        item.name: type(item.default) for item in dataclasses.fields(Clip)
    }
    kinds |= {"path": str, "label": str, "identifier": str}
    names = list(kinds)

    def value(name: str, text: str) -> Any:
        if name == "fold":
            return int(text) if text else None
        return kinds[name](text)

    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            if next(reader, []) != names:
                raise ValueError(f"its columns are not {', '.join(names)}")
            return tuple(
                Clip(**{n: value(n, text) for n, text in zip(names, row, strict=True)})
                for row in reader
            )
    except (OSError, csv.Error, ValueError) as error:
        raise UserError(f"{path}: not a manifest: {error}") from error


def find_divided_recordings(clips: Iterable[Clip]) -> dict[str, tuple[str, ...]]:
    """Identifiers, and files, that are in more than one split.

    Returns:
        Their splits in the order of `SPLITS`, by name, sorted.
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
        clips: The rows.
        published: The recordings that a published split divides, with their splits.

    Raises:
        UserError: Naming the first offenders.
    """
    known = published or {}
    offenders = {
        name: splits
        for name, splits in find_divided_recordings(clips).items()
        if not set(splits) <= set(known.get(name, ()))
    }
    if offenders:
        shown = ", ".join(
            f"{name} ({' and '.join(sorted(splits))})"
            for name, splits in list(offenders.items())[:5]
        )
        more = f" and {len(offenders) - 5} more" if len(offenders) > 5 else ""
        raise UserError(
            f"in two splits: {shown}{more}; a recording must be in one split only"
        )


def pick_evenly(items: Sequence[Any] | np.ndarray, count: int) -> list[Any]:
    """At most `count` items, as far apart as can be: a sorted table has every class."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round()
    return [items[int(place)] for place in places]


def check_names(clips: Iterable[Clip]) -> None:
    """Refuse names that a table of lines cannot hold, and labels that do not print.

    Raises:
        UserError: If a path, label or other name has a line break, or bytes that are
            not UTF-8; or if a label has another character that cannot be printed.
    """
    for clip in clips:
        for field in ("path", "label", "identifier", "city", "device"):
            text = getattr(clip, field)
            sound = text == text.encode(errors="replace").decode() and "\0" not in text
            if not sound or text.splitlines() not in ([], [text]):
                raise UserError(
                    f"{clip.path!r}: its {field} {text!r} has a line break, or bytes "
                    "that are not UTF-8; rename it"
                )
        has_none = not clip.label and clip.split != "test"
        if not clip.label.isprintable() or has_none:
            raise UserError(
                f"{clip.path!r}: its label {clip.label!r} has a character that cannot "
                "be printed, or is empty; rename it"
            )


def split_off(
    clips: Sequence[Clip], source: str, target: str, share: float, seed: int
) -> tuple[Clip, ...]:
    """Move a share of a split's recordings to another split.

    Recordings (identifiers) move whole, about `share` of them for each label, at least
    one where a label has two. A recording with several labels counts for its most
    frequent one.

    Args:
        clips: All rows.
        source: The split that gives.
        target: The split that receives.
        share: Share of recordings to move, 0 to 1.
        seed: The same seed moves the same recordings.

    Returns:
        All rows, in their order.
    """
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        if clip.split == source:
            labels[clip.identifier][clip.label] += 1
    recordings = defaultdict(list)
    for identifier in sorted(labels):
        counts = labels[identifier]
        main = min(counts, key=lambda label: (-counts[label], label))
        recordings[main].append(identifier)
    generator = np.random.default_rng(seed)
    moved = set()
    for label in sorted(recordings):
        names = recordings[label]
        wanted = max(round(share * len(names)), 1) if len(names) > 1 else 0
        order = generator.permutation(len(names))
        moved |= {names[index] for index in order[: min(wanted, len(names) - 1)]}
    return tuple(
        dataclasses.replace(clip, split=target)
        if clip.split == source and clip.identifier in moved
        else clip
        for clip in clips
    )


def count_by_split(manifest: Manifest) -> str:
    """One line: clips, recordings and labels of each split, and what is left out."""
    parts = [
        f"{split} {len(part)} clips of {len({c.identifier for c in part})} recordings"
        for split in manifest.splits
        for part in [manifest.clips_in(split)]
    ]
    text = f"{len(manifest.labels)} labels; " + ", ".join(parts)
    left_out = len(manifest.excluded)
    return text + (f"; {left_out} left out" if left_out else "")


def _summary(clips: Sequence[Clip], split: str) -> str:
    mine = [clip for clip in clips if clip.split == split]
    left_out = sum(bool(clip.reason) for clip in mine)
    return f"{len(mine)} clips, {left_out} of them left out"
