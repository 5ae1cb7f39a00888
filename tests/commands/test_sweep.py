"""`mnist sweep` without its trainings: the file, the values, the numbering, the resumption, the verdict, the page."""

import argparse
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Timer

import pytest
from optuna.trial import TrialState
from ruamel.yaml import YAML
from scipy.stats import ttest_rel

from commands import sweep as command
from commands.sweeping.base import base_of, keys_read
from commands.sweeping.confirm import confirm, judge
from commands.sweeping.console import best_table
from commands.sweeping.file import load_sweep, sweep_names
from commands.sweeping.placing import Place, this_clone
from commands.sweeping.report import write_page
from commands.sweeping.search import Search
from commands.sweeping.space import check_space, distributions, params_content, point, present_values, proposed
from commands.sweeping.story import run_sweep
from commands.sweeping.study import REASON, TESTED, alone, finished, journal, open_study
from commands.sweeping.trial import COMPLETE, FAILED, STOPPED, Ended, Epoch, Task, Trained
from commands.sweeping.workspace import WORKSPACE_NOTE
from stages.params.yaml_file import edit_file
from stages.process.errors import UserError
from tests.conftest import PROJECT

SWEEP = {
    "metric": {"name": "val_accuracy", "goal": "maximize"},
    "stage": "train-cnn",
    "method": "random",
    "trials": 6,
    "seed": 3,
    "parameters": {
        "train.cnn.optimizer.learning_rate": {"min": 0.0005, "max": 0.01, "log": True},
        "train.cnn.batch_size": {"values": [32, 64]},
        "train.cnn.hidden_units": {"values": [[16], [32, 16]]},
    },
}

HALVING = {"type": "successive_halving", "min_iter": 1, "eta": 2}


@pytest.fixture
def project(params_file, tmp_path):
    """A folder with what a sweep reads, for digits, in which the sweep `own` can be written."""
    for name in ("recipes", "stages", "dvc.yaml", "pyproject.toml"):
        (tmp_path / name).symlink_to(PROJECT / name)
    (tmp_path / "sweeps").mkdir()
    edit_file(params_file, {"data.name": "digits"})
    return tmp_path


def write(project, changes=None, name="own"):
    content = {**SWEEP, **(changes or {})}
    with open(project / f"sweeps/{name}.yaml", "w") as file:
        YAML().dump({key: value for key, value in content.items() if value is not None}, file)


def opened(name="own"):
    sweep, content = load_sweep(name), params_content()
    return Search(name, sweep, open_study(name, sweep, base_of(sweep), present_values(sweep, content)), content)


def check(name="own"):
    sweep = load_sweep(name)
    check_space(name, sweep, params_content(), keys_read(sweep))


def value_of(task: Task) -> float:
    """What a training in place of the real one gives: best for a learning rate of 0.003."""
    return 1 - abs(task.params["train.cnn.optimizer.learning_rate"] - 0.003) * 50


def run(search, most=None, epochs=1):
    """Run trials that only pretend; those that are asked to stop do. Return their tasks."""
    tasks = []
    while (most is None or len(tasks) < most) and (task := search.next_task()):
        tasks.append(task)
        for epoch in range(1, epochs + 1):
            if reason := search.heard(task, Epoch(epoch, {"val_accuracy": value_of(task)})):
                search.heard(task, Ended(STOPPED, reason=reason))
                break
        else:
            search.heard(task, Trained({"val_accuracy": value_of(task)}))
            search.heard(task, Ended(COMPLETE, {"val_accuracy": value_of(task)}))
    return tasks


@pytest.mark.parametrize("name", [path.stem for path in sorted((PROJECT / "sweeps").glob("*.yaml"))])
def test_a_sweep_of_the_project_fits_params_yaml(name, monkeypatch):
    monkeypatch.chdir(PROJECT)
    check(name)


