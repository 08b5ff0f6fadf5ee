"""Decoding of clips to waveforms in tf.data graphs.

No Python runs per clip. Everything random comes after the cache and is a function of
the run's seed, the epoch and the position in it, so that each epoch differs and a
resumed run continues as if it had never stopped.
"""

import contextlib
import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from asc_tf.audio import sndfile
from asc_tf.audio.cache import Row, WaveformCache
from asc_tf.audio.decode import CACHED, Variants, decode_clip
from asc_tf.config import Audio
from asc_tf.core.errors import UserError
from asc_tf.core.progress_bar import Progress, show_nothing
from asc_tf.dsp import channels
from asc_tf.manifest import Clip
from asc_tf.pipeline import clip_files
from asc_tf.pipeline.options import AUTOTUNE, plain_python, set_options

DESCRIPTION = ("clip", "example", "target", "weight")
"""Columns of an example that each of its segments has too."""

_SOURCE = {
    **clip_files.COLUMNS,
    "view": tf.TensorSpec([], tf.string),
    "rate": tf.TensorSpec([], tf.int64),
    "span": tf.TensorSpec([2], tf.float64),
}
"""Columns of an example that its waveform depends on."""

READING = "read_clip"
"""Scope of the graph's operations that read a file; it identifies their errors."""

_ORIGIN = re.compile(r"(?:\{\{node |\[Op:)([^}\]]+)")
"""Operation in which an error of TensorFlow began: the first one in the message."""

_PLACES = re.compile(r"\A(?:.* with iterator: \S+: |\{\{.*?\}\} )", re.DOTALL)
"""Start of an error message of TensorFlow, before the reason."""

_FILE_ERRORS = (
    tf.errors.NotFoundError,
    tf.errors.InvalidArgumentError,
    tf.errors.PermissionDeniedError,
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    # A disk or a network folder that fails.
    tf.errors.UnknownError,
    tf.errors.UnavailableError,
)


