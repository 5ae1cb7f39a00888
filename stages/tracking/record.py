"""The state of one training that MLflow is to have, on disk until it has all of it.

A record is a folder: `run.json` (replaced whole), `metrics.csv` (appended) and `files/`, with `artifacts/` as MLflow
gets them, the `code/` that trained, and the figures of an `evaluation/`. Its process writes it; `publish` brings MLflow
to that state, while the record grows or long after. The name of the record ends with the name of its process, which
holds a lock as long as it lives.
"""

import csv
import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.process.errors import without_credentials
from stages.process.locks import is_gone, is_name, process_name
from stages.process.provenance import main_repository
from stages.tracking.store import tracking_uri

FOLDER = Path(".dvc/tmp/mlflow-outbox")
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
# Tag of a run whose record was made from DVC's files, and not by the training.
RESTORED = "dvc.restored"
# Every state has these.
KEYS = {"store", "start_time", "status", "tags"}
# MLflow shows metrics of such names on a page of their own: what the machine was doing.
SYSTEM = "system/"
WITHOUT_A_WORD = "its process ended without a word: killed, or out of memory"

Metric = tuple[int, int, str, float]


def create(state: dict[str, Any], fill: Callable[[Path], None] = lambda files: None) -> Path:
    """Make a record with that `state`, and with the files that `fill` puts into its folder for them; return it."""
    record = _folder() / f"{time.time_ns()}-{process_name()}"
    (record / "files").mkdir(parents=True)
    try:
        fill(record / "files")
        # Last: without it the folder is not yet a record.
        _write(record, {"store": _store(), "start_time": now(), "status": RUNNING, "tags": {}, **state})
    except BaseException:
        remove(record)
        raise
    return record


def update(record: Path, **changes: Any) -> None:
    """Replace parts of the state; tags are added to those that there are."""
    state = json.loads((record / "run.json").read_text())
    _write(record, {**state, **changes, "tags": state["tags"] | changes.get("tags", {})})


def append(record: Path, step: int, values: dict[str, float]) -> None:
    """Append metrics that hold now; all of them or, on a full disk, none."""
    lines = "".join(f"{now()},{step},{name},{value!r}\n" for name, value in values.items()).encode()
    descriptor = os.open(record / "metrics.csv", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        written = os.write(descriptor, lines)
        if written < len(lines):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(record))
    finally:
        os.close(descriptor)


def read(record: Path) -> dict[str, Any] | None:
    """Return the state, KILLED where the process is gone without an end; None where it is no record for this store."""
    # In this order: a process may end between the two.
    gone = is_gone(_process(record))
    try:
        state = json.loads((record / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(state, dict) or not state.keys() >= KEYS or state["store"] != _store():
        return None
    if state["status"] == RUNNING and gone:
        times = [state["start_time"], *(time for time, *_ in metrics(record))]
        state |= {"status": KILLED, "reason": WITHOUT_A_WORD, "end_time": max(times)}
    return state


def metrics(record: Path) -> list[Metric]:
    """Return time, step, name and value of the metrics so far, without what a power cut has left of a line."""
    found = []
    try:
        lines = (record / "metrics.csv").read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    for row in csv.reader(line for line in lines if line.endswith("\n")):
        try:
            time, step, name, value = row
            found.append((int(time), int(step), name, float(value)))
        except ValueError:
            continue
    return found


def waiting(*processes: str) -> list[Path]:
    """Return the records for the configured store that are ours to publish: trainings, then evaluations, oldest first.

    Those are of this process, of the `processes` named, and of any that is gone: others see to theirs themselves.
    """
    ours = {process_name(), *processes}
    found = []
    for left in _folder().glob("*.lock"):
        if not left.with_suffix("").exists():
            left.unlink(missing_ok=True)
    for record in _records():
        if _process(record) not in ours and not is_gone(_process(record)):
            continue
        state = read(record)
        if state:
            found.append((is_from_files(state), record))
        elif is_gone(_process(record)) and not (record / "run.json").exists():
            # Its process was killed before there was a state; a living one is still filling it.
            remove(record)
    return [record for _, record in sorted(found)]


def running(process: str) -> list[Path]:
    """Return the records of trainings for the configured store that go on in that process."""
    found = [(record, read(record)) for record in _records() if _process(record) == process]
    return [record for record, state in found if state and state["status"] == RUNNING]


def trains(model_md5: str) -> bool:
    """Return whether a record for the configured store, of whatever process, is of the training of that model."""
    states = [state for record in _records() if (state := read(record)) and not is_from_files(state)]
    return model_md5 in [state["model"]["md5"] for state in states if "model" in state]


def is_from_files(state: dict[str, Any]) -> bool:
    return RESTORED in state["tags"]


def remove(record: Path) -> None:
    # First: the rest of one that is broken off here is no record.
    (record / "run.json").unlink(missing_ok=True)
    shutil.rmtree(record, ignore_errors=True)
    lock(record).unlink(missing_ok=True)


def lock(record: Path) -> Path:
    """Return the lock of the process that publishes the record."""
    return record.with_name(f"{record.name}.lock")


def now() -> int:
    """Return the time as MLflow counts it, in milliseconds."""
    return int(time.time() * 1000)


def _records() -> list[Path]:
    return sorted(path for path in _folder().glob("*-*") if path.is_dir() and is_name(_process(path)))


def _process(record: Path) -> str:
    return record.name.partition("-")[2]


def _write(record: Path, state: dict[str, Any]) -> None:
    part = record / "run.json.part"
    part.write_text(json.dumps(state, indent=2), encoding="utf-8")
    os.replace(part, record / "run.json")


def _store() -> str:
    # A clone that is moved takes its own store along.
    return without_credentials(tracking_uri()).replace(str(main_repository()), ".")


def _folder() -> Path:
    return main_repository() / FOLDER
