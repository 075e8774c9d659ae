"""The characters of a script: blanks, line ends, comments, words, strings and variables, each with its place.

PowerShell's rules are those of its language specification 3.0 (chapter 2), and of about_Parsing and
about_Quoting_Rules. Word processors' quotes and dashes are quotes and dashes there, and a no-break space is a blank.
"""

import re
import unicodedata
from bisect import bisect_right

from lab.powershell.syntax import Expression, Number, Position, ScriptError, Text, Variable

DASHES = "-\u2013\u2014\u2015"
DOUBLE = '"\u201c\u201d\u201e'
SINGLE = "'\u2018\u2019\u201a\u201b"
#: What ends a word; quotes and parentheses begin something else.
_ENDS_WORD = frozenset("{}();,|&<>\r\n" + DOUBLE + SINGLE)
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
#: A variable's own name. \w is Unicode's, as in PowerShell.
_VARIABLE = re.compile(r"\w+|\{(?P<braced>[^{}`\r\n:]+)\}")
_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LINE_END = re.compile(r"\r\n|\r|\n")
#: A console's prompt before a line, as printed or as its HTML is written.
_PROMPT = re.compile(r"^[^\S\r\n]*(`{3,})?[^\S\r\n]*(PS( [^>&|\r\n]*)?(>|&gt;)|>>(?=\s))", re.MULTILINE)
#: Markdown's marks around a listing. Three backticks in a row mean nothing in PowerShell.
_FENCE = re.compile(r"^[^\S\r\n]*`{3,}([\w-]*[^\S\r\n]*(?=[\r\n]|\Z))?|`{3,}[^\S\r\n]*(?=[\r\n]|\Z)", re.MULTILINE)


def unwrapped(text: str) -> str:
    """Return a listing without what a page puts around it, prompts and fences; all else keeps its place."""
    for around in (_PROMPT, _FENCE):
        text = around.sub(lambda found: " " * len(found[0]), text)
    return text


def is_blank(character: str) -> bool:
    """Tell whether a character parts words, and is no line end."""
    return character in " \t\v\f\x85" or (character > "\x7f" and unicodedata.category(character) in ("Zs", "Zl", "Zp"))


