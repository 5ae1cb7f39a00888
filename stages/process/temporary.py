"""A temporary folder of the stage's own: what a kill leaves in it is removed by the next start."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from stages.process.locks import is_gone, process_name
from stages.process.provenance import main_repository


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Have Python, the packages and the processes that are started put their temporary files into a folder of ours."""
    folder = main_repository() / ".dvc" / "tmp" / "stages"
    for left in folder.glob("*"):
        if is_gone(left.name):
            shutil.rmtree(left, ignore_errors=True)
    own = folder / process_name()
    own.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        shutil.rmtree(own, ignore_errors=True)
