"""The training images that the random forest is trained on."""

from contextlib import suppress

import numpy as np
from sklearn.model_selection import train_test_split

from stages.dataset.prepared import Split
from stages.process.errors import UserError


def subset(training: Split, size: int | None, seed: int) -> Split:
    """Return `size` of the training images (None: all), stratified by class; raises `UserError` if there are fewer."""
    available = len(training.labels)
    if size is None or size == available:
        return training
    classes = len(np.unique(training.labels))
    if size > available - classes:
        raise UserError(
            f"params.yaml: train.random_forest.train_samples: {size} of {available} training images; "
            f"lower it to at most {available - classes}, or null for all"
        )
    chosen = np.array([], int)
    # Raised where a class has one image, or there are fewer of them than classes.
    with suppress(ValueError):
        chosen, _ = train_test_split(np.arange(available), train_size=size, stratify=training.labels, random_state=seed)
        chosen.sort()
    if len(np.unique(training.labels[chosen])) < classes:
        raise UserError(
            f"params.yaml: train.random_forest.train_samples: {size} of {available} training images leave a class "
            "without one; raise it, or null for all"
        )
    return Split(training.images[chosen], training.labels[chosen])
