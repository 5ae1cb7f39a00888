"""`mnist recipe`: every recipe is valid, is listed, and runs through the pipeline by its name."""

import os
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from ruamel.yaml import YAML

from commands.experiments import check_tracked, set_params
from commands.named_files import about, yaml_files
from commands.recipe import RECIPES, recipe_params
from stages.params.dotted import set_values
from stages.params.schema import Params
from stages.process.errors import UserError
from tests.conftest import PROJECT, Clone
from tests.project import measured_by, metrics, runs


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(PROJECT)


def with_recipe(name: str) -> Params:
    content = YAML(typ="safe").load(PROJECT / "params.yaml")
    set_values(content, recipe_params(name))
    return Params.model_validate(content)


@pytest.mark.parametrize("file", yaml_files(PROJECT / RECIPES), ids=lambda file: file.stem)
def test_a_recipe_says_what_it_is_and_fits_the_schema(file):
    assert 20 < len(about(file)) < 120
    assert with_recipe(file.stem) != Params.model_validate(YAML(typ="safe").load(PROJECT / "params.yaml"))


def test_the_published_recipes_are_there():
    published = {"poster-2018", "slides-mlp", "notes-2023", "lecture-2019", "blog-mlp", "slides-cnn", "blog-forest"}
    assert published | {"keras-example", "fast", "accurate", "record", "fashion-mnist", "digits"} == {
        file.stem for file in yaml_files(RECIPES)
    }


@pytest.mark.parametrize(
    "value", ["Blätter", "2024", "1e3", "true", "nan", "two words", "no.1", "it's", "pad", [8, "x"], {"a": "1"}]
)
def test_every_value_reaches_params_as_it_is(value):
    (argument,) = set_params({"data.name": value})[1:]
    (override,) = OverridesParser.create().parse_overrides([argument])
    assert override.value() == value


@pytest.mark.parametrize("added", ["nothing", "git add", "a submodule"])
def test_a_data_set_that_a_copy_would_lack_is_refused(clone, monkeypatch, added):
    monkeypatch.chdir(clone.folder)
    Path("data/sets/pets").mkdir()
    Path("data/sets/pets.dvc").touch()
    if added == "git add":
        clone.run("git", "add", "data/sets/pets.dvc")
        check_tracked("pets")
        return
    if added == "a submodule":
        Path("data/sets/pets.dvc").unlink()
        head = clone.run("git", "rev-parse", "HEAD").stdout.strip()
        clone.run("git", "update-index", "--add", "--cacheinfo", f"160000,{head},data/sets/pets")
    with pytest.raises(UserError, match="uv run dvc add data/sets/pets && git add data/sets/pets.dvc"):
        check_tracked("pets")


def test_an_unknown_recipe_is_refused_with_the_names(checked_out):
    done = checked_out.run("mnist", "recipe", "notes", check=False)
    assert done.returncode == 1
    assert "notes: no such recipe; there are accurate, blog-forest" in done.stdout
    assert "Traceback" not in done.stdout
    assert checked_out.run("mnist", "recipe").stdout.count("\n") == len(yaml_files(RECIPES))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("train: [", "recipes/own.yaml, line 1: not valid YAML"),
        ("- 1", "recipes/own.yaml: must be a part of params.yaml"),
        ("train:\n  mlp:\n    epoch: 1\n", "recipes/own.yaml: train.mlp.epoch: unknown key"),
    ],
)
def test_a_recipe_that_is_no_part_of_params_is_refused(checked_out, content, reason):
    (checked_out.folder / "recipes/own.yaml").write_text(content)
    done = checked_out.run("mnist", "recipe", "own", check=False)
    assert done.returncode == 1
    assert reason in done.stdout
    assert "Traceback" not in done.stdout
    assert "Running stage" not in done.stdout


def test_a_name_that_dvc_would_not_take_is_refused_and_no_experiment_is_lost(checked_out):
    (checked_out.folder / "recipes/*.yaml").write_text("# all\nruntime: {seed: 1}\n")
    checked_out.run("git", "update-ref", "refs/exps/aa/bb/kept", "HEAD")
    done = checked_out.run("mnist", "recipe", "*", check=False)
    assert done.returncode == 1
    assert "recipes/*.yaml: a name is letters, digits, - and _, at most 50; rename the file" in done.stdout
    assert checked_out.run("git", "for-each-ref", "refs/exps/").stdout.endswith("refs/exps/aa/bb/kept\n")


def add_tiny(clone: Clone) -> None:
    # Lists of mappings, nulls and all, by way of DVC, and quicker than a published one.
    (clone.folder / "recipes/tiny.yaml").write_text(
        "# a recipe of one's own\n"
        "train:\n"
        "  cnn:\n"
        "    blocks:\n"
        "      - {filters: 3, kernel_size: 3, strides: 2, padding: valid, pool_size: 1, dropout: 0.1}\n"
        "    hidden_units: []\n"
        "    early_stopping_patience: null\n"
        "    optimizer: {name: sgd, learning_rate: 0.01, schedule: constant}\n"
        "    epochs: 2\n"
    )


# In place of all stages, for DVC to run as it runs those.
ECHO = """
import json
from pathlib import Path
from ruamel.yaml import YAML
cnn = YAML(typ="safe").load(Path("params.yaml"))["train"]["cnn"]
values = {"test_accuracy": cnn["optimizer"]["learning_rate"], "filters": cnn["blocks"][-1]["filters"]}
Path("reports/metrics.json").write_text(json.dumps({"cnn": {**values, "patience": cnn["early_stopping_patience"]}}))
"""


def test_a_recipe_is_an_experiment_of_its_name_and_leaves_the_workspace(clone):
    add_tiny(clone)
    measured_by(clone, ECHO, "train.cnn")
    before = metrics(clone)
    # As of one who calls .venv/bin/mnist by its path.
    others = [each for each in os.environ["PATH"].split(os.pathsep) if Path(each) != Path(sys.executable).parent]
    assert "dvc exp apply tiny" in clone.run("mnist", "recipe", "tiny", PATH=os.pathsep.join(others)).stdout
    assert clone.run("git", "status", "--porcelain").stdout == ""
    assert "tiny" in clone.run("dvc", "exp", "list", "--names-only").stdout
    clone.run("dvc", "exp", "apply", "tiny")
    assert metrics(clone) != before
    assert metrics(clone)["cnn"] == {"test_accuracy": 0.01, "filters": 3, "patience": None}


@pytest.mark.long
def test_a_recipe_runs_beside_the_defaults_and_carries_its_name(checked_out):
    add_tiny(checked_out)
    before = metrics(checked_out)
    assert "tiny" in checked_out.run("mnist", "recipe").stdout
    output = checked_out.run("mnist", "recipe", "tiny").stdout
    assert "Running stage 'train-cnn'" in output
    assert "Running stage 'train-mlp'" not in output
    assert "dvc exp apply tiny" in output
    (run,) = runs(checked_out)["cnn"]
    assert run.data.tags["dvc.experiment"] == "tiny"
    assert run.data.params["blocks.0.filters"] == "3"
    assert run.data.params["optimizer.name"] == "sgd"
    assert "test_accuracy" in run.data.metrics
    assert metrics(checked_out) == before
    assert "tiny" in checked_out.run("dvc", "exp", "list", "--names-only").stdout


@pytest.mark.long
def test_a_recipe_once_more_replaces_the_first_and_trains_nothing(checked_out):
    add_tiny(checked_out)
    assert "Running stage 'train-cnn'" in checked_out.run("mnist", "recipe", "tiny").stdout
    assert "Running stage 'train" not in checked_out.run("mnist", "recipe", "tiny").stdout
