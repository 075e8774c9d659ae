"""Pictures: everything of a network is in them, once, and in every language they can be read again."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from defusedxml import ElementTree

from lab import cli, topology
from lab.azure.model import Network, natural
from lab.errors import UsageError
from lab.pictures import diagram, dot, mermaid
from lab.pictures.diagram import Box, Card, Live
from lab.verify import verdict
from tests import rootlab

FILES = sorted(rootlab.TOPOLOGIES.glob("*.lab.yaml"))
_SVG = "{http://www.w3.org/2000/svg}"


def _cards(boxes: tuple[Box, ...]) -> Iterator[Card]:
    for box in boxes:
        yield from box.cards
        yield from _cards(box.boxes)


def _many(count: int) -> Network:
    vms = "".join(f"  web{number}: {{subnet: vnet1/front}}\n" for number in range(1, count + 1))
    text = (
        "name: many\nvirtual_networks:\n  vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/22}}\n"
        "internet:\n  far: {address: 198.51.100.10}\nvirtual_machines:\n" + vms
    )
    return topology.parse(text, Path("many.lab.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_resource_has_one_card_and_every_link_leads_from_card_to_card(file: Path):
    network = topology.load(file)
    picture = diagram.diagram(network)
    cards = list(_cards(picture.boxes))
    keys = {card.key for card in cards}
    assert len(keys) == len(cards)
    assert {f"host {host.name}" for host in network.internet} <= keys
    assert {f"lb {lb.name}" for lb in network.balancers} <= keys
    assert {f"nsg {group.name}" for group in network.network_security_groups} <= keys
    assert {f"gateway {gateway.virtual_network}" for gateway in network.vpn_gateways} <= keys
    assert {f"nat {nat.name}" for nat in network.nat_gateways} <= keys
    alone = {card.title for card in cards if card.kind in ("vm", "down") and "…" not in card.title}
    together = sum(int(card.lines[0].split()[0]) for card in cards if card.kind in ("vm", "down") and "…" in card.title)
    assert alone <= {vm.name for vm in network.virtual_machines}
    assert len(alone) + together == len(network.virtual_machines)
    assert {end for link in picture.links for end in (link.source, link.target)} <= keys


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_graphviz_draws_every_card(file: Path):
    picture = diagram.diagram(topology.load(file))
    drawn = ElementTree.fromstring(dot.svg(picture))
    shown = ["".join(part.itertext()) for part in drawn.iter(f"{_SVG}text")]
    assert {card.title for card in _cards(picture.boxes)} <= set(shown)
    assert {line for card in _cards(picture.boxes) for line in card.lines} <= {text.strip() for text in shown}


def test_each_kind_of_card_has_a_colour_for_the_dark():
    picture = diagram.diagram(topology.load(rootlab.TOPOLOGIES / "nsg.lab.yaml"))
    style = dot.svg(picture).partition("<style>")[2].partition("</style>")[0]
    assert style.startswith("@media (prefers-color-scheme:dark){")
    assert {card.kind for card in _cards(picture.boxes)} <= set(re.findall(r"\.([a-z]+) path", style))


@pytest.mark.parametrize("count", [diagram.ALONE, diagram.ALONE + 1, 300])
def test_vms_that_differ_in_name_alone_share_a_card_once_there_are_many(count: int):
    network = _many(count)
    cards = [card for card in _cards(diagram.diagram(network).boxes) if card.kind == "vm"]
    if count <= diagram.ALONE:
        assert [card.title for card in cards] == sorted((vm.name for vm in network.virtual_machines), key=natural)
    else:
        (card,) = cards
        assert card.title == f"web1 … web{count}"
        assert card.lines[:2] == (f"{count} VMs", f"10.1.0.4 to {network.virtual_machines[-1].private_ip_address}")


def test_a_running_lab_shows_members_that_are_down_tunnels_and_ports_in_use():
    network = topology.load(rootlab.TOPOLOGIES / "source-ip.lab.yaml")
    live = Live(down=frozenset({"ruleonly"}), ports={"test2vm": (12, 64)})
    cards = {card.title: card for card in _cards(diagram.diagram(network, live).boxes)}
    assert (cards["ruleonly"].kind, cards["test2vm"].kind) == ("down", "vm")
    assert "down, by its probe" in cards["ruleonly"].lines
    assert "12 of 64 SNAT ports used" in cards["test2vm"].lines
    tunnels = topology.load(rootlab.TOPOLOGIES / "vnet-to-vnet.lab.yaml")
    (first, *_) = tunnels.connections
    ends = (first.virtual_network, first.local_network)
    for state, kind in (("Connected", "tunnel"), ("Connecting", "broken")):
        (link,) = diagram.diagram(tunnels, Live(tunnels={ends: state})).links
        assert (link.kind, link.label) == (kind, f"IPsec\n{state}")


@pytest.mark.parametrize("title", ['a "b"', "a<b>", "a&b", "a#b", "a\\b"])
def test_marks_of_the_languages_in_a_name_are_text(title: str):
    card = Card(key=f"vm {title}", kind="vm", title=title)
    picture = diagram.Diagram(title=title, boxes=(Box(key="box", title=title, cards=(card,)),), links=())
    drawn = ElementTree.fromstring(dot.svg(picture))
    assert [part.text for part in drawn.iter(f"{_SVG}text")] == [title] * 3
    inside = re.findall(r'\["(.*)"\]', mermaid.text(picture))
    assert len(inside) == 2
    assert not any(mark in text for text in inside for mark in '"<>')


@pytest.mark.parametrize(
    ("suffix", "start"), [("svg", "<?xml"), ("mmd", "---\ntitle"), ("gv", "digraph"), ("json", "{")]
)
def test_the_suffix_of_the_file_chooses_the_language(suffix: str, start: str, tmp_path: Path):
    file = tmp_path / f"picture.{suffix}"
    done = CliRunner().invoke(cli.cli, ["graph", str(rootlab.TOPOLOGIES / "source-ip.lab.yaml"), "-w", str(file)])
    assert (done.exit_code, done.output) == (0, "")
    assert file.read_text().startswith(start)


def test_without_graphviz_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(cli.cli, ["graph", str(rootlab.TOPOLOGIES / "source-ip.lab.yaml")])
    assert "run scripts/setup, or use -o mermaid" in str(done.exception)


@pytest.mark.parametrize("words", [["graph", "source-ip.lab.yaml"], ["report", "RESULTS"]])
@pytest.mark.parametrize(
    ("place", "found"), [("none/x.svg", "No such file or directory"), ("a/x.svg", "Not a directory")]
)
def test_a_file_that_cannot_be_made_is_refused_with_what_to_do(
    words: list[str], place: str, found: str, tmp_path: Path
):
    (tmp_path / "a").write_text("")
    (tmp_path / "results.json").write_bytes(msgspec.json.encode(verdict.report([])))
    typed = [str(tmp_path / "results.json") if word == "RESULTS" else word for word in words]
    done = CliRunner().invoke(cli.cli, [*typed, "-w", str(tmp_path / place)])
    assert isinstance(done.exception, UsageError)
    must = "it must be a file in a folder that is there, and that you may write to"
    assert str(done.exception) == f"{tmp_path / place}: {found}; {must}; make the folder, or name another file"
