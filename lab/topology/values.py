"""What the keys of programs hold: arguments, variables of an environment, when a program is ready, patterns."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

#: How long a program may take to be ready, in seconds: `lab up` waits for it.
MOST_READY_S = 20


def _word(value: object) -> object:
    """Read a text; a number is taken as it is written."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if text is None:
        raise ValueError("it must be text; quote it, or correct it")
    if "\0" in text:
        raise ValueError("a NUL byte ends an argument; remove it")
    return text


def _arguments(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError(  # noqa: TRY004 - pydantic asks for it
            "a command is a list of arguments, as no shell reads it; write [PROGRAM, ARGUMENT, ...], "
            'or name a shell yourself: [sh, -c, "..."]'
        )
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not value[0]:
        raise ValueError("a command begins with its program; name one")
    return value


def _variables(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(
                f'"{name[:60]}" is no name of a variable; a name has letters, digits and underscores; correct it'
            )
    return value


def _ready(value: object) -> object:
    """Read ``8080``, a port, or ``2s``, a time; return the port as a whole number, the time as a fraction."""
    text = str(value)
    if re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    time = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?s", text)
    if time and float(time[1]) <= MOST_READY_S:
        return float(time[1])
    raise ValueError(
        f"a program is ready when it has a port, or has run for a time of at most {MOST_READY_S} s; "
        "write a port such as 8080, or a time such as 2s"
    )


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}; correct it") from None
    return text


_TEXT_OR_NUMBER = {"anyOf": [{"type": "string"}, {"type": "number"}]}
Word = Annotated[str, Field(json_schema_extra=_TEXT_OR_NUMBER), BeforeValidator(_word)]
Arguments = Annotated[tuple[Word, ...], BeforeValidator(_arguments), AfterValidator(_some)]
Environment = Annotated[dict[str, Word], AfterValidator(_variables)]
Readiness = Annotated[Any, Field(json_schema_extra=_TEXT_OR_NUMBER), BeforeValidator(_ready)]
Pattern = Annotated[str, AfterValidator(_pattern)]
