"""A cmdlet's parameters, and what one command of a script gives for them.

Names are found without regard to case, by any beginning that only one has, and by aliases (about_Parameters,
about_CommonParameters). Everything that can be said before a script runs is said then.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from lab.azure.addresses import read_prefix
from lab.errors import did_you_mean
from lab.powershell.syntax import Argument, Block, Command, Expression, Named, Position, ScriptError
from lab.powershell.values import Thing, Value, find, text_of

Context = TypeVar("Context")
#: What names are: of VMs and services; of what else there is. As a pattern, and in words.
_NAMES = {
    "name": (r"[A-Za-z][A-Za-z0-9._-]{0,62}", 'a name: a letter, then up to 62 letters, digits, ".", "-" and "_"'),
    "title": (
        r"[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,78}[A-Za-z0-9._-])?",
        'a name: a letter or digit, then up to 79 letters, digits, ".", "-", "_" and spaces, but none at its end',
    ),
}
Kind: TypeAlias = Literal["text", "whole", "switch", "truth", "block", "thing", "any", "prefix", "name", "title"]


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a cmdlet.

    ``sets`` are the parameter sets that it is in, none meaning all; it is required in all of its sets, or in those
    that ``required_in`` names. ``piped`` says how it takes an object of the
    pipeline: the object, or its property of the parameter's name.
    """

    name: str
    kind: Kind = "text"
    aliases: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    required: bool = False
    required_in: tuple[str, ...] = ()
    position: int | None = None
    piped: Literal["", "object", "property"] = ""
    accepts: tuple[str, ...] = ()  # of a text, the only ones; of a thing, its kinds
    least: int | None = None
    most: int | None = None
    is_secret: bool = False


class Given:
    """What a command gives for its cmdlet's parameters, by their names."""

    def __init__(self, at: Position, values: Mapping[str, Any]) -> None:
        self.at, self.values = at, values

    def has(self, name: str) -> bool:
        """Tell whether a parameter was given."""
        return name in self.values

    def text(self, name: str) -> str:
        """Return a text that must be there."""
        return str(self.values[name])

    def maybe(self, name: str) -> str | None:
        """Return a text, if it was given."""
        return self.values.get(name)

    def whole(self, name: str) -> int | None:
        """Return a whole number, if it was given."""
        return self.values.get(name)

    def flag(self, name: str) -> bool:
        """Tell whether a switch is on."""
        return bool(self.values.get(name))

    def thing(self, name: str) -> Any:
        """Return what is inside the object that was given."""
        return self.values[name].inside


class Cmdlet(msgspec.Struct, Generic[Context], frozen=True, kw_only=True):
    """A cmdlet: its name, its parameters, and what it does for each object that comes to it."""

    name: str
    parameters: tuple[Parameter, ...]
    run: Callable[[Context, Given], Iterable[Value]]
    aliases: tuple[str, ...] = ()
    others: tuple[str, ...] = ()  # parameter sets that have no parameter of their own

    def sets(self) -> tuple[str, ...]:
        """Return the names of its parameter sets."""
        return tuple(dict.fromkeys((*self.others, *(name for p in self.parameters for name in p.sets)))) or ("",)


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """A command whose words have found their parameters; a switch without a value is on."""

    cmdlet: Cmdlet[Any]
    at: Position
    values: tuple[tuple[Parameter, Expression | None, Position], ...]


class Table(Generic[Context]):
    """All cmdlets, by name and alias."""

    def __init__(self, cmdlets: Iterable[Cmdlet[Context]]) -> None:
        self.cmdlets = {cmdlet.name: cmdlet for cmdlet in cmdlets}
        self.aliases = {alias: cmdlet for cmdlet in self.cmdlets.values() for alias in cmdlet.aliases}

    def find(self, name: str) -> Cmdlet[Context] | None:
        """Return the cmdlet of a name or alias."""
        known = {**self.aliases, **self.cmdlets}
        found = find(name, known)
        return known[found] if found else None

    def bind(self, command: Command, *, is_first: bool) -> Bound:
        """Return a command with its words at their parameters.

        Raises:
            ScriptError: there is no such cmdlet or parameter, or they do not go together.

        """
        cmdlet = self.find(command.name)
        if cmdlet is None:
            advice = _near(command.name, self.cmdlets)
            raise ScriptError(command.at, f'"{command.name}"', "a cmdlet that the lab knows must be here", advice)
        return _Binder(cmdlet, command).bind(is_first=is_first)


