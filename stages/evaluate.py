"""Measure the models on the test images, compare them and explain them, into reports/.

    python -m stages.evaluate

The metrics and figures also go to the MLflow runs that made the models.
"""

import json
from contextlib import ExitStack

import numpy as np

from stages.dataset.fallback import fallback_notice
from stages.dataset.folders import replaced
from stages.dataset.prepared import DatasetInfo, load_info, load_split
from stages.evaluation.comparison import compare
from stages.evaluation.measurement import Result, measure
from stages.evaluation.model_report import write_model_report
from stages.evaluation.report import write_report
from stages.learners.loading import load_classifier
from stages.learners.models import ALL_MODELS
from stages.params.schema import Gate
from stages.params.views import EvaluateParams, load_params
from stages.paths import COMPARISON, INDEX, METRICS
from stages.process.console import print_notice, progress_bar
from stages.process.errors import UserError
from stages.runtime import start_keras
from stages.tracking.evaluations import publish_evaluations
from stages.tracking.stage import run_stage


def main() -> None:
    params = load_params(EvaluateParams).params
    start_keras(params.runtime)
    info = load_info()
    splits = {name: load_split(name) for name in ("train", "validation", "test")}
    test, results = splits["test"], []
    # All of them before the first is measured: a file that is no model is to be refused at once.
    classifiers = {model: load_classifier(model.file) for model in ALL_MODELS}
    # The folders of all models take their places together: an interruption leaves those of before.
    with ExitStack() as folders, progress_bar(len(ALL_MODELS), "evaluate", "model") as bar:
        for model, classifier in classifiers.items():
            result = measure(model, classifier, splits, info, params)
            write_model_report(result, classifier, test, info, folders.enter_context(replaced(model.reports)))
            results.append(result)
            bar.update()
    metrics = {result.model.name: result.metrics for result in results}
    METRICS.write_text(json.dumps(metrics, indent=2) + "\n")
    comparison = compare(np.asarray(test.labels), {result.model.name: result.y_proba for result in results})
    COMPARISON.write_text(json.dumps(comparison, indent=2) + "\n")
    notice = fallback_notice(info.requested, info.dataset) if info.fallback else None
    write_report(INDEX, info, results, comparison, params, notice)
    recorded = publish_evaluations(info, splits["train"], {result.model.name: result.seconds for result in results})
    _print_table(results, info, recorded)
    if notice:
        print_notice(notice)
    _check_gate(metrics, params.gate)


def _print_table(results: list[Result], info: DatasetInfo, recorded: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    # Narrow enough for a console of 80 columns, and for a log.
    narrow = {"box": None, "padding": (0, 2), "collapse_padding": True, "pad_edge": False}
    table = Table(title=f"{info.dataset}: test images, 95 % intervals", **narrow)
    table.add_column("model")
    for heading in ("accuracy", "interval", "log loss", "F1", "ECE", "1 image", "gate"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        values = result.metrics
        table.add_row(
            result.model.title,
            f"{values['test_accuracy']:.2%}",
            f"{100 * values['test_accuracy_low']:.2f}–{100 * values['test_accuracy_high']:.2f}",
            *(f"{values[f'test_{name}']:.4f}" for name in ("loss", "f1", "ece")),
            f"{1000 * result.seconds['predict_1_image_seconds']:.0f} ms",
            _gate(result),
        )
    Console().print(table)
    for result in results:
        print(f"{result.model.title}: {result.overfitting}")
    print(f"Report: {INDEX}")
    if recorded:
        print("See them side by side in MLflow: uv run mnist ui")


def _gate(result: Result) -> str:
    if result.minimum is None:
        return "none"
    return "passed" if result.metrics["gate_passed"] else "MISSED"


def _check_gate(metrics: dict[str, dict[str, float]], gate: Gate) -> None:
    """Say which models are below their minimum; raise `UserError` for it where the gate is enforced."""
    missed = [name for name, values in metrics.items() if not values["gate_passed"]]
    if not missed:
        return
    message = f"gate: {', '.join(missed)} below gate.minimum_accuracy of params.yaml; see the table"
    if gate.enforce:
        raise UserError(f"{message}\nEverything is written. gate.enforce: false makes this a warning.")
    print_notice(message)


if __name__ == "__main__":
    run_stage(main, __doc__, publishes=True)
