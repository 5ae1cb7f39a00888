"""params.yaml: one short error for every mistake, and typed views of what is right."""

import itertools
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.dataset.catalogue import dataset_names
from stages.params import schema
from stages.params.errors import all_keys, subsection
from stages.params.views import EvaluateParams, TrainMlpParams, load_params
from stages.process.errors import UserError


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_params(TrainMlpParams)
    message = str(caught.value)
    assert len(message.splitlines()) <= 2
    return message


def test_the_projects_own_params_are_valid(params_file):
    view = load_params(TrainMlpParams)
    assert view.network.epochs == YAML(typ="safe").load(params_file)["train"]["mlp"]["epochs"]


def test_a_view_holds_only_its_sections(params_file):
    assert set(vars(load_params(TrainMlpParams))) == {"network", "runtime"}


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ("    epochs: 10", "    epoch: 20", ["train.mlp.epoch: unknown key", "did you mean train.mlp.epochs?"]),
        ("runtime:\n", "runtme:\n", ["runtme: unknown key", "did you mean runtime?"]),
        ("      - filters: 24", "      - filers: 24", ["train.cnn.blocks.0.filers", "train.cnn.blocks.0.filters?"]),
        (
            "    epochs: 10",
            "    epochs: 10\n    learning_rate: 0.1",
            ["train.mlp.learning_rate: unknown key", "did you mean train.mlp.optimizer.learning_rate?"],
        ),
        ("    epochs: 10\n", "", ["train.mlp.epochs: this key is missing", "an integer, 1"]),
        ("    epochs: 10", "    epochs: 0", ["train.mlp.epochs: 0 is not allowed", "an integer, 1"]),
        ("    epochs: 10", "    epochs: 2.5", ["train.mlp.epochs: 2.5 is not allowed", "an integer"]),
        ("    epochs: 10", "    epochs: true", ["train.mlp.epochs: true is not allowed", "an integer"]),
        ("    epochs: 10", "    epochs: null", ["train.mlp.epochs: null is not allowed", "an integer"]),
        ("name: mnist", "name: minst", ["data.name: 'minst' is not allowed", "did you mean mnist?"]),
        ("      name: adam", "      name: Adam", ["train.mlp.optimizer.name", "did you mean adam?"]),
        ("    dropout: 0.0", "    dropout: 1.0", ["train.mlp.dropout: 1.0 is not allowed", "0 … 0.95"]),
        ("    dropout: 0.0", "    dropout:\n      - 0.3", ["train.mlp.dropout: 1 values for 2 hidden_units"]),
        ("    l1: 0.0", "    l1: .nan", ["train.mlp.l1: nan is not allowed"]),
        ("    l1: 0.0", "    l1: -1", ["train.mlp.l1: -1 is not allowed", "0 … 100"]),
        ("max_features: 12", "max_features: 1.5", ["train.random_forest.max_features: 1.5 is not allowed"]),
        ("max_features: 12", "max_features: 325", ["325 of mnist's 324 features (gradient_histograms)"]),
        ("features: gradient_histograms", "features: hog", ["train.random_forest.features: 'hog' is not allowed"]),
        ("rotation: 10.0", "rotation: 181", ["train.mlp.augmentation.rotation: 181 is not allowed", "0 … 180"]),
        ("deskew: false", "deskew: 1", ["preprocess.deskew: 1 is not allowed", "true | false"]),
        (
            "calibration: temperature",
            "calibration: isotonic",
            ["train.random_forest.calibration: 'isotonic' is not allowed", "temperature | none"],
        ),
        ("train_samples: null", "train_samples: 54001", ["54001 of mnist's 54000 training images"]),
        ("fraction: 0.1", "fraction: 0.0001", ["preprocess.validation_fraction", "too few for its 10 classes"]),
        ("fraction: 0.1", "fraction: 1", ["preprocess.validation_fraction: 1 is not allowed"]),
        ("pool_size: 2", "pool_size: 29", ["train.cnn.blocks.1", "do not fit the 14x14 maps"]),
        ("  name: mnist", "\tname: mnist", ["line", "not valid YAML", "\\t"]),
        ("  seed: 0", "  seed: 0\n  seed: 1", ["line", "duplicate key"]),
        ("  seed: 0", "  seed: !!python/object/apply:os.system [true]", ["not valid YAML", "tag"]),
        ("runtime:\n", '"": 2\nruntime:\n', ["params.yaml: : unknown key"]),
        ("runtime:\n", '"a\\nb": 2\nruntime:\n', ["a\\nb: unknown key"]),
        ("runtime:\n", "1: 2\nruntime:\n", ["1: unknown key", "allowed: data, preprocess, explore, runtime"]),
        ("    l1: 0.0", "    l1: 0.0\n    null: 2", ["train.mlp.null: unknown key", "allowed: hidden_units"]),
        ("  seed: 0", "  seed: 2026-11-30", ["preprocess.seed: 2026-11-30 is not allowed"]),
        ("  seed: 0", "  seed: *unknown", ["line", "the anchor or alias unknown is not allowed"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_is_allowed(params_file, before, after, parts):
    edit(params_file, before, after)
    message = refusal(params_file)
    assert message.startswith("params.yaml")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(("features", "count"), [("pixels", 784), ("pixels_and_gradient_histograms", 1108)])
def test_the_features_of_the_forest_decide_how_many_a_split_can_try(params_file, features, count):
    edit(params_file, "features: gradient_histograms", f"features: {features}")
    edit(params_file, "max_features: 12", f"max_features: {count + 1}")
    assert f"{count + 1} of mnist's {count} features ({features})" in refusal(params_file)


@pytest.mark.parametrize("text", ["", "- 1\n", "text", "\x00"])
def test_what_is_no_mapping_is_refused(params_file, text):
    params_file.write_text(text)
    assert refusal(params_file).startswith("params.yaml")


def test_several_mistakes_are_counted(params_file):
    edit(params_file, "    epochs: 10", "    epochs: 0")
    edit(params_file, "    batch_size: 256", "    batch_size: 0")
    assert "(1 more like this)" in refusal(params_file)


def test_dropout_is_one_number_or_one_per_layer(params_file):
    edit(params_file, "    dropout: 0.0", "    dropout:\n      - 0.4\n      - 0.2")
    assert load_params(TrainMlpParams).network.dropout == [0.4, 0.2]


def test_every_key_has_a_comment(params_file):
    """A key is explained where it stands, or its twin in `train.mlp` is."""
    lines = params_file.read_text().splitlines()
    explained = set()
    for above, line in itertools.pairwise(lines):
        if ":" in line and above.strip().startswith("#") and not line.strip().startswith("#"):
            explained.add(line.split(":")[0].strip())
    told_together = {"l2", "filters", "kernel_size", "strides", "padding", "pool_size"}
    leaves = {key.rpartition(".")[2] for key in all_keys(schema.Params)}
    sections = {"data", "preprocess", "explore", "runtime", "train", "gate", "mlp", "cnn", "random_forest", "optimizer"}
    # Under gate.minimum_accuracy.
    assert leaves - explained - told_together - sections - set(dataset_names()) == set()


def test_the_schema_has_no_default_values():
    """`params.yaml` holds every value: only so can editing the schema change no result."""

    def sections(section):
        yield section
        for field in section.model_fields.values():
            below = subsection(field.annotation)
            if below:
                yield from sections(below)

    for section in sections(schema.Params):
        for name, field in section.model_fields.items():
            # A minimum that is not there is none.
            assert field.is_required() or section is schema.Accuracies, f"{section.__name__}.{name}"


@pytest.mark.parametrize("name", ["pets:v2", "bob's", "a,b"])
def test_a_name_that_others_would_not_take_is_refused(params_file, name):
    (params_file.parent / "data/sets" / name).mkdir()
    edit(params_file, "  name: mnist", f'  name: "{name}"')
    assert "is not allowed; a name is letters, digits, spaces and . + - _: rename the folder" in refusal(params_file)


def test_evaluate_sees_the_whole_file(params_file):
    assert load_params(EvaluateParams).params.data.name == "mnist"
