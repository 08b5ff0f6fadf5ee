"""The law of channels: what a model hears of a file, in NumPy.

A view is one waveform made of a file's channels. The graph (`asc_tf.audio.decode`)
follows this law; tests hold it to that.
"""

from collections.abc import Iterator

import numpy as np

SPLIT = ("left", "right", "mono")
"""The views that are examples of their own under the setting `split`."""


def views(setting: str, channels: int) -> tuple[str, ...]:
    """The views of a file that a model hears one by one.

    Args:
        setting: `audio.channels`.
        channels: Channels of the file; a mono file is one example, also when split.

    Returns:
        Names for `view`.
    """
    if setting != "split":
        return (setting,)
    return SPLIT if channels > 1 else ("mono",)


def count(setting: str) -> int:
    """Channels of a model's input."""
    return 2 if setting in ("stereo", "mid_side") else 1


def view(waveform: np.ndarray, name: str) -> np.ndarray:
    """One view of a waveform.

    Args:
        waveform: float32 `[samples, channels]`; of more than two channels `left` and
            `right` are the first two, and one channel is both.
        name: `mono` (mean of all channels), `left`, `right`, `stereo` (left, right) or
            `mid_side` (their mean, half their difference).

    Returns:
        float32 `[samples]`, or `[samples, 2]` for `stereo` and `mid_side`.
    """
    parts = list(columns(waveform, name))
    return np.stack(parts, axis=1) if len(parts) > 1 else parts[0]


def columns(waveform: np.ndarray, name: str) -> Iterator[np.ndarray]:
    """The channels of a view, one after the other: float32 `[samples]` each."""
    left, right = waveform[:, 0], waveform[:, min(1, waveform.shape[1] - 1)]
    if name == "mono":
        yield waveform.mean(axis=1, dtype=np.float32)
    if name in ("left", "stereo"):
        yield left
    if name in ("right", "stereo"):
        yield right
    if name == "mid_side":
        yield _half(np.add, left, right)
        yield _half(np.subtract, left, right)


def _half(part: np.ufunc, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    values = part(left, right)
    values /= 2
    return values
