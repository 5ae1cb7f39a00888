"""Model files with stable bytes: the same model gives the same file."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

from stages.errors import UserError

# The earliest time that a zip archive can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)


def rewrite(
    source: Path,
    target: Path,
    edit: Callable[[dict[str, bytes]], dict[str, bytes]],
    compression: int = zipfile.ZIP_STORED,
) -> None:
    """Write the members of the zip archive `source`, passed through `edit`, to `target` without time stamps.

    `target` appears whole or not at all.
    """
    with zipfile.ZipFile(source) as archive:
        members = edit({name: archive.read(name) for name in archive.namelist()})
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", compression) as archive:
            for name in sorted(members):
                about = zipfile.ZipInfo(name, date_time=EPOCH)
                about.compress_type = compression
                about.external_attr = 0o644 << 16
                archive.writestr(about, members[name])
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def unusable(path: Path, error: Exception) -> UserError:
    """Return what to say of a model file that cannot be loaded."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"{path}: missing or not a model of this project ({reason})\nRun: dvc repro")
