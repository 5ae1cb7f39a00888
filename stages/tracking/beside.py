"""The process beside a stage that publishes its records: whatever MLflow does, the stage does not wait for it."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import psutil

from stages.process.locks import process_name
from stages.tracking.record import waiting
from stages.tracking.store import is_server, tracking_uri, warn_of_waiting

# At its end a stage waits for that process, but no longer than so many seconds in which it does nothing itself,
IDLE_SECONDS = 4
# and, with a server, so many seconds in all, or that share of the time that the stage took until then.
SERVER_SECONDS, SERVER_SHARE = 10, 0.1

_running: subprocess.Popen | None = None


@contextmanager
def publishing() -> Iterator[None]:
    """Have records published while the block runs, and at its end the rest for as long as MLflow is quick.

    Of one block within another the inner one waits: what follows it may be the end of what a kill leaves to go on from.
    """
    global _running
    if _running is None:
        # It ends once its input is closed, and so with this process, whatever becomes of that.
        command = (sys.executable, "-m", "stages.tracking", process_name())
        _running = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        _finish()


def publishing_the_rest() -> Any:
    """Return `publishing` where an earlier process has left something to publish, else a context that does nothing."""
    return publishing() if waiting() else nullcontext()


def _finish() -> None:
    global _running
    if _running is None:
        return
    process, _running = _running, None
    try:
        # It may still be loading MLflow, for a stage that ended before it had anything to publish.
        if waiting():
            with suppress(OSError):
                # A stage that is killed does not say this.
                process.stdin.write(b".")
                process.stdin.close()
            if not _ended(process):
                warn_of_waiting("is slow, and does not have the run yet")
    finally:
        process.kill()
        process.wait()


def _ended(process: subprocess.Popen) -> bool:
    start = time.monotonic()
    limit = max(SERVER_SECONDS, SERVER_SHARE * (time.time() - psutil.Process().create_time()))
    if not is_server(tracking_uri()):
        limit = math.inf
    # It stays in the system's list until `poll` has seen its end.
    publisher = psutil.Process(process.pid)
    worked, last = publisher.cpu_times(), start
    while process.poll() is None:
        now = time.monotonic()
        if publisher.cpu_times() != worked:
            worked, last = publisher.cpu_times(), now
        if now - last > IDLE_SECONDS or now - start > limit:
            return False
        time.sleep(0.02)
    return True
