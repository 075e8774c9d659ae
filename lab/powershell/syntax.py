"""What a script is made of, as values, each with its place; and the one error that a script is answered with.

Only values: how text becomes them is in ``parser``, what becomes of them in ``evaluate``.
"""

from typing import TypeAlias

import msgspec

from lab.errors import UsageError


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in a script; lines and columns are counted from 1, in characters, a tab being one."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class ScriptError(UsageError):
    """A script cannot be read or run: where, what was found, what must be there, what to do."""

    def __init__(self, at: Position, found: str, must: str, advice: str = "") -> None:
        self.at, self.found, self.must, self.advice = at, found, must, advice
        super().__init__(f"{at}: {'; '.join(part for part in (found, must, advice) if part)}")


class _Node(msgspec.Struct, frozen=True, kw_only=True):
    at: Position


class Number(_Node, frozen=True, kw_only=True):
    """A number; its text is kept, for where text is wanted."""

    text: str


class Variable(_Node, frozen=True, kw_only=True):
    """``$name``; ``$_`` is the object at hand. PowerShell does not tell upper from lower case."""

    name: str


class Text(_Node, frozen=True, kw_only=True):
    """A word, or a string in quotes: text with variables in it."""

    parts: tuple[str | Variable, ...]
    is_word: bool = False

    @property
    def plain(self) -> str | None:
        """The text, if no variable is in it."""
        texts = [part for part in self.parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(self.parts) else None


class Member(_Node, frozen=True, kw_only=True):
    """``of.name``."""

    of: "Expression"
    name: str


class Parentheses(_Node, frozen=True, kw_only=True):
    """``(Get-Something …)``."""

    inner: "Pipeline"


class Several(_Node, frozen=True, kw_only=True):
    """``a, b``."""

    items: tuple["Expression", ...]


class Block(_Node, frozen=True, kw_only=True):
    """``{ … }``: statements for later."""

    statements: tuple["Statement", ...]


class Comparison(_Node, frozen=True, kw_only=True):
    """``left -operator right``, or ``-not right``; the operator in lower case, without its dash."""

    left: "Expression | None"
    operator: str
    right: "Expression"


Expression: TypeAlias = Number | Variable | Text | Member | Parentheses | Several | Block | Comparison


class Named(_Node, frozen=True, kw_only=True):
    """``-Name`` or ``-Name:value``. Whether the next argument is its value depends on the cmdlet."""

    name: str
    value: Expression | None = None


class Argument(_Node, frozen=True, kw_only=True):
    """A value; ``continued`` is the backtick that stands between it and what is before it."""

    value: Expression
    continued: Position | None = None


class Command(_Node, frozen=True, kw_only=True):
    """``Verb-Noun arguments``."""

    name: str
    arguments: tuple[Named | Argument, ...]


class Pipeline(_Node, frozen=True, kw_only=True):
    """Elements joined by ``|``; only the first may be an expression."""

    first: Command | Expression
    rest: tuple[Command, ...] = ()


class Assignment(_Node, frozen=True, kw_only=True):
    """``$name = …``."""

    name: str
    value: Pipeline


Statement: TypeAlias = Pipeline | Assignment


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A whole text.

    ``secret_from`` is, for each line that has a password or key, the column after which nothing is quoted: what
    looks like the script's next word may be the rest of a secret.
    """

    statements: tuple[Statement, ...]
    secret_from: dict[int, int]

    def discreet(self, error: ScriptError) -> ScriptError:
        """Return an error without the part of the script that it quotes, if that could be a secret's."""
        if error.at.column <= self.secret_from.get(error.at.line, error.at.column):
            return error
        return ScriptError(error.at, "what is not shown, since it follows a password or key", error.must)
