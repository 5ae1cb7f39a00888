"""Tests of whether the models differ by more than chance, on the same images."""

from itertools import combinations

import numpy as np
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar
from statsmodels.stats.multitest import multipletests

from stages.evaluation.scores import wilson

# A p-value below it calls a difference real.
SIGNIFICANCE = 0.05


def compare(y_true: np.ndarray, y_proba: dict[str, np.ndarray]) -> dict[str, dict]:
    """Compare the models, whose probabilities `y_proba` (n, classes) are given by their names, on labels `y_true` (n,).

    `cochran_q` has the p-value of all having the same error rate (Cochran's Q, 1950). `A_vs_B`, for every two, has
    the number of images on which one alone is right, the share on which both say the same, and the p-value of
    McNemar's exact test (1947), also adjusted for the number of pairs (Holm, 1979). `average` has the accuracy of the
    averaged probabilities.
    """
    y_pred = {name: each.argmax(axis=1) for name, each in y_proba.items()}
    right = {name: each == y_true for name, each in y_pred.items()}
    averaged_right = np.mean(list(y_proba.values()), axis=0).argmax(axis=1) == y_true
    low, high = wilson(np.sum(averaged_right), len(y_true))
    return {
        "cochran_q": {"p_value": _cochran(np.stack(list(right.values()), axis=1))},
        **_pairs(y_pred, right),
        "average": {
            "test_accuracy": float(np.mean(averaged_right)),
            "test_accuracy_low": low,
            "test_accuracy_high": high,
        },
    }


def _cochran(right: np.ndarray) -> float:
    # Images that all models have right or all have wrong tell nothing.
    if (right.all(axis=1) | ~right.any(axis=1)).all():
        return 1.0
    return float(cochrans_q(right.astype(int)).pvalue)


def _pairs(y_pred: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> dict[str, dict]:
    found = {}
    for first, second in combinations(y_pred, 2):
        only_first = int(np.sum(right[first] & ~right[second]))
        only_second = int(np.sum(right[second] & ~right[first]))
        p_value = float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
        found[f"{first}_vs_{second}"] = {
            f"only_{first}_right": only_first,
            f"only_{second}_right": only_second,
            "agreement": float(np.mean(y_pred[first] == y_pred[second])),
            "p_value": min(p_value, 1.0),
        }
    adjusted = multipletests([pair["p_value"] for pair in found.values()], method="holm")[1]
    for pair, p_value in zip(found.values(), adjusted, strict=True):
        pair["p_adjusted"] = float(p_value)
    return found
