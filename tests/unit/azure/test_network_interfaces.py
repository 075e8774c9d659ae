"""Several network interfaces of a VM: each a wire of its own, with a group of its own."""

import pytest

from lab.azure.model import Network
from lab.azure.security_groups import Groups
from lab.compile import compile as compile_network
from lab.plan import Address, Route, Rule, Server, VethPair
from lab.predict.forecast import Service, flow_of, forecast
from lab.topology import parse
from tests.unit.refusals import said

TEXT = """\
name: a
virtual_networks:
  v:
    address_space: [10.1.0.0/16]
    subnets: {s: 10.1.0.0/24, t: {address_prefix: 10.1.1.0/24, network_security_group: subnets}, u: 10.1.2.0/24}
virtual_machines:
  two:
    services: [http:80]
    network_interfaces: {nic2: {subnet: v/t, network_security_group: own}, nic1: {subnet: v/s}}
  near: {subnet: v/t}
  far: {subnet: v/u}
network_security_groups:
  subnets: [{name: a, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, destination_port_range: 81}]
  own: [{name: b, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, destination_port_range: 82}]
"""


def network() -> Network:
    return parse(TEXT, "f")


def test_the_first_by_name_is_primary_unless_another_says_it_is() -> None:
    vm = network().vm("two")
    assert vm is not None
    assert [i.name for i in vm.network_interfaces] == ["nic1", "nic2"]
    assert (str(vm.private_ip_address), vm.subnet) == ("10.1.0.4", "s")
    other = parse(TEXT.replace("network_security_group: own}", "network_security_group: own, primary: true}"), "f")
    vm = other.vm("two")
    assert vm is not None
    assert [i.name for i in vm.network_interfaces] == ["nic2", "nic1"]


def test_each_interface_is_a_wire_and_only_the_primary_one_has_the_default_gateway() -> None:
    made = compile_network(network())
    wires = [(w.interface, w.peer_interface) for w in made.of(VethPair) if w.peer_place == "two"]
    assert wires == [("two", "eth0"), ("two~1", "eth1")]
    addresses = [(a.interface, a.address) for a in made.of(Address) if a.place == "two"]
    assert addresses == [("eth0", "10.1.0.4"), ("eth1", "10.1.1.5")]
    routes = {(r.destination, r.interface, r.via) for r in made.of(Route) if r.place == "two"}
    assert routes == {("0.0.0.0/0", "eth0", "10.1.0.1"), ("10.1.1.0/24", "eth1", "10.1.1.1")}
    assert {(s.address, s.port) for s in made.of(Server) if s.place == "two"} == {("10.1.0.4", 80), ("10.1.1.5", 80)}


def test_a_vm_with_one_interface_that_is_listed_compiles_as_one_that_is_not() -> None:
    listed = "name: a\n" + TEXT.split("virtual_machines", maxsplit=1)[0].split("\n", 1)[1]
    listed = listed.replace(", network_security_group: subnets", "")
    short = parse(listed + "virtual_machines: {vm: {subnet: v/s}}\n", "f")
    long = parse(listed + "virtual_machines: {vm: {network_interfaces: {nic: {subnet: v/s}}}}\n", "f")
    assert compile_network(short) == compile_network(long)


def test_addresses_that_a_lab_has_are_kept_by_interface() -> None:
    kept = network().addresses()
    assert str(kept["virtual_machines.two.network_interfaces.nic2.private_ip_address"]) == "10.1.1.5"
    without = TEXT.replace("  near: {subnet: v/t}\n", "")
    again = parse(without, "f", kept=kept).vm("two")
    assert again is not None
    assert [str(i.private_ip_address) for i in again.network_interfaces] == ["10.1.0.4", "10.1.1.5"]


