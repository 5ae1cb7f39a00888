"""Run the seven stages one after the other in one process, with all imports done and nothing sent to MLflow.

    python -m benchmarks.own_work

Prints the seconds of each stage.
"""

import importlib
import json
import time
from contextlib import ExitStack, nullcontext
from unittest.mock import MagicMock, patch

from stages.params.views import EvaluateParams, load_params
from stages.runtime import start_keras

STAGES = ("download", "preprocess", "explore", "train_mlp", "train_cnn", "train_random_forest", "evaluate")
# What the stages import where they first need it.
LATE = (
    "cv2",
    "matplotlib.pyplot",
    "pandas",
    "requests",
    "rich.table",
    "sklearn.ensemble",
    "stages.evaluation.figures",
    "stages.evaluation.report",
    "stages.evaluation.scores",
)


def main() -> None:
    start_keras(load_params(EvaluateParams).params.runtime)
    for name in (*LATE, "stages.learners.keras_classifier", "stages.learners.training", "stages.learners.loading"):
        importlib.import_module(name)
    modules = [importlib.import_module(f"stages.{name}") for name in STAGES]

    seconds = {}
    with ExitStack() as stack:
        for name in ("train_mlp", "train_cnn", "train_random_forest"):
            stack.enter_context(patch(f"stages.{name}.training_run", lambda *_: nullcontext(MagicMock())))
        stack.enter_context(patch("stages.evaluate.send_evaluations", return_value=False))
        for name, module in zip(STAGES, modules, strict=True):
            start = time.perf_counter()
            module.main()
            seconds[name] = round(time.perf_counter() - start, 2)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
