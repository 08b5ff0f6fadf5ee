"""Decoding in the graph: bytes of a file to a waveform at the configured sample rate.

The scan chooses a decoder for each file, its route (`asc_tf.audio.inspect`): our own
WAV parser, or one of tensorflow-io's, which are used only on files that libsndfile has
read completely (malformed bytes hang them or end the process). All other clips come
from the files of `asc_tf.audio.cache`, route `cached`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from asc_tf.audio import cache_format, scanned_wav, wav_graph
from asc_tf.audio.resample import resample
from asc_tf.audio.scanned_wav import WavLayout
from asc_tf.audio.tensorflow_io import load_tensorflow_io
from asc_tf.audio.views import select_view
from asc_tf.config import Audio
from asc_tf.dsp import channels
from asc_tf.dsp.streaming import BAD_SAMPLES, MAX_PEAK

CACHED = "cached"
"""Route of a clip that is in the cache."""


class Variants(NamedTuple):
    """Routes, views and sample rates that a graph is built for.

    A route may be that of a `WavLayout`, for files whose header has been read. A graph
    for WAV files alone needs only core operations. The kernels of `rates` are constants
    of the graph, the most frequent rate first; a single rate is taken to be the rate of
    every clip.
    """

    routes: tuple[str, ...]
    views: tuple[str, ...] = ("mono",)
    rates: tuple[int, ...] = ()


def decode_clip(
    contents: tf.Tensor,
    route: tf.Tensor,
    sample_rate: tf.Tensor,
    span: tf.Tensor,
    view: tf.Tensor,
    audio: Audio,
    variants: Variants,
    place: tf.Tensor | None = None,
) -> tf.Tensor:
    """Decode one clip: bytes to a waveform at `audio.sample_rate`.

    Args:
        contents: Bytes of the file, string `[]`.
        route: One of `variants.routes`, string `[]`.
        sample_rate: Sample rate of the file in Hz, int64 `[]`; those in
            `variants.rates` are the fast ones.
        span: Start and duration of the clip in its file in seconds, float64 `[2]`; a
            duration of 0 means up to the end of the file.
        view: One of `variants.views`, string `[]`.
        audio: Audio settings.
        variants: Routes, views and rates that can occur.
        place: First byte and samples per channel of the clip, int64 `[2]`, for routes
            of a `WavLayout`, which need it in place of the span.

    Returns:
        float32 `[samples]`, or `[samples, 2]` where the views have two channels.
    """

    def decode_cached() -> tf.Tensor:
        return cache_format.decode(
            contents, audio.cache_dtype, channels.count_channels(audio.channels)
        )

    def decode_route(name: str) -> tf.Tensor:
        if layout := WavLayout.from_route(name):
            select = functools.partial(scanned_wav.decode, contents, layout, place)
        else:
            waveform = decode_channels(contents, name, sample_rate, span, audio)
            select = functools.partial(select_view, waveform)
        return _switch(view, {v: functools.partial(select, v) for v in variants.views})

    def decode_fresh() -> tf.Tensor:
        routes = [name for name in variants.routes if name != CACHED]
        waveform = _switch(
            route, {name: functools.partial(decode_route, name) for name in routes}
        )
        only_rate = variants.rates[0] if len(variants.rates) == 1 else sample_rate
        return resample_all(waveform, only_rate, audio.sample_rate, variants.rates)

    if CACHED not in variants.routes:
        return decode_fresh()
    if set(variants.routes) == {CACHED}:
        return decode_cached()
    return tf.cond(route == CACHED, decode_cached, decode_fresh)


def decode_channels(
    contents: tf.Tensor,
    route: str,
    sample_rate: tf.Tensor,
    span: tf.Tensor,
    audio: Audio,
) -> tf.Tensor:
    """Decode one clip without downmixing or resampling: `[samples, channels]`."""
    times = span * tf.cast(sample_rate, tf.float64)
    if route == "wav":
        return _decode_wav_clip(contents, times, audio)
    tfio = load_tensorflow_io()

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
    waveform = decoders[route]()
    start, end = _compute_bounds(times, tf.shape(waveform, tf.int64)[0])
    return waveform[start:end]


def decode_wav(
    contents: tf.Tensor,
    audio: Audio,
    header: wav_graph.WavHeader | None = None,
    rates: Sequence[int] = (),
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode the bytes of one untrusted WAV file.

    Args:
        contents: Bytes of the file, string `[]`.
        audio: Audio settings.
        header: Header of the file, from `wav_graph.parse_header`; None: parsed here.
        rates: Likely sample rates in Hz, whose kernels become constants of the graph.

    Returns:
        float32 `[views, samples]` at `audio.sample_rate`, or `[1, samples, 2]` where
        the model has two input channels; and the reason why the file cannot be
        classified, string `[]`, empty for a good one. Then there are no samples.
    """
    header = header or wav_graph.parse_header(contents, audio.max_seconds)
    names = channels.list_views(audio.channels, 2)
    width = channels.count_channels(audio.channels)

    def mix(waveform: tf.Tensor) -> tf.Tensor:
        views = [select_view(waveform, name) for name in names]
        mixed = tf.stack(views, axis=1) if views[0].shape.rank == 1 else views[0]
        # A bad sample may vanish in a mean: it makes its whole block bad.
        return mixed + tf.where(has_valid_samples(waveform), 0.0, np.nan)

    mixed = wav_graph.decode(contents, header, mix)
    mixed = tf.ensure_shape(mixed, [None, max(len(names), width)])
    problem = tf.where(has_valid_samples(mixed), header.problem, BAD_SAMPLES)
    is_good = problem == ""
    mixed = mixed[: tf.where(is_good, tf.shape(mixed)[0], 0)]
    # The rate in a bad header may be 0.
    rate = tf.where(is_good, header.sample_rate, audio.sample_rate)
    n_columns = mixed.shape[1]

    def resample_column(column: tf.Tensor) -> tf.Tensor:
        return resample(column, rate, audio.sample_rate, rates)

    columns = tf.transpose(mixed)
    if n_columns == 1:
        resampled = resample_column(columns[0])[tf.newaxis]
    else:
        # A loop, so that the graph has one resampler and not one for each column.
        resampled = tf.map_fn(
            resample_column,
            columns,
            fn_output_signature=tf.TensorSpec([None], tf.float32),
        )
    if width > 1:
        return tf.transpose(resampled)[tf.newaxis], problem
    # A mono file is a single example, also where others are split: the last view.
    return resampled[tf.where(header.channels > 1, 0, n_columns - 1) :], problem


