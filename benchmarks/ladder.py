"""The ladder to the default settings: each change alone, its cost in seconds of processor time, what it brings.

    uv run python -m benchmarks.ladder

trains on 50,000 of MNIST's training images and validates on the other 10,000; the test images take no part. Two
trainings run at once, each with one thread and native arithmetic. What was measured is kept in benchmarks/ladder.json,
and docs/ladder.md is written from it. Runs where data/prepared is MNIST; takes about an hour.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks.ours import changed_params
from benchmarks.results import environment, last_json
from benchmarks.tables import table
from stages.dataset.prepared import Split, load_info, load_split
from stages.params.schema import Params
from stages.process.provenance import processor

RECORDS = Path("benchmarks/ladder.json")
PAGE = Path("docs/ladder.md")
MARK = "<!-- From here on written by `python -m benchmarks.ladder`. -->\n"
HELD_OUT = 10_000
SEEDS = 3

# What the defaults were up to commit d3ab86b.
BEFORE = {
    "mlp": [
        "train.mlp.hidden_units=[512, 256]",
        "train.mlp.dropout=0.1",
        "train.mlp.augmentation={shift: 0.07, rotation: 10.0, zoom: 0.1, shear: 0.1, elastic: 0.03}",
        "train.mlp.optimizer.learning_rate=0.003",
        "train.mlp.epochs=15",
        "train.mlp.batch_size=256",
    ],
    "cnn": [
        "train.cnn.blocks=["
        "{filters: 24, kernel_size: 5, strides: 1, padding: same, pool_size: 2, dropout: 0.0}, "
        "{filters: 48, kernel_size: 3, strides: 1, padding: valid, pool_size: 2, dropout: 0.0}]",
        "train.cnn.hidden_units=[128]",
        "train.cnn.dropout=0.2",
        "train.cnn.augmentation={shift: 0.07, rotation: 10.0, zoom: 0.1, shear: 0.1, elastic: 0.03}",
        "train.cnn.optimizer.name=adam",
        "train.cnn.optimizer.learning_rate=0.003",
        "train.cnn.epochs=16",
        "train.cnn.batch_size=256",
    ],
    "random_forest": ["train.random_forest.n_estimators=200", "train.random_forest.max_features=sqrt"],
}
# Each rung changes what the kept rungs above it left, and is kept itself or not.
RUNGS: dict[str, list[tuple[str, list[str], bool]]] = {}


def main() -> None:
    if len(sys.argv) > 1:
        model, seed, *changes = sys.argv[1:]
        print(json.dumps(_trained(model, int(seed), changed_params(changes))))
        return
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else {"processor": processor(), "trainings": {}}
    if records["processor"] != processor():
        sys.exit(f"{RECORDS} was measured on {records['processor']}: seconds of two machines are no ladder; remove it")
    wanted = [(model, seed, changes) for model in BEFORE for _, changes, _ in rungs(model) for seed in range(SEEDS)]
    missing = [training for training in wanted if _key(*training) not in records["trainings"]]
    with ThreadPoolExecutor(2) as pool:
        for number, (training, record) in enumerate(zip(missing, pool.map(_in_a_process, missing), strict=True), 1):
            print(f"{number} of {len(missing)}: {' '.join(map(str, training[:2]))}: {json.dumps(record)}", flush=True)
            records["trainings"][_key(*training)] = record
            RECORDS.write_text(json.dumps(records, indent=1) + "\n")
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(head + MARK + "\n" + page(records), encoding="utf-8")


def rungs(model: str) -> list[tuple[str, list[str], bool]]:
    """Return each rung's name, all its changes to params.yaml, and whether it is kept."""
    kept, found = BEFORE[model], [("before", BEFORE[model], True)]
    for name, changes, is_kept in RUNGS[model]:
        found.append((name, [*kept, *changes], is_kept))
        kept = found[-1][1] if is_kept else kept
    return found


def page(records: dict[str, Any]) -> str:
    """Return the tables, one for each model."""
    heading = ("rung", "kept", "processor seconds", "validation accuracy", "± standard error", "seeds")
    parts = [f"Measured on: {records['processor']}.\n"]
    for model in BEFORE:
        rows = []
        for name, changes, is_kept in rungs(model):
            found = [records["trainings"][_key(model, seed, changes)] for seed in range(SEEDS)]
            accuracies = [each["val_accuracy"] for each in found]
            rows.append(
                (
                    name,
                    "yes" if is_kept else "",
                    f"{mean(each['cpu_seconds'] for each in found):.1f}",
                    f"{mean(accuracies):.3%}",
                    f"{stdev(accuracies) / len(found) ** 0.5:.3%}",
                    str(len(found)),
                )
            )
        parts.append(f"## {model}\n\n{table(heading, rows)}\n")
    return "\n".join(parts)


def _key(model: str, seed: int, changes: list[str]) -> str:
    return json.dumps([model, seed, *changes])


def _in_a_process(training: tuple[str, int, list[str]]) -> dict[str, float]:
    model, seed, changes = training
    command = (sys.executable, "-m", "benchmarks.ladder", model, str(seed), *changes)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{model} {changes}:\n{done.stderr[-2000:]}")
    return last_json(done.stdout)


def _trained(model: str, seed: int, params: Params) -> dict[str, float]:
    training, validation = _split()
    runtime = params.runtime.model_copy(update={"arithmetic": "native", "threads": 1, "seed": seed})
    if model == "random_forest":
        from stages.dataset.features import FEATURES
        from stages.learners.forest import grow

        section = params.train.random_forest
        features = FEATURES[section.features]
        start = time.process_time()
        forest = grow(section, seed, features(training.images), training.labels)
        seconds = time.process_time() - start
        predicted = forest.predict_proba(features(validation.images)).argmax(axis=1)
        accuracy = float(np.mean(predicted == validation.labels))
    else:
        from stages.runtime import start_keras

        start_keras(runtime)
        from stages.learners.networks import build_cnn, build_mlp
        from stages.learners.training import train

        info, section = load_info(), getattr(params.train, model)
        network = {"mlp": build_mlp, "cnn": build_cnn}[model](section, info.height, info.width, len(info.class_names))
        start = time.process_time()
        _, history, kept = train(model, network, section, training, validation, seed, lambda *_: None)
        seconds = time.process_time() - start
        accuracy = history["val_accuracy"][kept - 1]
    return {"cpu_seconds": round(seconds, 2), "val_accuracy": round(accuracy, 5)}


def _split() -> tuple[Split, Split]:
    parts = [load_split(name) for name in ("train", "validation")]
    images, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    order = np.random.default_rng(7).permutation(len(labels))
    held, rest = order[:HELD_OUT], order[HELD_OUT:]
    return Split(images[rest], labels[rest]), Split(images[held], labels[held])


if __name__ == "__main__":
    main()
