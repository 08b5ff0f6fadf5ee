"""Signatures of the SavedModel: waveforms or WAV files in, one row of results for each.

A row that cannot be classified does not fail its neighbours: its probabilities are NaN,
its label is empty, and the output `error` gives the reason.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from asc_tf.audio.segment import pool
from asc_tf.config import Audio, Evaluate
from asc_tf.exporting.clip_runner import ClipRunner, Rows, trace

NOT_FINITE = "the model gave probabilities that are not finite"

Outputs = dict[str, tf.Tensor]


class Signatures:
    """Functions of the signatures.

    The model has the outputs `probabilities` and `embedding` for one segment.
    """

    def __init__(
        self,
        model: keras.Model,
        audio: Audio,
        evaluate: Evaluate,
        labels: Sequence[str],
    ) -> None:
        self._audio, self._evaluate = audio, evaluate
        self._names = tf.constant([*labels, ""])
        self._runner = ClipRunner(model, audio, evaluate)
        self._labels = self._runner.labels

    def make(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """Make the function of each signature."""
        runner = self._runner
        inputs = (
            ("", runner.waveform, runner.run_waveforms),
            ("encoded_", runner.encoded, runner.run_files),
        )

        def over_clips(run: Callable) -> Callable:
            return lambda clips: self._pool(run(clips))

        def over_time(run: Callable, output: str) -> Callable:
            # All segments count, also where a clip has the result of one.
            return lambda clips: self._show_time(run(clips), output)

        functions = {}
        for prefix, spec, run in inputs:
            pooled = over_clips(run[self._evaluate.segments])
            functions[prefix[:-1] or "serving_default"] = trace(pooled, spec)
            segments = over_time(run["all"], "probabilities")
            functions[f"{prefix}segments"] = trace(segments, spec)
            embedding = over_time(run["all"], "embedding")
            functions[f"{prefix}embedding"] = trace(embedding, spec)
        label_id = tf.TensorSpec([None], tf.int64, name="label_id")
        functions["labels"] = trace(self._name_labels, label_id)
        return functions

    def _name_labels(self, label_id: tf.Tensor) -> Outputs:
        """Name label ids: int64 `[batch]` to string; empty where there is no such."""
        last = tf.size(self._names, tf.int64) - 1
        is_known = (label_id >= 0) & (label_id < last)
        return {"label": tf.gather(self._names, tf.where(is_known, label_id, last))}

    def _pool(self, rows: Rows) -> Outputs:
        """Pool the probabilities of segments to clips."""
        ends = tf.cumsum(rows.counts)

        def pool_clip(span: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            own = rows.values[tf.newaxis, span[0] : span[1], : self._labels]
            own = tf.ensure_shape(own, [1, None, self._labels])
            pooled = pool(own, self._evaluate.pooling)[0]
            return tf.ensure_shape(pooled, [self._labels])

        pooled = tf.map_fn(
            pool_clip, (ends - rows.counts, ends), fn_output_signature=tf.float32
        )
        is_finite = tf.reduce_all(tf.math.is_finite(pooled), axis=1)
        errors = tf.where((rows.errors == "") & ~is_finite, NOT_FINITE, rows.errors)
        is_good = errors == ""
        best = tf.where(is_good, tf.argmax(pooled, axis=1), self._labels)
        nothing = tf.constant(np.nan, tf.float32)
        return {
            "probabilities": tf.where(is_good[:, tf.newaxis], pooled, nothing),
            "label": tf.gather(self._names, best),
            "error": errors,
        }

    def _show_time(self, rows: Rows, output: str) -> Outputs:
        """Arrange results by clip and segment; shorter clips are filled with NaN."""
        own = slice(None, self._labels)
        if output == "embedding":
            own = slice(self._labels, None)
        values, times, counts = rows.values[:, own], rows.times, rows.counts
        is_finite = _are_finite(values, counts)
        if self._audio.channels == "split":
            views = tf.repeat(rows.views, counts)
            counts = counts // tf.maximum(rows.views, 1)
            values, times = self._merge_views(values, times, views, output)
        lengths = tf.cast(counts, tf.int64)
        errors = tf.where((rows.errors == "") & ~is_finite, NOT_FINITE, rows.errors)
        nothing = tf.constant(np.nan, tf.float32)
        values = tf.where(tf.repeat(is_finite, counts)[:, tf.newaxis], values, nothing)

        def fill(values: tf.Tensor) -> tf.Tensor:
            ragged = tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)
            return ragged.to_tensor(nothing)

        spans = fill(times)
        return {
            output: fill(values),
            "start": spans[..., 0],
            "end": spans[..., 1],
            "error": errors,
        }

    def _merge_views(
        self, values: tf.Tensor, times: tf.Tensor, views: tf.Tensor, output: str
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Merge the views of each segment, which are neighbouring rows."""
        rows = tf.size(views)
        heads = tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=[])
        _, count, heads = tf.while_loop(
            lambda row, *_: row < rows,
            lambda row, count, heads: (
                row + views[row],
                count + 1,
                heads.write(count, row),
            ),
            (tf.constant(0), tf.constant(0), heads),
        )
        firsts = heads.gather(tf.range(count))

        def merge(first: tf.Tensor) -> tf.Tensor:
            own = values[tf.newaxis, first : first + views[first]]
            how = self._evaluate.pooling if output == "probabilities" else "mean"
            own = tf.ensure_shape(own, [1, None, values.shape[1]])
            return pool(own, how)[0]

        merged = tf.map_fn(merge, firsts, fn_output_signature=tf.float32)
        return merged, tf.gather(times, firsts)


def _are_finite(values: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Find the clips whose rows are all finite.

    Args:
        values: float32 `[rows, values]`, the rows of the clips one after the other.
        counts: Rows of each clip, int32 `[clips]`.

    Returns:
        bool `[clips]`; true for a clip without rows.
    """
    clips = tf.size(counts)
    clip_of_row = tf.repeat(tf.range(clips), counts)
    is_bad = ~tf.reduce_all(tf.math.is_finite(values), axis=1)
    bad = tf.math.unsorted_segment_sum(tf.cast(is_bad, tf.int32), clip_of_row, clips)
    return bad == 0
