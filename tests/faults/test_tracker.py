"""A tracking server that is away, slow or broken: the training goes on, and MLflow gets all of it, once, afterwards."""

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing

import mlflow
import pytest

from tests.conftest import Clone
from tests.faults.proxy import Proxy, after, failing, hang_up, losing_first_answers, proxy_to, slow
from tests.project import locked
from tests.servers import mlflow_server

pytestmark = pytest.mark.faults

MLP = ("python", "-m", "stages.train_mlp")
FOREST = ("python", "-m", "stages.train_random_forest")
PREPROCESS = ("python", "-m", "stages.preprocess")
EVALUATE = ("python", "-m", "stages.evaluate")
PUBLISH = ("mnist", "publish")
# Two runs of the same training differ in these tags.
OWN = ("git.", "outbox.entry", "mlflow.log-model.history")


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[int]:
    """The port of a real tracking server; each test has its own experiment, as each has other data."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    with proxy_to(server) as proxy:
        yield proxy
        # The next test begins with a store that knows nothing of these models.
        forget(proxy.url.replace(proxy.url.rpartition(":")[2], str(server)))


def forget(uri: str) -> None:
    client = mlflow.MlflowClient(uri)
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            client.delete_run(run.info.run_id)


def told(uri: str) -> dict[str, list]:
    """All that MLflow was told of each run, but for times and the machine, by the name of the run, oldest first."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("digits")
    found: dict[str, list] = {}
    for run in client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]):
        identifier = run.info.run_id
        points = {
            name: [(point.step, round(point.value, 6)) for point in client.get_metric_history(identifier, name)]
            for name in run.data.metrics
            if not name.endswith("seconds") and not name.startswith("system/")
        }
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith(OWN)}
        (data,) = run.inputs.dataset_inputs
        models = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{identifier}'")
        found.setdefault(run.info.run_name, []).append(
            {
                "status": run.info.status,
                "params": run.data.params,
                "tags": tags,
                "metrics": points,
                "data": (data.dataset.name, data.dataset.digest),
                "artifacts": sorted(file.path for file in client.list_artifacts(identifier)),
                "images": len(client.list_artifacts(identifier, "images")),
                "models": [model.status.value for model in models],
            }
        )
    return found


def store(clone: Clone) -> str:
    return f"sqlite:///{clone.folder / 'mlflow.db'}"


def trained(clone: Clone, *command: str, **environment: str) -> str:
    """Train, which must succeed with the model that dvc.lock has, and return the console."""
    output = clone.run(*command, **environment).stdout
    assert "Traceback" not in output
    stage = command[-1].rpartition(".")[2].replace("_", "-")
    for path, md5 in locked(clone, stage).items():
        assert clone.run("md5sum", path).stdout.split()[0] == md5
    return output


@pytest.fixture(scope="session")
def undisturbed(reproduced) -> dict[str, list]:
    return told(store(reproduced))


def warnings(output: str) -> list[str]:
    return [line for line in output.splitlines() if "warning: MLflow" in line]


def check_delivered(clone: Clone, uri: str, undisturbed: dict[str, list], name: str = "mlp") -> None:
    """Check that the store has what an undisturbed one has, after `mnist publish`, and no more after another one."""
    clone.run(*PUBLISH, MLFLOW_TRACKING_URI=uri)
    assert told(uri)[name] == undisturbed[name]
    assert "it has everything already" in clone.run(*PUBLISH, MLFLOW_TRACKING_URI=uri).stdout
    assert told(uri)[name] == undisturbed[name]
    assert not list((clone.folder / ".dvc/tmp/mlflow-outbox").iterdir())


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        pytest.param(FOREST, hang_up, marks=pytest.mark.long),
        pytest.param(MLP, hang_up, marks=pytest.mark.long),
        pytest.param(MLP, failing(500), marks=pytest.mark.long),
        pytest.param(MLP, after(20, hang_up), marks=pytest.mark.long),
        pytest.param(MLP, after(20, failing(503)), marks=pytest.mark.long),
        pytest.param(MLP, failing(507, only="PUT /api/2.0/mlflow-artifacts"), marks=pytest.mark.long),
        pytest.param(MLP, failing(403, only="PUT /api/2.0/mlflow-artifacts"), marks=pytest.mark.long),
    ],
    ids=["away", "away for long", "500", "gone in the middle", "503 in the middle", "model refused", "model forbidden"],
)
def test_the_next_stage_delivers_what_the_server_did_not_take(checked_out, proxy, undisturbed, command, fault):
    proxy.fault = fault
    output = trained(checked_out, *command, MLFLOW_TRACKING_URI=proxy.url)
    assert len(warnings(output)) == 1
    assert proxy.url in warnings(output)[0]
    proxy.fault = None
    for _ in range(3):
        # A short stage may be over before the server has taken everything.
        if not warnings(checked_out.run(*PREPROCESS, MLFLOW_TRACKING_URI=proxy.url).stdout):
            break
    name = "mlp" if command is MLP else "random-forest"
    (run,) = told(proxy.url)[name]
    assert (run["status"], run["models"]) == ("FINISHED", ["READY"])
    check_delivered(checked_out, proxy.url, undisturbed, name)


@pytest.mark.long
def test_a_server_that_takes_thirty_seconds_for_its_first_answer_is_not_waited_for(checked_out, proxy):
    proxy.fault = slow(30)
    start = time.monotonic()
    output = trained(checked_out, *FOREST, MLFLOW_TRACKING_URI=proxy.url)
    assert time.monotonic() - start < 30
    assert len(warnings(output)) == 1
    assert "is slow, and does not have the run yet" in output


