"""Where the time of a network's training goes, and which share of the machine's matrix peak its steps reach.

    uv run python -m benchmarks.profile cnn runtime.arithmetic=native

prints one line of JSON: microseconds for an image of augmentation (one core), of training steps and of validation, and
the share. Changes to params.yaml are recipes or `key=value`. Runs where data/prepared is; docs/ladder.md has results.
"""

import itertools
import json
import math
import statistics
import time
from functools import partial
from typing import Any

from benchmarks.ours import built_network, changed_params
from benchmarks.results import parser
from stages.dataset.prepared import load_split
from stages.dataset.scaling import scaled

# Sides of the matrices that the peak is measured with.
PEAK_SIDE = 2048


def main() -> None:
    command = parser(__doc__)
    command.add_argument("model", choices=("mlp", "cnn"))
    command.add_argument("changes", nargs="*", metavar="CHANGE", help="a recipe, or key=value")
    given = command.parse_args()
    model, params = given.model, changed_params(given.changes)
    network, section = built_network(model, params), getattr(params.train, model)

    from stages.learners.optimizers import optimizer
    from stages.learners.tensorflow_epochs import chunks, make_test_steps, make_train_steps

    training, validation = load_split("train"), load_split("validation")
    network.compile(optimizer=optimizer(section.optimizer, steps=1000), loss="sparse_categorical_crossentropy")
    network.optimizer.build(network.trainable_variables)
    steps = make_train_steps(network, section.batch_size)
    parts = itertools.chain.from_iterable(chunks(training, section, 0, epoch) for epoch in itertools.count(1))
    augmentation = _seconds(lambda: next(parts), 8)
    images, labels = next(parts)
    count = len(labels)
    step = _seconds(partial(steps, [(images, labels)]), 8)
    held = scaled(validation.images[:count]), validation.labels[:count]
    validated = _seconds(partial(make_test_steps(network), [held]), 8)
    flop, peak = training_flop(network), _peak()
    print(
        json.dumps(
            {
                "augmentation_us": round(augmentation / count * 1e6, 2),
                "step_us": round(step / count * 1e6, 2),
                "validation_us": round(validated / count * 1e6, 2),
                "training_mflop": round(flop / 1e6, 3),
                "peak_gflops": round(peak / 1e9, 1),
                "share_of_peak": round(flop * count / step / peak, 3),
            }
        )
    )


def training_flop(network: Any) -> int:
    """Return the multiplications and additions of a training step for one image, in convolutions and dense layers.

    Each layer has its product forward, one for the gradient of its weights and, but for the first, one for that of its
    input.
    """
    products = []
    for layer in network.layers:
        if (kernel := getattr(layer, "kernel", None)) is not None:
            products.append(math.prod(kernel.shape) * math.prod(layer.output.shape[1:-1]))
    return 2 * (3 * sum(products) - products[0])


def _peak() -> float:
    """Return how many operations a second a product of large float32 matrices does with these threads."""
    import keras

    matrix = keras.random.normal((PEAK_SIDE, PEAK_SIDE))
    seconds = _seconds(lambda: keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix)), 8)
    return 2 * PEAK_SIDE**3 / seconds


def _seconds(action, times: int) -> float:
    """Return the median time of `action`, the first time left out."""
    measured = []
    for _ in range(times + 1):
        start = time.perf_counter()
        action()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured[1:])


if __name__ == "__main__":
    main()
