"""The quicker optimizers make the steps of Keras' own."""

import keras
import numpy as np
import pytest

from stages.learners.networks import QUICKER

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("name", QUICKER)
@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (5,)])
def test_a_step_is_that_of_keras(name, shape):
    ours, theirs = QUICKER[name](0.01), keras.optimizers.get({"class_name": name, "config": {"learning_rate": 0.01}})
    assert type(ours).__mro__[1] is type(theirs)
    start = RANDOM.standard_normal(shape, dtype=np.float32)
    variables = [keras.Variable(start), keras.Variable(start)]
    for _ in range(5):
        gradient = keras.ops.convert_to_tensor(RANDOM.standard_normal(shape, dtype=np.float32))
        for optimizer, variable in zip((ours, theirs), variables, strict=True):
            optimizer.apply([gradient], [variable])
    moved = [keras.ops.convert_to_numpy(variable) - start for variable in variables]
    assert np.abs(moved[1]).max() > 0.01
    np.testing.assert_allclose(*moved, atol=2e-6)


@pytest.mark.parametrize("name", QUICKER)
def test_it_is_saved_as_keras_own(name):
    saved = keras.saving.serialize_keras_object(QUICKER[name](0.01))
    assert saved["module"] == "keras.optimizers"
    loaded = keras.saving.deserialize_keras_object(saved)
    assert type(loaded) is type(QUICKER[name](0.01)).__mro__[1]
