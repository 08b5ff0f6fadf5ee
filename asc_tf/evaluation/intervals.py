"""Bootstrap confidence intervals of scores, resampled by recording.

Clips of one recording resemble each other: drawing clips one by one would make the
intervals too narrow. So whole recordings are drawn, as many as there are.

The interval is the bias-corrected and accelerated one (BCa; B. Efron, "Better Bootstrap
Confidence Intervals", JASA 82, 1987), whose tail probabilities are widened for few
recordings with Student's t distribution (T. Hesterberg, "What Teachers Should Know
About the Bootstrap", The American Statistician 69, 2015). In the simulation of
`tests/evaluation/test_intervals.py`, where 95 per cent are stated, it covers the truth
for 9 recordings in 91 to 93 per cent (the percentile interval in 87 to 88), and for 60
recordings in at least 92.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from asc_tf.evaluation.arrays import check_labels, check_probabilities, check_truth
from asc_tf.evaluation.rankings import find_places

SCORES = ("accuracy", "macro_accuracy", "log_loss", "map_at_3")
"""Scores that have intervals, in the order of the columns below."""

MAX_LOG_LOSS = float(-np.log(np.finfo(np.float64).eps))
"""Largest log loss of a clip in nats; scikit-learn clips probabilities to epsilon."""

Score = Callable[[np.ndarray], np.ndarray]

_BLOCK = 2**22
"""Number of values of the resamples that are in memory at a time."""


def bootstrap_intervals(
    labels: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    recordings: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, list[float]]:
    """Compute confidence intervals of the main scores of clips.

    The macro-averaged accuracy of a resample is the mean over the classes that were
    drawn, as that of a split is the mean over the classes that have clips.

    Resampling shows no spread where there is one recording, or where all clips are
    right or all are wrong. One recording says nothing about others: its intervals are
    the whole range of each score. If all clips are right, the interval of a share is
    that of Clopper and Pearson for as many right recordings; for the macro average,
    as many as if each class had no more recordings than the smallest one.

    Args:
        labels: Labels in the order of the model's outputs; two or more, unique.
        truth: True label ids, integers `[clips]`.
        probabilities: Probabilities as for `compute_metrics`, `[clips, labels]`.
        recordings: Identifier of the recording of each clip.
        resamples: Number of times that the recordings are drawn, 1 or more.
        seed: Seed of the draws, 0 or more; the same seed gives the same intervals.
        level: Confidence level: share of such intervals that contain the true score,
            in (0, 1).

    Returns:
        `[low, high]` of `accuracy`, `macro_accuracy`, `log_loss` and `map_at_3`.

    Raises:
        ValueError: If an argument has the wrong shape, type or values; the message
            names the argument and what was received.
    """
    labels = check_labels(labels)
    truth = check_truth(truth, len(labels))
    probabilities = check_probabilities(probabilities, len(truth), len(labels))
    check_settings(recordings, len(truth), resamples, level)
    names, ids = np.unique(np.asarray(recordings, dtype=str), return_inverse=True)
    if len(names) == 1:
        highest = dict.fromkeys(SCORES, 1.0) | {"log_loss": MAX_LOG_LOSS}
        return {name: [0.0, high] for name, high in highest.items()}
    sums = sum_by_recording(truth, probabilities, ids, len(names))
    scores = score_sums(sums.sum(axis=0))
    low, high = estimate_bca(sums, score_sums, resamples, seed, level)
    _widen_certain(low, high, scores, sums, level)
    ends = zip(low.tolist(), high.tolist(), strict=True)
    return dict(zip(SCORES, map(list, ends), strict=True))


def check_settings(
    recordings: Sequence[str], n_clips: int, resamples: int, level: float
) -> None:
    """Check the arguments of a bootstrap.

    Raises:
        ValueError: Naming the argument and what was received.
    """
    if len(recordings) != n_clips:
        raise ValueError(
            f"recordings: expected one identifier for each of {n_clips} clips, "
            f"received {len(recordings)}"
        )
    if resamples < 1:
        raise ValueError(f"resamples: expected 1 or more, received {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number in (0, 1), received {level}")


def sum_by_recording(
    truth: np.ndarray, probabilities: np.ndarray, ids: np.ndarray, n_recordings: int
) -> np.ndarray:
    """Sum over the clips of each recording what the scores are made of.

    Returns:
        float64 `[recordings, 2 + 2 * labels]`: log loss, average precision of the
        three most probable labels, clips of each label, right clips of each label.
    """
    n_labels = probabilities.shape[1]
    own = probabilities[np.arange(len(truth)), truth]
    epsilon = np.finfo(np.float64).eps
    places = find_places(truth, probabilities)
    sums = np.zeros((n_recordings, 2 + 2 * n_labels))
    np.add.at(sums[:, 0], ids, -np.log(np.clip(own, epsilon, 1 - epsilon)))
    np.add.at(sums[:, 1], ids, np.where(places <= 3, 1 / places, 0))
    np.add.at(sums, (ids, 2 + truth), 1)
    np.add.at(sums, (ids, 2 + n_labels + truth), places == 1)
    return sums


def score_sums(sums: np.ndarray) -> np.ndarray:
    """Compute the scores `[..., 4]` from sums `[..., 2 + 2 * labels]`."""
    clips, right = np.split(sums[..., 2:], 2, axis=-1)
    n_clips, is_drawn = clips.sum(axis=-1), clips > 0
    shares = right / np.where(is_drawn, clips, 1)
    return np.stack(
        [
            right.sum(axis=-1) / n_clips,
            shares.sum(axis=-1) / is_drawn.sum(axis=-1),
            sums[..., 0] / n_clips,
            sums[..., 1] / n_clips,
        ],
        axis=-1,
    )


def _draw(
    sums: np.ndarray, score: Score, resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield the scores `[n, scores]` of some resamples at a time."""
    generator, n_recordings = np.random.default_rng(seed), len(sums)
    block = max(_BLOCK // n_recordings, 1)
    for first in range(0, resamples, block):
        count = min(block, resamples - first)
        drawn = generator.integers(n_recordings, size=(count, n_recordings))
        drawn += n_recordings * np.arange(count)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=drawn.size)
        yield score(times.reshape(drawn.shape) @ sums)


