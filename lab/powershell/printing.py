"""Objects -> text, as PowerShell's default formatting prints them (about_Format.ps1xml).

Up to four properties make a table, more a list; what has the same properties is printed together. Nothing is blank.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from lab.powershell.values import Thing, text_of

_TABLE_UP_TO = 4


def printed(values: Sequence[Any]) -> str:
    """Return what a pipeline's objects look like: parts with an empty line between them, and no line end."""
    parts = []
    for names, group in groupby(values, key=lambda v: tuple(v.properties) if isinstance(v, Thing) else None):
        found = list(group)
        if names is None:
            parts.append("\n".join(_plain(value) for value in found))
        elif len(names) <= _TABLE_UP_TO:
            parts.append(_table(names, [[_cell(v) for v in thing.properties.values()] for thing in found]))
        else:
            parts += [_list(thing) for thing in found]
    return "\n\n".join(parts)


def _list(thing: Thing) -> str:
    width = max(map(len, thing.properties))
    lines = []
    for name, value in thing.properties.items():
        # Text of several lines is set below its beginning.
        text = _plain(value).replace("\n", "\n" + " " * (width + 3))
        lines.append(f"{name:<{width}} : {text}".rstrip())
    return "\n".join(lines)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = [list(names), ["-" * len(name) for name in names]]
    widths = [max(len(row[column]) for row in (*head, *rows)) for column in range(len(names))]
    lines = (" ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in (*head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    first, *more = _plain(value).splitlines() or [""]
    return f"{first}..." if more else first


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "{" + ", ".join(text_of(item) for item in value) + "}"
    return text_of(value)
