"""The points of UMAP, drawn."""

import warnings

import numpy as np

from stages.exploration.figures import draw_points


def test_a_class_that_the_sample_lacks_is_no_warning(tmp_path):
    points, labels = np.random.default_rng(0).random((40, 2)), np.repeat([0, 2], 20)
    with warnings.catch_warnings(action="error"):
        draw_points(points, labels, ["cat", "cow", "dog"], tmp_path / "points.png", "UMAP", seed=0)
    assert (tmp_path / "points.png").stat().st_size > 1000
