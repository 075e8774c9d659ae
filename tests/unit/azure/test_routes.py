"""lab/azure/routes.py and path/route_table.py: which route is in force, where it leads, and what is refused."""

import msgspec
import pytest

from lab.azure import routes
from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.plan import Route, RoutingRule, Rule, Sysctl
from lab.predict.forecast import Service, forecast
from lab.topology import load, parse
from tests.rootlab import TOPOLOGIES
from tests.unit.refusals import said

_FILE = """\
name: a
virtual_networks:
  v: {{address_space: [{space}], subnets: {{s: {{address_prefix: 10.1.0.0/24, route_table: t}}, o: 10.1.1.0/24}}}}
route_tables: {{t: {{{more}routes: {{{routes}}}}}}}
virtual_machines:
  vm: {{subnet: v/s}}
  nva: {{subnet: v/o, private_ip_address: 10.1.1.4, enable_ip_forwarding: true}}
  idle: {{subnet: v/o, private_ip_address: 10.1.1.5}}
"""


def text(listed: str = "", *, space: str = "10.1.0.0/16", more: str = "") -> str:
    return _FILE.format(routes=listed, space=space, more=more)


def route(prefix: str, kind: str, hop: str = "", name: str = "r") -> str:
    address = f", next_hop_ip_address: {hop}" if hop else ""
    return f"{name}: {{address_prefix: {prefix}, next_hop_type: {kind}{address}}}"


def effective(file: str) -> dict[tuple[str, str], tuple[str, str]]:
    network = parse(file, "f")
    vnet = network.virtual_network("v")
    found = routes.effective(network, vnet, next(s for s in vnet.subnets if s.name == "s"))
    return {(r.source, str(r.prefix)): (r.state, r.next_hop_type) for r in found}


def test_a_subnet_has_its_own_space_the_internet_and_four_ways_to_nowhere() -> None:
    assert effective(text()) == {
        ("Default", "10.1.0.0/16"): ("Active", "VnetLocal"),
        ("Default", "0.0.0.0/0"): ("Active", "Internet"),
        ("Default", "10.0.0.0/8"): ("Active", "None"),
        ("Default", "172.16.0.0/12"): ("Active", "None"),
        ("Default", "192.168.0.0/16"): ("Active", "None"),
        ("Default", "100.64.0.0/10"): ("Active", "None"),
    }


def test_a_space_that_is_a_reserved_range_has_its_route() -> None:
    assert effective(text(space="10.0.0.0/8"))["Default", "10.0.0.0/8"] == ("Active", "VnetLocal")


def test_a_users_route_of_the_same_prefix_makes_the_system_route_invalid() -> None:
    found = effective(text(route("0.0.0.0/0", "None")))
    assert found["Default", "0.0.0.0/0"] == ("Invalid", "Internet")
    assert found["User", "0.0.0.0/0"] == ("Active", "None")
    assert ("Default", "10.0.0.0/8") in found


def test_a_default_route_to_an_appliance_takes_the_ways_to_nowhere() -> None:
    found = effective(text(route("0.0.0.0/0", "VirtualAppliance", "10.1.1.4")))
    assert [kind for _, kind in found.values() if kind == "None"] == []


def test_a_route_to_an_address_that_no_vm_has_is_invalid_and_leads_nowhere() -> None:
    file = text(route("20.0.0.0/8", "VirtualAppliance", "10.1.1.9"))
    assert effective(file)["User", "20.0.0.0/8"] == ("Invalid", "VirtualAppliance")
    assert table(parse(file, "f"))["20.0.0.0/8"] == "blackhole"


def table(network: Network) -> dict[str, str]:
    found = compile_network(network)
    (asked,) = (rule for rule in found.of(RoutingRule) if rule.in_interface == "vm")
    return {
        r.destination: r.interface or ("throw" if r.back else "blackhole")
        for r in found.of(Route)
        if r.table == asked.table and r.place == "router.v"
    }


