"""The packages that compute: pyproject.toml pins each in an extra of its own, and dvc.yaml depends on these."""

import tomllib
from pathlib import Path

from stages.fingerprints import versions
from stages.process.console import warn

PROJECT_FILE = Path("pyproject.toml")


def warn_of_other_versions() -> None:
    """Say so where another version is installed than the one that dvc.lock is going to stand for."""
    try:
        extras = tomllib.loads(PROJECT_FILE.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    except (OSError, ValueError, KeyError):
        return
    pinned = dict(requirement.split("==") for requirements in extras.values() for requirement in requirements)
    pinned = {name.partition("[")[0]: number for name, number in pinned.items()}
    installed = versions(*pinned)
    others = [f"{name} {installed.get(name, 'missing')}" for name, pin in pinned.items() if installed.get(name) != pin]
    if others:
        warn(
            f"{', '.join(others)}: not the version that {PROJECT_FILE} pins and dvc.lock stands for "
            "(uv sync installs that one)"
        )
