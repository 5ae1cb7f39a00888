"""Measure the three models on the test images, into reports/, and show them side by side.

    python -m stages.evaluate

The figures also go to the MLflow runs that made the models.
"""

import json
import shutil

import numpy as np
import pandas as pd
from pydantic import BaseModel

from stages.dataset.prepared import About, Split, load_about, load_split
from stages.models import ALL_MODELS, Model
from stages.notices import fallback_notice, print_notice
from stages.params import EvaluateParams, load_params
from stages.paths import INDEX, METRICS
from stages.runtime import start_keras
from stages.start import run_stage
from stages.tracking.evaluations import record_evaluations
from stages.tracking.store import tracking_uri, warn


def main() -> None:
    params = load_params(EvaluateParams).params
    tracking_uri()
    start_keras(params.runtime)

    from stages.learners.prediction import load_predictor

    about = load_about()
    splits = {"test": load_split("test"), "val": load_split("validation")}
    probabilities = {}
    for model in ALL_MODELS:
        predict = load_predictor(model.file)
        probabilities[model.name] = {name: predict(np.asarray(split.images)) for name, split in splits.items()}

    metrics = {model.name: _metrics(splits, probabilities[model.name]) for model in ALL_MODELS}
    for model in ALL_MODELS:
        _write_model_report(model, splits["test"], probabilities[model.name]["test"], about)
    METRICS.write_text(json.dumps(metrics, indent=2) + "\n")
    _write_index(metrics, about, params)
    _print_table(metrics, about, recorded=_record(about))


def _metrics(splits: dict[str, Split], probabilities: dict[str, np.ndarray]) -> dict[str, float]:
    from stages.evaluation.scores import scores

    test = scores("test", splits["test"].labels, probabilities["test"])
    validation = scores("val", splits["val"].labels, probabilities["val"])
    return {**test, **{name: validation[name] for name in ("val_accuracy", "val_loss")}}


def _write_model_report(model: Model, test: Split, probabilities: np.ndarray, about: About) -> None:
    from stages.evaluation.figures import draw_confusion_matrix, draw_history
    from stages.evaluation.scores import confusion, per_class

    folder = model.reports
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
        f"{model.title} on {about.dataset}: {len(predicted):,} test images",
    )
    per_class(test.labels, predicted, about.class_names).to_csv(folder / "per_class.csv")
    if model.history:
        shutil.copyfile(model.history, folder / "history.csv")
        draw_history(
            pd.read_csv(model.history),
            folder / "history.png",
            f"{model.title} on {about.dataset}",
        )


def _write_index(metrics: dict, about: About, params: BaseModel) -> None:
    from stages.evaluation.report import Section, write_report

    write_report(
        INDEX,
        about,
        [Section(model.title, metrics[model.name], model.reports) for model in ALL_MODELS],
        params,
        fallback_notice(about.requested, about.dataset) if about.fallback else None,
    )


def _record(about: About) -> bool:
    """Send the figures to MLflow, and return whether it took them."""
    try:
        record_evaluations(about)
    except Exception as error:
        warn(error)
        return False
    return True


def _print_table(metrics: dict, about: About, recorded: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{about.dataset}: test images")
    table.add_column("model")
    for heading in ("accuracy", "log loss", "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    for model in ALL_MODELS:
        values = metrics[model.name]
        table.add_row(
            model.title,
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
