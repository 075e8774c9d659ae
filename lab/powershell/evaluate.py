"""Script x table of cmdlets -> objects. All effects are the cmdlets' own, through the context that they are given.

A whole script is held against the table before any of it runs: a misspelt cmdlet in the last line changes nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Generic

import msgspec

from lab.errors import LabError
from lab.powershell.binding import Bound, Context, Given, Parameter, Table, converted
from lab.powershell.syntax import (
    Argument,
    Assignment,
    Block,
    Command,
    Comparison,
    Expression,
    Member,
    Number,
    Parentheses,
    Pipeline,
    Position,
    Script,
    ScriptError,
    Several,
    Statement,
    Text,
    Variable,
)
from lab.powershell.values import Thing, Value, compare, find, is_true, items, text_of


class Failed(LabError):  # noqa: N818 - a cmdlet did
    """A cmdlet could not do its work; ends as what stopped it would."""

    def __init__(self, at: Position, name: str, cause: LabError) -> None:
        self.at, self.cause = at, cause
        self.exit_code = cause.exit_code
        super().__init__(f"{at}: {name}: {cause}")


class Note(msgspec.Struct, frozen=True):
    """What was read otherwise than PowerShell would read it, and why."""

    at: Position
    text: str

    def __str__(self) -> str:
        return f"{self.at}: {self.text}"


def mended(script: Script, table: Table[Any]) -> tuple[Script, tuple[Note, ...]]:
    """Return a script in which a cmdlet that a backtick made a mere word of begins a statement of its own.

    Instance level public IP (2016-02-10) first listing has a backtick after the image lookup. To PowerShell the next
    line's New-AzureVMConfig is
    then a value for Where-Object, which has no parameter -Name, and refuses. The revision of 2018-08-03 left the
    backtick out.
    """
    made: list[Statement] = []
    notes: list[Note] = []
    for statement in script.statements:
        rest: Statement | None = statement
        while rest is not None:
            first, rest, note = _split(rest, table)
            made.append(first)
            notes += [note] if note else []
    return msgspec.structs.replace(script, statements=tuple(made)), tuple(notes)


def _split(statement: Statement, table: Table[Any]) -> tuple[Statement, Statement | None, Note | None]:
    """Return a statement up to a backtick before a cmdlet's name, and from there on."""
    pipeline = statement.value if isinstance(statement, Assignment) else statement
    commands = (pipeline.first, *pipeline.rest)
    for number, command in enumerate(commands):
        if not isinstance(command, Command):
            continue
        for index, word in enumerate(command.arguments):
            name = _cmdlet_named(command.arguments, index, table)
            if name is None or not isinstance(word, Argument) or word.continued is None:
                continue
            before = msgspec.structs.replace(command, arguments=command.arguments[:index])
            parts = (*commands[:number], before)
            head = Pipeline(first=parts[0], rest=parts[1:], at=pipeline.at)  # type: ignore[arg-type]
            after = Command(name=name, arguments=command.arguments[index + 1 :], at=word.value.at)
            tail = Pipeline(first=after, rest=commands[number + 1 :], at=after.at)  # type: ignore[arg-type]
            whole = msgspec.structs.replace(statement, value=head) if isinstance(statement, Assignment) else head
            known = table.find(command.name)
            owner = known.name if known else command.name
            said = (
                f"the backtick makes {name} a value of {owner}, which PowerShell refuses; read as the end of the "
                "command, so that the next line is a command of its own"
            )
            return whole, tail, Note(word.continued, said)
    return statement, None, None


def _cmdlet_named(arguments: Sequence[Any], index: int, table: Table[Any]) -> str | None:
    """Return the cmdlet that a word names, unless it is the value of a parameter."""
    word = arguments[index]
    if not isinstance(word, Argument) or not isinstance(word.value, Text) or not word.value.is_word:
        return None
    if index and not isinstance(arguments[index - 1], Argument):
        return None
    name = word.value.plain
    return name if name and "-" in name and table.find(name) else None


def check(script: Script, table: Table[Any]) -> None:
    """Hold every command against the table.

    Raises:
        ScriptError: a cmdlet or a parameter is not known, or they do not go together.

    """
    try:
        for command, is_first in _commands(script.statements):
            table.bind(command, is_first=is_first)
    except ScriptError as error:
        raise script.discreet(error) from None


def _commands(part: Any) -> Iterator[tuple[Command, bool]]:
    """Yield every command, and whether it begins its pipeline."""
    if isinstance(part, tuple):
        for each in part:
            yield from _commands(each)
    elif isinstance(part, Pipeline):
        for number, element in enumerate((part.first, *part.rest)):
            if isinstance(element, Command):
                yield element, number == 0
        yield from _commands((part.first.arguments if isinstance(part.first, Command) else part.first,))
        yield from _commands(tuple(command.arguments for command in part.rest))
    elif isinstance(part, msgspec.Struct):
        for field in part.__struct_fields__:
            yield from _commands(getattr(part, field))


