"""`mnist sweep` with its trainings: experiments of DVC, runs of MLflow, pruning, kills, the cache, the verdict."""

import subprocess
import sys
import time

import mlflow
import pytest
from ruamel.yaml import YAML

from commands.sweeping.workspace import mend_workspace, note_workspace
from tests.conftest import Clone
from tests.project import client, locked, processes_in, runs, wait_until
from tests.servers import free_port, mlflow_server

FOREST = {
    "metric": {"name": "val_accuracy", "goal": "maximize"},
    "stage": "train-random-forest",
    "method": "grid",
    "parameters": {"train.random_forest.n_estimators": {"values": [3, 30, 60]}},
    "confirm": {"best": 1, "seeds": 3},
}
MLP = {
    "metric": {"name": "val_loss", "goal": "minimize"},
    "stage": "train-mlp",
    "method": "random",
    "trials": 4,
    "seed": 1,
    "parameters": {"train.mlp.optimizer.learning_rate": {"min": 0.00001, "max": 0.01, "log": True}},
    "early_terminate": {"type": "successive_halving", "min_iter": 2, "eta": 2},
}
# A stage that fails for some params, and whose DVC has its own words for that.
FAILING = """
    if params.forest.n_estimators == 30:
        from stages.process.errors import UserError
        raise UserError("thirty trees are too many\\nPlant fewer.")
"""


def write(clone: Clone, name: str, content: dict) -> None:
    with open(clone.folder / f"sweeps/{name}.yaml", "w") as file:
        YAML().dump(content, file)


def experiments(clone: Clone) -> list[str]:
    return sorted(clone.run("dvc", "exp", "list", "--names-only").stdout.split())


def trials(clone: Clone, model: str, sweep: str) -> dict[str, list]:
    """The runs of the sweep's trials that have ended as trials do, by number."""
    by_number: dict[str, list] = {}
    for run in runs(clone).get(model, []):
        if run.data.tags.get("sweep") == sweep and "sweep.state" in run.data.tags:
            by_number.setdefault(run.data.tags["sweep.trial"], []).append(run)
    return by_number


@pytest.mark.long
def test_a_sweep_of_forests_fails_in_part_is_confirmed_and_comes_from_the_cache(checked_out):
    module = checked_out.folder / "stages/train_random_forest.py"
    loads = "    params = load_params(TrainRandomForestParams)\n"
    module.write_text(module.read_text().replace(loads, loads + FAILING))
    # The present settings are the worst.
    checked_out.set_params({"train.random_forest.n_estimators": 2})
    checked_out.commit("fails for 30 trees")
    write(checked_out, "forest", FOREST)
    before = locked(checked_out, "train-random-forest")
    output = checked_out.run("mnist", "sweep", "forest").stdout
    assert "trial 1: n_estimators 30: failed: thirty trees are too many" in output
    assert "3 of 3 trials done" in output
    assert "trial 2 beats the present settings by more than chance" in output
    assert "On the test images, looked at once, for the winner: accuracy " in output
    assert "uv run dvc exp apply forest-0002" in output
    assert "Traceback" not in output
    found = trials(checked_out, "random-forest", "forest")
    assert {number: run.data.tags["sweep.state"] for number, (run,) in found.items()} == {
        "0": "COMPLETE",
        "2": "COMPLETE",
    }
    assert found["2"][0].data.tags["dvc.experiment"] == "forest-0002"
    confirmed = [f"forest-{label}-seed-{seed}" for label in ("0002", "present") for seed in (1, 2, 3)]
    assert experiments(checked_out) == sorted(["forest-0000", "forest-0002", *confirmed])
    # The workspace stays as it was, but for the file of the sweep and its page.
    assert locked(checked_out, "train-random-forest") == before
    status = checked_out.run("git", "status", "--porcelain").stdout
    assert status == "?? reports/sweeps/forest/\n?? sweeps/forest.yaml\n"
    page = (checked_out.folder / "reports/sweeps/forest/index.html").read_text()
    assert "beats the present settings by more than chance" in page
    assert "thirty trees are too many" in page
    model_md5 = found["2"][0].data.tags["dvc.model_md5"]

    # Once more there is nothing to do.
    again = checked_out.run("mnist", "sweep", "forest").stdout
    assert "confirm: " not in again
    assert "trial 2 beats" in again

    # Another sweep of the same trials takes them from the cache, for a store that has never seen them.
    write(checked_out, "other", {key: value for key, value in FOREST.items() if key != "confirm"})
    store = f"sqlite:///{checked_out.folder / 'mlflow-fresh.db'}"
    output = checked_out.run("mnist", "sweep", "other", MLFLOW_TRACKING_URI=store).stdout
    assert output.count("(from DVC's cache)") == 2
    assert "warning" not in output
    fresh = mlflow.MlflowClient(store)
    experiment = fresh.get_experiment_by_name("digits").experiment_id
    found = {run.data.tags["sweep.trial"]: run for run in fresh.search_runs([experiment], "tags.sweep = 'other'")}
    assert {*found} == {"0", "2"}
    run = found["2"]
    assert run.data.tags["sweep.state"] == "COMPLETE"
    assert run.data.tags["dvc.model_md5"] == model_md5
    assert run.data.tags["dvc.restored"] == "true"
    assert run.data.metrics["val_accuracy"] > 0.8
    assert run.info.status == "FINISHED"

    # A store that is away gets them once it is back: what waits is not lost.
    port = free_port()
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    write(checked_out, "away", {key: value for key, value in FOREST.items() if key != "confirm"})
    output = checked_out.run("mnist", "sweep", "away", **away).stdout
    assert "MLflow does not have the run of away-0002 yet, which came from DVC's cache" in output
    assert "3 of 3 trials done" in output
    (checked_out.folder.parent / "server").mkdir()
    with mlflow_server(checked_out.folder.parent / "server", port=port):
        checked_out.run("mnist", "sweep", "away", **away)
        back = mlflow.MlflowClient(away["MLFLOW_TRACKING_URI"])
        experiment = back.get_experiment_by_name("digits").experiment_id
        found = back.search_runs([experiment], "tags.sweep = 'away'")
        assert {run.data.tags["sweep.trial"] for run in found} == {"0", "2"}
        # Another sweep takes over a run that there is.
        write(checked_out, "over", {key: value for key, value in FOREST.items() if key != "confirm"})
        checked_out.run("mnist", "sweep", "over", **away)
        assert not back.search_runs([experiment], "tags.sweep = 'away'")
        assert len(back.search_runs([experiment], "tags.sweep = 'over'")) == 2

    # The winner's bytes come from the cache.
    checked_out.run("dvc", "exp", "apply", "forest-0002")
    assert locked(checked_out, "train-random-forest")["models/random_forest.skops"] == model_md5
    assert "n_estimators: 60" in (checked_out.folder / "params.yaml").read_text()
    assert not processes_in(checked_out.folder)


