"""Files that a command takes by their names: recipes/NAME.yaml, sweeps/NAME.yaml."""

import re
from pathlib import Path

from stages.process.errors import UserError, one_line

# The name of an experiment of DVC begins with it, and a folder has it.
NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}"


def yaml_files(folder: Path) -> list[Path]:
    """Return the files `*.yaml` of the folder by name, without what an editor puts beside them."""
    return sorted(path for path in folder.glob("[!.]*.yaml") if path.is_file())


def check_name(path: Path) -> None:
    """Raise `UserError` unless the name of the file, without its ending, can begin that of an experiment of DVC."""
    if not re.fullmatch(NAME, path.stem):
        raise UserError(f"{one_line(path)}: a name is letters, digits, - and _, at most 50; rename the file")


def about(path: Path) -> str:
    """Return what a YAML file says of itself in its first line, a comment."""
    return first_line(path.read_text(encoding="utf-8", errors="replace"))


def first_line(text: str) -> str:
    """Return what the first line of a YAML file says, without the marks of a comment."""
    return one_line(text.partition("\n")[0].strip("# \r\ufeff"))
