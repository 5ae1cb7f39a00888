"""reports/index.html: one page that needs no other file and no network."""

import base64
import io
import json
from itertools import combinations
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from stages.dataset.prepared import DatasetInfo
from stages.evaluation.comparison import SIGNIFICANCE
from stages.evaluation.measurement import Result
from stages.evaluation.scores import CONFIDENCE_LEVEL
from stages.fingerprints import file_md5, folder_md5, versions
from stages.params.schema import Params
from stages.paths import EXPLORE, PREPARED

# How the page calls the figures, in the order in which it shows them.
FIGURES = {
    "test_accuracy": "accuracy",
    "test_top2_accuracy": "top-2 accuracy",
    "test_loss": "log loss",
    "test_brier": "Brier score",
    "test_ece": "expected calibration error",
    "test_precision": "macro precision",
    "test_recall": "macro recall",
    "test_f1": "macro F1",
}


def write_report(
    path: Path, info: DatasetInfo, results: list[Result], comparison: dict, params: Params, notice: str | None
) -> None:
    """Write the page; `params` are those of params.yaml, `notice` is what the reader must not miss."""
    environment = Environment(
        loader=PackageLoader("stages.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"picture": _picture, "table": pd.read_csv, "file_md5": file_md5}
    environment.filters |= {"percent": lambda share: f"{100 * share:.2f} %", "p_value": _p_value}
    best = max(results, key=lambda result: result.metrics["val_accuracy"])
    page = environment.get_template("report.html.jinja").render(
        info=info,
        results=results,
        best=best,
        figures=FIGURES,
        level=CONFIDENCE_LEVEL,
        pairs=_pairs(results, comparison),
        comparison=comparison,
        explore=EXPLORE,
        data_md5=folder_md5(PREPARED),
        packages=_packages(results),
        params=_yaml(params),
        notice=notice,
    )
    path.write_text(page + "\n", encoding="utf-8")


def _pairs(results: list[Result], comparison: dict) -> list[dict]:
    """Return every two models with what McNemar's test says of them, in words."""
    found = []
    for first, second in combinations([result.model for result in results], 2):
        pair = comparison[f"{first.name}_vs_{second.name}"]
        only_first, only_second = pair[f"only_{first.name}_right"], pair[f"only_{second.name}_right"]
        better = first if only_first > only_second else second
        real = pair["p_adjusted"] < SIGNIFICANCE
        found.append(
            {
                **pair,
                "first": first.title,
                "second": second.title,
                "only_first": only_first,
                "only_second": only_second,
                "verdict": f"{better.title} is better" if real else "may be chance",
            }
        )
    return found


def _p_value(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _packages(results: list[Result]) -> dict[str, str]:
    """Return the versions of the packages behind the models; Python's own makes no difference to them."""
    names = {name for result in results for name in result.model.packages}
    return {name: number for name, number in versions(*sorted(names)).items() if name != "python"}


def _yaml(params: Params) -> str:
    """Return the values alone, by name: an edited comment or another order reruns nothing, so it must not show."""
    values = json.loads(json.dumps(params.model_dump(), sort_keys=True))
    text = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.Representer = _NullWritten
    yaml.dump(values, text)
    return text.getvalue()


class _NullWritten(RoundTripRepresenter):
    """A class of its own: ruamel.yaml keeps representers per class, for the whole process."""


_NullWritten.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null"))


def _picture(path: Path) -> str | None:
    """Return the PNG file as a data URL, or None where it does not exist."""
    if not path.exists():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
