"""lab/predict/explain.py: the way of a flow, hop by hop; lab/predict/observed.py: what was seen of it."""

from pathlib import Path

import msgspec
import pytest

from lab import topology
from lab.compile import compile as compiled
from lab.errors import ContradictedError
from lab.predict import explain, observed
from lab.predict.explain import Explanation
from lab.predict.forecast import Service
from lab.predict.outbound import Outbound
from lab.runtime.show import outbound as planned
from lab.verify import experiment as ex
from tests import worlds

TOPOLOGIES = sorted((Path(__file__).parents[3] / "topologies").glob("*.lab.yaml"))
HTTP = Service("tcp", 80)


def ends(hop: explain.Hop) -> list[tuple[str, str]]:
    return [
        (str(end.address), f"{end.ports.first}-{end.ports.last}" if end.ports else "") for end in hop.packet.sources
    ]


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.name)
def test_every_vm_is_seen_by_every_outside_host_as_the_rules_have_it(file: Path) -> None:
    network = topology.load(file)
    outbound, plan = Outbound(network), planned(compiled(network))
    for vm in network.virtual_machines:
        for host in network.internet:
            found = explain.explain(network, vm.name, host.name, HTTP, outbound=outbound)
            if found.predicted.access != "Allow":
                continue
            assert found.way_out is not None
            leaving = network.vm(found.way_out.vm)  # an appliance, if a route leads there
            assert leaving == vm or (leaving is not None and leaving.masquerade)
            wanted = [(o.address, o.ports) for o in plan[leaving.name] if not o.how.endswith("udp only")]
            assert found.way_out == outbound.of(leaving)
            assert found.hops[-1].name == host.name
            assert ends(found.hops[-1]) == [(a, "1024-65535" if p == "unchanged" else p) for a, p in wanted], vm.name


def types(found: Explanation) -> list[tuple[str, str]]:
    return [(hop.type, hop.name) for hop in found.hops]


def test_a_flow_out_is_told_from_its_vm_to_the_far_side() -> None:
    found = explain.explain(worlds.load_balanced(2), "web1", "far", HTTP)
    assert types(found) == [
        ("Source", "web1"),
        ("VirtualNetwork", "v"),
        ("PublicLoadBalancer", "edge of v"),
        ("Internet", "internet"),
        ("Destination", "far"),
    ]
    assert found.answer[:3] == (
        "web1 to far, 80/tcp: allowed",
        "the far side sees 40.1.1.1:1025-2048",
        "40.1.1.1: 1,024 SNAT ports, preallocated to it; the address is shared with web2",
    )
    assert any("4-minute idle timeout" in line for line in found.answer)


def test_why_not_otherwise_names_the_pool_that_no_rule_refers_to() -> None:
    found = explain.explain(worlds.pool_without_rule(), "pooled", "far", HTTP)
    assert any("membership alone binds nothing" in line for line in found.not_otherwise)
    assert "Add a load-balancing rule for `pool`, or an inbound NAT rule for pooled." in found.changes


def test_a_flow_in_is_told_with_the_rule_that_leads_it_and_its_members() -> None:
    found = explain.explain(worlds.load_balanced(2), "client", "40.1.1.1", HTTP)
    assert [hop.name for hop in found.hops] == ["client", "internet", "edge of v", "v", "web1", "web2"]
    assert found.hops[2].rules[0].says.startswith("load-balancing rule web of lb1 leads to web1 (10.1.0.4:80), web2")
    assert [str(end) for end in found.hops[3].packet.destinations] == ["10.1.0.4:80", "10.1.0.5:80"]


def test_a_denied_flow_ends_at_the_group_that_denies_it_and_the_change_names_the_priority() -> None:
    network = worlds.guarded()
    found = explain.explain(network, "web", "client", HTTP)
    assert types(found)[-1][0] == "VirtualNetwork"
    (rule,) = (rule for rule in found.hops[-1].rules if rule.stops)
    assert (rule.name, rule.issue) == ("no-internet", "NetworkSecurityRule")
    assert found.answer[0].startswith("web to client, 80/tcp: denied by rule no-internet")
    assert any("with a priority below" in change for change in found.changes)


