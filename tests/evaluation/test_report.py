"""The content of the page, and an edit that does not change it."""

import numpy as np
import pandas as pd

from stages.dataset.prepared import DatasetInfo
from stages.evaluation.measurement import Result
from stages.evaluation.report import METRIC_NAMES, write_report
from stages.evaluation.scores import per_class
from stages.learners.models import MLP
from stages.params.views import EvaluateParams, load_params
from stages.paths import EXPLORE, PREPARED

LABELS = np.array([0, 1, 1, 0])
SIZE = {"weights": 1000, "multiply_adds": 1000}
METRICS = {**dict.fromkeys((*METRIC_NAMES, "val_accuracy"), 0.98765), **SIZE, "file_bytes": 1000, "gate_passed": False}


def test_the_page_shows_metrics_params_and_the_notice_escaped(params_file):
    folder = params_file.parent
    for each in (MLP.reports, EXPLORE, PREPARED, MLP.file.parent):
        each.mkdir(parents=True)
    MLP.file.write_bytes(b"model")
    scores = pd.DataFrame({"value": 0.98765, "low": 0.98, "high": 0.99}, index=list(METRIC_NAMES))
    words = {"overfitting": "<verdict>", "calibration": "none: too few <images>"}
    result = Result(MLP, np.eye(2)[LABELS], None, scores, METRICS, SIZE, seconds={}, minimum=0.8, **words)
    per_class(LABELS, LABELS, ["a", "b"]).to_csv(MLP.reports / "per_class.csv")
    pd.DataFrame({"space": ["pixels"], "neighbor_purity": [0.9], "silhouette": [0.1]}).to_csv(
        EXPLORE / "purity.csv", index=False
    )
    pd.DataFrame({"class": ["0", "1"], "train": [100, 3]}).to_csv(EXPLORE / "class_counts.csv", index=False)
    comparison = {
        "cochran_q": {"p_value": 1.0},
        "average": {"test_accuracy": 0.9, "test_accuracy_low": 0.8, "test_accuracy_high": 1.0},
    }
    params = load_params(EvaluateParams).params
    info = DatasetInfo("mnist", "mnist-sample", True, 28, 28, ["0", "1"], deskew=False)
    pages = []
    for comment in ("", "# a comment\n"):
        params_file.write_text(comment + params_file.read_text())
        write_report(folder / "index.html", info, [result], comparison, params, "a <notice>")
        pages.append((folder / "index.html").read_text())
    assert pages[0] == pages[1]
    assert "98.77 %" in pages[0]
    assert "Class imbalance: 0 has 100 training images and 1 has 3" in " ".join(pages[0].split())
    assert "a &lt;notice&gt;" in pages[0]
    assert "&lt;verdict&gt;" in pages[0]
    assert "None: too few &lt;images&gt;." in pages[0]
    assert "shares of votes" not in pages[0]
    assert 'class="missed"' in pages[0]
    assert "max_features: 12" in pages[0]
    assert "null" in pages[0]
