"""The metrics and figures of `evaluate` in the run that made the model."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stages.fingerprints import file_md5
from stages.tracking.champion import GATE, REPEAT_OF
from stages.tracking.identity import EPOCH_BY_EPOCH, EVALUATION, LOGGED_ARTIFACTS, LOGGED_IMAGES, log_latest
from stages.tracking.record import SYSTEM
from stages.tracking.store import connect, search_runs

SIDE_BY_SIDE = ("confusion_matrix", "mistakes", "reliability")
PREDICTIONS = "predictions.json"
# The longer side of an image in MLflow's lists, as MLflow itself makes it.
THUMBNAIL = 256


def publish_evaluation(run: Any, record: Path, evaluation: dict[str, Any], time: int) -> bool:
    """Add the metrics and figures to the run; return whether they were missing."""
    client, run_id = connect().MlflowClient(), run.info.run_id
    if run.data.tags.get(EVALUATION) == evaluation["md5"]:
        return False
    metrics = dict(evaluation["metrics"])
    gate = "passed" if metrics.pop("gate_passed") else "missed"
    # The run's tag "calibration" says it.
    metrics.pop("val_loss_fitted", None)
    log_latest(run, metrics | evaluation["seconds"], time)
    _log_figures(run_id, record / "files/evaluation")
    client.set_tag(run_id, GATE, gate)
    # Last, so that an evaluation that broke off is published again.
    client.set_tag(run_id, EVALUATION, evaluation["md5"])
    return True


def complete_repeats(run_id: str) -> bool:
    """Give the metrics of an evaluated run to those that repeat it, and return whether any lacked them.

    They made the same model, which is not measured again. Times and the use of the machine are a run's own.
    """
    first = connect().MlflowClient().get_run(run_id)
    if EVALUATION not in first.data.tags:
        return False
    metrics = {
        name: value
        for name, value in first.data.metrics.items()
        if not (name.startswith(SYSTEM) or name.endswith("_seconds"))
    }
    completed = False
    for repeat in search_runs(f"tags.`{REPEAT_OF}` = '{run_id}'"):
        own = repeat.data.metrics.keys() - EPOCH_BY_EPOCH
        new = {name: value for name, value in metrics.items() if name not in own}
        completed |= log_latest(repeat, new, repeat.info.end_time)
    return completed


def _log_figures(run_id: str, figures: Path) -> None:
    """Log the files, and what MLflow's pages lay side by side across runs: images and a table of the predictions."""
    import pandas as pd

    client = connect().MlflowClient()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(figures, name, dirs_exist_ok=True))
        (folder / "images").mkdir()
        for key in SIDE_BY_SIDE:
            _add_image(figures / f"{key}.png", key, folder / "images")
        # A class may be called "NA" or "01".
        pairs = pd.read_csv(figures / "confusion_matrix.csv", dtype=str, keep_default_na=False)
        pairs = pairs.rename_axis("image").reset_index()
        pairs["right"] = pairs["actual"] == pairs["predicted"]
        # MLflow's page groups by the first column and compares the second.
        pairs = pairs[["image", "predicted", "actual", "right"]]
        # Not log_table: it appends to the table of an earlier evaluation.
        pairs.to_json(folder / PREDICTIONS, orient="split", index=False)
        client.log_artifacts(run_id, name)
    client.set_tag(run_id, LOGGED_IMAGES, "true")
    client.set_tag(run_id, LOGGED_ARTIFACTS, json.dumps([{"path": PREDICTIONS, "type": "table"}]))


def _add_image(path: Path, key: str, folder: Path) -> None:
    """Write what MLflow's log_image would, but for the random part of its names: published twice, it is there once."""
    from PIL import Image

    name = f"{key}+step+0+timestamp+{path.stat().st_mtime_ns // 1_000_000}+{file_md5(path)}"
    shutil.copyfile(path, folder / f"{name}.png")
    with Image.open(path) as image:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        image.save(folder / f"{name}+compressed.webp")
