"""`mnist sweep --cluster`: two nodes of Ray on this machine, each with a clone and a cache of its own, and what dies.

Shared are a bare Git repository, a folder that is DVC's remote, and a server of MLflow.
"""

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import mlflow
import psutil
import pytest

from tests.commands.test_sweep_trials import write
from tests.conftest import SMALL, Clone, make_clone
from tests.project import processes_in, wait_until
from tests.servers import free_port, mlflow_server

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not find_spec("ray"), reason="no Ray: uv run --extra cluster pytest"),
]

# As many as are enough for a death in the middle; MNIST_TRIALS=30 makes more of them.
TREES = [*range(2, 2 + int(os.environ.get("MNIST_TRIALS", "6")))]
GRID = {
    "metric": {"name": "val_accuracy", "goal": "maximize"},
    "stage": "train-random-forest",
    "method": "grid",
    "parameters": {"train.random_forest.n_estimators": {"values": TREES}},
    "resources": {"cpus": 1, "gpus": 0},
}
STAGE, DVC, WORKER = "stages.train_random_forest", "commands.sweeping.dvc_process", "ray::_trial"


@dataclass
class Cluster:
    driver: Clone
    nodes: list[Clone]
    raylets: list[psutil.Process]
    server: ExitStack
    port: int
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def sweep(self) -> psutil.Popen:
        log = open(self.folder / "sweep.log", "ab")  # noqa: SIM115
        return self.driver.start("mnist", "sweep", "grid", stdout=log, **self.environment)

    def said(self) -> str:
        return (self.folder / "sweep.log").read_text()

    def found(self) -> list:
        client = mlflow.MlflowClient(f"http://127.0.0.1:{self.port}")
        experiment = client.get_experiment_by_name("digits")
        return client.search_runs([experiment.experiment_id], "tags.sweep = 'grid'")

    def at_work(self) -> list[psutil.Process]:
        """DVC and the stages in the clones of the nodes."""
        here = [process for clone in self.nodes for process in processes_in(clone.folder)]
        return [process for process in here if _is(process, STAGE) or _is(process, DVC)]


def _is(process: psutil.Process, word: str) -> bool:
    try:
        return any(word in each for each in process.cmdline())
    except psutil.Error:
        return False


@contextmanager
def node(clone: Clone, *arguments: str, **environment: str) -> Iterator[psutil.Process]:
    command = ("ray", "start", "--block", "--num-cpus", "1", "--disable-usage-stats", *arguments)

    def ready() -> bool:
        return any(process.name() == "raylet" for process in process_tree(server))

    log = clone.folder.with_suffix(".log").open("wb")
    server = clone.start(*command, stdout=log, PYTHONPATH=str(clone.folder), **environment)
    try:
        wait_until(ready)
        yield server
    finally:
        kill_all(server)
        log.close()


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return []


def kill_all(process: psutil.Process) -> None:
    for each in process_tree(process):
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


