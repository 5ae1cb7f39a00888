"""The parts of the project, and the results of a run in a clone."""

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import psutil
from ruamel.yaml import YAML

from tests.conftest import Clone

# Nothing listens on port 9: with it as the proxy no public mirror can be reached, on any machine.
OFFLINE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
OFFLINE |= {"DATA_MIRROR": "", "NO_PROXY": "", "no_proxy": ""}
MODELS = {"mlp": "mlp", "cnn": "cnn", "random_forest": "random-forest"}
STAGES = ["download", "preprocess", "explore", "train-mlp", "train-cnn", "train-random-forest", "evaluate"]

# A pipeline of one stage, which DVC runs as it runs all the others.
ONE_STAGE = """
stages:
  evaluate:
    cmd: python measure.py
    params: [{params}]
    metrics:
      - reports/metrics.json: {{cache: false, persist: true}}
"""


def processes_in(folder: Path) -> list[psutil.Process]:
    """All that works in the folder, or below it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_until(true: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.05)


def measured_by(clone: Clone, script: str, params: str) -> None:
    """Have `script`, which writes reports/metrics.json by these `params`, in place of all stages, and commit a run."""
    (clone.folder / "measure.py").write_text(script)
    (clone.folder / "dvc.yaml").write_text(ONE_STAGE.format(params=params))
    clone.run("dvc", "repro")
    clone.commit("measured")


def ran(output: str) -> list[str]:
    """The stages whose command ran, from the console of `dvc repro`."""
    return re.findall(r"Running stage '([\w-]+)'", output)


def restored(output: str) -> list[str]:
    return re.findall(r"Stage '([\w-]+)' is cached - skipping run", output)


def metrics(clone: Clone) -> dict:
    return json.loads((clone.folder / "reports/metrics.json").read_text())


def client(clone: Clone) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{clone.folder / 'mlflow.db'}")


def runs(clone: Clone, experiment: str = "digits") -> dict[str, list]:
    """The MLflow runs by name, newest first."""
    found = client(clone).get_experiment_by_name(experiment)
    by_name: dict[str, list] = {}
    for run in client(clone).search_runs([found.experiment_id], order_by=["start_time DESC"]):
        by_name.setdefault(run.info.run_name, []).append(run)
    return by_name


def locked(clone: Clone, stage: str) -> dict[str, str]:
    """The md5 of each output of `stage` in dvc.lock."""
    lock = YAML(typ="safe").load(clone.folder / "dvc.lock")
    return {out["path"]: out["md5"] for out in lock["stages"][stage]["outs"]}
