"""Runs that a process left open because it ended without a word: kill -9, out of memory, a power cut."""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from stages.errors import without_credentials
from stages.lifetime import is_running
from stages.provenance import main_repository
from stages.tracking.store import connect, first_line, search_runs, start_store, tracking_uri

HOST = "process.host"
PROCESS = "process.id"
STARTED = "process.started"


def process_tags() -> dict[str, str]:
    """Return the tags that tell later whether the process that has a run open is still there."""
    return {HOST: platform.node(), PROCESS: str(os.getpid()), STARTED: f"{_started(psutil.Process()):.0f}"}


@contextmanager
def left_here() -> Iterator[None]:
    """Leave a mark in .dvc/tmp for as long as runs may be open, so that a later start need not ask MLflow."""
    tags = process_tags()
    mark = _marks() / f"{tags[PROCESS]}-{tags[STARTED]}"
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        # A read-only file system: the next training finds the run all the same.
        pass
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def close_runs_left_here() -> None:
    """Close the runs of processes that are gone, if there is a mark of any; else MLflow is not even imported."""
    marks = [mark for mark in _marks().glob("*") if re.fullmatch(r"\d+-\d+", mark.name)]
    left = [mark for mark in marks if _is_gone(*mark.name.split("-"))]
    if not left:
        return
    try:
        close_abandoned_runs()
    except Exception as error:
        where = without_credentials(tracking_uri())
        print(f"warning: MLflow ({where}): runs of a killed process are still open: {first_line(error)}", flush=True)
        return
    for mark in left:
        mark.unlink(missing_ok=True)


def close_abandoned_runs() -> None:
    """End as KILLED what a process of this host, no longer there, left RUNNING in the store."""
    # Several processes that meet a fresh database at once break it.
    start_store()
    for run in search_runs(f"attributes.status = 'RUNNING' AND tags.`{HOST}` = '{platform.node()}'"):
        if _is_gone(run.data.tags.get(PROCESS, ""), run.data.tags.get(STARTED, "")):
            client = connect().MlflowClient()
            client.set_tag(run.info.run_id, "failure", "its process ended without a word: killed, or out of memory")
            client.set_terminated(run.info.run_id, "KILLED", end_time=_last_sign(run))


def _is_gone(process_id: str, started: str) -> bool:
    if not (process_id.isdigit() and started.isdigit()):
        return False
    try:
        process = psutil.Process(int(process_id))
        # Another process may have got the number meanwhile.
        return not is_running(process) or abs(_started(process) - float(started)) > 2
    except psutil.NoSuchProcess:
        return True


def _started(process: psutil.Process) -> float:
    """Return when `process` started, in seconds after the boot: setting the clock does not change that."""
    return process.create_time() - psutil.boot_time()


def _last_sign(run: Any) -> int:
    """Return the time, in milliseconds, of the last epoch that was recorded, else that of the start."""
    points = connect().MlflowClient().get_metric_history(run.info.run_id, "train_loss")
    return max((point.timestamp for point in points), default=run.info.start_time)


def _marks() -> Path:
    return main_repository() / ".dvc" / "tmp" / "mlflow-open-runs"
