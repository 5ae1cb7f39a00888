"""What a stage has to tell MLflow, on disk until MLflow has all of it.

An entry is a file of its own for each training or evaluation, with a line of JSON for each event, in the order in which
they happened. The stage appends; `delivery` sends, while the entry grows or long after.
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.process.errors import without_credentials
from stages.process.locks import is_gone, is_name, process_name
from stages.process.provenance import main_repository
from stages.tracking.store import tracking_uri

FOLDER = Path(".dvc/tmp/mlflow-outbox")
# What an entry of a training has: a start, values, a model if all goes well, and an end;
START, VALUES, MODEL, END = "start", "values", "model", "end"
# and one of an evaluation: reports, which lie in its `files`, and an end.
REPORTS = "reports"


def open_entry(event: str, **content: Any) -> Path:
    """Make an entry with its first event, and return it."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    entry = folder / f"{time.time_ns()}-{os.getpid()}.jsonl"
    entry.touch(0o600)
    try:
        add(entry, event, process=process_name(), store=_store(), **content)
    except BaseException:
        remove(entry)
        raise
    return entry


def add(entry: Path, event: str, **content: Any) -> None:
    """Append an event that happens now."""
    line = (json.dumps({"event": event, "time": int(time.time() * 1000), **content}) + "\n").encode()
    descriptor = os.open(entry, os.O_WRONLY | os.O_APPEND)
    try:
        # In one piece: Ctrl-C or a kill leave a whole line or none.
        written = os.write(descriptor, line)
        if written < len(line):
            # The disk is full in the middle of it.
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(entry))
    finally:
        os.close(descriptor)


def read(entry: Path) -> list[dict[str, Any]]:
    """Return the events of `entry` so far; none where another process has delivered it meanwhile.

    What a power cut left of a line is passed over.
    """
    events = []
    try:
        lines = entry.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and {"event", "time"} <= event.keys():
            events.append(event)
    return events


def entries(*processes: str) -> list[Path]:
    """Return the entries for the configured store that are ours to send: trainings, then reports, each oldest first.

    Those are of this process, of the `processes` named, and of any that is gone: others see to theirs themselves.
    """
    ours = {process_name(), *processes}
    found = []
    for entry, events in _entries():
        owner = events[0]["process"]
        if owner in ours or is_gone(owner):
            found.append((events[0]["event"] == REPORTS, entry))
    return [entry for _, entry in sorted(found)]


def holds(model_md5: str) -> bool:
    """Return whether an entry for the configured store, of whatever process, is of the training of that model."""
    models = ((event["event"], event.get("md5")) for _, events in _entries() for event in events)
    return (MODEL, model_md5) in models


def is_broken_off(events: list[dict[str, Any]]) -> bool:
    """Return whether the process has ended without a word on how: kill -9, out of memory, a power cut."""
    return events[-1]["event"] != END and is_gone(events[0]["process"])


def remove(entry: Path) -> None:
    """Remove the entry, its files, and what `delivery` noted of it."""
    shutil.rmtree(files(entry), ignore_errors=True)
    for path in (entry, *entry.parent.glob(f"{entry.stem}.*")):
        path.unlink(missing_ok=True)


def files(entry: Path) -> Path:
    """Return the folder for what goes with the entry."""
    return entry.with_suffix(".files")


def _entries() -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    for entry in sorted(_folder().glob("*.jsonl")):
        events = read(entry)
        if events and events[0].get("store") == _store() and is_name(events[0].get("process")):
            yield entry, events


def _store() -> str:
    # A clone that is moved takes its own store along.
    return without_credentials(tracking_uri()).replace(str(main_repository()), ".")


def _folder() -> Path:
    return main_repository() / FOLDER
