"""A captured packet is told the rules of the hop that it is at; answers and strangers are told none."""

import pytest

from lab import topology
from lab.formats.pcap import Headers
from lab.predict.annotate import Annotator
from tests import rootlab


def _packet(source: str, destination: str, *, protocol: str = "tcp", opens: bool = True) -> Headers:
    (a, _, b), (c, _, d) = source.partition(":"), destination.partition(":")
    return Headers(source=a, source_port=int(b), destination=c, destination_port=int(d), protocol=protocol, opens=opens)


@pytest.fixture
def annotator() -> Annotator:
    return Annotator(topology.load(rootlab.TOPOLOGIES / "source-ip.lab.yaml"))


def test_the_rule_that_translates_a_flow_is_told_where_it_leaves(annotator: Annotator):
    said = annotator.comment(_packet("10.1.0.4:40000", "42.159.94.123:80"))
    assert "NAT rule ssh of lb-natrule: the source becomes 40.125.161.55" in said
    beyond = annotator.comment(_packet("40.125.161.55:1030", "42.159.94.123:80", opens=False))
    assert beyond == "System Route: 42.159.94.123 to Internet"


def test_an_answer_and_what_did_not_begin_here_are_told_nothing(annotator: Annotator):
    assert annotator.comment(_packet("42.159.94.123:80", "40.125.161.55:1030", opens=False)) == ""
    annotator.comment(_packet("10.1.0.4:40000", "42.159.94.123:80"))
    assert annotator.comment(_packet("42.159.94.123:80", "10.1.0.4:40000", opens=False)) == ""
    assert annotator.comment(_packet("203.0.113.77:40000", "42.159.94.123:80")) == ""
    assert annotator.comment(_packet("10.1.0.4:40000", "42.159.94.123:80", protocol="ip 50")) == ""


def test_the_answer_of_a_udp_server_is_no_flow_of_its_own(annotator: Annotator):
    there = _packet("10.1.0.4:40000", "42.159.94.123:9000", protocol="udp", opens=False)
    assert "the source becomes" in annotator.comment(there)
    assert annotator.comment(there.back()) == ""


def test_a_member_that_is_down_changes_what_is_told():
    network = topology.load(rootlab.TOPOLOGIES / "source-ip.lab.yaml")
    asked = _packet("198.51.100.10:40000", "40.125.161.56:80")
    up, down = (Annotator(network, frozenset(names)).comment(asked) for names in ((), ("lb-lbrule/alive/ruleonly",)))
    assert up != ""
    assert Annotator(network, frozenset({"ruleonly"})).comment(asked) != up or down != up
