"""One shard as a file: an .npz of arrays, or TFRecord examples, and its rows as read.

An .npz has its arrays uncompressed, so that the graph reads the features of one segment
after the other out of it, without holding the file.

    features   float32 `[segments, frames, bands]`, `[..., channels]` with several
    label_id   int32 `[segments]`, index among the labels; -1: no label
    clip       int32 `[segments]`, place of the clip among the usable ones of its split
    fold       int32 `[segments]`, -1 where the corpus has none
    weight     float32 `[segments]`

A TFRecord example has the same by the same names: `features` as the bytes of
little-endian float32, `weight` as a float, the rest as integers.
"""

import os
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from asc_tf.core.files import write_npz

INTEGERS = ("label_id", "clip", "fold")

Row = dict[str, tf.Tensor]


def write(path: Path, kind: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a shard.

    Args:
        path: The file.
        kind: `npz` or `tfrecord`.
        arrays: By the names above.

    Raises:
        OSError: If it cannot be written.
    """
    if kind == "npz":
        write_npz(path, arrays)
        return
    try:
        _write_examples(path, arrays)
    except tf.errors.OpError as error:
        raise OSError(f"{path}: {error.message}") from error


def _write_examples(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    features = np.ascontiguousarray(arrays["features"], "<f4")
    with tf.io.TFRecordWriter(os.fsencode(path)) as writer:
        for index, segment in enumerate(features):
            fields = {
                "features": _bytes(segment.tobytes()),
                "weight": _float(float(arrays["weight"][index])),
            } | {name: _integer(int(arrays[name][index])) for name in INTEGERS}
            example = tf.train.Example(features=tf.train.Features(feature=fields))
            writer.write(example.SerializeToString(deterministic=True))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _float(value: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


@dataclass(frozen=True)
class Reader:
    """The shards of a split, as the graph reads them.

    Attributes:
        records: The number of a shard (int64 `[]`) to its raw records, each with its
            place among the segments of the split.
        row: A place and a raw record to `features`, `clip`, `label_id`, `weight`.
    """

    records: Callable[[tf.Tensor], tf.data.Dataset]
    row: Callable[[tf.Tensor, tf.Tensor], Row]


def reader(
    kind: str, paths: Sequence[Path], segments: Sequence[int], shape: Sequence[int]
) -> Reader:
    """What reads the shards of a split.

    Args:
        kind: `npz` or `tfrecord`.
        paths: Their files, in order.
        segments: Segments in each.
        shape: Of the features of a segment.
    """
    first = np.cumsum([0, *segments[:-1]], dtype=np.int64)
    with tf.device("CPU:0"):
        # As bytes, because a name need not be UTF-8.
        files = tf.constant([os.fsencode(path) for path in paths])
        firsts = tf.constant(first)
        if kind == "npz":
            return _npz_reader(paths, segments, shape, files, firsts)
    return _tfrecord_reader(shape, files, firsts)


def _npz_reader(
    paths: Sequence[Path],
    segments: Sequence[int],
    shape: Sequence[int],
    files: tf.Tensor,
    firsts: tf.Tensor,
) -> Reader:
    size = 4 * int(np.prod(shape))
    ends = [_end_of_features(path) for path in paths]
    before = tf.constant(
        [end - count * size for end, count in zip(ends, segments, strict=True)],
        tf.int64,
    )
    after = tf.constant(
        [path.stat().st_size - end for path, end in zip(paths, ends, strict=True)],
        tf.int64,
    )
    columns = {name: tf.constant(_column(paths, name)) for name in _SMALL}

    def records(shard: tf.Tensor) -> tf.data.Dataset:
        raw = tf.data.FixedLengthRecordDataset(
            files[shard], size, before[shard], after[shard]
        )
        return raw.enumerate(firsts[shard])

    def row(place: tf.Tensor, record: tf.Tensor) -> Row:
        features = tf.reshape(tf.io.decode_raw(record, tf.float32), shape)
        own = {name: column[place] for name, column in columns.items()}
        return own | {"features": features}

    return Reader(records, row)


_SMALL = ("clip", "label_id", "weight")


def _column(paths: Sequence[Path], name: str) -> np.ndarray:
    parts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            parts.append(arrays[name])
    return np.concatenate(parts)


def _end_of_features(path: Path) -> int:
    """Where in an .npz file its features end, which nothing compresses."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("features.npy")
    with path.open("rb") as stream:
        stream.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", stream.read(4))
    return member.header_offset + 30 + name + extra + member.file_size


def _tfrecord_reader(
    shape: Sequence[int], files: tf.Tensor, firsts: tf.Tensor
) -> Reader:
    fields = {
        "features": tf.io.FixedLenFeature([], tf.string),
        "clip": tf.io.FixedLenFeature([], tf.int64),
        "label_id": tf.io.FixedLenFeature([], tf.int64),
        "weight": tf.io.FixedLenFeature([], tf.float32),
    }

    def records(shard: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(files[shard]).enumerate(firsts[shard])

    def row(place: tf.Tensor, record: tf.Tensor) -> Row:
        found = tf.io.parse_single_example(record, fields)
        values = tf.io.decode_raw(found["features"], tf.float32)
        return {
            "features": tf.reshape(values, shape),
            "clip": tf.cast(found["clip"], tf.int32),
            "label_id": tf.cast(found["label_id"], tf.int32),
            "weight": found["weight"],
        }

    return Reader(records, row)
