"""Measure the three models on the test images, into reports/, and show them side by side.

    python -m stages.evaluate

The figures also go to the MLflow runs that made the models.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel

from stages.dataset.prepared import About, Split, load_about, load_split
from stages.errors import run_stage
from stages.notices import fallback_notice, print_notice
from stages.params import EvaluateParams, load_params
from stages.paths import INDEX, METRICS, REPORTS, history, keras_model, random_forest
from stages.runtime import start_keras
from stages.tracking import Evaluated, log_evaluations


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate: its name in reports/, its stage, its file and the params that made it."""

    name: str
    title: str
    stage: str
    model: Path
    history: Path | None
    params: BaseModel


def main() -> None:
    params = load_params(EvaluateParams).params
    start_keras(params.runtime)

    from stages.learners.prediction import load_predictor

    about = load_about()
    candidates = [
        Candidate("mlp", "MLP", "train-mlp", keras_model("mlp"), history("mlp"), params.train.mlp),
        Candidate("cnn", "CNN", "train-cnn", keras_model("cnn"), history("cnn"), params.train.cnn),
        Candidate(
            "random_forest",
            "Random forest",
            "train-random-forest",
            random_forest(),
            None,
            params.train.random_forest,
        ),
    ]
    splits = {"test": load_split("test"), "val": load_split("validation")}
    probabilities = {}
    for candidate in candidates:
        predict = load_predictor(candidate.model)
        probabilities[candidate.name] = {name: predict(np.asarray(split.images)) for name, split in splits.items()}

    metrics = {candidate.name: _metrics(splits, probabilities[candidate.name]) for candidate in candidates}
    for candidate in candidates:
        _write_model_report(candidate, splits["test"], probabilities[candidate.name]["test"], about)
    METRICS.write_text(json.dumps(metrics, indent=2) + "\n")
    _write_index(candidates, metrics, about, params)

    recorded = log_evaluations(
        [_evaluated(candidate, metrics[candidate.name], params) for candidate in candidates], about
    )
    _print_table(candidates, metrics, about, recorded)


def _metrics(splits: dict[str, Split], probabilities: dict[str, np.ndarray]) -> dict[str, float]:
    from stages.evaluation.scores import scores

    test = scores("test", splits["test"].labels, probabilities["test"])
    validation = scores("val", splits["val"].labels, probabilities["val"])
    return {**test, **{name: validation[name] for name in ("val_accuracy", "val_loss")}}


def _write_model_report(candidate: Candidate, test: Split, probabilities: np.ndarray, about: About) -> None:
    from stages.evaluation.figures import draw_confusion_matrix, draw_history
    from stages.evaluation.scores import confusion, per_class

    folder = REPORTS / candidate.name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    names = np.array(about.class_names)
    predicted = probabilities.argmax(axis=1)
    pairs = pd.DataFrame({"actual": names[test.labels], "predicted": names[predicted]})
    pairs.to_csv(folder / "confusion_matrix.csv", index=False)
    draw_confusion_matrix(
        confusion(test.labels, predicted, len(names)),
        about.class_names,
        folder / "confusion_matrix.png",
        f"{candidate.title} on {about.dataset}: {len(predicted):,} test images",
    )
    per_class(test.labels, predicted, about.class_names).to_csv(folder / "per_class.csv")
    if candidate.history:
        shutil.copyfile(candidate.history, folder / "history.csv")
        draw_history(
            pd.read_csv(candidate.history),
            folder / "history.png",
            f"{candidate.title} on {about.dataset}",
        )


def _write_index(candidates: list[Candidate], metrics: dict, about: About, params: BaseModel) -> None:
    from stages.evaluation.report import Section, write_report

    write_report(
        INDEX,
        about,
        [Section(candidate.title, metrics[candidate.name], REPORTS / candidate.name) for candidate in candidates],
        params,
        fallback_notice(about.requested, about.dataset) if about.fallback else None,
    )


def _evaluated(candidate: Candidate, metrics: dict[str, float], params) -> Evaluated:
    import keras

    is_keras = candidate.history is not None
    runtime = params.runtime.model_dump() if is_keras else {"seed": params.runtime.seed}
    return Evaluated(
        name=candidate.name.replace("_", "-"),
        stage=candidate.stage,
        model=candidate.model,
        history=candidate.history,
        params={**candidate.params.model_dump(), "runtime": runtime},
        packages=("keras", keras.config.backend(), "numpy") if is_keras else ("scikit-learn", "skops", "numpy"),
        metrics=metrics,
        artifacts=sorted((REPORTS / candidate.name).iterdir()),
    )


def _print_table(candidates: list[Candidate], metrics: dict, about: About, recorded: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{about.dataset}: test images")
    table.add_column("model")
    for heading in ("accuracy", "log loss", "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    for candidate in candidates:
        values = metrics[candidate.name]
        table.add_row(
            candidate.title,
            f"{values['test_accuracy']:.2%}",
            f"{values['test_loss']:.4f}",
            *(f"{values[f'test_{name}']:.4f}" for name in ("precision", "recall", "f1")),
        )
    Console().print(table)
    print(f"Report: {INDEX}")
    if recorded:
        print("See them side by side in MLflow: uv run mnist ui")
    if about.fallback:
        print_notice(fallback_notice(about.requested, about.dataset))


if __name__ == "__main__":
    run_stage(main, __doc__)