@pytest.mark.parametrize(
    ("to", "service", "says"),
    [
        ("40.1.1.1", Service("tcp", 81), "40.1.1.1, 81/tcp"),
        ("203.0.113.99", HTTP, "203.0.113.99"),
        ("web1", HTTP, "no address"),
        ("40.1.1.1", Service("icmp"), "40.1.1.1, icmp"),
    ],
)
def test_a_flow_that_nothing_leads_on_ends_where_it_is_lost(to: str, service: Service, says: str) -> None:
    found = explain.explain(worlds.load_balanced(1), "client", to, service)
    assert found.predicted.access == "NoWay"
    assert says in found.hops[-1].rules[-1].says
    assert "Destination" not in [hop.type for hop in found.hops]


def test_a_flow_to_a_public_address_of_its_own_network_stays_at_that_networks_edge() -> None:
    for service, last in ((HTTP, "web2"), (Service("tcp", 81), "edge of v")):
        found = explain.explain(worlds.load_balanced(2), "web1", "40.1.1.1", service)
        assert "Internet" not in [hop.type for hop in found.hops]
        assert found.hops[-1].name == last


def test_the_internet_stands_for_an_address_that_the_topology_does_not_name() -> None:
    network = explain.with_internet(worlds.load_balanced(1), "web1", "internet")
    found = explain.explain(network, "web1", "internet", HTTP)
    assert found.predicted.access == "Allow"
    assert "8.8.8.8 stands for any address outside" in found.answer
    assert explain.with_internet(network, "web1", "far") is network


def test_a_flow_of_a_protocol_that_no_rule_translates_ends_at_the_edge() -> None:
    network = topology.load(next(file for file in TOPOLOGIES if file.name == "outbound-rules.lab.yaml"))
    for vm, protocol, access in (
        ("stream", "tcp", "Allow"),
        ("stream", "udp", "NoWay"),
        ("datagram", "udp", "Allow"),
        ("quiet", "tcp", "NoWay"),
    ):
        found = explain.explain(network, vm, "api", Service(protocol, 443))
        assert found.predicted.access == access, (vm, protocol)
        if access == "NoWay":
            assert found.hops[-1].name == "edge of vnet1"
            assert f"{vm} has no way out for {protocol.upper()}" in found.answer[0]
            assert any("outbound rule" in change for change in found.changes)
        else:
            assert len(found.hops[-1].packet.sources) == 1


@pytest.mark.parametrize(("client", "stops"), [("denied", True), ("nearby", False)])
def test_the_access_list_of_an_endpoint_is_told_where_it_is_asked(client: str, stops: bool) -> None:
    network = worlds.network(
        """
internet: {denied: {address: 175.1.0.77}, nearby: {address: 175.2.0.20}}
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {vm: {subnet: v/s}}
cloud_services:
  shop:
    virtual_machines: [vm]
    virtual_ips: {Vip1: {address: 40.1.1.1}}
    endpoints:
      - {name: web, virtual_machine: vm, protocol: tcp, local_port: 80, public_port: 80,
         acl: [{order: 1, action: deny, remote_subnet: 175.1.0.0/16}]}
"""
    )
    found = explain.explain(network, client, "40.1.1.1", HTTP)
    (rule,) = [rule for hop in found.hops for rule in hop.rules if rule.name == "ACL of web"]
    assert (rule.stops, rule.document) == (stops, "virtual-networks-acl.md (2016-03-15)")
    assert ("Permit the client in the access list" in " ".join(found.changes)) == stops
    assert (found.hops[-1].type == "PublicLoadBalancer") == stops


def test_a_private_frontend_keeps_the_clients_address() -> None:
    network = topology.load(next(file for file in TOPOLOGIES if file.name == "internal.lab.yaml"))
    found = explain.explain(network, "peer", "10.1.1.100", Service("tcp", 8080))
    assert "the member sees 10.1.0.4: a private frontend keeps the client's address" in found.answer


