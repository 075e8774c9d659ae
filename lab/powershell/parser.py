"""Text -> Script: statements, pipelines, arguments and expressions. The parser knows no cmdlet.

What is read is the part of the language that listings are written in; all else is refused where it stands.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.powershell.lexer import DASHES, DOUBLE, SINGLE, Reader, is_blank, unwrapped
from lab.powershell.syntax import (
    Argument,
    Assignment,
    Block,
    Command,
    Comparison,
    Expression,
    Member,
    Named,
    Parentheses,
    Pipeline,
    Position,
    Script,
    ScriptError,
    Several,
    Statement,
    Text,
)

LOGICAL = ("and", "or")
COMPARING = ("eq", "ne", "like", "notlike", "match", "notmatch")
#: Parentheses and blocks inside one another; a listing has two or three.
_DEEPEST = 32
#: PowerShell's own statements (language specification 3.0, 2.3.1).
_KEYWORDS = {
    *("begin", "break", "catch", "class", "continue", "data", "do", "dynamicparam", "else", "elseif", "end", "exit"),
    *("filter", "finally", "for", "foreach", "from", "function", "if", "in", "param", "process", "return", "switch"),
    *("throw", "trap", "try", "until", "using", "var", "while"),
}
_NAME = re.compile(r"\w+")
_PARAMETER = re.compile(rf"[{DASHES}]([A-Za-z_?][\w?-]*)")
_DASH_WORD = re.compile(rf"[{DASHES}]([A-Za-z]+)")
_SECRET = re.compile(rf"(?<!\S)[{DASHES}]\w*(password|key|secret|credential)\w*", re.IGNORECASE)


def parse(text: str, file: str) -> Script:
    """Return what a text says, listings of documents taken as they stand.

    Raises:
        ScriptError: it is not read to its end.

    """
    secrets = {
        number: found.end() + 1
        for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1)
        if (found := _SECRET.search(line))
    }
    try:
        return Script(statements=_Parser(unwrapped(text), file).script(), secret_from=secrets)
    except ScriptError as error:
        raise Script(statements=(), secret_from=secrets).discreet(error) from None


class _Parser(Reader):
    def __init__(self, text: str, file: str) -> None:
        super().__init__(text, file)
        self.depth = 0

    @contextmanager
    def _inside(self, at: Position) -> Iterator[None]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.wrong(
                f"up to {_DEEPEST} may be inside one another", "use variables", at=at, found="too many brackets"
            )
        yield
        self.depth -= 1

    def script(self) -> tuple[Statement, ...]:
        found = self._statements()
        if self.peek():
            raise self.wrong("a statement must begin here", "remove it, or open it before")
        return found

    def _statements(self) -> tuple[Statement, ...]:
        found: list[Statement] = []
        while True:
            self.lines()
            while self.take(";"):
                self.lines()
            if self.peek() in ("", "}", ")"):
                return tuple(found)
            found.append(self._statement())
            self.blanks()
            if not self.ends() and self.peek() not in (";", "}", ")"):
                raise self._unexpected()

    def _unexpected(self) -> ScriptError:
        """Return the error that something may not follow an expression or a command."""
        character = self.peek()
        if character in ("<", ">"):
            return self.wrong("a pipeline ends with its line", "redirection is not supported; use the shell's own")
        if character == "&":
            return self.wrong("a pipeline ends with its line", "write one command in each line")
        return self.wrong('the line must end here, or go on with "|" or ";"', "write one command in each line")

    def _statement(self) -> Statement:
        at = self.place()
        if self.peek() == "$":
            start = self.index
            variable = self.variable()
            self.blanks()
            if variable and self.peek() == "=" and self.peek(1) != "=":
                self.index += 1
                self.lines()
                if variable.name in ("_", "true", "false", "null"):
                    raise self.wrong(
                        "this variable has its value of itself", "use another", at=at, found=f"${variable.name}"
                    )
                return Assignment(name=variable.name, value=self._pipeline(), at=at)
            self.index = start
        return self._pipeline()

    def _pipeline(self) -> Pipeline:
        at = self.place()
        first = self._expression() if self._begins_expression() else self._command()
        rest = []
        while self._pipe():
            if self._begins_expression():
                raise self.wrong('a command must follow "|"', "only the first part of a pipeline may be a value")
            rest.append(self._command())
        if self.peek() == "=":
            must = "only a variable is assigned to: $name = …"
            raise self.wrong(must, "properties of objects are changed by their cmdlets")
        return Pipeline(first=first, rest=tuple(rest), at=at)

    def _pipe(self) -> bool:
        """Go past a ``|`` and what may be before and after it, which are line ends also (about_Pipelines)."""
        self.blanks()
        before = self.index
        self.lines()
        if self.peek() != "|":
            self.index = before
            return False
        if self.peek(1) == "|":
            raise self.wrong('commands are joined by one "|"', "write one command in each line", found='"||"')
        self.index += 1
        self.lines()
        if not self.peek():
            raise self.wrong('a command must follow "|"', "add the rest of the listing")
        return True

    # --- commands ----------------------------------------------------------------------------------

    def _begins_expression(self) -> bool:
        character = self.peek()
        if character in ("$", "(", "!") or character in (*DOUBLE, *SINGLE) or character.isdigit():
            return True
        dashed = _DASH_WORD.match(self.text, self.index)
        return dashed is not None and dashed[1].lower() == "not"

    def _command(self) -> Command:
        at = self.place()
        character = self.peek()
        if character in ("&", ".", "@", "[", *"{}(),|<>=") or not character or self.ends():
            raise self.wrong(
                "a command must begin here, such as Get-AzureVM", "this is not supported; write a cmdlet's name"
            )
        name = self.word()
        text = name.plain if isinstance(name, Text) else None
        if not text or text[0] in DASHES:
            raise self.wrong(
                "a command is a plain word", "write a cmdlet's name", at=at, found="a word that is no command"
            )
        if text.lower() in _KEYWORDS:
            advice = "write the commands themselves, each in its line"
            raise self.wrong("statements of PowerShell's own are not supported", advice, at=at, found=f'"{text}"')
        return Command(name=re.sub(f"[{DASHES}]", "-", text), arguments=tuple(self._arguments()), at=at)

    def _arguments(self) -> Iterator[Named | Argument]:
        while True:
            self.blanks()
            if self.ends() or self.peek() in ("|", ";", "}", ")"):
                return
            continued = self.continued
            parameter = _PARAMETER.match(self.text, self.index)
            if parameter is None:
                yield Argument(at=self.place(), value=self._values(self._argument), continued=continued)
                continue
            at = self.place()
            self.index = parameter.end()
            value = None
            if self.take(":"):
                self.blanks()
                value = self._values(self._argument)
            elif self.peek() and not self._parts():
                raise self.wrong(f"a blank, or a colon and a value, must follow -{parameter[1]}", "add a blank")
            yield Named(name=parameter[1], value=value, at=at)

    def _parts(self) -> bool:
        """Tell whether the next character cannot belong to what is before it."""
        character = self.peek()
        return self.ends() or is_blank(character) or character in "{}();,|&<>`"

    def _argument(self) -> Expression:
        character = self.peek()
        if character == "{":
            return self._block()
        is_variable = character == "$" and (_NAME.match(self.text, self.index + 1) or self.peek(1) in ("{", "("))
        if is_variable or (character and character in "(" + DOUBLE + SINGLE):
            value = self._postfixed(self._primary())
        else:
            if not character or character in "@[},)|;&<>\r\n":
                advice = "arrays in @( ), hash tables, types and redirection are not supported; use a plain value"
                raise self.wrong("a value must be here", advice)
            return self.word()
        if self.peek() and not self._parts():
            raise self.wrong(
                "a blank must follow a value", 'add a blank, or put all of it in double quotes: "$name/more"'
            )
        return value

    def _block(self) -> Block:
        at = self.place()
        self.index += 1
        with self._inside(at):
            statements = self._statements()
        if not self.take("}"):
            raise self.wrong(f'"}}" must end the block that begins at {at.line}:{at.column}', "add it")
        return Block(statements=statements, at=at)

    # --- expressions -------------------------------------------------------------------------------

    def _expression(self) -> Expression:
        return self._chain(lambda: self._chain(self._negation, COMPARING), LOGICAL)

    def _chain(self, part: Callable[[], Expression], operators: tuple[str, ...]) -> Expression:
        left = part()
        for _ in range(_DEEPEST):
            self.blanks()
            dashed = _DASH_WORD.match(self.text, self.index)
            if dashed is None:
                return left
            at, operator = self.place(), dashed[1].lower()
            if operator not in LOGICAL + COMPARING:
                must = f"an operator is one of {', '.join('-' + o for o in (*COMPARING, *LOGICAL, 'not'))}"
                raise self.wrong(must, "others are not supported", found=f'"-{dashed[1]}"')
            if operator not in operators:
                return left
            self.index = dashed.end()
            self.lines()
            left = Comparison(left=left, operator=operator, right=part(), at=at)
        self.blanks()
        raise self.wrong(f"up to {_DEEPEST} operators may be in a row", "use variables")

    def _negation(self) -> Expression:
        at = self.place()
        dashed = _DASH_WORD.match(self.text, self.index)
        if dashed and dashed[1].lower() == "not":
            self.index = dashed.end()
        elif self.peek() == "!":
            self.index += 1
        else:
            return self._values(lambda: self._postfixed(self._primary()))
        self.blanks()
        with self._inside(at):
            return Comparison(left=None, operator="not", right=self._negation(), at=at)

    def _values(self, one: Callable[[], Expression]) -> Expression:
        """Return a value, or several with commas between them."""
        at, found = self.place(), [one()]
        while True:
            before = self.index
            self.blanks()
            if not self.take(","):
                self.index = before
                break
            self.lines()
            found.append(one())
        return found[0] if len(found) == 1 else Several(items=tuple(found), at=at)

    def _primary(self) -> Expression:
        at, character = self.place(), self.peek()
        if character == "(":
            self.index += 1
            with self._inside(at):
                self.lines()
                inner = self._pipeline()
                self.lines()
            if not self.take(")"):
                raise self.wrong(f'")" must end what begins at {at.line}:{at.column}', "add it")
            return Parentheses(inner=inner, at=at)
        if character and character in DOUBLE + SINGLE:
            return self.quoted()
        if character == "$" and (variable := self.variable()):
            return variable
        if character.isdigit():
            number = self.word()
            if not isinstance(number, Text):
                return number
            raise self.wrong("a number has digits and one point", "put text in quotes", at=at, found="a word here")
        if character == "{":
            return self._block()
        raise self.wrong(
            "a value must be here: a variable, text in quotes, a number, or parentheses", "put text in quotes"
        )

    def _postfixed(self, of: Expression) -> Expression:
        """Return an expression with its properties: ``.Name.Other``."""
        for _ in range(_DEEPEST):
            if self.peek() == ".":
                at = self.place()
                name = _NAME.match(self.text, self.index + 1)
                if name is None:
                    self.index += 1
                    raise self.wrong("the name of a property must follow the point", "such as $deployment.VirtualIPs")
                self.index = name.end()
                of = Member(of=of, name=name[0], at=at)
                if self.peek() == "(":
                    raise self.wrong("a property has no parentheses", "methods are not supported; use a cmdlet")
            elif self.peek() == "[":
                raise self.wrong("a value has properties only", "indexes are not supported; choose by Where-Object")
            elif self.take("::"):
                raise self.wrong("a value has properties only", "static members are not supported", found='"::"')
            else:
                return of
        raise self.wrong(f"up to {_DEEPEST} properties may be in a row", "use variables")
