"""A team's stores: MLflow's server on PostgreSQL with the artifacts behind it, and a DVC remote over SSH, for real.

The three clones have nothing in common but these two servers and a Git history.
"""

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import mlflow
import pytest

from stages.fingerprints import file_md5
from tests.conftest import SMALL, Clone, make_clone
from tests.project import locked
from tests.servers import free_port, mlflow_server, running

# Debian keeps what a server runs out of the way of users.
PLACES = os.pathsep.join([os.environ["PATH"], "/usr/sbin", *glob.glob("/usr/lib/postgresql/*/bin")])
NEEDED = {
    name: shutil.which(name, path=PLACES)
    for name in ("initdb", "postgres", "pg_isready", "sshd", "ssh-keygen", "setpriv")
}
MISSING = [name for name, found in NEEDED.items() if not found]
MISSING += [module for module in ("psycopg", "dvc_ssh") if not find_spec(module)]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"no {', '.join(MISSING)}: apt-get install postgresql openssh-server; uv run --extra team pytest",
    ),
]

FEWER = {"train.mlp.epochs": 3, "train.cnn.epochs": 2, "train.random_forest.n_estimators": 10}
PATHS = {"models/mlp.keras": "mlp", "models/cnn.keras": "cnn", "models/random_forest.skops": "random-forest"}
PASSWORD = "s3cret"


@contextmanager
def postgresql() -> Iterator[str]:
    """Run PostgreSQL in a folder of its own, and yield the URI of its database."""
    # It refuses to run as root; and pytest's folders are closed to other users.
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    # Whatever ends this process ends the server.
    command = [NEEDED["setpriv"], "--pdeathsig", "INT"]
    if os.getuid() == 0:
        command += ["--reuid", user.pw_name, "--regid", str(user.pw_gid), "--clear-groups"]
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        clone, data, secret = Clone(Path(name)), Path(name, "data"), Path(name, "password")
        secret.write_text(PASSWORD)
        for path in (name, secret):
            os.chown(path, user.pw_uid, user.pw_gid)
        clone.run(
            *command, NEEDED["initdb"], "--pgdata", str(data), "--username", "mlflow", "--auth", "scram-sha-256",
            "--pwfile", str(secret), "--no-sync",
        )  # fmt: skip
        port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        server = (NEEDED["postgres"], "-D", str(data), *(f"--{key}={value}" for key, value in settings.items()))

        def ready() -> bool:
            return not clone.run(NEEDED["pg_isready"], "-h", "127.0.0.1", "-p", str(port), check=False).returncode

        with running(clone, *command, *server, ready=ready):
            yield f"postgresql://mlflow:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextmanager
