"""Pictures and the page have stable bytes."""

import numpy as np
import pandas as pd

from stages.dataset.prepared import About
from stages.evaluation.figures import draw_confusion_matrix, draw_history
from stages.evaluation.report import Section, write_report
from stages.params import EvaluateParams, load_params

HISTORY = pd.DataFrame(
    {"epoch": [1, 2], "train_loss": [1, 0.5], "val_loss": [1, 0.6], "train_accuracy": [0.5, 0.8],
     "val_accuracy": [0.4, 0.7]}
)  # fmt: skip
SCORES = dict.fromkeys(
    ("test_accuracy", "test_loss", "test_precision", "test_recall", "test_f1", "val_accuracy"), 0.98765
)


def test_drawing_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        draw_history(HISTORY, tmp_path / f"{name}.png", "title")
        draw_confusion_matrix(np.eye(3, dtype=int), ["x", "y", "long name"], tmp_path / f"{name}_matrix.png", "title")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a_matrix.png").read_bytes() == (tmp_path / "b_matrix.png").read_bytes()


def test_the_page_shows_figures_params_and_the_notice_escaped(params_file):
    folder = params_file.parent
    params = load_params(EvaluateParams).params
    draw_history(HISTORY, folder / "confusion_matrix.png", "title")
    about = About("mnist", "mnist-sample", True, 28, 28, ["0", "1"], deskew=False)
    pages = []
    for comment in ("", "# a comment\n"):
        params_file.write_text(comment + params_file.read_text())
        write_report(folder / "index.html", about, [Section("MLP", SCORES, folder)], params, "a <notice>")
        pages.append((folder / "index.html").read_text())
    assert pages[0] == pages[1]
    assert "98.77 %" in pages[0]
    assert "a &lt;notice&gt;" in pages[0]
    assert "max_features: sqrt" in pages[0]
    assert "null" in pages[0]
