"""lab/powershell/parser.py: what is read as what, and each refusal with its place."""

import pytest

from lab.powershell.parser import parse
from lab.powershell.syntax import (
    Argument,
    Assignment,
    Block,
    Command,
    Comparison,
    Expression,
    Member,
    Named,
    Number,
    Parentheses,
    Pipeline,
    ScriptError,
    Several,
    Statement,
    Text,
    Variable,
)


def shown(part: Statement | Command | Expression | Named | Argument) -> str:  # noqa: PLR0911, PLR0912 - one for each kind
    """Return a part of a script in one way of writing it, so that tests compare texts."""
    match part:
        case Assignment(name=name, value=value):
            return f"${name} = {shown(value)}"
        case Pipeline(first=first, rest=rest):
            return " | ".join(shown(each) for each in (first, *rest))
        case Command(name=name, arguments=arguments):
            return " ".join((name, *(shown(each) for each in arguments)))
        case Named(name=name, value=value):
            return f"-{name}" + (f":{shown(value)}" if value else "")
        case Argument(value=value):
            return shown(value)
        case Number(text=text):
            return f"#{text}"
        case Variable(name=name):
            return f"${name}"
        case Text(parts=parts, is_word=is_word):
            text = "".join(each if isinstance(each, str) else f"<{each.name}>" for each in parts)
            return text if is_word else f"'{text}'"
        case Member(of=of, name=name):
            return f"{shown(of)}.{name}"
        case Parentheses(inner=inner):
            return f"({shown(inner)})"
        case Several(items=items):
            return "[" + ", ".join(shown(each) for each in items) + "]"
        case Block(statements=statements):
            return "{" + "; ".join(shown(each) for each in statements) + "}"
        case Comparison(left=left, operator=operator, right=right):
            return f"({shown(left)} {operator} {shown(right)})" if left else f"({operator} {shown(right)})"


def read(text: str) -> list[str]:
    return [shown(statement) for statement in parse(text, "s.ps1").statements]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("\ufeffGet-A", ["Get-A"]),
        ("Get-A -Name b -Port 80 -Default", ["Get-A -Name b -Port #80 -Default"]),
        ("Get-A -Name:b -On:$false", ["Get-A -Name:b -On:$false"]),
        ("Get-A; Get-B;;\nGet-C # and more; none of it\n<# nor\nthis #> Get-D", ["Get-A", "Get-B", "Get-C", "Get-D"]),
        ("Get-A|Get-B -c d|\n\n Get-E", ["Get-A | Get-B -c d | Get-E"]),
        ("Get-A `\n  \t| Get-B `\r\n|Get-C", ["Get-A | Get-B | Get-C"]),
        ("Get-A\n  | Get-B\n\nGet-C", ["Get-A | Get-B", "Get-C"]),
        ("Get-A -b `\n c\r\nGet-D\rGet-E", ["Get-A -b c", "Get-D", "Get-E"]),
        ("$x = Get-A -b c\n$X.Y.Z", ["$x = Get-A -b c", "$x.Y.Z"]),
        ("$x=\n  Get-A | Get-B", ["$x = Get-A | Get-B"]),
        ("(Get-A -b c).D", ["(Get-A -b c).D"]),
        ("Get-A -b (Get-C -d e).F $g.H", ["Get-A -b (Get-C -d e).F $g.H"]),
        ("Get-A -Password MyP@ssw0rd!!", ["Get-A -Password MyP@ssw0rd!!"]),
        ("Get-A 10.1.0.0/16 007 -1 1.5 1.5.2 -- a#b 5x", ["Get-A 10.1.0.0/16 #007 #-1 #1.5 1.5.2 -- a#b 5x"]),
        (
            'Get-A "Central US" \'$no\' "it""s" \'it\'\'s\' "a`"b`$c"',
            ["Get-A 'Central US' '$no' 'it\"s' 'it's' 'a\"b$c'"],
        ),
        ('Get-A "$x and ${a b}: $5 $" web$n', ["Get-A '<x> and <a b>: <5> $' web<n>"]),
        ("Get-A \u201cb c\u201d \u2018d e\u2019 \u2013Name f \u2014Port 1", ["Get-A 'b c' 'd e' -Name f -Port #1"]),
        ("Get\u2013A\u00a0-b\u00a0c", ["Get-A -b c"]),
        ('Get-A|?{$_.Name -like "*x*"}', ["Get-A | ? {($_.Name like '*x*')}"]),
        (
            "Get-A | Where-Object { $_.B -eq 3 -and -not ($_.C -match 'd') } ",
            ["Get-A | Where-Object {(($_.B eq #3) and (not (($_.C match 'd'))))}"],
        ),
        ("Get-A -b c,d , 'e'", ["Get-A -b [c, d, 'e']"]),
        ("$a -eq 1,2", ["($a eq [#1, #2])"]),
        ("!$a.B", ["(not $a.B)"]),
        ("PS C:\\> Get-A\n>> | Get-B\nPS C:&gt; Get-C\nPS> Get-D", ["Get-A | Get-B", "Get-C", "Get-D"]),
        ("```powershell\nGet-A `\n| Get-B\n```\n", ["Get-A | Get-B"]),
        ("````PS C:&gt; Get-A -SharedKey b1C2````", ["Get-A -SharedKey b1C2"]),
    ],
)
def test_what_is_read(text: str, parts: list[str]) -> None:
    assert read(text) == parts
    assert read(text.replace("\r\n", "\n").replace("\n", "\r\n")) == parts


