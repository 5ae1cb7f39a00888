"""Nested params by dotted keys, such as train.cnn.epochs."""

from typing import Any


def value_at(content: Any, key: str) -> Any:
    """Return what the nested `content` has at the key, None where it has nothing there; all of it for the key ""."""
    for part in filter(None, key.split(".")):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def set_values(content: dict[str, Any], changes: dict[str, Any]) -> None:
    """Set `changes` (dotted keys) in the nested `content`; missing sections are made."""
    for key, value in changes.items():
        *parents, name = key.split(".")
        section = content
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                section[parent] = {}
            section = section[parent]
        section[name] = value


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested params under dotted keys, each below `prefix`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
