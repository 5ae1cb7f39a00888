"""A real copy of the project in a temporary folder: git, DVC and MLflow, nothing mocked."""

import compileall
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from filelock import FileLock

from stages.arithmetic import held_down
from stages.params.yaml_file import edit_file
from stages.process.garbage import collect_rarely
from tests.warm import module_of, run_copy

PROJECT = Path(__file__).resolve().parent.parent

# These only watch: they check, show and record, and cannot change an output; an edit there reruns nothing.
OBSERVERS = ("stages/params/", "stages/process/", "stages/tracking/")

# What must be set before a stage imports a package, so that it computes the same on every processor.
SWITCHES = {
    "numpy": [*held_down()],
    "tensorflow": ["KERAS_BACKEND", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "ONEDNN_MAX_CPU_ISA"],
}

# A run leaves these beside its outputs: DVC's and MLflow's own files, and byte code.
NOT_OUTPUTS = (".dvc/**", "mlflow.db*", "mlartifacts/**", "**/__pycache__/**")

# A pipeline of seconds: every part of the real one, on 1,797 images of 8x8.
SMALL = {
    "data.name": "digits",
    "preprocess.deskew": True,
    # It compiles for ten seconds, however small the data.
    "explore.umap": False,
    "train.mlp.hidden_units": [64],
    "train.mlp.test_time_shift": 1,
    "train.mlp.epochs": 12,
    "train.mlp.min_steps": None,
    "train.mlp.batch_size": 32,
    "train.cnn.test_time_shift": 0,
    "train.cnn.epochs": 8,
    "train.cnn.min_steps": None,
    "train.cnn.batch_size": 32,
    "train.random_forest.n_estimators": 40,
}


# A worker loads what the stages and the commands load.
collect_rarely()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that need the audited run: the first of pytest's two workers gets these, and makes it.

    The other has tests enough without it, and need not wait. At the end it takes over some of the first one's.
    """
    items.sort(key=lambda item: "audit" not in item.fixturenames)


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow leaves the store that a test has connected to in the environment, for the processes that it starts."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True, scope="module")
def _threads_of_fixtures() -> None:
    """Before a fixture of a module computes with TensorFlow, which takes its number of threads once in a process."""
    _set_threads()


@pytest.fixture(autouse=True)
def _threads_as_in_params() -> None:
    """Else a test of a layer would decide on TensorFlow's number of threads for one of a command."""
    _set_threads()


@pytest.fixture
def loaded_tensorflow() -> None:
    """For a test that has MLflow load a network in this process: it would decide on the number of threads."""
    import_module("tensorflow")
    _set_threads()


def _set_threads() -> None:
    if tensorflow := sys.modules.get("tensorflow"):
        tensorflow.config.threading.set_intra_op_parallelism_threads(2)


def _heed_signals() -> None:
    """A test run in the background of a shell, or under nohup, hands down that these are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Clone:
    """A clone with a git history of its own, in which commands run as a user types them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
            "DVC_NO_ANALYTICS": "true",
            "COLUMNS": "200",
        }
        # The stages set them, whoever did so before.
        for name in {name for names in SWITCHES.values() for name in names}:
            self.environment.pop(name, None)
        # Each process would compile what a test has edited.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        """Run `command` in the clone; its standard output and error come back together as text."""
        environment = {**self.environment, **environment}
        if module_of(command):
            done = run_copy(module_of(command), self.folder, environment, timeout=600)
        else:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
            )
        if check:
            assert done.returncode == 0, done.stdout
        return done

    def start(self, *command: str, stdout: Any = subprocess.PIPE, **environment: str) -> psutil.Popen:
        """Start `command` in the clone, in a session of its own; its error goes where its output does."""
        return psutil.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_heed_signals,
        )

    def set_params(self, values: dict) -> None:
        """Edit params.yaml, dotted key by dotted key, and leave its comments."""
        edit_file(self.folder / "params.yaml", values)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)