def test_only_what_goes_before_the_way_that_is_taken_is_said_to_change_it() -> None:
    network = topology.load(next(file for file in TOPOLOGIES if file.name == "nat-gateway.lab.yaml"))
    found = explain.explain(network, "plain", "api", HTTP)
    assert found.changes == ("Take the NAT gateway from the subnet of plain; nothing goes before it.",)
    own = explain.explain(worlds.one_vm_with_public_ip(), "vm", "far", HTTP)
    assert not any("load-balancing rule" in change for change in own.changes)


def test_a_flow_that_depends_is_told_way_by_way() -> None:
    network = worlds.network(
        """
internet: {client: {address: 198.51.100.30}}
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {a: {subnet: v/s, network_security_group: g}, b: {subnet: v/s}}
network_security_groups: {g: [{name: low, priority: 100, direction: Inbound, access: Deny}]}
load_balancers:
  lb1:
    frontend_ip_configurations: {public: 40.1.1.1}
    backend_address_pools: {pool: [a, b]}
    probes: {p: {port: 80}}
    load_balancing_rules: {r: {frontend: public, backend_pool: pool, probe: p, frontend_port: 80, backend_port: 80}}
"""
    )
    assert explain.explain(network, "client", "40.1.1.1", HTTP).answer[:3] == (
        "client to 40.1.1.1, 80/tcp: it depends",
        "denied by rule low of g, inbound at a",
        "allowed to b",
    )


# --- what was seen ----------------------------------------------------------------------------


def arrivals(what: ex.Flow, *seen: ex.Seen | None) -> ex.FlowResult:
    assert len(seen) == len(what.looks)
    at = dict(zip(what.looks, seen, strict=True))
    end = next((watch.name for watch in what.ends if at.get(watch)), "")
    return ex.FlowResult(passed=seen[0] is not None, end=end, looks=seen)


def test_what_is_seen_as_predicted_blames_nothing_and_what_is_not_names_its_hop_and_rule() -> None:
    network = worlds.load_balanced(1)
    found = explain.explain(network, "web1", "far", HTTP)
    what = observed.experiment(network, found)
    inside = ex.Seen(0, "10.1.0.4", 40000, "198.51.100.20", 80)
    outside = msgspec.structs.replace(inside, source="40.1.1.1", source_port=1025)
    assert observed.compare(found, what, arrivals(what, inside, inside, outside, outside)).blamed == ""
    wrong = msgspec.structs.replace(outside, source_port=9)
    for seen in (arrivals(what, inside, inside, wrong, wrong), arrivals(what, inside, inside, None, None)):
        compared = observed.compare(found, what, seen)
        assert [one.differs for one in compared.hops] == [False, False, False, True, True]
        assert compared.blamed.startswith("hop edge of v (PublicLoadBalancer: rule web of lb1")
        with pytest.raises(ContradictedError, match="edge of v"):
            observed.hold(found, compared)


def test_a_denied_flow_that_arrives_is_a_difference() -> None:
    network = worlds.guarded()
    found = explain.explain(network, "web", "client", HTTP)
    what = observed.experiment(network, found)
    packet = ex.Seen(0, "10.1.0.4", 40000, "198.51.100.30", 80)
    silent = [None] * (len(what.looks) - 1)
    assert observed.compare(found, what, arrivals(what, packet, *silent)).blamed == ""
    compared = observed.compare(found, what, arrivals(what, packet, *silent[1:], packet))
    assert compared.astray
    assert "no-internet" in compared.blamed


def test_how_long_a_flow_of_an_outbound_rule_may_be_idle_is_told() -> None:
    network = topology.load(TOPOLOGIES[0].parent / "outbound-rules.lab.yaml")

    def idle(vm: str, protocol: str) -> str:
        answer = explain.explain(network, vm, "api", Service(protocol, 443)).answer  # type: ignore[arg-type]
        return next(line.partition(" (")[0] for line in answer if "forgotten" in line)

    assert idle("table", "tcp") == "a flow without packets for 720 s is forgotten, and both ends are reset"
    assert idle("many", "tcp") == "a flow without packets for 240 s is forgotten, in silence"
    assert idle("table", "udp") == "a flow without packets for 240 s is forgotten, in silence"
