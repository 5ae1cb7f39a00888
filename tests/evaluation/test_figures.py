"""Figures have stable bytes."""

import numpy as np
import pandas as pd

from stages.evaluation.figures import draw_confusion_matrix, draw_history, draw_importance
from stages.figures import draw_tiles

HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "train_loss": [1, 0.5], "val_loss": [1, 0.6], "train_accuracy": [0.5, 0.8],
     "val_accuracy": [0.4, 0.7]}
)  # fmt: skip


def test_drawing_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        draw_history(HISTORY, tmp_path / f"{name}.png", "title")
        draw_confusion_matrix(np.eye(3, dtype=int), ["x", "y", "long name"], tmp_path / f"{name}_matrix.png", "title")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a_matrix.png").read_bytes() == (tmp_path / "b_matrix.png").read_bytes()


def test_a_dollar_in_a_name_begins_no_mathematics(tmp_path):
    # Between two of them this would be an error.
    for name, names in (("a", ["$x^$", "^$"]), ("b", ["x^", "^"])):
        draw_confusion_matrix(np.eye(2, dtype=int), names, tmp_path / f"{name}.png", "title")
        draw_tiles(np.zeros((2, 4, 4)), ["→".join(names), ""], tmp_path / f"{name}_tiles.png", "title", 2)
    assert (tmp_path / "a_tiles.png").read_bytes() != (tmp_path / "b_tiles.png").read_bytes()


def test_images_of_one_row_have_no_outline(tmp_path):
    draw_importance({"importance": np.ones((1, 9))}, np.ones((1, 9)), tmp_path / "row.png", "title")
    assert (tmp_path / "row.png").exists()
