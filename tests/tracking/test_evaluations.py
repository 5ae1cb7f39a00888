"""MLflow is a view: what it has lost comes back from the files, once."""

import pandas as pd
import pytest

from tests.project import MODELS, metrics, runs


@pytest.mark.long
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


def test_a_model_that_averages_over_shifts_has_the_figures_of_the_report_in_its_run(reproduced):
    (run,) = runs(reproduced)["mlp"]
    history = pd.read_csv(reproduced.folder / "reports/mlp/history.csv")
    for name in ("val_accuracy", "val_loss"):
        assert run.data.metrics[name] == pytest.approx(metrics(reproduced)["mlp"][name], abs=1e-6)
    assert run.data.metrics["val_loss"] != pytest.approx(history["val_loss"].iloc[-1])