@pytest.mark.long
@pytest.mark.faults
def test_a_sweep_prunes_and_survives_the_kill_of_everything(checked_out):
    write(checked_out, "mlp", MLP)
    log = checked_out.folder.parent / "sweep.log"
    with open(log, "w") as file:
        first = checked_out.start("mnist", "sweep", "mlp", stdout=file)
        journal = checked_out.folder / ".dvc/tmp/sweeps/mlp.journal"
        while not journal.exists():
            assert first.poll() is None, log.read_text()
            time.sleep(0.1)
        second = checked_out.run("mnist", "sweep", "mlp", check=False)
        assert "another process runs this sweep here" in second.stdout
        assert second.returncode == 1
        events = checked_out.folder / ".dvc/tmp/sweeps/trials/mlp-0001/events.jsonl"
        for _ in range(2400):
            if events.exists() and '"epoch": 1' in events.read_text():
                break
            assert first.poll() is None, log.read_text()
            time.sleep(0.1)
        for process in processes_in(checked_out.folder):
            process.kill()
        first.wait()
    assert "trial 0:" in log.read_text()
    output = checked_out.run("mnist", "sweep", "mlp").stdout
    assert "sweep mlp: train-mlp, random; 1 of 4 trials done" in output
    assert "4 of 4 trials done. The page: reports/sweeps/mlp/index.html" in output
    found = trials(checked_out, "mlp", "mlp")
    assert sorted(found) == ["0", "1", "2", "3"]
    states = {number: [run.data.tags["sweep.state"] for run in each] for number, each in found.items()}
    assert {len(each) for each in states.values()} == {1}
    assert states["0"] == ["COMPLETE"]
    pruned = [number for number, (state,) in states.items() if state == "PRUNED"]
    assert pruned
    for number in pruned:
        (run,) = found[number]
        assert run.info.status == "KILLED"
        assert run.data.tags["failure"].startswith("pruned after epoch 2: val_loss ")
    # Of pruned ones nothing is kept.
    assert not [*(checked_out.folder / ".checkpoints").glob("*")]
    assert experiments(checked_out) == sorted(f"mlp-000{number}" for number in states if number not in pruned)
    md5s = [run.data.tags["dvc.model_md5"] for run in runs(checked_out)["mlp"] if "dvc.model_md5" in run.data.tags]
    assert len(md5s) == len({*md5s})
    assert not processes_in(checked_out.folder)

    # Killed in the middle or not, the trials are the same.
    write(checked_out, "undisturbed", MLP)
    checked_out.run("mnist", "sweep", "undisturbed")
    tried = [
        {
            number: run.data.params["optimizer.learning_rate"]
            for number, (run, *_) in trials(checked_out, "mlp", each).items()
        }
        for each in ("mlp", "undisturbed")
    ]
    # Those of the first that DVC had in its cache belong to the second now.
    assert tried[1].items() >= tried[0].items()
    assert sorted(tried[1]) == ["0", "1", "2", "3"]


