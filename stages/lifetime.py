"""The ends that a process does not choose: Ctrl-C, SIGTERM, a closed terminal, a DVC that is gone."""

import os
import signal
import sys
import threading
import time
from types import FrameType

import psutil

# What stands between DVC and the stage where a shell starts its command as a child.
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}


def unwind_on_signals() -> None:
    """Make SIGTERM and SIGHUP unwind like Ctrl-C, so that temporary files go and MLflow runs are closed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup hands down that SIGHUP is ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _again


def end_with_dvc() -> None:
    """Where DVC started this process: end it, like SIGTERM, once that DVC is gone.

    DVC takes its stages along on Ctrl-C only; a killed one would leave them training.
    """
    if "DVC_STAGE" not in os.environ:
        return
    try:
        parent = psutil.Process().parent()
        if parent and parent.name() in SHELLS:
            parent = parent.parent()
    except psutil.Error:
        parent = None
    if parent:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(dvc: psutil.Process) -> None:
    while is_running(dvc):
        time.sleep(1)
    print("dvc is gone: ending with it", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def is_running(process: psutil.Process) -> bool:
    """Return whether `process` still works: a zombie has ended, only nobody has asked how."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeat an interrupt that Python dropped because it came during a destructor or a weakref's callback."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    else:
        sys.__unraisablehook__(unraisable)
