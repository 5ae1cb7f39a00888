"""The record of a run on disk: whole or not there, and only ours are published."""

import json

import pytest

from stages.tracking import record as records


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / records.FOLDER


@pytest.mark.parametrize(
    "state",
    [
        "[" * 100_000,
        "[]",
        "null",
        "\x00\xff",
        '{"status": "RUNNING"}',
        '{"status": "RUNNING", "store": "STORE"}',
        '{"status": "RUNNING", "store": "another", "start_time": 1, "tags": {}}',
    ],
)
def test_a_state_that_no_process_of_ours_wrote_is_passed_over(folder, state):
    ours = records.create({})
    store = json.loads((ours / "run.json").read_text())["store"]
    foreign = ours.with_name("1-1-1")
    foreign.mkdir()
    (foreign / "run.json").write_text(state.replace('"STORE"', json.dumps(store)))
    assert records.waiting() == [ours]
    assert not records.trains("0" * 32)
    assert foreign.exists()


@pytest.mark.parametrize("name", ["notes.txt", "1-1", "1-host-1", "1-..-x"])
def test_what_is_no_record_is_left(folder, name):
    ours = records.create({})
    (folder / name).mkdir()
    assert records.waiting() == [ours]
    assert (folder / name).exists()


def test_a_record_whose_process_was_killed_while_it_made_it_is_removed(folder):
    (folder / "1-1-1/files/code").mkdir(parents=True)
    assert records.waiting() == []
    assert list(folder.iterdir()) == []


def test_a_record_that_a_living_process_is_filling_is_left(folder):
    def fill(files):
        assert records.waiting() == []
        assert files.exists()

    made = records.create({}, fill)
    assert records.waiting() == [made]


def test_a_record_without_an_end_is_killed_once_its_process_is_gone(folder):
    ours = records.create({"start_time": 1000})
    records.append(ours, 1, {"val_loss": 0.1})
    assert records.read(ours)["status"] == records.RUNNING
    ((time, *_),) = records.metrics(ours)
    gone = ours.rename(ours.with_name("1-1-1"))
    state = records.read(gone)
    assert (state["status"], state["end_time"]) == (records.KILLED, time)
    records.update(gone, status=records.FINISHED)
    assert records.read(gone)["status"] == records.FINISHED


def test_a_line_that_a_power_cut_left_is_passed_over(folder):
    ours = records.create({})
    records.append(ours, 1, {"val_loss": 0.1, "val_accuracy": 1e-300})
    with open(ours / "metrics.csv", "ab") as file:
        file.write(b"\x00\x00\n,,,\n1,2,val_loss,0.")
    assert [row[1:] for row in records.metrics(ours)] == [(1, "val_loss", 0.1), (1, "val_accuracy", 1e-300)]
