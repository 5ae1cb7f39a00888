"""The measurements of a model, on the images that it was trained on among others."""

import numpy as np
import pytest
from ruamel.yaml import YAML
from sklearn.ensemble import RandomForestClassifier

from stages.dataset.features import pixels
from stages.dataset.prepared import DatasetInfo, Split
from stages.dataset.subset import subset
from stages.evaluation.measurement import Result, measure
from stages.evaluation.scores import scores
from stages.learners.forest_classifier import ForestClassifier
from stages.learners.forest_file import save_forest
from stages.learners.models import RANDOM_FOREST
from stages.params.dotted import set_values
from stages.params.schema import Params
from tests.conftest import PROJECT

ABOUT = DatasetInfo("digits", "digits", False, 8, 8, list("0123456789"), False)


def split(count: int, seed: int) -> Split:
    """Noise: a forest that knows it by heart has learnt nothing of other images."""
    random = np.random.default_rng(seed)
    return Split(random.integers(0, 256, (count, 8, 8), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8))


@pytest.fixture(params=[0.5])
def measured(request, tmp_path, monkeypatch) -> Result:
    """A forest that has seen a fifth of the training images, with the temperature of the test or 0.5."""
    content = YAML(typ="safe").load(PROJECT / "params.yaml")
    set_values(content, {"data.name": "digits", "train.random_forest.train_samples": 200})
    monkeypatch.chdir(PROJECT)
    params = Params.model_validate(content)
    monkeypatch.chdir(tmp_path)
    splits = {"train": split(1000, 0), "validation": split(100, 1), "test": split(100, 2)}
    seen = subset(splits["train"], 200, params.runtime.seed)
    forest = RandomForestClassifier(20, bootstrap=False, random_state=0).fit(pixels(seen.images), seen.labels)
    save_forest(forest, "pixels", request.param, RANDOM_FOREST.file)
    return measure(RANDOM_FOREST, ForestClassifier(forest, "pixels", request.param), splits, ABOUT, params)


def test_what_a_forest_of_a_part_has_learnt_by_heart_is_seen(measured):
    assert measured.overfitting.startswith("Overfits by ")
    assert "100.00 % of the training images right" in measured.overfitting


def test_the_gate_asks_for_the_accuracy_of_the_data_set_and_the_model(measured):
    content = YAML(typ="safe").load(PROJECT / "params.yaml")
    assert measured.minimum == content["gate"]["minimum_accuracy"]["digits"]["random_forest"]
    assert measured.metrics["gate_passed"] is (measured.metrics["test_accuracy"] >= measured.minimum)


@pytest.mark.parametrize("measured", [0.05], indirect=True)
def test_a_temperature_is_measured_before_and_after(measured):
    values = measured.metrics
    before = scores("test", np.arange(100) % 10, measured.uncalibrated)
    assert (values["temperature"], values["val_loss_fitted"]) == (0.05, True)
    assert measured.calibration.startswith("temperature 0.05, fitted on the validation images")
    for name in ("test_loss", "test_ece"):
        assert values[f"{name}_uncalibrated"] == before[name]
        # Far too sure of noise.
        assert values[name] > before[name] + 0.1
    assert values["val_loss"] > values["val_loss_uncalibrated"]
    assert values["test_accuracy"] == before["test_accuracy"]


@pytest.mark.parametrize("measured", [None], indirect=True)
def test_a_forest_that_could_not_be_calibrated_is_said_to_be_none(measured):
    assert measured.calibration == "none: a temperature needs at least 20 validation images"
    assert measured.uncalibrated is None
    absent = {"temperature", "val_loss_fitted", "val_loss_uncalibrated", "test_loss_uncalibrated"}
    assert absent.isdisjoint(measured.metrics)
