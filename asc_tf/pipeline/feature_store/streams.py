"""Stored segments as tf.data: in order, or shuffled by a seed.

Shards are streamed: memory holds the segments among which an epoch is shuffled, at most
256 MB, whatever the size of the folder.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from asc_tf.augment import fold_in
from asc_tf.pipeline.feature_store.folder import Shard
from asc_tf.pipeline.options import AUTOTUNE, plain_python, set_options

SHUFFLED_VALUES = 2**26
"""Values (256 MB) among which the segments of an epoch are shuffled."""

OPEN_SHARDS = 32
"""Shards that a shuffled epoch reads in turns, one segment of each."""


class SegmentReader:
    """Reads the segments of a split.

    Segments are dicts of `features` float32 `[frames, bands]` or `[frames, bands,
    channels]`, `clip` int32 `[]` (index of the clip in its split), `target` float32
    `[labels]` and `weight` float32 `[]`.

    Args:
        folder: Features folder.
        shards: Shards of the split, in order.
        shape: Shape of a segment's features.
        label_ids: Label of each clip; -1: no label.
        weights: Weight of each clip.
        n_labels: Number of labels.
    """

    def __init__(
        self,
        folder: Path,
        shards: Sequence[Shard],
        shape: Sequence[int],
        label_ids: Sequence[int],
        weights: Sequence[float],
        n_labels: int,
    ) -> None:
        self._shape, self._n_labels = tuple(shape), n_labels
        self._n_shards, self._n_clips = len(shards), len(label_ids)
        self._segment_bytes = size = 4 * math.prod(shape)
        self._n_segments = sum(shard.segments for shard in shards)
        counts = np.array([n for shard in shards for n in shard.segments_per_clip])
        firsts = np.cumsum([0, *(shard.segments for shard in shards[:-1])])
        # Tables that every graph shares, whichever is being traced now; on the CPU,
        # where segments are read, beside a GPU too.
        with tf.init_scope(), tf.device("CPU:0"):
            # As bytes, because a name need not be UTF-8.
            self._files = tf.constant([os.fsencode(folder / s.file) for s in shards])
            headers = [shard.bytes - size * shard.segments for shard in shards]
            self._headers = tf.constant(headers, tf.int64)
            self._firsts = tf.constant(firsts, tf.int64)
            self._clips = tf.repeat(tf.range(len(counts)), counts)
            self._clip_firsts = tf.constant(np.cumsum(counts) - counts, tf.int64)
            self._clip_counts = tf.constant(counts, tf.float64)
            self._label_ids = tf.constant(label_ids, tf.int32)
            self._weights = tf.constant(weights, tf.float32)

    def in_order(self) -> tf.data.Dataset:
        """Each segment once, in the manifest's order."""
        shards = set_options(tf.data.Dataset.range(self._n_shards))
        records = shards.flat_map(plain_python(self._records))
        count = tf.data.experimental.assert_cardinality(self._n_segments)
        return self._segments(records).apply(count)

    def shuffled(
        self, seed: tf.Tensor | int, copies: int, which: str
    ) -> tf.data.Dataset:
        """One epoch, whose order and choice are a pure function of the seed.

        The segments are read `copies` times over. Each time shards come in a new order,
        up to `OPEN_SHARDS` of them are read in turns, and their segments are shuffled
        within `SHUFFLED_VALUES`; a split that fits in there is shuffled as a whole.

        Args:
            seed: Tensor int64 `[]`, or a number. Where TensorFlow has a global seed,
                the order depends on that as well, and it must not be 0.
            copies: Number of times that each clip is in the epoch.
            which: `all` segments of each clip, or one at `random`, drawn for each copy.
        """
        buffer_size = max(SHUFFLED_VALUES // math.prod(self._shape), 1)
        epoch_seed = tf.stack([tf.cast(seed, tf.int64), tf.constant(0, tf.int64)])

        @plain_python
        def read_once(copy: tf.Tensor) -> tf.data.Dataset:
            own_seed = fold_in(epoch_seed, copy)
            draw_seed, choice_seed, shuffle_seed = (
                # int64, because the new seed has the type of the number.
                fold_in(own_seed, np.int64(number))
                for number in range(3)
            )
            draw = tf.random.stateless_uniform([self._n_shards], draw_seed)
            order = tf.data.Dataset.from_tensor_slices(tf.argsort(draw, stable=True))
            records = order.interleave(
                self._records, cycle_length=min(self._n_shards, OPEN_SHARDS)
            )
            if which == "random":
                chosen = self._draw_segments(choice_seed)
                records = records.filter(
                    lambda place, _: chosen[self._clips[place]] == place
                )
            return records.shuffle(
                buffer_size, seed=shuffle_seed[0], reshuffle_each_iteration=False
            )

        return self._segments(tf.data.Dataset.range(copies).flat_map(read_once))

    def _draw_segments(self, seed: tf.Tensor) -> tf.Tensor:
        """Draw one segment of each clip: int64 `[clips]`, places in the split."""
        share = tf.random.stateless_uniform([self._n_clips], seed, dtype=tf.float64)
        return self._clip_firsts + tf.cast(share * self._clip_counts, tf.int64)

    def _records(self, shard: tf.Tensor) -> tf.data.Dataset:
        """Place in the split (int64 `[]`) and bytes of each segment of a shard."""
        # An .npy file is a header and then the values.
        records = tf.data.FixedLengthRecordDataset(
            self._files[shard], self._segment_bytes, self._headers[shard]
        )
        return records.enumerate(self._firsts[shard])

    def _segments(self, records: tf.data.Dataset) -> tf.data.Dataset:
        @plain_python
        def segment(place: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
            clip = self._clips[place]
            values = tf.io.decode_raw(record, tf.float32)
            return {
                "features": tf.reshape(values, self._shape),
                "clip": clip,
                "target": tf.one_hot(self._label_ids[clip], self._n_labels),
                "weight": self._weights[clip],
            }

        return records.map(segment, num_parallel_calls=AUTOTUNE)
