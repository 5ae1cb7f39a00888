"""The epochs of a training under JAX: images stay on the device and are changed there, and an epoch is one program."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.scipy.ndimage import map_coordinates

from stages.dataset.prepared import Split
from stages.dataset.scaling import scaled
from stages.learners.augmentation import augmentation
from stages.learners.networks import images_at_once
from stages.params.schema import Network

# Of more images the device has a part at a time.
PART_BYTES = 1 << 31

Means = dict[str, float]
# The values of the trainable variables, of the others, and of the optimizer's.
State = tuple[list[jax.Array], list[jax.Array], list[jax.Array]]
# The loss and the number of right answers of a step.
Counts = tuple[jax.Array, jax.Array]

# The programs that were made last, with the likeness of their networks, by what they are for.
_made_last: dict[str, tuple[str, Any]] = {}


def make_epochs(
    network: keras.Sequential, params: Network, training: Split, validation: Split, seed: int
) -> tuple[Callable[[int], Iterator[tuple[Means, int]]], Callable[[], Means]]:
    """Return how the compiled `network` trains for an epoch (from 1), and how it is validated.

    They are those of `tensorflow_epochs.make_epochs`, and have the images in the same order, but for the random numbers
    that change them.
    """
    train_steps, test_steps = _programs(network, params)
    part, step = _part(training, params.batch_size), images_at_once(network)
    whole = _on_device(training) if part >= len(training.labels) else None
    size = _part(validation, step)
    parts = [slice(start, start + size) for start in range(0, len(validation.labels), size)]
    held = [_on_device(validation)] if len(parts) == 1 else None

    def train_epoch(epoch: int) -> Iterator[tuple[Means, int]]:
        order = np.random.default_rng([seed, epoch]).permutation(len(training.labels))
        key = jax.random.fold_in(jax.random.key(seed), epoch)
        for start in range(0, len(order), part):
            chosen, (key, own) = order[start : start + part], jax.random.split(key)
            arrays = _taken(*whole, chosen) if whole else _on_device(training, chosen)
            (state, _), counts = train_steps((_state(network), own), *arrays)
            _set_state(network, state)
            yield _means(counts, len(chosen), params.batch_size), len(chosen)

    def validate() -> Means:
        counts = []
        for arrays in held or (_on_device(validation, each) for each in parts):
            counts += test_steps(_state(network), *arrays)[1]
        return _means(counts, len(validation.labels), step)

    return train_epoch, validate


def compiled(network: keras.Sequential, function: Callable) -> Callable:
    """Return `function`, a call of which is one program; it may change the variables that are not trainable.

    Networks that are alike share the program, so for each of them the `function` of that name must do the same.
    """

    @jax.jit
    def program(values: list[jax.Array], *arguments: Any) -> list[jax.Array]:
        with keras.StatelessScope(state_mapping=[*zip(network.variables, values, strict=True)]) as scope:
            function(*arguments)
        return [scope.get_current_value(variable) for variable in network.non_trainable_variables]

    shared = _shared(function.__name__, _layers(network), lambda: program)

    def run(*arguments: Any) -> None:
        values = shared([variable.value for variable in network.variables], *arguments)
        for variable, value in zip(network.non_trainable_variables, values, strict=True):
            variable.assign(value)

    return run


def _part(split: Split, step: int) -> int:
    """Return how many images the device has at a time: whole steps of so many."""
    return max(1, PART_BYTES // split.images[0].nbytes // step) * step


def _on_device(split: Split, chosen: np.ndarray | slice = slice(None)) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(split.images[chosen]), jnp.asarray(split.labels[chosen])


@jax.jit
def _taken(images: jax.Array, labels: jax.Array, chosen: np.ndarray) -> tuple[jax.Array, jax.Array]:
    return images[chosen], labels[chosen]


def _programs(network: keras.Sequential, params: Network) -> tuple[Callable, Callable]:
    """Return the programs that train and test the compiled `network`, which those like it share."""
    # With mixed_float16 Keras wraps the optimizer. It counts its optimizers, in their names.
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer).get_config() | {"name": None}

    def make() -> tuple[Callable, Callable]:
        train_step, test_step = _train_step(network, params), _test_step(network)
        return _program(train_step, params.batch_size), _program(test_step, images_at_once(network))

    return _shared("epochs", [_layers(network), optimizer, params.model_dump()], make)


def _shared(purpose: str, likeness: list[Any], make: Callable[[], Any]) -> Any:
    """Return what was made last for this purpose, if it was for networks of this likeness; else make it.

    The programs get all values as arguments, so a model of several networks needs them compiled once.
    """
    key = json.dumps([likeness, jax.default_backend()])
    if key != _made_last.get(purpose, ("", None))[0]:
        _made_last[purpose] = key, make()
    return _made_last[purpose][1]


def _layers(network: keras.Sequential) -> list[dict[str, Any]]:
    return network.get_config()["layers"]


def _program(step: Callable, batch_size: int) -> Callable:
    """Return a function that passes a state and batches of arrays to `step`, which returns the state and counts.

    It returns the last state and the counts of all steps.
    """

    def one_program(state: Any, *arrays: jax.Array) -> tuple[Any, list[Counts]]:
        whole = len(arrays[0]) // batch_size * batch_size
        batches = [array[:whole].reshape(-1, batch_size, *array.shape[1:]) for array in arrays]
        state, counts = jax.lax.scan(lambda state, batch: step(state, *batch), state, batches)
        found = [counts]
        if whole < len(arrays[0]):
            state, last = step(state, *(array[whole:] for array in arrays))
            found.append(jax.tree.map(jnp.atleast_1d, last))
        return state, found

    compiled_step = jax.jit(step)

    def step_by_step(state: Any, *arrays: jax.Array) -> tuple[Any, list[Counts]]:
        found = []
        for start in range(0, len(arrays[0]), batch_size):
            state, counts = compiled_step(state, *(array[start : start + batch_size] for array in arrays))
            found.append(jax.tree.map(jnp.atleast_1d, counts))
        return state, found

    # On a processor XLA takes ten times as long for a convolution in a loop (jax-ml/jax, issue 12868).
    return step_by_step if jax.default_backend() == "cpu" else jax.jit(one_program)


def _train_step(network: keras.Sequential, params: Network) -> Callable:
    augment = augmentation(params.augmentation, *network.input_shape[1:3])
    optimizer = network.optimizer

    def loss(trainable: list, others: list, of_optimizer: list, images: jax.Array, labels: jax.Array) -> tuple:
        probabilities, others, penalties = network.stateless_call(
            trainable, others, images, training=True, return_losses=True
        )
        value, right = _measured(probabilities, penalties, labels)
        # That of float16 is among the optimizer's variables.
        with keras.StatelessScope(state_mapping=[*zip(optimizer.variables, of_optimizer, strict=True)]):
            return optimizer.scale_loss(value), (others, value, right)

    def step(state: tuple[State, jax.Array], images: jax.Array, labels: jax.Array) -> tuple[Any, Counts]:
        (trainable, others, of_optimizer), key = state
        key, own = jax.random.split(key)
        images = scaled(images)
        if augment:
            images = moved(images, augment.sources(len(images), Random(own), jnp))
        gradients, (others, value, right) = jax.grad(loss, has_aux=True)(
            trainable, others, of_optimizer, images, labels
        )
        trainable, of_optimizer = optimizer.stateless_apply(of_optimizer, gradients, trainable)
        return ((trainable, others, of_optimizer), key), (value, right)

    return step


def _test_step(network: keras.Sequential) -> Callable:
    def step(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, Counts]:
        trainable, others, _ = state
        probabilities, _, penalties = network.stateless_call(
            trainable, others, scaled(images), training=False, return_losses=True
        )
        return state, _measured(probabilities, penalties, labels)

    return step


def _measured(probabilities: jax.Array, penalties: list[jax.Array], labels: jax.Array) -> Counts:
    losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
    return losses.mean() + sum(penalties), (probabilities.argmax(axis=1) == labels).sum()


def _means(counts: list[Counts], images: int, batch_size: int) -> Means:
    losses, right = (np.concatenate(each) for each in zip(*counts, strict=True))
    sizes = [min(batch_size, images - start) for start in range(0, images, batch_size)]
    return {"loss": float(np.average(losses, weights=sizes)), "accuracy": float(right.sum() / images)}


def _variables(network: keras.Sequential) -> tuple[list[keras.Variable], ...]:
    return network.trainable_variables, network.non_trainable_variables, network.optimizer.variables


def _state(network: keras.Sequential) -> State:
    return tuple([variable.value for variable in some] for some in _variables(network))


def _set_state(network: keras.Sequential, state: State) -> None:
    for some, values in zip(_variables(network), state, strict=True):
        for variable, value in zip(some, values, strict=True):
            variable.assign(value)


class Random:
    """What `Augmentation.sources` needs of a generator of NumPy, for one use within a program."""

    def __init__(self, key: jax.Array):
        self.key = key

    def _next(self) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return key

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(self._next(), size, minval=low, maxval=high)

    def standard_normal(self, size: tuple[int, ...], dtype: Any) -> jax.Array:
        return jax.random.normal(self._next(), size, dtype)

    def choice(self, values: np.ndarray, size: tuple[int, ...]) -> jax.Array:
        return jax.random.choice(self._next(), values, size)


@jax.vmap
def moved(image: jax.Array, sources: jax.Array) -> jax.Array:
    """Return the image (height, width) or (height, width, 3) whose pixels come from `sources`; beyond the edge is 0."""
    interpolated = partial(map_coordinates, coordinates=sources, order=1, mode="constant")
    if image.ndim == 3:
        interpolated = jax.vmap(interpolated, in_axes=2, out_axes=1)
    return interpolated(image).reshape(image.shape)
