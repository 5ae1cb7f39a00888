"""The verdict on overfitting, in words."""

import numpy as np
import pandas as pd

from stages.evaluation.overfitting import verdict


def right(share: float, count: int = 6000) -> np.ndarray:
    return np.arange(count) < share * count


def test_a_gap_that_is_real_and_large_is_called_overfitting():
    assert verdict(right(1.0), right(0.98)).startswith("Overfits by 2.00 points: 100.00 % of the training images")
    assert verdict(right(0.993), right(0.991)).startswith("No overfitting to speak of: 99.30 %")
    # As large, and of a hundred images: it may be chance.
    assert verdict(right(1.0, 100), right(0.98, 100)).startswith("Too few images to tell whether it overfits: 100.00 %")
    assert verdict(right(1.0), right(1.0)).startswith("No overfitting")


def test_a_rise_of_the_validation_loss_is_named_with_its_epoch():
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_loss": [0.5, 0.2, 0.3]})
    assert "lowest in epoch 2 of 3 and was 50 % higher at the end" in verdict(right(0.99), right(0.99), history)
    history["val_loss"] = [0.5, 0.2, 0.205]
    assert "lowest in epoch 2 of 3 and has not risen much since" in verdict(right(0.99), right(0.99), history)


def test_of_several_networks_it_says_which_weights_each_has():
    losses, networks = [0.5, 0.2, 0.3, 0.6, 0.9, 0.4], [1, 1, 1, 2, 2, 2]
    history = pd.DataFrame({"epoch": [*range(1, 7)], "val_loss": losses, "network": networks})
    for best, epochs in ((False, "3, 6"), (True, "2, 6")):
        said = verdict(right(0.99), right(0.99), history, best)
        assert said.endswith(f"validation images. The weights of its 2 networks are those of epochs {epochs}.")


def test_it_says_which_weights_the_model_has():
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_loss": [0.5, 0.2, 0.3]})
    for best, epoch in ((False, 3), (True, 2)):
        assert f"The weights are those of epoch {epoch}." in verdict(right(0.99), right(0.99), history, best)
