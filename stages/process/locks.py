"""Each process at work in this clone holds a lock on a file with its name for as long as it lives.

A lock tells more than the number of a process does: a container gives out the same numbers after each start.
"""

import atexit
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from stages.process.errors import UserError
from stages.process.provenance import main_repository


def process_name() -> str:
    """Return the name by which others ask whether this process `is_gone`."""
    return Path(_own_lock(_folder()).lock_file).stem


def is_name(name: str) -> bool:
    """Return whether that could be a `process_name`."""
    return re.fullmatch(r"\d+-\d+", name) is not None


def is_gone(name: str) -> bool:
    """Return whether the process with that `process_name` has ended; False for any other text."""
    if not is_name(name):
        return False
    path = _folder() / f"{name}.lock"
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
            return True
    except Timeout:
        return False


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Wait until no other process is in a block of that `name` in this folder.

    A stage whose DVC was killed may still be there: it ends a little later.
    """
    folder = Path(".dvc/tmp")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        acquired = lock.acquire(timeout=0)
    except Timeout:
        print("waiting for another process that runs this stage here", flush=True)
        acquired = lock.acquire()
    with acquired:
        yield


@contextmanager
def held(path: Path, by_another: str) -> Iterator[None]:
    """Hold the lock at `path`; raises `UserError`, which begins with those words, where another process does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        acquired = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise UserError(f"{by_another}; wait until it has ended, or end it") from None
    with acquired:
        yield


@cache
def _own_lock(folder: Path) -> FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.lock"):
        is_gone(left.stem)
    lock = FileLock(folder / f"{time.time_ns()}-{os.getpid()}.lock")
    lock.acquire()
    atexit.register(Path(lock.lock_file).unlink, missing_ok=True)
    return lock


def _folder() -> Path:
    return main_repository() / ".dvc" / "tmp" / "processes"