def estimate_bca(
    sums: np.ndarray, score: Score, resamples: int, seed: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the ends of the BCa intervals of scores, widened for few recordings.

    Args:
        sums: Sums over the clips of each recording, `[recordings, values]`, two
            recordings or more.
        score: Function of sums `[..., values]` that computes scores `[..., scores]`.
        resamples: Number of times that the recordings are drawn, 1 or more.
        seed: Seed of the draws, 0 or more.
        level: Confidence level: share of such intervals that contain the true score,
            in (0, 1).

    Returns:
        Low and high ends, `[scores]` each; the score itself is between them.
    """
    from scipy.stats import norm, t

    n, scores = len(sums), score(sums.sum(axis=0))
    drawn = np.concatenate(list(_draw(sums, score, resamples, seed)))
    without_one = score(sums.sum(axis=0) - sums)
    change = without_one.mean(axis=0) - without_one
    spread = (change**2).sum(axis=0) ** 1.5
    acceleration = (change**3).sum(axis=0) / np.where(spread > 0, 6 * spread, 1)
    # Equal draws count half, because accuracies have few values.
    is_equal = np.isclose(drawn, scores, rtol=0, atol=1e-12)
    below = ((drawn < scores) & ~is_equal).mean(axis=0) + is_equal.mean(axis=0) / 2
    bias = norm.ppf(np.clip(below, 1 / (resamples + 1), resamples / (resamples + 1)))
    # Hesterberg: t in place of the normal quantile, and n / (n - 1) for the variance.
    quantile = np.sqrt(n / (n - 1)) * t.ppf((1 - level) / 2, n - 1)
    ends: list[Any] = []
    for z in (quantile, -quantile):
        moved = bias + z
        shares = norm.cdf(bias + moved / np.maximum(1 - acceleration * moved, 1e-9))
        pairs = zip(drawn.T, shares, strict=True)
        ends.append(np.array([np.quantile(values, share) for values, share in pairs]))
    return np.minimum(ends[0], scores), np.maximum(ends[1], scores)


def _widen_certain(
    low: np.ndarray,
    high: np.ndarray,
    scores: np.ndarray,
    sums: np.ndarray,
    level: float,
) -> None:
    """Widen the intervals of scores that are 0 or 1 for all clips."""
    counts = dict.fromkeys(("accuracy", "map_at_3"), len(sums))
    for name, count in (counts | {"macro_accuracy": count_balanced(sums)}).items():
        place = SCORES.index(name)
        least = ((1 - level) / 2) ** (1 / count)
        if scores[place] == 1:
            low[place], high[place] = least, 1.0
        elif scores[place] == 0:
            low[place], high[place] = 0.0, 1 - least


def count_balanced(sums: np.ndarray) -> int:
    """Count the recordings if each class had no more of them than the smallest one."""
    clips = np.split(sums[:, 2:], 2, axis=1)[0]
    of_label = np.count_nonzero(clips, axis=0)
    of_label = of_label[of_label > 0]
    return int(min(len(sums), len(of_label) * of_label.min()))
