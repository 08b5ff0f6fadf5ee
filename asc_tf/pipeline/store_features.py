"""Compute the features of a corpus and store them in a features folder."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.command_line import command
from asc_tf.config import Audio, Config, Evaluate
from asc_tf.core.errors import UsageError
from asc_tf.dsp import channels, segments
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import SPLITS, Clip, count_by_split, read_clips
from asc_tf.pipeline.corpus_checks import corpus_notes, oddities
from asc_tf.pipeline.feature_store import layout
from asc_tf.pipeline.feature_store.contents import Contents
from asc_tf.pipeline.feature_store.layout import FeaturesFolder
from asc_tf.pipeline.feature_store.writing import Arrays, Writer
from asc_tf.pipeline.prepare import scan_corpus
from asc_tf.workdir import Workdir

SHARD_BYTES = 64_000_000
"""Features in one file; memory holds about twice as much."""


BATCH_SAMPLES = 2**22
"""Samples of the segments whose features are computed together, unless one has more."""


def write_features(
    config: Config,
    output: Path,
    kind: str = "npz",
    splits: Sequence[str] = SPLITS,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> Contents:
    """Write the features of some splits, or go on with it.

    A shard that has its checksum and was made from the same clips is kept.
    Splits that the folder has already are looked after as well.

    Args:
        config: The configuration.
        output: The features folder; a new or empty one, or that of the same settings.
        kind: `npz` or `tfrecord`.
        splits: The parts to read and to store, of those that the corpus has.
        shard_bytes: Size of a shard, unless one clip alone has more.

    Returns:
        What features.json says.

    Raises:
        UsageError: If the folder holds something else, or the corpus has none of the
            splits.
        UserError: If the corpus is refused, or another process writes here.
    """
    command.need("tensorflow")
    folder = FeaturesFolder(output)
    before = _begun(folder, config, kind)
    wanted = [
        split
        for split in (*config.dataset.training_splits, "test")
        if split in splits or (before and split in before.finished)
    ]
    if not wanted:
        raise UsageError(
            f"--splits={','.join(splits)}: dataset.validation = none leaves no "
            "validation part; give train, test or both"
        )
    table = folder.manifest_file
    known = read_clips(table) if table.is_file() else ()
    manifest = scan_corpus(config, wanted, known)
    print(f"{config.dataset.name}: {count_by_split(manifest)}")
    used = [clip for split in wanted for clip in manifest.clips_in(split)]
    root = Path(config.dataset.dir)
    notes = corpus_notes(manifest, root, wanted, wanted)
    for note in (*notes, *oddities(used, config.audio)):
        print(note)
    computation = _Computation(config, manifest.labels, folder)
    shape = computation.shape
    writer = Writer(
        folder,
        manifest,
        computation,
        lambda clip: _expected_segments(clip, config.audio),
        shard_bytes // (4 * math.prod(shape)),
    )
    with folder.lock():
        # Once more: another process may have been here in between.
        before = _begun(folder, config, kind)
        contents = Contents(
            format=kind,
            config=layout.sections(config),
            labels=manifest.labels,
            protocol=manifest.protocol,
            shape=shape,
            manifest_sha256="",
            splits={s: before.splits.get(s, ()) if before else () for s in wanted},
            finished=before.finished if before else (),
        )
        return writer.write(contents)


def _begun(folder: FeaturesFolder, config: Config, kind: str) -> Contents | None:
    """What the folder holds of the same settings.

    Raises:
        UsageError: Naming the settings that differ.
    """
    contents = folder.contents()
    if contents is None:
        return None
    found = layout.differing(contents.config, config)
    if contents.format != kind:
        found.insert(0, f"--format is {contents.format!r} there and {kind!r} here")
    if found:
        raise UsageError(
            f"--output={folder.path}: holds features of other settings ("
            f"{'; '.join(found[:4])}); name a new folder, or use those values"
        )
    return contents


class _Computation:
    """Clips to the features of their segments, in order and unaugmented."""

    def __init__(
        self, config: Config, labels: Sequence[str], folder: FeaturesFolder
    ) -> None:
        from asc_tf.frontend import FrontendLayer

        self._config, self._labels = config, labels
        self._cache_dir = Workdir(folder.path).audio_cache(config.audio)
        self._frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
        segment = Preprocessing.from_config(config.audio, Evaluate()).segment_shape
        self._batch_size = max(min(BATCH_SAMPLES // math.prod(segment), 32), 1)
        self.shape = tuple(self._frontend.extracted_shape((None, *segment))[1:])

    def __call__(self, clips: Sequence[Clip]) -> Arrays:
        from asc_tf.pipeline.examples import clip_by_clip
        from asc_tf.pipeline.waveforms import (
            AUTOTUNE,
            Waveforms,
            reading,
            segment_batches,
        )

        audio = self._config.audio
        if audio.cache == "memory":
            # Each clip is read once.
            audio = dataclasses.replace(audio, cache="none")
        waveforms = Waveforms(
            clips,
            Path(self._config.dataset.dir),
            self._labels,
            audio,
            self._cache_dir,
            unverified_weight=self._config.dataset.unverified_weight,
        )

        def computed(row: dict[str, Any]) -> tuple:
            features = clip_by_clip(self._frontend.extract, row["waveform"])
            return features, row["clip"], row["weight"]

        batches = segment_batches(waveforms, audio, Evaluate(), self._batch_size).map(
            computed, num_parallel_calls=AUTOTUNE
        )
        with reading():
            parts = zip(*batches.as_numpy_iterator(), strict=True)
            features, clip, weight = map(np.concatenate, parts)
        return features, clip, weight


def _expected_segments(clip: Clip, audio: Audio) -> int:
    samples = round(clip.seconds * audio.sample_rate)
    starts = segments.find_starts(
        samples,
        audio.segment_samples,
        audio.hop_samples,
        last_segment=audio.last_segment,
    )
    return len(starts) * len(channels.list_views(audio.channels, clip.channels))
