"""One temperature: the right one is found, the same one everywhere, and it changes no answer."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from stages.learners.temperature import FEWEST, calibrated, fit_temperature


def votes(images: int, trees: int, seed: int = 0) -> np.ndarray:
    """Shares of votes float64 (images, 10), from unanimous to undecided."""
    random = np.random.default_rng(seed)
    return random.multinomial(trees, random.dirichlet(np.full(10, 0.3), images)) / trees


def labels(y_proba: np.ndarray, seed: int = 1) -> np.ndarray:
    """A label for each image, drawn with these probabilities."""
    return (y_proba.cumsum(axis=1) > np.random.default_rng(seed).random((len(y_proba), 1))).argmax(axis=1)


@pytest.mark.parametrize(("trees", "temperature"), [(1, 0.2), (20, 0.3), (100, 0.5), (500, 1.5)])
def test_the_temperature_behind_the_labels_is_found(trees, temperature):
    shares, others = votes(20_000, trees), votes(20_000, trees, seed=2)
    found = fit_temperature(shares, labels(calibrated(shares, trees, temperature)), trees)
    assert found == pytest.approx(temperature, rel=0.1)
    y_true = labels(calibrated(others, trees, temperature), seed=3)
    loss = log_loss(y_true, calibrated(others, trees, found), labels=np.arange(10))
    assert loss <= 1.001 * log_loss(y_true, calibrated(others, trees, temperature), labels=np.arange(10))


def test_the_last_bits_do_not_decide():
    random, shares = np.random.default_rng(2), votes(500, 100)
    y_true = labels(calibrated(shares, 100, 0.4))
    found = fit_temperature(shares, y_true, 100)
    assert found == round(found, 3)
    for _ in range(20):
        noise = 1 + random.uniform(-1e-13, 1e-13, shares.shape)
        assert fit_temperature(shares * noise, y_true, 100) == found


@pytest.mark.parametrize("temperature", [0.01, 0.333, 1.0, 10.0])
@pytest.mark.parametrize("trees", [1, 3, 100])
def test_answers_stay_the_same_even_where_votes_are_equal_or_all_but_equal(trees, temperature):
    random, shares = np.random.default_rng(2), votes(2_000, trees)
    # What leaves with images of several classes give, and what is left of a tie after additions in another order.
    shares[:1000] = random.dirichlet(np.ones(10), 1000)
    shares[1000:1100] = 0.1 * (1 + random.uniform(-1e-15, 1e-15, (100, 10)))
    shares[1100:1200] = 0.1 * (1 + random.uniform(-2e-7, 2e-7, (100, 10)))
    before = shares.astype(np.float32)
    y_proba = calibrated(shares, trees, temperature).astype(np.float32)
    np.testing.assert_array_equal(y_proba.argmax(axis=1), before.argmax(axis=1))
    np.testing.assert_allclose(y_proba.sum(axis=1), 1, rtol=1e-6)
    assert np.isfinite(y_proba).all()


def test_from_too_few_images_nothing_is_fitted():
    shares = votes(FEWEST, 10)
    y_true = shares.argmax(axis=1)
    assert fit_temperature(shares, y_true, 10) is not None
    assert fit_temperature(shares[1:], y_true[1:], 10) is None


def test_where_all_is_right_the_forest_does_not_become_certain():
    found = {}
    for images in (20, 200, 2_000):
        shares = votes(images, 100)
        found[images] = fit_temperature(shares, shares.argmax(axis=1), 100)
        chance_of_a_mistake = 1 - calibrated(shares, 100, found[images]).max(axis=1).mean()
        assert 0.1 / images < chance_of_a_mistake < 1 - shares.max(axis=1).mean()
    assert found[20] > found[200] > found[2_000] > 0.01


def test_of_labels_that_have_nothing_to_do_with_the_votes_nearly_nothing_is_said():
    shares = votes(1_000, 10)
    found = fit_temperature(shares, shares.argmin(axis=1), 10)
    assert found == 10
    assert calibrated(shares, 10, found).max() < 0.15