@contextmanager
def cluster(folder: Path, names: tuple[str, ...] = ("one", "two")) -> Iterator[Cluster]:
    driver = make_clone(folder / "driver", SMALL)
    write(driver, "grid", GRID)
    driver.run("dvc", "remote", "add", "--default", "storage", str(folder / "remote"))
    driver.run("git", "init", "--quiet", "--bare", str(folder / "origin"))
    driver.run("git", "remote", "add", "origin", str(folder / "origin"))
    driver.run("dvc", "repro", "preprocess")
    driver.commit("data")
    driver.run("dvc", "push", "--run-cache")
    driver.run("git", "push", "--quiet", "origin", "main")
    nodes = []
    for name in names:
        driver.run("git", "clone", "--quiet", "--branch", "main", str(folder / "origin"), str(folder / name))
        nodes.append(Clone(folder / name))
    port, ray_port = free_port(), free_port()
    (folder / "server").mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        server.enter_context(mlflow_server(folder / "server", port=port))
        shared = {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        head = ("--head", "--port", str(ray_port), "--node-ip-address", "127.0.0.2", "--include-dashboard", "false")
        address = f"127.0.0.2:{ray_port}"
        raylets = [stack.enter_context(node(nodes[0], *head, **shared))]
        for other in nodes[1:]:
            joins = node(other, "--address", address, "--node-ip-address", "127.0.0.2", **shared)
            raylets.append(stack.enter_context(joins))
        yield Cluster(driver, nodes, raylets, server, port, folder, {**shared, "RAY_ADDRESS": address})


def kill_one(cluster: Cluster, word: str) -> None:
    """Kill the first process of that kind as soon as there is one."""
    kin = cluster.raylets if word == WORKER else []

    def struck() -> bool:
        found = cluster.at_work() + [each for raylet in kin for each in process_tree(raylet)]
        for process in found:
            if _is(process, word):
                process.kill()
                return True
        return False

    wait_until(struck)


def kill_node(cluster: Cluster) -> None:
    kill_all(cluster.raylets[1])


def without_server(cluster: Cluster) -> None:
    cluster.server.close()
    # Not for some seconds: on a fast machine the sweep would be over.
    wait_until(lambda: f"3 of {len(TREES)} trials done" in cluster.said())
    cluster.server.enter_context(mlflow_server(cluster.folder / "server", port=cluster.port))


def without_remote(cluster: Cluster) -> None:
    remote = cluster.folder / "remote"
    remote.rename(cluster.folder / "away")
    remote.write_text("no folder")
    wait_until(lambda: f"3 of {len(TREES)} trials done" in cluster.said())
    remote.unlink()
    (cluster.folder / "away").rename(remote)


def kill_driver(cluster: Cluster) -> None:
    for process in processes_in(cluster.driver.folder):
        if _is(process, "sweep"):
            process.kill()
    wait_until(lambda: not cluster.at_work(), 60)


DEATHS = {
    "nothing": lambda cluster: None,
    "stage": lambda cluster: kill_one(cluster, STAGE),
    "DVC": lambda cluster: kill_one(cluster, DVC),
    "worker": lambda cluster: kill_one(cluster, WORKER),
    "node": kill_node,
    "driver": kill_driver,
    "MLflow's server": without_server,
    "DVC's remote": without_remote,
}
# The md5 of the model and its validation accuracy, by the number of trees: of the first case that has run.
UNDISTURBED: dict[str, tuple[str, float]] = {}


def check_total(found: Cluster) -> None:
    """Check that the sweep has come to its total, with one run and the undisturbed model for each of its trials."""
    said = found.said()
    assert f"{len(TREES)} of {len(TREES)} trials done" in said
    # Of a trial: a server that is away has failed in MLflow's own words.
    assert "failed: " not in said
    assert "Traceback" not in said
    wait_until(lambda: not found.at_work(), 60)

    runs = [run for run in found.found() if "dvc.model_md5" in run.data.tags]
    by_trees = {
        run.data.params["n_estimators"]: (run.data.tags["dvc.model_md5"], run.data.metrics["val_accuracy"])
        for run in runs
    }
    assert len(runs) == len(by_trees) == len(TREES)
    assert (UNDISTURBED or by_trees) == by_trees
    UNDISTURBED.update(by_trees)
    names = found.driver.run("dvc", "exp", "list", "--names-only").stdout.split()
    assert sorted(names) == [f"grid-{number:04d}" for number in range(len(TREES))]


@pytest.mark.parametrize("death", DEATHS)
def test_whatever_dies_the_sweep_comes_to_its_total(death, tmp_path):
    with cluster(tmp_path) as found:
        start = time.monotonic()
        sweep = found.sweep()
        wait_until(lambda: "trial " in found.said() or sweep.poll() is not None, 180)
        DEATHS[death](found)
        if death == "driver":
            sweep.wait(timeout=30)
            sweep = found.sweep()
        assert sweep.wait(timeout=900) == 0, found.said()
        print(f"{death}: {time.monotonic() - start:.0f} s")
        check_total(found)


def test_a_machine_that_gets_other_code_ends_the_sweep_which_goes_on_once_it_is_mended(tmp_path):
    with cluster(tmp_path) as found:
        sweep = found.sweep()
        wait_until(lambda: "trial " in found.said() or sweep.poll() is not None, 180)
        page = found.nodes[1].folder / "README.md"
        before = page.read_text()
        page.write_text("other code")
        assert sweep.wait(timeout=300) == 1
        assert f"{found.nodes[1].folder} is not at commit" in found.said()
        page.write_text(before)
        assert found.sweep().wait(timeout=900) == 0, found.said()
        check_total(found)


def test_one_node_makes_what_two_make(tmp_path):
    for names in (("one", "two"), ("one",)):
        folder = tmp_path / f"nodes-{len(names)}"
        folder.mkdir()
        with cluster(folder, names) as found:
            assert found.sweep().wait(timeout=900) == 0, found.said()
            check_total(found)


def test_repeat_goes_there_as_well(tmp_path):
    with cluster(tmp_path) as found:
        # A trial takes as many CPUs as the networks have threads; a node offers one.
        found.driver.set_params({"runtime.threads": 1, "train.mlp.epochs": 1, "train.cnn.epochs": 1})
        found.driver.commit("one thread")
        found.driver.run("git", "push", "--quiet", "origin", "main")
        for each in found.nodes:
            each.run("git", "pull", "--quiet")
        said = found.driver.run("mnist", "repeat", "--seeds", "2", **found.environment).stdout
        assert "repeat-seed-1: done" in said
        summary = json.loads((found.driver.folder / "reports/repeats.json").read_text())
        assert summary["seeds"] == [0, 1]
        assert all(len(summary[name]["training_seconds"]["values"]) == 2 for name in ("mlp", "cnn", "random_forest"))


def test_mistakes_are_errors_before_the_first_trial(tmp_path):
    with cluster(tmp_path) as found:
        mistakes = [
            ({"MLFLOW_TRACKING_URI": ""}, "is on this machine only"),
            ({"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}, "Ray does not connect: [Errno 111]"),
            ({"RAY_AUTH_TOKEN": "0" * 64}, "and have its token (~/.ray/auth_token"),
        ]
        for environment, words in mistakes:
            done = found.driver.run("mnist", "sweep", "grid", check=False, **{**found.environment, **environment})
            assert done.returncode == 1
            assert words in done.stdout, done.stdout
            assert "Traceback" not in done.stdout
        (found.nodes[1].folder / "params.yaml").write_text("")
        done = found.driver.run("mnist", "sweep", "grid", check=False, **found.environment)
        assert re.search(r"node \S+/two: params.yaml differs from the commit", done.stdout), done.stdout
        found.driver.set_params({"train.random_forest.max_features": 2})
        done = found.driver.run("mnist", "sweep", "grid", check=False, **found.environment)
        assert "params.yaml: differs from the last commit" in done.stdout
