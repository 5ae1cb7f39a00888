"""SQLite knows how large a store with many runs is."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stages.tracking.statistics import keep_statistics


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    """A store with 300 runs."""
    database = Path(shutil.copyfile(empty_store, tmp_path / "mlflow.db"))
    with closing(sqlite3.connect(database)) as connection, connection:
        for number in range(300):
            connection.execute(
                "INSERT INTO runs (run_uuid, status, lifecycle_stage, source_type, experiment_id) "
                "VALUES (?, 'FINISHED', 'active', 'LOCAL', 0)",
                (f"{number:032x}",),
            )
    return database


def known(database: Path) -> list:
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchall()
        return connection.execute("SELECT stat FROM sqlite_stat1 WHERE tbl = 'runs'").fetchall() if tables else []


def test_a_store_with_many_runs_gets_statistics(store):
    assert known(store) == []
    keep_statistics(store)
    assert len(known(store)) == 1


def test_a_store_at_work_a_damaged_and_a_missing_one_are_left_alone(store, tmp_path):
    with closing(sqlite3.connect(store)) as other:
        other.execute("BEGIN EXCLUSIVE")
        keep_statistics(store)
    assert known(store) == []
    (tmp_path / "damaged.db").write_bytes(b"no database" * 1000)
    keep_statistics(tmp_path / "damaged.db")
    keep_statistics(tmp_path / "nowhere" / "mlflow.db")
