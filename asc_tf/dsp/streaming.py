"""Clips as streams of blocks, which need not fit the memory as a whole.

The file readers (`asc_tf.dsp.wav_reader`, `asc_tf.audio.sndfile`) return an
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
"""Samples of all channels in a block: 1 MB of float32."""

MAX_PEAK = 1e6
"""Largest sample value, full scale being 1; larger ones overflow later arithmetic."""

BAD_SAMPLES = "samples that are not finite, or far beyond full scale"
"""Reason with which the edge, the predictor and the SavedModel refuse audio."""

NO_SAMPLES = "no samples: the file is empty or cut off; record or copy it again"


@dataclass(frozen=True)
class AudioStream:
    """Clip that can be read in blocks, as often as needed.

    Messages of errors do not name the file: the caller that opened it knows its name.

    Attributes:
        sample_rate: Sample rate of the clip in Hz.
        channels: Number of channels.
        samples: Samples per channel; None if only reading the clip tells.
        read: Function that reads the clip from its start and yields float32
            `[samples, channels]`, unchecked.
        max_seconds: Longest duration that is accepted, in seconds.
        promised: Samples per channel by the header, which may be more than there are;
            0 if it does not say.
    """

    sample_rate: int
    channels: int
    samples: int | None
    read: Callable[[], Iterator[np.ndarray]]
    max_seconds: float = math.inf
    promised: int = 0

    @classmethod
    def from_waveform(cls, waveform: np.ndarray, sample_rate: int) -> "AudioStream":
        """Make a stream of a waveform in memory, float32 `[samples, channels]`."""
        samples, n_channels = waveform.shape
        size = choose_block_size(n_channels)

        def read() -> Iterator[np.ndarray]:
            for first in range(0, samples, size):
                yield waveform[first : first + size]

        return cls(sample_rate, n_channels, samples, read)

    def blocks(self) -> Iterator[np.ndarray]:
        """Read and check all samples of the clip.

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
        """Count the samples per channel, by reading the clip if necessary."""
        return self.samples or sum(map(len, self.blocks()))

    def _check_length(self, samples: int) -> None:
        if samples > self.max_seconds * self.sample_rate:
            raise UserError(f"longer than audio.max_seconds = {self.max_seconds:g}")


def choose_block_size(n_channels: int) -> int:
    """Choose the samples per channel of a block."""
    return max(BLOCK_VALUES // n_channels, 1)


def check_block(block: np.ndarray) -> None:
    """Refuse samples that cannot be classified.

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


def downmix_and_resample_blocks(
    stream: AudioStream, view: str, rate_out: int
) -> Iterator[np.ndarray]:
    """Compute one view of a clip at another sample rate, block by block.

    The result equals that of `asc_tf.dsp.preprocessing.downmix_and_resample` for the
    whole clip, to the last bit.

    Args:
        stream: Stream of the clip.
        view: Name of the view, as `asc_tf.dsp.channels.select_view` takes it.
        rate_out: Sample rate of the result in Hz.

    Yields:
        float32 `[samples]`, or `[samples, 2]` where the view has two channels.
    """
    resamplers = [
        Resampler(stream.sample_rate, rate_out)
        for _ in range(channels.count_channels(view))
    ]
    for block in stream.blocks():
        columns = channels.split_channels(block, view)
        yield _stack(
            [own.push(column) for own, column in zip(resamplers, columns, strict=True)]
        )
    yield _stack([own.finish() for own in resamplers])


def _stack(columns: list[np.ndarray]) -> np.ndarray:
    return np.stack(columns, axis=1) if len(columns) > 1 else columns[0]
