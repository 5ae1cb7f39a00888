"""A verdict on whether a model has learnt the training images by heart."""

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportions_ztest

from stages.evaluation.comparison import SIGNIFICANCE
from stages.learners.history import kept_epochs

# Relative rise of val_loss above its lowest value that is not reported.
RISE = 0.1
# Accuracy gap, training less validation, that is not called overfitting.
GAP = 0.005


def verdict(
    train_right: np.ndarray, val_right: np.ndarray, history: pd.DataFrame | None = None, best_weights: bool = False
) -> str:
    """Return in a few sentences whether the model overfits, and which epochs' weights its networks have.

    `train_right` and `val_right`, bool (n,), tell for some training images, as they are, and for the validation
    images whether it has them right. `history` has `epoch` and `val_loss`, of several networks also
    `network`, and is None for a model without epochs.
    `best_weights` tells whether the weights are those of the epoch with the lowest validation loss; else they are the
    last one's.
    """
    gap = np.mean(train_right) - np.mean(val_right)
    train, val = (f"{100 * np.mean(right):.2f} %" for right in (train_right, val_right))
    shares = f"{train} of the training images right, {val} of the validation images"
    counts, sizes = [train_right.sum(), val_right.sum()], [len(train_right), len(val_right)]
    # Of two models without a mistake the test has nothing to say.
    real = sum(counts) < sum(sizes) and proportions_ztest(counts, sizes, alternative="larger")[1] < SIGNIFICANCE
    if gap <= GAP:
        sentence = f"No overfitting to speak of: {shares}."
    elif not real:
        sentence = f"Too few images to tell whether it overfits: {shares}."
    else:
        sentence = f"Overfits by {100 * gap:.2f} points: {shares}."
    return sentence if history is None else f"{sentence} {_course(history, best_weights)}"


def _course(history: pd.DataFrame, best_weights: bool) -> str:
    kept = kept_epochs(history, best_weights)
    if len(kept) > 1:
        return f"The weights of its {len(kept)} networks are those of epochs {', '.join(map(str, kept))}."
    lowest = history["val_loss"].idxmin()
    epoch, rise = history["epoch"][lowest], history["val_loss"].iloc[-1] / history["val_loss"][lowest] - 1
    then = "has not risen much since" if rise <= RISE else f"was {100 * rise:.0f} % higher at the end"
    course = f"Validation loss was lowest in epoch {epoch} of {len(history)} and {then}."
    return f"{course} The weights are those of epoch {kept[0]}."