@pytest.mark.long
@pytest.mark.faults
def test_a_kill_while_dvc_starts_a_trial_leaves_the_branch_and_the_edits_as_they_were(checked_out):
    write(checked_out, "forest", {key: value for key, value in FOREST.items() if key != "confirm"})
    readme = checked_out.folder / "README.md"
    readme.write_text("mine\n")
    params = (checked_out.folder / "params.yaml").read_text()
    head = checked_out.folder / ".git/HEAD"
    branch = head.read_text()
    sweep = checked_out.start("mnist", "sweep", "forest", stdout=subprocess.DEVNULL)
    wait_until(lambda: head.read_text() != branch)
    for process in processes_in(checked_out.folder):
        process.kill()
    sweep.wait()
    assert (head.read_text(), readme.read_text()) != (branch, "mine\n")

    output = checked_out.run("mnist", "sweep", "forest").stdout
    assert "3 of 3 trials done" in output
    assert head.read_text() == branch
    assert readme.read_text() == "mine\n"
    assert (checked_out.folder / "params.yaml").read_text() == params
    assert experiments(checked_out) == ["forest-0000", "forest-0001", "forest-0002"]


QUEUE = """
from dvc.repo import Repo
queue = Repo().experiments
queue.queue_one(queue.tempdir_queue, params={"params.yaml": ["train.random_forest.n_estimators=7"]}, name="left")
"""


@pytest.mark.long
@pytest.mark.faults
def test_an_experiment_that_a_killed_dvc_has_left_in_the_queue_is_not_run_with_a_trial(checked_out):
    checked_out.run(sys.executable, "-c", QUEUE)
    write(checked_out, "forest", {key: value for key, value in FOREST.items() if key != "confirm"})
    checked_out.run("mnist", "sweep", "forest")
    assert experiments(checked_out) == ["forest-0000", "forest-0001", "forest-0002"]
    assert {run.data.params["n_estimators"] for run in runs(checked_out)["random-forest"]} == {"3", "30", "60"}


@pytest.mark.long
def test_a_sweep_that_is_interrupted_says_what_remains(checked_out):
    write(checked_out, "mlp", MLP)
    sweep = checked_out.start("mnist", "sweep", "mlp")
    events = checked_out.folder / ".dvc/tmp/sweeps/trials/mlp-0000/events.jsonl"
    for _ in range(2400):
        if events.exists() and '"epoch": 2' in events.read_text():
            break
        assert sweep.poll() is None
        time.sleep(0.1)
    sweep.send_signal(2)
    output, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    assert "0 of 4 trials done, 4 left. The same command goes on from there: uv run mnist sweep mlp" in output
    assert "Traceback" not in output
    assert not processes_in(checked_out.folder)
    (run,) = client(checked_out).search_runs(["1"])
    assert (run.info.status, run.data.tags["failure"], "sweep.state" in run.data.tags) == (
        "KILLED",
        "interrupted",
        False,
    )
    # DVC has cleaned up behind its stage.
    assert not [*(checked_out.folder / ".dvc/tmp/exps/standalone").glob("tmp*")]

    # Also while DVC starts a trial: what the user puts into the stash after that stays there.
    note = checked_out.folder / ".dvc/tmp/sweeps/.workspace.json"
    sweep = checked_out.start("mnist", "sweep", "mlp")
    wait_until(note.exists)
    sweep.send_signal(2)
    output, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    assert not note.exists(), output
    assert checked_out.run("git", "stash", "list").stdout == ""


def test_what_a_killed_dvc_has_left_on_a_detached_head_is_put_into_the_stash(clone):
    clone.run("git", "checkout", "--quiet", "--detach")
    before = (clone.folder / "params.yaml").read_text()
    note_workspace(clone.folder)
    clone.set_params({"runtime.seed": 7})
    mend_workspace(clone.folder)
    assert (clone.folder / "params.yaml").read_text() == before
    assert "runtime.seed" not in clone.run("git", "status", "--porcelain").stdout
    assert "+  seed: 7" in clone.run("git", "stash", "show", "--patch").stdout
    # The user's own edits, of before, stay.
    clone.set_params({"runtime.seed": 8})
    note_workspace(clone.folder)
    mend_workspace(clone.folder)
    assert "seed: 8" in (clone.folder / "params.yaml").read_text()
