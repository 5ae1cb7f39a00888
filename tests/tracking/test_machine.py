"""The use of the machine reaches the record of a training that goes on, whatever becomes of MLflow or the training."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

from stages.tracking import machine
from stages.tracking import record as records
from stages.tracking.beside import publishing
from stages.tracking.publish import publish_all
from tests.conftest import PROJECT
from tests.tracking.conftest import published, training

# A training that goes on until it is killed.
TRAIN = """
import time
from stages.tracking import record as records
from stages.tracking.beside import publishing
from tests.tracking.conftest import training

with publishing():
    training(status=records.RUNNING, end_time=None)
    time.sleep(600)
"""


def of_the_machine(record: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list] = {}
    for _, step, name, value in records.metrics(record):
        if name.startswith(records.SYSTEM):
            found.setdefault(name, []).append((step, value))
    return found


def wait_for_some(folder: Path) -> Path:
    for _ in range(600):
        for record in folder.glob(f"{records.FOLDER}/*-*/metrics.csv"):
            if any(len(points) > 1 for points in of_the_machine(record.parent).values()):
                return record.parent
        time.sleep(0.1)
    pytest.fail("nothing was recorded")


def test_without_a_store_it_is_recorded_under_the_names_of_mlflow(clone, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with publishing():
        ended = training()
        record = training(status=records.RUNNING, end_time=None)
        assert wait_for_some(clone) == record
        records.update(record, status=records.KILLED, end_time=records.now())
    found = of_the_machine(record)
    monitor = CPUMonitor()
    monitor.collect_metrics()
    # Of a machine with a GPU there is more.
    assert found.keys() >= {f"system/{name}" for name in monitor.metrics}
    assert [step for step, _ in found["system/cpu_utilization_percentage"]][:2] == [0, 1]
    assert all(0 <= value <= 100 for _, value in found["system/system_memory_usage_percentage"])
    assert of_the_machine(ended) == {}


@pytest.mark.long
def test_a_killed_training_keeps_what_was_recorded(clone):
    process = subprocess.Popen((sys.executable, "-c", TRAIN), env={**os.environ, "PYTHONPATH": str(PROJECT)})
    try:
        record = wait_for_some(clone)
    finally:
        process.kill()
        process.wait()
    for _ in range(600):
        if not record.exists():
            break
        time.sleep(0.1)
    publish_all(records.waiting())
    (run,) = published()
    assert run["status"] == "KILLED"
    assert len(run["metrics"]["system/cpu_utilization_percentage"]) >= 2
    assert len(run["metrics"]["val_loss"]) == 3


def test_a_gpu_has_the_names_and_units_of_mlflow(monkeypatch):
    """With a library that says what NVIDIA's does: no machine of the tests has a GPU."""
    gpu = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda gpu: SimpleNamespace(used=20e9, total=80e9),
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=93),
        nvmlDeviceGetPowerUsage=lambda gpu: 350_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda gpu: 700_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", gpu)
    monkeypatch.setattr("mlflow.system_metrics.metrics.gpu_monitor.pynvml", gpu, raising=False)
    monitor = GPUMonitor()
    monitor.collect_metrics()
    assert machine._gpu(machine._gpus()) == monitor.aggregate_metrics()
