"""reports/index.html: one page that needs no other file and no network."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.representer import RoundTripRepresenter

from stages.dataset.prepared import About


@dataclass(frozen=True)
class Section:
    """What the page shows of one model; its pictures lie in `folder`."""

    title: str
    metrics: dict[str, float]
    folder: Path


def write_report(path: Path, about: About, sections: list[Section], params: BaseModel, notice: str | None) -> None:
    """Write the page; `params` are those of params.yaml, `notice` is what the reader must not miss."""
    environment = Environment(
        loader=PackageLoader("stages.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["picture"] = _picture
    page = environment.get_template("report.html.jinja").render(
        about=about, sections=sections, params=_yaml(params), notice=notice
    )
    path.write_text(page + "\n", encoding="utf-8")


def _yaml(params: BaseModel) -> str:
    """Return the values alone: an edited comment reruns nothing, so it must not show."""
    text = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.Representer = _NullWritten
    yaml.dump(params.model_dump(), text)
    return text.getvalue()


class _NullWritten(RoundTripRepresenter):
    """A class of its own: ruamel.yaml keeps representers per class, for the whole process."""


_NullWritten.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null"))


def _picture(path: Path) -> str | None:
    """Return the PNG file as a data URL, or None where it does not exist."""
    if not path.exists():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
