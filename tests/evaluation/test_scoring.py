"""Predictions of several splits, and sums of probabilities."""

import numpy as np
import pytest

from asc_tf.core.errors import NotFiniteError
from asc_tf.evaluation.predictor import ClipPredictions, _normalize
from asc_tf.evaluation.scoring import join_predictions


def predictions(clips, clip_ids):
    """Predictions of as many clips, whose segments have these positions."""
    return ClipPredictions(
        np.full((clips, 2), clips / 10), np.full((len(clip_ids), 2), 0.5), clip_ids
    )


def test_clips_of_joined_splits_are_numbered_one_after_another():
    splits = [(2, [0, 0, 1]), (1, [0, 0]), (3, [0, 1, 2])]
    joined = join_predictions([predictions(n, np.array(ids)) for n, ids in splits])
    assert joined.clip_ids.tolist() == [0, 0, 1, 2, 2, 3, 4, 5]
    assert joined.clips[:, 0].tolist() == [0.2, 0.2, 0.1, 0.3, 0.3, 0.3]
    assert joined.segments.shape == (8, 2)


def test_rounded_probabilities_are_scaled_to_the_sum_1():
    rounded = np.array([[0.25, 0.5], [0.1, 0.1]])
    np.testing.assert_allclose(_normalize(rounded), [[1 / 3, 2 / 3], [0.5, 0.5]])
    with pytest.raises(NotFiniteError):
        _normalize(np.array([[0.5, np.nan]]))
