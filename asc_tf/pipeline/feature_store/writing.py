"""Shards written one after the other, those that are there already left alone."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from asc_tf.core.files import hash_bytes, hash_path, write_atomically
from asc_tf.core.version import __version__
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline.feature_store.contents import Contents, Shard
from asc_tf.pipeline.feature_store.layout import FeaturesFolder

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of the segments of some clips: features float32 `[segments, frames, bands, ...]`,
clip int32 `[segments]` (its place among these clips), weight float32 `[segments]`."""


class _Job(NamedTuple):
    """A shard to be.

    `first` is the place of its first clip in the split, `source` a hash of all that it
    depends on beside the settings.
    """

    file: str
    first: int
    clips: tuple[Clip, ...]
    source: str


class Writer:
    """Writes the shards that are missing; memory holds one at a time.

    Args:
        folder: The features folder.
        manifest: The corpus, scanned.
        compute: Clips to the arrays of their segments.
        expected: Segments of a clip, by what is known of its length.
        most: Segments in a shard, unless one clip alone has more.
    """

    def __init__(
        self,
        folder: FeaturesFolder,
        manifest: Manifest,
        compute: Callable[[Sequence[Clip]], Arrays],
        expected: Callable[[Clip], int],
        most: int,
    ) -> None:
        self._folder, self._manifest = folder, manifest
        self._compute, self._expected, self._most = compute, expected, most

    def write(self, contents: Contents) -> Contents:
        """Write the splits that `contents` names; returns what there is then.

        Args:
            contents: What is to be in the folder, with the shards that are there.
        """
        # First, so that a table is never beside a features.json that it is not of.
        self._folder.write_partial(contents)
        self._manifest.write(self._folder.manifest_file)
        contents = dataclasses.replace(
            contents, manifest_sha256=hash_path(self._folder.manifest_file)
        )
        for split in contents.splits:
            contents = self._write_split(contents, split)
        self._folder.finish(contents)
        return contents

    def _write_split(self, contents: Contents, split: str) -> Contents:
        from tqdm import tqdm

        began, kept = time.monotonic(), 0
        shards = {shard.file: shard for shard in contents.splits[split]}
        jobs = list(self._jobs(contents, split))
        for job in tqdm(jobs, split, unit=" files", leave=False, disable=None):
            shard = shards.get(job.file)
            if shard and shard.source == job.source and self._folder.is_sound(shard):
                kept += 1
                continue
            shards[job.file] = self._write_shard(contents, job)
            contents = _with(contents, split, shards.values())
            self._folder.write_partial(contents)
        # What is left over is of clips that there are no more.
        finished = [shards[job.file] for job in jobs]
        contents = _with(contents, split, finished)
        contents = dataclasses.replace(
            contents, finished=tuple(dict.fromkeys((*contents.finished, split)))
        )
        _say(split, finished, kept, time.monotonic() - began)
        return contents

    def _jobs(self, contents: Contents, split: str) -> Iterator[_Job]:
        """Whole clips, as many as a shard can hold by what is known of their length."""
        clips, parts = self._manifest.clips_in(split), [0]
        held = 0
        for place, clip in enumerate(clips):
            count = self._expected(clip)
            if place > parts[-1] and held + count > self._most:
                parts.append(place)
                held = 0
            held += count
        for number, (first, end) in enumerate(pairwise([*parts, len(clips)])):
            file = f"{split}-{number:05}.{contents.format}"
            own = clips[first:end]
            rows = [dataclasses.asdict(clip) for clip in own]
            # Another version may compute other features.
            known = [__version__, first, contents.labels, contents.shape, rows]
            identity = json.dumps(known)
            source = hash_bytes(identity.encode())
            yield _Job(file, first, own, source)

    def _write_shard(self, contents: Contents, job: _Job) -> Shard:
        from asc_tf.pipeline.feature_store import shards

        features, clip, weight = self._compute(job.clips)
        ids = {label: index for index, label in enumerate(contents.labels)}
        # Test clips may have no label: no class has the index -1.
        label_ids = np.array([ids.get(row.label, -1) for row in job.clips], np.int32)
        folds = [-1 if row.fold is None else row.fold for row in job.clips]
        arrays = {
            "features": features,
            "label_id": label_ids[clip],
            "clip": clip + np.int32(job.first),
            "fold": np.array(folds, np.int32)[clip],
            "weight": weight,
        }
        with write_atomically(self._folder.path / job.file) as partial:
            shards.write(partial, contents.format, arrays)
            checksum, size = hash_path(partial), partial.stat().st_size
        counts = np.bincount(clip, minlength=len(job.clips))
        return Shard(job.file, checksum, size, job.source, tuple(counts.tolist()))


def _with(contents: Contents, split: str, shards: Iterable[Shard]) -> Contents:
    return dataclasses.replace(
        contents, splits=contents.splits | {split: tuple(shards)}
    )


def _say(split: str, shards: Sequence[Shard], kept: int, seconds: float) -> None:
    files = f"{len(shards)} file{'s' * (len(shards) != 1)}"
    print(
        f"{split}: {sum(shard.clips for shard in shards)} clips, "
        f"{sum(shard.segments for shard in shards)} segments, "
        f"{sum(shard.bytes for shard in shards) / 1e6:.1f} MB in {files}"
        + (f" ({kept} kept as they were)" if kept else "")
        + f", {seconds:.1f} s",
        flush=True,
    )
