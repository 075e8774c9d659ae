"""The words of every refusal about network security groups."""

from collections.abc import Callable

import pytest

from lab.topology import parse
from tests.unit.refusals import said

_HEAD = """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: {address_prefix: 10.1.0.0/24}}}}
"""
_DOCUMENT = "(virtual-networks-nsg.md, 2016-02-11)"


def group(*rules: str, head: str = _HEAD) -> str:
    """Return a file with one group; each rule has a line, the first is line 5."""
    written = [rule if "direction" in rule else f"{rule}, direction: Inbound, access: Allow" for rule in rules]
    return head + "network_security_groups:\n  g:\n" + "".join(f"    - {{{rule}}}\n" for rule in written)


def test_a_priority_is_unique_in_its_direction_and_free_in_the_other() -> None:
    inbound, outbound = "direction: Inbound, access: Allow", "direction: Outbound, access: Deny"
    parse(group(f"name: r, priority: 100, {inbound}", f"name: s, priority: 100, {outbound}"), "f")
    assert said(group(f"name: r, priority: 100, {inbound}", f"name: s, priority: 100, {inbound}")) == [
        (
            f'f:6: network_security_groups.g.1.priority: 100 is also the priority of "r", Inbound; '
            f"a priority is unique in its direction {_DOCUMENT}; choose a priority that is free"
        )
    ]


def test_a_priority_of_a_default_rule_is_taken_where_a_revision_lets_it_be_named() -> None:
    head = "profile: 2017-05b\n" + _HEAD
    (line,) = said(group("name: r, priority: 65500", head=head))
    assert '65500 is also the priority of "DENY ALL INBOUND", Inbound' in line


@pytest.mark.parametrize(("profile", "limit"), [("2017-05b", 200), ("2018-12", 1000)])
def test_a_group_has_no_more_rules_than_its_revision_allows(profile: str, limit: int) -> None:
    rules = [f"name: r{n}, priority: {100 + n}" for n in range(limit + 1)]
    parse(group(*rules[:-1], head=f"profile: {profile}\n{_HEAD}"), "f")
    (line,) = said(group(*rules, head=f"profile: {profile}\n{_HEAD}"))
    assert line.startswith(f"f:5: network_security_groups.g: {limit + 1} rules; a group has at most {limit} (")


def test_icmp_is_named_by_no_rule_of_the_revisions_that_have_no_word_for_it() -> None:
    parse(group("name: r, priority: 100, protocol: ICMP"), "f")
    (line,) = said(group("name: r, priority: 100, protocol: Icmp", head="profile: 2018-12\n" + _HEAD))
    assert line == (
        'f:6: network_security_groups.g.0.protocol: "Icmp"; a protocol is *, Tcp, Udp (virtual-networks-nsg.md '
        '(2016-02-11)); only a rule for "*" matches ICMP in this revision'
    )


@pytest.mark.parametrize("where", ["subnet", "vm"])
def test_a_second_group_is_refused(where: str) -> None:
    two = "network_security_group: [g, h]"
    text = (
        _HEAD.replace("10.1.0.0/24}", f"10.1.0.0/24, {two}}}")
        if where == "subnet"
        else f"{_HEAD}virtual_machines: {{vm: {{subnet: v/s, {two}}}}}\n"
    )
    (line,) = said(text)
    assert line.endswith(
        "network_security_group: a list; 2 network security groups; "
        "a subnet or VM has at most one (virtual-networks-nsg.md, 2016-02-11); name one that has the rules of all"
    )


@pytest.mark.parametrize("name", ["INTERNET", "Internet", "internet"])
def test_tags_have_their_classic_names_too(name: str) -> None:
    network = parse(group(f"name: r, priority: 100, source_address_prefix: {name}, protocol: TCP"), "f")
    (rule,) = network.network_security_groups[0].rules
    assert (rule.sources, rule.protocol) == (("Internet",), "Tcp")


@pytest.mark.parametrize("change", [str.lower, str.upper])
def test_words_of_a_rule_are_read_whatever_their_case(change: Callable[[str], str]) -> None:
    for direction, access, protocol in (("Inbound", "Allow", "Tcp"), ("Outbound", "Deny", "Icmp")):
        words = f"direction: {change(direction)}, access: {change(access)}, protocol: {change(protocol)}"
        (rule,) = parse(group(f"name: r, priority: 100, {words}"), "f").network_security_groups[0].rules
        assert (rule.direction, rule.access, rule.protocol) == (direction, access, protocol)


def test_what_stands_for_all_is_written_in_any_way() -> None:
    rules = (
        "name: r, priority: 100",
        'name: r, priority: 100, source_address_prefix: "*", source_port_range: "*"',
        "name: r, priority: 100, destination_port_ranges: [0-65535, 80]",
        "name: r, priority: 100, destination_address_prefixes: [10.1.0.0/24, 0.0.0.0/0]",
    )
    found = {parse(group(rule), "f").network_security_groups[0].rules for rule in rules}
    assert len(found) == 1
