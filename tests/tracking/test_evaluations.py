"""MLflow is a view: what it has lost comes back from the files, once."""

import pytest

from tests.test_pipeline import MODELS, metrics, runs


def test_a_store_without_the_runs_gets_them_from_the_files(checked_out):
    # The models were not made with this.
    checked_out.set_params({"train.mlp.epochs": 3, "train.random_forest.n_estimators": 2})
    checked_out.run("dvc", "repro", "--force", "--single-item", "evaluate")
    for model, name in MODELS.items():
        (run,) = runs(checked_out)[name]
        assert run.data.tags["dvc.restored"] == "true"
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test_accuracy"] == pytest.approx(metrics(checked_out)[model]["test_accuracy"])
    assert runs(checked_out)["mlp"][0].data.params["epochs"] == "12"
    assert runs(checked_out)["mlp"][0].data.params["runtime.seed"] == "0"
    assert runs(checked_out)["random-forest"][0].data.params["n_estimators"] == "40"
