"""A clone that was moved or copied finds the artifacts of its own store again.

MLflow keeps the whole path of every artifact, and its public interface cannot change one: an experiment's location is
set when it is made, and `mlflow db` moves resources between workspaces only (mlflow/mlflow issues 3719 and 8226 ask for
it, and are open). So this edits four columns of its SQLite tables: the one place that knows them.
"""

import sqlite3
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


@cache
def follow_the_clone(database: Path) -> None:
    """Have the store find its artifacts beside it; those of another clone that shares it stay where they are."""
    here = database.parent / "mlartifacts"
    # MLflow itself names the fault of a database.
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection, connection:
        locations = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        if all(_is_at(here, location) for (location,) in locations):
            return
        for table, column in COLUMNS:
            for row, location in connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
                if not _is_at(here, location):
                    moved = here / location.rpartition("/mlartifacts/")[2]
                    if moved.exists() or not Path(location).exists():
                        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (str(moved), row))


def _is_at(folder: Path, location: str | None) -> bool:
    """Return whether MLflow's path of an artifact is in `folder`, or no path of ours."""
    before, found, _ = (location or "").rpartition("/mlartifacts/")
    return not found or "://" in before or f"{before}/mlartifacts" == str(folder)