@cache
def _template() -> tempfile.TemporaryDirectory:
    """Return a folder with what git tracks or would track, the state that is being tested, in a new repository."""
    folder = tempfile.TemporaryDirectory(prefix="template-", ignore_cleanup_errors=True)
    listed = subprocess.run(
        ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"),
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, copy = PROJECT / name, Path(folder.name, name)
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    clone = Clone(Path(folder.name))
    clone.run("git", "init", "--quiet", "--initial-branch", "main")
    clone.commit("the project")
    for package in ("stages", "commands"):
        compileall.compile_dir(Path(folder.name, package), quiet=1)
    return folder


def make_clone(folder: Path, params: dict) -> Clone:
    """Copy the state that is being tested into a new repository in `folder`, with `params` set."""
    template = Path(_template().name)
    # With the byte code: each process that starts there would compile the project first.
    shutil.copytree(template, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    clone = Clone(folder)
    clone.run("git", "init", "--quiet", "--initial-branch", "main")
    # Git finds them there: files are slow to write, and to remove in the end.
    (folder / ".git/objects/info/alternates").write_text(f"{template / '.git/objects'}\n")
    clone.set_params(params)
    clone.commit("start")
    return clone


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A fresh clone in which nothing has run yet, set to the small pipeline."""
    return make_clone(tmp_path, SMALL)


@dataclass
class Audit:
    """A first `dvc repro` of the small pipeline in `folder`, and the files that each stage opened in it."""

    folder: str
    returncode: int
    output: str
    read: dict[str, list[str]]
    written: dict[str, list[str]]
    loaded: dict[str, list[str]]
    late: dict[str, list[str]]
    new: list[str]


def run_audited(folder: Path, logs: Path) -> Audit:
    clone = make_clone(folder, SMALL)
    repro = clone.run(
        "dvc",
        "repro",
        check=False,
        PYTHONPATH=str(PROJECT / "tests/audit"),
        AUDIT_FOLDER=str(logs),
        AUDIT_OBSERVERS=os.pathsep.join(OBSERVERS),
        AUDIT_SWITCHES=json.dumps(SWITCHES),
    )
    listed = clone.run(
        "git", "ls-files", "--others", "-z", "--", ".", *(f":(exclude,glob){name}" for name in NOT_OUTPUTS)
    ).stdout
    audit = Audit(str(folder), repro.returncode, repro.stdout, {}, {}, {}, {}, list(filter(None, listed.split("\0"))))
    for log in logs.iterdir():
        stage = log.stem.rpartition("-")[0]
        for kind, names in json.loads(log.read_text()).items():
            # Temporary files do not count.
            left = [name for name in names if kind in ("loaded", "late") or (folder / name).exists()]
            getattr(audit, kind).setdefault(stage, []).extend(left)
    if not repro.returncode:
        clone.commit("run")
    return audit


@pytest.fixture(scope="session")
def audit(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Audit:
    """The whole small pipeline, run once for all of pytest's workers, whether it succeeded or not."""
    if worker_id == "master":
        return run_audited(tmp_path_factory.mktemp("audited"), tmp_path_factory.mktemp("logs"))
    shared = tmp_path_factory.getbasetemp().parent
    result = shared / "audit.json"
    with FileLock(f"{result}.lock"):
        if not result.exists():
            for name in ("audited", "logs"):
                (shared / name).mkdir()
            result.write_text(json.dumps(asdict(run_audited(shared / "audited", shared / "logs"))))
        return Audit(**json.loads(result.read_text()))


def copy_of(audit: Audit, folder: Path, *without: str) -> Clone:
    assert audit.returncode == 0, audit.output
    # With its byte code: each process that starts there would compile the project first.
    shutil.copytree(audit.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*without))
    return Clone(folder)


@pytest.fixture(scope="session")
def reproduced(audit: Audit, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the whole small pipeline has run once; for tests that leave it as it is."""
    return copy_of(audit, tmp_path_factory.mktemp("reproduced"))


@pytest.fixture
def without_store(audit: Audit, tmp_path: Path) -> Clone:
    """The files of such a clone with DVC's cache, and no MLflow store."""
    return copy_of(audit, tmp_path, "mlflow.db*", "mlartifacts")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making them takes seconds."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments(max_results=1)
    return database


@pytest.fixture
def checked_out(without_store: Clone, empty_store: Path) -> Clone:
    """The files of such a clone with DVC's cache, and an MLflow store that has seen nothing yet."""
    shutil.copyfile(empty_store, without_store.folder / "mlflow.db")
    return without_store


@pytest.fixture
def params_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """params.yaml and data/sets as they stand in the project, in a folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROJECT / "data/sets", tmp_path / "data/sets")
    return Path(shutil.copyfile(PROJECT / "params.yaml", tmp_path / "params.yaml"))
