"""Train the random forest of `train.random_forest` in params.yaml, into models/random_forest.skops.

python -m stages.train_random_forest
"""

import time

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss

from stages.dataset.features import FEATURES
from stages.dataset.prepared import load_info, load_split
from stages.dataset.subset import subset
from stages.learners.forest_file import save_forest
from stages.learners.models import RANDOM_FOREST
from stages.params.schema import RandomForest
from stages.params.views import TrainRandomForestParams, load_params
from stages.process.console import progress_bar
from stages.process.provenance import cores, cpu_name
from stages.tracking.stage import run_stage
from stages.tracking.training_run import training_run

# Images times trees between two marks of the progress bar, at least: about a second of work.
STEP = 500_000


def main() -> None:
    params = load_params(TrainRandomForestParams)
    info = load_info()
    training = subset(load_split("train"), params.forest.train_samples, params.seed)
    validation = load_split("validation")
    print(
        "random-forest: training on the CPU whatever runtime.device says; "
        f"scikit-learn has no GPU forest ({cpu_name()})",
        flush=True,
    )

    with training_run(RANDOM_FOREST, params.resolved(), info, training) as run:
        run.set_tags({"runtime.device": "cpu", "runtime.processor": cpu_name(), "runtime.cores": str(cores())})
        start = time.perf_counter()
        features = FEATURES[params.forest.features]
        forest = grow(params.forest, params.seed, features(training.images), training.labels)
        seconds = time.perf_counter() - start
        scores = _scores(forest, features(validation.images), validation.labels)
        run.log_epoch(1, scores)
        save_forest(forest, params.forest.features, RANDOM_FOREST.file)
        run.log_metrics({"training_seconds": seconds})
        run.finish()
    print(
        f"random-forest: {params.forest.n_estimators} trees on {len(training.labels):,} images "
        f"trained in {seconds:.1f} s, "
        f"validation accuracy {scores['val_accuracy']:.4f}"
    )


def grow(params: RandomForest, seed: int, features: np.ndarray, labels: np.ndarray) -> RandomForestClassifier:
    """Return the forest of `n_estimators` trees on `features` (n, features), grown in steps for the progress bar."""
    forest = RandomForestClassifier(
        max_features=params.max_features,
        max_depth=params.max_depth,
        min_samples_leaf=params.min_samples_leaf,
        bootstrap=params.bootstrap,
        random_state=seed,
        n_jobs=-1,
        warm_start=True,
    )
    step = max(1, params.n_estimators // 20, STEP // len(labels))
    # Each core has a tree until the step is over.
    step += -step % cores()
    with progress_bar(params.n_estimators, "train random-forest", "tree") as bar:
        for trees in range(step, params.n_estimators + step, step):
            forest.set_params(n_estimators=min(trees, params.n_estimators))
            forest.fit(features, labels)
            bar.update(forest.n_estimators - bar.n)
    return forest.set_params(warm_start=False)


def _scores(forest: RandomForestClassifier, features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    probabilities = forest.predict_proba(features)
    return {
        "val_accuracy": accuracy_score(labels, forest.classes_[probabilities.argmax(axis=1)]),
        "val_loss": log_loss(labels, probabilities, labels=forest.classes_),
    }


if __name__ == "__main__":
    run_stage(main, __doc__)