def ssh_server(folder: Path) -> Iterator[Path]:
    """Run sshd in `folder`, and yield a home whose SSH configuration knows it under the name `team`."""
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True)
    for key in (folder / "host_key", home / ".ssh/key"):
        subprocess.run((NEEDED["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", key), check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host_key'}\n"
        f"AuthorizedKeysFile {home / '.ssh/key.pub'}\nPasswordAuthentication no\nStrictModes no\n"
        f"PidFile none\nSubsystem sftp internal-sftp\n"
    )
    (home / ".ssh/config").write_text(
        f"Host team\n  HostName 127.0.0.1\n  Port {port}\n  User {pwd.getpwuid(os.getuid()).pw_name}\n"
        f"  IdentityFile {home / '.ssh/key'}\n"
    )
    if os.getuid() == 0:
        # Debian's service makes it at each start.
        Path("/run/sshd").mkdir(exist_ok=True)
    command = (NEEDED["setpriv"], "--pdeathsig", "TERM", NEEDED["sshd"], "-D", "-e", "-f", str(folder / "sshd_config"))

    def ready() -> bool:
        scan = ("ssh-keyscan", "-p", str(port), "127.0.0.1")
        return bool(subprocess.run(scan, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)

    with running(Clone(folder), *command, ready=ready):
        yield home


def files(clone: Clone) -> dict[str, str]:
    """The md5 of each file that DVC owns."""
    found = (path for name in ("data/prepared", "data/raw", "models") for path in (clone.folder / name).rglob("*"))
    return {str(path.relative_to(clone.folder)): file_md5(path) for path in found if path.is_file()}


def join(clone: Clone, folder: Path) -> Clone:
    clone.run("git", "clone", "--quiet", ".", str(folder))
    return Clone(folder)


def test_two_clones_fill_the_stores_of_a_team_and_a_third_one_gets_all_of_it(tmp_path):
    for name in ("server", "ssh"):
        (tmp_path / name).mkdir()
    with (
        postgresql() as database,
        mlflow_server(tmp_path / "server", database) as port,
        ssh_server(tmp_path / "ssh") as home,
    ):
        uri = f"http://127.0.0.1:{port}"
        ann = make_clone(tmp_path / "ann", SMALL | FEWER)
        ann.run("dvc", "remote", "add", "--default", "storage", f"ssh://team{tmp_path}/remote")
        ann.commit("the remote")
        bob = join(ann, tmp_path / "bob")
        # Of three models they make two both, and the third each for himself; his params are in no commit.
        bob.set_params({"train.mlp.hidden_units": [32]})

        both = {clone: clone.start("dvc", "repro", MLFLOW_TRACKING_URI=uri) for clone in (ann, bob)}
        for process in both.values():
            output = process.communicate(timeout=300)[0]
            assert process.returncode == 0, output
        # Ann is the last: the comparison of three models that a run has is that of the last evaluation.
        for clone in (bob, ann):
            clone.run("mnist", "publish", MLFLOW_TRACKING_URI=uri)
            clone.run("dvc", "push", "--run-cache", HOME=str(home))
        ann.commit("run")

        client = mlflow.MlflowClient(uri)
        experiment = client.get_experiment_by_name("digits")
        assert experiment.artifact_location.startswith("mlflow-artifacts:")
        found = client.search_runs([experiment.experiment_id])
        assert {run.info.status for run in found} == {"FINISHED"}
        made = {locked(clone, f"train-{name}")[path] for clone in both for path, name in PATHS.items()}
        assert len(made) == 4
        standing = [run.data.tags["dvc.model_md5"] for run in found if "dvc.model_md5" in run.data.tags]
        assert sorted(standing) == sorted(made)
        repeats = [run.data.tags["dvc.repeat_of"] for run in found if "dvc.model_md5" not in run.data.tags]
        assert set(repeats) <= {run.info.run_id for run in found}
        assert len(found) == 6
        assert all("test_accuracy" in run.data.metrics for run in found)

        carol = join(ann, tmp_path / "carol")
        carol.run("dvc", "pull", "--run-cache", HOME=str(home))
        assert files(carol) == files(ann)
        assert "it has everything already" in carol.run("mnist", "publish", MLFLOW_TRACKING_URI=uri).stdout
        assert len(client.search_runs([experiment.experiment_id])) == 6

        # Bob's params are in no commit; MLflow has them.
        md5 = locked(bob, "train-mlp")["models/mlp.keras"]
        (his,) = client.search_runs([experiment.experiment_id], f"tags.`dvc.model_md5` = '{md5}'")
        carol.run("mnist", "checkout", his.info.run_id, str(tmp_path / "his"), MLFLOW_TRACKING_URI=uri, HOME=str(home))
        assert file_md5(tmp_path / "his/models/mlp.keras") == md5


@pytest.mark.parametrize(
    ("command", "words"), [("publish", "MLflow did not take all"), ("ui", "no answer from MLflow")]
)
def test_a_database_that_is_away_is_said_before_patience_ends(without_store, command, words):
    uri = f"postgresql://mlflow:{PASSWORD}@127.0.0.1:9/mlflow"
    done = without_store.run("timeout", "60", "mnist", command, check=False, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 1, done.stdout
    assert "postgresql://127.0.0.1:9/mlflow: " in done.stdout
    assert words in done.stdout
    assert PASSWORD not in done.stdout