def test_places_are_lines_and_columns_from_one_whatever_ends_a_line() -> None:
    script = parse("Get-A\r\n\r\n\t| Get-B -c d\rGet-E\nPS C:\\> Get-F", "s.ps1")
    first, second, third = script.statements
    assert isinstance(first, Pipeline)
    assert [str(command.at) for command in (first.first, *first.rest)] == ["s.ps1:1:1", "s.ps1:3:4"]
    assert [str(part.at) for part in first.rest[0].arguments] == ["s.ps1:3:10", "s.ps1:3:13"]
    assert [str(part.at) for part in (second, third)] == ["s.ps1:4:1", "s.ps1:5:9"]


_BACKTICK = (
    "only a backtick that is the last character of its line joins the next line to it; remove the blanks after it"
)
_VALUE = "arrays in @( ), hash tables, types and redirection are not supported; use a plain value"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Get-A -b c ` \n| Get-D", f"1:12: a backtick with a blank after it; {_BACKTICK}"),
        ("Get-A `\t", f"1:7: a backtick with a blank after it; {_BACKTICK}"),
        (
            "Get-A `",
            (
                "1:7: a backtick at the end of the script; a backtick joins the next line to this one, and there is "
                "none; remove it, or add the rest of the listing"
            ),
        ),
        ("Get-A |", '1:8: the end of the script; a command must follow "|"; add the rest of the listing'),
        ("Get-A | $x", '1:9: "$"; a command must follow "|"; only the first part of a pipeline may be a value'),
        ("Get-A || Get-B", '1:7: "||"; commands are joined by one "|"; write one command in each line'),
        ("Get-A && Get-B", f'1:7: "&"; a value must be here; {_VALUE}'),
        ("Get-A > b", f'1:7: ">"; a value must be here; {_VALUE}'),
        ("Get-A @{b=1}", f'1:7: "@"; a value must be here; {_VALUE}'),
        (
            "& Get-A",
            ('1:1: "&"; a command must begin here, such as Get-AzureVM; this is not supported; write a cmdlet\'s name'),
        ),
        (
            "if ($x) { Get-A }",
            (
                '1:1: "if"; statements of PowerShell\'s own are not supported; write the commands '
                "themselves, each in its line"
            ),
        ),
        (
            "$x.Y = 3",
            ('1:6: "="; only a variable is assigned to: $name = …; properties of objects are changed by their cmdlets'),
        ),
        ("$null = Get-A", "1:1: $null; this variable has its value of itself; use another"),
        ("$x[0]", '1:3: "["; a value has properties only; indexes are not supported; choose by Where-Object'),
        ("$x.Y()", '1:5: "("; a property has no parentheses; methods are not supported; use a cmdlet'),
        (
            "$x.",
            "1:4: the end of the script; the name of a property must follow the point; such as $deployment.VirtualIPs",
        ),
        (
            "$x -contains 3",
            (
                '1:4: "-contains"; an operator is one of -eq, -ne, -like, -notlike, -match, -notmatch, -and, '
                "-or, -not; others are not supported"
            ),
        ),
        ("$x Get-A", '1:4: "G"; the line must end here, or go on with "|" or ";"; write one command in each line'),
        (
            'Get-A "b\nc"',
            (
                '1:7: a string without end; a string ends with " on the line that it begins on; end it; strings '
                "of several lines are not supported"
            ),
        ),
        (
            "Get-A b'c'",
            ("1:8: a quote inside a word; a string begins after a blank, and ends before one; put all of it in quotes"),
        ),
        (
            "Get-A $x/more",
            ('1:9: "/"; a blank must follow a value; add a blank, or put all of it in double quotes: "$name/more"'),
        ),
        (
            "Get-A $(Get-B)",
            (
                '1:7: "$("; a variable is a dollar and a name: $deployment; subexpressions and automatic '
                "variables but $_ are not supported; assign to a variable first"
            ),
        ),
        (
            "Get-A $env:Path",
            (
                "1:7: a variable of a scope; a variable's name has no scope or drive; use a plain variable, or "
                "${name} before a colon"
            ),
        ),
        ("Get-A { Get-B", '1:14: the end of the script; "}" must end the block that begins at 1:7; add it'),
        ("(Get-A\n", '2:1: the end of the script; ")" must end what begins at 1:1; add it'),
        ("Get-A }", '1:7: "}"; a statement must begin here; remove it, or open it before'),
        ("<# Get-A", "1:1: a comment without end; a comment that begins with <# ends with #>; end it"),
        ("(" * 40, "1:33: too many brackets; up to 32 may be inside one another; use variables"),
        ("$x" + ".a" * 40, '1:67: "."; up to 32 properties may be in a row; use variables'),
        ("1" + " -eq 1" * 40, '1:195: "-"; up to 32 operators may be in a row; use variables'),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ScriptError) as refused:
        parse(text, "s.ps1")
    assert str(refused.value) == f"s.ps1:{said}"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("text", ["New-A -Password My$$word", "New-A -AdminPassword a@(b", "Set-A -SharedKey 'my key"])
def test_a_refusal_after_a_password_quotes_nothing(text: str) -> None:
    with pytest.raises(ScriptError) as refused:
        parse(text, "s.ps1")
    assert refused.value.found == "what is not shown, since it follows a password or key"
    assert refused.value.at.column > len("New-A -Password")
