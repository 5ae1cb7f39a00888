"""Measure the three models on the test images, compare them and explain them, into reports/.

    python -m stages.evaluate

The figures also go to the MLflow runs that made the models.
"""

import json
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stages.dataset.prepared import About, Split, load_about, load_split
from stages.errors import UserError
from stages.models import ALL_MODELS, Model
from stages.notices import fallback_notice, print_notice
from stages.params import EvaluateParams, Gate, load_params
from stages.paths import COMPARISON, INDEX, METRICS
from stages.progress import progress_bar
from stages.runtime import start_keras
from stages.start import run_stage
from stages.tracking.evaluations import record_evaluations
from stages.tracking.store import tracking_uri, warn


@dataclass(frozen=True)
class Result:
    """`probabilities` by split; `seconds` are measured, and so no part of what is kept in files."""

    model: Model
    probabilities: dict[str, np.ndarray]
    metrics: dict[str, float]
    seconds: dict[str, float]
    overfitting: str


def main() -> None:
    params = load_params(EvaluateParams).params
    tracking_uri()
    start_keras(params.runtime)

    from stages.evaluation.model_report import write_model_report
    from stages.learners.prediction import load_predictor

    about = load_about()
    splits = {name: load_split(name) for name in ("train", "validation", "test")}
    results = []
    with progress_bar(len(ALL_MODELS), "evaluate", "model") as bar:
        for model in ALL_MODELS:
            predict = load_predictor(model.file)
            result = _measure(model, predict, splits, about, params.gate)
            write_model_report(model, about, splits["test"], result.probabilities["test"], predict)
            results.append(result)
            bar.update()
    metrics = {result.model.name: result.metrics for result in results}
    METRICS.write_text(json.dumps(metrics, indent=2) + "\n")
    comparison = _compare(results, splits["test"])
    COMPARISON.write_text(json.dumps(comparison, indent=2) + "\n")
    _write_index(results, comparison, about, params)
    recorded = _record(about, {result.model.name: result.seconds for result in results})
    _print_table(results, about, recorded)
    _check_gate(metrics, params.gate)


def _measure(model: Model, predict, splits: dict[str, Split], about: About, gate: Gate) -> Result:
    from stages.evaluation.overfitting import verdict
    from stages.evaluation.scores import intervals, scores

    validation, test = splits["validation"], splits["test"]
    # As many as there are validation images, and without augmentation.
    training = Split(splits["train"].images[: len(validation.labels)], splits["train"].labels[: len(validation.labels)])
    probabilities, seconds = {}, _seconds_of_one(predict, test)
    for name, split in (("train", training), ("val", validation), ("test", test)):
        start = time.perf_counter()
        probabilities[name] = predict(np.asarray(split.images))
    seconds[f"predict_{len(test.labels)}_images_seconds"] = time.perf_counter() - start
    right = {
        name: probabilities[name].argmax(axis=1) == split.labels
        for name, split in (("train", training), ("val", validation))
    }

    metrics = scores("test", test.labels, probabilities["test"])
    low, high = intervals("test", test.labels, probabilities["test"])["test_accuracy"]
    validated = scores("val", validation.labels, probabilities["val"])
    metrics |= {"test_accuracy_low": low, "test_accuracy_high": high}
    metrics |= {name: validated[name] for name in ("val_accuracy", "val_loss")}
    metrics |= _cost(model)
    metrics["gate_passed"] = metrics["test_accuracy"] >= gate.minimum(about.dataset, model.name)
    history = pd.read_csv(model.history) if model.history else None
    return Result(model, probabilities, metrics, seconds, verdict(right["train"], right["val"], history))


def _seconds_of_one(predict, test: Split) -> dict[str, float]:
    """Return the median time of a prediction for one image."""
    times = []
    for _ in range(11):
        start = time.perf_counter()
        predict(np.asarray(test.images[:1]))
        times.append(time.perf_counter() - start)
    return {"predict_1_image_seconds": float(np.median(times))}


def _cost(model: Model) -> dict[str, int]:
    from stages.evaluation.cost import forest_size, network_size
    from stages.learners.forest_file import load_forest
    from stages.learners.keras_file import load_keras

    size = network_size(load_keras(model.file)) if model.history else forest_size(load_forest(model.file)[0])
    return {**size, "file_bytes": model.file.stat().st_size}


def _compare(results: list[Result], test: Split) -> dict:
    from stages.evaluation.comparison import compare

    return compare(np.asarray(test.labels), {result.model.name: result.probabilities["test"] for result in results})


def _write_index(results: list[Result], comparison: dict, about: About, params) -> None:
    from stages.evaluation.report import Section, write_report

    sections = [Section(result.model, result.metrics, result.overfitting) for result in results]
    notice = fallback_notice(about.requested, about.dataset) if about.fallback else None
    write_report(INDEX, about, sections, comparison, params, notice)


def _record(about: About, seconds: dict[str, dict[str, float]]) -> bool:
    """Send the figures to MLflow, and return whether it took them."""
    try:
        record_evaluations(about, seconds)
    except Exception as error:
        warn(error)
        return False
    return True


def _print_table(results: list[Result], about: About, recorded: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{about.dataset}: test images")
    table.add_column("model")
    for heading in ("accuracy", "95 % interval", "log loss", "F1", "calibration error", "one image", "gate"):
        table.add_column(heading, justify="right")
    for result in results:
        values = result.metrics
        table.add_row(
            result.model.title,
            f"{values['test_accuracy']:.2%}",
            f"{values['test_accuracy_low']:.2%} – {values['test_accuracy_high']:.2%}",
            *(f"{values[f'test_{name}']:.4f}" for name in ("loss", "f1", "ece")),
            f"{1000 * result.seconds['predict_1_image_seconds']:.0f} ms",
            "passed" if values["gate_passed"] else "MISSED",
        )
    Console().print(table)
    for result in results:
        print(f"{result.model.title}: {result.overfitting}")
    print(f"Report: {INDEX}")
    if recorded:
        print("See them side by side in MLflow: uv run mnist ui")
    if about.fallback:
        print_notice(fallback_notice(about.requested, about.dataset))


def _check_gate(metrics: dict[str, dict[str, float]], gate: Gate) -> None:
    """Say which models are below their minimum; raise `UserError` for it where the gate is enforced."""
    missed = [name for name, values in metrics.items() if not values["gate_passed"]]
    if not missed:
        return
    message = f"gate: {', '.join(missed)} below gate.minimum_accuracy of params.yaml; see the table"
    if gate.enforce:
        raise UserError(f"{message}\nEverything is written and logged. gate.enforce: false makes this a warning.")
    print_notice(message)


if __name__ == "__main__":
    run_stage(main, __doc__)
