"""Compute the features of a corpus and store them in a features folder."""

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asc_tf.config import Config, Evaluate
from asc_tf.core.errors import UsageError
from asc_tf.core.files import hash_bytes, hash_path, write_atomically
from asc_tf.core.packages import require_package
from asc_tf.core.version import __version__
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import SPLITS, Clip, Manifest, format_counts, read_clips
from asc_tf.pipeline.corpus_checks import (
    describe_corpus_problems,
    describe_unusual_clips,
)
from asc_tf.pipeline.evaluation_data import load_waveforms
from asc_tf.pipeline.feature_size import VALUE_BYTES, count_segments
from asc_tf.pipeline.feature_store.folder import (
    Contents,
    FeaturesFolder,
    Shard,
    describe_differences,
    feature_settings,
)
from asc_tf.pipeline.prepare import scan_corpus
from asc_tf.pipeline.run import Run
from asc_tf.workdir import Workdir

SHARD_BYTES = 64_000_000
"""Size of a shard; memory holds about twice as much."""

BATCH_SAMPLES = 2**22
"""Samples of the segments whose features are computed together, unless one has more."""

Segment = tuple[int, np.ndarray]
"""Index of the clip, and features float32 `[frames, bands]` or `[frames, bands,
channels]`."""


def write_features(
    config: Config,
    output: Path,
    splits: Sequence[str] = SPLITS,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> Contents:
    """Write the features of some splits, or continue where that was stopped.

    A shard is left as it is when it has its checksum and its clips have not changed.
    Splits of which the folder already has shards are brought up to date as well.

    Args:
        config: Configuration.
        output: Features folder: a new or empty one, or one of the same settings.
        splits: Splits to read and to store, of those that the corpus has.
        shard_bytes: Maximum size of a shard, unless one clip alone has more.

    Returns:
        Content of features.json.

    Raises:
        UsageError: If the folder holds something else, or the corpus has none of the
            splits.
        UserError: If the corpus is refused, or another process writes here.
    """
    require_package("tensorflow")
    folder = FeaturesFolder(output)
    stored = _stored_shards(folder, config)
    wanted = [
        split
        for split in (*config.dataset.training_splits, "test")
        if split in splits or stored.get(split)
    ]
    if not wanted:
        raise UsageError(
            f"--splits={','.join(splits)}: dataset.validation = none leaves no "
            "validation split; give train, test or both"
        )
    manifest = _scan(config, folder, wanted)
    computation = _FeatureComputation(Run(config, Workdir(output), manifest))
    all_of_clip = Preprocessing.from_config(config.audio, Evaluate())
    with folder.lock():
        contents = _begin_contents(folder, config, manifest, computation.shape, wanted)
        segments_per_shard = shard_bytes // (VALUE_BYTES * math.prod(contents.shape))
        for split in wanted:
            clips = manifest.clips_in(split)
            counts = [count_segments(clip, all_of_clip) for clip in clips]
            plans = list(_plan_shards(split, clips, counts, segments_per_shard))
            contents = _write_split(folder, contents, split, plans, computation)
        contents = dataclasses.replace(contents, finished=True)
        folder.remove_unlisted(contents)
        folder.write(contents)
        return contents


def _begin_contents(
    folder: FeaturesFolder,
    config: Config,
    manifest: Manifest,
    shape: tuple[int, ...],
    splits: Sequence[str],
) -> Contents:
    """Write the table of clips, and the shards so far as not finished.

    Raises:
        UsageError: If another process has written other features in between.
    """
    stored = _stored_shards(folder, config)
    contents = Contents(
        config=feature_settings(config),
        labels=manifest.labels,
        protocol=manifest.protocol,
        shape=shape,
        splits={split: stored.get(split, ()) for split in splits},
    )
    # Before the table is replaced, so that no finished folder has another's table.
    folder.write(contents)
    manifest.write(folder.manifest_file)
    checksum = hash_path(folder.manifest_file)
    return dataclasses.replace(contents, manifest_sha256=checksum)


def _stored_shards(
    folder: FeaturesFolder, config: Config
) -> dict[str, tuple[Shard, ...]]:
    """Return the shards that a folder already has, by split.

    Raises:
        UsageError: If they were made with other settings, naming these.
    """
    contents = folder.read()
    if contents is None:
        return {}
    if differences := describe_differences(contents.config, config):
        raise UsageError(
            f"--output={folder.path}: holds features of other settings ({differences});"
            " name a new folder, or use those values"
        )
    return contents.splits


def _scan(config: Config, folder: FeaturesFolder, splits: Sequence[str]) -> Manifest:
    """Scan the clips of some splits, and print what is odd about them."""
    table = folder.manifest_file
    known = read_clips(table) if table.is_file() else ()
    manifest = scan_corpus(config, splits, known)
    print(f"{config.dataset.name}: {format_counts(manifest)}")
    notes = describe_corpus_problems(manifest, config.dataset.folder, splits, splits)
    for note in (
        *notes,
        *describe_unusual_clips(manifest.clips_in(*splits), config),
    ):
        print(note)
    return manifest


class _ShardPlan(NamedTuple):
    """A shard to be written: file name, clips, and a hash of these clips."""

    file: str
    clips: tuple[Clip, ...]
    source: str


def _plan_shards(
    split: str, clips: Sequence[Clip], counts: Sequence[int], most: int
) -> Iterator[_ShardPlan]:
    """Divide the clips of a split among shards.

    Args:
        split: Name of the split.
        clips: Its clips.
        counts: Number of segments of each clip.
        most: Maximum number of segments in a shard, unless one clip alone has more.

    Yields:
        Whole clips, as many as a shard may hold.
    """
    starts, size = [0], 0
    for place, count in enumerate(counts):
        if place > starts[-1] and size + count > most:
            starts.append(place)
            size = 0
        size += count
    for number, (start, end) in enumerate(pairwise([*starts, len(clips)])):
        own = tuple(clips[start:end])
        # Another version may compute other features.
        identity = [__version__, *(dataclasses.asdict(clip) for clip in own)]
        source = hash_bytes(json.dumps(identity).encode())
        yield _ShardPlan(f"{split}-{number:05}.npy", own, source)


def _write_split(
    folder: FeaturesFolder,
    contents: Contents,
    split: str,
    plans: Sequence[_ShardPlan],
    computation: "_FeatureComputation",
) -> Contents:
    """Write the shards of a split that are missing, damaged or of changed clips."""
    from tqdm import tqdm

    start = time.monotonic()
    shards = {shard.file: shard for shard in contents.splits[split]}
    missing = [
        plan
        for plan in plans
        if (shard := shards.get(plan.file)) is None
        or shard.source != plan.source
        or not folder.is_intact(shard)
    ]
    # One pipeline for all of them, because starting one takes a second.
    owners = [plan for plan in missing for _ in plan.clips]
    clips = [clip for plan in missing for clip in plan.clips]
    groups = groupby(computation(split, clips), lambda row: owners[row[0]])
    total = len(missing)
    for plan, group in tqdm(
        groups, split, total, unit=" files", leave=False, disable=None
    ):
        shards[plan.file] = _write_shard(folder, plan, group)
        contents = _replace_shards(contents, split, tuple(shards.values()))
        folder.write(contents)
    # Without those of clips that no longer exist.
    written = tuple(shards[plan.file] for plan in plans)
    n_unchanged = len(plans) - len(missing)
    print(
        f"{split}: {sum(shard.clips for shard in written)} clips, "
        f"{sum(shard.segments for shard in written)} segments, "
        f"{sum(shard.bytes for shard in written) / 1e6:.1f} MB in {len(written)} "
        f"file{'s' * (len(written) != 1)}"
        + (f" ({n_unchanged} unchanged)" if n_unchanged else "")
        + f", {time.monotonic() - start:.1f} s",
        flush=True,
    )
    return _replace_shards(contents, split, written)


def _replace_shards(
    contents: Contents, split: str, shards: tuple[Shard, ...]
) -> Contents:
    return dataclasses.replace(contents, splits=contents.splits | {split: shards})


def _write_shard(
    folder: FeaturesFolder, plan: _ShardPlan, segments: Iterable[Segment]
) -> Shard:
    indices, features = zip(*segments, strict=True)
    counts = [len(list(group)) for _, group in groupby(indices)]
    with write_atomically(folder.path / plan.file) as partial:
        _write_array(partial, np.stack(features))
        checksum, size = hash_path(partial), partial.stat().st_size
    return Shard(plan.file, checksum, size, plan.source, tuple(counts))


def _write_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file; `numpy.save` raises no errno on a full disk."""
    header = np.lib.format.header_data_from_array_1_0(array)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(array.data)


class _FeatureComputation:
    """Computes the features of clips, unaugmented and not standardized.

    Attributes:
        shape: Shape of a segment's features.

    Args:
        run: Configuration and scanned manifest; the folder is that of the features.
    """

    def __init__(self, run: Run) -> None:
        from asc_tf.frontend import FrontendLayer

        self._run, audio = run, run.config.audio
        self._frontend = FrontendLayer(audio.sample_rate, run.config.frontend)
        self._preprocessing = Preprocessing.from_config(audio, Evaluate())
        segment = self._preprocessing.segment_shape
        self._batch_size = max(min(BATCH_SAMPLES // math.prod(segment), 32), 1)
        self.shape = tuple(self._frontend.extracted_shape((None, *segment))[1:])

    def __call__(self, split: str, clips: Sequence[Clip]) -> Iterator[Segment]:
        """Yield all segments of some clips of a split, in order."""
        from asc_tf.pipeline.examples import clip_by_clip
        from asc_tf.pipeline.options import AUTOTUNE, plain_python
        from asc_tf.pipeline.segments import make_segment_batches
        from asc_tf.pipeline.waveforms import explain_read_errors

        if not clips:
            return
        manifest = dataclasses.replace(self._run.manifest, clips=tuple(clips))
        waveforms = load_waveforms(self._run.with_manifest(manifest), split)

        @plain_python
        def extract(row: dict[str, Any]) -> tuple:
            return row["clip"], clip_by_clip(self._frontend.extract, row["waveform"])

        batches = make_segment_batches(
            waveforms, self._preprocessing, self._batch_size
        ).map(extract, num_parallel_calls=AUTOTUNE)
        with explain_read_errors():
            for indices, features in batches.as_numpy_iterator():
                yield from zip(indices, features, strict=True)
