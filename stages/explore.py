"""Show the data: class counts, example images and the mean image of each class, into reports/explore.

python -m stages.explore
"""

import shutil

import numpy as np
import pandas as pd

from stages.dataset.prepared import load_about, load_split
from stages.evaluation.figures import draw_class_counts, draw_image_grid, draw_images
from stages.params import ExploreParams, load_params
from stages.paths import EXPLORE
from stages.start import run_stage

EXAMPLES_PER_CLASS = 12


def main() -> None:
    load_params(ExploreParams)
    about = load_about()
    splits = {name: load_split(name) for name in ("train", "validation", "test")}
    training = splits["train"]
    names = about.class_names
    of_class = [np.flatnonzero(training.labels == label) for label in range(len(names))]

    counts = pd.DataFrame(
        {name: np.bincount(split.labels, minlength=len(names)) for name, split in splits.items()},
        index=pd.Index(names, name="class"),
    )
    means = np.stack([training.images[members].mean(axis=0) for members in of_class])
    examples = [training.images[members[:EXAMPLES_PER_CLASS]] for members in of_class]

    if EXPLORE.exists():
        shutil.rmtree(EXPLORE)
    EXPLORE.mkdir(parents=True)
    counts.to_csv(EXPLORE / "class_counts.csv")
    draw_class_counts(counts, EXPLORE / "class_counts.png", about.dataset)
    draw_image_grid(examples, names, EXPLORE / "examples.png", f"{about.dataset}: training images")
    draw_images(means, names, EXPLORE / "mean_images.png", f"{about.dataset}: mean image of each class")
    print(counts.to_string())


if __name__ == "__main__":
    run_stage(main, __doc__)
