"""Ticks of the axes of explore.html: round numbers that do not touch each other."""

from collections.abc import Callable, Sequence

import numpy as np

Ticks = Sequence[tuple[float, str]]
"""Where, as a share of the axis from its low end, and what is written there."""

MINUS = "\N{MINUS SIGN}"
LEAST = 0.125
"""Between two ticks, as a share of the axis."""

DECADES = [digit * 10.0**power for power in range(6) for digit in (1, 2, 5)]
OCTAVES = [0.0, *(125.0 * 2**power for power in range(12))]


def time_ticks(seconds: float) -> Ticks:
    """Round numbers of seconds on an axis that begins at 0."""
    return [(n / seconds, f"{n:.6g}") for n in _round_numbers(seconds)]


def linear_ticks(low: float, high: float) -> Ticks:
    """Frequencies on an axis of equal Hz."""
    marks = [f for f in _round_numbers(high) if low <= f <= high]
    return _apart([((f - low) / (high - low), hertz(f)) for f in marks])


def log_ticks(low: float, high: float) -> Ticks:
    """Frequencies on an axis of equal ratios, 1, 2 and 5 of each decade."""
    span = np.log(high / low)
    marks = [f for f in DECADES if low <= f <= high]
    return _apart([(float(np.log(f / low) / span), hertz(f)) for f in marks])


def mel_ticks(
    low: float, high: float, bands: int, to_mel: Callable[[np.ndarray], np.ndarray]
) -> Ticks:
    """Frequencies on an axis of mel bands.

    Args:
        low: Lower edge of the lowest band, Hz.
        high: Upper edge of the highest band, Hz.
        bands: Number of bands.
        to_mel: Hz to mels.
    """
    marks = [f for f in OCTAVES if low <= f <= high]
    edges, mels = to_mel(np.array([low, high])), to_mel(np.array(marks))
    # The centre of the first band is one step above the lower edge.
    places = (mels - edges[0]) / (edges[1] - edges[0]) * (bands + 1) - 0.5
    shares = np.clip(places / bands, 0, 1)
    return _apart([(float(s), hertz(f)) for s, f in zip(shares, marks, strict=True)])


def octave_ticks(
    low: float, high: float, to_place: Callable[[np.ndarray], np.ndarray]
) -> Ticks:
    """Frequencies on the logarithmic axis of a front-end.

    Args:
        low: Frequency at the low end in Hz.
        high: Frequency at the high end in Hz.
        to_place: Hz to places on the axis.
    """
    marks = [f for f in OCTAVES if low <= f <= high]
    first, last = to_place(np.array([low, high]))
    shares = (to_place(np.array(marks)) - first) / (last - first)
    return _apart([(float(s), hertz(f)) for s, f in zip(shares, marks, strict=True)])


def number_ticks(count: int) -> Ticks:
    """Numbers from 0 on, each in the middle of its row."""
    step = max(1, round(count / 4))
    return [((n + 0.5) / count, f"{n}") for n in range(0, count, step)]


def hertz(frequency: float) -> str:
    """A frequency on an axis in Hz, as short as can be."""
    return f"{frequency / 1000:g}k" if frequency >= 1000 else f"{frequency:g}"


def signed(number: float) -> str:
    """A number of three digits, with a minus that is as wide as a plus."""
    return f"{number:.3g}".replace("-", MINUS)


def _round_numbers(last: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from 0 to `last`, at least three."""
    power = 10.0 ** np.floor(np.log10(last))
    step = next(s * power for s in (1, 0.5, 0.2, 0.1) if last / (s * power) >= 3)
    return [float(n * step) for n in range(int(last / step + 1e-6) + 1)]


def _apart(ticks: Ticks) -> Ticks:
    """The ticks of an axis that are far enough from the one before."""
    kept: list[tuple[float, str]] = []
    for place, text in ticks:
        if not kept or place - kept[-1][0] >= LEAST:
            kept.append((place, text))
    return kept
