"""Segments of waveforms: shuffled for training, in order for evaluation."""

import tensorflow as tf

from asc_tf.audio.segment import cut_segments, draw_segment
from asc_tf.augment import fold_in
from asc_tf.config import Config, Evaluate
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.pipeline.options import AUTOTUNE, plain_python
from asc_tf.pipeline.waveforms import DESCRIPTION, Waveforms

SHUFFLED_VALUES = 2**26
"""Size of the buffer that shuffles the segments of an epoch, in samples (256 MB)."""


def make_training_segments(
    waveforms: Waveforms, config: Config, seed: tf.Tensor
) -> tf.data.Dataset:
    """Make the shuffled segments of an epoch; each clip comes `augment.copies` times.

    Args:
        waveforms: Waveforms of the training split.
        config: Configuration of the run.
        seed: Seed of the epoch, int64 `[2]`.

    Returns:
        Tuples of waveform float32 `[segment_samples]` or `[segment_samples, 2]`, target
        float32 `[labels]` and weight float32 `[]`.
    """
    audio, length = config.audio, config.audio.segment_samples

    def crop(position: tf.Tensor, row: dict[str, tf.Tensor]) -> tuple:
        own_seed = fold_in(fold_in(seed, 1), position)
        segment = draw_segment(row["waveform"], length, own_seed, audio.short_clips)
        return segment, row["target"], row["weight"]

    rows = waveforms.shuffle(seed[0], config.augment.copies)
    if config.train.segments == "random":
        return rows.enumerate().map(crop, num_parallel_calls=AUTOTUNE)
    all_of_clip = Preprocessing.from_config(audio, Evaluate())
    # Whole clips are shuffled first; a buffer that fits in memory mixes their segments.
    return (
        rows.flat_map(lambda row: _cut(row, all_of_clip))
        .map(lambda row: (row["waveform"], row["target"], row["weight"]))
        .shuffle(
            choose_shuffle_buffer(config, waveforms.channels),
            seed=seed[1],
            reshuffle_each_iteration=False,
        )
    )


def choose_shuffle_buffer(config: Config, width: int) -> int:
    """Return the shuffle buffer in segments, where all segments of a clip are used.

    Args:
        config: Configuration of the run.
        width: Number of channels of a waveform.
    """
    values = config.audio.segment_samples * width
    return max(SHUFFLED_VALUES // values, config.train.batch_size)


def make_segment_batches(
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
    rows = waveforms.in_order().flat_map(
        plain_python(lambda row: _cut(row, preprocessing))
    )
    return rows.batch(batch_size).prefetch(AUTOTUNE)


def _cut(row: dict[str, tf.Tensor], settings: Preprocessing) -> tf.data.Dataset:
    """Cut one example into segments, each with the description of the example."""
    length = settings.segment_samples
    segments = cut_segments(
        row["waveform"][tf.newaxis],
        length,
        settings.hop_samples,
        settings.segments,
        settings.short_clips,
        settings.last_segment,
    )[0]
    segments = tf.ensure_shape(segments, [None, length, *row["waveform"].shape[1:]])
    count = tf.shape(segments)[0]
    repeated = {
        name: tf.repeat(row[name][tf.newaxis], count, axis=0) for name in DESCRIPTION
    }
    return tf.data.Dataset.from_tensor_slices(repeated | {"waveform": segments})
