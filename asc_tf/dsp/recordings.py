"""Predictions over the time of a recording of any length, in constant memory."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.read_ahead import read_ahead
from asc_tf.core.untrusted_files import name_in_errors
from asc_tf.dsp.levels import LevelMeter
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.dsp.segments import Segment
from asc_tf.dsp.streaming import AudioStream

BATCH = 32
"""Largest number of segments that run at a time."""

BATCH_SAMPLES = 2**20
"""Samples in the segments that run at a time, unless one has more: their spectra take
several times the memory of these 4 MB."""

MAX_HOP_SECONDS = 1e6
"""Largest time from one segment to the next, in seconds: more than eleven days."""


@dataclass(frozen=True)
class SegmentPrediction:
    """Prediction for one segment of a recording.

    Attributes:
        start: Start of the segment in the recording, in seconds.
        end: End of the segment, in seconds; zeros that pad it do not count.
        probabilities: Probabilities of the labels, float32 `[labels]`.
        is_silent: True if every sample is 0.
    """

    start: float
    end: float
    probabilities: np.ndarray
    is_silent: bool


class Recording:
    """Recording that is classified segment by segment while it is read.

    Args:
        path: Path of the file, for messages.
        stream: Stream of the file.
        preprocessing: Preprocessing of the model. All segments are classified, also
            where the model's answer for a clip is that of its centre segment.
        predict_segments: Function from segments `[n, *segment_shape]` to probabilities
            `[n, labels]`.
        hop_seconds: Seconds between the starts of neighbouring segments; 0: as the
            model has them.

    Raises:
        UserError: If `hop_seconds` is negative, not a number or above
            `MAX_HOP_SECONDS`.
    """

    def __init__(
        self,
        path: str | Path,
        stream: AudioStream,
        preprocessing: Preprocessing,
        predict_segments: Callable[[np.ndarray], np.ndarray],
        hop_seconds: float = 0.0,
    ) -> None:
        if not 0 <= hop_seconds <= MAX_HOP_SECONDS:
            raise UserError(
                f"hop_seconds is {hop_seconds}; give seconds from 0 to "
                f"{MAX_HOP_SECONDS:.0f}"
            )
        self._path, self._rate = path, preprocessing.sample_rate
        self._preprocessing = choose_hop(preprocessing, hop_seconds)
        self._stream, self._predict_segments = stream, predict_segments
        self._meter = meter_levels(stream, preprocessing)
        self.sample_rate = stream.sample_rate

    @property
    def seconds(self) -> float:
        """Duration of what has been read, in seconds."""
        return self._meter.seconds

    @property
    def note(self) -> str:
        """Note on the recording after all of it was read; mostly empty."""
        return self._meter.describe()

    def predict(self) -> Iterator[SegmentPrediction]:
        """Classify the segments one after the other.

        Yields:
            The segments in the order of their starts.

        Raises:
            UserError: If the file cannot be read to its end or its samples cannot be
                classified; the message names it.
        """
        with name_in_errors(self._path):
            segments = self._preprocessing.cut_views(self._stream, self._meter.stream)
            size = choose_batch_size(self._preprocessing.segment_samples)
            with contextlib.closing(read_ahead(segments, size)) as ahead:
                while batch := list(itertools.islice(ahead, size)):
                    yield from self._predict_batch(batch)

    def _predict_batch(self, batch: list[list[Segment]]) -> Iterator[SegmentPrediction]:
        """Classify some segments, and pool the views of each."""
        waveforms = np.stack([view.waveform for views in batch for view in views])
        rows = self._predict_segments(waveforms)
        by_segment = rows.reshape(len(batch), -1, rows.shape[1])
        for views, probabilities in zip(batch, by_segment, strict=True):
            first = views[0]
            yield SegmentPrediction(
                first.start / self._rate,
                first.end / self._rate,
                self._preprocessing.pool(probabilities),
                not any(view.waveform.any() for view in views),
            )


def choose_hop(preprocessing: Preprocessing, hop_seconds: float) -> Preprocessing:
    """Give all segments of a recording, with a hop in seconds if it is not 0."""
    hop = max(round(hop_seconds * preprocessing.sample_rate), 1)
    if not hop_seconds:
        hop = preprocessing.hop_samples
    return dataclasses.replace(preprocessing, segments="all", hop_samples=hop)


def meter_levels(stream: AudioStream, preprocessing: Preprocessing) -> LevelMeter:
    """Make the meter of a clip that a model classifies."""
    return LevelMeter(
        stream,
        preprocessing.sample_rate,
        preprocessing.segment_samples,
        preprocessing.short_clips,
    )


def choose_batch_size(segment_samples: int) -> int:
    """Choose the number of segments that run at a time."""
    return min(max(BATCH_SAMPLES // segment_samples, 1), BATCH)
