"""The mistakes in params.yaml, in the words of its schema instead of pydantic's."""

import difflib
from datetime import date
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from stages.process.errors import one_line

Section = type[BaseModel]
# Pydantic's words for a key that is not in the schema, and for one that is no text.
UNKNOWN = ("extra_forbidden", "invalid_key")


def explain(error: ValidationError, schema: Section) -> str:
    """Return the first mistake, with its dotted key and the allowed values, and the number of the others."""
    details = error.errors(include_url=False)
    # A misspelt key is both unknown and missing: the unknown one says more, and names the other.
    details.sort(key=lambda detail: detail["type"] not in UNKNOWN)
    messages: dict[str, str] = {}
    for detail in details:
        path, message = _problem(detail, schema)
        if detail["type"] != "missing" or not any(path in known for known in messages.values()):
            messages.setdefault(path, message)
    first, *others = messages.values()
    more = f"\n({len(others)} more like this)" if others else ""
    return f"{first}{more}"


def all_keys(section: Section, prefix: str = "") -> list[str]:
    """Return the dotted keys of the sections and values in `section`, each under its `prefix`."""
    keys = []
    for name, about in section.model_fields.items():
        keys.append(prefix + name)
        below = subsection(about.annotation)
        if below is not None:
            keys += all_keys(below, f"{prefix}{name}.")
    return keys


def subsection(annotation: Any) -> Section | None:
    """Return the section that a field of that type is, or has in a list, or None."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _problem(detail: Any, schema: Section) -> tuple[str, str]:
    """Return the dotted key and the message."""
    if detail["type"] in UNKNOWN:
        return _unknown_key(detail["loc"], schema)
    path, section, name, _ = _locate(detail["loc"], schema)
    if detail["type"] == "value_error":
        return path, ".".join(filter(None, (path, str(detail["ctx"]["error"]))))
    if detail["type"] == "missing":
        return path, f"{path}: this key is missing; {_allowed(section, name)}"
    given = _shorten(detail["input"])
    hint = _nearest(section, name, detail)
    return path, f"{path}: {given} is not allowed; {_allowed(section, name)}{hint}"


def _locate(loc: tuple, schema: Section) -> tuple[str, Section, str | None, Section | None]:
    """Return the dotted key of a pydantic location, the section it stands in, its name there and the section it is.

    Behind a key pydantic also names the member of a union that it tried: cut off here.
    """
    section: Section | None = schema
    parts: list[str] = []
    owner, name, keyed = schema, None, False
    for part in loc:
        if keyed or isinstance(part, int):
            # A name that the user gives to a section, or the place of an item in a list.
            keyed = False
            parts.append(_shorten(part, bare=True))
            continue
        if section is None or part not in section.model_fields:
            break
        parts.append(part)
        owner, name = section, part
        annotation = section.model_fields[part].annotation
        section, keyed = subsection(annotation), get_origin(annotation) is dict
    return ".".join(parts), owner, name, section


def _allowed(section: Section, name: str | None) -> str:
    if name is None:
        return "allowed: a mapping"
    about = section.model_fields[name]
    below = subsection(about.annotation)
    if about.description is None and below is not None:
        return f"allowed: a mapping of {', '.join(below.model_fields)}"
    return f"allowed: {about.description}"


def _nearest(section: Section, name: str | None, detail: Any) -> str:
    if detail["type"] != "literal_error" or not isinstance(detail["input"], str):
        return ""
    choices = str(section.model_fields[name].description).split(" | ")
    near = difflib.get_close_matches(detail["input"].lower(), choices, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown_key(loc: tuple, schema: Section) -> tuple[str, str]:
    parent, owner, _, section = _locate(loc[:-1], schema)
    prefix, key, names = parent and f"{parent}.", str(loc[-1]), list((section or owner).model_fields)
    near = [prefix + name for name in difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.65)]
    if not near:
        # The right key in the wrong section.
        near = [known for known in all_keys(schema) if known.rpartition(".")[2] == key][:1]
    path = prefix + _shorten(key, bare=True)
    # The whole list beside it would hide it.
    hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(names)}"
    return path, f"{path}: unknown key; {hint}"


def _shorten(value: Any, bare: bool = False) -> str:
    try:
        # YAML takes 2026-11-30 for a date, which Python writes as a call.
        text = str(value) if bare or isinstance(value, date) else repr(value)
    except ValueError:
        # Python writes no more than 4,300 of an integer's digits.
        text = "a number of thousands of digits"
    return one_line({"None": "null", "True": "true", "False": "false"}.get(text, text), 40)
