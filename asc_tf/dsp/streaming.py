"""Clips as streams of blocks, whose length the memory need not hold.

The file readers (`asc_tf.dsp.wav_file`, `asc_tf.audio.sndfile`) return an
`AudioStream`, which `asc_tf.dsp.preprocessing` cuts into segments.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.dsp import channels
from asc_tf.dsp.resampling import Resampler

BLOCK_VALUES = 2**18
"""Samples of all channels that are read at a time: 1 MB of float32."""

MAX_PEAK = 1e6
"""Full scale is 1: beyond this a float file overflows the arithmetic that follows."""

BAD_SAMPLES = "samples that are not finite, or far beyond full scale"
"""The reason for which the edge, the predictor and the SavedModel refuse audio."""

NO_SAMPLES = "no samples: the file is empty or cut off; record or copy it again"


@dataclass(frozen=True)
class AudioStream:
    """One clip, read in blocks as often as is needed.

    Messages of errors do not name the file: whoever opened it knows its name.

    Attributes:
        sample_rate: Sample rate of the clip in Hz.
        channels: Number of its channels.
        samples: Length of the clip; None where only reading it tells.
        read: Begins at the start of the clip and yields float32 `[samples, channels]`,
            unchecked.
        max_seconds: Longest clip that is not refused, in seconds.
    """

    sample_rate: int
    channels: int
    samples: int | None
    read: Callable[[], Iterator[np.ndarray]]
    max_seconds: float = math.inf

    @classmethod
    def of_waveform(cls, waveform: np.ndarray, sample_rate: int) -> "AudioStream":
        """The stream of a waveform in memory, float32 `[samples, channels]`."""
        samples, n_channels = waveform.shape
        size = block_samples(n_channels)

        def read() -> Iterator[np.ndarray]:
            for first in range(0, samples, size):
                yield waveform[first : first + size]

        return cls(sample_rate, n_channels, samples, read)

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples of the clip, checked.

        Yields:
            float32 `[samples, channels]`.

        Raises:
            UserError: If the clip is empty or too long, if its samples are not finite
                or far beyond full scale, or if it cannot be read.
        """
        done = 0
        self._check_length(self.samples or 0)
        for block in self.read():
            done += len(block)
            self._check_length(done)
            check_block(block)
            yield block
        if not done:
            raise UserError(NO_SAMPLES)

    def count_samples(self) -> int:
        """Length of the clip, which is read where it does not tell."""
        return self.samples or sum(map(len, self.blocks()))

    def is_silent(self) -> bool:
        """Whether every sample is 0; the first block with sound ends the reading."""
        return not any(map(np.any, self.blocks()))

    def _check_length(self, samples: int) -> None:
        if samples > self.max_seconds * self.sample_rate:
            raise UserError(f"longer than audio.max_seconds = {self.max_seconds:g}")


def block_samples(n_channels: int) -> int:
    """Samples per channel that are read at a time."""
    return max(BLOCK_VALUES // n_channels, 1)


def check_block(block: np.ndarray) -> None:
    """Refuse samples that no model can hear.

    Args:
        block: Samples, float32 of any shape.

    Raises:
        UserError: If they are not finite, or far beyond full scale.
    """
    peak = max(float(block.max(initial=0)), -float(block.min(initial=0)))
    if not np.isfinite(peak):
        raise UserError(
            "holds samples that are not finite; record or export the file again"
        )
    if peak > MAX_PEAK:
        raise UserError(f"a peak of {peak:.1e}, far beyond full scale")


def hear_blocks(stream: AudioStream, view: str, rate_out: int) -> Iterator[np.ndarray]:
    """One view of a clip at another rate, block by block.

    The result is `asc_tf.dsp.preprocessing.heard` of the whole clip, to the last bit.

    Args:
        stream: The clip.
        view: Name of the view, as in `asc_tf.dsp.channels.view`.
        rate_out: Sample rate of the result in Hz.

    Yields:
        float32 `[samples]`, or `[samples, 2]` where the view has two channels.
    """
    resamplers = [
        Resampler(stream.sample_rate, rate_out) for _ in range(channels.count(view))
    ]
    for block in stream.blocks():
        columns = channels.columns(block, view)
        yield _joined(
            [own.push(column) for own, column in zip(resamplers, columns, strict=True)]
        )
    yield _joined([own.finish() for own in resamplers])


def _joined(columns: list[np.ndarray]) -> np.ndarray:
    return np.stack(columns, axis=1) if len(columns) > 1 else columns[0]
