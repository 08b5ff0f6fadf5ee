"""Paired comparison of two classifiers on the same test clips."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from asc_tf.evaluation.changes import bootstrap_difference
from asc_tf.studies.predictions import TestPredictions

LEVEL = 0.95
"""Share of such intervals that hold the true difference."""

RESAMPLES = 2000
"""Number of times that recordings are drawn for the interval of a difference."""

Clip = tuple[str, str]
"""File and start of a clip."""


@dataclass(frozen=True)
class ClipAccuracies:
    """Accuracy of each test clip: the share of its predictions that are right.

    A run has one prediction for each clip; a crossval has one for each seed.

    Attributes:
        shares: Share of right predictions by clip.
        answers: By clip, whether the label with the largest mean probability over its
            predictions is the true one.
        labels: True label by clip.
        recordings: Recording by clip.
    """

    shares: dict[Clip, float]
    answers: dict[Clip, bool]
    labels: dict[Clip, str]
    recordings: dict[Clip, str]


def collect_accuracies(predictions: TestPredictions) -> ClipAccuracies:
    """Collect the accuracy of each clip."""
    places: dict[Clip, list[int]] = defaultdict(list)
    labels, recordings = {}, {}
    columns = zip(predictions.rows, predictions.recordings, strict=True)
    for place, (row, recording) in enumerate(columns):
        clip = row["file"], row["start"]
        places[clip].append(place)
        labels[clip], recordings[clip] = row["label"], recording
    is_correct = predictions.is_correct
    shares, answers = {}, {}
    for clip, own in places.items():
        shares[clip] = float(is_correct[own].mean())
        mean = predictions.probabilities[own].mean(axis=0)
        answers[clip] = bool(mean.argmax() == predictions.truth[own[0]])
    return ClipAccuracies(shares, answers, labels, recordings)


def compare_pair(first: ClipAccuracies, second: ClipAccuracies) -> dict[str, Any]:
    """Compare two classifiers on their test clips, if these are the same.

    Returns:
        - `same_clips`, `n_clips` (in both) and `note` (why there is no comparison).
        - `difference`: Accuracy of the second less that of the first, and `interval`,
          its 95 % interval; see `asc_tf.evaluation.changes.bootstrap_difference`.
        - `only_first`, `only_second`, `p_value`: McNemar's exact test; see `mcnemar`.
          The answer for a clip with several predictions is the label with the largest
          mean probability.
    """
    both = sorted(first.shares.keys() & second.shares.keys())
    result: dict[str, Any] = dict.fromkeys(
        ("difference", "interval", "only_first", "only_second", "p_value")
    )
    result |= {"same_clips": False, "n_clips": len(both), "note": ""}
    if len(both) < max(len(first.shares), len(second.shares)):
        return result | {
            "note": f"the test clips are not the same: {len(first.shares)} and "
            f"{len(second.shares)}, {len(both)} of them in both"
        }
    if strange := [clip for clip in both if first.labels[clip] != second.labels[clip]]:
        return result | {"note": f"{strange[0][0]} has another label"}
    a, b = (np.array([each.shares[clip] for clip in both]) for each in (first, second))
    recordings = [first.recordings[clip] for clip in both]
    result |= {
        "same_clips": True,
        "difference": float(np.mean(b) - np.mean(a)),
        "interval": bootstrap_difference(
            b - a, recordings, resamples=RESAMPLES, level=LEVEL
        ),
    }
    a, b = (np.array([each.answers[clip] for clip in both]) for each in (first, second))
    only_first, only_second = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    return result | {
        "only_first": only_first,
        "only_second": only_second,
        "p_value": mcnemar(only_first, only_second),
    }


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the exact p-value of McNemar's test.

    It is the binomial test, two-sided, that a clip which only one classifier has right
    is equally likely to be one of either (Q. McNemar, "Note on the sampling error of
    the difference between correlated proportions or percentages", 1947).

    Args:
        only_first: Number of clips that only the first classifier has right.
        only_second: Number of clips that only the second one has right.
    """
    from scipy.stats import binomtest

    if not only_first + only_second:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def adjust_p_values(values: list[float | None]) -> list[float | None]:
    """Adjust p-values for their number by Holm's method; None stays None.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = sorted(
        (value, place) for place, value in enumerate(values) if value is not None
    )
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min((len(order) - rank) * value, 1.0))
        adjusted[place] = largest
    return adjusted
