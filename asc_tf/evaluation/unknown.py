"""Threshold of the top probability below which a clip counts as unknown.

A false accept is a clip whose answer is wrong and whose top probability reaches the
threshold. The false accept rate is their share of all clips with a wrong answer, as in
detection and biometrics (accepted impostors among all impostors): the false positive
rate of the detector of D. Hendrycks and K. Gimpel, "A Baseline for Detecting
Misclassified and Out-of-Distribution Examples in Neural Networks", ICLR 2017. It does
not depend on how many clips are right.
"""

import math
from typing import Any

import numpy as np


def choose_threshold(
    truth: np.ndarray, probabilities: np.ndarray, false_accept_rate: float
) -> float:
    """Choose the lowest threshold that keeps to a false accept rate.

    Args:
        truth: Label ids, int `[clips]`.
        probabilities: Probabilities of clips, `[clips, labels]`.
        false_accept_rate: Largest share of the wrongly answered clips that may be
            accepted, 0 to 1.

    Returns:
        The threshold: a clip is accepted if its top probability is as large or larger.
        0 if all clips may be accepted, because the rate is 1 or no answer is wrong.
    """
    is_wrong = probabilities.argmax(axis=1) != truth
    wrong = np.sort(probabilities.max(axis=1)[is_wrong])[::-1]
    # The tolerance is for rates like 0.29, whose product with 100 is below 29.
    allowed = math.floor(false_accept_rate * len(wrong) + 1e-9)
    if allowed >= len(wrong):
        return 0.0
    return float(np.nextafter(wrong[allowed], 2))


def measure_acceptance(
    truth: np.ndarray | None, probabilities: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Measure acceptance and false acceptance at a threshold.

    Args:
        truth: Label ids, int `[clips]`; None if they are not known.
        probabilities: Probabilities of clips, `[clips, labels]`.
        threshold: As from `choose_threshold`.

    Returns:
        `accepted`: share of clips that reach the threshold; `false_accepted`: share of
        the wrongly answered clips that do, None if there is none; `wrong_of_accepted`:
        share of the accepted clips whose answer is wrong, None if none is accepted. The
        last two are None without labels.
    """
    accepted = probabilities.max(axis=1) >= threshold
    shares: dict[str, Any] = {"accepted": float(accepted.mean())}
    if truth is None:
        return shares | {"false_accepted": None, "wrong_of_accepted": None}
    is_wrong = probabilities.argmax(axis=1) != truth
    return shares | {
        "false_accepted": float(accepted[is_wrong].mean()) if is_wrong.any() else None,
        "wrong_of_accepted": float(is_wrong[accepted].mean())
        if accepted.any()
        else None,
    }
