"""Checks of the arrays that are scored: labels, truth, probabilities, names."""

from collections.abc import Sequence

import numpy as np

ROW_SUM_TOLERANCE = 1e-3
"""Largest distance of the sum of a row of probabilities from 1."""


def check_labels(labels: Sequence[str]) -> list[str]:
    """Check labels: two or more, unique.

    Raises:
        ValueError: If they are not; the message says what was received.
    """
    names = [str(label) for label in labels]
    if len(names) < 2:
        raise ValueError(f"labels: expected two or more, received {names}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"labels: expected unique names, received twice: {repeated}")
    return names


def check_truth(truth: np.ndarray, n_labels: int) -> np.ndarray:
    """Check true label ids and give them as int64 `[clips]`.

    Raises:
        ValueError: If there is none, or one is not in [0, `n_labels`).
    """
    truth = np.asarray(truth)
    if truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"truth: expected shape [n_clips] with at least one clip, "
            f"received shape {list(truth.shape)}"
        )
    if not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(f"truth: expected integers, received dtype {truth.dtype}")
    bad = np.flatnonzero((truth < 0) | (truth >= n_labels))
    if len(bad):
        raise ValueError(
            f"truth: expected label ids in [0, {n_labels}), "
            f"received {int(truth[bad[0]])} for clip {int(bad[0])}"
        )
    return truth.astype(np.int64)


def check_probabilities(
    probabilities: np.ndarray, n_clips: int, n_labels: int
) -> np.ndarray:
    """Check probabilities and give them as float64 rows that sum to 1.

    Args:
        probabilities: Finite and not negative, `[clips, labels]`; each row sums to 1
            within `ROW_SUM_TOLERANCE`.
        n_clips: Number of clips.
        n_labels: Number of labels.

    Raises:
        ValueError: If they are not so; the message names a clip.
    """
    probabilities = np.asarray(probabilities)
    expected = [n_clips, n_labels]
    if list(probabilities.shape) != expected:
        raise ValueError(
            f"probabilities: expected shape [n_clips, n_labels] = {expected}, "
            f"received {list(probabilities.shape)}"
        )
    if probabilities.dtype.kind not in "fiu":
        raise ValueError(
            f"probabilities: expected floats, received dtype {probabilities.dtype}"
        )
    # The epsilon of the log loss is then the same for all types.
    probabilities = probabilities.astype(np.float64)
    bad = np.argwhere(~np.isfinite(probabilities) | (probabilities < 0))
    if len(bad):
        clip, label = (int(index) for index in bad[0])
        raise ValueError(
            f"probabilities: expected finite values >= 0, received "
            f"{probabilities[clip, label]} for clip {clip}, label {label}"
        )
    sums = probabilities.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > ROW_SUM_TOLERANCE)
    if len(off):
        raise ValueError(
            f"probabilities: expected rows that sum to 1 within {ROW_SUM_TOLERANCE}, "
            f"received a sum of {sums[off[0]]:.6g} for clip {int(off[0])}; apply a "
            f"softmax to logits, divide quantised probabilities by their sum"
        )
    return probabilities / sums[:, np.newaxis]


def check_names(
    parameter: str, names: Sequence[str] | None, n_clips: int
) -> np.ndarray:
    """Check names, one for each clip, and give them as an array of str `[clips]`.

    Args:
        parameter: Name of the parameter, for the message.
        names: Names; None for none at all, empty strings for unknown ones.
        n_clips: Number of clips.

    Raises:
        ValueError: If there is not one for each clip.
    """
    if names is None:
        return np.full(n_clips, "", dtype=object)
    if len(names) != n_clips:
        raise ValueError(
            f"{parameter}: expected one name for each of {n_clips} clips, "
            f"received {len(names)}"
        )
    return np.array([str(name or "") for name in names], dtype=object)
