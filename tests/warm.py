"""Stages, `mnist` and `dvc` in a copy of a process that has loaded their packages: seconds less for each start.

The copy has the clone's folder and code, arguments and environment, as a new process has. What depends on how a process
starts (signals, the order of imports) takes a new one: `Clone.start`, and a stage that DVC starts.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

# None that starts a thread, which a copy would not have.
PACKAGES = [
    "PIL.Image", "cv2", "dvc.api", "dvc.cli.parser", "dvc.repo.experiments", "matplotlib.pyplot", "mlflow.artifacts",
    "mlflow.pyfunc", "mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store",
    "pandas", "pydantic", "requests", "rich.progress", "ruamel.yaml", "scipy.stats", "sklearn.datasets",
    "sklearn.ensemble", "sklearn.model_selection", "skops.io",
]  # fmt: skip
_copies = multiprocessing.get_context("forkserver")
_copies.set_forkserver_preload(PACKAGES)


def module_of(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the module that `command` runs with its arguments, and nothing where it is another kind of command."""
    if command[0] in ("mnist", "dvc"):
        return {"mnist": "commands", "dvc": "dvc"}[command[0]], *command[1:]
    return command[2:] if command[:2] == ("python", "-m") and command[2].startswith("stages.") else ()


def run_copy(
    command: tuple[str, ...], folder: Path, environment: dict[str, str], timeout: int
) -> subprocess.CompletedProcess:
    """Run a module with arguments in `folder`; its standard output and error come back together as text."""
    # MLflow's telemetry has a thread.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.NamedTemporaryFile("r") as output:
        process = _copies.Process(target=_become, args=(command, folder, environment, output.name))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, timeout, output.read())
        return subprocess.CompletedProcess(command, process.exitcode, output.read())


def _become(command: tuple[str, ...], folder: Path, environment: dict[str, str], output: str) -> None:
    with open(output, "wb") as file, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("stages", "commands")]:
        del sys.modules[name]
    module, *arguments = command
    if module != "commands":
        sys.path.insert(0, str(folder))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
