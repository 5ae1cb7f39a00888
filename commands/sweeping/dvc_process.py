"""DVC as a process that ends with the one that started it, and takes its stage along: no trial outlives its sweep.

python -m commands.sweeping.dvc_process PID exp run …
"""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGINT
from typing import Any

import psutil

from stages.process.garbage import collect_rarely
from stages.process.lifetime import lives

# Between two looks, and before a DVC that has been asked to end is killed with all that it has started.
LOOK_SECONDS, PATIENCE_SECONDS = 0.2, 60


def main() -> None:
    starter, arguments = int(sys.argv[1]), sys.argv[2:]
    try:
        parent = psutil.Process(starter)
    except psutil.NoSuchProcess:
        parent = None
    if parent is None or os.getppid() != starter:
        sys.exit("the process that started this DVC is gone")
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    collect_rarely()
    from dvc.cli import main as dvc
    from dvc.repo.experiments.queue.tempdir import TempDirQueue

    # DVC's own loop would go on with an experiment that another DVC has put into the queue and not yet taken.
    TempDirQueue.reproduce = lambda queue, **options: queue._reproduce_entry(*queue.get(), **options)
    sys.exit(dvc(arguments))


def start_dvc(clone: Path, *arguments: str, **options: Any) -> psutil.Popen:
    """Start DVC in the clone; its errors go where its output does. `options` are those of `subprocess.Popen`."""
    return psutil.Popen(
        (sys.executable, "-m", "commands.sweeping.dvc_process", str(os.getpid()), *arguments),
        cwd=clone,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        # The terminal's Ctrl-C reaches the one that started it alone, which ends this in order.
        start_new_session=True,
        **options,
    )


def end_dvc(dvc: psutil.Process) -> None:
    """Have DVC's stage end, after which DVC cleans up, or DVC itself where there is no stage yet; wait for both.

    DVC does not heed Ctrl-C while a stage runs, and would leave the stage behind if it were killed.
    """
    asked: set[int] = set()
    start = time.monotonic()
    with suppress(psutil.NoSuchProcess):
        while lives(dvc):
            late = time.monotonic() - start > PATIENCE_SECONDS
            for process in [*dvc.children(recursive=True), dvc]:
                with suppress(psutil.NoSuchProcess):
                    if late:
                        process.kill()
                    elif process.pid not in asked:
                        process.send_signal(SIGINT) if process == dvc else process.terminate()
                asked.add(process.pid)
            time.sleep(LOOK_SECONDS)


def _watch(parent: psutil.Process) -> None:
    while lives(parent):
        time.sleep(LOOK_SECONDS)
    end_dvc(psutil.Process())


if __name__ == "__main__":
    main()
