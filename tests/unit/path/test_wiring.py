"""lab/path/wiring.py: who is connected to whom."""

from lab.azure.model import Network
from lab.path import wiring
from lab.plan import Address, DnsRecord, Item, Namespace, Policy, Resolver, Route, Rule, Server, Sysctl, VethPair
from tests import worlds


def items_of(network: Network) -> list[Item]:
    return list(wiring.items(network, frozenset()))


def test_a_network_is_one_router_one_load_balancer_its_vms_and_one_internet_with_its_hosts() -> None:
    roles = {i.place: i.role for i in items_of(worlds.one_vm()) if isinstance(i, Namespace)}
    assert roles == {
        "internet": "internet", "client": "host", "far": "host",
        "router.vnet1": "router", "lb.vnet1": "load balancer", "vm": "vm",
    }  # fmt: skip


def test_the_wires_make_a_line_from_vm_to_host() -> None:
    wires = {
        (i.place, i.interface, i.peer_place, i.peer_interface)
        for i in items_of(worlds.one_vm())
        if isinstance(i, VethPair)
    }
    assert wires == {
        ("router.vnet1", "vm", "vm", "eth0"),
        ("router.vnet1", "lb.vnet1", "lb.vnet1", "router.vnet1"),
        ("internet", "lb.vnet1", "lb.vnet1", "internet"),
        ("internet", "far", "far", "eth0"),
        ("internet", "client", "client", "eth0"),
    }  # fmt: skip


def test_networks_are_joined_by_the_internet_alone() -> None:
    wires = [i for i in items_of(worlds.two_networks()) if isinstance(i, VethPair)]
    assert not [w for w in wires if "v1" in w.place + w.peer_place and "v2" in w.place + w.peer_place]


def test_no_public_address_of_azure_is_owned_by_any_place() -> None:
    """A Linux host answers for addresses it owns; only hosts outside have theirs."""
    network = worlds.three_ways_out()
    owned = {i.address for i in items_of(network) if isinstance(i, Address)}
    outside = {str(host.address) for host in network.internet}
    assert owned & {str(address) for address, _ in network.public_addresses()} == outside


def test_a_public_address_is_routed_to_the_load_balancer_and_blackholed_there() -> None:
    network = worlds.one_vm()
    (vnet,) = network.virtual_networks
    address = network.internet[0].address
    routes = list(wiring.public_address(vnet, address, wiring.Provenance("r", "e")))
    assert [str(route) for route in routes] == [
        f"route {address}/32 via 169.254.2.2 dev lb.vnet1",
        f"route {address}/32 blackhole",
    ]
    assert [route.place for route in routes] == ["internet", "lb.vnet1"]


def test_every_place_has_its_default_route_and_the_internet_ends_in_a_blackhole() -> None:
    defaults = {
        i.place: str(i) for i in items_of(worlds.one_vm()) if isinstance(i, Route) and i.destination == "0.0.0.0/0"
    }
    assert defaults == {
        "internet": "route 0.0.0.0/0 blackhole",
        "far": "route 0.0.0.0/0 via 169.254.2.1 dev eth0",
        "client": "route 0.0.0.0/0 via 169.254.2.1 dev eth0",
        "vm": "route 0.0.0.0/0 via 10.1.0.1 dev eth0",
        "router.vnet1": "route 0.0.0.0/0 via 169.254.1.2 dev lb.vnet1",
        "lb.vnet1": "route 0.0.0.0/0 via 169.254.2.1 dev internet",
    }


def test_an_address_of_the_space_that_no_vm_has_is_lost_inside() -> None:
    routes = [str(i) for i in items_of(worlds.one_vm()) if isinstance(i, Route) and i.place == "router.vnet1"]
    assert "route 10.1.0.0/16 blackhole" in routes
    assert "route 10.1.0.4/32 dev vm" in routes


def test_only_routers_load_balancers_and_the_internet_forward() -> None:
    forwarding = {
        i.place for i in items_of(worlds.one_vm()) if isinstance(i, Sysctl) and i.key == "net.ipv4.ip_forward"
    }
    assert forwarding == {"internet", "router.vnet1", "lb.vnet1"}


def test_azures_places_drop_what_claims_a_source_that_is_not_theirs_and_the_internet_does_not_care() -> None:
    checks = {
        i.place: i.value for i in items_of(worlds.one_vm()) if isinstance(i, Sysctl) and i.key.endswith("all.rp_filter")
    }
    assert checks == {"internet": 0, "router.vnet1": 1, "lb.vnet1": 1}


def test_nothing_is_forwarded_by_the_load_balancer_unless_a_rule_accepts_it() -> None:
    found = items_of(worlds.one_vm())
    assert [str(i) for i in found if isinstance(i, Policy)] == ["-t filter -P FORWARD DROP"]
    rules = [str(i) for i in found if isinstance(i, Rule) and i.place == "lb.vnet1"]
    assert rules == [
        "-t filter -A INPUT -i internet -j DROP",
        "-t filter -A OUTPUT -o internet -j DROP",
        "-t filter -A FORWARD --ctstate ESTABLISHED,RELATED,DNAT -j ACCEPT",
        "-t filter -A OUTPUT -p icmp --icmp-type fragmentation-needed -j ACCEPT",
        "-t filter -A OUTPUT -p icmp -j DROP",
    ]


def test_a_dns_service_listens_on_both_transports_and_others_on_one() -> None:
    network = worlds.network("internet: {h: {address: 198.51.100.1, services: [dns:53, http:80, udp:9]}}")
    servers = {(i.kind, i.port, i.protocol) for i in items_of(network) if isinstance(i, Server) and i.place == "h"}
    assert servers == {("dns", 53, "udp"), ("dns", 53, "tcp"), ("http", 80, "tcp"), ("udp", 9, "udp")}


def test_names_of_vms_are_known_in_their_own_network_alone_and_those_of_hosts_everywhere() -> None:
    found = [i for i in items_of(worlds.two_networks()) if isinstance(i, DnsRecord)]
    views = {name: {i.place for i in found if i.name == name} for name in ("a", "b", "far")}
    assert views == {"a": {"lb.v1"}, "b": {"lb.v2"}, "far": {"internet", "lb.v1", "lb.v2"}}


def test_vms_ask_the_platforms_resolver_unless_their_network_names_others() -> None:
    text = "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}, dns_servers: [10.1.0.9]}}\n"
    named = worlds.network(text + "virtual_machines: {vm: {subnet: v/s}}")
    servers = [
        i.servers for network in (worlds.one_vm(), named) for i in items_of(network)
        if isinstance(i, Resolver) and i.place == "vm"
    ]  # fmt: skip
    assert servers == [("168.63.129.16",), ("10.1.0.9",)]
