"""Files of clips: what is known of each before the graph reads it, and the reading."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from asc_tf.audio.cache import Row
from asc_tf.audio.decode import CACHED
from asc_tf.audio.scanned_wav import locate_clip

MAX_LAYOUTS = 4
"""Most sample formats that a graph has a branch for; other WAV files are parsed."""

START_BYTES = 64
"""Bytes by which another file in the place of a scanned one is noticed: they hold the
serial number of an Ogg stream, and the checksum of the samples of a FLAC file."""

COLUMNS = {
    "path": tf.TensorSpec([], tf.string),
    "route": tf.TensorSpec([], tf.string),
    "size": tf.TensorSpec([], tf.int64),
    "header": tf.TensorSpec([], tf.string),
    "place": tf.TensorSpec([2], tf.int64),
}
"""Columns of `make_columns`."""


class ClipFile(NamedTuple):
    """File that a clip is decoded from.

    Attributes:
        path: Path of the file.
        route: Route of its decoder.
        size: Size by the scan in bytes; -1 for a file of the cache, which is not
            compared.
        header: First bytes, which have to be the same.
        place: First byte and samples per channel of the clip, where they are known.
    """

    path: Path
    route: str
    size: int
    header: bytes = b""
    place: tuple[int, int] = (0, 0)


def find_clip_files(
    rows: Sequence[Row], root: Path, cached: Mapping[Row, Path]
) -> list[ClipFile]:
    """Find the file of each row, and read the headers of the WAV files.

    Args:
        rows: Scanned clips and views.
        root: Folder of the corpus.
        cached: Files of the cache.
    """
    clips = {row.clip for row in rows if row not in cached and row.clip.route == "wav"}
    located = {clip: locate_clip(root / clip.path, clip) for clip in clips}
    counts = Counter(each.layout for each in located.values() if each)
    layouts = {layout for layout, _ in counts.most_common(MAX_LAYOUTS)}

    def find(row: Row) -> ClipFile:
        if row in cached:
            return ClipFile(cached[row], CACHED, -1)
        clip, wav = row.clip, located.get(row.clip)
        path = root / clip.path
        if wav and wav.layout in layouts:
            place = (wav.first_byte, wav.samples)
            return ClipFile(path, wav.layout.route, clip.size, wav.header, place)
        return ClipFile(path, clip.route, clip.size, _read_start(path))

    return [find(row) for row in rows]


def _read_start(path: Path) -> bytes:
    """Read the first bytes of a file; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(START_BYTES)
    except OSError:
        # The graph names it.
        return b""


def make_columns(files: Sequence[ClipFile]) -> dict[str, tf.Tensor]:
    """Make the columns of a dataset of files; see `COLUMNS`."""
    paths, *others = zip(*files, strict=True)
    # As bytes, because a name need not be UTF-8.
    columns = ([os.fsencode(path) for path in paths], *others)
    return {
        name: tf.constant(values, spec.dtype)
        for (name, spec), values in zip(COLUMNS.items(), columns, strict=True)
    }


def read_contents(file: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Read a file in the graph.

    Args:
        file: Columns of the file.

    Returns:
        Its bytes, string `[]`.

    Raises:
        tf.errors.NotFoundError: When the graph runs, if the file is gone.
        tf.errors.InvalidArgumentError: When the graph runs, if its size or header is
            not the same as when it was scanned.
    """
    contents, header = tf.io.read_file(file["path"]), file["header"]
    size = tf.cast(tf.strings.length(contents), tf.int64)
    start = tf.strings.substr(contents, 0, tf.strings.length(header))
    is_same = (size == file["size"]) & (start == header)
    reason = tf.strings.join([file["path"], " has changed since it was scanned"])
    check = tf.debugging.Assert((file["size"] < 0) | is_same, [reason])
    with tf.control_dependencies([check]):
        return tf.identity(contents)
