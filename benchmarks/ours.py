"""Train one model of the pipeline and print the time of the fit alone and the test accuracy, as the peers do.

    python -m benchmarks.ours mlp notes-2023 train.mlp.epochs=20

The params are those of params.yaml, changed by the recipes and values named. Runs where data/prepared is.
"""

import json
import time

import numpy as np
from ruamel.yaml import YAML

from benchmarks.results import parser
from commands.recipe import recipe_params
from stages.dataset.prepared import load_info, load_split
from stages.params.dotted import set_values
from stages.params.schema import Params
from stages.paths import PARAMS


def main() -> None:
    command = parser(__doc__)
    command.add_argument("model", choices=("mlp", "cnn", "random_forest"))
    command.add_argument("changes", nargs="*", metavar="CHANGE", help="a recipe, or key=value")
    given = command.parse_args()
    model, params = given.model, changed_params(given.changes)
    fit, predict = _forest(params) if model == "random_forest" else _network(model, params)

    start = time.perf_counter()
    trained = fit()
    seconds = time.perf_counter() - start

    test = load_split("test")
    accuracy = float(np.mean(predict(trained, np.asarray(test.images)).argmax(axis=1) == test.labels))
    print(json.dumps({"fit_seconds": round(seconds, 3), "test_accuracy": round(accuracy, 5)}))


def changed_params(changes: list[str]) -> Params:
    """Return params.yaml with recipes, by their name, and `key=value` put into it."""
    yaml = YAML(typ="safe", pure=True)
    content = yaml.load(PARAMS)
    settings = {}
    for change in changes:
        key, given, value = change.partition("=")
        settings |= {key: yaml.load(value)} if given else recipe_params(change)
    set_values(content, settings)
    return Params.model_validate(content)


def built_network(model: str, params: Params):
    """Start Keras as `params` says, and return the network "mlp" or "cnn" for the prepared data, not compiled."""
    from stages.runtime import start_keras

    start_keras(params.runtime)

    from stages.learners.networks import BUILDERS

    info = load_info()
    section = getattr(params.train, model)
    return BUILDERS[model](section, info.height, info.width, len(info.class_names), info.channels)


def _network(model: str, params: Params):
    network, section = built_network(model, params), getattr(params.train, model)

    import keras

    from stages.learners.ensemble import train_networks
    from stages.learners.keras_classifier import KerasClassifier

    training, validation = load_split("train"), load_split("validation")

    def fit() -> keras.Model:
        return train_networks(model, network, section, training, validation, params.runtime.seed, lambda *_: None)[0]

    return fit, lambda trained, images: KerasClassifier(trained).predict(images)


def _forest(params: Params):
    from sklearn.ensemble import RandomForestClassifier

    from stages.dataset.features import FEATURES
    from stages.dataset.subset import subset
    from stages.learners.forest import grow

    section, seed = params.train.random_forest, params.runtime.seed
    training = subset(load_split("train"), section.train_samples, seed)

    def fit() -> RandomForestClassifier:
        forest = grow(section, seed, FEATURES[section.features](training.images), training.labels)
        if section.train_samples:
            # R's importance = TRUE computes this while it grows the forest on so many images.
            _ = forest.feature_importances_
        return forest

    return fit, lambda forest, images: forest.predict_proba(FEATURES[section.features](images))


if __name__ == "__main__":
    main()
