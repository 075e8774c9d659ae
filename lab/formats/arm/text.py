"""JSON as Azure Resource Manager reads it: with comments, text over several lines, and a comma too many."""

import json
import re

from lab.formats.arm.errors import TemplateError

#: Deeper than any template; the reader of JSON would fail further down.
_DEPTH = 100
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}])|[\[{]|[\]}]', re.DOTALL)


def read_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        TemplateError: it is none, with the line.

    """
    depth = 0

    def plain(match: re.Match[str]) -> str:
        nonlocal depth
        token = match[0]
        if token[0] in "[{":
            depth += 1
            if depth > _DEPTH:
                line = text.count("\n", 0, match.start()) + 1
                raise TemplateError(f"line {line}: more than {_DEPTH} levels; no template is so deep; correct it")
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == ",":
            return " "
        elif token[0] == "/":
            return re.sub(r"[^\n]", " ", token)
        return token

    try:
        return json.loads(_TOKEN.sub(plain, text.removeprefix("\ufeff")), strict=False)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise TemplateError(f"{where}: {error.msg}; the file must be JSON; correct this line") from None
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{error}; the file must be JSON; correct it") from None
