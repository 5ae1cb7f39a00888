"""The metrics against values worked out by hand."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import balanced_accuracy_score, f1_score
from statsmodels.stats.proportion import proportion_confint

from stages.evaluation.scores import calibration, confusion, intervals, per_class, scores, wilson

LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.5, 0.25, 0.25]], np.float32
)


def fixed_predictions(count: int = 2000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities of a model that is right on nine of ten."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, count)
    logits = random.normal(size=(count, classes)) + 3 * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_scores_are_what_one_works_out_by_hand():
    found = scores("test", LABELS, PROBABILITIES)
    assert found["test_accuracy"] == pytest.approx(3 / 5)
    log_loss = -sum(map(math.log, (0.8, 0.3, 0.8, 0.7, 0.25))) / 5
    assert found["test_loss"] == pytest.approx(log_loss, rel=1e-6)
    # Class 0: predicted twice, right once of two. Class 1: predicted three times, right twice of two.
    # Class 2: never predicted.
    assert found["test_precision"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert found["test_recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert found["test_f1"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)


def test_two_classes_are_scored_as_more_are():
    labels, probabilities = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    found, between = scores("test", labels, probabilities), intervals("test", labels, probabilities)
    assert found["test_accuracy"] == 3 / 4
    assert found["test_top2_accuracy"] == 1
    # The sum over both classes, as of more.
    assert found["test_brier"] == pytest.approx(2 * (0.1**2 + 0.2**2 + 0.6**2 + 0.3**2) / 4)
    assert between["test_brier"][0] < found["test_brier"] < between["test_brier"][1]
    assert between["test_top2_accuracy"][1] == 1


def test_balanced_accuracy_is_that_of_scikit_learn():
    # One class has nine images, another one, and the third none.
    labels, predicted = np.array([0] * 9 + [1]), np.array([0] * 8 + [1, 0])
    found = scores("test", labels, np.eye(3)[predicted])
    assert found["test_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found["test_balanced_accuracy"] == pytest.approx((8 / 9 + 0) / 2)
    low, high = intervals("test", labels, np.eye(3)[predicted])["test_balanced_accuracy"]
    assert low < found["test_balanced_accuracy"] < high


def test_a_resample_without_a_class_says_nothing_of_its_recall():
    # A third of the resamples lack the one image of class 2; all answers are right.
    labels = np.array([0] * 50 + [1] * 50 + [2])
    assert intervals("test", labels, np.eye(3)[labels])["test_balanced_accuracy"] == (1, 1)


@pytest.mark.parametrize(("classes", "images"), [(256, 700), (100, 200), (20, 40)])
def test_of_many_classes_with_few_images_each_metric_lies_in_its_interval(classes, images):
    labels = np.arange(images) % classes
    for wrong in (0, images // 10):
        predicted = labels.copy()
        predicted[:wrong] = (predicted[:wrong] + 1) % classes
        metrics, ends = (of("test", labels, np.eye(classes)[predicted]) for of in (scores, intervals))
        for name in ("balanced_accuracy", "precision", "recall", "f1"):
            low, high = ends[f"test_{name}"]
            assert low - 1e-9 <= metrics[f"test_{name}"] <= high + 1e-9


def test_per_class_has_a_row_for_a_class_that_is_never_predicted():
    table = per_class(LABELS, PROBABILITIES.argmax(axis=1), ["a", "b", "c"])
    assert list(table.index) == ["a", "b", "c"]
    assert table.loc["c", ["precision", "recall", "f1", "support"]].to_list() == [0, 0, 0, 1]
    assert (table.loc["c", "precision_low"], table.loc["c", "precision_high"]) == (0, 1)
    assert table.loc["b", "precision"] == pytest.approx(2 / 3)


def test_the_confusion_matrix_counts_actual_by_predicted():
    expected = [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    np.testing.assert_array_equal(confusion(LABELS, PROBABILITIES.argmax(axis=1), 3), expected)


def test_wilsons_interval_is_that_of_statsmodels():
    for successes, count in ((0, 10), (5, 10), (9_958, 10_000), (1, 1)):
        expected = proportion_confint(successes, count, alpha=0.05, method="wilson")
        assert wilson(successes, count) == pytest.approx(expected, abs=1e-9)
    assert wilson(0, 0) == (0, 1)


def test_the_bootstrap_is_that_of_scipy():
    labels, probabilities = fixed_predictions()
    found = intervals("test", labels, probabilities)
    losses = -np.log(probabilities[np.arange(len(labels)), labels])
    brier = ((probabilities - np.eye(5)[labels]) ** 2).sum(axis=1)
    for name, values in (("test_loss", losses), ("test_brier", brier)):
        expected = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
        # Both draw at random: their ends differ by some percent of the width.
        width = expected.high - expected.low
        assert found[name] == pytest.approx((expected.low, expected.high), abs=0.1 * width)


def test_the_intervals_of_many_images_are_those_of_few_at_once(monkeypatch):
    labels, probabilities = fixed_predictions(500)
    expected = intervals("test", labels, probabilities)
    monkeypatch.setattr("stages.evaluation.scores.WEIGHTS", 3000)
    found = intervals("test", labels, probabilities)
    assert found.keys() == expected.keys()
    for name, ends in found.items():
        assert ends == pytest.approx(expected[name]), name


def test_the_resampled_f1_is_that_of_scikit_learn():
    labels, probabilities = fixed_predictions(400)
    predicted = probabilities.argmax(axis=1)
    random = np.random.default_rng(1)
    drawn = [random.integers(0, 400, 400) for _ in range(1000)]
    expected = np.percentile([f1_score(labels[rows], predicted[rows], average="macro") for rows in drawn], (2.5, 97.5))
    low, high = intervals("test", labels, probabilities)["test_f1"]
    assert (low, high) == pytest.approx(expected, abs=0.1 * (high - low))


def test_every_metric_lies_in_its_interval_and_has_one():
    labels, probabilities = fixed_predictions()
    metrics, ends = scores("test", labels, probabilities), intervals("test", labels, probabilities)
    assert set(metrics) == set(ends)
    for name, value in metrics.items():
        # Resampling adds to the calibration error, which cannot be below 0.
        low, high = ends[name]
        assert low <= high
        assert value <= high
        if name != "test_ece":
            assert low <= value, name


def test_the_calibration_error_is_what_one_works_out_by_hand():
    # Confidence 0.8 and 0.6 in bins of their own: right on three of four, and on one of two.
    labels = np.array([0, 0, 0, 1, 0, 1])
    probabilities = np.array([[0.8, 0.2, 0]] * 4 + [[0.6, 0.4, 0]] * 2)
    assert list(calibration(labels, probabilities)["images"]) == [2, 4]
    assert scores("test", labels, probabilities)["test_ece"] == pytest.approx((4 * 0.05 + 2 * 0.1) / 6)


def test_scores_of_probabilities_that_add_up_to_nearly_one():
    found = scores("test", LABELS, PROBABILITIES * np.float32(1.0001))
    assert found["test_loss"] == pytest.approx(scores("test", LABELS, PROBABILITIES)["test_loss"])
