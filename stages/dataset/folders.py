"""Filling a folder beside the one that it is to replace."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.process.errors import UserError


@contextmanager
def replaced(target: Path, resume: bool = False) -> Iterator[Path]:
    """Yield the empty folder `<target>.partial`, and move it to `target` at the end; an error leaves that as it is.

    With `resume`, the unfinished folder that an error leaves is there again next time.
    Raises `UserError` where the system does not let something be written.
    """
    partial = target.with_name(f"{target.name}.partial")
    try:
        if partial.is_dir() and not resume:
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        os.replace(partial, target)
    except OSError as error:
        reason = f"{error.filename or partial}: {error.strerror or error}"
        raise UserError(
            f"{target} cannot be written: {reason}\nMend that path or make room there, then run dvc repro again."
        ) from None
    finally:
        if not resume:
            # Moved, unless there was an error.
            shutil.rmtree(partial, ignore_errors=True)
