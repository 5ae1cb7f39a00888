"""How MLflow's page of an experiment looks when one comes by the addresses of `mnist ui`: a saved view of it.

MLflow does not document the format: this is what its page of version 3.17 writes under "Views", "Save as new view".
Another version that does not understand it shows its plain table.
"""

import json
from typing import Any

from stages.tracking.store import connect

# The part of an address that names the view, and the tag of an experiment that holds it.
KEY = "mnist"
TAG = f"mlflow.sharedViewState.{KEY}"
SORTED_BY = "metrics.`test_accuracy`"
# The name of a run, which is its model, is always there.
COLUMNS = (
    "attributes.`Dataset`",
    SORTED_BY,
    "metrics.`val_accuracy`",
    "metrics.`test_loss`",
    "metrics.`training_seconds`",
    "tags.`runtime.device`",
)
# In pixels; MLflow gives the data set 300, for its md5. All fit into a window of 1400.
WIDTHS = {
    "attributes.`Run Name`": 150,
    "runDateAndNestInfo": 140,
    "attributes.`Dataset`": 130,
    SORTED_BY: 115,
    "metrics.`val_accuracy`": 115,
    "metrics.`test_loss`": 95,
    "metrics.`training_seconds`": 135,
    "tags.`runtime.device`": 120,
}
CHARTS = {"test_accuracy": "BAR", "test_loss": "BAR", "val_accuracy": "LINE", "val_loss": "LINE"}
FIRST = "Accuracy and loss"
# In milliseconds. Not today: the tag would differ each time.
MADE = 1795824000000


def share_view(experiment: str) -> str | None:
    """Give the experiment (its id) the view unless it has it, and return the view's key; None where MLflow refuses."""
    client, view = connect().MlflowClient(), _view()
    try:
        if client.get_experiment(experiment).tags.get(TAG) != view:
            client.set_experiment_tag(experiment, TAG, view)
    except Exception:
        # A store that one may only read, or that takes no such tag: the table is there without it.
        return None
    return KEY


def _view() -> str:
    state = {
        "orderByKey": SORTED_BY,
        "orderByAsc": False,
        "selectedColumns": COLUMNS,
        "columnOrder": COLUMNS,
        "columnWidths": WIDTHS,
        "compareRunCharts": [_chart(metric, kind) for metric, kind in CHARTS.items()],
        # MLflow adds a chart of everything else to the sections of these names.
        "compareRunSections": [_section(FIRST), *map(_section, ("Model metrics", "System metrics"))],
    }
    return json.dumps({"name": "Results", "createdAt": MADE, "updatedAt": MADE, "state": json.dumps(state)})


def _chart(metric: str, kind: str) -> dict[str, Any]:
    chart = {"uuid": f"{KEY}-{metric}", "type": kind, "metricSectionId": FIRST, "metricKey": metric}
    chart |= {"deleted": False, "isGenerated": True, "runsCountToCompare": 10, "displayName": metric}
    if kind == "LINE":
        chart |= {"xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear", "yAxisKey": "metric"}
        chart |= {"lineSmoothness": 0, "range": {}, "yAxisExpressions": [], "selectedXAxisMetricKey": ""}
        chart |= {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True, "ignoreOutliers": False}
    return chart


def _section(name: str) -> dict[str, Any]:
    made = {"display": True, "isReordered": False, "deleted": False, "isGenerated": True}
    return {"uuid": name, "name": name, **made}
