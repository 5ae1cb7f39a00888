"""Whether the models differ by more than chance, on the same images."""

from itertools import combinations

import numpy as np
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar
from statsmodels.stats.multitest import multipletests

from stages.evaluation.scores import wilson

# Below it a difference is called real.
SIGNIFICANCE = 0.05


def compare(labels: np.ndarray, probabilities: dict[str, np.ndarray]) -> dict[str, dict]:
    """Return what can be said of the models together; `probabilities` (n, classes) are given by their names.

    `cochran_q`: the p-value of all having the same error rate (Cochran's Q, 1950). `A_vs_B`, for every two:
    on how many images one alone is right, on which share both say the same, and the p-value of McNemar's exact test
    (1947), also adjusted for the number of pairs (Holm, 1979). `average`: accuracy of the averaged probabilities.
    """
    predicted = {name: each.argmax(axis=1) for name, each in probabilities.items()}
    right = {name: each == labels for name, each in predicted.items()}
    averaged_right = np.mean(list(probabilities.values()), axis=0).argmax(axis=1) == labels
    low, high = wilson(np.sum(averaged_right), len(labels))
    return {
        "cochran_q": {"p_value": _cochran(np.stack(list(right.values()), axis=1))},
        **_pairs(predicted, right),
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


def _pairs(predicted: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> dict[str, dict]:
    found = {}
    for first, second in combinations(predicted, 2):
        only_first = int(np.sum(right[first] & ~right[second]))
        only_second = int(np.sum(right[second] & ~right[first]))
        p_value = float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
        found[f"{first}_vs_{second}"] = {
            f"only_{first}_right": only_first,
            f"only_{second}_right": only_second,
            "agreement": float(np.mean(predicted[first] == predicted[second])),
            "p_value": min(p_value, 1.0),
        }
    adjusted = multipletests([pair["p_value"] for pair in found.values()], method="holm")[1]
    for pair, p_value in zip(found.values(), adjusted, strict=True):
        pair["p_adjusted"] = float(p_value)
    return found
