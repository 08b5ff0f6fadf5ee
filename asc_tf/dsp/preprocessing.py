"""How a trained model listens to a clip: channels, rate, segments, pooling.

The predictor (`asc_tf.evaluation.predictor`) and the edge runtime (`asc_tf.edge`) both
use it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from asc_tf.config import Audio, Evaluate
from asc_tf.core.errors import UserError
from asc_tf.dsp import channels, resampling, segments
from asc_tf.dsp.streaming import BAD_SAMPLES, MAX_PEAK, AudioStream, hear_blocks

MAX_CHANNELS = 256
"""More are taken for samples: other libraries put the channels first."""


@dataclass(frozen=True)
class Preprocessing:
    """The settings; the names are those of the configuration."""

    sample_rate: int
    segment_samples: int
    hop_samples: int
    channels: str = "mono"
    short_clips: str = "pad"
    segments: str = "all"
    pooling: str = "mean"
    last_segment: str = "align"

    @classmethod
    def of(cls, audio: Audio, evaluate: Evaluate) -> "Preprocessing":
        """The settings of a configuration."""
        return cls(
            sample_rate=audio.sample_rate,
            segment_samples=audio.segment_samples,
            hop_samples=audio.hop_samples,
            channels=audio.channels,
            short_clips=audio.short_clips,
            segments=evaluate.segments,
            pooling=evaluate.pooling,
            last_segment=audio.last_segment,
        )

    @property
    def segment_shape(self) -> tuple[int, ...]:
        """Shape of a segment: `[samples]`, or `[samples, 2]`."""
        width = channels.count(self.channels)
        return (self.segment_samples, width)[: 2 if width > 1 else 1]

    def cut(self, waveform: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
        """The segments of a clip that the model hears, one at a time.

        Args:
            waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`.
            sample_rate: Its rate, Hz.

        Yields:
            float32 of `segment_shape`.

        Raises:
            UserError: If the waveform is empty, not finite, far beyond full scale or of
                another shape or type, or the rate is out of range.
        """
        waveform, rate = checked_waveform(waveform), checked_rate(sample_rate)
        yield from self.cut_stream(AudioStream.of_waveform(waveform, rate))

    def cut_stream(self, stream: AudioStream) -> Iterator[np.ndarray]:
        """The segments of a clip that comes in blocks, one at a time.

        The clip is read once for each view, and once more where only that tells its
        length and the segment in its middle is wanted.

        Args:
            stream: The clip.

        Yields:
            float32 of `segment_shape`.

        Raises:
            UserError: If the clip cannot be read or is none that a model can hear.
        """
        samples = None
        if self.segments == "centre":
            samples = resampling.output_samples(
                stream.count_samples(), stream.sample_rate, self.sample_rate
            )
        for view in channels.views(self.channels, stream.channels):
            yield from segments.cut_blocks(
                hear_blocks(stream, view, self.sample_rate),
                samples,
                self.segment_samples,
                self.hop_samples,
                self.segments,
                self.short_clips,
                self.last_segment,
            )

    def checked_segments(self, waveforms: Any) -> np.ndarray:
        """Check segments that are given as they are.

        Args:
            waveforms: Floats in [-1, 1], `[n, *segment_shape]` at the model's rate; `n`
                may be 0.

        Returns:
            The same as float32.

        Raises:
            UserError: If they are of another shape or type, not finite, or far beyond
                full scale.
        """
        waveforms, shape = finite_float32("waveforms", waveforms), self.segment_shape
        if waveforms.ndim != 1 + len(shape) or waveforms.shape[1:] != shape:
            raise UserError(
                f"waveforms has shape {waveforms.shape}; give [n, "
                f"{', '.join(map(str, shape))}] at {self.sample_rate} Hz"
            )
        return waveforms

    def pool(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities `[segments, labels]` of one clip to float32 `[labels]`."""
        one_clip = np.zeros(len(probabilities), np.int64)
        pooled = segments.pool(probabilities, one_clip, 1, self.pooling)
        return pooled[0].astype(np.float32)


def downmix_and_resample(
    waveform: np.ndarray, rate: int, view: str, rate_out: int
) -> np.ndarray:
    """One view of a waveform at another rate.

    Args:
        waveform: float32 `[samples, channels]`.
        rate: Its rate, Hz.
        view: Of `asc_tf.dsp.channels.view`.
        rate_out: The rate wanted, Hz.

    Returns:
        float32 `[samples]` or `[samples, 2]`.
    """
    # Channel by channel, because a long file leaves no room for copies of itself.
    columns = channels.columns(waveform, view)
    if channels.count(view) == 1:
        return resampling.resample(next(columns), rate, rate_out)
    length = resampling.output_samples(len(waveform), rate, rate_out)
    made = np.empty((length, 2), np.float32)
    for number, column in enumerate(columns):
        made[:, number] = resampling.resample(column, rate, rate_out)
        del column
    return made


def checked_waveform(waveform: Any) -> np.ndarray:
    """Floats `[samples]` or `[samples, channels]` as float32 `[samples, channels]`.

    Raises:
        UserError: If the values or the shape cannot be a waveform's.
    """
    waveform = finite_float32("waveform", waveform)
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


SILENCE = "silent: every sample is 0, so that the answer says nothing about a sound"


def silence_note(stream: AudioStream) -> dict[str, str]:
    """Part of a file's result: a `note` where the clip is silent, else nothing."""
    return {"note": SILENCE} if stream.is_silent() else {}


def finite_float32(name: str, values: Any) -> np.ndarray:
    """An array of floats as float32.

    Raises:
        UserError: If they are no floats, not finite, or beyond `MAX_PEAK`.
    """
    values = np.asarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise UserError(f"{name} is {values.dtype}; give floats in [-1, 1]")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    # Both comparisons are false for NaN too.
    is_sound = values.max(initial=0) <= MAX_PEAK and values.min(initial=0) >= -MAX_PEAK
    if not is_sound:
        raise UserError(f"{name} holds {BAD_SAMPLES}; give floats in [-1, 1]")
    return values


def checked_rate(rate: Any) -> int:
    """A sample rate as a whole number of Hz.

    Raises:
        UserError: If it is none, or outside `resampling.RATES`.
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
