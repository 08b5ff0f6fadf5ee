"""Manifest rows to segments: the tf.data graphs before any features.

No Python runs per clip. Everything random comes after the cache and is a function of
the run's seed, the epoch and the position in it, so that each epoch is new and a
resumed run goes on as if it had never stopped.
"""

import contextlib
import dataclasses
import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from asc_tf.audio import sndfile
from asc_tf.audio.cache import Row, WaveformCache
from asc_tf.audio.decode import KEPT, Known, decode_clip
from asc_tf.audio.segment import all_segments, random_segment
from asc_tf.augment import fold_in
from asc_tf.config import Audio, Config, Evaluate
from asc_tf.core.errors import UserError
from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import Clip

AUTOTUNE = tf.data.AUTOTUNE

SHUFFLED_VALUES = 2**26
"""Samples (256 MB) among which the segments of an epoch are shuffled."""

DESCRIPTION = ("clip", "example", "target", "weight")
"""What is known of an example, and of each of its segments."""

READING = "read_clip"
"""Scope of the graph's operations that read a file, by which their errors are known."""

_ORIGIN = re.compile(r"(?:\{\{node |\[Op:)([^}\]]+)")
"""The operation that an error of TensorFlow began in: the first one it names."""

_PLACES = re.compile(r"\A(?:.* with iterator: \S+: |\{\{.*?\}\} )", re.DOTALL)
"""Where TensorFlow met an error; what went wrong comes behind it."""

_FILE_ERRORS = (
    tf.errors.NotFoundError,
    tf.errors.InvalidArgumentError,
    tf.errors.PermissionDeniedError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
)


