"""Moving a finished folder into place."""

import os
import shutil
from pathlib import Path


def replace_folder(source: Path, target: Path) -> None:
    """Move the finished folder `source` to `target`, where an earlier one may lie."""
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    os.replace(source, target)