class Waveforms:
    """Decoded examples of one split.

    An example is a clip, or one view of it where the channels are split.

    Attributes:
        count: Number of examples.
        n_clips: Number of clips.
        channels: Number of channels of each waveform.
        is_weighted: Whether some clips have less weight than others.

    Args:
        clips: Scanned rows of the manifest.
        root: Folder of the corpus.
        labels: Class order.
        audio: Audio settings.
        cache_dir: Cache folder of the clips, if `audio.cache = disk`, and of those that
            only libsndfile decodes.
        unverified_weight: Weight of clips with an unverified label; others have 1.
        progress: Wrapper of the iterator of clips to cache; see `make_bar`.
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
        progress: Progress = show_nothing,
    ) -> None:
        views = [channels.list_views(audio.channels, clip.channels) for clip in clips]
        rows = [
            Row(clip, view)
            for clip, views_of_clip in zip(clips, views, strict=True)
            for view in views_of_clip
        ]
        self.count, self.n_clips, self._audio = len(rows), len(clips), audio
        self.channels = channels.count_channels(audio.channels)
        cache = WaveformCache(cache_dir, root, audio)
        caches_all = audio.cache == "disk"
        cached = cache.fill(
            [row for row in rows if caches_all or row.clip.route == sndfile.ROUTE],
            progress,
        )
        files = clip_files.find_clip_files(rows, root, cached)
        self._known = _summarize(rows, files)
        label_ids = {label: index for index, label in enumerate(labels)}
        weights = [
            unverified_weight if row.clip.verified == "0" else 1.0 for row in rows
        ]
        self.is_weighted = min(weights, default=1.0) < 1.0
        spans = [(row.clip.start, row.clip.duration) for row in rows]
        columns = {
            **clip_files.make_columns(files),
            "view": [row.view for row in rows],
            "rate": tf.constant([row.clip.sample_rate for row in rows], tf.int64),
            "span": tf.constant(spans, tf.float64),
            "clip": tf.repeat(tf.range(len(clips)), [len(each) for each in views]),
            "example": tf.range(len(rows)),
            # A clip without a label has a target of zeros.
            "target": tf.one_hot(
                [label_ids.get(row.clip.label, -1) for row in rows], len(labels)
            ),
            "weight": tf.constant(weights, tf.float32),
        }
        self._rows = set_options(tf.data.Dataset.from_tensor_slices(columns))
        if audio.cache == "memory":
            self._rows = self._decode(self._rows).cache()

    def in_order(self) -> tf.data.Dataset:
        """Make the examples in the order of their clips.

        Returns:
            Dicts of `waveform` float32 `[samples]` or `[samples, 2]`, `clip` and
            `example` int32 `[]` (positions among the clips and the examples), `target`
            float32 `[labels]` and `weight` float32 `[]`.
        """
        return self._decode(self._rows)

    def shuffle(self, seed: tf.Tensor, copies: int = 1) -> tf.data.Dataset:
        """Make each example `copies` times, in random order.

        Args:
            seed: Seed of the order, int64 `[]`.
            copies: Number of times that each example comes.
        """
        rows = self._rows.repeat(copies)
        count = self.count * copies
        return self._decode(
            rows.shuffle(count, seed=seed, reshuffle_each_iteration=False)
        )

    def _decode(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Decode rows that are not decoded yet."""
        if "waveform" in rows.element_spec:
            return rows
        # The kind of cache changes nothing in the graph, which all splits can share.
        audio = dataclasses.replace(self._audio, cache="none")
        decoder = _build_decoder(audio, self._known)

        @plain_python
        def decode(row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            with tf.name_scope(READING):
                waveform = decoder({name: row[name] for name in _SOURCE})
            described = {name: row[name] for name in DESCRIPTION}
            return described | {"waveform": waveform}

        return rows.map(decode, num_parallel_calls=AUTOTUNE)


@functools.lru_cache
def _build_decoder(audio: Audio, known: Variants) -> Callable[..., tf.Tensor]:
    """Build the function from the columns of a row to its waveform.

    All graphs of a process share it: to trace it takes half a second.

    Args:
        audio: Audio settings.
        known: Routes, views and sample rates that occur.
    """
    n_channels = channels.count_channels(audio.channels)
    shape = [None, n_channels] if n_channels > 1 else [None]

    # AutoGraph, which nothing here needs, would make tracing a third slower.
    @tf.function(input_signature=[_SOURCE], autograph=False)
    def decode(source: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.name_scope(READING):
            waveform = decode_clip(
                clip_files.read_contents(source),
                source["route"],
                source["rate"],
                source["span"],
                source["view"],
                audio,
                known,
                source["place"],
            )
        return tf.ensure_shape(waveform, shape)

    return decode


def _summarize(rows: Sequence[Row], files: Sequence[clip_files.ClipFile]) -> Variants:
    """List the routes, and the views and rates of clips that are decoded in the graph.

    The rates come in the order of their frequency, the most frequent first.
    """
    decoded = [
        row for row, file in zip(rows, files, strict=True) if file.route != CACHED
    ]
    rates = Counter(row.clip.sample_rate for row in decoded)
    return Variants(
        routes=tuple(sorted({file.route for file in files})),
        views=tuple(sorted({row.view for row in decoded})),
        rates=tuple(rate for rate, _ in rates.most_common()),
    )


@contextlib.contextmanager
def explain_read_errors() -> Iterator[None]:
    """Turn the error of a graph that cannot read a file into a message of one line.

    Errors of other operations, for example of the model, stay as they are.

    Raises:
        UserError: If a file is missing or has changed since it was scanned.
    """
    try:
        yield
    except _FILE_ERRORS as error:
        if not _is_from_reading(error.message):
            raise
        reason = _PLACES.sub("", error.message).split("\n")[0]
        raise UserError(
            f"a clip could not be read ({reason}); if files have changed, run the same "
            "command again, which scans them"
        ) from error


def _is_from_reading(message: str) -> bool:
    """Return whether an error began while a clip or a shard was read."""
    origin = _ORIGIN.search(message)
    # Operations of a dataset itself, without a function, have the iterator's name.
    return origin is not None and (
        origin[1].startswith(READING) or "IteratorGetNext" in origin[1]
    )