def has_valid_samples(
    waveforms: tf.Tensor, axes: Sequence[int] | None = None
) -> tf.Tensor:
    """Check whether samples are finite and not far beyond full scale.

    Args:
        waveforms: float32 of any shape.
        axes: Axes over which the result is reduced; None for all.

    Returns:
        bool, of the shape of the other axes.
    """
    # The comparison is false for NaN too.
    return tf.reduce_all(tf.abs(waveforms) <= MAX_PEAK, axis=axes)


def resample_all(
    waveform: tf.Tensor,
    rate_in: tf.Tensor | int,
    rate_out: int,
    known_rates: Sequence[int] = (),
) -> tf.Tensor:
    """Resample each channel of `[samples]` or `[samples, 2]`."""
    if waveform.shape.rank == 1:
        return resample(waveform, rate_in, rate_out, known_rates)
    columns = [
        resample(column, rate_in, rate_out, known_rates)
        for column in tf.unstack(waveform, axis=1)
    ]
    return tf.stack(columns, axis=1)


def _switch(
    name: tf.Tensor, branches: Mapping[str, Callable[[], tf.Tensor]]
) -> tf.Tensor:
    """Run the branch of a name; a single branch needs no name."""
    functions = list(branches.values())
    if len(functions) == 1:
        return functions[0]()
    index = tf.argmax(tf.equal(name, list(branches)), output_type=tf.int32)
    return tf.switch_case(index, functions)


def _decode_wav_clip(contents: tf.Tensor, times: tf.Tensor, audio: Audio) -> tf.Tensor:
    """Decode a clip of a WAV file, without decoding the rest of the file."""
    header = wav_graph.parse_header(contents, audio.max_seconds)
    check = tf.debugging.Assert(header.problem == "", [header.problem])
    with tf.control_dependencies([check]):
        start, end = _compute_bounds(times, header.samples)
    skipped = start * header.channels * header.sample_bytes
    clip = header._replace(
        data_start=header.data_start + skipped, samples=tf.maximum(end - start, 0)
    )
    return wav_graph.decode(contents, clip)


def _compute_bounds(
    times: tf.Tensor, samples: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Convert start and duration to the first sample and the one after the last."""
    # Bounded before the cast: what int64 cannot hold has no defined value.
    bounded = tf.minimum(tf.round(times), tf.cast(samples, tf.float64))
    start, length = tf.unstack(tf.cast(bounded, tf.int64))
    return start, tf.where(times[1] > 0, tf.minimum(start + length, samples), samples)
