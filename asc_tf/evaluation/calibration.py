"""Calibration: whether a clip's top probability is the share of right answers.

The expected calibration error (ECE) is that of M. P. Naeini, G. F. Cooper and M.
Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015,
for the most probable label as in C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On
Calibration of Modern Neural Networks", ICML 2017: the clips are sorted into bins of
equal width by their top probability, and the error is the mean distance of a bin's
accuracy from its mean top probability, weighted by the clips in the bin. A temperature
(Guo et al.) divides the logits before the softmax.
"""

from typing import Any

import numpy as np

from asc_tf.dsp import segments

N_BINS = 15
"""Number of bins, as Guo et al. have it."""

TEMPERATURES = (0.1, 10.0)
"""Range of the temperature. If all validation clips are right, the best one would be
0."""

_SMALLEST = float(np.finfo(np.float32).tiny)


def measure_calibration(
    truth: np.ndarray, probabilities: np.ndarray, n_bins: int = N_BINS
) -> dict[str, Any]:
    """Compute the expected calibration error and the bins of a reliability diagram.

    Args:
        truth: Label ids, int `[clips]`.
        probabilities: Probabilities `[clips, labels]`; rows sum to 1.
        n_bins: Number of bins of equal width in (0, 1]; a bin contains its upper edge.

    Returns:
        `ece` in [0, 1], `n_bins`, and `bins`: dicts of `low`, `high`, `n_clips`,
        `confidence` (mean top probability) and `accuracy`, both None in an empty bin.
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, n_bins + 1)
    ids = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(ids, minlength=n_bins)
    filled = np.maximum(counts, 1)
    confidences = np.bincount(ids, confidence, n_bins) / filled
    accuracies = np.bincount(ids, is_right, n_bins) / filled
    error = (counts * np.abs(accuracies - confidences)).sum() / len(truth)
    return {
        "ece": float(error),
        "n_bins": n_bins,
        "bins": [
            {
                "low": float(edges[index]),
                "high": float(edges[index + 1]),
                "n_clips": int(count),
                "confidence": float(confidences[index]) if count else None,
                "accuracy": float(accuracies[index]) if count else None,
            }
            for index, count in enumerate(counts)
        ],
    }


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities by a temperature.

    The logarithm of a softmax is its logits up to a constant, which the next softmax
    removes: dividing the weights of the last dense layer gives the same values.

    Args:
        probabilities: Probabilities of segments, `[segments, labels]`.
        temperature: Above 0; 1 changes nothing, larger values make the probabilities
            more equal.

    Returns:
        Probabilities, float64 `[segments, labels]`.
    """
    from scipy.special import softmax

    logits = np.log(np.maximum(probabilities, _SMALLEST, dtype=np.float64))
    return np.asarray(softmax(logits / temperature, axis=1))


def fit_temperature(
    truth: np.ndarray, by_segment: np.ndarray, clip_ids: np.ndarray, pooling: str
) -> float:
    """Find the temperature with the lowest log loss of clips.

    It is fitted as it is applied: to the logits of segments, which are then pooled.

    Args:
        truth: Label ids of the clips, int `[clips]`.
        by_segment: Probabilities of the segments, `[segments, labels]`.
        clip_ids: Position of the clip of each segment, `[segments]`.
        pooling: As in `asc_tf.dsp.segments.pool`.

    Returns:
        The temperature, within `TEMPERATURES`.
    """
    from scipy.optimize import minimize_scalar
    from sklearn.metrics import log_loss

    label_ids = np.arange(by_segment.shape[1])

    def compute_loss(log_temperature: float) -> float:
        tempered = apply_temperature(by_segment, np.exp(log_temperature))
        pooled = segments.pool(tempered, clip_ids, len(truth), pooling)
        return float(log_loss(truth, pooled, labels=label_ids))

    found = minimize_scalar(
        compute_loss,
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))
