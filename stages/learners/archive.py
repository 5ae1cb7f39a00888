"""Model files with stable bytes: the same model gives the same file."""

import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deflate

from stages.process.errors import UserError, one_line

# The earliest time that a zip archive can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)
# How much larger than the file its members may be: a forest's are 9 times as large, one of 256 classes up to 171 times
# (measured), and what only fills memory 1,000 times.
EXPANSION = 200


def rewrite(
    source: Path, target: Path, edit: Callable[[dict[str, bytes]], dict[str, bytes]], compressed: bool = False
) -> None:
    """Write the members of the zip archive `source`, passed through `edit`, to `target` without time stamps.

    `target` appears whole or not at all. It is compressed by libdeflate, whose version is pinned: Python's zlib is
    whatever the system has, and others of them write other bytes.
    """
    with zipfile.ZipFile(source) as archive:
        members = edit({name: archive.read(name) for name in archive.namelist()})
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for name in sorted(members):
                about = zipfile.ZipInfo(name, date_time=EPOCH)
                about.external_attr = 0o644 << 16
                if compressed:
                    _write_deflated(archive, about, members[name])
                else:
                    archive.writestr(about, members[name])
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _write_deflated(archive: zipfile.ZipFile, about: zipfile.ZipInfo, content: bytes) -> None:
    """Add a member as zipfile itself would: it takes no compressor but Python's."""
    packed = deflate.deflate_compress(content, 6)
    about.compress_type = zipfile.ZIP_DEFLATED
    about.CRC, about.file_size, about.compress_size = zlib.crc32(content), len(content), len(packed)
    about.header_offset = archive.fp.tell()
    archive.fp.write(about.FileHeader())
    archive.fp.write(packed)
    archive.filelist.append(about)
    archive.NameToInfo[about.filename] = about
    archive.start_dir = archive.fp.tell()


def read_member(path: Path, name: str, members: str) -> bytes:
    """Return the member `name` of a zip archive whose members all match the pattern `members`, each once.

    Raises `ValueError` for other members, and where they would fill memory.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        foreign = [each for each, count in Counter(names).items() if count > 1 or not re.fullmatch(members, each)]
        if foreign:
            raise ValueError(f"{foreign[0]!r} is no part of it")
        if sum(member.file_size for member in archive.infolist()) > EXPANSION * path.stat().st_size:
            raise ValueError(f"unpacked it is more than {EXPANSION} times as large")
        return archive.read(name)


def check_parts(content: Any, check: Callable[[dict[str, Any]], None]) -> None:
    """Call `check` with each mapping in the JSON `content`, at any depth; it raises `ValueError` for a foreign one."""
    if isinstance(content, dict):
        check(content)
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            check_parts(part, check)


def unusable(path: Path, error: Exception) -> UserError:
    """Return the error for a model file that cannot be loaded."""
    return UserError(f"{path}: missing or not a model of this project ({one_line(error)})\nRun: dvc repro")
