"""The marks of every refusal: a short error, and nothing lost."""

import gzip
import struct
from pathlib import Path

from tests.conftest import Clone

# Runs a module as `python -m` does, and tells at the end how much memory it had at most, in kB.
PEAK = """
import atexit, runpy, sys
lines = lambda: open("/proc/self/status").read().splitlines()
atexit.register(lambda: print("peak", next(line.split()[1] for line in lines() if line.startswith("VmHWM:"))))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
# It says that it has the training images of `digits`, and has 500 MB of zeros in 600 kB. To pack them as one takes
# seconds, in each of pytest's workers.
BOMB = gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 1437, 8, 8), mtime=0)
BOMB += 500 * gzip.compress(bytes(1_000_000), mtime=0)


def contents(folder: Path) -> dict[str, bytes]:
    """The files in `folder` and below, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_of(returncode: int, output: str) -> str:
    """The error with which a stage has ended: of one or two lines, and the last thing it said."""
    assert returncode == 1, output
    assert "Traceback" not in output
    error = output[output.rindex("error: ") :].strip()
    assert len(error.splitlines()) <= 2, error
    return error


def refusal(clone: Clone, *command: str, **environment: str) -> str:
    """Run the stage `command`, which must refuse and leave its `data` as it is; return its error."""
    before = contents(clone.folder / "data")
    done = clone.run(*command, check=False, **environment)
    error = error_of(done.returncode, done.stdout)
    after = contents(clone.folder / "data")
    assert {name: after.get(name) for name in before} == before
    # Whole files, verified, may wait for the next attempt.
    assert [name for name in after if name.endswith(".part") or name.startswith("prepared.partial/")] == []
    return error


def peak(output: str) -> int:
    """The kB that `PEAK` has told."""
    return int(output.rpartition("peak ")[2])
