"""Embeddings on images whose classes are known to be apart or not."""

import numpy as np
import pytest

from stages.exploration.embeddings import outliers, principal_components, purity, umap_embedding

RANDOM = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 40)
APART = (RANDOM.random((120, 6, 6)) + 5 * LABELS[:, None, None]).astype(np.float32)


def test_principal_components_come_with_the_variance_that_they_explain():
    components, ratio = principal_components(APART, 5)
    assert components.shape == (120, 5)
    assert ratio[0] > 0.9
    assert (np.diff(ratio) <= 0).all()
    assert principal_components(APART, 50)[0].shape == (120, 36)


def test_purity_is_1_for_classes_apart_and_chance_for_noise():
    # Of equal points none is its own neighbour.
    places = np.repeat(RANDOM.random((30, 2)), 12, axis=0)
    assert purity(places, np.tile(np.arange(12), 30))["neighbor_purity"] == 0
    apart = purity(APART.reshape(120, -1), LABELS)
    assert apart["neighbor_purity"] == 1
    assert apart["silhouette"] > 0.7
    noise = purity(RANDOM.random((120, 2)), LABELS)
    assert noise["neighbor_purity"] == pytest.approx(1 / 3, abs=0.1)
    assert noise["silhouette"] < 0.1


def test_of_one_class_or_of_one_point_for_each_there_is_no_silhouette():
    for labels in (np.zeros(3, int), np.arange(3)):
        assert np.isnan(purity(RANDOM.random((3, 2)), labels)["silhouette"])


# Numba compiles for half a minute on a slow machine.
@pytest.mark.long
def test_umap_keeps_classes_apart_and_is_a_function_of_the_seed():
    first, second, other = (umap_embedding(APART, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert purity(first, LABELS)["neighbor_purity"] > 0.95


def test_an_outlier_is_found_in_its_class():
    images = APART.copy()
    images[50] += 3
    components, _ = principal_components(images, 30)
    found = outliers(components, LABELS, 2)
    assert list(found["class"]) == [0, 0, 1, 1, 2, 2]
    assert found.loc[2, "index"] == 50
    assert (found["distance"].iloc[::2].to_numpy() >= found["distance"].iloc[1::2].to_numpy()).all()
