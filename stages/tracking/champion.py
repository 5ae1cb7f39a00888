"""The best model of a data set, in MLflow's registry under the alias "champion"."""

from typing import Any

from stages.tracking.store import OLDEST, connect, first_run, search_runs, store_lock

ALIAS = "champion"
# Tags of a run: the md5 that dvc.lock has for its model, and whether that reached gate.minimum_accuracy, "passed" or
# "missed".
MODEL_MD5, GATE = "dvc.model_md5", "gate"
# The experiment of DVC that made it, and "true" once its model was in the workspace, as by `dvc exp apply`.
EXPERIMENT, APPLIED = "dvc.experiment", "dvc.applied"
# The run that a run repeats: it made the same model, byte for byte.
REPEAT_OF = "dvc.repeat_of"
# A version in the registry has these tags of its run.
KEPT_TAGS = ("dvc.stage", MODEL_MD5, "git.commit")


def choose_champion(dataset: str, data_md5: str) -> None:
    """Give the alias to the model with the best validation accuracy on the prepared data with that md5.

    Models that missed the gate and those of experiments that were not applied do not take part; where none is left the
    alias goes, if it was on one of these data. Raises what MLflow raises.
    """
    client = connect().MlflowClient()
    from mlflow.exceptions import MlflowException

    with store_lock():
        try:
            champion = client.get_model_version_by_alias(dataset, ALIAS)
        except MlflowException:
            champion = None
        best = _best_run(client, data_md5)
        if best is None and champion and champion.tags.get("dvc.data_md5") == data_md5:
            client.delete_registered_model_alias(dataset, ALIAS)
        if best and not (champion and champion.run_id == best.info.run_id):
            known = client.search_model_versions(f"name = '{dataset}' AND run_id = '{best.info.run_id}'")
            version = known[0] if known else _register(client, dataset, data_md5, best)
            if version:
                client.set_registered_model_alias(dataset, ALIAS, version.version)


def _best_run(client: Any, data_md5: str) -> Any:
    """Return the run of the best model on the prepared data with that md5, or None."""
    order = ("metrics.val_accuracy DESC", OLDEST)
    finished = f"attributes.status = 'FINISHED' AND tags.`dvc.data_md5` = '{data_md5}'"
    passed = f"{finished} AND tags.`{MODEL_MD5}` IS NOT NULL AND tags.`{GATE}` = 'passed' AND metrics.val_accuracy >= 0"
    of_no_experiment = f"tags.`{EXPERIMENT}` IS NULL"
    found = [first_run(f"{passed} AND {each}", *order) for each in (of_no_experiment, f"tags.`{APPLIED}` = 'true'")]
    best = max(
        filter(None, found), key=lambda run: (run.data.metrics["val_accuracy"], -run.info.start_time), default=None
    )
    # Its model may be that of a run on other data, or of an experiment; no repeat on the same data is better.
    above = best.data.metrics["val_accuracy"] if best else -1
    repeats = f"{finished} AND {of_no_experiment} AND tags.`{REPEAT_OF}` IS NOT NULL"
    better = f"{repeats} AND metrics.val_accuracy > {above}"
    for repeat in search_runs(better, *order):
        # A run that somebody has deleted is none.
        run = first_run(f"attributes.run_id = '{repeat.data.tags[REPEAT_OF]}' AND tags.`{GATE}` = 'passed'")
        if run:
            return run
    return best


def logged_model(run: Any) -> Any:
    """Return MLflow's model of the run, or None: one that broke off on the way is not READY."""
    return next((model for model in all_logged_models(run) if model.status.value == "READY"), None)


def all_logged_models(run: Any) -> list[Any]:
    condition = f"source_run_id = '{run.info.run_id}'"
    return connect().MlflowClient().search_logged_models([run.info.experiment_id], condition)


def _register(client: Any, name: str, data_md5: str, run: Any) -> Any:
    """Return a new version of the model, or None where somebody has deleted it from MLflow."""
    model = logged_model(run)
    if model is None:
        return None
    from mlflow.exceptions import MlflowException

    words = f"The best models of {name}: raw images in, class probabilities out."
    try:
        client.create_registered_model(name, description=words)
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
        tags={key: value for key, value in run.data.tags.items() if key in KEPT_TAGS} | {"dvc.data_md5": data_md5},
    )
