"""Reading, and editing, a YAML file that a user edits."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from stages.params.dotted import set_values
from stages.process.errors import UserError, one_line

# Seven times this project's own file, and less than a second of the parser's time.
MAX_BYTES = 50_000
# Twice that of this project's own; the parser's time grows with its square.
MAX_DEPTH = 12


def read_yaml(path: Path) -> Any:
    """Return what stands in a YAML file that a user edits; raises `UserError` for one that cannot be read.

    Anchors and aliases are refused: DVC's --set-param would change every place that shares a value, and few lines of
    them stand for more values than memory holds.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: is longer than {MAX_BYTES:,} bytes; it should hold params, no data")
    try:
        text, depth = content.decode("utf-8"), 0
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not in UTF-8; save it with that encoding") from None
    try:
        for event in _yaml().parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise UserError(f"{path}, line {event.start_mark.line + 1}: nested too deep")
            if getattr(event, "anchor", None) is not None:
                raise UserError(
                    f"{path}, line {event.start_mark.line + 1}: the anchor or alias {one_line(event.anchor)} is not "
                    "allowed; write every value in its place"
                )
        return _yaml().load(text)
    except UserError:
        raise
    except MarkedYAMLError as error:
        mark = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{path}{mark}: not valid YAML: {one_line(error.problem)}") from None
    except Exception as error:
        # Beside its own errors the parser lets through what Python says of its values: `!!int ""` is an IndexError.
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None


def edit_file(path: Path, changes: dict[str, Any]) -> None:
    """Set `changes` (dotted keys) in the file, and leave its comments."""
    yaml = YAML()
    content = yaml.load(path)
    set_values(content, changes)
    yaml.dump(content, path)


def _yaml() -> YAML:
    # The YAML version that DVC reads the file with; not its parser, which has no such messages.
    return YAML(typ="safe", pure=True)
