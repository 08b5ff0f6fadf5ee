"""The logarithmic frequency axis of a spectrogram in Hz.

It is the axis that `librosa.display.specshow(y_axis="log")` draws: a unit up to C2, in
equal steps of Hz, then a unit for each octave, and a row shows the bin that is nearest.
"""

import numpy as np

C2_HZ = 440.0 * 2 ** (-33 / 12)
"""Frequency, 65.4 Hz, below which the axis is linear so that it reaches 0 Hz."""


def hz_to_octaves(frequency: np.ndarray | float) -> np.ndarray:
    """Convert frequencies in Hz to places on the axis."""
    units = np.asarray(frequency, np.float64) / C2_HZ
    return np.where(units < 1, units, 1 + np.log2(np.maximum(units, 1)))


def octaves_to_hz(place: np.ndarray | float) -> np.ndarray:
    """Convert places on the axis to frequencies in Hz."""
    place = np.asarray(place, np.float64)
    return C2_HZ * np.where(place < 1, place, 2 ** (place - 1))


def find_nearest_bins(frequencies: np.ndarray) -> np.ndarray:
    """Choose the bin that each row of the axis shows.

    Args:
        frequencies: Frequencies of the bins in Hz, rising in equal steps, `[bins]`.

    Returns:
        int32 `[bins]`: as many rows as there are bins, from the first bin to the last.
    """
    count = len(frequencies)
    low, high = hz_to_octaves(frequencies[[0, -1]])
    centres = octaves_to_hz(low + (np.arange(count) + 0.5) / count * (high - low))
    return np.rint(np.interp(centres, frequencies, np.arange(count))).astype(np.int32)
