"""Validation split by whole recording locations, with every scene and every city.

Neighbouring clips of one location are nearly alike: with a location in both splits a
model could score by remembering places. The cities of a scene sound different: a split
that lacks some says little about them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from asc_tf.manifest import (
    SPLITS,
    Clip,
    Manifest,
    group_recordings,
    move_recordings,
)

SLACK = 0.1
"""Largest deviation of a scene's share that is accepted to have its cities in both
splits, for shares below 30 or above 70 per cent.

With three locations per city, as is usual, 25 per cent can have them all, 15 cannot.
"""


def split_by_location(
    clips: Sequence[Clip], share: float, seed: int
) -> tuple[Clip, ...]:
    """Move about a share, 0 to 1, of each scene's training clips to validation.

    Locations (identifiers) move whole. A scene with two or more locations has at least
    one in each split, and so has each city of a scene; with a share below 30 or above
    70 per cent only if the scene's share is then within `SLACK` of `share`. A location
    with several scenes counts for the scene of most of its clips. The same seed moves
    the same ones. All rows are returned, in order.
    """
    cities: dict[str, str] = {}
    for clip in clips:
        if clip.split == "train":
            cities.setdefault(clip.identifier, clip.city)
    generator = np.random.default_rng(seed)
    moved: set[str] = set()
    for sizes in group_recordings(clips, "train").values():
        names = list(sizes)
        order = [names[place] for place in generator.permutation(len(names))]
        moved |= _Scene(order, sizes, cities, share).choose()
    return move_recordings(clips, moved, "train", "validation")


@dataclass(frozen=True)
class _Scene:
    """Locations of a scene in random order, their clips, and the share to move."""

    order: list[str]
    sizes: dict[str, int]
    cities: dict[str, str]
    share: float

    def choose(self) -> set[str]:
        """Choose the locations to move: one of each city, then a local search."""
        chosen = self._begin()
        while True:
            best = min(self._neighbours(chosen), key=self._distance, default=chosen)
            if self._distance(best) >= self._distance(chosen):
                return chosen
            chosen = best

    @cached_property
    def groups(self) -> list[set[str]]:
        """Sets of locations that must each be in both splits: the scene, its cities."""
        scene = set(self.order)
        if len(scene) < 2:
            return []
        by_city: dict[str, set[str]] = defaultdict(set)
        for name in self.order:
            by_city[self.cities[name]].add(name)
        cities = [names for names in by_city.values() if len(names) > 1]
        # The fewest clips of a split: those of the smallest location of each city.
        fewest = sum(min(self.sizes[name] for name in names) for names in cities)
        smaller = min(self.share, 1 - self.share)
        is_possible = smaller >= 0.3 - 1e-9 or (
            fewest <= (smaller + SLACK) * sum(self.sizes.values())
        )
        return [scene, *cities] if is_possible else [scene]

    def _begin(self) -> set[str]:
        chosen: set[str] = set()
        # The scene comes last: it has a location by then, if a city has two.
        for group in reversed(self.groups):
            if not chosen & group:
                chosen.add(next(name for name in self.order if name in group))
        return chosen

    def _neighbours(self, chosen: set[str]) -> Iterator[set[str]]:
        """Yield the choices with one location more, less, or swapped within a city."""
        for name in self.order:
            swaps = (
                {name, other}
                for other in self.order
                if name in chosen
                and other not in chosen
                and self.cities[name] == self.cities[other]
            )
            for change in ({name}, *swaps):
                if self._is_fair(chosen ^ change):
                    yield chosen ^ change

    def _is_fair(self, chosen: set[str]) -> bool:
        return bool(self.groups) and all(
            0 < len(group & chosen) < len(group) for group in self.groups
        )

    def _distance(self, chosen: set[str]) -> float:
        wanted = self.share * sum(self.sizes.values())
        return abs(sum(self.sizes[name] for name in chosen) - wanted)


def tabulate_splits(manifest: Manifest) -> list[dict[str, Any]]:
    """Count the clips and locations of each label in each split.

    Returns:
        A dictionary per label, in class order: `label`, then `train_clips`,
        `train_locations`, and the same for `validation` and `test`; `test_clip_share`,
        the share of the label's clips, and `validation_location_share`, the share of
        its locations that are not for the test, each None without such clips. Excluded
        clips do not count.
    """
    clips: Counter[tuple[str, str]] = Counter()
    locations: dict[tuple[str, str], set[str]] = defaultdict(set)
    for split in SPLITS:
        for clip in manifest.clips_in(split):
            clips[clip.label, split] += 1
            locations[clip.label, split].add(clip.identifier)
    table = []
    for label in manifest.labels:
        row: dict[str, Any] = {"label": label}
        for split in SPLITS:
            row[f"{split}_clips"] = clips[label, split]
            row[f"{split}_locations"] = len(locations[label, split])
        held_out = locations[label, "validation"]
        row["test_clip_share"] = _compute_share(
            row["test_clips"], sum(row[f"{split}_clips"] for split in SPLITS)
        )
        row["validation_location_share"] = _compute_share(
            len(held_out), len(held_out | locations[label, "train"])
        )
        table.append(row)
    return table


def _compute_share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
