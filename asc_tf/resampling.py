"""Polyphase resampling: one filter, shared by the graph and the edge.

The filter is a Kaiser-windowed sinc, kept as a finely sampled table, so that the kernel
of any pair of rates is a look-up with linear interpolation, in NumPy and in TensorFlow
alike (J. O. Smith, "Digital Audio Resampling Home Page", CCRMA).

In a block of `down` inputs and `up` outputs (44,100 -> 32,000 Hz: 441 and 320), output
sample `block * up + phase` lies at input position `block * down + phase * down / up`. A
kernel holds the `up` phases side by side, so that one strided convolution makes whole
blocks. When that kernel would be too large, the rates are awkward (11,024 ->
22,050 is 5512 : 11,025) and each output gathers its own window instead.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ZERO_CROSSINGS = 48
"""Half the filter's length, in samples of the lower rate."""

CUTOFF = 0.95
"""Half-amplitude point, as a share of the lower rate's Nyquist frequency."""

KAISER_BETA = 7.0
"""About 70 dB of stop-band attenuation; the transition is 0.09 of Nyquist wide."""

STEPS = 512
"""Table entries per sample; linear interpolation between them errs by -100 dB."""

MIN_BLOCK = 64
"""Outputs per block at least: a kernel this wide is one efficient matrix product."""

MAX_KERNEL_VALUES = 2**20
"""A larger kernel (4 MB) is not built."""

MAX_GATHERED_VALUES = 2**20
"""Samples that awkward rates gather at a time, unless one window alone is larger."""

RATES = (1000, 768_000)
"""Sample rates of files, Hz; outside, the filter or its output is huge."""


@lru_cache(maxsize=1)
def table() -> np.ndarray:
    """The right half of the filter, at `1 / STEPS` sample steps of the lower rate.

    Returns:
        float32 `[ZERO_CROSSINGS * STEPS + 2]`; the last entries are 0.
    """
    position = np.arange(ZERO_CROSSINGS * STEPS + 1) / STEPS
    window = np.i0(KAISER_BETA * np.sqrt(1 - (position / ZERO_CROSSINGS) ** 2))
    values = CUTOFF * np.sinc(CUTOFF * position) * window / np.i0(KAISER_BETA)
    values[-1] = 0.0
    return np.append(values, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Plan:
    """One block: `down` input samples become `up` output samples."""

    down: int
    up: int

    @property
    def scale(self) -> float:
        """Lower rate over input rate: filter samples per input sample."""
        return min(1.0, self.up / self.down)

    @property
    def half(self) -> int:
        """Input samples that the filter reaches to either side."""
        return math.ceil(ZERO_CROSSINGS / self.scale)

    @property
    def width(self) -> int:
        """Input samples under the kernel of one block."""
        return self.down + 2 * self.half

    @property
    def is_awkward(self) -> bool:
        """Whether the kernel would be larger than `MAX_KERNEL_VALUES`."""
        return self.width * self.up > MAX_KERNEL_VALUES


def plan(rate_in: int, rate_out: int) -> Plan:
    """The smallest block of at least `MIN_BLOCK` outputs for a pair of rates, Hz."""
    common = math.gcd(rate_in, rate_out)
    repeats = -(-MIN_BLOCK * common // rate_out)
    return Plan(repeats * rate_in // common, repeats * rate_out // common)


def output_samples(samples: int, rate_in: int, rate_out: int) -> int:
    """Length after resampling: the ceiling of `samples * rate_out / rate_in`."""
    return -(-samples * rate_out // rate_in)


def weights(distance: np.ndarray, scale: float) -> np.ndarray:
    """Filter weights at distances from its centre.

    Args:
        distance: Input samples from the output's position, any shape.
        scale: `Plan.scale`.

    Returns:
        float32, of the shape of `distance`.
    """
    position = np.minimum(np.abs(distance) * scale, ZERO_CROSSINGS) * STEPS
    index = position.astype(np.int64)
    share = (position - index).astype(np.float32)
    values = table()
    mixed = values[index] * (1 - share) + values[index + 1] * share
    return (mixed * np.float32(scale)).astype(np.float32)


@lru_cache(maxsize=16)
def kernel(rates: Plan) -> np.ndarray:
    """The kernel of one block: float32 `[width, up]`."""
    inputs = np.arange(rates.width)[:, np.newaxis] - rates.half
    distance = (inputs * rates.up - np.arange(rates.up) * rates.down) / rates.up
    return weights(distance, rates.scale)


def resample(waveform: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample a waveform.

    Args:
        waveform: float32 `[samples]`.
        rate_in: Its rate, Hz.
        rate_out: The rate wanted, Hz.

    Returns:
        float32 `[output_samples(samples, rate_in, rate_out)]`.
    """
    rates = plan(rate_in, rate_out)
    if rates.down == rates.up or not len(waveform):
        return waveform.astype(np.float32)
    waveform = waveform.astype(np.float32)
    length = output_samples(len(waveform), rate_in, rate_out)
    if rates.is_awkward:
        return _gathered(np.pad(waveform, rates.half), rates, length)
    return _convolved(waveform, rates, length).reshape(-1)[:length]


def _convolved(waveform: np.ndarray, rates: Plan, length: int) -> np.ndarray:
    """Whole blocks, `[blocks, up]`: the strided convolution as a few matrix products.

    With the input laid out in rows of `down` samples, a block's window is its own row
    and some of those that follow, so no window is copied out.
    """
    blocks, spans = -(-length // rates.up), -(-rates.width // rates.down)
    after = (blocks + spans - 1) * rates.down - rates.half - len(waveform)
    padded = np.pad(waveform, (rates.half, max(after, 0)))
    rows = padded[: (blocks + spans - 1) * rates.down].reshape(-1, rates.down)
    output = np.zeros((blocks, rates.up), np.float32)
    for span in range(spans):
        part = kernel(rates)[span * rates.down : (span + 1) * rates.down]
        output += rows[span : span + blocks, : len(part)] @ part
    return output


def _gathered(padded: np.ndarray, rates: Plan, length: int) -> np.ndarray:
    """Each output from its own window, as many at a time as memory should hold."""
    offsets = np.arange(2 * rates.half + 1)
    batch = max(MAX_GATHERED_VALUES // len(offsets), 1)
    parts = []
    for first in range(0, length, batch):
        position = np.arange(first, min(first + batch, length)) * rates.down
        start, phase = position // rates.up, (position % rates.up) / rates.up
        distance = offsets - rates.half - phase[:, np.newaxis]
        window = padded[start[:, np.newaxis] + offsets]
        parts.append(np.einsum("no,no->n", window, weights(distance, rates.scale)))
    return np.concatenate(parts)
