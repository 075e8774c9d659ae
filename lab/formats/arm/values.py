"""Values that only Azure knows, and access to objects without regard to case."""

from typing import Any

import msgspec

from lab.formats.arm.errors import TemplateError


class Unknown(msgspec.Struct, frozen=True):
    """A value that is not in the input, or that is a secret: it stays out of whatever is made."""

    why: str

    def __str__(self) -> str:
        return f"(unknown: {self.why})"


class Partial(dict[str, Any]):
    """What a template says of a resource; Azure knows more of it, so a part that is not here is unknown."""


_MISSING = object()


def get(data: Any, key: str, default: Any = None) -> Any:
    """Return the value of a key, whatever its case; what is no object has none."""
    if not isinstance(data, dict):
        return default
    if key in data:
        return data[key]
    lowered = key.lower()
    return next((value for name, value in data.items() if isinstance(name, str) and name.lower() == lowered), default)


def has(data: Any, key: str) -> bool:
    """Tell whether an object has a key, whatever its case."""
    return get(data, key, _MISSING) is not _MISSING


def item(data: Any, key: Any, *, safe: bool = False) -> Any:
    """Return what ``data.key`` or ``data[key]`` is; a safe access to what is missing is null.

    Raises:
        TemplateError: there is no such part.

    """
    unknown = next((value for value in (data, key) if isinstance(value, Unknown)), None)
    if unknown is not None:
        return unknown
    found = _MISSING
    missing = f"an access to a part of {kind(data)}; it must be an object or a list"
    if isinstance(data, dict) and isinstance(key, str):
        found = get(data, key, _MISSING)
        missing = f'no property "{key[:80]}"; the object must have it'
        if found is _MISSING and isinstance(data, Partial):
            return Unknown(f'"{key[:80]}", which only Azure knows')
    elif isinstance(data, list) and isinstance(key, int) and not isinstance(key, bool):
        found = data[key] if 0 <= key < len(data) else _MISSING
        missing = f"no element {key} of a list of {len(data)}; the list must have it"
    if found is not _MISSING:
        return found
    if safe and (data is None or isinstance(data, dict | list)):
        return None
    raise TemplateError(f"{missing}; correct the expression")


def kind(value: object) -> str:
    """Return what a value is, in words."""
    if value is None:
        return "null"
    words = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return words.get(type(value), "an unknown value")
