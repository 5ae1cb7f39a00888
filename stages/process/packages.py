"""The packages that compute: pyproject.toml pins each in an extra of its own, and dvc.yaml depends on these."""

import tomllib
from pathlib import Path

from stages.fingerprints import versions
from stages.process.console import warn

PROJECT_FILE = Path("pyproject.toml")


def warn_of_other_versions() -> None:
    """Say so where another version is installed than the one that dvc.lock is going to stand for."""
    try:
        project = tomllib.loads(PROJECT_FILE.read_text(encoding="utf-8"))["project"]
        # The project asks itself for those that compute; the other extras are for who wants them.
        own = next(each for each in project["dependencies"] if each.startswith(f"{project['name']}["))
        extras = [project["optional-dependencies"][name] for name in own.partition("[")[2].rstrip("]").split(",")]
        pinned = dict(requirement.split("==") for requirements in extras for requirement in requirements)
    # One that is not pinned with == is a ValueError too.
    except (OSError, ValueError, KeyError, StopIteration):
        return
    pinned = {name.partition("[")[0]: number for name, number in pinned.items()}
    installed = versions(*pinned)
    others = [f"{name} {installed.get(name, 'missing')}" for name, pin in pinned.items() if installed.get(name) != pin]
    if others:
        warn(
            f"{', '.join(others)}: not the version that {PROJECT_FILE} pins and dvc.lock stands for "
            "(uv sync installs that one)"
        )
