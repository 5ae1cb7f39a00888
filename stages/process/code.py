"""The code of a stage: whether it is still the one that the stage began with."""

import sys
from pathlib import Path

from stages.process.errors import UserError

STAGES = Path(__file__).parents[1]
# What only checks, shows and records cannot change an output, and is no dependency of a stage.
OBSERVERS = ("params", "process", "tracking")

_began: dict[Path, bytes] = {}


def note_code() -> None:
    """Note how the code of the stages is now, for `check_code`."""
    files = (file for file in STAGES.rglob("*.py") if file.relative_to(STAGES).parts[0] not in OBSERVERS)
    _began.update({file: file.read_bytes() for file in files})


def check_code() -> None:
    """Raise `UserError` where code that this process has loaded was edited since `note_code`.

    DVC reads it once a stage has ended, and would record the new code for what the old one has made.
    """
    loaded = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    for file, code in _began.items():
        if str(file) in loaded and not (file.exists() and file.read_bytes() == code):
            raise UserError(
                f"{file.relative_to(STAGES.parent)}: was edited while this ran, so what was made is not of this code\n"
                "Run dvc repro again. With the old code back, a finished training of a network is not made anew."
            )
