"""The schema of params.yaml: its sections, and their checks.

The schema only checks: it holds no default, so that editing it cannot change what a stage does.
"""

import difflib
import itertools
import math
import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.dataset.catalogue import Dataset, dataset_names, load_dataset
from stages.dataset.features import feature_count
from stages.dataset.prepared import DatasetInfo
from stages.params.types import (
    Count,
    Flag,
    Fraction,
    Section,
    Seed,
    Side,
    choice,
    integer,
    list_of,
    number,
    optional,
    positive_number,
)
from stages.process.errors import one_line

# Blocks, and hidden layers: deeper networks do not learn without residual connections, and take minutes to start.
MAX_LAYERS = 20
# Each takes 44 bytes in training (measured): its gradient, two moments of Adam, copies for the checkpoint.
MAX_WEIGHTS = 50_000_000
# The layers hand on so many in one step, kept for the gradients: 9 bytes each (measured).
MAX_VALUES = 500_000_000
# Pixels on a side: OpenCV takes at most 32,767, with a margin.
MAX_SIDE = 30_000
# Networks times shifts: 900 are a graph that takes 20 seconds to build, and more than a gigabyte (measured).
MAX_PREDICTIONS = 900

Penalty = number(0, 100)
Share = number(0, 0.95)
Extent = number(0, 0.5)


class Data(Section):
    name: Annotated[str, Field(description="the name of a folder in data/sets, a number in quotes")]
    offline: choice("sample", "fail")
    size: optional(list_of(integer(1, 1_000), 2, 2, "integers, height and width"))
    channels: Annotated[Literal[1, 3] | None, Field(description="1 | 3, or null")]
    resize: choice("pad", "crop", "stretch")
    test_fraction: positive_number(0.5)

    @model_validator(mode="after")
    def _is_there(self):
        names = dataset_names()
        if self.name not in names:
            near = difflib.get_close_matches(self.name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"name: {one_line(self.name, 60)!r} is not allowed; allowed: {' | '.join(names)}{hint}")
        if not re.fullmatch(r"[\w .+-]+", self.name):
            raise ValueError(
                f"name: {one_line(self.name, 60)!r} is not allowed; a name is letters, digits, spaces and . + - _: "
                "rename the folder"
            )
        for key in ("size", "channels"):
            if getattr(self, key) is not None and load_dataset(self.name):
                raise ValueError(f"{key}: must be null for {self.name}, whose images have one size already")
        return self


class Preprocess(Section):
    validation_fraction: positive_number(0.5)
    seed: Seed
    deskew: Flag


class Explore(Section):
    sample_size: integer(50, 1_000_000)
    umap: Flag
    seed: Seed


class Runtime(Section):
    seed: Seed
    backend: choice("tensorflow", "jax")
    device: choice("auto", "cpu", "gpu")
    arithmetic: choice("portable", "native")
    threads: integer(1, 256)
    precision: choice("float32", "mixed_bfloat16", "mixed_float16")

    @model_validator(mode="after")
    def _is_portable(self):
        """Check what has the same bits on each processor under TensorFlow, on the CPU, in float32 only."""
        others = {"backend": ("jax",), "device": ("gpu",), "precision": ("mixed_bfloat16", "mixed_float16")}
        for name, values in others.items():
            if self.arithmetic == "portable" and getattr(self, name) in values:
                raise ValueError(
                    f"{name}: {getattr(self, name)} with runtime.arithmetic: portable, which is TensorFlow's float32 "
                    "on the CPU; set runtime.arithmetic: native for it"
                )
        return self


class Optimizer(Section):
    name: choice("adadelta", "adagrad", "adam", "adamax", "muon", "nadam", "rmsprop", "sgd")
    # Below that float32 has no digit left for the step, and the weights stay as they are.
    learning_rate: number(1e-8, 10)
    schedule: choice("constant", "cosine", "one_cycle")


class Augmentation(Section):
    shift: Extent
    rotation: number(0, 180)
    zoom: Extent
    shear: Extent
    # Three times that leaves nothing of a digit: networks learn no more than chance (measured).
    elastic: number(0, 0.2)
    flip: Flag


