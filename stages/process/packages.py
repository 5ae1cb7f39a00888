"""The packages that compute: pyproject.toml pins each in an extra of its own, and dvc.yaml depends on these."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stages.process.console import warn

PROJECT_FILE = Path("pyproject.toml")


def warn_of_other_versions() -> None:
    """Say so where another version is installed than the one that dvc.lock is going to stand for."""
    try:
        extras = tomllib.loads(PROJECT_FILE.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    except (OSError, ValueError, KeyError):
        return
    others = []
    for requirement in (requirement for requirements in extras.values() for requirement in requirements):
        name, _, pinned = requirement.partition("==")
        name = name.partition("[")[0]
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "missing"
        if installed != pinned and f"{name} {installed}" not in others:
            others.append(f"{name} {installed}")
    if others:
        warn(
            f"{', '.join(others)}: not the version that {PROJECT_FILE} pins and dvc.lock stands for "
            "(uv sync installs that one)"
        )