class _Binder:
    def __init__(self, cmdlet: Cmdlet[Any], command: Command) -> None:
        self.cmdlet, self.command = cmdlet, command
        self.found: dict[str, tuple[Parameter, Expression | None, Position]] = {}

    def wrong(self, at: Position, found: str, must: str, advice: str) -> ScriptError:
        return ScriptError(at, found, must, advice)

    def bind(self, *, is_first: bool) -> Bound:
        loose: list[Argument] = []
        waiting: tuple[Parameter, Position] | None = None
        for word in self.command.arguments:
            if waiting and isinstance(word, Argument):
                self.give(waiting[0], word.value, waiting[1])
                waiting = None
            elif waiting:
                break
            elif isinstance(word, Argument):
                loose.append(word)
            else:
                parameter = self.parameter(word)
                if word.value is not None or parameter.kind == "switch":
                    self.give(parameter, word.value, word.at)
                else:
                    waiting = parameter, word.at
        if waiting:
            must = f"-{waiting[0].name} of {self.cmdlet.name} must have a value after it"
            raise self.wrong(waiting[1], "a parameter without its value", must, "add it")
        self.place(loose)
        self.check_sets(is_first=is_first)
        return Bound(cmdlet=self.cmdlet, values=tuple(self.found.values()), at=self.command.at)

    def parameter(self, word: Named) -> Parameter:
        """Return the parameter that a name means: it, an alias, or the only one that begins like it."""
        names = {n: p for p in self.cmdlet.parameters for n in (*p.aliases, p.name)}
        exact = find(word.name, names)
        if exact:
            return names[exact]
        begun = {p.name: p for n, p in names.items() if n.lower().startswith(word.name.lower())}
        if len(begun) == 1:
            return next(iter(begun.values()))
        must = f"it must be one of the parameters of {self.cmdlet.name} that the lab plays"
        if begun:
            raise self.wrong(word.at, f'"-{word.name}", which may be {_listed(begun)}', must, "write more of its name")
        raise self.wrong(word.at, f'"-{word.name}"', must, _near(word.name, [p.name for p in self.cmdlet.parameters]))

    def give(self, parameter: Parameter, value: Expression | None, at: Position) -> None:
        if parameter.name in self.found:
            raise self.wrong(at, f"a second -{parameter.name}", "a parameter is given once", "remove one of the two")
        self.found[parameter.name] = (parameter, value, at)

    def place(self, loose: Sequence[Argument]) -> None:
        """Give values without a name to the parameters that have a place."""
        placed = sorted(
            (p for p in self.cmdlet.parameters if p.position is not None and p.name not in self.found),
            key=lambda p: p.position or 0,
        )
        for argument in loose[len(placed) :]:
            # What it is is not said: it could be a password that has lost its parameter.
            must = f"the values of {self.cmdlet.name} follow the names of their parameters"
            raise self.wrong(
                argument.value.at, "a value without a parameter", must, "add the parameter, or remove the value"
            )
        for parameter, argument in zip(placed, loose, strict=False):
            self.give(parameter, argument.value, argument.value.at)

    def check_sets(self, *, is_first: bool) -> None:
        """Hold what was given against the parameter sets: they exclude one another, and each has what it requires."""
        given = [parameter for parameter, _, _ in self.found.values()]
        fitting = [s for s in self.cmdlet.sets() if all(not p.sets or s in p.sets for p in given)]
        if not fitting:
            apart = [p for p in given if p.sets]
            at = self.found[apart[-1].name][2]
            must = f"parameters of {self.cmdlet.name} that exclude one another are not used together"
            raise self.wrong(at, f"{_listed(p.name for p in apart)} together", must, "keep one")
        lacking = sorted((self._lacking(name, is_first=is_first) for name in fitting), key=len)
        if lacking[0]:
            ways = [_listed(p.name for p in each) for each in lacking if len(each) == len(lacking[0])]
            said = " or ".join(dict.fromkeys(ways))
            is_piped = any(p.piped for p in lacking[0])
            advice = f"pipe it to {self.cmdlet.name}, or add the parameter" if is_piped else "add it"
            raise self.wrong(self.command.at, f"no {said}", f"{self.cmdlet.name} must have {said}", advice)

    def _lacking(self, name: str, *, is_first: bool) -> list[Parameter]:
        def is_required(p: Parameter) -> bool:
            return name in p.required_in or (p.required and (not p.sets or name in p.sets))

        return [
            p
            for p in self.cmdlet.parameters
            if is_required(p) and p.name not in self.found and (is_first or not p.piped)
        ]


