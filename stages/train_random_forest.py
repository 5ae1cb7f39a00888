"""Train the random forest of `train.random_forest` in params.yaml, into models/random_forest.skops.

python -m stages.train_random_forest
"""

import time

from stages.learners.models import RANDOM_FOREST
from stages.params.views import TrainRandomForestParams, check_fit, load_params
from stages.process.provenance import cores, processor
from stages.tracking.stage import run_stage


def main() -> None:
    params = load_params(TrainRandomForestParams)

    # Here, since they take a second or two, in which the process beside the stage has begun.
    from stages.dataset.features import FEATURES, feature_count
    from stages.dataset.prepared import load_info, load_split
    from stages.dataset.subset import subset
    from stages.learners.forest import check_memory, grow
    from stages.learners.forest_classifier import ForestClassifier
    from stages.learners.forest_file import save_forest
    from stages.learners.temperature import calibrated, calibration_words, fit_temperature
    from stages.learners.validation import validation_metrics
    from stages.tracking.training_run import training_run

    info, training, validation = load_info(), load_split("train"), load_split("validation")
    check_fit(info, len(training.labels))
    features = params.forest.features
    count = feature_count(features, info.height, info.width, info.channels)
    check_memory(params.forest.train_samples or len(training.labels), count)
    training = subset(training, params.forest.train_samples, params.seed)
    print(
        "random-forest: training on the CPU whatever runtime.device says; "
        f"scikit-learn has no GPU forest ({processor()})",
        flush=True,
    )

    with training_run(RANDOM_FOREST, params.resolved(), info, training) as run:
        run.set_tags({"runtime.device": "cpu", "runtime.processor": processor(), "runtime.cores": str(cores())})
        run.set_tags({"runtime.arithmetic": "portable"})
        start = time.perf_counter()
        forest = grow(params.forest, params.seed, FEATURES[features](training.images), training.labels)
        seconds = time.perf_counter() - start
        temperature = None
        shares = ForestClassifier(forest, features, temperature).shares(validation.images)
        metrics = validation_metrics(validation.labels, shares)
        if params.forest.calibration == "temperature":
            temperature = fit_temperature(shares, validation.labels, params.forest.n_estimators)
            run.set_tags({"calibration": calibration_words(temperature)})
        if temperature is not None:
            y_proba = calibrated(shares, params.forest.n_estimators, temperature)
            metrics = {
                **validation_metrics(validation.labels, y_proba),
                "val_loss_uncalibrated": metrics["val_loss"],
                "temperature": temperature,
            }
        run.log_epoch(1, metrics)
        save_forest(forest, features, temperature, RANDOM_FOREST.file)
        run.finish(seconds)
    print(
        f"random-forest: {params.forest.n_estimators} trees on {len(training.labels):,} images "
        f"trained in {seconds:.1f} s, validation accuracy {metrics['val_accuracy']:.4f}"
    )
    if params.forest.calibration == "temperature":
        print(f"random-forest: calibration: {calibration_words(temperature)}", flush=True)
    if temperature is not None:
        print(f"random-forest: val_loss {metrics['val_loss']:.4f}, before {metrics['val_loss_uncalibrated']:.4f}")


if __name__ == "__main__":
    run_stage(main, __doc__, publishes=True)
