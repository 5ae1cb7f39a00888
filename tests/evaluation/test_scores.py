"""The figures against values worked out by hand."""

import math

import numpy as np
import pytest

from stages.evaluation.scores import confusion, per_class, scores

LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.5, 0.25, 0.25]], np.float32
)


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


def test_per_class_has_a_row_for_a_class_that_is_never_predicted():
    table = per_class(LABELS, PROBABILITIES.argmax(axis=1), ["a", "b", "c"])
    assert list(table.index) == ["a", "b", "c"]
    assert table.loc["c"].to_dict() == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert table.loc["b", "precision"] == pytest.approx(2 / 3)


def test_the_confusion_matrix_counts_actual_by_predicted():
    expected = [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    np.testing.assert_array_equal(confusion(LABELS, PROBABILITIES.argmax(axis=1), 3), expected)
