"""Whatever text is read as a script, it is read, or refused at a place that is in it."""

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.azure import invariants
from lab.cmdlets import runner
from lab.errors import LabError
from lab.operations.lookup import settled
from lab.powershell.evaluate import check, mended
from lab.powershell.lexer import SINGLE
from lab.powershell.parser import parse
from lab.powershell.syntax import Command, Pipeline, Position, ScriptError
from tests.unit.cmdlets.pure import PureLab

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
        script, notes = mended(parse(text, "s"), runner.TABLE)
        check(script, runner.TABLE)
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


_ANY = ("$x", "$none", "''", "(Get-AzureVM svc)", "{$_.Name}", "a,b", "0", "-1", "10.0.0.0/8")
_LIKELY = {
    "ServiceName": ("svc", "SVC", "new"),
    "Name": ("one", "two", "web", "e"),
    "VirtualIPName": ("Vip1", "Vip2", "Vip3"),
    "ReservedIPName": ("r", "s"),
    "Location": ("'China North'", "x"),
    "LBSetName": ("set",),
    "ACL": ("$acl",),
    "VMs": ("$config",),
    "VM": ("$x",),
    "RuleId": ("0", "1"),
    "VNetName": ("v",),
    "LocalNetworkSiteName": ("site",),
}
_OF_VMS = sorted(c.name for c in runner.TABLE.cmdlets.values() if any(p.name == "VM" for p in c.parameters))
_OTHERS = sorted(runner.TABLE.cmdlets.keys() - {*_OF_VMS})


@st.composite
def commands(draw: st.DrawFn, names: list[str]) -> str:
    """Draw a command of the table: one parameter set with what it requires, more of it, and mostly likely values."""
    cmdlet = runner.TABLE.cmdlets[draw(st.sampled_from(names))]
    words, one = [cmdlet.name], draw(st.sampled_from(cmdlet.sets()))
    for p in cmdlet.parameters:
        is_required = (p.required or one in p.required_in) and not (p.name == "VM" and names == _OF_VMS)
        if (p.sets and one not in p.sets) or draw(st.integers(0, 99)) >= (99 if is_required else 20):
            continue
        words.append(f"-{p.name}")
        usual = {"whole": ("80", "22", "5"), "prefix": ("65.0.0.0/8",), "truth": ("$false",)}.get(p.kind, ("some", "a"))
        likely = p.accepts if p.accepts and p.kind == "text" else _LIKELY.get(p.name, usual)
        if p.kind != "switch":
            words.append(draw(st.sampled_from(_ANY if draw(st.integers(0, 19)) == 0 else likely)))
    return " ".join(words)


_OF_A_VM = st.lists(commands(_OF_VMS), min_size=1, max_size=3).map(
    lambda parts: " | ".join(["Get-AzureVM svc one", *parts, "Update-AzureVM"])
)
_LINES = st.one_of(_OF_A_VM, commands(_OTHERS), st.lists(commands(_OTHERS), min_size=2, max_size=3).map(" | ".join))


@given(st.lists(_LINES, min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_whatever_is_asked_of_cmdlets_is_done_or_refused(lines: list[str]) -> None:
    lab = PureLab(
        "name: a\ncloud_services: {svc: {virtual_machines: [one, two], virtual_ips: {Vip1: {}, Vip2: {}}}}\n"
        "virtual_machines: {one: {}, two: {}}\nreserved_ips: {r: {}}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24, GatewaySubnet: 10.1.9.0/27}}}\n"
        "local_networks: {site: {address_space: [10.2.0.0/16], vpn_gateway_address: 5.4.3.2}}\n"
        "connections: [{virtual_network: v, local_network: site}]\n"
    )
    lab.files = {"some": "<a/>"}
    lab.play("$x = Get-AzureVM svc one")
    for line in lines:
        setup = "$x = Get-AzureVM svc one; $none = Get-AzureVMImage none; $acl = New-AzureAclConfig\n"
        with contextlib.suppress(LabError):
            lab.play(f"{setup}$config = New-AzureVMConfig three Small any\n{line}")
        assert not list(invariants.violations(lab.made))
        assert settled(lab.made) == lab.made
