"""Decoding of WAV files whose headers have been read before the graph runs.

Each header is read once, outside the graph, and compared with the scan. The graph then
decodes samples of a known format at a known place, which takes half the time of parsing
every file in every epoch. That a file is still the same is checked in the graph by
`asc_tf.pipeline.waveforms`.
"""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from asc_tf.audio import wav_samples
from asc_tf.audio.views import select_view
from asc_tf.core.errors import UserError
from asc_tf.dsp import channels, wav_format, wav_reader
from asc_tf.manifest import Clip

MAX_HEADER_BYTES = 2**10
"""Longest header that is kept in memory; a file with a longer one is parsed."""

_ROUTE = "wav:"


class WavLayout(NamedTuple):
    """Sample format that a graph is built for; its tag says PCM or float."""

    tag: int
    sample_bytes: int
    channels: int

    @property
    def route(self) -> str:
        """Route of the clips of this layout."""
        return _ROUTE + ":".join(map(str, self))

    @classmethod
    def from_route(cls, route: str) -> "WavLayout | None":
        """Return the layout of a route; None for the routes of a scan."""
        if not route.startswith(_ROUTE):
            return None
        return cls(*map(int, route.removeprefix(_ROUTE).split(":")))


class ScannedWav(NamedTuple):
    """Place of a clip in a WAV file.

    Attributes:
        layout: Sample format.
        header: Bytes of the file before its samples.
        first_byte: Place of the clip's first sample in bytes.
        samples: Samples per channel of the clip.
    """

    layout: WavLayout
    header: bytes
    first_byte: int
    samples: int


def locate_clip(path: Path, clip: Clip) -> ScannedWav | None:
    """Read the header of a scanned WAV file, and find the clip in it.

    Args:
        path: Path of the file.
        clip: Row of the manifest; its route is `wav`.

    Returns:
        Place of the clip; None if the file cannot be read, or if its header differs
        from the scan or is very long.
    """
    try:
        form, start, samples = wav_reader.read_header(path)
        if start > MAX_HEADER_BYTES:
            return None
        with path.open("rb") as file:
            header = file.read(start)
    except (OSError, UserError):
        return None
    scanned = (clip.channels, clip.sample_rate, clip.samples)
    if (form.channels, form.sample_rate, samples) != scanned:
        return None
    tag = wav_format.FLOAT if form.is_float else wav_format.PCM
    first, end = clip.bounds
    return ScannedWav(
        WavLayout(tag, form.width, form.channels),
        header,
        start + first * form.frame_bytes,
        max(end - first, 0),
    )


def decode(
    contents: tf.Tensor, layout: WavLayout, place: tf.Tensor, view: str
) -> tf.Tensor:
    """Decode one view of a clip.

    Args:
        contents: Bytes of the file, string `[]`.
        layout: Sample format of the file.
        place: First byte and samples per channel of the clip, int64 `[2]`.
        view: Name of the view, as `select_view` takes it.

    Returns:
        float32 `[samples]` or `[samples, 2]`, equal to those of the parsed file.
    """
    first_byte, samples = tf.unstack(place)
    frame_bytes = layout.sample_bytes * layout.channels

    def decode_span(first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        data = tf.strings.substr(
            contents, first_byte + first * frame_bytes, count * frame_bytes
        )
        return _decode_view(data, layout, view)

    decoded = wav_samples.decode_in_blocks(
        samples, wav_samples.BLOCK // layout.channels, decode_span
    )
    n_channels = channels.count_channels(view)
    return tf.ensure_shape(decoded, [None, n_channels] if n_channels > 1 else [None])


def _decode_view(data: tf.Tensor, layout: WavLayout, view: str) -> tf.Tensor:
    """Decode interleaved samples to a view."""
    if view == "mono" and layout.channels == 2 and layout.tag == wav_format.PCM:
        if layout.sample_bytes == 2:
            return _downmix_16_bit(data)
        if layout.sample_bytes == 3:
            return _downmix_24_bit(data)
    values = wav_samples.decode_samples(data, layout.tag, layout.sample_bytes)
    return select_view(tf.reshape(values, [-1, layout.channels]), view)


def _downmix_16_bit(data: tf.Tensor) -> tf.Tensor:
    """Decode the mean of two channels without making floats of both."""
    pairs = tf.reshape(tf.io.decode_raw(data, tf.int16), [-1, 2])
    left, right = (tf.cast(pairs[:, channel], tf.float32) for channel in range(2))
    return (left + right) * (0.5 / 2.0**15)


def _downmix_24_bit(data: tf.Tensor) -> tf.Tensor:
    """Decode the mean of two channels from groups of two samples of both."""
    values = wav_samples.split_24_bit(data)
    sums = tf.stack([values[0] + values[1], values[2] + values[3]])
    n_samples = tf.strings.length(data) // 6
    return tf.reshape(tf.transpose(sums), [-1])[:n_samples] * (0.5 / 2.0**31)