class Network(Section):
    """The params that both Keras models have."""

    hidden_units: list_of(Count, 0, MAX_LAYERS)
    activation: choice("relu", "elu", "gelu", "leaky_relu", "selu", "sigmoid", "silu", "softplus", "tanh")
    dropout: Annotated[
        Share | list_of(Share, 0, MAX_LAYERS),
        Field(description="a number, 0 … 0.95, or a list of one per hidden layer"),
    ]
    batch_norm: Flag
    batch_norm_statistics: choice("moving", "recomputed")
    l1: Penalty
    l2: Penalty
    augmentation: Augmentation
    test_time_shift: integer(0, 3)
    networks: integer(1, 100)
    optimizer: Optimizer
    epochs: Count
    min_steps: optional(Count)
    batch_size: Count
    early_stopping_patience: optional(Count)
    weights: choice("last", "best")

    @model_validator(mode="after")
    def _one_dropout_per_layer(self):
        if isinstance(self.dropout, list) and len(self.dropout) != len(self.hidden_units):
            raise ValueError(
                f"dropout: {len(self.dropout)} values for {len(self.hidden_units)} hidden_units; "
                "give one number for all or one per layer"
            )
        return self

    @model_validator(mode="after")
    def _normalizes_more_than_one_image(self):
        if self.batch_norm and self.batch_size == 1:
            raise ValueError(
                "batch_size: 1 with batch_norm: true, which makes 0 of every value of a lone image; "
                "raise it, or batch_norm: false"
            )
        return self

    @model_validator(mode="after")
    def _predicts_in_time(self):
        predictions = self.networks * (2 * self.test_time_shift + 1) ** 2
        if predictions > MAX_PREDICTIONS:
            raise ValueError(
                f"test_time_shift: {self.test_time_shift} of {self.networks} networks are {predictions:,} predictions "
                f"of an image, more than {MAX_PREDICTIONS}; lower it, or networks"
            )
        return self

    def _dense_size(self, inputs: int, classes: int) -> tuple[int, int]:
        layers = [inputs, *self.hidden_units, classes]
        return sum(before * after for before, after in itertools.pairwise(layers)), sum(layers)


class Mlp(Network):
    def size(self, height: int, width: int, channels: int, classes: int) -> tuple[int, int]:
        """Return its weights, without biases, and the values that its layers hand on for an image."""
        return self._dense_size(height * width * channels, classes)