class Session(Generic[Context]):
    """Variables, and the running of statements."""

    def __init__(self, table: Table[Context], context: Context) -> None:
        self.table, self.context = table, context
        self.variables: dict[str, Value] = {"true": True, "false": False, "null": None}

    def run(self, script: Script) -> Iterator[list[Any]]:
        """Run a script that ``check`` has passed, a statement at a time; yield what each leaves to be printed.

        Raises:
            ScriptError: a value is not what it must be.
            Failed: a cmdlet could not do its work.

        """
        for statement in script.statements:
            try:
                yield self._statement(statement)
            except ScriptError as error:
                raise script.discreet(error) from None

    def _statement(self, statement: Statement) -> list[Any]:
        if isinstance(statement, Pipeline):
            return self._pipeline(statement)
        found = self._pipeline(statement.value)
        self.variables[statement.name] = found[0] if len(found) == 1 else (found or None)
        return []

    def _pipeline(self, pipeline: Pipeline) -> list[Any]:
        first = pipeline.first
        flow = self._command(first, None) if isinstance(first, Command) else items(self._value(first))
        for command in pipeline.rest:
            flow = self._command(command, flow)
        return flow

    def _command(self, command: Command, flow: list[Any] | None) -> list[Any]:
        bound = self.table.bind(command, is_first=flow is None)
        values = {p.name: self._converted(p, value) for p, value, _ in bound.values}
        if flow is None:
            return self._call(bound, values)
        return [made for item in flow for made in self._call(bound, {**values, **_piped(bound, values, item)})]

    def _call(self, bound: Bound, values: dict[str, Any]) -> list[Any]:
        try:
            return [each for each in bound.cmdlet.run(self.context, Given(bound.at, values)) if each is not None]
        except (ScriptError, Failed):
            raise
        except LabError as error:
            raise Failed(bound.at, bound.cmdlet.name, error) from error

    def _converted(self, parameter: Parameter, value: Expression | None) -> Any:
        if value is None:
            return True
        if isinstance(value, Block) and parameter.kind == "block":
            return lambda item: is_true(self._filtered(value, item))
        try:
            return converted(parameter, self._value(value), value.at)
        except ScriptError as error:
            if parameter.is_secret and error.at != value.at:
                raise ScriptError(error.at, "a value that is not shown", error.must) from None
            raise

    def _filtered(self, block: Block, item: Value) -> Value:
        """Return what a block makes of an object."""
        outer = self.variables.get("_")
        self.variables |= {"_": item, "psitem": item}
        try:
            found = [each for statement in block.statements for each in self._statement(statement)]
        finally:
            self.variables |= {"_": outer, "psitem": outer}
        return found

    # --- expressions -------------------------------------------------------------------------------

    def _value(self, expression: Expression) -> Any:  # noqa: PLR0911 - one for each kind
        match expression:
            case Number(text=text):
                return float(text) if "." in text else int(text)
            case Text(parts=parts):
                return "".join(part if isinstance(part, str) else text_of(self._variable(part)) for part in parts)
            case Variable():
                return self._variable(expression)
            case Member():
                return self._member(expression)
            case Parentheses(inner=inner):
                found = self._pipeline(inner)
                return found[0] if len(found) == 1 else (found or None)
            case Several(items=several):
                return [self._value(item) for item in several]
            case Block():
                return expression
            case Comparison():
                return self._comparison(expression)

    def _variable(self, variable: Variable) -> Value:
        if variable.name not in self.variables:
            mine = [f"${name}" for name in self.variables if name not in ("true", "false", "null", "_", "psitem")]
            advice = f"variables with a value: {', '.join(mine)}" if mine else "none has one yet"
            raise ScriptError(variable.at, f"${variable.name}", "a variable is assigned to before it is used", advice)
        return self.variables[variable.name]

    def _member(self, member: Member) -> Any:
        of = self._value(member.of)
        if isinstance(of, list):
            return [self._property(item, member) for item in of]
        return self._property(of, member)

    def _property(self, of: Value, member: Member) -> Any:
        if not isinstance(of, Thing):
            found = "nothing" if of is None else "a plain value"
            must = f"what has a property {member.name} must be before the point"
            raise ScriptError(member.at, found, must, "see what its variable or pipeline found")
        name = find(member.name, of.properties)
        if name is None:
            must = f"it must be a property of {of.kind.rpartition('.')[2]}"
            raise ScriptError(member.at, f'".{member.name}"', must, "known: " + ", ".join(of.properties))
        return of.properties[name]

    def _comparison(self, comparison: Comparison) -> Any:
        operator = comparison.operator
        if operator == "not" or comparison.left is None:
            return not is_true(self._value(comparison.right))
        left = self._value(comparison.left)
        if operator == "and":
            return is_true(left) and is_true(self._value(comparison.right))
        if operator == "or":
            return is_true(left) or is_true(self._value(comparison.right))
        try:
            return compare(left, operator, self._value(comparison.right))
        except ValueError as error:
            at = comparison.right.at
            raise ScriptError(at, f"{error}", "it must be a regular expression", "correct it, or use -like") from None


def _piped(bound: Bound, values: dict[str, Any], item: Any) -> dict[str, Any]:
    """Return what an object of the pipeline gives for parameters that were not given.

    Raises:
        ScriptError: it is no object that the cmdlet takes.

    """
    found: dict[str, Any] = {}
    open_to = [p for p in bound.cmdlet.parameters if p.piped and p.name not in values]
    for parameter in open_to:
        if parameter.piped == "object":
            found[parameter.name] = converted(parameter, item, bound.at) if parameter.accepts else item
        elif isinstance(item, Thing) and (name := find(parameter.name, item.properties)) is not None:
            if item.properties[name] not in (None, ""):
                found[parameter.name] = converted(parameter, item.properties[name], bound.at)
        elif parameter.required:
            must = f"{bound.cmdlet.name} takes objects with {parameter.name} from the pipeline"
            raise ScriptError(
                bound.at, "another object", must, f"begin the pipeline otherwise, or add -{parameter.name}"
            )
    if not open_to:
        must = f"{bound.cmdlet.name} takes nothing from the pipeline"
        raise ScriptError(bound.at, 'a "|" before it', must, "write it in a line of its own")
    return found
