"""The figures of `evaluate` in the runs that made the models, and the runs themselves where there are none.

Everything is read from the files that DVC and Git keep, so that MLflow can be filled again at any time.
"""

import hashlib
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from math import isclose, nan
from pathlib import Path
from typing import Any

from stages.dataset.prepared import DatasetInfo, load_split
from stages.fingerprints import file_md5
from stages.learners.models import ALL_MODELS, Model
from stages.params.views import load_params, locked_params
from stages.paths import COMPARISON, METRICS, REPORTS
from stages.tracking import outbox
from stages.tracking.champion import GATE, choose_champion
from stages.tracking.courier import courier
from stages.tracking.delivery import deliver
from stages.tracking.record import NOTE, find_run, kept_epoch, logged_model, model_event, start_event
from stages.tracking.store import connect, store_lock

EVALUATION = "dvc.evaluation_md5"
RESTORED = "dvc.restored"
# Relative: in an evaluation, which sums in another order than a training, a value differs by less.
SAME = 1e-6
EPOCH_BY_EPOCH = ("val_accuracy", "val_loss")
SIDE_BY_SIDE = ("confusion_matrix", "mistakes", "reliability")
PREDICTIONS = "predictions.json"
# By these tags MLflow's pages know that there are images, and that an artifact is a table.
LOGGED_IMAGES = "mlflow.loggedImages"
LOGGED_ARTIFACTS = "mlflow.loggedArtifacts"
# The longer side of an image in MLflow's lists, as MLflow itself makes it.
THUMBNAIL = 256


def send_evaluations(info: DatasetInfo, seconds: dict[str, dict[str, float]]) -> bool:
    """Have MLflow told what reports/ says, and return whether it has taken it; if not, it will be told later.

    `seconds` are measured times by model and name, which no file has.
    """
    models = {model.name: file_md5(model.file) for model in ALL_MODELS}
    with courier():
        entry = None
        try:
            entry = outbox.open_entry(outbox.REPORTS)
            # Later there may be other reports, on other models.
            shutil.copytree(REPORTS, outbox.files(entry), ignore=_of_no_model)
            outbox.add(entry, outbox.END, info=asdict(info), seconds=seconds, models=models)
        except OSError as error:
            if entry:
                outbox.remove(entry)
            print(
                f"warning: {outbox.FOLDER}: cannot be written ({error.strerror or 'no space, or no right to'}): "
                "MLflow does not have these figures; uv run mnist publish sends them",
                file=sys.stderr,
                flush=True,
            )
            return False
    return not entry.exists()


def _of_no_model(folder: str, names: list[str]) -> set[str]:
    ours = {METRICS.name, COMPARISON.name, *(model.reports.name for model in ALL_MODELS)}
    return set(names) - ours if Path(folder) == REPORTS else set()


def record_evaluations(info: DatasetInfo) -> int:
    """Add what reports/ says of each model, once, to the run that made it; make the run where there is none.

    The champion of the data set is chosen anew. Return how many runs were made or added to. Raises what MLflow raises.
    """
    return record_reports(REPORTS, {model.name: file_md5(model.file) for model in ALL_MODELS}, info, {})


def record_reports(
    reports: Path, models: dict[str, str], info: DatasetInfo, seconds: dict[str, dict[str, float]]
) -> int:
    """Do so with the `reports`, perhaps of earlier, on the `models` (md5 by name) that there were; add the `seconds`.

    A model whose run is not there, and whose file is gone, is passed over. Raises `RuntimeError` once all others are
    done where MLflow does not have a training yet that the outbox holds.
    """
    metrics = json.loads((reports / METRICS.name).read_text())
    done, waiting = 0, []
    for model in ALL_MODELS:
        artifacts = [*sorted((reports / model.name).iterdir()), reports / COMPARISON.name]
        md5 = models[model.name]
        with store_lock():
            run = find_run(md5)
            if run is None and outbox.holds(md5):
                # Its training has not been sent, or not in whole: another run would be one too many.
                waiting.append(model.run_name)
                continue
            if run is None and model.file.is_file() and file_md5(model.file) == md5:
                run = _restore(model, info)
            if run:
                done += _record(run, metrics[model.name], seconds.get(model.name, {}), artifacts)
    choose_champion(info)
    if waiting:
        raise RuntimeError(f"the training of {', '.join(waiting)} is not there yet")
    return done


