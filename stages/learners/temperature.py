"""Calibration by one temperature: probabilities that are right as often as they say.

(Guo, Pleiss, Sun & Weinberger, "On Calibration of Modern Neural Networks", 2017.)
"""

from bisect import bisect_left

import numpy as np

# In thousandths. So coarse, the last bits of a sum do not decide: any processor finds the same temperature.
TEMPERATURES = range(10, 10_001)
# Of 660 temperatures from 20 images, for eleven forests, none made the log loss worse; from 10 images some did
# (measured).
FEWEST = 20
# In float32, too, less than 1.
BEHIND = 1 - 2**-22


def fit_temperature(shares: np.ndarray, y_true: np.ndarray, trees: int) -> float | None:
    """Return the temperature with the lowest log loss; None for fewer than `FEWEST` images.

    `shares` (n, classes) are the mean of so many `trees`, for images that they were not grown on, with labels (n,) from
    0. Half an image in n + 1 counts as labelled at random (Jeffreys' estimate of an error that n images do not show;
    after the soft targets of Platt, 1999): so answers that are all right do not make the forest certain.
    """
    count = len(y_true)
    if count < FEWEST:
        return None
    logits, random = _logits(shares, trees), 0.5 / (count + 1)
    wanted = ((1 - random) * logits[np.arange(count), y_true] + random * logits.mean(axis=1)).mean()

    def high_enough(thousandths: int) -> bool:
        """Return whether the loss, convex in 1 / temperature, does not fall any more: by the sign of its derivative."""
        likely = np.exp((logits - logits.max(axis=1, keepdims=True)) / (thousandths / 1000))
        likely /= likely.sum(axis=1, keepdims=True)
        return (likely * logits).sum(axis=1).mean() <= wanted

    place = bisect_left(TEMPERATURES, True, key=high_enough)
    return TEMPERATURES[min(place, len(TEMPERATURES) - 1)] / 1000


def calibrated(shares: np.ndarray, trees: int, temperature: float) -> np.ndarray:
    """Return probabilities (n, classes) for the `shares` of so many `trees`; in float32 both have the same answers."""
    rows, answers = np.arange(len(shares)), shares.astype(np.float32).argmax(axis=1)
    logits = _logits(shares, trees)
    odds = np.exp((logits - logits[rows, answers, None]) / temperature)
    # Of two classes with as many votes the first is the answer, whatever is rounded.
    odds = np.minimum(odds, BEHIND)
    odds[rows, answers] = 1
    return odds / odds.sum(axis=1, keepdims=True)


def calibration_words(temperature: float | None) -> str:
    """Return what MLflow and the report say of a forest to which a temperature was, or could not be, fitted."""
    if temperature is None:
        return f"none: a temperature needs at least {FEWEST} validation images"
    return f"temperature {temperature}, fitted on the validation images: val_loss is that of the fit"


def _logits(shares: np.ndarray, trees: int) -> np.ndarray:
    """Return logarithms of the shares with a vote more for each class, for some have none (Laplace's rule).

    A floor under the shares would make equals of those below it, and with few trees the loss is higher (measured).
    """
    return np.log((trees * shares + 1) / (trees + shares.shape[1]))
