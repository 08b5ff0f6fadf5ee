"""Reference for channels in NumPy: the views of a file that a model gets.

A view is one waveform made of a file's channels. Tests compare the graph
(`asc_tf.audio.decode`) with this module.
"""

from collections.abc import Iterator

import numpy as np

SPLIT = ("left", "right", "mono")
"""Views that are separate examples under `audio.channels = split`."""


def list_views(setting: str, channels: int) -> tuple[str, ...]:
    """List the views of a file, each of which is a separate example.

    Args:
        setting: Value of `audio.channels`.
        channels: Number of channels of the file; a mono file always is one example.

    Returns:
        Names of the views, as `select_view` takes them.
    """
    if setting != "split":
        return (setting,)
    return SPLIT if channels > 1 else ("mono",)


def count_channels(setting: str) -> int:
    """Count the channels of a model's input under `audio.channels = setting`."""
    return 2 if setting in ("stereo", "mid_side") else 1


def select_view(waveform: np.ndarray, name: str) -> np.ndarray:
    """Compute one view of a waveform.

    Args:
        waveform: float32 `[samples, channels]`. With more than two channels, `left` and
            `right` are the first two; with one channel, both are that channel.
        name: `mono` (mean of all channels), `left`, `right`, `stereo` (left, right) or
            `mid_side` (their mean, half their difference).

    Returns:
        float32 `[samples]`, or `[samples, 2]` for `stereo` and `mid_side`.
    """
    parts = list(split_channels(waveform, name))
    return np.stack(parts, axis=1) if len(parts) > 1 else parts[0]


def split_channels(waveform: np.ndarray, name: str) -> Iterator[np.ndarray]:
    """Yield the channels of a view one by one: float32 `[samples]` each."""
    left, right = waveform[:, 0], waveform[:, min(1, waveform.shape[1] - 1)]
    if name == "mono":
        yield waveform.mean(axis=1, dtype=np.float32)
    if name in ("left", "stereo"):
        yield left
    if name in ("right", "stereo"):
        yield right
    if name == "mid_side":
        yield _halve(np.add, left, right)
        yield _halve(np.subtract, left, right)


def _halve(operation: np.ufunc, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    values = operation(left, right)
    values /= 2
    return values
