"""Weights and multiply-adds, counted by hand."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from stages.evaluation.cost import forest_size, network_layers, network_size
from stages.learners.networks import averaged, build_network
from tests.learners.test_networks import section


def test_multiply_adds_are_those_of_convolutions_and_dense_layers():
    mlp = build_network("mlp", section("mlp", hidden_units=[256, 128], batch_norm=False), 28, 28, 10)
    expected = 784 * 256 + 256 * 128 + 128 * 10
    assert network_size(mlp) == {"weights": 235_146, "multiply_adds": expected}
    cnn = build_network("cnn", section("cnn"), 28, 28, 10)
    layers = network_layers(cnn)
    assert layers.loc["conv2d" if "conv2d" in layers.index else layers.index[1], "multiply_adds"] == 28 * 28 * 25 * 24
    assert layers["weights"].sum() == cnn.count_params()


def test_an_average_has_to_do_all_of_it():
    params = section("mlp", hidden_units=[8])
    network = build_network("mlp", params, 4, 4, 3)
    one = network_size(network)
    assert network_size(averaged(network, shift=1)) == {
        "weights": one["weights"],
        "multiply_adds": 9 * one["multiply_adds"],
    }


def test_the_nodes_of_a_forest_are_counted():
    forest = RandomForestClassifier(3, max_depth=1, random_state=0).fit(np.arange(10).reshape(-1, 1), np.arange(10) > 4)
    assert forest_size(forest) == {"trees": 3, "nodes": 9, "depth": 1}
