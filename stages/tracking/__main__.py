"""The process that `beside` starts: publish until the stage is done and MLflow has everything, or cannot take it."""

import os
import select
import signal
import sys
import time

from stages.process.errors import one_line
from stages.process.garbage import collect_rarely
from stages.process.lifetime import INTERRUPTS, outlive_readers
from stages.process.locks import is_gone
from stages.tracking.machine import watch
from stages.tracking.record import waiting
from stages.tracking.store import load_mlflow, warn_of_waiting

# Between two looks at the records, and before a store that did not answer is asked again.
LOOK_SECONDS, AGAIN_SECONDS = 0.2, 5
# Nobody else ends this process once the stage was killed.
ALONE_SECONDS = 10


def main() -> None:
    collect_rarely()
    # It ends after the stage, which may have been interrupted: that too is to be published.
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    outlive_readers()
    stage = sys.argv[1]
    watch(stage)
    # Only now, since it takes longer than some trainings; and at once, since the stage is loading its own packages.
    load_mlflow()
    from stages.tracking.publish import publish_all

    evaluated: set[tuple[str, str]] = set()
    failures, again, over = 0, 0.0, False
    # At the end it tries twice.
    while not over or failures == 1:
        if not over and select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
            over = True
            if not os.read(sys.stdin.fileno(), 1):
                _outlive(stage)
        if not over and time.monotonic() < again:
            continue
        try:
            publish_all(waiting(stage), evaluated)
            failures = 0
        except Exception as error:
            again = time.monotonic() + AGAIN_SECONDS
            failures += 1
            # A single call that fails is not worth a word.
            if failures == 2:
                warn_of_waiting(f"did not take the run: {one_line(error)}")


def _outlive(stage: str) -> None:
    """Wait until the stage, which was killed, is gone: its pipe is closed a moment before."""
    signal.alarm(ALONE_SECONDS)
    while not is_gone(stage):
        time.sleep(0.01)


if __name__ == "__main__":
    main()
