"""The text of an expression becomes a tree."""

import re
from functools import lru_cache
from typing import Any

import msgspec

from lab.formats.arm.errors import TemplateError

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?[0-9]+(?![0-9A-Za-z_]))|(?P<name>[A-Za-z_][A-Za-z0-9_$-]*)|(?P<mark>\.\?|\[\?|[()\[\],.]))"
)
#: As deep as an expression may be nested.
_DEPTH = 60
_MAX = 100_000


class Literal(msgspec.Struct, frozen=True):
    """A text or a number."""

    value: Any


class Call(msgspec.Struct, frozen=True):
    """A function with its arguments; the name is in small letters."""

    name: str
    arguments: tuple[Any, ...]


class Access(msgspec.Struct, frozen=True):
    """A part of a value."""

    of: Any
    key: Any
    safe: bool


Node = Literal | Call | Access


def is_expression(text: str) -> bool:
    """Tell whether a text of a template is an expression, and not itself."""
    return len(text) > 2 and text[0] == "[" and text[-1] == "]" and text[1] != "["


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """Return the tree of an expression that stands between brackets.

    Raises:
        TemplateError: it is none.

    """
    if len(text) > _MAX:
        raise TemplateError(f"an expression of {len(text):,} characters; at most {_MAX:,} are allowed; split it")
    reader = _Reader(text[1:-1])
    node = reader.expression(0)
    if reader.kind != "end":
        raise reader.error("the end of the expression")
    return node


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.kind, self.word = "", ""
        self.next()

    def next(self) -> str:
        was = self.word
        match = _TOKEN.match(self.text, self.at)
        if match:
            self.at, self.kind = match.end(), str(match.lastgroup)
            self.word = match[self.kind]
        elif self.text[self.at :].strip():
            raise self.error("an expression")
        else:
            self.kind, self.word = "end", ""
        return was

    def error(self, wanted: str) -> TemplateError:
        rest = self.text[max(0, self.at - len(self.word)) :][:40] or "the end"
        return TemplateError(f'found "{rest}" in an expression; {wanted} must stand there; correct the expression')

    def take(self, mark: str) -> None:
        if self.word != mark:
            raise self.error(f'"{mark}"')
        self.next()

    def expression(self, depth: int) -> Node:
        if depth > _DEPTH:
            raise TemplateError(f"an expression of more than {_DEPTH} levels; none is so deep; use variables")
        node = self._primary(depth)
        while self.word in (".", ".?", "[", "[?") and self.kind == "mark":
            mark = self.next()
            key: Node
            if mark[0] == ".":
                if self.kind != "name":
                    raise self.error("a name")
                key = Literal(self.next())
            else:
                key = self.expression(depth + 1)
                self.take("]")
            node = Access(node, key, mark.endswith("?"))
        return node

    def _primary(self, depth: int) -> Node:
        kind = self.kind
        if kind == "text":
            return Literal(self.next()[1:-1].replace("''", "'"))
        if kind == "number":
            digits = self.next()
            if len(digits) > 20:
                raise TemplateError(f"a number of {len(digits)} digits; numbers have at most 19; correct it")
            return Literal(int(digits))
        if kind != "name":
            raise self.error("a function")
        name = self.next()
        while self.word == "." and self.kind == "mark":  # a function of the template's own namespace
            self.next()
            name += "." + self.next()
        self.take("(")
        arguments = []
        while self.word != ")":
            arguments.append(self.expression(depth + 1))
            if self.word != ",":
                break
            self.next()
        self.take(")")
        return Call(name.lower(), tuple(arguments))
