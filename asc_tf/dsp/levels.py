"""Levels of a clip, measured while it is read: length, silence and clipping."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from asc_tf.dsp.resampling import count_output_samples
from asc_tf.dsp.streaming import AudioStream

SILENCE = "silent: every sample is 0; the predicted label means nothing"
"""Note on a clip, or on a segment of one."""

FULL_SCALE = 0.99
"""Smallest level that counts as full scale: the highest level of 8-bit PCM is 0.992."""

MAX_CLIPPED = 0.001
"""Share of clipped samples from which a clip is called clipped."""


def describe_shortness(
    samples: int, promised: int, sample_rate: int, channels: int
) -> str:
    """Describe a file that holds less than its header says; empty for others.

    A length near 2 GB or beyond counts as unknown: it is that of a recorder that could
    not go back to fill it in.

    Args:
        samples: Samples per channel in the file.
        promised: Samples per channel by its header.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
    """
    unknown = 2**31 // max(channels * 4, 4) - 2**10
    if not samples < promised < unknown:
        return ""
    return (
        f"holds {samples / sample_rate:.2f} s where its header says "
        f"{promised / sample_rate:.2f} s"
    )


@dataclasses.dataclass
class _Extreme:
    """Samples of each channel that lie at its highest level so far.

    Attributes:
        level: Highest level, `[channels]`.
        clipped: Number of samples at this level with a neighbour at it, `[channels]`.
        last: True if the last sample is at this level, bool `[channels]`.
        is_counted: True if the last sample is among `clipped`, bool `[channels]`.
    """

    level: np.ndarray
    clipped: np.ndarray
    last: np.ndarray
    is_counted: np.ndarray

    @classmethod
    def start(cls, n_channels: int) -> "_Extreme":
        level = np.full(n_channels, -np.inf, np.float32)
        none = np.zeros(n_channels, bool)
        return cls(level, np.zeros(n_channels, np.int64), none, none)

    def add(self, block: np.ndarray) -> None:
        """Take the next block, float32 `[samples, channels]`, at least one sample."""
        highest = block.max(axis=0)
        is_new = highest > self.level
        self.clipped = np.where(is_new, 0, self.clipped)
        self.last, self.is_counted = self.last & ~is_new, self.is_counted & ~is_new
        self.level = np.maximum(self.level, highest)
        if (self.level < FULL_SCALE).all():
            return
        at = block == self.level
        before = np.concatenate([self.last[np.newaxis], at[:-1]])
        after = np.concatenate([at[1:], np.zeros_like(at[:1])])
        counted = at & (before | after)
        # The sample before the block is clipped if the run goes on.
        self.clipped += counted.sum(axis=0) + (self.last & at[0] & ~self.is_counted)
        self.last, self.is_counted = at[-1], counted[-1]


class LevelMeter:
    """Meter of a clip that measures each block as it is read.

    A sample is clipped if it and its neighbour have the same value, this value is the
    highest or the lowest of the channel, and it is at full scale. So a loud sound whose
    peaks are round is not clipped, and neither is a clip that was made quieter.

    Args:
        stream: Stream of the clip.
        rate_out: Sample rate of the model in Hz.
        segment_samples: Samples in a segment of the model.
        short_clips: Treatment of short clips, `pad` or `loop`.

    Attributes:
        samples: Samples per channel that have been read.
    """

    def __init__(
        self,
        stream: AudioStream,
        rate_out: int,
        segment_samples: int,
        short_clips: str,
    ) -> None:
        self._stream, self._rate_out = stream, rate_out
        self._segment_samples, self._short_clips = segment_samples, short_clips
        self._start()

    @property
    def stream(self) -> AudioStream:
        """The clip; reading it to its end measures it, however often it is read.

        One reading has to end before the next one begins.
        """
        return dataclasses.replace(self._stream, read=self._read)

    @property
    def seconds(self) -> float:
        """Duration of what has been read, in seconds."""
        return self.samples / self._stream.sample_rate

    @property
    def clipped_share(self) -> float:
        """Share of clipped samples among those of all channels, in [0, 1]."""
        clipped = 0
        for extreme in (self._high, self._low):
            is_full = extreme.level >= FULL_SCALE
            clipped += int(extreme.clipped[is_full].sum())
        return clipped / max(self.samples * self._stream.channels, 1)

    def describe(self) -> str:
        """Describe what is unusual about the clip; empty if nothing is.

        Returns:
            Notes that it is cut short, silent, clipped or shorter than a segment.
        """
        rate, channels = self._stream.sample_rate, self._stream.channels
        cut = describe_shortness(self.samples, self._stream.promised, rate, channels)
        notes = [cut] if cut else []
        if self.samples and not self._has_sound:
            notes.append(SILENCE)
        if (share := self.clipped_share) > MAX_CLIPPED:
            notes.append(
                f"clipped: {share:.1%} of the samples are at full scale, in runs of "
                "two or more; record it at a lower level"
            )
        length = count_output_samples(
            self.samples, self._stream.sample_rate, self._rate_out
        )
        if length < self._segment_samples:
            filled = {"pad": "padded with zeros", "loop": "repeated"}
            whole = self._segment_samples / self._rate_out
            notes.append(
                f"short: {self.seconds:.3g} s, {filled[self._short_clips]} to a "
                f"segment of {whole:.3g} s"
            )
        return "; ".join(notes)

    def note(self) -> dict[str, str]:
        """Make the `note` of a result, or an empty dict if there is none."""
        text = self.describe()
        return {"note": text} if text else {}

    def _start(self) -> None:
        self.samples = 0
        self._has_sound = False
        self._high = _Extreme.start(self._stream.channels)
        self._low = _Extreme.start(self._stream.channels)

    def _read(self) -> Iterator[np.ndarray]:
        self._start()
        for block in self._stream.read():
            if len(block):
                self.samples += len(block)
                self._high.add(block)
                self._low.add(-block)
                self._has_sound = self._has_sound or bool(block.any())
            yield block
