"""Every published recipe is a matter of params, and each network is the one of its recipe."""

from math import prod

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages.learners.networks import averaged, build_cnn, build_mlp, images_at_once
from stages.params.schema import Cnn, Mlp
from tests.conftest import PROJECT


def section(name: str, **changes):
    """The section `train.<name>` of params.yaml with some values changed."""
    content = YAML(typ="safe").load(PROJECT / "params.yaml")["train"][name]
    return {"mlp": Mlp, "cnn": Cnn}[name].model_validate({**content, **changes})


def mlp(*units: int, dropout=0.0, batch_norm: bool = False, **changes):
    params = section("mlp", hidden_units=list(units), dropout=dropout, batch_norm=batch_norm, **changes)
    return build_mlp(params, 28, 28, 10)


@pytest.mark.parametrize(
    ("units", "dropout", "weights"),
    [
        ([128, 20], 0.0, 784 * 128 + 128 + 128 * 20 + 20 + 20 * 10 + 10),
        ([256, 128], [0.4, 0.3], 235_146),
        ([512], 0.0, 784 * 512 + 512 + 512 * 10 + 10),
        ([], 0.0, 7_850),
    ],
)
def test_the_recipes_mlps_have_their_weights(units, dropout, weights):
    assert mlp(*units, dropout=dropout).count_params() == weights


def test_dropout_stands_after_its_layer():
    layers = mlp(256, 128, dropout=[0.4, 0.3]).layers
    assert [layer.rate for layer in layers if "dropout" in layer.name] == [0.4, 0.3]


def block(filters: int, pool_size: int, dropout: float = 0.0) -> dict:
    return {
        "filters": filters,
        "kernel_size": 3,
        "strides": 1,
        "padding": "valid",
        "pool_size": pool_size,
        "dropout": dropout,
    }


@pytest.mark.parametrize(
    ("blocks", "hidden_units", "weights"),
    [
        # Two convolutions, one pooling, a dense layer of 128: the network of the CNN slides.
        ([block(32, 1), block(64, 2, 0.25)], [128], 1_199_882),
        # Pooling after both: the current Keras example.
        ([block(32, 2), block(64, 2, 0.5)], [], 34_826),
    ],
)
def test_the_keras_examples_are_a_matter_of_params(blocks, hidden_units, weights):
    params = section(
        "cnn", blocks=blocks, global_pooling="none", hidden_units=hidden_units, dropout=0.5, batch_norm=False
    )
    network = build_cnn(params, 28, 28, 10)
    assert network.count_params() == weights
    after_blocks = [block["dropout"] for block in blocks if block["dropout"]]
    rates = [layer.rate for layer in network.layers if "dropout" in layer.name]
    assert rates == after_blocks + [0.5] * len(hidden_units)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_every_layer_has_the_activation(activation):
    for network in (mlp(8, 8, activation=activation), build_cnn(section("cnn", activation=activation), 28, 28, 10)):
        names = [layer.activation.__name__ for layer in network.layers if "activation" in layer.name]
        assert len(names) >= 2
        assert set(names) == {activation}


@pytest.mark.parametrize(("pooling", "reduced"), [("average", np.mean), ("max", np.max)])
def test_global_pooling_is_that_of_its_name(pooling, reduced):
    model = build_cnn(section("cnn", global_pooling=pooling), 28, 28, 10)
    layer = next(layer for layer in model.layers if "global" in layer.name)
    maps = np.random.default_rng(0).random((2, 5, 5, 48)).astype(np.float32)
    np.testing.assert_allclose(layer(maps), reduced(maps, axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("pooling", ["none", "average", "max"])
@pytest.mark.parametrize("side", [8, 28])
def test_the_default_cnn_takes_any_image_size(side, pooling):
    model = build_cnn(section("cnn", global_pooling=pooling), side, side, 7)
    assert model.input_shape == (None, side, side)
    assert model.output_shape == (None, 7)


def test_of_large_images_fewer_are_predicted_at_once():
    params = section("cnn", global_pooling="max")
    assert images_at_once(averaged([build_cnn(params, 28, 28, 10)], shift=1)) == 256
    assert 1 < images_at_once(averaged([build_cnn(params, 1000, 1000, 10)], shift=1)) < 100


def test_penalties_and_batch_norm_reach_every_layer():
    model = build_cnn(section("cnn", l1=0.1, l2=0.2, batch_norm=True), 28, 28, 10)
    weighted = [layer for layer in model.layers if hasattr(layer, "kernel_regularizer")]
    assert all(layer.kernel_regularizer.l1 == pytest.approx(0.1) for layer in weighted)
    assert sum("batch_norm" in layer.name for layer in model.layers) == len(weighted) - 1


BLOCKS = [{**block(7, 1), "kernel_size": 5, "strides": 2, "padding": "same"}, block(11, 2)]


@pytest.mark.parametrize(
    ("build", "params"),
    [
        (build_mlp, section("mlp", hidden_units=[])),
        (build_mlp, section("mlp", hidden_units=[30, 20])),
        (build_cnn, section("cnn")),
        (build_cnn, section("cnn", blocks=BLOCKS, hidden_units=[])),
        (build_cnn, section("cnn", blocks=BLOCKS, hidden_units=[13], global_pooling="max")),
    ],
)
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (19, 3)])
def test_the_schema_counts_the_weights_and_values_that_the_network_has(build, params, side, channels):
    network = build(params, side, side, 10, channels)
    kernels = [layer.kernel for layer in network.layers if hasattr(layer, "kernel")]
    values = channels * side**2 + sum(
        prod(layer.output.shape[1:]) for layer in network.layers if hasattr(layer, "kernel")
    )
    if build is build_cnn:
        # The dense part gets another array.
        values += next(kernel for kernel in kernels if len(kernel.shape) == 2).shape[0]
    assert params.size(side, side, channels, 10) == (sum(prod(kernel.shape) for kernel in kernels), values)
