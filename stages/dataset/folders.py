"""Moving a finished folder into place."""

import os
import shutil
from pathlib import Path


def replace_folder(source: Path, target: Path) -> None:
    """Move the finished folder `source` to `target`, where an earlier one may lie."""
    if target.exists():
        shutil.rmtree(target)
    os.replace(source, target)
