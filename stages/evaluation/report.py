"""reports/index.html: one page that needs no other file and no network."""

import base64
import io
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from stages.dataset.imbalance import imbalance
from stages.dataset.prepared import DatasetInfo
from stages.evaluation.comparison import SIGNIFICANCE
from stages.evaluation.measurement import Result
from stages.evaluation.scores import CONFIDENCE_LEVEL
from stages.fingerprints import file_md5, folder_md5, versions
from stages.params.schema import Params
from stages.paths import EXPLORE, PREPARED

# The names of the metrics on the page, in its order.
METRIC_NAMES = {
    "test_accuracy": "accuracy",
    "test_balanced_accuracy": "balanced accuracy",
    "test_top2_accuracy": "top-2 accuracy",
    "test_loss": "log loss",
    "test_brier": "Brier score",
    "test_ece": "expected calibration error",
    "test_precision": "macro precision",
    "test_recall": "macro recall",
    "test_f1": "macro F1",
}

ARITHMETIC = {
    "portable": "portable: the same bytes on any x86-64 processor with AVX2",
    "native": "native: other bytes on another kind of processor",
}
SIZE_NAMES = {"multiply_adds": "multiply-adds for an image", "depth": "levels at most"}


def write_report(
    path: Path, info: DatasetInfo, results: list[Result], comparison: dict, params: Params, notice: str | None
) -> None:
    """Write the page; `params` are those of params.yaml, the reader must not miss `notice`."""
    environment = Environment(
        loader=PackageLoader("stages.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": lambda share: f"{100 * share:.2f} %", "p_value": _p_value}
    best = max(results, key=lambda result: result.metrics["val_accuracy"])
    page = environment.get_template("report.html.jinja").render(
        info=info,
        results=results,
        best=best,
        metric_names=METRIC_NAMES,
        models=[_model(result) for result in results],
        level=CONFIDENCE_LEVEL,
        pairs=_pairs(results, comparison),
        comparison=comparison,
        data_figures=_figures(EXPLORE),
        purity=_rows(EXPLORE / "purity.csv"),
        md5={PREPARED.as_posix(): folder_md5(PREPARED)}
        | {result.model.file.as_posix(): file_md5(result.model.file) for result in results},
        packages=_packages(results),
        arithmetic=ARITHMETIC[params.runtime.arithmetic],
        params=_yaml(params),
        notice=notice,
        imbalance=imbalance([row["train"] for row in _rows(EXPLORE / "class_counts.csv")], info.class_names),
    )
    path.write_text(page + "\n", encoding="utf-8")


def _model(result: Result) -> dict[str, Any]:
    """Return the content of one model's section."""
    folder = result.model.reports
    parts = [f"{count:,} {SIZE_NAMES.get(name, name)}" for name, count in result.size.items()]
    return {
        "result": result,
        "figures": _figures(folder),
        "size": f"{', '.join(parts)}; a file of {result.metrics['file_bytes'] // 1000:,} kB.",
        "per_class": _rows(folder / "per_class.csv"),
        "layers": _rows(folder / "layers.csv"),
    }


def _pairs(results: list[Result], comparison: dict) -> list[dict]:
    """Return every two models with the result of McNemar's test, in words."""
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


def _figures(folder: Path) -> dict[str, str]:
    """Return the PNG files of `folder` as data URLs, by their names without the suffix."""
    return {
        path.stem: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        for path in folder.glob("*.png")
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV file, none where there is no file."""
    if not path.exists():
        return []
    # A class may be called "NA" or "01".
    empty = {"keep_default_na": False, "na_values": {"silhouette": [""]}}
    return pd.read_csv(path, dtype={"class": str}, **empty).to_dict("records")
