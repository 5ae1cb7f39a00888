"""DVC as a command of its own, so that it shows its progress on the console."""

import os
import subprocess
import sys
from pathlib import Path


def run_dvc(*arguments: str, folder: Path = Path(), quiet: bool = False, **environment: str) -> int:
    """Run `dvc` in `folder` and return its exit code; when interrupted, let it clean up before going on."""
    command, errors = (sys.executable, "-m", "dvc", *arguments), subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, stderr=errors)
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
