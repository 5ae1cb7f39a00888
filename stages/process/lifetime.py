"""The ends that a process does not choose: Ctrl-C, SIGTERM, a closed terminal, a DVC that is gone."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import psutil

# One of these stands between DVC and the stage, if the shell starts its command as a child.
SHELLS = {"sh", "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "tcsh", "zsh"}
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def unwind_on_signals() -> None:
    """Make SIGTERM and SIGHUP unwind like Ctrl-C, so that temporary files go and MLflow runs are closed."""
    for number in _heeded(signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sys.unraisablehook = _again


def outlive_readers() -> None:
    """Have the work go on if its output cannot be written: a reader is gone, a log's disk is full, an encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            stream.write, stream.flush = (_or_not_at_all(stream, each) for each in (stream.write, stream.flush))


def _or_not_at_all(stream: io.TextIOWrapper, action: Callable) -> Callable:
    def attempt(*arguments: str) -> Any:
        try:
            return action(*arguments)
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
            # The stream may still hold text from before.
            return action(*arguments)

    return attempt


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold the first Ctrl-C, SIGTERM or SIGHUP back until the block has written its file whole."""
    received: list[int] = []

    def defer(signal_number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(signal_number)

    before = {number: signal.signal(number, defer) for number in _heeded(*INTERRUPTS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])


def end_with_dvc() -> None:
    """End this process, if DVC started it, as soon as that DVC is gone.

    DVC takes its stages along on Ctrl-C only: without this they would go on training after a kill.
    """
    if "DVC_STAGE" not in os.environ:
        return
    try:
        parent = psutil.Process().parent()
        if parent and parent.name() in SHELLS:
            parent = parent.parent()
    except psutil.Error:
        parent = None
    if parent is None or _adopts_orphans(parent):
        # DVC was killed while this process was still importing.
        raise KeyboardInterrupt
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def lives(process: psutil.Process) -> bool:
    """Return whether the process has not ended; a zombie has, and its parent has not asked how."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _adopts_orphans(process: psutil.Process) -> bool:
    """Return whether `process` is the system's, and not the DVC that is a container's only program."""
    try:
        return (process.pid == 1 or process.name() == "systemd") and "dvc" not in " ".join(process.cmdline())
    except psutil.Error:
        return process.pid == 1


def _watch(dvc: psutil.Process) -> None:
    while lives(dvc):
        time.sleep(1)
    try:
        print("dvc is gone: ending with it", file=sys.stderr, flush=True)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """Return the signals that are not ignored; nohup ignores SIGHUP, and a shell SIGINT for its background."""
    return [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]


def _again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeat an interrupt that Python dropped because it came during a destructor or a weakref's callback."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    else:
        sys.__unraisablehook__(unraisable)
