"""Calibration, temperature and threshold against closed forms and scikit-learn."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from asc_tf.config import Evaluate
from asc_tf.dsp import segments
from asc_tf.evaluation.calibration import (
    TEMPERATURES,
    apply_temperature,
    fit_temperature,
    measure_calibration,
)
from asc_tf.evaluation.predictor import ClipPredictions
from asc_tf.evaluation.unknown import choose_threshold, measure_acceptance
from asc_tf.evaluation.validation import (
    describe_fit,
    fit_validation,
    score_fit,
    write_fit,
)
from asc_tf.workdir import Workdir


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def drawn():
    """Logits of 3000 clips whose labels are drawn from their softmax."""
    random = np.random.default_rng(4)
    logits = 2 * random.normal(size=(3000, 4))
    shares = softmax(logits).cumsum(axis=1)
    return (random.uniform(size=(3000, 1)) > shares).sum(axis=1), logits


def test_the_bins_are_those_of_scikit_learn(drawn):
    truth, logits = drawn
    probabilities = softmax(3 * logits)
    found = measure_calibration(truth, probabilities)
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == truth
    accuracies, confidences = calibration_curve(is_right, confidence, n_bins=15)
    filled = [row for row in found["bins"] if row["n_clips"]]
    assert [row["accuracy"] for row in filled] == pytest.approx(accuracies)
    assert [row["confidence"] for row in filled] == pytest.approx(confidences)
    assert sum(row["n_clips"] for row in filled) == 3000
    counts = np.array([row["n_clips"] for row in filled])
    gaps = counts * np.abs(accuracies - confidences)
    assert found["ece"] == pytest.approx(gaps.sum() / 3000)


def test_a_small_example_gives_the_error_worked_out_by_hand():
    truth = np.array([0, 0, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    found = measure_calibration(truth, probabilities, n_bins=5)
    # Three clips of 0.9, two of them right; one of 0.6, which is the edge of its bin.
    assert found["ece"] == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.6)
    assert [row["n_clips"] for row in found["bins"]] == [0, 0, 1, 0, 3]
    assert found["bins"][0]["accuracy"] is found["bins"][0]["confidence"] is None
    assert (found["bins"][4]["low"], found["bins"][4]["high"]) == (0.8, 1.0)


def test_probabilities_that_are_right_as_often_as_they_say_have_no_error(drawn):
    truth, logits = drawn
    assert measure_calibration(truth, softmax(logits))["ece"] < 0.02
    assert measure_calibration(truth, softmax(3 * logits))["ece"] > 0.1


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_multiplied_in_is_found(drawn, scale):
    truth, logits = drawn
    found = fit_temperature(truth, softmax(scale * logits), np.arange(3000), "mean")
    assert found == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("pooling", ["mean", "mean_log"])
def test_the_temperature_has_the_lowest_log_loss_of_pooled_clips(drawn, pooling):
    truth, logits = drawn
    truth, clip_ids = truth[::3], np.repeat(np.arange(1000), 3)
    logits += 3 * np.eye(4)[np.repeat(truth, 3)]
    by_segment = softmax(2 * logits)

    def loss(temperature):
        rows = softmax(2 * logits / temperature)
        pooled = segments.pool(rows, clip_ids, 1000, pooling)
        return log_loss(truth, pooled, labels=range(4))

    found = fit_temperature(truth, by_segment, clip_ids, pooling)
    assert loss(found) < min(loss(0.97 * found), loss(1.03 * found))
    assert loss(found) == pytest.approx(
        min(map(loss, np.geomspace(*TEMPERATURES, 300))), abs=1e-4
    )


def test_a_temperature_is_what_the_last_dense_layer_divided_by_it_gives():
    random = np.random.default_rng(0)
    features, kernel = random.normal(size=(20, 8)), random.normal(size=(8, 4))
    bias = random.normal(size=4)
    probabilities = softmax(features @ kernel + bias).astype(np.float32)
    wanted = softmax(features @ (kernel / 1.7) + bias / 1.7)
    found = apply_temperature(probabilities, 1.7)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert found.dtype == np.float64


def test_a_probability_of_zero_stays_finite_at_any_temperature():
    for temperature in TEMPERATURES:
        found = apply_temperature(np.array([[1.0, 0.0]]), temperature)
        assert np.isfinite(found).all() and found.sum() == pytest.approx(1)


def clips(is_right, top):
    """Truth and probabilities of two labels, by the top probability."""
    top = np.array(top)
    return np.where(is_right, 0, 1), np.stack([top, 1 - top], axis=1)


@pytest.mark.parametrize(
    ("rate", "accepted_wrong"), [(0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.75, 3)]
)
def test_the_threshold_is_the_lowest_that_keeps_to_the_rate(rate, accepted_wrong):
    truth, probabilities = clips(
        [False, True, False, True, False, True, False],
        [0.95, 0.91, 0.9, 0.85, 0.8, 0.7, 0.6],
    )
    threshold = choose_threshold(truth, probabilities, rate)
    wrong = [0.95, 0.9, 0.8, 0.6]
    assert wrong[accepted_wrong] < threshold
    assert threshold == pytest.approx(wrong[accepted_wrong])
    found = measure_acceptance(truth, probabilities, threshold)
    assert found["false_accepted"] == accepted_wrong / 4 <= rate


def test_every_clip_is_accepted_where_nothing_is_wrong_or_all_may_be():
    truth, probabilities = clips([True, True], [0.6, 0.9])
    assert choose_threshold(truth, probabilities, 0.05) == 0.0
    assert choose_threshold(1 - truth, probabilities, 1.0) == 0.0
    found = measure_acceptance(truth, probabilities, 0.0)
    assert found == {"accepted": 1.0, "false_accepted": None, "wrong_of_accepted": 0.0}


def test_acceptance_counts_all_clips_the_wrong_ones_and_those_accepted():
    is_right = [True, True, True, False, False]
    truth, probabilities = clips(is_right, [0.9, 0.8, 0.6, 0.7, 0.55])
    found = measure_acceptance(truth, probabilities, 0.7)
    wanted = {"accepted": 3 / 5, "false_accepted": 1 / 2, "wrong_of_accepted": 1 / 3}
    assert found == wanted
    without = measure_acceptance(None, probabilities, 0.7)
    assert without == dict.fromkeys(wanted) | {"accepted": 3 / 5}
    nothing = measure_acceptance(truth, probabilities, 1.1)
    assert nothing["wrong_of_accepted"] is None


@pytest.fixture
def split(drawn):
    """Truth and predictions of 500 clips of 2 segments, too certain by far."""
    truth, logits = drawn
    ids = np.repeat(np.arange(500), 2)
    rows = softmax(3 * logits[:1000]).astype(np.float32)
    return truth[:1000:2], ClipPredictions(segments.pool(rows, ids, 500), rows, ids)


def test_the_settings_that_validation_decides_reach_the_scores(split):
    truth, predictions = split
    fit = fit_validation(truth, predictions, Evaluate(false_accept_rate=0.2))
    assert fit.temperature > 1.5
    assert fit.calibrated_log_loss < fit.log_loss
    sums = predictions.clips.sum(axis=1, keepdims=True)
    assert fit.log_loss == pytest.approx(log_loss(truth, predictions.clips / sums))
    found = score_fit(fit, truth, predictions, "mean")
    calibrated = found["calibration"]["calibrated"]
    assert calibrated["log_loss"] == pytest.approx(fit.calibrated_log_loss)
    before = measure_calibration(truth, predictions.clips)["ece"]
    assert calibrated["ece"] < before / 2
    assert len(calibrated["bins"]) == 15
    assert found["segments"]["calibrated"]["log_loss"] != calibrated["log_loss"]
    unknown = found["unknown"]
    assert (unknown["n_validation"], unknown["false_accept_rate"]) == (500, 0.2)
    assert 0.19 < unknown["false_accepted"] <= 0.2
    json.dumps(found, allow_nan=False)


def test_both_thresholds_keep_to_the_rate_on_their_own_probabilities(split):
    truth, predictions = split
    fit = fit_validation(truth, predictions, Evaluate(false_accept_rate=0.1))
    rows = apply_temperature(predictions.segments, fit.temperature)
    calibrated = segments.pool(rows, predictions.clip_ids, 500)
    for probabilities, threshold in (
        (predictions.clips, fit.threshold),
        (calibrated, fit.calibrated_threshold),
    ):
        found = measure_acceptance(truth, probabilities, threshold)
        assert 0.09 < found["false_accepted"] <= 0.1
    assert fit.threshold != fit.calibrated_threshold


def test_a_fit_that_is_not_to_be_trusted_says_so(split):
    fit = fit_validation(*split, Evaluate())
    assert describe_fit(fit, ["test"]) == []
    said = describe_fit(fit, ["train", "validation"])
    assert [note.split(", ")[1] for note in said] == [
        "which are among the clips of this report."
    ]
    certain = dataclasses.replace(fit, temperature=TEMPERATURES[0])
    assert "at the end of its range" in describe_fit(certain, ["test"])[0]
    none_wrong = dataclasses.replace(fit, n_validation_wrong=0)
    assert "no clip counts as unknown" in describe_fit(none_wrong, ["test"])[0]
    few = dataclasses.replace(fit, n_validation_wrong=19)
    assert "Only 19 of 500" in describe_fit(few, ["test"])[0]


def test_the_file_for_export_names_the_model_and_the_settings_it_is_for(
    split, tmp_path
):
    workdir = Workdir(tmp_path)
    workdir.model_file.write_bytes(b"a model")
    settings = Evaluate(pooling="mean_log", batch_size=7)
    fit = fit_validation(*split, settings)
    write_fit(workdir, fit, settings)
    content = json.loads((tmp_path / "report" / "calibration.json").read_text())
    assert content["temperature"] == fit.temperature
    assert content["threshold"] == fit.threshold
    assert content["evaluate"] == {
        "segments": "all",
        "overlap": 0.0,
        "pooling": "mean_log",
    }
    assert len(content["model_sha256"]) == 64
