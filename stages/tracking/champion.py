"""The best model of a data set, in MLflow's registry under the alias "champion"."""

import os
from typing import Any

from stages.dataset.prepared import DatasetInfo
from stages.fingerprints import folder_md5
from stages.paths import PREPARED
from stages.tracking.record import MODEL_MD5, logged_model
from stages.tracking.store import connect, search_runs, store_lock

ALIAS = "champion"
# Tag of a run: whether its model reached gate.minimum_accuracy, "passed" or "missed".
GATE = "gate"


def choose_champion(info: DatasetInfo) -> None:
    """Give the alias to the model with the best validation accuracy on the prepared data that lie here.

    Models that missed the gate and those of experiments do not take part; where none is left the alias goes, if it was
    on one of these data. An experiment changes nothing. Raises what MLflow raises.
    """
    if os.environ.get("DVC_EXP_NAME"):
        return
    client = connect().MlflowClient()
    data_md5 = folder_md5(PREPARED)
    with store_lock():
        champion = _champion(client, info.dataset)
        best = _best(data_md5)
        if best is None:
            if champion and champion.tags.get("dvc.data_md5") == data_md5:
                client.delete_registered_model_alias(info.dataset, ALIAS)
            return
        if champion and champion.run_id == best.info.run_id:
            return
        version = _version(client, info.dataset, best) or _register(client, info.dataset, best)
        if version:
            client.set_registered_model_alias(info.dataset, ALIAS, version.version)


def _best(data_md5: str) -> Any:
    """Return the run of the best model, the oldest of equals, or None."""
    runs = search_runs(
        f"attributes.status = 'FINISHED' AND tags.`{MODEL_MD5}` LIKE '%' AND tags.`dvc.data_md5` = '{data_md5}' "
        f"AND tags.`{GATE}` = 'passed'",
        order="attributes.start_time ASC",
    )
    taking_part = [run for run in runs if "dvc.experiment" not in run.data.tags and "val_accuracy" in run.data.metrics]
    return max(taking_part, key=lambda run: run.data.metrics["val_accuracy"], default=None)


def _champion(client: Any, name: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, ALIAS)
    except MlflowException:
        return None


def _version(client: Any, name: str, run: Any) -> Any:
    found = client.search_model_versions(f"name = '{name}' AND run_id = '{run.info.run_id}'")
    return found[0] if found else None


def _register(client: Any, name: str, run: Any) -> Any:
    """Return a new version of the model, or None where somebody has deleted it from MLflow."""
    model = logged_model(run)
    if model is None:
        return None
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name, description=f"The best models of {name}: raw images in, class probabilities out."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    metrics = run.data.metrics
    return client.create_model_version(
        name,
        source=f"models:/{model.model_id}",
        run_id=run.info.run_id,
        model_id=model.model_id,
        description=f"{run.info.run_name}: validation accuracy {metrics['val_accuracy']:.4f}, "
        f"test accuracy {metrics['test_accuracy']:.4f}",
        tags={
            "dvc.stage": run.data.tags["dvc.stage"],
            MODEL_MD5: run.data.tags[MODEL_MD5],
            "dvc.data_md5": run.data.tags["dvc.data_md5"],
            **({"git.commit": run.data.tags["git.commit"]} if "git.commit" in run.data.tags else {}),
        },
    )
