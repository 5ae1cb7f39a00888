"""Train the random forest of `train.random_forest` in params.yaml, into models/random_forest.skops.

python -m stages.train_random_forest
"""

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from stages.dataset.prepared import Split, load_about, load_split
from stages.errors import UserError
from stages.learners.forest_file import save_forest
from stages.models import RANDOM_FOREST
from stages.params import TrainRandomForestParams, load_params
from stages.progress import progress_bar
from stages.provenance import cores, cpu_name
from stages.start import run_stage
from stages.tracking.training_run import training_run


def main() -> None:
    params = load_params(TrainRandomForestParams)
    about = load_about()
    training = _subset(load_split("train"), params.forest.train_samples, params.seed)
    print(
        "random-forest: training on the CPU whatever runtime.device says; "
        f"scikit-learn has no GPU forest ({cpu_name()})",
        flush=True,
    )

    with training_run(RANDOM_FOREST, params.resolved(), about) as run:
        run.set_tags({"runtime.device": "cpu", "runtime.processor": cpu_name(), "runtime.cores": str(cores())})
        forest = _train(params.forest, params.seed, training)
        scores = _scores(forest, load_split("validation"))
        run.log_epoch(1, scores)
        save_forest(forest, RANDOM_FOREST.file)
        run.finish()
    print(
        f"random-forest: {params.forest.n_estimators} trees on {len(training.labels):,} images, "
        f"validation accuracy {scores['val_accuracy']:.4f}"
    )


def _subset(training: Split, size: int | None, seed: int) -> Split:
    """Return `size` of the training images (None: all), stratified by class."""
    available = len(training.labels)
    if size is None or size == available:
        return training
    classes = len(np.unique(training.labels))
    if size > available - classes:
        raise UserError(
            f"params.yaml: train.random_forest.train_samples: {size} of {available} training images; "
            f"lower it to at most {available - classes}, or null for all"
        )
    chosen, _ = train_test_split(np.arange(available), train_size=size, stratify=training.labels, random_state=seed)
    chosen.sort()
    return Split(training.images[chosen], training.labels[chosen])


def _train(params, seed: int, training: Split) -> RandomForestClassifier:
    """Return the forest of `n_estimators` trees, grown in steps so that the progress can be seen."""
    forest = RandomForestClassifier(
        max_features=params.max_features,
        max_depth=params.max_depth,
        min_samples_leaf=params.min_samples_leaf,
        bootstrap=params.bootstrap,
        random_state=seed,
        n_jobs=-1,
        warm_start=True,
    )
    pixels = _pixels(training)
    step = max(1, params.n_estimators // 20)
    with progress_bar(params.n_estimators, "train random-forest", "tree") as bar:
        for trees in range(step, params.n_estimators + step, step):
            forest.set_params(n_estimators=min(trees, params.n_estimators))
            forest.fit(pixels, training.labels)
            bar.update(forest.n_estimators - bar.n)
    return forest.set_params(warm_start=False)


def _scores(forest: RandomForestClassifier, split: Split) -> dict[str, float]:
    probabilities = forest.predict_proba(_pixels(split))
    labels = np.asarray(split.labels)
    return {
        "val_accuracy": accuracy_score(labels, forest.classes_[probabilities.argmax(axis=1)]),
        "val_loss": log_loss(labels, probabilities, labels=forest.classes_),
    }


def _pixels(split: Split) -> np.ndarray:
    return np.asarray(split.images).reshape(len(split.labels), -1)


if __name__ == "__main__":
    run_stage(main, __doc__)