def converted(parameter: Parameter, value: Value, at: Position) -> Any:  # noqa: PLR0911, PLR0912 - a case for each kind
    """Return a value as its parameter wants it.

    Raises:
        ScriptError: it is not of that kind.

    """

    def refuse(must: str, advice: str = "correct it") -> ScriptError:
        shown = "a value that is not shown" if parameter.is_secret else f'"{text_of(value)}"'
        found = "nothing" if value is None or value == [] else shown
        return ScriptError(at, found, f"-{parameter.name} must be {must}", advice)

    if value is None:
        raise refuse("a value", "assign the variable first, or see whether its pipeline found anything")
    if isinstance(value, list) and parameter.kind != "any":
        raise refuse("one value", "choose one by Where-Object")
    match parameter.kind:
        case "switch" | "truth":
            if not isinstance(value, bool):
                raise refuse("$true or $false")
            return value
        case "any":
            return value
        case "block":
            raise refuse("a block in braces")
        case "thing":
            if not isinstance(value, Thing) or value.kind not in parameter.accepts:
                raise refuse(f"what {parameter.accepts[0].rpartition('.')[2]} is", "begin the pipeline with its cmdlet")
            return value
        case "whole":
            return _whole(parameter, value, refuse)
        case "prefix":
            return _prefix(text_of(value), refuse)
        case "name" | "title":
            text = _text(parameter, value, refuse)
            pattern, words = _NAMES[parameter.kind]
            if not re.fullmatch(pattern, text):
                raise refuse(words)
            return text
        case "text":
            return _text(parameter, value, refuse)


def _whole(parameter: Parameter, value: Value, refuse: Callable[..., ScriptError]) -> int:
    least, most = parameter.least, parameter.most
    limits = "" if least is None else f" from {least} to {most}"
    text = text_of(value)
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise refuse(f"a whole number{limits}")
    if least is not None and not least <= int(text) <= (most or least):
        raise refuse(f"a whole number{limits}")
    return int(text)


def _prefix(text: str, refuse: Callable[..., ScriptError]) -> IPv4Network:
    try:
        return read_prefix(text, host_bits=True)
    except ValueError:
        raise refuse("an IPv4 prefix, such as 10.1.0.0/16") from None


def _text(parameter: Parameter, value: Value, refuse: Callable[..., ScriptError]) -> str:
    text = text_of(value)
    if isinstance(value, Thing | Block) or not text:
        raise refuse("a text")
    if parameter.accepts:
        known = find(text, parameter.accepts)
        if known is None:
            raise refuse(f"one of {', '.join(parameter.accepts)}")
        return known
    return text


def _near(name: str, known: Iterable[str]) -> str:
    """Return a suggestion without regard to case."""
    names = {each.lower(): each for each in known}
    advice = did_you_mean(name.lower(), names)
    return re.sub(r"[\w-]+", lambda word: names.get(word[0], word[0]), advice)


def _listed(names: Iterable[str]) -> str:
    return " and ".join(f"-{name}" for name in names)
