"""Segmentation and pooling in the graph; the reference is `asc_tf.dsp.segments`."""

import tensorflow as tf

from asc_tf.dsp.segments import SMALLEST


def cut_segments(
    waveforms: tf.Tensor,
    length: int,
    hop: int,
    which: str = "all",
    short_clips: str = "pad",
    last_segment: str = "align",
) -> tf.Tensor:
    """Cut waveforms into their segments.

    Args:
        waveforms: float32 `[batch, samples]` or `[batch, samples, channels]`.
        length: Samples in a segment.
        hop: Samples between the starts of neighbouring segments.
        which: `all`, or `centre` for the one in the middle.
        short_clips: `pad` or `loop`.
        last_segment: `align` or `drop`.

    Returns:
        float32 `[batch, segments, length]` or `[batch, segments, length, channels]`.
    """
    samples = tf.shape(waveforms)[1]
    starts = find_starts(samples, length, hop, which, last_segment)
    places = starts[:, tf.newaxis] + tf.range(length)
    if short_clips == "loop":
        # In a longer clip no place reaches the end.
        places %= tf.maximum(samples, 1)
    else:
        waveforms = pad_or_loop(waveforms, length, short_clips)
    return tf.gather(waveforms, places, axis=1)


def find_starts(
    samples: tf.Tensor,
    length: int,
    hop: int,
    which: str = "all",
    last_segment: str = "align",
) -> tf.Tensor:
    """Find the first sample of each segment of a clip, int32 `[segments]`, rising.

    `samples` is the number of samples in the clip, int32 `[]`; the others are those of
    `cut_segments`.
    """
    last = tf.maximum(samples - length, 0)
    if which == "centre":
        return last[tf.newaxis] // 2
    steps = last // hop if last_segment == "drop" else -(-last // hop)
    return tf.minimum(tf.range(steps + 1) * hop, last)


def pad_or_loop(
    waveforms: tf.Tensor, length: int, short_clips: str = "pad"
) -> tf.Tensor:
    """Extend waveforms `[batch, samples, ...]` to `length` samples at least.

    As in `dsp.segments`, `pad` adds zeros at the end, and `loop` repeats the waveform.
    """
    samples = tf.shape(waveforms)[1]
    rest = [[0, 0]] * (waveforms.shape.rank - 2)

    def pad() -> tf.Tensor:
        return tf.pad(waveforms, [[0, 0], [0, tf.maximum(length - samples, 0)], *rest])

    def loop() -> tf.Tensor:
        return tf.gather(waveforms, tf.range(length) % samples, axis=1)

    if short_clips == "pad":
        return pad()
    # An empty waveform has nothing to loop: it becomes silence.
    return tf.cond((samples > 0) & (samples < length), loop, pad)


def draw_segment(
    waveform: tf.Tensor, length: int, seed: tf.Tensor, short_clips: str = "pad"
) -> tf.Tensor:
    """Crop a waveform at a random place, or extend one that is too short.

    A short waveform is padded with zeros on both sides, by random shares, or looped
    from a random sample on.

    Args:
        waveform: float32 `[samples]` or `[samples, channels]`.
        length: Samples in a segment.
        seed: Seed, int64 `[2]`; the same seed gives the same segment.
        short_clips: `pad` or `loop`.

    Returns:
        float32 `[length]` or `[length, channels]`.
    """
    samples = tf.shape(waveform)[0]
    slack = samples - length
    if short_clips == "loop":
        places = tf.where(slack < 0, samples, slack + 1)
    else:
        places = tf.abs(slack) + 1
    offset = tf.random.stateless_uniform(
        [], seed, minval=0, maxval=places, dtype=tf.int32
    )
    if short_clips == "loop":
        segment = tf.gather(waveform, (offset + tf.range(length)) % samples)
    else:
        start, before = tf.where(slack > 0, offset, 0), tf.where(slack < 0, offset, 0)
        cropped = waveform[start : start + length]
        after = length - before - tf.shape(cropped)[0]
        padding = [[before, after]] + [[0, 0]] * (waveform.shape.rank - 1)
        segment = tf.pad(cropped, padding)
    return tf.ensure_shape(segment, [length, *waveform.shape[1:]])


def pool(probabilities: tf.Tensor, pooling: str) -> tf.Tensor:
    """Pool segment probabilities to clips, as `asc_tf.dsp.segments.pool` does.

    Args:
        probabilities: float32 `[batch, segments, labels]`.
        pooling: `mean`, `mean_log` or `majority`.

    Returns:
        float32 `[batch, labels]`.
    """
    if pooling == "mean_log":
        logs = tf.math.log(tf.maximum(probabilities, SMALLEST))
        return tf.nn.softmax(tf.reduce_mean(logs, axis=1))
    means = tf.reduce_mean(probabilities, axis=1)
    if pooling == "majority":
        votes = tf.one_hot(tf.argmax(probabilities, axis=2), means.shape[-1])
        count = tf.cast(tf.shape(probabilities)[1], tf.float32)
        voted = (tf.reduce_sum(votes, axis=1) + means) / (count + 1)
        return tf.where(count > 1, voted, means)
    return means
