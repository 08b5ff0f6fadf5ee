"""Inference preprocessing: sample rate, channels, segments, pooling.

The predictor (`asc_tf.evaluation.predictor`) and the edge runtime (`asc_tf.edge`)
share it.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from asc_tf.config import Audio, Evaluate
from asc_tf.core.errors import UserError
from asc_tf.dsp import channels, resampling, segments
from asc_tf.dsp.segments import Segment
from asc_tf.dsp.streaming import (
    BAD_SAMPLES,
    MAX_PEAK,
    AudioStream,
    downmix_and_resample_blocks,
)

MAX_CHANNELS = 256
"""Largest number of channels; a longer axis must be samples in the wrong place."""


@dataclass(frozen=True)
class Preprocessing:
    """Settings of the preprocessing, named as in the configuration."""

    sample_rate: int
    segment_samples: int
    hop_samples: int
    channels: str = "mono"
    short_clips: str = "pad"
    segments: str = "all"
    pooling: str = "mean"
    last_segment: str = "align"

    @classmethod
    def from_config(cls, audio: Audio, evaluate: Evaluate) -> "Preprocessing":
        """Take the settings from a configuration."""
        return cls(
            sample_rate=audio.sample_rate,
            segment_samples=audio.segment_samples,
            hop_samples=choose_hop(audio, evaluate),
            channels=audio.channels,
            short_clips=audio.short_clips,
            segments=evaluate.segments,
            pooling=evaluate.pooling,
            last_segment=audio.last_segment,
        )

    @property
    def segment_shape(self) -> tuple[int, ...]:
        """Shape of one segment: `[samples]`, or `[samples, 2]`."""
        width = channels.count_channels(self.channels)
        return (self.segment_samples, width)[: 2 if width > 1 else 1]

    def find_starts(self, samples: int, sample_rate: int) -> np.ndarray:
        """Find the first sample of each segment of a clip.

        Args:
            samples: Samples of the clip.
            sample_rate: Sample rate of the clip in Hz.

        Returns:
            int64 `[segments]`, counted at the sample rate of the settings.
        """
        return segments.find_starts(
            resampling.count_output_samples(samples, sample_rate, self.sample_rate),
            self.segment_samples,
            self.hop_samples,
            self.segments,
            self.last_segment,
        )

    def cut(self, waveform: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
        """Cut a clip into the segments of the model's input.

        Args:
            waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`.
            sample_rate: Sample rate of the waveform in Hz.

        Yields:
            float32 of `segment_shape`.

        Raises:
            UserError: If the waveform is empty, not finite, far beyond full scale or of
                another shape or type, or the sample rate is out of range.
        """
        waveform, rate = check_waveform(waveform), check_rate(sample_rate)
        yield from self.cut_stream(AudioStream.from_waveform(waveform, rate))

    def cut_stream(self, stream: AudioStream) -> Generator[np.ndarray, None, None]:
        """Cut a clip that comes in blocks into the segments of the model's input.

        The clip is read once for each view, and once more to find its length where
        the centre segment is wanted and the file does not tell its length.

        Args:
            stream: Stream of the clip.

        Yields:
            float32 of `segment_shape`.

        Raises:
            UserError: If the clip cannot be read, or its samples cannot be classified.
        """
        for view in channels.list_views(self.channels, stream.channels):
            for segment in self._cut_view(stream, view):
                yield segment.waveform

    def cut_views(
        self, stream: AudioStream, first: AudioStream | None = None
    ) -> Generator[list[Segment], None, None]:
        """Cut a clip into segments like `cut_stream`, all views of each at once.

        Args:
            stream: Stream of the clip; it is read once for each view, in turns.
            first: The stream that the first view reads instead: the same clip, of which
                something is measured that one reading must not mix with another.

        Yields:
            The views of a segment, which have the same start and end.

        Raises:
            UserError: If the clip cannot be read, or its samples cannot be classified.
        """
        views = channels.list_views(self.channels, stream.channels)
        streams = [first or stream, *[stream] * (len(views) - 1)]
        cuts = map(self._cut_view, streams, views)
        yield from map(list, zip(*cuts, strict=True))

    def _cut_view(self, stream: AudioStream, view: str) -> Iterator[Segment]:
        samples = None
        if self.segments == "centre":
            samples = resampling.count_output_samples(
                stream.count_samples(), stream.sample_rate, self.sample_rate
            )
        return segments.cut_blocks(
            downmix_and_resample_blocks(stream, view, self.sample_rate),
            samples,
            self.segment_samples,
            self.hop_samples,
            self.segments,
            self.short_clips,
            self.last_segment,
        )

    def check_segments(self, waveforms: Any) -> np.ndarray:
        """Check segments that are the model's input already.

        Args:
            waveforms: Floats in [-1, 1], `[n, *segment_shape]` at the model's sample
                rate; `n` may be 0.

        Returns:
            The segments as float32.

        Raises:
            UserError: If they have another shape or type, are not finite, or are far
                beyond full scale.
        """
        waveforms, shape = check_floats("waveforms", waveforms), self.segment_shape
        if waveforms.ndim != 1 + len(shape) or waveforms.shape[1:] != shape:
            raise UserError(
                f"waveforms has shape {waveforms.shape}; give [n, "
                f"{', '.join(map(str, shape))}] at {self.sample_rate} Hz"
            )
        return waveforms

    def pool(self, probabilities: np.ndarray) -> np.ndarray:
        """Pool the probabilities `[segments, labels]` of one clip to `[labels]`."""
        one_clip = np.zeros(len(probabilities), np.int64)
        pooled = segments.pool(probabilities, one_clip, 1, self.pooling)
        return pooled[0].astype(np.float32)


def choose_hop(audio: Audio, evaluate: Evaluate) -> int:
    """Return the samples between the starts of neighbouring segments in evaluation."""
    if not evaluate.overlap:
        return audio.hop_samples
    return max(round((1 - evaluate.overlap) * audio.segment_samples), 1)


def downmix_and_resample(
    waveform: np.ndarray, rate: int, view: str, rate_out: int
) -> np.ndarray:
    """Compute one view of a waveform at another sample rate.

    Args:
        waveform: float32 `[samples, channels]`.
        rate: Sample rate of the waveform in Hz.
        view: Name of the view, as `asc_tf.dsp.channels.select_view` takes it.
        rate_out: Sample rate of the result in Hz.

    Returns:
        float32 `[samples]` or `[samples, 2]`.
    """
    # Channel by channel, because a long file leaves no memory for copies of itself.
    columns = channels.split_channels(waveform, view)
    if channels.count_channels(view) == 1:
        return resampling.resample(next(columns), rate, rate_out)
    length = resampling.count_output_samples(len(waveform), rate, rate_out)
    resampled = np.empty((length, 2), np.float32)
    for number, column in enumerate(columns):
        resampled[:, number] = resampling.resample(column, rate, rate_out)
        del column
    return resampled


def check_waveform(waveform: Any) -> np.ndarray:
    """Check a waveform and give it as float32 `[samples, channels]`.

    Args:
        waveform: Floats `[samples]` or `[samples, channels]`.

    Raises:
        UserError: If the values or the shape are not those of a waveform.
    """
    waveform = check_floats("waveform", waveform)
    if waveform.ndim not in (1, 2):
        raise UserError(
            f"waveform has shape {waveform.shape}; give [samples] or "
            "[samples, channels]"
        )
    if not waveform.size:
        raise UserError(f"waveform has shape {waveform.shape}: no samples; give some")
    if waveform.ndim == 2 and waveform.shape[1] > MAX_CHANNELS:
        raise UserError(
            f"waveform has shape {waveform.shape}, {waveform.shape[1]} channels; give "
            "[samples, channels]"
        )
    return waveform if waveform.ndim == 2 else waveform[:, np.newaxis]


def check_floats(name: str, values: Any) -> np.ndarray:
    """Check an array of floats and give it as float32.

    Raises:
        UserError: If the values are not floats, not finite, or beyond `MAX_PEAK`.
    """
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise UserError(f"{name} is {values.dtype}; give floats in [-1, 1]")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    # Both comparisons are false for NaN too.
    is_valid = values.max(initial=0) <= MAX_PEAK and values.min(initial=0) >= -MAX_PEAK
    if not is_valid:
        raise UserError(f"{name} holds {BAD_SAMPLES}; give floats in [-1, 1]")
    return values


def check_rate(rate: Any) -> int:
    """Check a sample rate and give it as an int in Hz.

    Raises:
        UserError: If it is not a whole number, or outside `resampling.RATES`.
    """
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    lowest, highest = resampling.RATES
    if whole != rate or not lowest <= whole <= highest:
        raise UserError(
            f"sample_rate is {rate!r}; give a whole number of Hz from {lowest} to "
            f"{highest}"
        )
    return whole
