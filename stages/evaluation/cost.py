"""What a model costs: layers, weights, multiply-adds, nodes, bytes."""

from math import prod

import keras
import pandas as pd
from keras import layers
from sklearn.ensemble import RandomForestClassifier

from stages.learners.networks import network_inside


def network_layers(model: keras.Model) -> pd.DataFrame:
    """Return one row per layer: its kind, the shape of its output for one image, its weights and multiply-adds.

    Counted are the multiply-adds of convolutions and dense layers for one image; the others' are a hundredth.
    """
    rows = []
    network, times = network_inside(model)
    for layer in network.layers:
        rows.append(
            {
                "layer": layer.name,
                "kind": type(layer).__name__,
                "output": "x".join(map(str, layer.output.shape[1:])),
                "weights": layer.count_params(),
                "multiply_adds": times * _multiply_adds(layer),
            }
        )
    return pd.DataFrame(rows).set_index("layer")


def network_size(model: keras.Model) -> dict[str, int]:
    """Return the number of weights and of multiply-adds for one image."""
    return {"weights": model.count_params(), "multiply_adds": int(network_layers(model)["multiply_adds"].sum())}


def forest_size(forest: RandomForestClassifier) -> dict[str, int]:
    """Return the number of trees and of all their nodes, and the greatest depth."""
    return {
        "trees": len(forest.estimators_),
        "nodes": sum(tree.tree_.node_count for tree in forest.estimators_),
        "depth": max(tree.get_depth() for tree in forest.estimators_),
    }


def _multiply_adds(layer: layers.Layer) -> int:
    if isinstance(layer, layers.Dense):
        return prod(layer.kernel.shape)
    if isinstance(layer, layers.Conv2D):
        return prod(layer.kernel.shape) * prod(layer.output.shape[1:3])
    return 0
