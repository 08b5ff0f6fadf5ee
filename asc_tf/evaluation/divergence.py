"""Kullback-Leibler divergence of the probabilities of two models."""

import numpy as np

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are raised to this before the logarithm."""


def compute_kl_divergence(reference: np.ndarray, probabilities: np.ndarray) -> float:
    """Compute the mean Kullback-Leibler divergence from a reference, in nats.

    It is the mean over the rows of `sum(p * log(p / q))`, where `p` are the
    probabilities of the reference and `q` those of the other model. Both are first
    raised to `SMALLEST_PROBABILITY` and scaled to the sum 1, because a rounded 0 would
    make it infinite.

    Args:
        reference: Probabilities of the reference, `[n, labels]`.
        probabilities: Probabilities of the other model, `[n, labels]`.
    """
    p, q = (
        np.maximum(each.astype(np.float64), SMALLEST_PROBABILITY)
        for each in (reference, probabilities)
    )
    p, q = (each / each.sum(axis=1, keepdims=True) for each in (p, q))
    # Rounding may leave a little less than 0.
    return max(float(np.mean((p * np.log(p / q)).sum(axis=1))), 0.0)
