"""Windows of a stream and their probabilities, equal to `classify --segments`."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.dsp.streaming import AudioStream
from asc_tf.edge.listening.reader import Reader

Predict = Callable[[np.ndarray], np.ndarray]
"""Function from segments `[n, *segment_shape]` to probabilities `[n, labels]`."""


@dataclass(frozen=True)
class Window:
    """Classified window.

    Attributes:
        start: Start in the stream in seconds.
        end: End in the stream in seconds; zeros that pad it do not count.
        probabilities: float32 `[labels]`; None if the model failed.
        error: Message of the model's failure, or an empty string.
        is_silent: True if every sample is 0.
        waveform: Its samples at the model's rate, float32 `[samples]`, or `[samples,
            2]` for left and right.
        unix: Time of day of its start in Unix seconds.
        ms: Duration of the inference in milliseconds.
    """

    start: float
    end: float
    probabilities: np.ndarray | None
    error: str
    is_silent: bool
    waveform: np.ndarray
    unix: float
    ms: float


def classify_windows(
    reader: Reader, preprocessing: Preprocessing, predict: Predict
) -> Iterator[Window]:
    """Classify the windows of a stream without gaps.

    Window n begins at sample `n * hop` of the stream at the model's rate. At the end of
    the stream the last samples are padded, aligned or dropped as in a file.

    Yields:
        The windows.

    Raises:
        Gap, SourceLost, Stopped: As from `Reader.read_blocks`.
    """
    form, rate = reader.form, preprocessing.sample_rate
    assert form is not None
    offset = reader.position
    views = channels.list_views(preprocessing.channels, form.channels)
    # Each view reads the stream for itself.
    copies = iter(itertools.tee(reader.read_blocks(), len(views)))
    stream = AudioStream(form.sample_rate, form.channels, None, lambda: next(copies))
    clock = reader.clock
    for cut in preprocessing.cut_views(stream):
        began = clock.read_monotonic()
        probabilities, error = None, ""
        try:
            rows = predict(np.stack([view.waveform for view in cut]))
            probabilities = preprocessing.pool(rows)
        except UserError as failure:
            error = str(failure)
        first, start = cut[0], offset + cut[0].start * form.sample_rate / rate
        yield Window(
            start=start / form.sample_rate,
            end=(offset / form.sample_rate) + first.end / rate,
            probabilities=probabilities,
            error=error,
            is_silent=not any(view.waveform.any() for view in cut),
            waveform=_to_left_and_right(cut[-1].waveform, preprocessing.channels),
            unix=reader.date(start),
            ms=1000 * (clock.read_monotonic() - began),
        )


def _to_left_and_right(waveform: np.ndarray, setting: str) -> np.ndarray:
    if setting != "mid_side":
        return waveform
    mid, side = waveform[:, 0], waveform[:, 1]
    return np.stack([mid + side, mid - side], axis=1)
