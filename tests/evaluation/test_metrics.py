import json
import math

import numpy as np
import pytest
import sklearn.metrics
from processes import run_python

from asc_tf.evaluation import metrics
from asc_tf.evaluation.intervals import bootstrap_intervals

LABELS = ["bus", "park", "tram"]
# Four clips of two classes, one of them wrong; no clip of 'tram'.
TRUTH = np.array([0, 0, 0, 1])
PROBABILITIES = np.array(
    [[0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.25, 0.25, 0.5], [0.0, 1.0, 0.0]]
)


@pytest.fixture
def many():
    """300 clips of 5 classes, each present."""
    random = np.random.default_rng(7)
    truth = random.integers(0, 5, 300)
    logits = random.normal(size=(300, 5))
    logits[np.arange(300), truth] += 1.0
    probabilities = np.exp(logits)
    return truth, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_a_small_example_gives_the_scores_worked_out_by_hand():
    scores = metrics.compute_metrics(LABELS, TRUTH, PROBABILITIES)
    assert scores["n_clips"] == 4
    assert scores["accuracy"] == 3 / 4
    assert scores["macro_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    nats = -(math.log(0.5) + math.log(0.8) + math.log(0.25) + math.log(1.0))
    assert scores["log_loss"] == pytest.approx(nats / 4)
    # Second place is worth one half; of equal probabilities the first goes before.
    assert scores["map_at_3"] == (1 + 1 + 1 / 2 + 1) / 4
    assert scores["roc_auc"] == 1.0
    assert scores["micro_f1"] == 3 / 4
    bus, park, _ = scores["per_class"]
    assert bus == {
        "label": "bus",
        "n_clips": 3,
        "accuracy": pytest.approx(2 / 3),
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
        "log_loss": pytest.approx(nats / 3),
    }
    assert park["log_loss"] == pytest.approx(0.0, abs=1e-12)
    assert scores["confusion_matrix"]["counts"] == [[2, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert scores["labels"] == LABELS


def test_a_class_without_clips_has_no_scores_and_is_not_in_the_macro_average():
    scores = metrics.compute_metrics(LABELS, TRUTH, PROBABILITIES)
    assert scores["per_class"][2] == {
        "label": "tram",
        "n_clips": 0,
        "accuracy": None,
        "precision": None,
        "recall": None,
        "f1": None,
        "log_loss": None,
    }
    assert scores["confusion_matrix"]["row_normalized"] == [
        [pytest.approx(2 / 3), 0.0, pytest.approx(1 / 3)],
        [0.0, 1.0, 0.0],
        [None, None, None],
    ]


def test_scores_agree_with_scikit_learn(many):
    truth, probabilities = many
    predicted = probabilities.argmax(axis=1)
    scores = metrics.compute_metrics(list("abcde"), truth, probabilities)
    assert scores["accuracy"] == pytest.approx(np.mean(truth == predicted))
    assert scores["macro_accuracy"] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(truth, predicted)
    )
    assert scores["log_loss"] == pytest.approx(
        sklearn.metrics.log_loss(truth, probabilities)
    )
    rows = scores["per_class"]
    f1 = sklearn.metrics.f1_score(truth, predicted, average=None)
    assert [row["f1"] for row in rows] == pytest.approx(f1.tolist())
    for index, row in enumerate(rows):
        own = truth == index
        assert row["n_clips"] == own.sum()
        assert row["accuracy"] == row["recall"]
        assert row["accuracy"] == pytest.approx(np.mean(predicted[own] == index))
        assert row["precision"] == pytest.approx(
            np.mean(truth[predicted == index] == index)
        )
        cross_entropy = -np.log(probabilities[own, index])
        assert row["log_loss"] == pytest.approx(cross_entropy.mean())
    matrix = scores["confusion_matrix"]
    expected = sklearn.metrics.confusion_matrix(truth, predicted)
    np.testing.assert_array_equal(matrix["counts"], expected)
    np.testing.assert_allclose(
        matrix["row_normalized"], expected / expected.sum(axis=1, keepdims=True)
    )


@pytest.mark.parametrize("group", ["device", "city"])
def test_each_group_is_scored_on_its_own_clips(many, group):
    truth, probabilities = many
    names = np.where(np.arange(300) % 3 == 0, "s1", "a")
    argument = {"device": "devices", "city": "cities"}[group]
    scores = metrics.compute_metrics(
        list("abcde"), truth, probabilities, **{argument: names.tolist()}
    )
    rows = scores[f"per_{group}"]
    assert [row[group] for row in rows] == ["a", "s1"]
    for row in rows:
        own = names == row[group]
        alone = metrics.compute_metrics(list("abcde"), truth[own], probabilities[own])
        for key in ("n_clips", "accuracy", "macro_accuracy", "log_loss"):
            assert row[key] == alone[key]
    assert scores["per_city" if group == "device" else "per_device"] == []


def test_groups_are_empty_where_no_name_is_known_and_keep_clips_without_one():
    scores = metrics.compute_metrics(
        LABELS, TRUTH, PROBABILITIES, devices=[""] * 4, cities=["", "", "", "lyon"]
    )
    assert scores["per_device"] == []
    cities = [(row["city"], row["n_clips"]) for row in scores["per_city"]]
    assert cities == [("", 3), ("lyon", 1)]


@pytest.mark.filterwarnings("error")
def test_a_group_that_has_one_class_only_is_scored_without_a_warning():
    scores = metrics.compute_metrics(
        LABELS, TRUTH, PROBABILITIES, devices=["a", "a", "a", "b"]
    )
    assert scores["per_device"][1]["macro_accuracy"] == 1.0


def test_the_result_survives_a_strict_json_round_trip():
    scores = metrics.compute_metrics(
        LABELS, TRUTH, PROBABILITIES.astype(np.float32), devices=list("aabb")
    )
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_probability_of_zero_costs_the_same_finite_log_loss_in_any_dtype(dtype):
    scores = metrics.compute_metrics(
        ["a", "b"], np.array([0]), np.array([[0, 1]], dtype)
    )
    assert scores["log_loss"] == pytest.approx(-math.log(np.finfo(np.float64).eps))


@pytest.mark.filterwarnings("error")
def test_rows_that_nearly_sum_to_one_are_scaled_before_the_log_loss():
    scores = metrics.compute_metrics(
        ["a", "b"], np.array([0]), np.array([[0.5005, 0.5]])
    )
    assert scores["log_loss"] == pytest.approx(-math.log(0.5005 / 1.0005), rel=1e-9)


def test_the_first_of_equally_probable_labels_is_the_prediction():
    scores = metrics.compute_metrics(["a", "b"], np.array([0, 1]), np.full((2, 2), 0.5))
    assert scores["confusion_matrix"]["counts"] == [[1, 0], [1, 0]]


def broken(row, column, value):
    probabilities = PROBABILITIES.copy()
    probabilities[row, column] = value
    return probabilities


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["bus"]}, r"labels: .* received \['bus'\]"),
        ({"labels": ["a", "b", "a"]}, r"labels: .* \['a'\]"),
        ({"truth": np.array([], int)}, r"truth: .* received shape \[0\]"),
        ({"truth": TRUTH[:, np.newaxis]}, r"truth: .* received shape \[4, 1\]"),
        ({"truth": TRUTH.astype(float)}, "truth: .* received dtype float64"),
        ({"truth": np.array([0, 0, 3, 1])}, "truth: .* received 3 for clip 2"),
        ({"truth": np.array([0, -1, 0, 1])}, "truth: .* received -1 for clip 1"),
        (
            {"probabilities": PROBABILITIES[:3]},
            r"probabilities: .* \[4, 3\], received \[3, 3\]",
        ),
        (
            {"probabilities": PROBABILITIES.astype(str)},
            "probabilities: .* received dtype",
        ),
        (
            {"probabilities": broken(1, 2, np.nan)},
            "probabilities: .* received nan for clip 1, label 2",
        ),
        (
            {"probabilities": broken(3, 0, -0.1)},
            "probabilities: .* received -0.1 for clip 3, label 0",
        ),
        (
            {"probabilities": broken(2, 1, 0.3)},
            "probabilities: .* received a sum of 1.05 for clip 2",
        ),
        ({"devices": ["a"] * 3}, "devices: .* 4 clips, received 3"),
        ({"cities": ["a"] * 5}, "cities: .* 4 clips, received 5"),
    ],
)
def test_a_refused_argument_is_named_with_what_was_received(arguments, message):
    good = {"labels": LABELS, "truth": TRUTH, "probabilities": PROBABILITIES}
    with pytest.raises(ValueError, match=message):
        metrics.compute_metrics(**(good | arguments))


