"""The figures of `evaluate` in the runs that made the models, and the runs themselves where there are none.

Everything is read from the files that DVC and Git keep, so that MLflow can be filled again at any time.
"""

import hashlib
import json
import time
from math import isclose, nan
from pathlib import Path
from typing import Any

from stages.dataset.prepared import About
from stages.fingerprints import file_md5
from stages.lifetime import interrupts_deferred
from stages.models import ALL_MODELS, Model
from stages.params import load_params, locked_params
from stages.paths import COMPARISON, METRICS
from stages.tracking.abandoned import close_abandoned_runs, left_here
from stages.tracking.champion import GATE, choose_champion
from stages.tracking.record import NOTE, close_record, find_run, open_record, record_files
from stages.tracking.store import connect, store_lock

EVALUATION = "dvc.evaluation_md5"
RESTORED = "dvc.restored"
# Relative: in an evaluation, which sums in another order than a training, a value differs by less.
SAME = 1e-6
EPOCH_BY_EPOCH = ("val_accuracy", "val_loss")
SIDE_BY_SIDE = ("confusion_matrix", "mistakes", "reliability")
PREDICTIONS = "predictions.json"
# By this tag MLflow's pages know that an artifact is a table.
LOGGED_ARTIFACTS = "mlflow.loggedArtifacts"


def record_evaluations(about: About, seconds: dict[str, dict[str, float]] | None = None) -> int:
    """Add what reports/ says of each model, once, to the run that made it; make the run where there is none.

    `seconds` are measured times by model and name, which no file has. The champion of the data set is chosen anew.
    Return how many runs were made or added to. Raises what MLflow raises.
    """
    with left_here():
        close_abandoned_runs()
        metrics = json.loads(METRICS.read_text())
        done = 0
        for model in ALL_MODELS:
            with interrupts_deferred():
                done += _record(model, metrics[model.name], (seconds or {}).get(model.name, {}), about)
        with interrupts_deferred():
            choose_champion(about)
        return done


def _record(model: Model, metrics: dict[str, float], seconds: dict[str, float], about: About) -> bool:
    mlflow = connect()
    client = mlflow.MlflowClient()
    with store_lock():
        known = find_run(file_md5(model.file))
        run = client.get_run(known.info.run_id if known else _restore(model, about))
        run_id = run.info.run_id
        artifacts = [*sorted(model.reports.iterdir()), COMPARISON]
        digest = _digest(metrics, artifacts)
        if run.data.tags.get(EVALUATION) == digest:
            return False
        figures = {key: value for key, value in metrics.items() if key != "gate_passed"}
        _log_metrics(client, run, {**figures, **seconds})
        for path in artifacts:
            client.log_artifact(run_id, str(path))
        _log_for_side_by_side(client, run_id, model)
        client.set_tag(run_id, GATE, "passed" if metrics["gate_passed"] else "missed")
        # Last, so that an evaluation that broke off is sent again.
        client.set_tag(run_id, EVALUATION, digest)
    return True


def _log_metrics(client: Any, run: Any, values: dict[str, float]) -> None:
    """Make `values` the latest of the run."""
    mlflow = connect()
    run_id, known = run.info.run_id, run.data.metrics
    logged = run.outputs.model_outputs if run.outputs else []
    model_id = logged[-1].model_id if logged else None
    step = max((output.step for output in logged), default=0)
    now = int(time.time() * 1000)
    new = {key: value for key, value in values.items() if not isclose(value, known.get(key, nan), rel_tol=SAME)}
    # A model that averages over shifted images has other values than the network that was validated in each epoch.
    after = {
        key: 1 + max(point.step for point in client.get_metric_history(run_id, key))
        for key in EPOCH_BY_EPOCH
        if key in new and key in known
    }
    client.log_batch(
        run_id,
        metrics=[
            mlflow.entities.Metric(key, value, now, after.get(key, step), model_id=model_id, run_id=run_id)
            for key, value in new.items()
        ],
    )


def _log_for_side_by_side(client: Any, run_id: str, model: Model) -> None:
    """Log what MLflow's pages lay side by side across runs: images under a key, and a table of the predictions."""
    import pandas as pd
    from PIL import Image

    for key in SIDE_BY_SIDE:
        with Image.open(model.reports / f"{key}.png") as image:
            client.log_image(run_id, image, key=key, step=0)
    pairs = pd.read_csv(model.reports / "confusion_matrix.csv").rename_axis("image").reset_index()
    pairs["right"] = pairs["actual"] == pairs["predicted"]
    # MLflow's page groups by the first column and compares the second.
    pairs = pairs[["image", "predicted", "actual", "right"]]
    # Not log_table: it appends to the table of an earlier evaluation.
    client.log_text(run_id, pairs.to_json(orient="split", index=False), PREDICTIONS)
    client.set_tag(run_id, LOGGED_ARTIFACTS, json.dumps([{"path": PREDICTIONS, "type": "table"}]))


def _restore(model: Model, about: About) -> str:
    """Make the run of a model that was not trained here: from DVC's cache or remote, or under another store."""
    mlflow = connect()
    # Those that made the model, also where params.yaml has been edited since.
    view = locked_params(model.view, model.stage, file_md5(model.file)) or load_params(model.view)
    params = view.resolved()
    try:
        run_id = open_record(model, params, about)
        if model.history:
            import pandas as pd

            for row in pd.read_csv(model.history).to_dict("records"):
                mlflow.log_metrics(row, step=int(row.pop("epoch")))
        record_files(model, params, about)
        note = "Made from the files that DVC keeps: the model was not trained here, or under another store."
        mlflow.set_tags({RESTORED: "true", NOTE: note})
        close_record(model, run_id)
        return run_id
    except BaseException:
        _take_back()
        raise


def _take_back() -> None:
    mlflow = connect()
    if run := mlflow.active_run():
        mlflow.end_run("FAILED")
        mlflow.MlflowClient().delete_run(run.info.run_id)


def _digest(metrics: dict[str, float], artifacts: list[Path]) -> str:
    content: list[Any] = [metrics, [file_md5(path) for path in artifacts]]
    return hashlib.md5(json.dumps(content, sort_keys=True).encode()).hexdigest()