@pytest.mark.long
def test_a_server_that_takes_ten_seconds_for_each_call_is_not_waited_for(checked_out, proxy, undisturbed):
    proxy.fault = slow(10)
    start = time.monotonic()
    output = trained(checked_out, *MLP, MLFLOW_TRACKING_URI=proxy.url)
    # Each of a hundred calls would take ten seconds.
    assert time.monotonic() - start < 90
    assert "is slow, and does not have the run yet" in warnings(output)[0]
    assert len(warnings(output)) == 1
    proxy.fault = None
    check_delivered(checked_out, proxy.url, undisturbed)


@pytest.mark.long
def test_lost_answers_make_nothing_twice(checked_out, proxy, undisturbed):
    proxy.fault = losing_first_answers()
    trained(checked_out, *MLP, MLFLOW_TRACKING_URI=proxy.url)
    for _ in range(40):
        # Each time it goes on where it was.
        if not checked_out.run(*PUBLISH, check=False, MLFLOW_TRACKING_URI=proxy.url).returncode:
            break
    proxy.fault = None
    found = told(proxy.url)
    assert found["mlp"] == undisturbed["mlp"]
    assert {name: len(runs) for name, runs in found.items()} == {"mlp": 1, "cnn": 1, "random-forest": 1}
    check_delivered(checked_out, proxy.url, undisturbed)


@pytest.mark.long
def test_settings_of_mlflow_lose_nothing(checked_out, proxy, undisturbed):
    others = {"MLFLOW_ENABLE_ASYNC_LOGGING": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5"}
    proxy.fault = failing(503, only="runs/log-batch")
    assert len(warnings(trained(checked_out, *MLP, MLFLOW_TRACKING_URI=proxy.url, **others))) == 1
    proxy.fault = None
    check_delivered(checked_out, proxy.url, undisturbed)


@pytest.mark.long
def test_a_training_that_the_store_refuses_is_no_reason_for_another_run(checked_out, undisturbed):
    artifacts = checked_out.folder / "mlartifacts"
    artifacts.write_text("in the way")
    assert len(warnings(trained(checked_out, *MLP))) == 1
    for _ in range(2):
        assert warnings(checked_out.run(*EVALUATE).stdout)
        assert checked_out.run(*PUBLISH, check=False).returncode == 1
    artifacts.unlink()
    for _ in range(2):
        # A training comes before the evaluation that waits for it.
        checked_out.run(*PUBLISH, check=False)
    assert {name: len(runs) for name, runs in told(store(checked_out)).items()} == {
        "mlp": 1, "cnn": 1, "random-forest": 1
    }  # fmt: skip
    check_delivered(checked_out, store(checked_out), undisturbed)


@pytest.mark.long
@pytest.mark.parametrize("gone", ["run", "store"])
def test_what_is_left_of_a_run_that_is_gone_blocks_nothing(checked_out, undisturbed, gone):
    artifacts = checked_out.folder / "mlartifacts"
    artifacts.write_text("in the way")
    trained(checked_out, *MLP)
    artifacts.unlink()
    if gone == "run":
        forget(store(checked_out))
    else:
        (checked_out.folder / "mlflow.db").unlink()
        checked_out.run(*PUBLISH, check=False)
        check_delivered(checked_out, store(checked_out), undisturbed)
        return
    checked_out.run(*PUBLISH)
    assert "it has everything already" in checked_out.run(*PUBLISH).stdout
    # Made from the files, in place of the one that somebody did not want.
    (mlp,) = told(store(checked_out))["mlp"]
    assert mlp["tags"]["dvc.restored"] == "true"
    assert mlp["metrics"]["test_accuracy"] == undisturbed["mlp"][0]["metrics"]["test_accuracy"]


@pytest.mark.long
def test_an_evaluation_is_delivered_by_the_next_stage_to_the_model_that_it_was_of(checked_out, proxy, undisturbed):
    proxy.fault = hang_up
    trained(checked_out, *MLP, MLFLOW_TRACKING_URI=proxy.url)
    output = checked_out.run(*EVALUATE, MLFLOW_TRACKING_URI=proxy.url).stdout
    assert len(warnings(output)) == 1
    assert "mnist ui" not in output
    proxy.fault = None
    # By then there is another model in its place.
    checked_out.set_params({"train.mlp.epochs": 3})
    checked_out.run("dvc", "repro", "train-mlp", MLFLOW_TRACKING_URI=proxy.url)
    for _ in range(3):
        if not list((checked_out.folder / ".dvc/tmp/mlflow-outbox").iterdir()):
            break
        checked_out.run(*PREPROCESS, MLFLOW_TRACKING_URI=proxy.url)
    before, after = told(proxy.url)["mlp"]
    assert before == undisturbed["mlp"][0]
    assert after["models"] == ["READY"]
    assert "test_accuracy" not in after["metrics"]


@pytest.mark.long
def test_a_locked_database_costs_nothing_but_a_line(checked_out, undisturbed):
    checked_out.run(*FOREST)
    with closing(sqlite3.connect(checked_out.folder / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        output = trained(checked_out, *MLP)
        assert len(warnings(output)) == 1
        connection.execute("ROLLBACK")
    check_delivered(checked_out, store(checked_out), undisturbed)


@pytest.mark.long
def test_a_full_disk_of_the_store_costs_nothing_but_a_line(checked_out, undisturbed, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    uri = f"sqlite:///{disk / 'mlflow.db'}"
    if subprocess.run(("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk), check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        assert len(warnings(trained(checked_out, *MLP, MLFLOW_TRACKING_URI=uri))) == 1
        subprocess.run(("mount", "-o", "remount,size=64m", disk), check=True)
        check_delivered(checked_out, uri, undisturbed)
    finally:
        subprocess.run(("umount", "--lazy", disk), check=True)
