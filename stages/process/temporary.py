"""A temporary folder of the process' own: the next start removes what a kill leaves in it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from stages.process.locks import is_gone, process_name
from stages.process.provenance import main_repository


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Have this process, from here to its end, and those that it starts put their temporary files into that folder."""
    folder = main_repository() / ".dvc" / "tmp" / "stages"
    for left in folder.glob("*"):
        if is_gone(left.name):
            shutil.rmtree(left, ignore_errors=True)
    own = folder / process_name()
    own.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)
    try:
        yield
    finally:
        shutil.rmtree(own, ignore_errors=True)
