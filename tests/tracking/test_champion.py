"""The alias in MLflow's registry."""

import mlflow
import numpy as np

from tests.project import MODELS, client, metrics, runs


def test_the_champion_is_the_best_on_the_validation_images_and_predicts(reproduced):
    champion = client(reproduced).get_model_version_by_alias("digits", "champion")
    best = max(metrics(reproduced), key=lambda model: metrics(reproduced)[model]["val_accuracy"])
    (run,) = runs(reproduced)[MODELS[best]]
    assert champion.run_id == run.info.run_id
    assert champion.tags["dvc.model_md5"] == run.data.tags["dvc.model_md5"]
    mlflow.set_tracking_uri(f"sqlite:///{reproduced.folder / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/digits@champion")
    assert model.predict(np.full((2, 8, 8), 200, np.uint8)).shape == (2, 10)
