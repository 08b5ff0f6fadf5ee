"""Encoded clip to mono waveform at the configured rate, in the graph.

Each file has a decoder, chosen by `asc_tf.audio.inspect` when the manifest is made:
our own WAV parser, or one of tensorflow-io's, which are used only on files that
libsndfile has read completely (malformed bytes hang them or end the process).
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from asc_tf.audio import wav
from asc_tf.audio.inspect import MAX_PEAK
from asc_tf.audio.resample import resample
from asc_tf.config import Audio

DECODERS = ("wav", "vorbis", "flac8", "flac16", "flac24", "mp3")
"""Routes of decoding, the values of the manifest's column `route`."""


def decode_clip(
    contents: tf.Tensor,
    route: tf.Tensor,
    sample_rate: tf.Tensor,
    span: tf.Tensor,
    audio: Audio,
    routes: Sequence[str] = DECODERS,
) -> tf.Tensor:
    """Decode one clip: bytes to mono waveform at `audio.sample_rate`.

    Args:
        contents: The bytes of the file, string `[]`.
        route: One of `routes`, string `[]`.
        sample_rate: The file's rate, Hz, int64 `[]`.
        span: Start and duration of the clip in its file, seconds, float64 `[2]`; a
            duration of 0 reaches to the end of the file.
        audio: The audio settings.
        routes: The routes that can occur; only these become part of the graph, so
            that a graph of WAV files alone holds core operations alone.

    Returns:
        float32 `[samples]`.
    """
    times = span * tf.cast(sample_rate, tf.float64)
    branches = [_branch(name, contents, times, audio) for name in routes]
    index = tf.argmax(tf.equal(route, tf.constant(list(routes))), output_type=tf.int32)
    channels = tf.switch_case(index, branches) if len(branches) > 1 else branches[0]()
    return resample(to_mono(channels), sample_rate, audio.sample_rate)


def decode_wav(contents: tf.Tensor, audio: Audio) -> tf.Tensor:
    """Decode the bytes of one WAV file that comes from outside.

    Args:
        contents: The bytes of the file, string `[]`.
        audio: The audio settings.

    Returns:
        float32 `[samples]`, mono, at `audio.sample_rate`.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs, with what is wrong.
    """
    header = wav.parse_header(contents, audio.max_seconds)
    check = tf.debugging.Assert(header.problem == "", [header.problem])
    with tf.control_dependencies([check]):
        mono = to_mono(wav.decode(contents, header))
    # Also false for what is no number.
    is_sound = tf.reduce_all(tf.abs(mono) <= MAX_PEAK)
    check = tf.debugging.Assert(
        is_sound, ["WAV samples that are not finite, or far beyond full scale"]
    )
    with tf.control_dependencies([check]):
        return resample(mono, header.sample_rate, audio.sample_rate)


def to_mono(channels: tf.Tensor) -> tf.Tensor:
    """Mean of the channels: float32 `[samples, channels]` to `[samples]`."""
    return tf.reduce_mean(channels, axis=1)


def _branch(
    route: str, contents: tf.Tensor, times: tf.Tensor, audio: Audio
) -> Callable[[], tf.Tensor]:
    """The decoder of one route, giving the clip as float32 `[samples, channels]`."""
    if route == "wav":
        return lambda: _wav_clip(contents, times, audio)
    import tensorflow_io as tfio

    def flac(dtype: tf.DType, zero: float, scale: float) -> tf.Tensor:
        samples = tfio.audio.decode_flac(contents, dtype=dtype)
        return (tf.cast(samples, tf.float32) - zero) / scale

    decoders = {
        "vorbis": lambda: tfio.audio.decode_vorbis(contents),
        "mp3": lambda: tfio.audio.decode_mp3(contents),
        "flac8": lambda: flac(tf.uint8, 128.0, 128.0),
        "flac16": lambda: flac(tf.int16, 0.0, 2.0**15),
        "flac24": lambda: flac(tf.int32, 0.0, 2.0**31),
    }

    def clip() -> tf.Tensor:
        channels = decoders[route]()
        start, end = _bounds(times, tf.shape(channels, tf.int64)[0])
        return channels[start:end]

    return clip


def _wav_clip(contents: tf.Tensor, times: tf.Tensor, audio: Audio) -> tf.Tensor:
    """Only the bytes of the clip are decoded, however long its file is."""
    header = wav.parse_header(contents, audio.max_seconds)
    start, end = _bounds(times, header.samples)
    skipped = start * header.channels * header.sample_bytes
    clip = header._replace(
        data_start=header.data_start + skipped, samples=tf.maximum(end - start, 0)
    )
    return wav.decode(contents, clip)


def _bounds(times: tf.Tensor, samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First sample of a clip, and the one behind its last, from start and duration."""
    # Bounded before the cast: what int64 cannot hold has no defined value.
    bounded = tf.minimum(tf.round(times), tf.cast(samples, tf.float64))
    start, length = tf.unstack(tf.cast(bounded, tf.int64))
    return start, tf.where(times[1] > 0, tf.minimum(start + length, samples), samples)
