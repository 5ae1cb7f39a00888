"""A trained model from its file."""

from pathlib import Path

from stages.learners.classifier import Classifier


def load_classifier(path: Path) -> Classifier:
    """Load the model in `path`, whose stem is the model's name in the registry.

    Raises `UserError` for a file that is not such a model.
    """
    # Each kind imports its own packages only: a forest is served where there is no Keras.
    if path.stem == "random_forest":
        from stages.learners.forest_classifier import ForestClassifier
        from stages.learners.forest_file import load_forest

        return ForestClassifier(*load_forest(path))

    from stages.learners.keras_classifier import KerasClassifier
    from stages.learners.keras_file import load_keras

    return KerasClassifier(load_keras(path))
