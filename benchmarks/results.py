"""The measurements, kept after every single one, and the clone that they are made in."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.arithmetic import held_down
from stages.process.provenance import cores, processor

WORK = Path(__file__).parent / "rounds"
PROJECT = Path(__file__).parent.parent
# The measurements depend on these.
MEASURED = (
    "benchmarks/peers",
    *(f"benchmarks/{name}.py" for name in ("fit", "ours", "pipeline", "scaling")),
    "commands",
    "dvc.yaml",
    "params.yaml",
    "pyproject.toml",
    "recipes",
    "stages",
)
Record = dict[str, Any]


class Results:
    """Records by name, one for each round, of one state of the code on one machine."""

    def __init__(self, fresh: bool = False):
        self.state = state(PROJECT)
        self.commit = git("rev-parse", "HEAD")
        self.machine = f"{processor()}, {cores()} cores"
        self.file = WORK / "results.json"
        self.records: dict[str, list[Record]] = {}
        WORK.mkdir(exist_ok=True)
        if self.file.exists() and not fresh:
            kept = json.loads(self.file.read_text())
            if (kept["state"], kept["machine"]) == (self.state, self.machine):
                self.commit, self.records = kept["commit"], kept["records"]

    def measure(self, name: str, number: int, action: Callable[[], Record | None]) -> None:
        """Add a record of `action` to `name` unless it has `number` of them already; None is not added."""
        if len(self.records.get(name, [])) >= number:
            return
        print(f"{name}, round {number}", flush=True)
        record = action()
        if record is None:
            return
        print(f"    {json.dumps(record)}", flush=True)
        self.records.setdefault(name, []).append(record)
        part = self.file.with_suffix(".part")
        kept = {name: getattr(self, name) for name in ("state", "commit", "machine", "records")}
        part.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(part, self.file)


def parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of the module that runs, whose `--help` shows the description, its docstring."""
    module = sys.modules["__main__"].__spec__.name.removesuffix(".__main__")
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m {module}", description=description, formatter_class=raw)


def git(*arguments: str, folder: Path = PROJECT) -> str:
    done = subprocess.run(("git", *arguments), cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def state(folder: Path) -> list[str]:
    """Return git's ids of what is measured, as it is committed: an edit of a page does not make it another one."""
    return git("rev-parse", *(f"HEAD:{name}" for name in MEASURED), folder=folder).splitlines()


def clone(name: str) -> Path:
    """Return the folder of a clone of what is committed here, made if it is not there."""
    folder = WORK / name
    if (folder / ".git").exists():
        if state(folder) == state(PROJECT):
            return folder
        shutil.rmtree(folder)
    subprocess.run(("git", "clone", "--quiet", str(PROJECT), str(folder)), check=True)
    return folder


def environment() -> dict[str, str]:
    """Return an environment that stores runs in the clone, and whose Python is this one.

    It has none of the switches of the stages, which set them themselves: a peer has all of the machine.
    """
    switches = held_down()
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in switches and not name.startswith(("DVC_", "MLFLOW_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "DVC_NO_ANALYTICS": "true"}


def run(*command: str, folder: Path) -> str:
    """Run `command` in `folder` and return its standard output; on failure show the end of it."""
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def last_json(output: str) -> Record:
    """Return the record in the last line."""
    return json.loads(output.strip().splitlines()[-1])
