"""The tests of significance against a second implementation, on fixed predictions."""

import numpy as np
import pytest
from mlxtend.evaluate import cochrans_q, mcnemar, mcnemar_table

from stages.evaluation.comparison import compare

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 4, 1000)


def predictions(accuracy: float) -> np.ndarray:
    """Probabilities (1000, 4) that are right on about `accuracy` of the images."""
    wrong = RANDOM.random(1000) >= accuracy
    return np.eye(4)[(LABELS + wrong) % 4] * 0.7 + 0.075


MODELS = {"mlp": predictions(0.95), "cnn": predictions(0.97), "random_forest": predictions(0.9)}
PREDICTED = {name: each.argmax(axis=1) for name, each in MODELS.items()}


def test_mcnemar_and_cochran_are_those_of_mlxtend():
    found = compare(LABELS, MODELS)
    for pair in ("mlp_vs_cnn", "mlp_vs_random_forest", "cnn_vs_random_forest"):
        first, _, second = pair.partition("_vs_")
        table = mcnemar_table(LABELS, PREDICTED[first], PREDICTED[second])
        _, p_value = mcnemar(table, exact=True)
        assert found[pair]["p_value"] == pytest.approx(p_value)
        assert found[pair][f"only_{first}_right"] == table[0, 1]
        assert found[pair][f"only_{second}_right"] == table[1, 0]
        assert found[pair]["agreement"] == np.mean(PREDICTED[first] == PREDICTED[second])
    _, p_value = cochrans_q(LABELS, *PREDICTED.values())
    assert found["cochran_q"]["p_value"] == pytest.approx(p_value)


def test_p_values_are_adjusted_after_holm():
    pairs = [pair for name, pair in compare(LABELS, MODELS).items() if "_vs_" in name]
    pairs.sort(key=lambda pair: pair["p_value"])
    largest = 0.0
    for factor, pair in zip((3, 2, 1), pairs, strict=True):
        largest = max(largest, min(1.0, factor * pair["p_value"]))
        assert pair["p_adjusted"] == pytest.approx(largest)


def test_the_average_is_that_of_all_probabilities():
    averaged = sum(MODELS.values()) / len(MODELS)
    accuracy = np.mean(averaged.argmax(axis=1) == LABELS)
    assert accuracy not in [np.mean(each.argmax(axis=1) == LABELS) for each in MODELS.values()]
    assert compare(LABELS, MODELS)["average"]["test_accuracy"] == accuracy


def test_equal_models_do_not_differ():
    same = MODELS["mlp"]
    found = compare(LABELS, {"a": same, "b": same, "c": same})
    assert found["cochran_q"]["p_value"] == 1
    assert found["a_vs_b"]["p_value"] == found["a_vs_b"]["p_adjusted"] == 1
    assert found["a_vs_b"]["agreement"] == 1
    assert found["average"]["test_accuracy"] == np.mean(same.argmax(axis=1) == LABELS)
