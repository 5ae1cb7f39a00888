"""One model, one run: the md5 of a model is the tag of exactly one run, and all others of the same bytes repeat it."""

import tempfile
from math import isclose, nan
from typing import Any

from stages.learners.models import ALL_MODELS
from stages.tracking.champion import GATE, MODEL_MD5, REPEAT_OF, choose_champion, logged_model
from stages.tracking.notes import add_note
from stages.tracking.store import NEWEST, connect, first_run, search_runs
from stages.tracking.trial import NUMBER, RUN_TAGS, SWEEP

# Tag of a run: the md5 of the metrics and figures of its evaluation.
EVALUATION = "dvc.evaluation_md5"
# Relative: in an evaluation, which sums in another order than a training, a value differs by less.
SAME = 1e-6
EPOCH_BY_EPOCH = {"val_accuracy", "val_loss"}
# By these tags MLflow's pages know that there are images, and that an artifact is a table.
LOGGED_IMAGES, LOGGED_ARTIFACTS = "mlflow.loggedImages", "mlflow.loggedArtifacts"


def standing_run(model_md5: str) -> Any:
    """Return the run that stands for the model, or None; call it under `store_lock`.

    Two machines on one server have no common lock, and both may have tagged a run: the earliest by start, then by id,
    stands for the model, and the others become its repeats.
    """
    first, *later = [*search_runs(f"tags.`{MODEL_MD5}` = '{model_md5}'")] or [None]
    for run in later:
        _make_repeat(run, first)
    return connect().MlflowClient().get_run(first.info.run_id) if later else first


def tag_trial(run: Any, tags: dict[str, str]) -> None:
    """Have the run carry the `tags` of a trial that made its model; call it under `store_lock`.

    A run stays the trial that it was in the same sweep; that of another sweep becomes one of this.
    """
    known, run_id = run.data.tags, run.info.run_id
    if NUMBER in known and known.get(SWEEP) == tags.get(SWEEP):
        return
    for name in RUN_TAGS:
        if name in tags:
            connect().MlflowClient().set_tag(run_id, name, tags[name])
        elif name in known:
            _delete_tag(run_id, name)


def latest_runs() -> tuple[list[str], str] | None:
    """Return the newest finished run of each model on the data set used last, and the experiment.

    All are ids; None where there is no such run.
    """
    finished = f"attributes.status = 'FINISHED' AND tags.`{MODEL_MD5}` IS NOT NULL"
    newest = first_run(finished, NEWEST)
    if newest is None:
        return None
    experiment = newest.info.experiment_id
    stages = (f"{finished} AND tags.`dvc.stage` = '{model.stage}'" for model in ALL_MODELS)
    found = [first_run(condition, NEWEST, experiment=experiment) for condition in stages]
    return [run.info.run_id for run in found if run], experiment


def log_metrics(run_id: str, metrics: list[tuple[int, int, str, float]], model: Any = None) -> None:
    """Log metrics (time, step, name, value), of the run and its `model`; MLflow drops those that it has already."""
    mlflow = connect()
    model_id = model and model.model_id
    for start in range(0, len(metrics), 1000):
        entities = [
            mlflow.entities.Metric(name, value, time, step, model_id=model_id, run_id=model_id and run_id)
            for time, step, name, value in metrics[start : start + 1000]
        ]
        mlflow.MlflowClient().log_batch(run_id, metrics=entities)


def log_latest(run: Any, values: dict[str, float], time: int) -> bool:
    """Make `values` the latest of the run and of its model, and return whether they were not."""
    client, run_id, known = connect().MlflowClient(), run.info.run_id, run.data.metrics
    step = max((output.step for output in run.outputs.model_outputs), default=0) if run.outputs else 0
    new = {name: value for name, value in values.items() if not isclose(value, known.get(name, nan), rel_tol=SAME)}
    # A model that averages over shifted images has other values than the network that was validated in each epoch.
    after = {
        name: 1 + max(point.step for point in client.get_metric_history(run_id, name))
        for name in EPOCH_BY_EPOCH
        if name in new and name in known
    }
    points = [(time, after.get(name, step), name, value) for name, value in new.items()]
    if points:
        log_metrics(run_id, points, logged_model(run))
    return bool(points)


def _make_repeat(run: Any, first: Any) -> None:
    """Tie `run` to the `first` one of the same bytes, which gets its evaluation and the alias of the registry."""
    client, run_id, first_id = connect().MlflowClient(), run.info.run_id, first.info.run_id
    tags = run.data.tags
    if EVALUATION in tags:
        _copy_evaluation(run, client.get_run(first_id))
        # Of equals the earliest is the champion.
        choose_champion(client.get_experiment(run.info.experiment_id).name, tags["dvc.data_md5"])
    for repeat in [run, *search_runs(f"tags.`{REPEAT_OF}` = '{run_id}'")]:
        sentence = "A repeat of run {}: it made the same model, byte for byte."
        add_note(repeat.info.run_id, sentence.format(first_id), instead_of=sentence.format("[0-9a-f]+"))
        client.set_tag(repeat.info.run_id, REPEAT_OF, first_id)
    # The md5 last, so that all of it is done again where it broke off.
    for tag in (GATE, EVALUATION, MODEL_MD5):
        if tag in tags:
            _delete_tag(run_id, tag)


def _delete_tag(run_id: str, tag: str) -> None:
    """Delete the tag, if it is still there: another machine may be making the same run a repeat."""
    client = connect().MlflowClient()
    try:
        client.delete_tag(run_id, tag)
    except Exception:
        if tag in client.get_run(run_id).data.tags:
            raise


def _copy_evaluation(run: Any, first: Any) -> None:
    client, first_id = connect().MlflowClient(), first.info.run_id
    if EVALUATION in first.data.tags:
        return
    own = first.data.metrics.keys() - EPOCH_BY_EPOCH
    log_latest(first, {name: value for name, value in run.data.metrics.items() if name not in own}, run.info.end_time)
    known = {file.path for file in client.list_artifacts(first_id)}
    with tempfile.TemporaryDirectory() as folder:
        for file in client.list_artifacts(run.info.run_id):
            if file.path not in known:
                path = client.download_artifacts(run.info.run_id, file.path, folder)
                if file.is_dir:
                    client.log_artifacts(first_id, path, file.path)
                else:
                    client.log_artifact(first_id, path)
    # The md5 of the evaluation last, as above.
    for tag in (LOGGED_IMAGES, LOGGED_ARTIFACTS, GATE, EVALUATION):
        client.set_tag(first_id, tag, run.data.tags[tag])