def test_an_interfaces_group_is_that_interfaces() -> None:
    rules = [str(r) for r in compile_network(network()).of(Rule) if r.place == "router.v" and "nsg-in/own" in str(r)]
    assert [r for r in rules if "-j nsg-in/own" in r] == ["-t filter -A FORWARD -o two~1 -j nsg-in/own"]
    vm, groups = network().vm("two"), Groups(network())
    assert vm is not None
    assert {f.group for f in groups.filters(vm, "Inbound")} == set()
    assert [f.group for f in groups.filters(vm, "Inbound", vm.network_interfaces[1])] == ["subnets", "own"]
    assert {(e.interface, e.group) for e in groups.effective(vm)} == {("nic2", "subnets"), ("nic2", "own")}


@pytest.mark.parametrize(
    ("sender", "to", "port", "access", "rule"),
    [
        ("near", "10.1.1.5", 80, "Allow", ""),
        ("near", "10.1.1.5", 81, "Deny", "a"),
        ("near", "10.1.1.5", 82, "Deny", "b"),
        ("near", "10.1.0.4", 82, "Allow", ""),
        ("two", "near", 81, "Deny", "a"),
        ("two", "far", 82, "Allow", ""),
    ],
)
def test_a_forecast_asks_the_groups_of_the_interface_that_a_flow_takes(
    sender: str, to: str, port: int, access: str, rule: str
) -> None:
    found = forecast(network(), sender, to, Service("tcp", port))
    assert found.access == access
    assert rule in ("", found.decision.rule if found.decision else None)


def test_a_flow_leaves_by_the_interface_in_the_subnet_of_its_destination() -> None:
    near, far = (forecast(network(), "two", to, Service("tcp", 80)) for to in ("near", "far"))
    assert (str(near.source), str(far.source)) == ("10.1.1.5", "10.1.0.4")
    (start, *_) = flow_of(network(), near).passes
    assert (start.kind, start.name, start.interface) == ("VM wire", "two", 1)
    (end,) = flow_of(network(), forecast(network(), "near", "10.1.1.5", Service("tcp", 80))).ends
    assert (end.name, end.interface) == ("two", 1)


_TWO = TEXT[TEXT.index("two:") : TEXT.index("\n  near")]


@pytest.mark.parametrize(
    ("vm", "words"),
    [
        ("{subnet: v/s, network_interfaces: {a: {subnet: v/s}}}", '"subnet" beside network_interfaces; each network'),
        ("{network_interfaces: {a: {subnet: v/s}, b: {subnet: v/s}}}", '2 interfaces in subnet "s"'),
        ("{network_interfaces: {a: {subnet: v/s}, b: {subnet: v/x}}}", 'no subnet "v/x"'),
        ("{network_interfaces: {a: {subnet: v/s}, b: {subnet: w/s}}}", "are in one virtual network"),
        (
            "{network_interfaces: {a: {subnet: v/s, primary: true}, b: {subnet: v/t, primary: true}}}",
            '"a" is primary too; one network interface is the primary one',
        ),
        ("{network_interfaces: {a: {subnet: v/s, private_ip_address: 10.1.9.9}}}", "10.1.9.9 is outside subnet"),
        ("{network_interfaces: {a: {subnet: v/s, network_security_group: x}}}", 'no network security group "x"'),
    ],
)
def test_interfaces_that_cannot_be_are_refused_in_words(vm: str, words: str) -> None:
    other = "  w: {address_space: [10.2.0.0/16], subnets: {s: 10.2.0.0/24}}\n"
    text = TEXT.replace(_TWO, f"two: {vm}").replace("virtual_machines:", other + "virtual_machines:")
    assert any(words in line for line in said(text)), said(text)


def test_a_vm_with_several_interfaces_has_no_public_ip_of_its_own() -> None:
    text = TEXT.replace("    services: [http:80]\n", "    instance_public_ip: {name: a}\n")
    (line,) = said(text)
    assert "an instance-level public IP on a VM with 2 network interfaces; a VM with several network interfaces" in line
