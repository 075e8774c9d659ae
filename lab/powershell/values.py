"""What a script computes with: text, numbers, truth, nothing, lists, blocks, and things with properties."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import Any, TypeAlias

import msgspec

from lab.powershell.syntax import Block

Value: TypeAlias = "str | int | float | bool | list[Any] | Block | Thing | None"


class Thing(msgspec.Struct, kw_only=True):
    """An object: what kind it is, the properties that it shows in their order, and what its cmdlets keep in it.

    Cmdlets that work on a thing change what is inside, as PowerShell's do: every variable that holds it shows that.
    """

    kind: str
    properties: Mapping[str, Any]
    inside: Any = None
    #: Of an object that goes down a pipeline as its parts: these.
    parts: "list[Thing] | None" = None


def find(name: str, known: Iterable[str]) -> str | None:
    """Return the one of some names that a name means: as it is, or else without regard to case."""
    names = list(known)
    if name in names:
        return name
    return next((each for each in names if each.lower() == name.lower()), None)


def items(value: Value) -> list[Any]:
    """Return what goes down a pipeline for a value: a list's items, nothing for nothing."""
    if value is None:
        return []
    if isinstance(value, Thing) and value.parts is not None:
        return list(value.parts)
    return list(value) if isinstance(value, list) else [value]


def text_of(value: Value) -> str:
    """Return a value inside a text, as PowerShell's ToString."""
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(text_of(item) for item in value)
    if isinstance(value, Thing):
        return value.kind
    if isinstance(value, Block):
        return "{…}"
    return str(value)


def is_true(value: Value) -> bool:
    """Tell whether a value counts as true (about_Booleans)."""
    if isinstance(value, list):
        return is_true(value[0]) if len(value) == 1 else bool(value)
    return bool(value)


def compare(left: Value, operator: str, right: Value) -> Any:
    """Return what an operator makes of two values; of a list on the left, its items for which it is true.

    Raises:
        ValueError: the right side is no regular expression.

    """
    if isinstance(left, list):
        return [item for item in left if compare(item, operator, right)]
    if operator.startswith("not"):
        return not compare(left, operator.removeprefix("not"), right)
    if operator == "ne":
        return not compare(left, "eq", right)
    match operator:
        case "eq":
            return _equal(left, right)
        case "like":
            return _like(text_of(left), text_of(right))
        case _:
            return _matches(text_of(left), text_of(right))


def _equal(left: Value, right: Value) -> bool:
    """Compare as the left side is (about_Comparison_Operators): numbers as numbers, texts without regard to case."""
    if left is None or right is None:
        return left is right
    if isinstance(left, bool):
        return left == is_true(right)
    if isinstance(left, int | float):
        try:
            return left == float(text_of(right))
        except ValueError:
            return False
    if isinstance(left, Thing):
        return left is right
    return text_of(left).lower() == text_of(right).lower()


def _like(text: str, pattern: str) -> bool:
    """Compare with wildcards: ``*``, ``?`` and ``[a-c]``, without regard to case."""
    # An exclamation mark has no meaning in PowerShell's brackets.
    return re.fullmatch(translate(pattern.replace("[!", "[\\!")), text, re.IGNORECASE) is not None


def _matches(text: str, pattern: str) -> bool:
    try:
        return re.search(pattern, text, re.IGNORECASE) is not None
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from None
