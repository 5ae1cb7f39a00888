"""Growing scikit-learn's random forest."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from stages.params.schema import RandomForest
from stages.process.console import progress_bar
from stages.process.errors import UserError
from stages.process.memory import available_memory
from stages.process.provenance import cores

# Images times trees between two marks of the progress bar, at least: about a second of work.
STEP = 500_000
# Of the memory that is free the features may take this much, for there are trees, too.
SHARE = 0.5


def check_memory(images: int, features: int) -> None:
    """Raise `UserError` where the features of all training images would not fit into memory, before they are made.

    `images` is their number, `features` that of an image's values.
    """
    needed, available = 4 * features, available_memory()
    if images * needed > SHARE * available:
        raise UserError(
            f"params.yaml: train.random_forest.train_samples: the features of {images:,} images need "
            f"{images * needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free\n"
            f"Set it to at most {int(SHARE * available / needed):,}."
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