@pytest.mark.parametrize(
    ("listed", "prefix", "leads"),
    [
        (route("20.0.0.0/8", "VirtualAppliance", "10.1.1.4"), "20.0.0.0/8", "nva"),
        (route("20.0.0.0/8", "VirtualAppliance", "10.1.1.5"), "20.0.0.0/8", "blackhole"),  # it does not forward
        (route("20.0.0.0/8", "None"), "20.0.0.0/8", "blackhole"),
        (route("20.0.0.0/8", "Internet"), "20.0.0.0/8", "throw"),
        (route("10.1.1.0/24", "Internet"), "10.1.1.0/24", "lb.v"),
        (route("10.1.1.0/24", "VnetLocal"), "10.1.1.0/24", "throw"),
        (route("20.0.0.0/8", "VnetLocal"), "20.0.0.0/8", "blackhole"),
        ("", "10.1.0.0/16", "throw"),
        ("", "10.0.0.0/8", "blackhole"),
        (route("0.0.0.0/0", "None"), "168.63.129.16/32", "throw"),  # no route leads the platform's address away
    ],
)
def test_a_route_leads_where_its_kind_says(listed: str, prefix: str, leads: str) -> None:
    assert table(parse(text(listed), "f"))[prefix] == leads


def test_a_network_without_a_route_table_is_compiled_as_before() -> None:
    network = parse(text().replace(", route_table: t", "").replace(", enable_ip_forwarding: true", ""), "f")
    found = compile_network(network)
    assert [item for item in found.items if item.why.rule == "route_table"] == []
    checks = {s.place: s.value for s in found.of(Sysctl) if s.key == "net.ipv4.conf.all.rp_filter"}
    assert checks["router.v"] == 1


def test_every_wire_of_a_routed_network_has_its_sources_alone() -> None:
    found = compile_network(parse(text(), "f"))
    sources = {r.chain: r.source for r in found.of(Rule) if r.chain.startswith("source/") and r.source}
    assert sources == {"source/vm": "10.1.0.4/32", "source/idle": "10.1.1.5/32"}


@pytest.mark.parametrize(
    ("sender", "to", "access", "words"),
    [
        ("app1", "app2", "Allow", ""),
        ("near1", "far1", "Allow", ""),
        ("near1", "10.0.2.9", "NoWay", "route shut for 10.0.2.9/32 leads nowhere"),
        ("near1", "other", "NoWay", "plain has no IP forwarding"),
        ("near1", "198.51.100.97", "NoWay", "which no VM in reach has"),
        ("app1", "api", "Allow", ""),
    ],
)
def test_a_flow_is_predicted_by_its_route(sender: str, to: str, access: str, words: str) -> None:
    found = forecast(load(TOPOLOGIES / "routes.lab.yaml"), sender, to, Service("tcp", 80))
    assert found.access == access, found
    assert words in "; ".join(way.obstacle for way in found.ways)


def test_forwarded_traffic_that_is_not_allowed_is_predicted() -> None:
    network = load(TOPOLOGIES / "routes.lab.yaml")
    vnets = tuple(
        msgspec.structs.replace(
            vnet, peerings=tuple(msgspec.structs.replace(p, allow_forwarded_traffic=False) for p in vnet.peerings)
        )
        for vnet in network.virtual_networks
    )
    found = forecast(msgspec.structs.replace(network, virtual_networks=vnets), "app1", "app2", Service("tcp", 80))
    assert [way.obstacle for way in found.ways] == ["peering to-hub of spoke2 lets in no forwarded traffic"]


def test_what_an_appliance_does_not_translate_does_not_leave() -> None:
    network = load(TOPOLOGIES / "routes.lab.yaml")
    vms = tuple(msgspec.structs.replace(vm, masquerade=False) for vm in network.virtual_machines)
    found = forecast(msgspec.structs.replace(network, virtual_machines=vms), "app1", "api", Service("tcp", 80))
    assert [way.obstacle for way in found.ways] == ["what nva sends to the internet has not its own address"]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (text(route("20.0.0.0/8", "VirtualAppliance")), "no address with next_hop_type: VirtualAppliance"),
        (text(route("20.0.0.0/8", "None", "10.1.1.4")), "10.1.1.4 with next_hop_type: None"),
        (text(f"{route('20.0.0.0/8', 'None')}, {route('20.0.0.0/8', 'Internet', name='s')}"), 'the prefix of "r"'),
        (text(route("20.0.0.0/8", "VirtualNetworkGateway")), 'route "r" to a gateway, and "v" has none'),
        (text().replace("route_table: t", "route_table: u"), 'no route table "u"'),
        (text().replace("route_table: t", "route_table: [t, t]"), "2 route tables; a subnet has at most one"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(file: str, words: str) -> None:
    assert words in "\n".join(said(file))
