"""The optimizers are those of params.yaml, and the quicker ones make the steps of Keras' own."""

import keras
import numpy as np
import pytest

from stages.learners.optimizers import QUICKER, optimizer
from stages.params.schema import Optimizer

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
        for each, variable in zip((ours, theirs), variables, strict=True):
            each.apply([gradient], [variable])
    moved = [keras.ops.convert_to_numpy(variable) - start for variable in variables]
    assert np.abs(moved[1]).max() > 0.01
    np.testing.assert_allclose(*moved, atol=2e-6)


@pytest.mark.parametrize("name", QUICKER)
def test_it_is_saved_as_keras_own(name):
    saved = keras.saving.serialize_keras_object(QUICKER[name](0.01))
    assert saved["module"] == "keras.optimizers"
    loaded = keras.saving.deserialize_keras_object(saved)
    assert type(loaded) is type(QUICKER[name](0.01)).__mro__[1]


@pytest.mark.parametrize("name", ["adadelta", "adagrad", "adam", "adamax", "muon", "nadam", "rmsprop", "sgd"])
def test_every_optimizer_gets_its_learning_rate(name):
    made = optimizer(Optimizer(name=name, learning_rate=0.02, schedule="constant"), steps=10)
    assert type(made).__name__.lower() == name
    assert float(made.learning_rate) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("schedule", "start", "top"), [("constant", 0.5, 0.5), ("cosine", 0.5, 0.5), ("one_cycle", 0.02, 0.5)]
)
def test_a_schedule_starts_peaks_and_ends_as_it_says(schedule, start, top):
    params = Optimizer(name="sgd", learning_rate=0.5, schedule=schedule)
    made = optimizer(params, steps=100)
    rate = made._learning_rate
    rates = [float(rate(step)) if callable(rate) else 0.5 for step in range(101)]
    assert rates[0] == pytest.approx(start)
    assert max(rates) == pytest.approx(top)
    assert rates[-1] == pytest.approx(0.5 if schedule == "constant" else 0.0, abs=1e-6)