class Waveforms:
    """The decoded examples of one part of the manifest.

    An example is a clip, or one view of it where the channels are split.

    Attributes:
        count: Examples.
        clips: Clips.
        channels: Of each waveform.

    Args:
        clips: Scanned rows.
        root: The corpus folder.
        labels: Class order.
        audio: The audio settings.
        cache_dir: Where the clips are kept that are to be, or that only libsndfile
            decodes.
        unverified_weight: Of clips whose label nobody has verified, beside 1.
        progress: Wraps the iterator of clips as they are kept, `tqdm` for one.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        root: Path,
        labels: Sequence[str],
        audio: Audio,
        cache_dir: Path,
        *,
        unverified_weight: float = 1.0,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> None:
        heard = [channels.views(audio.channels, clip.channels) for clip in clips]
        rows = [
            Row(clip, view)
            for clip, views in zip(clips, heard, strict=True)
            for view in views
        ]
        self.count, self.clips, self._audio = len(rows), len(clips), audio
        self.channels = channels.count(audio.channels)
        cache = WaveformCache(cache_dir, root, audio)
        keeps_all = audio.cache == "disk"
        kept = cache.fill(
            [row for row in rows if keeps_all or row.clip.route == sndfile.ROUTE],
            progress,
        )
        self._known = _known([row for row in rows if row not in kept], bool(kept))
        label_ids = {label: index for index, label in enumerate(labels)}
        weights = [
            unverified_weight if row.clip.verified == "0" else 1.0 for row in rows
        ]
        self.is_weighted = min(weights, default=1.0) < 1.0
        files = [kept.get(row, root / row.clip.path) for row in rows]
        spans = [(row.clip.start, row.clip.duration) for row in rows]
        columns = {
            # As bytes, because a name need not be UTF-8.
            "path": [os.fsencode(path) for path in files],
            "route": [KEPT if row in kept else row.clip.route for row in rows],
            "view": [row.view for row in rows],
            "rate": tf.constant([row.clip.sample_rate for row in rows], tf.int64),
            "span": tf.constant(spans, tf.float64),
            "clip": tf.repeat(tf.range(len(clips)), [len(views) for views in heard]),
            "example": tf.range(len(rows)),
            # A clip without a label has a target of zeros.
            "target": tf.one_hot(
                [label_ids.get(row.clip.label, -1) for row in rows], len(labels)
            ),
            "weight": tf.constant(weights, tf.float32),
        }
        self._rows = tf.data.Dataset.from_tensor_slices(columns)
        if audio.cache == "memory":
            self._rows = self._decoded(self._rows).cache()

    def in_order(self) -> tf.data.Dataset:
        """Each example once.

        `waveform` `[samples]` or `[samples, 2]`, `clip` and `example` (their places)
        `[]`, `target` `[labels]`, `weight` `[]`.
        """
        return self._decoded(self._rows)

    def shuffled(self, seed: tf.Tensor, copies: int = 1) -> tf.data.Dataset:
        """Each example `copies` times, in the order of the seed, int64 `[]`."""
        rows = self._rows.repeat(copies)
        count = self.count * copies
        return self._decoded(
            rows.shuffle(count, seed=seed, reshuffle_each_iteration=False)
        )

    def _decoded(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Decode rows that are not decoded yet."""
        if "waveform" in rows.element_spec:
            return rows
        # Where decoded clips are cached makes no other graph.
        audio = dataclasses.replace(self._audio, cache="none")
        decode = _decoder(audio, self._known, self.channels)

        def decode_row(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            described = {name: row[name] for name in DESCRIPTION}
            source = [row[name] for name in ("path", "route", "rate", "span", "view")]
            return described | {"waveform": decode(*source)}

        return rows.map(decode_row, num_parallel_calls=AUTOTUNE)


@functools.lru_cache(maxsize=16)
def _decoder(audio: Audio, known: Known, width: int) -> Callable[..., tf.Tensor]:
    """Return the function that reads a clip; splits that decode alike share its graph.

    Args:
        audio: Audio settings.
        known: Decoders, views and rates that can occur.
        width: Number of channels of a waveform.
    """

    @tf.function
    def decode(
        path: tf.Tensor,
        route: tf.Tensor,
        rate: tf.Tensor,
        span: tf.Tensor,
        view: tf.Tensor,
    ) -> tf.Tensor:
        with tf.name_scope(READING):
            contents = tf.io.read_file(path)
            waveform = decode_clip(contents, route, rate, span, view, audio, known)
        return tf.ensure_shape(waveform, [None, width] if width > 1 else [None])

    return decode


def _known(fresh: Sequence[Row], some_are_kept: bool) -> Known:
    """What can occur among rows that are decoded in the graph, and those that are kept.

    The most frequent rate comes first.
    """
    routes = {row.clip.route for row in fresh} | ({KEPT} if some_are_kept else set())
    rates = Counter(row.clip.sample_rate for row in fresh)
    return Known(
        routes=tuple(sorted(routes)),
        views=tuple(sorted({row.view for row in fresh})),
        rates=tuple(rate for rate, _ in rates.most_common()),
    )


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Say in one line what a graph found wrong with a file while it ran.

    Errors of other operations, those of the model among them, stay as they are.

    Raises:
        UserError: If a file has gone or has changed since it was scanned.
    """
    try:
        yield
    except _FILE_ERRORS as error:
        if not _is_from_reading(error.message):
            raise
        reason = _PLACES.sub("", error.message).split("\n")[0]
        raise UserError(
            f"a clip could not be read ({reason}); if files have changed, run the same "
            "command again, which scans them anew"
        ) from error


def _is_from_reading(message: str) -> bool:
    """Whether an error began where a clip is decoded, or a dataset reads a shard."""
    origin = _ORIGIN.search(message)
    # What a dataset reads itself, without a function, has the iterator's name.
    return origin is not None and (
        origin[1].startswith(READING) or "IteratorGetNext" in origin[1]
    )


def training_segments(
    waveforms: Waveforms, config: Config, seed: tf.Tensor
) -> tf.data.Dataset:
    """The segments of one epoch, shuffled; each clip `augment.copies` times.

    Args:
        waveforms: The training part.
        config: The configuration.
        seed: int64 `[2]`, of the epoch.

    Returns:
        `waveform` float32 `[segment_samples]` or `[segment_samples, 2]`, `target`
        float32 `[labels]`, `weight` float32 `[]`.
    """
    audio, length = config.audio, config.audio.segment_samples

    def crop(position: tf.Tensor, row: dict[str, tf.Tensor]) -> tuple:
        own_seed = fold_in(fold_in(seed, 1), position)
        segment = random_segment(row["waveform"], length, own_seed, audio.short_clips)
        return segment, row["target"], row["weight"]

    rows = waveforms.shuffled(seed[0], config.augment.copies)
    if config.train.segments == "random":
        return rows.enumerate().map(crop, num_parallel_calls=AUTOTUNE)
    all_of_clip = Preprocessing.of(audio, Evaluate())
    # Clips are shuffled as a whole, their segments within what memory can hold.
    return (
        rows.flat_map(lambda row: _cut(row, all_of_clip))
        .map(lambda row: (row["waveform"], row["target"], row["weight"]))
        .shuffle(
            shuffle_buffer(config, waveforms.channels),
            seed=seed[1],
            reshuffle_each_iteration=False,
        )
    )


def shuffle_buffer(config: Config, width: int) -> int:
    """Return the shuffle buffer in segments, where all segments of a clip are used.

    Args:
        config: Configuration of the run.
        width: Number of channels of a waveform.
    """
    values = config.audio.segment_samples * width
    return max(SHUFFLED_VALUES // values, config.train.batch_size)


def segments_per_epoch(waveforms: Waveforms, config: Config) -> int:
    """Training segments of one epoch; where they are all taken, they are counted."""
    copies = config.augment.copies
    if config.train.segments == "random":
        return copies * waveforms.count
    all_of_clip = Preprocessing.of(config.audio, Evaluate())
    rows = waveforms.in_order().flat_map(lambda row: _cut(row, all_of_clip))
    with reading():
        return copies * int(rows.reduce(np.int64(0), lambda count, _: count + 1))


def segment_batches(
    waveforms: Waveforms, preprocessing: Preprocessing, batch_size: int
) -> tf.data.Dataset:
    """Cut all clips into the segments of evaluation, in order and unaugmented.

    Args:
        waveforms: Clips of a split.
        preprocessing: Settings of segments.
        batch_size: Number of segments in a batch.

    Returns:
        Dicts of `waveform` float32 `[batch, segment_samples]` (or `[..., 2]`), `clip`
        and `example` int32 `[batch]` (positions among the clips and the examples),
        `target` float32 `[batch, labels]` and `weight` float32 `[batch]`.
    """
    rows = waveforms.in_order().flat_map(lambda row: _cut(row, preprocessing))
    return rows.batch(batch_size).prefetch(AUTOTUNE)


def _cut(row: dict[str, tf.Tensor], settings: Preprocessing) -> tf.data.Dataset:
    """Cut one example into segments, each with the description of the example."""
    length = settings.segment_samples
    cut = all_segments(
        row["waveform"][tf.newaxis],
        length,
        settings.hop_samples,
        settings.segments,
        settings.short_clips,
        settings.last_segment,
    )[0]
    cut = tf.ensure_shape(cut, [None, length, *row["waveform"].shape[1:]])
    count = tf.shape(cut)[0]
    repeated = {
        name: tf.repeat(row[name][tf.newaxis], count, axis=0) for name in DESCRIPTION
    }
    return tf.data.Dataset.from_tensor_slices(repeated | {"waveform": cut})
