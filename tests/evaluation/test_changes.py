"""Changes of scores between two models: paired intervals, and edge cases."""

import numpy as np
import pytest
from answers import LABELS, make_probabilities

from asc_tf.evaluation.changes import bootstrap_changes
from asc_tf.evaluation.intervals import MAX_LOG_LOSS, bootstrap_intervals


def change_clips(random, n_recordings):
    """Two models on the same clips: the second is right on 0.1 more of them."""
    truth = np.arange(n_recordings) % 3
    pairs = random.uniform(size=n_recordings)
    rows = [make_probabilities(truth, pairs < share) for share in (0.7, 0.8)]
    return truth, *rows, np.arange(n_recordings)


def test_the_interval_of_a_change_is_that_of_the_paired_mean():
    truth, before, after, recordings = change_clips(np.random.default_rng(0), 3000)
    found = bootstrap_changes(LABELS, truth, before, after, recordings)
    own = np.arange(len(truth)), truth
    is_right = [p.argmax(axis=1) == truth for p in (before, after)]
    for name, values in (
        ("accuracy", is_right[1].astype(float) - is_right[0]),
        ("log_loss", np.log(before[own]) - np.log(after[own])),
        # A wrong clip has its label in the second place.
        ("map_at_3", (is_right[1].astype(float) - is_right[0]) / 2),
    ):
        mean, low, high = found[name]
        assert mean == pytest.approx(values.mean(), abs=1e-12)
        spread = 1.96 * values.std() / np.sqrt(len(values))
        assert (low, high) == pytest.approx((mean - spread, mean + spread), abs=2e-3)
    # The recordings of both models are the same draw: each alone varies far more.
    alone = bootstrap_intervals(LABELS, truth, after, recordings)["accuracy"]
    assert found["accuracy"][2] - found["accuracy"][1] < 0.8 * (alone[1] - alone[0])


def test_models_that_answer_alike_change_by_no_more_than_unseen_recordings_could():
    truth, before, _, recordings = change_clips(np.random.default_rng(0), 30)
    found = bootstrap_changes(LABELS, truth, before, before, recordings)
    unseen = 1 - 0.025 ** (1 / 30)
    for name in ("accuracy", "macro_accuracy", "map_at_3"):
        assert found[name] == pytest.approx([0.0, -unseen, unseen])
    assert found["log_loss"] == [0.0, 0.0, 0.0]


def test_one_recording_says_nothing_of_a_change():
    truth, before, after, _ = change_clips(np.random.default_rng(0), 30)
    found = bootstrap_changes(LABELS, truth, before, after, [0] * 30)
    assert found["accuracy"][1:] == [-1.0, 1.0]
    assert found["log_loss"][1:] == [-MAX_LOG_LOSS, MAX_LOG_LOSS]
