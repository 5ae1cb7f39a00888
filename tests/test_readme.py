"""The README says what was measured."""

import json
import re

from stages.learners.models import ALL_MODELS
from tests.conftest import PROJECT


def test_the_results_table_is_the_one_that_repeat_measured():
    readme = (PROJECT / "README.md").read_text()
    repeats = json.loads((PROJECT / "reports/repeats.json").read_text())
    for model in ALL_MODELS:
        (row,) = re.findall(rf"^\| {model.title} \|(.*)\|$", readme, re.MULTILINE)
        shown = [re.findall(r"[\d.]+", cell) for cell in row.split("|")[:3]]
        for metric, figures in zip(("test_accuracy", "test_loss", "val_accuracy"), shown, strict=True):
            percent = metric.endswith("accuracy")
            factor, digits = (100, 2) if percent else (1, 4)
            measured = [repeats[model.name][metric][kind] for kind in ("mean", "std")]
            assert figures == [f"{factor * value:.{digits}f}" for value in measured], (model.name, metric)


def test_the_readme_names_every_module():
    readme = (PROJECT / "README.md").read_text()
    for folder in ("stages", "commands"):
        for path in (PROJECT / folder).rglob("*.py"):
            if path.name != "__init__.py":
                assert re.search(rf"^ +{path.name} ", readme, re.MULTILINE), path
