"""Whatever text is read as a script, it is read, or refused at a place that is in it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.cmdlets import playing
from lab.powershell.evaluate import check, mended
from lab.powershell.parser import parse
from lab.powershell.reading import SINGLE
from lab.powershell.syntax import Command, Pipeline, Position, ScriptError

_PIECES = (
    *("Get-AzureVM", "?", "Where-Object", "New-AzureVMConfig", "if", "PS C:\\>", "PS C:&gt; ", "-Name", "-Password "),
    *("-not", "-eq", "-like", "$x", "$_", "$", "$(", "${", "{", "}", "(", ")", "|", ";", ",", "=", "`", "```", "`\n"),
    *("` \n", "\n", "\r\n", "\r", " ", "\t", "\u00a0", "\u2028", '"', "'", "\u201c", "\u2013", "#", "<#", "#>", "."),
    *(".Name", "80", "1.5", "\u0663", "\u00b2", "a", "@", "[", "]", "&", ">", "!", ":", "\ufeff", "\0", "\ud800"),
)
_TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(_PIECES)).map("".join))


def inside(text: str, at: Position) -> bool:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return 1 <= at.line <= len(lines) and 1 <= at.column <= len(lines[at.line - 1]) + 1


@given(_TEXTS)
@example("!" * 2000)
@example("(" * 2000)
@example("a{" * 2000)
@example("a" + "," * 2000)
@example("9" * 5000)
@example("$a" + ".b" * 2000)
@example("`")
@settings(max_examples=500)
def test_a_text_is_a_script_or_is_refused_at_a_place_in_it(text: str) -> None:
    refused = None
    try:
        script, notes = mended(parse(text, "s"), playing.TABLE)
        check(script, playing.TABLE)
    except ScriptError as error:
        refused = error
    places = [refused] if refused else [*script.statements, *notes]
    assert all(inside(text, each.at) for each in places)
    assert refused is None or (refused.found and refused.must)


_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n`'" + SINGLE), min_size=1)


@given(_WORDS)
@example("```")
def test_what_is_in_single_quotes_is_taken_as_it_stands(word: str) -> None:
    if word.startswith("PS"):  # a prompt, which is taken away
        return
    (statement,) = parse(f"Get-A '{word}'", "s").statements
    assert isinstance(statement, Pipeline)
    assert isinstance(statement.first, Command)
    assert statement.first.arguments[0].value.plain == word  # type: ignore[union-attr]


@given(st.lists(st.sampled_from(["Get-A", "-Name x", "| Get-B", "`\n| Get-C -d 'e'", "; Get-F"])))
def test_line_ends_make_no_difference(parts: list[str]) -> None:
    text = " ".join(["Get-Z", *parts])
    written = [text, text.replace("\n", "\r\n"), text.replace("\n", "\r")]
    shapes = set()
    for each in written:
        try:
            shapes.add(str(parse(each, "s").statements))
        except ScriptError as refused:
            pytest.fail(str(refused))
    assert len(shapes) == 1