def test_importing_metrics_and_report_loads_no_heavy_library():
    # Metrics import the intervals.
    heavy = {"tensorflow", "keras", "sklearn", "scipy", "matplotlib"}
    code = (
        "import sys, asc_tf.evaluation.metrics, asc_tf.report; "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    shown = run_python(code, check=True)
    assert shown.stdout.strip() == "[]"


def test_rankings_equal_those_of_scikit_learn(many):
    truth, probabilities = many
    scores = metrics.compute_metrics(list("abcde"), truth, probabilities)
    assert scores["roc_auc"] == pytest.approx(
        sklearn.metrics.roc_auc_score(truth, probabilities, multi_class="ovr")
    )
    assert scores["micro_f1"] == pytest.approx(scores["accuracy"])
    places = 1 + (probabilities > probabilities[np.arange(300), truth][:, None]).sum(1)
    wanted = np.where(places <= 3, 1 / places, 0).mean()
    assert scores["map_at_3"] == pytest.approx(wanted)


def test_clips_of_one_label_have_no_roc_curve_and_the_json_says_null():
    scores = metrics.compute_metrics(LABELS, np.array([1, 1]), PROBABILITIES[:2])
    assert scores["roc_auc"] is None
    json.dumps(scores, allow_nan=False)


def test_labels_without_clips_are_not_in_the_mean_of_roc_areas():
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 50)
    raw = random.uniform(size=(50, 3))
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    areas = [
        sklearn.metrics.roc_auc_score(truth == label, probabilities[:, label])
        for label in (0, 1)
    ]
    found = metrics.compute_metrics(LABELS, truth, probabilities)["roc_auc"]
    assert found == pytest.approx(np.mean(areas))


