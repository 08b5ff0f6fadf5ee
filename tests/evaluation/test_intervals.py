"""Bootstrap intervals: coverage where the truth is known, and edge cases."""

import numpy as np
import pytest
from answers import LABELS, RIGHT, WRONG, make_probabilities

from asc_tf.evaluation import intervals
from asc_tf.evaluation.intervals import MAX_LOG_LOSS, SCORES, bootstrap_intervals

SHARES = (0.9, 0.8, 0.7)
"""Expected accuracy of each label; the labels have equally many recordings."""

TRUE = {
    "accuracy": np.mean(SHARES),
    "macro_accuracy": np.mean(SHARES),
    "log_loss": -np.mean([q * np.log(RIGHT) + (1 - q) * np.log(WRONG) for q in SHARES]),
    "map_at_3": np.mean([q + (1 - q) / 2 for q in SHARES]),  # wrong: the second place
}


def draw_clips(random, n_recordings, per_recording=4):
    """Recordings of clips that tend to be all right or all wrong (beta-binomial)."""
    label_of = np.arange(n_recordings) % 3
    share = np.array(SHARES)[label_of]
    is_right = random.uniform(size=(n_recordings, per_recording)) < random.beta(
        share, 1 - share
    ).reshape(-1, 1)
    truth = np.repeat(label_of, per_recording)
    probabilities = make_probabilities(truth, is_right.ravel())
    return truth, probabilities, np.repeat(np.arange(n_recordings), per_recording)


def estimate_percentile(truth, probabilities, recordings):
    sums = intervals.sum_by_recording(
        truth, probabilities, recordings, recordings.max() + 1
    )
    drawn = np.concatenate(list(intervals._draw(sums, intervals.score_sums, 200, 0)))
    return dict(zip(SCORES, np.quantile(drawn, [0.025, 0.975], axis=0).T, strict=True))


def measure_coverage(n_recordings, estimate, repeats=200):
    random, hits = np.random.default_rng(1), []
    for _ in range(repeats):
        found = estimate(*draw_clips(random, n_recordings))
        hits.append([found[s][0] <= TRUE[s] <= found[s][1] for s in SCORES])
    return np.mean(hits, axis=0)


def by_recording(truth, probabilities, recordings):
    return bootstrap_intervals(LABELS, truth, probabilities, recordings, resamples=200)


def by_clip(truth, probabilities, recordings):
    return by_recording(truth, probabilities, np.arange(len(recordings)))


def test_intervals_of_recordings_cover_the_truth_as_often_as_they_state():
    assert (measure_coverage(60, by_recording) >= 0.92).all()


def test_intervals_that_draw_single_clips_would_be_too_narrow():
    assert (measure_coverage(60, by_clip) < 0.85).all()


def test_few_recordings_are_covered_more_often_than_by_percentiles():
    found = measure_coverage(9, by_recording)
    assert (found >= 0.87).all()
    assert (found > measure_coverage(9, estimate_percentile) + 0.02).all()


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_a_known_bootstrap_is_met(level):
    """With one clip a recording the accuracy of a resample is binomial."""
    truth = np.repeat([0, 1], 500)
    probabilities = np.eye(2)[np.where(np.arange(1000) % 4 == 0, 1 - truth, truth)]
    found = bootstrap_intervals(
        ["a", "b"], truth, probabilities, np.arange(1000), resamples=4000, level=level
    )
    z = {0.5: 0.6745, 0.95: 1.96}[level]
    half = z * np.sqrt(0.75 * 0.25 / 1000)
    assert found["accuracy"] == pytest.approx([0.75 - half, 0.75 + half], abs=2e-3)


def test_the_seed_decides_and_each_interval_holds_its_score():
    clips = draw_clips(np.random.default_rng(3), 30)
    first, again = (bootstrap_intervals(LABELS, *clips, seed=5) for _ in range(2))
    assert first == again != bootstrap_intervals(LABELS, *clips, seed=6)
    truth, probabilities, _ = clips
    accuracy = np.mean(probabilities.argmax(axis=1) == truth)
    assert list(first) == list(SCORES)
    assert first["accuracy"][0] < accuracy < first["accuracy"][1]
    assert all(type(end) is float for ends in first.values() for end in ends)


def test_the_draws_do_not_depend_on_how_many_fit_in_memory(monkeypatch):
    clips = draw_clips(np.random.default_rng(3), 30)
    whole = bootstrap_intervals(LABELS, *clips, resamples=100)
    monkeypatch.setattr(intervals, "_BLOCK", 30 * 7)
    in_blocks = bootstrap_intervals(LABELS, *clips, resamples=100)
    for name in SCORES:
        assert in_blocks[name] == pytest.approx(whole[name], rel=1e-12)


@pytest.mark.parametrize("n_clips", [1, 5])
def test_one_recording_says_nothing_about_others(n_clips):
    found = bootstrap_intervals(
        LABELS,
        np.zeros(n_clips, int),
        np.tile([0.8, 0.1, 0.1], (n_clips, 1)),
        ["x"] * n_clips,
    )
    for name in ("accuracy", "macro_accuracy", "map_at_3"):
        assert found[name] == [0.0, 1.0]
    assert (
        found["log_loss"]
        == [0.0, MAX_LOG_LOSS]
        == [0.0, pytest.approx(36.0437, abs=1e-4)]
    )


def test_all_right_is_not_certain_and_all_wrong_neither():
    """Clopper and Pearson: 10 of 10 recordings; the smaller class has 2, so 4 of 4."""
    truth = np.array([0] * 8 + [1] * 2)
    right, names = np.eye(2)[truth], [str(n) for n in range(10)]
    found = bootstrap_intervals(["a", "b"], truth, right, names)
    assert found["accuracy"] == found["map_at_3"] == [pytest.approx(0.025**0.1), 1.0]
    assert found["macro_accuracy"] == [pytest.approx(0.025**0.25), 1.0]
    found = bootstrap_intervals(["a", "b"], truth, 1 - right, names)
    assert found["accuracy"] == [0.0, pytest.approx(1 - 0.025**0.1)]
    assert found["map_at_3"] == [0.5, 0.5]


def test_a_class_that_is_not_drawn_is_not_in_the_mean_of_that_resample():
    truth = np.array([0, 0, 0, 1])
    probabilities = np.eye(2)[[0, 0, 1, 1]]
    sums = intervals.sum_by_recording(truth, probabilities, np.arange(4), 4)
    without_second = sums[:3].sum(axis=0)
    assert intervals.score_sums(without_second)[1] == pytest.approx(2 / 3)
    assert intervals.score_sums(sums.sum(axis=0))[1] == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recordings": ["a"]}, "recordings: .* each of 3 clips, received 1"),
        ({"resamples": 0}, "resamples: .* received 0"),
        ({"level": 1.0}, r"level: .* received 1\.0"),
        ({"truth": np.array([0, 1, 7])}, "truth: .* received 7 for clip 2"),
    ],
)
def test_a_refused_argument_is_named_with_its_value(changes, message):
    good = {"labels": LABELS, "truth": np.arange(3), "probabilities": np.eye(3)}
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(**(good | {"recordings": list("abc")} | changes))


# --- changes between two models -------------------------------------------------------
