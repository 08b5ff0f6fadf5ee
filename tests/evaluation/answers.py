"""Probabilities of clips that are right or wrong, for the tests of intervals."""

import numpy as np

LABELS = ["bus", "park", "tram"]
RIGHT, WRONG = 0.8, 0.1
"""Probability of the true label of a clip that is right, and of one that is wrong."""


def make_probabilities(truth: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """The rest of each row goes to the label after the true one: `[clips, 3]`."""
    own = np.where(is_right, RIGHT, WRONG)
    probabilities = np.zeros((len(truth), 3))
    probabilities[np.arange(len(truth)), (truth + 1) % 3] = 1 - own
    probabilities[np.arange(len(truth)), truth] = own
    return probabilities
