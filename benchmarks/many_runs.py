"""Measure what a store of MLflow with many runs costs the commands that ask it, on `digits`.

    uv run python -m benchmarks.many_runs [--runs 10 10000]

A clone runs the pipeline once. Its three runs are then copied inside the database, with all that they have, until there
are so many, and each command is timed. It prints the table of docs/team.md. --database and --server do the same
through a fresh server that keeps its runs in that database.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from uuid import uuid4

import numpy as np
import psutil
import requests
import sqlalchemy as sql

from benchmarks.results import clone, environment, parser
from stages.params.yaml_file import edit_file
from stages.process.provenance import cores, processor
from stages.tracking.champion import ALIAS, MODEL_MD5, choose_champion
from stages.tracking.identity import EVALUATION
from stages.tracking.publish import ENTRY
from stages.tracking.record import RESTORED
from stages.tracking.store import connect

DATASET = "digits"
PARAMS = {
    "data.name": DATASET,
    "explore.umap": False,
    **{f"train.{network}.{key}": value for network in ("mlp", "cnn") for key, value in
       {"epochs": 20, "min_steps": None, "test_time_shift": 0}.items()},
}  # fmt: skip
COPIED = ("runs", "params", "tags", "metrics", "latest_metrics", "inputs", "input_tags", "logged_models",
          "logged_model_params", "logged_model_tags", "logged_model_metrics")  # fmt: skip
# What the page of the runs asks for first.
FIRST_TABLE = {"max_results": 100, "order_by": ["metrics.`test_accuracy` DESC"]}
MINUTE = 60_000


class Store:
    """The database behind a store of MLflow; `uri` is what commands are told of the store."""

    def __init__(self, database: str, uri: str):
        self.engine, self.uri = sql.create_engine(database), uri
        self.made = 0
        metadata = sql.MetaData()
        metadata.reflect(self.engine, only=COPIED)
        self.tables = metadata.tables

    def fill(self, count: int) -> None:
        """Copy the runs that there are until there are `count`, each with its own id, model and md5, and a lower
        validation accuracy."""
        random = np.random.default_rng(0)
        runs, models, tags = (self.tables[name] for name in ("runs", "logged_models", "tags"))
        with self.engine.begin() as connection:
            active = runs.c.lifecycle_stage == "active"
            present = connection.execute(sql.select(sql.func.count()).select_from(runs).where(active)).scalar_one()
            trained = connection.execute(
                sql.select(runs.c.run_uuid, models.c.model_id)
                .join(models, models.c.source_run_id == runs.c.run_uuid)
                .join(tags, (tags.c.run_uuid == runs.c.run_uuid) & (tags.c.key == ENTRY))
                .where(tags.c.value != runs.c.run_uuid, tags.c.value.not_like(f"{RESTORED}-%"))
            ).all()
            copies = sql.Table(
                "copies",
                sql.MetaData(),
                *(sql.Column(name, sql.String(40)) for name in ("run", "model", "new_run", "new_model")),
                sql.Column("number", sql.Integer),
                sql.Column("factor", sql.Float),
                prefixes=["TEMPORARY"],
            )
            copies.create(connection)
            rows = [
                {"run": run, "model": model, "new_run": uuid4().hex, "new_model": f"m-{uuid4().hex}",
                 "number": self.made + number, "factor": float(random.uniform(0.5, 0.999))}
                for number in range(count - present)
                for run, model in (trained[number % len(trained)],)
            ]  # fmt: skip
            self.made += len(rows)
            if rows:
                connection.execute(copies.insert(), rows)
                for name in COPIED:
                    self._copy(connection, self.tables[name], copies)
            copies.drop(connection)
        if self.engine.name == "postgresql":
            # As its autovacuum does within a minute, when runs come one by one.
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sql.text("ANALYZE"))

    def _copy(self, connection: sql.Connection, table: sql.Table, copies: sql.Table) -> None:
        """Insert the rows of the copied runs into `table`, under their new ids."""
        c, copy = table.c, copies.c
        changed = {"run_uuid": copy.new_run, "run_id": copy.new_run, "source_run_id": copy.new_run}
        changed |= {"model_id": copy.new_model}
        of_copy = (
            (c.run_uuid == copy.run) if "run_uuid" in c else (c.model_id == copy.model) if "model_id" in c else None
        )
        if table.name == "inputs":
            of_copy = sql.or_(c.source_id == copy.run, c.destination_id == copy.run)
            output = c.source_id == copy.run
            changed["source_id"] = sql.case((output, copy.new_run), else_=c.source_id)
            changed["destination_id"] = sql.case((output, copy.new_model), else_=copy.new_run)
            changed["input_uuid"] = sql.case((output, copy.new_model), else_=copy.new_run)
        if table.name == "input_tags":
            inputs = self.tables["inputs"].c
            of_copy = (inputs.input_uuid == c.input_uuid) & (inputs.destination_id == copy.run)
            changed["input_uuid"] = copy.new_run
        if table.name == "runs":
            # The copies are older, so that the newest runs are those of the clone.
            for name in ("start_time", "end_time"):
                changed[name] = c[name] - MINUTE * (1 + copy.number)
            changed["lifecycle_stage"] = sql.literal("active")
            changed["artifact_uri"] = sql.func.replace(c.artifact_uri, copy.run, copy.new_run)
        if table.name == "tags":
            changed["value"] = sql.case(
                (c.key.in_([MODEL_MD5, ENTRY]), copy.new_run), else_=sql.func.replace(c.value, copy.run, copy.new_run)
            )
        if table.name in ("metrics", "latest_metrics"):
            worse = c.key.in_(["val_accuracy", "test_accuracy"])
            changed["value"] = sql.case((worse, c.value * copy.factor), else_=c.value)
        names = [column.name for column in c]
        rows = sql.select(*(changed.get(name, c[name]) for name in names)).where(of_copy)
        connection.execute(table.insert().from_select(names, rows))

    def real(self) -> sql.Select:
        """Select the ids of the clone's own runs, which were not copied."""
        tags = self.tables["tags"].c
        return sql.select(tags.run_uuid).where(tags.key == MODEL_MD5, tags.value != tags.run_uuid)

    def forget_evaluations(self) -> None:
        tags = self.tables["tags"]
        with self.engine.begin() as connection:
            connection.execute(
                tags.delete().where(tags.c.key == EVALUATION, tags.c.run_uuid.in_(self.real().scalar_subquery()))
            )

    def forget_runs(self) -> None:
        runs = self.tables["runs"]
        with self.engine.begin() as connection:
            connection.execute(
                runs.update()
                .where(runs.c.run_uuid.in_(self.real().scalar_subquery()))
                .values(lifecycle_stage="deleted")
            )


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def command(folder: Path, store: Store, *words: str) -> str:
    done = subprocess.run(
        words, cwd=folder, env={**environment(), "MLFLOW_TRACKING_URI": store.uri}, text=True, capture_output=True
    )
    if done.returncode or "warning: MLflow" in done.stdout + done.stderr:
        sys.exit(f"{' '.join(words)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def ui(folder: Path, store: Store) -> tuple[float, float]:
    """Return the seconds until `mnist ui` has printed its addresses, and until its first table of runs is there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        ("mnist", "ui", "--no-browser", "--port", str(port)), cwd=folder, text=True, stdout=subprocess.PIPE,
        env={**environment(), "MLFLOW_TRACKING_URI": store.uri},
    )  # fmt: skip
    try:
        addresses = [process.stdout.readline().split()[-1] for _ in range(3)]
        printed = time.perf_counter() - began
        server, experiment = addresses[0].split("/#/experiments/")
        query = {**FIRST_TABLE, "experiment_ids": [experiment.partition("/")[0]]}
        while True:
            try:
                answer = requests.post(f"{server}/api/2.0/mlflow/runs/search", json=query, timeout=120)
                answer.raise_for_status()
                return printed, time.perf_counter() - began
            except requests.ConnectionError:
                time.sleep(0.05)
    finally:
        process.terminate()
        process.wait()


def champion(data_md5: str) -> float:
    client = connect().MlflowClient()
    client.delete_registered_model_alias(DATASET, ALIAS)
    return seconds(lambda: choose_champion(DATASET, data_md5))


def measure(folder: Path, store: Store, data_md5: str, rounds: int) -> dict[str, float]:
    """Return the median seconds of each command."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        found.setdefault("the champion is chosen", []).append(champion(data_md5))
        done = ui(folder, store)
        for name, time_taken in zip(("`mnist ui`: addresses", "`mnist ui`: table of runs"), done, strict=True):
            found.setdefault(name, []).append(time_taken)
        publish = lambda: command(folder, store, "mnist", "publish")  # noqa: E731
        found.setdefault("`mnist publish`, nothing to do", []).append(seconds(publish))
        store.forget_evaluations()
        evaluate = lambda: command(folder, store, "dvc", "repro", "--force", "--single-item", "evaluate")  # noqa: E731
        found.setdefault("`evaluate`", []).append(seconds(evaluate))
        store.forget_runs()
        found.setdefault("`mnist publish`, three runs to make", []).append(seconds(publish))
    return {name: median(times) for name, times in found.items()}


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--runs", type=int, nargs="+", default=[10, 10_000], help="numbers of runs, the least first")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--database", help="URI of the database of a server, for SQLAlchemy; default: mlflow.db")
    asked.add_argument("--server", help="URL of that server")
    arguments = asked.parse_args()

    folder = clone("many-runs")
    edit_file(folder / "params.yaml", PARAMS)
    if not arguments.server:
        for left in folder.glob("mlflow.db*"):
            left.unlink()
    uri = arguments.server or f"sqlite:///{folder / 'mlflow.db'}"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    connect()
    store = Store(arguments.database or uri, uri)
    print(f"{processor()}, {cores()} cores; load {psutil.getloadavg()[0]:.1f} before it began", flush=True)
    command(folder, store, "dvc", "repro", "--force")
    command(folder, store, "mnist", "publish")
    client = connect().MlflowClient()
    data_md5 = client.get_model_version_by_alias(DATASET, ALIAS).tags["dvc.data_md5"]

    columns = []
    for count in sorted(arguments.runs):
        print(f"{count} runs: made in {seconds(lambda count=count: store.fill(count)):.0f} s", flush=True)
        columns.append(measure(folder, store, data_md5, arguments.rounds))
        print(columns[-1], flush=True)
    print("\n| seconds | " + " | ".join(f"{count:,} runs" for count in sorted(arguments.runs)) + " |")
    print("|---|" + "---:|" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.1f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
