"""Ranges of the activations of a body, measured on representative data.

The range of an activation goes from its smallest to its largest value, or is clipped so
that it holds a percentage of the values: then rare peaks are cut off, and the other
values have finer steps. The memory for either does not grow with the data.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.exporting.conversion.flatbuffer import list_body_tensors

N_BINS = 16384
"""Bins of a histogram of values from -limit to limit."""

MAX_VALUES = 65536
"""Values of an activation of one segment that its histogram counts; the smallest and
the largest value are those of all."""

SMALLEST_SHARE = 0.01
"""Smallest share of the whole range that a clipped one may have. An activation that is
almost always zero would have a range of zero."""


class RangeMeter:
    """Minimum, maximum and histogram of values, in bounded memory.

    Attributes:
        minimum: Smallest value.
        maximum: Largest value.
    """

    def __init__(self, *, has_histogram: bool = True) -> None:
        self.minimum, self.maximum = np.inf, -np.inf
        self._has_histogram = has_histogram
        self._limit = 2.0**-20
        self._counts = np.zeros(N_BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Add values of any shape, of which the last axis holds the channels.

        Raises:
            UserError: If a value is not finite.
        """
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise UserError(
                "an activation of the network is not finite on training segments; "
                "train again, with a lower train.learning_rate for one"
            )
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        if not self._has_histogram:
            return
        while max(-low, high) >= self._limit:
            self._widen()
        some = choose_rows(values.reshape(-1, values.shape[-1])).ravel()
        bins = ((some / self._limit + 1) * (N_BINS / 2)).astype(np.int32)
        self._counts += np.bincount(np.minimum(bins, N_BINS - 1), minlength=N_BINS)

    def _widen(self) -> None:
        """Double the limit; each bin takes the values of two."""
        merged = self._counts.reshape(-1, 2).sum(axis=1)
        self._counts = np.pad(merged, N_BINS // 4)
        self._limit *= 2

    def clip(self, percentile: float) -> tuple[float, float]:
        """Return the range that holds a percentage of the values.

        Args:
            percentile: Percentage of the values; as many are cut off at either end.
        """
        share = (1 - percentile / 100) / 2
        cumulative = np.cumsum(self._counts)
        total = cumulative[-1]
        first = np.searchsorted(cumulative, share * total, side="right")
        last = np.searchsorted(cumulative, (1 - share) * total, side="left")
        edges = (np.array([first, last + 1]) / (N_BINS / 2) - 1) * self._limit
        low, high = max(edges[0], self.minimum), min(edges[1], self.maximum)
        if high - low < SMALLEST_SHARE * (self.maximum - self.minimum):
            return self.minimum, self.maximum
        return float(low), float(high)


def choose_rows(rows: np.ndarray) -> np.ndarray:
    """Choose rows of an activation that are spread evenly over all of its axes.

    Whole rows are taken, so that each channel counts. Their distance has no divisor in
    common with the number of rows: otherwise they would be of some mel bands alone.

    Args:
        rows: Values, `[rows, channels]`.

    Returns:
        Every n-th row, at most about `MAX_VALUES` values.
    """
    step = -(-rows.size // MAX_VALUES)
    while math.gcd(step, len(rows)) > 1:
        step += 1
    return rows[::step]


def measure_ranges(
    content: bytes, segments: Iterable[np.ndarray], percentile: float | None
) -> dict[str, dict[str, tuple[float, float]]]:
    """Measure the ranges of the activations of a body.

    Args:
        content: Float flatbuffer from `flatbuffer.mark_boundaries`.
        segments: Representative data: segments as the model takes them.
        percentile: Percentage of the values that a clipped range holds; None if no
            clipped ranges are wanted.

    Returns:
        Ranges by the name of the tensor, under `min_max`, and under `percentile` if
        there is one.

    Raises:
        UserError: If an activation is not finite.
    """
    names = list_body_tensors(content)
    is_clipped = percentile is not None
    meters = {name: RangeMeter(has_histogram=is_clipped) for name in names.values()}
    for values in _list_activations(content, segments, names):
        for name, value in values:
            meters[name].add(value)
    found = {"min_max": {name: (m.minimum, m.maximum) for name, m in meters.items()}}
    if percentile is not None:
        found["percentile"] = {name: m.clip(percentile) for name, m in meters.items()}
    return found


def _list_activations(
    content: bytes, segments: Iterable[np.ndarray], names: Mapping[int, str]
) -> Iterator[Iterator[tuple[str, np.ndarray]]]:
    """Run a file on each segment, and yield the activations by name."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_content=content, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    for segment in segments:
        runner(waveform=segment[np.newaxis])
        yield ((name, interpreter.get_tensor(index)) for index, name in names.items())


def classify(content: bytes, segments: Iterable[np.ndarray]) -> np.ndarray:
    """Run a file on segments: probabilities, float32 `[segments, labels]`.

    Raises:
        UserError: If a probability is not finite.
    """
    runner = _make_runner(content)
    return _collect(runner(waveform=each[np.newaxis]) for each in segments)


def classify_in_parts(
    frontend: bytes, body: bytes, segments: Iterable[np.ndarray]
) -> np.ndarray:
    """Run a front-end and a body as `classify` runs the file they are of."""
    first, second = _make_runner(frontend), _make_runner(body)
    return _collect(second(**first(waveform=each[np.newaxis])) for each in segments)


def _make_runner(content: bytes) -> Callable[..., dict[str, np.ndarray]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    runner: Callable = interpreter.get_signature_runner("serving_default")
    return runner


def _collect(outputs: Iterable[dict[str, np.ndarray]]) -> np.ndarray:
    probabilities = np.concatenate([each["probabilities"] for each in outputs])
    if not np.isfinite(probabilities).all():
        raise UserError("gives probabilities that are not finite")
    return probabilities
