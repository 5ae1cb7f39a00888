"""The content of the page, and an edit that does not change it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.dataset.prepared import DatasetInfo
from stages.evaluation.measurement import Result
from stages.evaluation.report import METRIC_NAMES, write_report
from stages.evaluation.scores import per_class
from stages.learners.models import CNN, MLP, Model
from stages.params.views import EvaluateParams, load_params
from stages.paths import EXPLORE, PREPARED

LABELS = np.array([0, 1, 1, 0])
SIZE = {"weights": 1000, "multiply_adds": 1000}
METRICS = {**dict.fromkeys((*METRIC_NAMES, "val_accuracy"), 0.98765), **SIZE, "file_bytes": 1000, "gate_passed": False}


INFO = DatasetInfo("mnist", "mnist-sample", True, 28, 28, ["0", "1"], deskew=False)
COMPARISON = {
    "cochran_q": {"p_value": 1.0},
    "average": {"test_accuracy": 0.9, "test_accuracy_low": 0.8, "test_accuracy_high": 1.0},
}


@pytest.fixture
def folder(params_file: Path) -> Path:
    """A folder with what the page shows of the data, which is the current one."""
    for each in (EXPLORE, PREPARED, MLP.file.parent):
        each.mkdir(parents=True)
    pd.DataFrame({"space": ["pixels"], "neighbor_purity": [0.9], "silhouette": [0.1]}).to_csv(
        EXPLORE / "purity.csv", index=False
    )
    pd.DataFrame({"class": ["0", "1"], "train": [100, 3]}).to_csv(EXPLORE / "class_counts.csv", index=False)
    return params_file.parent


def result_of(model: Model, **metrics: float) -> Result:
    """Write the model and its report, and return its result."""
    model.reports.mkdir(parents=True)
    model.file.write_bytes(b"model")
    per_class(LABELS, LABELS, ["a", "b"]).to_csv(model.reports / "per_class.csv")
    scores = pd.DataFrame({"value": 0.98765, "low": 0.98, "high": 0.99}, index=list(METRIC_NAMES))
    words = {"overfitting": "<verdict>", "calibration": "none: too few <images>"}
    return Result(
        model, np.eye(2)[LABELS], None, scores, {**METRICS, **metrics}, SIZE, seconds={}, minimum=0.8, **words
    )


@pytest.mark.parametrize(("p_adjusted", "verdict"), [(0.06, "may be chance"), (0.04, "CNN is better")])
def test_the_best_is_that_of_the_validation_images_and_a_difference_needs_its_adjusted_p(folder, p_adjusted, verdict):
    results = [
        result_of(MLP, val_accuracy=0.9712, test_accuracy=0.9534),
        result_of(CNN, val_accuracy=0.9611, test_accuracy=0.9656),
    ]
    pair = {"only_mlp_right": 5, "only_cnn_right": 17, "agreement": 0.97, "p_value": 0.03, "p_adjusted": p_adjusted}
    params = load_params(EvaluateParams).params
    write_report(folder / "index.html", INFO, results, {**COMPARISON, "mlp_vs_cnn": pair}, params, None)
    page = " ".join((folder / "index.html").read_text().split())
    assert "Best on the validation images: <strong>MLP</strong>, right on <strong>95.34 %</strong>" in page
    assert f"<td>MLP and CNN</td><td>{verdict}</td><td>5</td><td>17</td>" in page


def test_the_page_shows_metrics_params_and_the_notice_escaped(folder, params_file):
    result, params = result_of(MLP), load_params(EvaluateParams).params
    pages = []
    for comment in ("", "# a comment\n"):
        params_file.write_text(comment + params_file.read_text())
        write_report(folder / "index.html", INFO, [result], COMPARISON, params, "a <notice>")
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
