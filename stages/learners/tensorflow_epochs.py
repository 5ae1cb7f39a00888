"""The epochs of a training under TensorFlow: the processor changes the images while the network trains on others."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from stages.dataset.pieces import pieces
from stages.dataset.prepared import Split
from stages.dataset.scaling import scaled
from stages.learners.augmentation import augmentation
from stages.learners.networks import images_at_once
from stages.params.schema import Network

Chunk = tuple[np.ndarray, np.ndarray]
Means = dict[str, float]


def make_epochs(
    network: keras.Sequential, params: Network, training: Split, validation: Split, seed: int
) -> tuple[Callable[[int], Iterator[tuple[Means, int]]], Callable[[], Means]]:
    """Return how the compiled `network` trains for an epoch (from 1), and how it is validated.

    An epoch yields the mean loss and accuracy over some of its images and their number, until it has had them all; a
    validation returns those of all validation images. The optimizer must be built.
    """
    train_steps, test_steps = make_train_steps(network, params.batch_size), make_test_steps(network)

    def train_epoch(epoch: int) -> Iterator[tuple[Means, int]]:
        for images, labels in one_ahead(chunks(training, params, seed, epoch)):
            yield train_steps([(images, labels)]), len(labels)

    return train_epoch, lambda: test_steps(_in_order(validation, images_at_once(network)))


def compiled(network: keras.Sequential, function: Callable) -> Callable:
    """Return `function`, which changes variables of the network, as it is: it is not worth a graph."""
    return function


def make_train_steps(network: keras.Sequential, batch_size: int) -> Callable[[Iterable[Chunk]], Means]:
    """Return a function that trains the compiled `network` on chunks of images and labels, in steps of `batch_size`.

    All the steps of a chunk are one graph. Keras' own `fit` with `steps_per_execution=16` makes the same bytes, and
    takes 3.3 s for an epoch of the default MLP instead of 2.3 s, 8.5 s for one of the CNN instead of 6.3 s (medians of
    three rounds, full MNIST, 2 busy cores).
    """
    return _in_steps(network, lambda batch: network.train_step(batch), batch_size)


def make_test_steps(network: keras.Sequential) -> Callable[[Iterable[Chunk]], Means]:
    """Return a function that measures the compiled `network` on chunks, in half the time of Keras' own `evaluate`."""
    return _in_steps(network, lambda batch: network.test_step(batch), images_at_once(network))


def _in_steps(network: keras.Sequential, step: Callable, batch_size: int) -> Callable[[Iterable[Chunk]], Means]:
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def steps(images, labels):
        for start in tf.range(0, tf.shape(labels)[0], batch_size):
            step((images[start : start + batch_size], labels[start : start + batch_size]))

    def run(chunks: Iterable[Chunk]) -> Means:
        network.reset_metrics()
        for images, labels in chunks:
            steps(tf.constant(images), tf.constant(labels))
        return {name: float(value) for name, value in network.get_metrics_result().items()}

    return run


def chunks(training: Split, params: Network, seed: int, epoch: int) -> Iterator[Chunk]:
    """Yield every training image once, augmented, with its label, in whole batches of `params.batch_size`.

    Order and augmentation are a function of (seed, epoch) alone, not of the random numbers that were drawn before.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(training.labels))
    augment = augmentation(params.augmentation, *training.images.shape[1:3])
    for piece in pieces(len(order), training.images.shape[1:], params.batch_size):
        chosen = order[piece]
        images, labels = scaled(training.images[chosen]), training.labels[chosen]
        yield augment(images, random) if augment else images, labels


def _in_order(split: Split, step: int) -> Iterator[Chunk]:
    """Yield the images as they are, with their labels, in whole steps of so many."""
    for piece in pieces(len(split.labels), split.images.shape[1:], step):
        yield scaled(split.images[piece]), np.asarray(split.labels[piece])


def one_ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """Yield the `chunks`, and have a thread make the next one meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        following = pool.submit(next, chunks, None)
        while (chunk := following.result()) is not None:
            following = pool.submit(next, chunks, None)
            yield chunk
