"""The file of a sweep, sweeps/NAME.yaml: its schema, and reading it."""

import difflib
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from commands.named_files import check_name, yaml_files
from stages.learners.models import ALL_MODELS, Model
from stages.params.errors import explain
from stages.params.types import Count, Flag, Section, Seed, choice, integer, optional
from stages.params.yaml_file import read_yaml
from stages.process.errors import UserError, one_line

SWEEPS = Path("sweeps")
MOST_POINTS = 1_000_000
GOALS = {"val_accuracy": "maximize", "val_loss": "minimize"}

Number = Annotated[int | float, Field(description="a number")]


class Metric(Section):
    name: choice(*GOALS)
    goal: choice("maximize", "minimize")

    @model_validator(mode="before")
    @classmethod
    def _leaves_the_test_images_alone(cls, content: Any) -> Any:
        name = content.get("name") if isinstance(content, dict) else None
        if isinstance(name, str) and name.startswith("test_"):
            raise ValueError(
                f"name: {one_line(name, 60)} is refused: what is chosen on test images is not measured by them; "
                f"allowed: {' | '.join(GOALS)}"
            )
        return content

    @model_validator(mode="after")
    def _has_its_goal(self):
        if self.goal != GOALS[self.name]:
            raise ValueError(f"goal: {self.goal} with {self.name}, whose better values are the others")
        return self


class Parameter(Section):
    """What may be proposed: one of the `values`, or a number from `min` to `max`."""

    min: optional(Number) = None
    max: optional(Number) = None
    log: Flag = False
    values: Annotated[list[Any] | None, Field(min_length=1, description="a list of at least one value")] = None

    @model_validator(mode="after")
    def _is_a_list_or_a_range(self):
        ends = [end for end in (self.min, self.max) if end is not None]
        if (self.values is None) == (len(ends) < 2) or (self.values is not None and (ends or self.log)):
            raise ValueError("values: give either values, or min and max (and log)")
        if ends and not self.min < self.max:
            raise ValueError(f"min: {self.min} must be below max: {self.max}")
        if self.log and self.min <= 0:
            raise ValueError(f"min: {self.min} must be above 0 with log: true")
        for position, value in enumerate(self.values or []):
            if value in self.values[:position]:
                raise ValueError(f"values: {one_line(value, 60)} is there twice")
        return self

    def extremes(self) -> list[Any]:
        """Return each listed value, or both ends."""
        return self.values if self.values is not None else [self.min, self.max]


class EarlyTerminate(Section):
    type: choice("successive_halving")
    min_iter: Count
    eta: integer(2, 100)


class Confirm(Section):
    best: integer(1, 100)
    seeds: integer(2, 1_000)


class Resources(Section):
    """What one trial takes. Without a cluster one trial runs at a time, whatever it takes."""

    cpus: integer(1, 4096)
    gpus: integer(0, 64)


class Sweep(Section):
    metric: Metric
    stage: choice(*(model.stage for model in ALL_MODELS))
    recipe: Annotated[
        str | None, Field(min_length=1, description="the name of a recipe, as `mnist recipe` lists it")
    ] = None
    method: choice("grid", "random", "tpe")
    trials: optional(Count) = None
    seed: optional(Seed) = None
    parameters: Annotated[
        dict[str, Parameter],
        Field(
            min_length=1,
            description="a mapping of keys of params.yaml, each with its values, such as train.cnn.epochs: "
            "{values: [6, 9]} or {min: 6, max: 9}",
        ),
    ]
    early_terminate: EarlyTerminate | None = None
    confirm: Confirm | None = None
    resources: Resources | None = None

    @property
    def model(self) -> Model:
        return next(model for model in ALL_MODELS if model.stage == self.stage)

    @model_validator(mode="after")
    def _fits_its_method(self):
        if self.early_terminate and self.model.history is None:
            raise ValueError(f"early_terminate: {self.stage} has no epochs; leave it out")
        if self.method == "grid":
            self._check_grid()
        else:
            for key in ("trials", "seed"):
                if getattr(self, key) is None:
                    raise ValueError(f"{key}: must be there with method: {self.method}")
        if self.confirm and self.confirm.best > self.total:
            raise ValueError(f"confirm.best: {self.confirm.best} of {self.total} trials; at most {self.total}")
        return self

    @property
    def total(self) -> int:
        return self._grid_points() if self.trials is None else self.trials

    def _check_grid(self) -> None:
        for key, parameter in self.parameters.items():
            if parameter.values is None:
                raise ValueError(f"parameters.{key}: a grid has values, and no min and max")
        points = self._grid_points()
        if points > MOST_POINTS:
            raise ValueError(f"parameters: the grid has {points:,} points; at most {MOST_POINTS:,}")
        if self.trials not in (None, points):
            raise ValueError(f"trials: the grid has {points} points; set trials: {points}, or leave it out")

    def _grid_points(self) -> int:
        return math.prod(len(parameter.values) for parameter in self.parameters.values())


def sweep_names() -> list[str]:
    return [path.stem for path in yaml_files(SWEEPS)]


def sweep_file(name: str) -> Path:
    return SWEEPS / f"{name}.yaml"


def load_sweep(name: str) -> Sweep:
    """Raises `UserError` for an unknown name, and for a file that is not in order."""
    names = sweep_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = ", ".join(names) or "none yet (docs/sweeps.md says how to write one)"
        raise UserError(f"{one_line(name, 60)}: no such sweep in {SWEEPS}/; there are {known}{hint}")
    check_name(sweep_file(name))
    content = read_yaml(sweep_file(name))
    if not isinstance(content, dict):
        raise UserError(f"{sweep_file(name)}: must be a mapping of {', '.join(Sweep.model_fields)}")
    try:
        return Sweep.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{sweep_file(name)}: {explain(error, Sweep)}") from None