class Block(Section):
    filters: Count
    kernel_size: Side
    strides: Side
    padding: choice("same", "valid")
    pool_size: Side
    dropout: Share

    def convolved_side(self, side: int) -> int:
        """Pixels per side of the block's maps before pooling, for an input of `side`."""
        return -(-side // self.strides) if self.padding == "same" else (side - self.kernel_size) // self.strides + 1

    def output_side(self, side: int) -> int:
        """Pixels per side of the block's maps for an input of `side`; below 1 where it does not fit."""
        return self.convolved_side(side) // self.pool_size

    def fits(self, side: int) -> bool:
        """Return whether an input of `side` leaves an output, and every weight of a filter sees more than padding."""
        return self.kernel_size < 2 * side and self.strides <= side and self.output_side(side) >= 1


class Cnn(Network):
    blocks: list_of(Block, 1, MAX_LAYERS, "blocks")
    global_pooling: choice("none", "average", "max")

    def size(self, height: int, width: int, channels: int, classes: int) -> tuple[int, int]:
        """Return its weights, without biases, and the values that its layers hand on for an image."""
        weights, values = 0, height * width * channels
        for block in self.blocks:
            weights += block.kernel_size**2 * channels * block.filters
            channels = block.filters
            values += block.convolved_side(height) * block.convolved_side(width) * channels
            height, width = block.output_side(height), block.output_side(width)
        dense_weights, dense_values = self._dense_size(
            channels * (height * width if self.global_pooling == "none" else 1), classes
        )
        return weights + dense_weights, values + dense_values


class RandomForest(Section):
    features: choice("pixels", "gradient_histograms", "pixels_and_gradient_histograms")
    # A tree of full MNIST takes more than a megabyte of memory.
    n_estimators: integer(1, 2_000)
    max_features: (
        Literal["sqrt", "log2"] | Annotated[int, Field(ge=1, le=1_000_000)] | Annotated[float, Field(gt=0, le=1)]
    ) = Field(description="sqrt | log2 | a number above 0, at most 1.0 | an integer from 1")
    max_depth: optional(Count)
    min_samples_leaf: Count
    bootstrap: Flag
    train_samples: optional(integer(10, 10_000_000))
    calibration: choice("temperature", "none")


class Train(Section):
    mlp: Mlp
    cnn: Cnn
    random_forest: RandomForest


class Accuracies(Section):
    """A model without a minimum need not be named."""

    mlp: optional(Fraction) = None
    cnn: optional(Fraction) = None
    random_forest: optional(Fraction) = None


class Gate(Section):
    enforce: Flag
    minimum_accuracy: dict[str, Accuracies]


class Params(Section):
    data: Data
    preprocess: Preprocess
    explore: Explore
    runtime: Runtime
    train: Train
    gate: Gate

    @model_validator(mode="after")
    def _fits_the_data_set(self):
        dataset = load_dataset(self.data.name)
        # Of the user's own data `preprocess` finds out, and each training: an edit of its params runs it alone.
        if dataset is None:
            return self
        # Rounded up, as scikit-learn splits.
        validation = math.ceil(dataset.train_count * self.preprocess.validation_fraction)
        if validation < 2 * len(dataset.class_names):
            raise ValueError(
                f"preprocess.validation_fraction: leaves {validation} images of {dataset.name} for "
                f"validation, too few for its {len(dataset.class_names)} classes; raise it"
            )
        self.check_fit(dataset, dataset.train_count - validation)
        return self

    def check_fit(self, dataset: Dataset | DatasetInfo, training: int) -> None:
        """Raise `ValueError` unless the models can train on so many `training` images of the data set."""
        if max(dataset.height, dataset.width) > MAX_SIDE:
            raise ValueError(
                f"data.size: {dataset.name}'s images are {dataset.height}x{dataset.width} pixels, and at most "
                f"{MAX_SIDE:,} are possible on a side; set it"
            )
        self._check_forest(dataset, training)
        side_before = min(dataset.height, dataset.width)
        for position, block in enumerate(self.train.cnn.blocks):
            if not block.fits(side_before):
                raise ValueError(
                    f"train.cnn.blocks.{position}: its filters and pooling do not fit the "
                    f"{side_before}x{side_before} maps that reach it from {dataset.name}'s "
                    f"{dataset.height}x{dataset.width} images; lower kernel_size, strides or pool_size"
                )
            side_before = block.output_side(side_before)
        for name, network, remedy in (
            ("mlp", self.train.mlp, "hidden_units"),
            ("cnn", self.train.cnn, "filters, kernel_size or hidden_units"),
        ):
            size = (dataset.height, dataset.width, dataset.channels, len(dataset.class_names))
            weights, values = network.size(*size)
            weights *= network.networks
            if weights > MAX_WEIGHTS:
                raise ValueError(
                    f"train.{name}: has {weights:,} weights for {dataset.name}'s images, more than "
                    f"{MAX_WEIGHTS:,}; lower {remedy}{' or networks' if network.networks > 1 else ''}"
                )
            step = values * min(network.batch_size, training)
            if step > MAX_VALUES:
                raise ValueError(
                    f"train.{name}.batch_size: {network.batch_size} images are {step:,} values in the layers, more "
                    f"than {MAX_VALUES:,}; lower it, or {remedy}"
                )

    def _check_forest(self, dataset: Dataset | DatasetInfo, training: int) -> None:
        forest = self.train.random_forest
        samples = forest.train_samples
        # One of each class must be left out, or all be taken: so are they drawn.
        most = training - len(dataset.class_names)
        if samples is not None and samples != training and samples > most:
            raise ValueError(
                f"train.random_forest.train_samples: {samples} of {dataset.name}'s "
                f"{training} training images; lower it to at most {most}, or null for all"
            )
        if 2 * forest.min_samples_leaf > (samples or training):
            raise ValueError(
                f"train.random_forest.min_samples_leaf: {forest.min_samples_leaf} of {samples or training} training "
                "images leaves no tree a split; lower it to at most half of them"
            )
        available = feature_count(forest.features, dataset.height, dataset.width, dataset.channels)
        if isinstance(forest.max_features, int) and forest.max_features > available:
            raise ValueError(
                f"train.random_forest.max_features: {forest.max_features} of {dataset.name}'s "
                f"{available} features ({forest.features}); lower it"
            )