def test_two_labels_have_a_mean_average_precision_too():
    scores = metrics.compute_metrics(["a", "b"], np.array([0, 1]), np.full((2, 2), 0.5))
    assert scores["map_at_3"] == 0.75


def test_top_k_kappa_and_precision_equal_scikit_learn_or_their_definition(many):
    truth, probabilities = many
    scores = metrics.compute_metrics(list("abcde"), truth, probabilities)
    assert scores["top_k_accuracy"] == {
        str(k): pytest.approx(
            sklearn.metrics.top_k_accuracy_score(truth, probabilities, k=k)
        )
        for k in (1, 3)
    }
    assert scores["kappa"] == pytest.approx(
        sklearn.metrics.cohen_kappa_score(truth, probabilities.argmax(axis=1))
    )
    # With one relevant label a query, the mean reciprocal rank up to k.
    wanted = sklearn.metrics.label_ranking_average_precision_score(
        np.eye(5)[truth], probabilities
    )
    assert scores["map_at_k"]["5"] == pytest.approx(wanted)
    assert scores["map_at_k"]["3"] == scores["map_at_3"] < scores["map_at_k"]["5"]


def test_of_equal_probabilities_the_first_labels_are_the_top_ones():
    truth, labels = np.array([0, 0, 1, 2, 3, 3]), list("abcdef")
    scores = metrics.compute_metrics(labels, truth, np.full((6, 6), 1 / 6))
    assert scores["top_k_accuracy"] == {"1": 2 / 6, "3": 4 / 6, "5": 1.0}
    assert scores["accuracy"] == 2 / 6
    assert scores["map_at_k"]["3"] == pytest.approx((2 + 1 / 2 + 1 / 3) / 6)


def test_of_two_labels_only_the_first_place_is_a_top_one():
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6]])
    scores = metrics.compute_metrics(["a", "b"], np.array([0, 1, 1, 0]), probabilities)
    assert scores["top_k_accuracy"] == {"1": 0.5}
    assert scores["kappa"] == pytest.approx(0.0)


def test_there_is_no_kappa_where_all_answers_are_one_label():
    scores = metrics.compute_metrics(LABELS, np.array([1, 1]), np.eye(3)[[1, 1]])
    assert scores["kappa"] is None


def test_groups_of_devices_are_in_the_order_of_the_dcase_tables(many):
    truth, probabilities = many
    names = np.array(["unseen", "real", "", "seen"])[np.arange(300) % 4]
    scores = metrics.compute_metrics(
        list("abcde"), truth, probabilities, device_groups=names.tolist()
    )
    rows = scores["per_device_group"]
    assert [row["device_group"] for row in rows] == ["real", "seen", "unseen"]
    for row in rows:
        own = names == row["device_group"]
        assert row["n_clips"] == 75
        assert row["log_loss"] == pytest.approx(
            sklearn.metrics.log_loss(truth[own], probabilities[own])
        )


def test_recordings_give_the_main_scores_intervals(many):
    truth, probabilities = many
    recordings = [str(number // 3) for number in range(300)]
    scores = metrics.compute_metrics(
        list("abcde"), truth, probabilities, recordings=recordings
    )
    wanted = bootstrap_intervals(list("abcde"), truth, probabilities, recordings)
    for name, ends in wanted.items():
        assert scores["intervals"][name] == pytest.approx(ends)
    assert (
        metrics.compute_metrics(list("abcde"), truth, probabilities)["intervals"]
        is None
    )


def test_clips_without_labels_have_the_same_keys():
    scores = metrics.compute_metrics(LABELS, TRUTH, PROBABILITIES)
    without = metrics.summarize_unlabelled(LABELS, PROBABILITIES)
    assert set(without) == {*scores, "n_predicted"}
    assert set(without["calibration"]) == set(scores["calibration"])
    json.dumps(without, allow_nan=False)
