"""The types of values in params.yaml; each says which are allowed, in the words of the error message."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def choice(*values: str) -> Any:
    return Annotated[Literal[values], Field(description=" | ".join(values))]


def integer(low: int, high: int) -> Any:
    return Annotated[int, Field(ge=low, le=high, description=f"an integer, {low} … {high}")]


def number(low: float, high: float) -> Any:
    return Annotated[float, Field(ge=low, le=high, description=f"a number, {_plain(low)} … {_plain(high)}")]


def positive_number(high: float) -> Any:
    return Annotated[float, Field(gt=0, le=high, description=f"a number above 0, at most {high}")]


def optional(kind: Any) -> Any:
    """Return the type of a value of that `kind` or null."""
    return Annotated[kind | None, Field(description=f"{described(kind)}, or null")]


def list_of(kind: Any, low: int, high: int, each: str | None = None) -> Any:
    """Return the type of a list of `low` to `high` values of that `kind`; `each` is their plural."""
    counted = (
        f"a list of {low if low == high else f'{low} … {high}'} {each}"
        if each
        else f"a list, at most {high} long, each {described(kind)}"
    )
    return Annotated[list[kind], Field(min_length=low, max_length=high, description=counted)]


def described(kind: Any) -> str:
    """Return the allowed values of a type made here, in words."""
    return next(each.description for each in kind.__metadata__ if each.description)


def _plain(value: float) -> str:
    """Return a number as params.yaml would have it: 0.00000001, not 1e-08."""
    return f"{value:.10f}".rstrip("0").rstrip(".")


Flag = Annotated[bool, Field(description="true | false")]
Seed = integer(0, 2**32 - 1)
Count = integer(1, 1_000_000)
Side = integer(1, 1_000)
Fraction = number(0, 1)
