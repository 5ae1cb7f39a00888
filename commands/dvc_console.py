"""DVC as a command of its own, which shows its progress on the console, or nothing."""

import os
import subprocess
import sys
from pathlib import Path

from stages.dataset.mirrors import own_mirror
from stages.process.errors import one_line


def run_dvc(*arguments: str, folder: Path = Path(), quiet: bool = False, **environment: str) -> int:
    """Run `dvc` in `folder` and return its exit code; when interrupted, let it clean up before going on.

    A DATA_MIRROR that is a folder stays the one that it is here.
    """
    command, errors = (sys.executable, "-m", "dvc", *arguments), subprocess.DEVNULL if quiet else None
    mirror = {"DATA_MIRROR": own_mirror()}
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **mirror, **environment}, stderr=errors)
    try:
        return process.wait()
    except BaseException:
        # The terminal's Ctrl-C has reached it too; of a SIGTERM it knows nothing.
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        raise


def dvc_complaint(*arguments: str) -> str | None:
    """Run `dvc` here, which shows nothing; return what it complains of, on one line, or None where it did its work."""
    done = subprocess.run((sys.executable, "-m", "dvc", *arguments), capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or [done.stderr.strip()]
    return one_line(said[0].removeprefix("ERROR: "))
