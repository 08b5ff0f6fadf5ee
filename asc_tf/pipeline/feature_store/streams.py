"""Stored segments as tf.data: in order, or shuffled by a seed.

Both formats stream: memory holds the segments among which an epoch is shuffled, at most
256 MB of them, whatever the size of the folder.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from asc_tf.augment import fold_in
from asc_tf.pipeline.feature_store.shards import Reader

SHUFFLED_VALUES = 2**26
"""Values (256 MB) among which the segments of an epoch are shuffled."""

OPEN_SHARDS = 32
"""Shards that a shuffled epoch reads by turns, a segment of each."""


def in_order(reader: Reader, shards: int, labels: int) -> tf.data.Dataset:
    """Each segment once, in the manifest's order.

    Args:
        reader: What reads the split.
        shards: Its shards.
        labels: Number of labels.

    Returns:
        Dicts of `features` float32 `[frames, bands, ...]`, `clip` int32 `[]`, `target`
        float32 `[labels]` and `weight` float32 `[]`.
    """
    return _rows(tf.data.Dataset.range(shards).flat_map(reader.records), reader, labels)


def shuffled(
    reader: Reader,
    shards: int,
    labels: int,
    segments_per_clip: Sequence[int],
    shape: Sequence[int],
    seed: tf.Tensor,
    copies: int,
    which: str,
) -> tf.data.Dataset:
    """One epoch, its order and choice a pure function of the seed.

    The segments are read `copies` times over. Each time shards come in a new order, up
    to `OPEN_SHARDS` of them are read by turns, and what they give is shuffled within
    `SHUFFLED_VALUES`; a split that fits in there is shuffled as a whole.

    Args:
        reader: What reads the split.
        shards: Its shards.
        labels: Number of labels.
        segments_per_clip: Segments of each of its clips.
        shape: Of the features of a segment.
        seed: int64 `[]`, a tensor or a number. Where TensorFlow has a global seed, the
            order depends on that as well, and it must not be 0.
        copies: Times that each clip is in the epoch.
        which: `all` segments of each clip, or one at `random`, drawn for each copy.

    Returns:
        Dicts as of `in_order`.
    """
    counts = np.asarray(segments_per_clip, np.int64)
    with tf.init_scope(), tf.device("CPU:0"):
        firsts = tf.constant(np.cumsum(counts) - counts)
        clip_of = tf.constant(np.repeat(np.arange(len(counts)), counts))
        amounts = tf.constant(counts, tf.float64)
    held = max(SHUFFLED_VALUES // int(np.prod(shape)), 1)
    run = tf.stack([tf.cast(seed, tf.int64), tf.constant(0, tf.int64)])

    def once(copy: tf.Tensor) -> tf.data.Dataset:
        own = fold_in(run, copy)
        draw = tf.random.stateless_uniform([shards], fold_in(own, np.int64(0)))
        order = tf.data.Dataset.from_tensor_slices(tf.argsort(draw, stable=True))
        records = order.interleave(
            reader.records, cycle_length=min(shards, OPEN_SHARDS)
        )
        if which == "random":
            share = tf.random.stateless_uniform(
                [len(counts)], fold_in(own, np.int64(1)), dtype=tf.float64
            )
            chosen = firsts + tf.cast(share * amounts, tf.int64)
            records = records.filter(
                lambda place, _: tf.equal(chosen[clip_of[place]], place)
            )
        return records.shuffle(
            held, seed=fold_in(own, np.int64(2))[0], reshuffle_each_iteration=False
        )

    return _rows(tf.data.Dataset.range(copies).flat_map(once), reader, labels)


def _rows(records: tf.data.Dataset, reader: Reader, labels: int) -> tf.data.Dataset:
    def row(place: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        found = reader.row(place, record)
        target = tf.one_hot(found.pop("label_id"), labels)
        return found | {"target": target}

    return records.map(row, num_parallel_calls=tf.data.AUTOTUNE)