class Reader:
    """A text and the place that has been reached in it."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.index = 1 if text.startswith("\ufeff") else 0
        self.starts = [0, *(end.end() for end in _LINE_END.finditer(text))]
        #: The last backtick that joined two lines, if only blanks came after it.
        self.continued: Position | None = None

    def place(self, index: int | None = None) -> Position:
        """Return the line and column of an index; of the next character, if none is given."""
        index = self.index if index is None else index
        line = bisect_right(self.starts, index)
        return Position(self.file, line, index - self.starts[line - 1] + 1)

    def peek(self, ahead: int = 0) -> str:
        """Return a character that comes, or nothing at the end."""
        return self.text[self.index + ahead : self.index + ahead + 1]

    def take(self, characters: str) -> bool:
        """Go past these characters if they come next."""
        if not self.text.startswith(characters, self.index):
            return False
        self.index += len(characters)
        return True

    def wrong(
        self, must: str, advice: str = "", *, at: Position | None = None, found: str | None = None
    ) -> ScriptError:
        """Return the error that something else must stand here."""
        return ScriptError(at or self.place(), self.found() if found is None else found, must, advice)

    def found(self) -> str:
        """Return the next character in words."""
        character = self.peek()
        if not character:
            return "the end of the script"
        if character in "\r\n":
            return "the end of the line"
        return f'"{character}"' if character.isprintable() else f"the character U+{ord(character):04X}"

    def ends(self) -> bool:
        """Tell whether the line, or the text, ends here."""
        return self.peek() in ("", "\r", "\n")

    # --- what means nothing ----------------------------------------------------------------------

    def blanks(self) -> None:
        """Go past blanks, comments, and line ends that a backtick takes away."""
        self.continued = None
        while True:
            character = self.peek()
            if character and is_blank(character):
                self.index += 1
            elif character == "`" and self._continuation():
                pass
            elif character == "#":
                while not self.ends():
                    self.index += 1
            elif self.text.startswith("<#", self.index):
                end = self.text.find("#>", self.index + 2)
                if end < 0:
                    raise self.wrong(
                        "a comment that begins with <# ends with #>", "end it", found="a comment without end"
                    )
                self.index = end + 2
            else:
                return

    def _continuation(self) -> bool:
        """Go past a backtick and the line end after it."""
        at, follows = self.place(), self.peek(1)
        if follows in ("\r", "\n"):
            self.index += 1
            self.line_end()
            self.continued = at
            return True
        if not follows:
            must = "a backtick joins the next line to this one, and there is none"
            raise self.wrong(
                must, "remove it, or add the rest of the listing", found="a backtick at the end of the script"
            )
        if is_blank(follows):
            must = "only a backtick that is the last character of its line joins the next line to it"
            raise self.wrong(must, "remove the blanks after it", found="a backtick with a blank after it")
        return False

    def line_end(self) -> bool:
        """Go past one line end, whichever way it is written."""
        ended = _LINE_END.match(self.text, self.index)
        if ended:
            self.index = ended.end()
        return bool(ended)

    def lines(self) -> None:
        """Go past blanks and any number of line ends."""
        self.blanks()
        while self.line_end():
            self.blanks()

    # --- what means something --------------------------------------------------------------------

    def variable(self) -> Variable | None:
        """Return the variable that begins here, or nothing if the dollar is only a dollar."""
        at = self.place()
        name = _VARIABLE.match(self.text, self.index + 1)
        if name is None:
            if self.peek(1) in ("(", "{", "$", "^", "?"):
                raise self.wrong(
                    "a variable is a dollar and a name: $deployment",
                    "subexpressions and automatic variables but $_ are not supported; assign to a variable first",
                    found=f'"${self.peek(1)}"',
                )
            return None
        self.index = name.end()
        if self.peek() == ":" and re.match(r":\w", self.text[self.index : self.index + 2]):
            must = "a variable's name has no scope or drive"
            raise self.wrong(
                must, "use a plain variable, or ${name} before a colon", at=at, found="a variable of a scope"
            )
        return Variable(name=(name["braced"] or name[0]).lower(), at=at)

    def quoted(self) -> Text:
        """Return the string whose quote is next; it ends on its line."""
        at = self.place()
        quotes = DOUBLE if self.peek() in DOUBLE else SINGLE
        self.index += 1
        parts: list[str | Variable] = []
        while True:
            character = self.peek()
            if self.ends():
                must = f"a string ends with {quotes[0]} on the line that it begins on"
                raise self.wrong(
                    must, "end it; strings of several lines are not supported", at=at, found="a string without end"
                )
            if character in quotes:
                self.index += 1
                if not (self.peek() and self.peek() in quotes):
                    return Text(parts=_joined(parts), at=at)
            if quotes == DOUBLE:
                parts.append(self._expandable())
            else:
                parts.append(character)
                self.index += 1

    def word(self) -> Expression:
        """Return the word that begins here, a number if it is written as one."""
        at, start = self.place(), self.index
        parts: list[str | Variable] = []
        while (character := self.peek()) and not is_blank(character) and character not in _ENDS_WORD:
            if character == "`" and self.peek(1) in ("", "\r", "\n", *" \t"):
                break
            parts.append(self._expandable())
        if self.peek() and self.peek() in DOUBLE + SINGLE:
            must = "a string begins after a blank, and ends before one"
            raise self.wrong(must, "put all of it in quotes", found="a quote inside a word")
        text = self.text[start : self.index]
        if _NUMBER.fullmatch(text):
            return Number(text=text, at=at)
        return Text(parts=_joined(parts), is_word=True, at=at)

    def _expandable(self) -> str | Variable:
        """Return a character, an escaped one, or a variable."""
        character = self.peek()
        if character == "`" and self.peek(1):
            escaped = self.peek(1)
            if escaped in "\r\n":
                raise self.wrong("a string ends on its line", "write `n for a line end", found="a line end in a string")
            self.index += 2
            return _ESCAPES.get(escaped, escaped)
        if character == "$" and (found := self.variable()):
            return found
        self.index += 1
        return character


def _joined(parts: list[str | Variable]) -> tuple[str | Variable, ...]:
    """Return parts with neighbouring characters made one text."""
    made: list[str | Variable] = []
    for part in parts:
        if isinstance(part, str) and made and isinstance(made[-1], str):
            made[-1] += part
        else:
            made.append(part)
    return tuple(made)
