"""The ends that a process does not choose: Ctrl-C, SIGTERM, a closed terminal, a DVC that is gone."""

import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
from filelock import FileLock, Timeout

# What stands between DVC and the stage where a shell starts its command as a child.
SHELLS = {"sh", "ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "tcsh", "zsh"}
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def unwind_on_signals() -> None:
    """Make SIGTERM and SIGHUP unwind like Ctrl-C, so that temporary files go and MLflow runs are closed."""
    for number in _heeded(signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _again


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold the first Ctrl-C, SIGTERM or SIGHUP back until the end of the block.

    What is being written there is then whole.
    """
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
    """Where DVC started this process: end it, like SIGTERM, once that DVC is gone; at once if it is already.

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
    if parent is None or _adopts_orphans(parent):
        # It was killed while this process was still importing.
        raise KeyboardInterrupt
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _adopts_orphans(process: psutil.Process) -> bool:
    """Return whether `process` is the system's, and not the DVC that is a container's only program."""
    try:
        return (process.pid == 1 or process.name() == "systemd") and "dvc" not in " ".join(process.cmdline())
    except psutil.Error:
        return process.pid == 1


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


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Wait until no other process is in a block of that `name` in this folder.

    A stage whose DVC was killed ends soon after it, not with it.
    """
    folder = Path(".dvc/tmp")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("waiting for another process that runs this stage here", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def process_name() -> str:
    """Return a name for this process that no other has, on this host or another, now or later."""
    return f"{platform.node()}-{os.getpid()}-{_started(psutil.Process()):.0f}"


def is_gone(name: str) -> bool:
    """Return whether the process with that `process_name` has ended; one of another host is taken to go on."""
    found = re.fullmatch(rf"{re.escape(platform.node())}-(\d+)-(\d+)", name)
    if not found:
        return False
    try:
        process = psutil.Process(int(found[1]))
        # Another process may have got the number meanwhile.
        return not is_running(process) or abs(_started(process) - int(found[2])) > 2
    except psutil.NoSuchProcess:
        return True


def _started(process: psutil.Process) -> float:
    """Return when `process` started, in seconds after the boot: setting the clock does not change that."""
    return process.create_time() - psutil.boot_time()


def _heeded(*numbers: signal.Signals) -> list[signal.Signals]:
    """Return those that are not ignored, as SIGHUP is under nohup and SIGINT in a shell's background."""
    return [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeat an interrupt that Python dropped because it came during a destructor or a weakref's callback."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    else:
        sys.__unraisablehook__(unraisable)