def _record(run: Any, metrics: dict[str, float], seconds: dict[str, float], artifacts: list[Path]) -> bool:
    client, run_id = connect().MlflowClient(), run.info.run_id
    digest = _digest(metrics, artifacts)
    if run.data.tags.get(EVALUATION) == digest:
        return False
    figures = {key: value for key, value in metrics.items() if key != "gate_passed"}
    _log_metrics(client, run, {**figures, **seconds})
    _log_artifacts(client, run_id, artifacts)
    client.set_tag(run_id, GATE, "passed" if metrics["gate_passed"] else "missed")
    # Last, so that an evaluation that broke off is sent again.
    client.set_tag(run_id, EVALUATION, digest)
    return True


def _log_metrics(client: Any, run: Any, values: dict[str, float]) -> None:
    """Make `values` the latest of the run."""
    mlflow = connect()
    run_id, known = run.info.run_id, run.data.metrics
    logged = run.outputs.model_outputs if run.outputs else []
    model = logged_model(run)
    model_id = model.model_id if model else None
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


def _log_artifacts(client: Any, run_id: str, artifacts: list[Path]) -> None:
    """Log the files, and what MLflow's pages lay side by side across runs: images and a table of the predictions."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        for path in artifacts:
            shutil.copyfile(path, Path(folder) / path.name)
        (Path(folder) / "images").mkdir()
        for key in SIDE_BY_SIDE:
            _add_image(artifacts[0].with_name(f"{key}.png"), key, Path(folder) / "images")
        pairs = pd.read_csv(artifacts[0].with_name("confusion_matrix.csv")).rename_axis("image").reset_index()
        pairs["right"] = pairs["actual"] == pairs["predicted"]
        # MLflow's page groups by the first column and compares the second.
        pairs = pairs[["image", "predicted", "actual", "right"]]
        # Not log_table: it appends to the table of an earlier evaluation.
        pairs.to_json(Path(folder) / PREDICTIONS, orient="split", index=False)
        client.log_artifacts(run_id, folder)
    client.set_tag(run_id, LOGGED_IMAGES, "true")
    client.set_tag(run_id, LOGGED_ARTIFACTS, json.dumps([{"path": PREDICTIONS, "type": "table"}]))


def _add_image(path: Path, key: str, folder: Path) -> None:
    """Write what MLflow's log_image would, but for the random part of its names: sent twice, it is there once."""
    from PIL import Image

    name = f"{key}+step+0+timestamp+{path.stat().st_mtime_ns // 1_000_000}+{file_md5(path)}"
    shutil.copyfile(path, folder / f"{name}.png")
    with Image.open(path) as image:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        image.save(folder / f"{name}+compressed.webp")


def _restore(model: Model, info: DatasetInfo) -> Any:
    """Make the run of a model that was not trained here: from DVC's cache or remote, or under another store."""
    md5 = file_md5(model.file)
    # Those that made the model, also where params.yaml has been edited since.
    view = locked_params(model.view, model.stage, md5) or load_params(model.view)
    params = view.resolved()
    start = start_event(model, params, info, load_split("train"))
    note = "Made from the files that DVC keeps: the model was not trained here, or under another store."
    start["tags"] |= {RESTORED: "true", NOTE: note}
    entry = outbox.open_entry(outbox.START, **start)
    if model.history:
        import pandas as pd

        for row in pd.read_csv(model.history).to_dict("records"):
            outbox.add(entry, outbox.VALUES, step=int(row.pop("epoch")), metrics=row)
        outbox.add(entry, outbox.VALUES, **kept_epoch(model.history, best=params["weights"] == "best"))
    outbox.add(entry, outbox.MODEL, **model_event(model))
    outbox.add(entry, outbox.END, status="FINISHED", reason="")
    deliver(entry)
    return find_run(md5)


def _digest(metrics: dict[str, float], artifacts: list[Path]) -> str:
    content: list[Any] = [metrics, [file_md5(path) for path in artifacts]]
    return hashlib.md5(json.dumps(content, sort_keys=True).encode()).hexdigest()