def test_without_a_name_the_sweeps_are_listed(monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    command.run(argparse.Namespace(name=None))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sweep_names()
    assert {"digits", "fashion-mlp", "fashion-cnn", "fashion-forest"} <= {*sweep_names()}


def parameter(key, **about):
    return {"parameters": {key: about}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": {"name": "test_accuracy", "goal": "maximize"}}, "metric.name: test_accuracy is refused"),
        ({"metric": {"name": "val_loss", "goal": "maximize"}}, "metric.goal: maximize with val_loss"),
        ({"trails": 3}, "trails: unknown key; did you mean trials?"),
        ({"method": "bayes"}, "method: 'bayes' is not allowed; allowed: grid | random | tpe"),
        ({"trials": None}, "trials: must be there with method: random"),
        ({"stage": "evaluate"}, "stage: 'evaluate' is not allowed"),
        ({"recipe": "digit"}, "digit: no such recipe"),
        (
            {"stage": "train-random-forest", "early_terminate": HALVING},
            "early_terminate: train-random-forest has no epochs",
        ),
        (
            {"method": "grid", "trials": 5, **parameter("train.cnn.epochs", values=[1, 2])},
            "trials: the grid has 2 points",
        ),
        ({"method": "grid", "trials": None, **parameter("train.cnn.epochs", min=1, max=2)}, "a grid has values"),
        (parameter("train.cnn.epochs", min=3), "train.cnn.epochs.values: give either values, or min and max"),
        (parameter("train.cnn.epochs", min=3, max=2), "min: 3 must be below max: 2"),
        (parameter("train.cnn.epochs", min=0, max=2, log=True), "must be above 0 with log: true"),
        (parameter("train.cnn.epochs", values=[]), "train.cnn.epochs.values"),
        (parameter("train.cnn.epoch", values=[2]), "train.cnn.epoch: unknown key; did you mean train.cnn.epochs?"),
        (parameter("train.cnn.epochs", values=[2, 0]), "train.cnn.epochs: 0 is not allowed"),
        (parameter("train.cnn.dropout", min=0, max=1), "train.cnn.dropout: 1"),
        (parameter("train.cnn.blocks.0.filters", values=[8]), "train.cnn.blocks is a list"),
        (
            parameter("train.mlp.epochs", values=[2]),
            "train.mlp.epochs: train-cnn does not read it; it reads data.name, data.offline, data.channels, data.re",
        ),
        (parameter("preprocess.seed", values=[1, 2]), "would be judged on different validation images; take it out"),
        (parameter("data.name", values=["digits", "mnist"]), "would be judged on different validation images"),
        (parameter("train.cnn.networks", min=1, max=5), "train.cnn.networks does not show in the metric"),
        (
            parameter("train.cnn", values=[{"epochs": 2, "networks": 1}, {"epochs": 3, "networks": 2}]),
            "train.cnn.networks does not show in the metric",
        ),
        (parameter("train.cnn.test_time_shift", values=[0, 1]), "is that of one network on images as they are"),
        ({"parameters": {"train.cnn.epochs": [1, 2]}}, "train.cnn.epochs: {values: [6, 9]} or {min: 6, max: 9}"),
        ({"recipe": ""}, "recipe: '' is not allowed"),
        ({"confirm": {"best": 7, "seeds": 2}}, "confirm.best: 7 of 6 trials; at most 6"),
        (
            {"method": "grid", "trials": None, "confirm": {"best": 3, "seeds": 2},
             **parameter("train.cnn.epochs", values=[1, 2])},
            "confirm.best: 3 of 2 trials; at most 2",
        ),
        (
            {"parameters": {**parameter("train.cnn.optimizer", values=[{}])["parameters"],
                            **parameter("train.cnn.optimizer.name", values=["adam"])["parameters"]}},
            "train.cnn.optimizer.name is a part of train.cnn.optimizer; take out one of the two",
        ),
        (
            {"method": "grid", "trials": None, **parameter("train.cnn.epochs", values=[*range(1, 1001)]),
             "parameters": {f"train.cnn.{key}": {"values": [*range(1, 1001)]} for key in ("epochs", "a", "b")}},
            "the grid has 1,000,000,000 points; at most 1,000,000",
        ),
        (
            {"confirm": {"best": 1, "seeds": 2}, **parameter("runtime.seed", values=[1, 2])},
            "runtime.seed: confirm has seeds of its own; take out one of the two",
        ),
        (
            {"parameters": {**parameter("train.cnn.hidden_units", values=[[8], [8, 8]])["parameters"],
                            **parameter("train.cnn.dropout", values=[[0.1]])["parameters"]}},
            "found with hidden_units [8, 8], dropout [0.1]",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_in_order_is_refused_before_the_first_trial(project, changes, message):
    write(project, changes)
    with pytest.raises(UserError) as error:
        check()
    assert message in str(error.value)
    assert str(error.value).startswith("sweeps/own.yaml: ") or "recipe" in message
    assert str(error.value).count("\n") <= 1


def test_an_unknown_sweep_is_refused_with_the_nearest(project):
    write(project)
    with pytest.raises(UserError, match="owm: no such sweep in sweeps/; there are own; did you mean own?"):
        load_sweep("owm")


def test_whole_numbers_are_proposed_where_the_schema_takes_no_others(project):
    write(project, {"parameters": {"train.cnn.epochs": {"min": 1, "max": 9}, "train.cnn.l2": {"min": 0, "max": 1}}})
    search = opened()
    params = [proposed(search.sweep, point(search.sweep, number, search.space)) for number in range(20)]
    assert {type(each["train.cnn.epochs"]) for each in params} == {int}
    assert {type(each["train.cnn.l2"]) for each in params} == {float}


def test_a_grid_has_each_point_once(project):
    grid = {"train.cnn.epochs": {"values": [1, 2]}, "train.cnn.hidden_units": {"values": [[8], [8, 8]]}}
    write(project, {"method": "grid", "trials": None, "seed": None, "parameters": grid})
    sweep = load_sweep("own")
    space = distributions(sweep, params_content())
    points = [proposed(sweep, point(sweep, number, space)) for number in range(sweep.total)]
    assert [[*each.values()] for each in points] == [[1, [8]], [1, [8, 8]], [2, [8]], [2, [8, 8]]]


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_sweep_that_was_killed_goes_on_to_the_same_total_with_the_same_values(project, method):
    trials = 13
    write(project, {"method": method, "trials": trials})
    write(project, {"method": method, "trials": trials}, name="killed")
    undisturbed = run(opened())
    assert [task.name for task in undisturbed] == [f"own-{number:04d}" for number in range(trials)]
    # After 11, with the twelfth under way, and then after its first epoch.
    run(opened("killed"), most=11)
    opened("killed").next_task()
    with open(journal("killed"), "ab") as file:
        file.write(b'{"op_code":')
    search = opened("killed")
    task = search.next_task()
    assert task.tags == {"sweep": "killed", "sweep.trial": "11"}
    search.heard(task, Epoch(1, {"val_accuracy": value_of(task)}))
    search = opened("killed")
    rest = run(search)
    assert [task.name for task in rest] == ["killed-0011", "killed-0012"]
    assert [task.params for task in rest] == [task.params for task in undisturbed[11:]]
    assert [trial.number for trial in finished(search.study)] == [*range(trials)]


def test_a_trial_that_dvc_has_not_kept_is_run_again_and_keeps_its_value(project):
    write(project)
    search = opened()
    task = search.next_task()
    search.heard(task, Trained({"val_accuracy": 0.5}))
    # Another one meanwhile.
    assert search.next_task().name == "own-0001"
    # Killed before DVC was done with the first: after the second, which was broken off.
    search = opened()
    second, again = search.next_task(), search.next_task()
    assert (second.name, again) == ("own-0001", task)
    search.heard(again, Trained({"val_accuracy": 0.4}))
    search.heard(again, Ended(COMPLETE, {"val_accuracy": 0.4}))
    assert search.study.trials[0].value == 0.5
    assert opened().study.user_attrs["unkept"] == []


def test_trials_that_fall_behind_are_stopped_and_stay_so_after_a_kill(project):
    write(project, {"early_terminate": HALVING, "trials": 8})
    search = opened()
    run(search, epochs=2)
    states = [trial.state for trial in finished(search.study)]
    assert states[0] == TrialState.COMPLETE
    assert states.count(TrialState.PRUNED) >= 2
    pruned = next(trial for trial in finished(search.study) if trial.state == TrialState.PRUNED)
    assert pruned.user_attrs[REASON].startswith("pruned after epoch 1: val_accuracy 0.")

    write(project, {"early_terminate": HALVING, "trials": 8}, "killed")
    search = opened("killed")
    run(search, most=pruned.number, epochs=2)
    task = search.next_task()
    assert search.heard(task, Epoch(1, {"val_accuracy": value_of(task)}))
    # Killed before the trial has ended: it is not run again.
    assert opened("killed").next_task().name == f"killed-{pruned.number + 1:04d}"


def test_a_changed_file_or_base_is_refused_with_what_changed(project, params_file):
    write(project)
    run(opened(), most=2)
    write(project, {"seed": 4})
    with pytest.raises(UserError, match="has changed since its first trial: seed was 3 and is 4\nPut that back, or"):
        opened()
    write(project, {"resources": {"cpus": 1, "gpus": 0}})
    opened()
    write(project)
    edit_file(params_file, {"runtime.threads": 1, "train.mlp.epochs": 1, "train.cnn.batch_size": 7})
    with pytest.raises(UserError, match="what train-cnn depends on has changed .*: runtime.threads was 2 and is 1\n"):
        opened()
    edit_file(params_file, {"runtime.threads": 2})
    (project / "stages").unlink()
    shutil.copytree(PROJECT / "stages", project / "stages")
    with open(project / "stages/learners/training.py", "a") as file:
        file.write("#\n")
    with pytest.raises(UserError, match="stages/learners/training.py has changed"):
        opened()


def test_the_order_of_the_parameters_by_which_points_are_numbered_stays(project):
    write(project)
    opened().next_task()
    write(project, {"parameters": dict(reversed(SWEEP["parameters"].items()))})
    with pytest.raises(
        UserError, match="has changed since its first trial: the order of parameters was train.cnn.opti"
    ):
        opened()


def test_equal_values_that_are_written_otherwise_are_a_change(project):
    values = [{"name": name, "learning_rate": 0.001, "schedule": "cosine"} for name in ("adam", "sgd")]
    write(project, parameter("train.cnn.optimizer", values=values))
    opened().next_task()
    write(project, parameter("train.cnn.optimizer", values=[dict(reversed(each.items())) for each in values]))
    with pytest.raises(UserError, match="has changed since its first trial: parameters.train.cnn.optimizer.values was"):
        opened()


@pytest.mark.parametrize("content", ["", "data:\n  name: digits\n"])
def test_a_params_file_that_an_editor_is_writing_ends_the_sweep_without_a_trial(project, params_file, content):
    write(project)
    run(opened(), most=1)
    params_file.write_text(content)
    with pytest.raises(UserError, match="params.yaml: "):
        base_of(load_sweep("own"))


def test_a_recipe_of_a_sweep_is_refused_under_its_own_name(project):
    (project / "recipes").unlink()
    shutil.copytree(PROJECT / "recipes", project / "recipes")
    (project / "recipes/misspelt.yaml").write_text("# x\ntrain: {cnn: {epoch: 3}}\n")
    write(project, {"recipe": "misspelt"})
    with pytest.raises(UserError, match=r"^recipes/misspelt.yaml: train.cnn.epoch: unknown key"):
        check()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("garbage\n"),
        lambda path: path.write_text(path.read_text().replace('"op_code":0', '"op_code":99', 1)),
        lambda path: path.write_text(path.read_text().replace("{", "", 3)),
        lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[1:])),
        lambda path: path.write_text(path.read_text() + "garbage\n"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_damaged_journal_is_one_error_and_breaks_no_list(project, damage, capsys):
    write(project)
    write(project, name="other")
    run(opened(), most=2)
    damage(journal("own"))
    before = journal("own").is_file() and journal("own").read_bytes()
    with pytest.raises(UserError, match=r"own.journal: cannot be read: .*\nRemove it and the sweep starts anew"):
        opened()
    assert (journal("own").is_file() and journal("own").read_bytes()) == before
    command.run(argparse.Namespace(name=None))
    assert "other" in capsys.readouterr().out


def test_what_an_editor_puts_beside_the_files_is_no_sweep(project, capsys):
    write(project)
    (project / "sweeps/.#own.yaml").symlink_to("user@host.1")
    (project / "sweeps/folder.yaml").mkdir()
    (project / "sweeps/latin.yaml").write_bytes(b"# caf\xe9 \x1b[31m\n")
    command.run(argparse.Namespace(name=None))
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == ["latin", "own"]
    assert "\x1b" not in printed


def test_more_trials_go_on_and_fewer_are_refused(project):
    write(project)
    run(opened())
    write(project, {"trials": 8})
    assert [task.name for task in run(opened())] == ["own-0006", "own-0007"]
    write(project, {"trials": 5})
    with pytest.raises(UserError, match="trials was 8 and is 5"):
        opened()


def test_a_proposed_number_has_four_digits(project):
    write(project)
    rates = [task.params["train.cnn.optimizer.learning_rate"] for task in run(opened())]
    assert rates == [float(f"{rate:.4g}") for rate in rates]


CONFIRM = {"best": 1, "seeds": 2}


def place_of(value_of, trained):
    """A place whose trainings only pretend; None for one that fails. It adds what it is given to `trained`."""

    def place(next_task, heard):
        while task := next_task():
            trained.append(task)
            value = value_of(task)
            failed = Ended(FAILED, reason="no memory")
            heard(task, failed if value is None else Ended(COMPLETE, {"val_accuracy": value}))

    return Place(place, lambda names, models: None)


def confirmed(value_of=value_of, name="own"):
    search, trained = opened(name), []
    return confirm(name, search.sweep, search.study, search.content, place_of(value_of, trained)), trained


def test_the_best_are_compared_with_the_settings_that_stood_when_the_sweep_began(project, params_file):
    edit_file(params_file, {"train.cnn.optimizer.learning_rate": 0.009})
    write(project, {"confirm": CONFIRM})
    run(opened())
    # As after `dvc exp apply`.
    edit_file(params_file, {"train.cnn.optimizer.learning_rate": 0.003})
    verdict, trained = confirmed()
    assert [task.name for task in trained][:2] == ["own-present-seed-1", "own-present-seed-2"]
    assert {task.params["train.cnn.optimizer.learning_rate"] for task in trained[:2]} == {0.009}
    assert verdict.present == [value_of(task) for task in trained[:2]]
    # Once more there is nothing to train.
    assert confirmed() == (verdict, [])


def test_the_present_settings_are_not_compared_with_themselves(project, params_file):
    edit_file(params_file, {"train.cnn.optimizer.learning_rate": 0.003})
    grid = {"method": "grid", "trials": None, "confirm": CONFIRM}
    write(project, grid | parameter("train.cnn.optimizer.learning_rate", values=[0.003, 0.005]))
    run(opened())
    verdict, trained = confirmed()
    assert (verdict.winner, verdict.gain < 0) == (1, True)
    assert len(trained) == 4
    write(project, grid | parameter("train.cnn.optimizer.learning_rate", values=[0.003]), "alone")
    run(opened("alone"))
    assert confirmed(name="alone") == (None, [])


def test_what_could_not_be_trained_again_is_tried_by_the_next_command(project):
    write(project, {"confirm": CONFIRM})
    run(opened())
    with pytest.raises(UserError, match="present-seed-1: the present settings cannot be trained: no memory"):
        confirmed(lambda task: None)
    with pytest.raises(UserError, match="none of the best settings could be trained with every seed"):
        confirmed(lambda task: value_of(task) if "present" in task.name else None)
    verdict, trained = confirmed()
    assert [task.name.rpartition("-seed-")[0] for task in trained] == [f"own-{verdict.winner:04d}"] * 2


def test_a_verdict_that_cannot_be_had_leaves_the_page_of_the_search(project, monkeypatch):
    def value(task: Task) -> float | None:
        return None if task.name == "own-0005-seed-2" else value_of(task) + int(task.name[4:8] == "0005")

    write(project, {"confirm": CONFIRM})
    monkeypatch.setattr("commands.sweeping.story.check_tracked", lambda name: None)
    monkeypatch.setattr("commands.sweeping.story._place", lambda *_: nullcontext(place_of(value, [])))
    with pytest.raises(UserError, match="none of the best settings could be trained .*\n.* a larger confirm.best"):
        run_sweep("own", None)
    assert "The best trials" in (project / "reports/sweeps/own/index.html").read_text()


@pytest.mark.parametrize("wins", [False, True])
def test_the_test_images_are_looked_at_once_and_for_a_winner_alone(project, monkeypatch, capsys, wins):
    looked_at = []

    def value(task: Task) -> float:
        if "-seed-" not in task.name:
            return value_of(task)
        # The gain is 0.1 and -0.1 with the two seeds, or 0.30 and 0.31.
        present, seed = "present" in task.name, task.params["runtime.seed"]
        return (0.2 + seed / 100 if not present else 0.0) if wins else (0.5 if present == (seed == 1) else 0.6)

    class Models:
        def __init__(self, *_):
            pass

        def tested(self) -> dict[str, float]:
            return {"test_accuracy": 0.9, "test_loss": 0.3}

    write(project, {"confirm": CONFIRM})
    place = Place(place_of(value, []).run, lambda names, models: looked_at.extend(names if models else []))
    monkeypatch.setattr("commands.sweeping.story.check_tracked", lambda name: None)
    monkeypatch.setattr("commands.sweeping.story._place", lambda *_: nullcontext(place))
    monkeypatch.setattr("commands.sweeping.confirm.Outputs", Models)
    monkeypatch.setattr("commands.sweeping.confirm.start_keras", lambda runtime: None)
    for _ in range(2):
        run_sweep("own", None)
    assert ("beats the present settings" in capsys.readouterr().out) == wins
    assert len(looked_at) == (2 if wins else 0)


def test_the_params_of_a_trial_that_starts_in_this_clone_are_no_change(project, params_file, monkeypatch):
    changed = []

    def value(task: Task) -> float:
        if not changed:
            # As DVC starts a trial of a cluster here, and puts everything back.
            content, note = params_file.read_text(), Path(WORKSPACE_NOTE)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text("{}")
            edit_file(params_file, {"runtime.seed": 7})
            changed.append(Timer(0.5, lambda: (params_file.write_text(content), note.unlink())))
            changed[0].start()
        return value_of(task)

    write(project)
    monkeypatch.setattr("commands.sweeping.story.check_tracked", lambda name: None)
    monkeypatch.setattr("commands.sweeping.story._place", lambda *_: nullcontext(place_of(value, [])))
    run_sweep("own", None)
    assert len(finished(opened().study)) == 6


def test_seeds_of_confirm_that_cannot_be_are_refused_before_the_first_trial(project, params_file):
    edit_file(params_file, {"runtime.seed": 2**32 - 2})
    write(project, {"confirm": CONFIRM})
    with pytest.raises(UserError, match="confirm.seeds: runtime.seed: 4294967296 is not allowed"):
        check()


def test_a_sweep_named_as_the_present_settings_is_judged_like_others(project):
    write(project, {"confirm": CONFIRM}, "a-present-b")
    run(opened("a-present-b"))
    with pytest.raises(UserError, match="none of the best settings could be trained"):
        confirmed(lambda task: value_of(task) if "b-present-" in task.name else None, "a-present-b")


def test_confirm_may_come_later_and_more_trials_are_compared_with_those_before(project):
    write(project)
    run(opened())
    write(project, {"confirm": CONFIRM})
    # The later the trial, the better.
    confirmed(lambda task: int(task.name.split("-")[1]) / 100 if "present" not in task.name else 0.1)
    write(project, {"confirm": {"best": 1, "seeds": 3}})
    with pytest.raises(UserError, match="confirm.seeds was 2 and is 3"):
        opened()
    write(project, {"confirm": CONFIRM, "trials": 40})
    run(opened())
    verdict, trained = confirmed()
    assert len(trained) == 2
    assert verdict.compared == 2
    # A second winner would have the test images looked at again.
    opened().study.set_user_attr(TESTED, {})
    write(project, {"confirm": CONFIRM, "trials": 41})
    with pytest.raises(UserError, match="trials was 40 and is 41"):
        opened()


def test_trials_that_fail_are_recorded_and_end_the_sweep_only_where_all_do(project):
    write(project)
    search = opened()
    run(search, most=1)
    for _ in range(3):
        search.heard(search.next_task(), Ended(FAILED, reason="train.cnn: train_loss is nan"))
    assert len(run(search)) == 2
    failed = [trial for trial in finished(search.study) if trial.state == TrialState.FAIL]
    assert {trial.user_attrs[REASON] for trial in failed} == {"train.cnn: train_loss is nan"}

    write(project, name="bad")
    search = opened("bad")
    for _ in range(3):
        search.heard(search.next_task(), Ended(FAILED, reason="no disk left"))
    with pytest.raises(UserError, match="the first 3 trials have all failed, the last one so: no disk left"):
        search.next_task()
    # What made them fail was mended.
    search = opened("bad")
    assert [task.name for task in run(search)] == [f"bad-{number:04d}" for number in range(6)]
    assert {trial.state for trial in search.study.trials} == {TrialState.COMPLETE}


def test_a_point_that_the_schema_refuses_is_a_failed_trial_that_nobody_runs(project, capsys):
    write(project, {"trials": 12, "parameters": {"train.cnn.epochs": {"values": [1, 2, 3, 0]}}})
    search, tasks = opened(), []
    while task := search.next_task():
        tasks.append(task)
        search.heard(task, Ended(COMPLETE, {"val_accuracy": 0.5}))
    assert {task.params["train.cnn.epochs"] for task in tasks} == {1, 2, 3}
    refused = [trial for trial in finished(search.study) if trial.state == TrialState.FAIL]
    assert len(tasks) + len(refused) == 12
    assert refused
    warnings = capsys.readouterr().err
    for trial in refused:
        assert trial.params == {"train.cnn.epochs": 0}
        assert f"trial {trial.number} is not run: train.cnn.epochs: " in warnings
        assert trial.user_attrs[REASON].startswith("train.cnn.epochs: ")


def test_those_that_fail_once_more_are_recorded_so_that_others_have_their_turn(project):
    write(project, {"trials": 7})

    def run_failing() -> list[int]:
        search = opened()
        with suppress(UserError):
            while task := search.next_task():
                search.heard(task, Ended(FAILED, reason="nan"))
        return [trial.number for trial in finished(search.study)]

    assert [run_failing() for _ in range(3)] == [[], [0, 1, 2], [0, 1, 2, 3, 4, 5, 6]]


def test_a_second_sweep_of_the_same_name_is_refused(project):
    with alone("own"), pytest.raises(UserError, match="own: another process runs this sweep here"), alone("own"):
        pass


def test_two_sweeps_in_one_clone_are_refused(project):
    words = "another sweep runs trials in this clone"
    with this_clone(project), pytest.raises(UserError, match=words), this_clone(project):
        pass


def test_the_winner_is_judged_by_a_paired_test_for_all_that_were_compared():
    present, better = [0.90, 0.91, 0.89, 0.90], [0.93, 0.935, 0.92, 0.928]
    values = {"present": present, "0007": better, "0002": [0.8, 0.9, 0.9, 0.9]}
    verdict = judge(values, [1, 2, 3, 4], "maximize", 2)
    expected = ttest_rel(better, present)
    assert (verdict.winner, verdict.compared, verdict.beats) == (7, 2, True)
    assert verdict.p_value == pytest.approx(2 * expected.pvalue)
    interval = expected.confidence_interval(1 - 0.05 / 2)
    assert (verdict.low, verdict.high) == pytest.approx((interval.low, interval.high))
    # Lower is better: the same numbers say the contrary.
    assert not judge({"present": present, "0007": better}, [1, 2, 3, 4], "minimize", 1).beats


def test_a_gain_that_is_chance_or_cannot_be_judged_beats_nothing():
    assert not judge({"present": [0.9, 0.92, 0.91], "0001": [0.92, 0.91, 0.93]}, [1, 2, 3], "maximize", 1).beats
    same = judge({"present": [0.9, 0.92], "0001": [0.91, 0.93]}, [1, 2], "maximize", 1)
    assert (same.beats, same.p_value, same.gain) == (False, None, pytest.approx(0.01))


def test_a_param_of_one_value_is_in_no_table(project):
    write(project, {"parameters": {**SWEEP["parameters"], "train.cnn.epochs": {"values": [1]}}})
    search = opened()
    assert run(search)[0].params["train.cnn.epochs"] == 1
    text = write_page("own", search.sweep, "# about\n", search.study, None, None).read_text()
    assert "<th title" in text
    assert ">epochs</th>" not in text
    headings = [column.header for column in best_table("own", search.sweep, search.study).columns]
    assert headings[2:] == ["learning_rate", "batch_size", "hidden_units"]


def test_the_page_has_the_trials_the_verdict_and_the_pictures(project):
    write(project)
    search = opened()
    run(search, most=5)
    search.heard(search.next_task(), Ended(FAILED, reason="<b>nan</b>"))
    verdict = judge({"present": [0.90, 0.91, 0.89], "0002": [0.93, 0.935, 0.92]}, [1, 2, 3], "maximize", 1)
    tested = {"test_accuracy": [0.92], "test_loss": [0.2]}
    page = write_page("own", search.sweep, "# about\n", search.study, verdict, tested)
    text = page.read_text()
    assert "5 trials complete, 0 pruned, 1 failed, of 6" in text
    assert "Trial 2 beats the present settings by more than chance." in text
    assert text.count("data:image/png;base64,") == 3
    assert "&lt;b&gt;nan" in text
    assert "http" not in text
    pictures = {"history.png", "importances.png", "parallel_coordinate.png"}
    assert {path.name for path in page.parent.iterdir()} == {"index.html", *pictures}
    (page.parent / "notes.md").write_text("mine")
    # Nothing in it tells when it was made.
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    write_page("own", search.sweep, "# about\n", search.study, verdict, tested)
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before
