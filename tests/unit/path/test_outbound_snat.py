"""lab/path/outbound_snat.py: what links a VM to a frontend, and its range of SNAT ports."""

import pytest

from lab.compile import compile as compile_network
from lab.model import Network
from lab.path import outbound_snat
from lab.path.outbound_snat import links, shares
from lab.plan import Route, Rule, Sysctl
from tests import worlds


def translations(network: Network) -> list[str]:
    """Return the rules of the nat table, without the platform's default address."""
    found = [i for i in outbound_snat.items(network, frozenset()) if isinstance(i, Rule) and i.table == "nat"]
    return [str(i) for i in found if not i.why.entity.startswith("default")]


def ports(network: Network) -> dict[str, list[str]]:
    return {vm: [f"{s.frontend}:{s.ports}" for s in found] for vm, found in shares(network).items()}


@pytest.mark.parametrize(
    ("sku", "profile", "linked"),
    [
        ("Basic", "seeds", True),
        ("Basic", "2017-05b", True),
        ("Standard", "2017-05b", True),
        ("Standard", "seeds", False),
    ],
)
def test_an_inbound_nat_rule_links_as_the_revision_says_for_the_sku(sku: str, profile: str, linked: bool) -> None:
    """Seed 001, test 1; load-balancer-outbound-rules-overview.md (2018-09-24): not on Standard."""
    network = worlds.network(
        f"profile: {profile}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
        f"load_balancers:\n  lb:\n    sku: {sku}\n    frontend_ip_configurations: {{f: 40.1.1.1}}\n"
        "    inbound_nat_rules: {r: {frontend: f, virtual_machine: vm, frontend_port: 1, backend_port: 22}}\n"
    )
    assert [frontend.name for _, frontend in links(network, "vm")] == (["f"] if linked else [])


def test_a_pool_alone_links_nothing() -> None:
    assert links(worlds.pool_without_rule(), "pooled") == ()
    assert shares(worlds.pool_without_rule()) == {}


def test_a_load_balancing_rule_links_every_vm_of_its_pool_to_its_frontend() -> None:
    network = worlds.load_balanced(2)
    assert [[f.name for _, f in links(network, vm.name)] for vm in network.virtual_machines] == [["public"], ["public"]]


def test_each_vm_of_a_small_pool_has_1024_ports_of_its_own() -> None:
    wanted = {"web1": ["40.1.1.1:1024-2047"], "web2": ["40.1.1.1:2048-3071"], "web3": ["40.1.1.1:3072-4095"]}
    assert ports(worlds.load_balanced(3)) == wanted


def test_ranges_follow_the_natural_order_of_names() -> None:
    found = ports(worlds.load_balanced(10))
    assert (found["web2"], found["web10"]) == (["40.1.1.1:2048-3071"], ["40.1.1.1:10240-11263"])


@pytest.mark.parametrize(("count", "size"), [(50, 1024), (51, 512), (101, 256)])
def test_the_size_of_a_range_follows_the_size_of_the_pool(count: int, size: int) -> None:
    assert {len(share.ports) for found in shares(worlds.load_balanced(count)).values() for share in found} == {size}


def test_an_override_replaces_the_documents_number() -> None:
    assert ports(worlds.load_balanced(2, snat_ports=8)) == {
        "web1": ["40.1.1.1:1024-1031"],
        "web2": ["40.1.1.1:1032-1039"],
    }


def test_an_override_that_is_too_large_for_all_is_shared_out() -> None:
    found = ports(worlds.load_balanced(2, snat_ports=64511))
    assert found == {"web1": ["40.1.1.1:1024-33279"], "web2": ["40.1.1.1:33280-65535"]}


def test_a_vm_linked_to_one_frontend_has_one_rule_for_each_transport() -> None:
    assert translations(worlds.nat_rule_only()) == [
        "-t nat -A POSTROUTING -s 10.1.0.4/32 -p tcp -j SNAT --to-source 40.1.1.1:1024-2047",
        "-t nat -A POSTROUTING -s 10.1.0.4/32 -p udp -j SNAT --to-source 40.1.1.1:1024-2047",
    ]


def test_a_flow_of_a_vm_linked_to_several_frontends_takes_one_by_its_hash() -> None:
    rules = translations(worlds.several_frontends())
    assert rules[:2] == [
        "-t nat -A POSTROUTING -s 10.1.1.4/32 -j snat-many",
        "-t nat -A snat-many -j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 3 --hmark-rnd 99536898",
    ]
    assert rules[2:] == [
        f"-t nat -A snat-many -p {protocol} --mark {n} -j SNAT --to-source 40.1.1.{n}:1024-2047"
        for n in (1, 2, 3)
        for protocol in ("tcp", "udp")
    ]


def test_many_vms_are_found_through_one_chain_for_each_28() -> None:
    """So that a packet meets few rules."""
    rules = translations(worlds.load_balanced(17))
    jumps = [rule for rule in rules if " -A POSTROUTING " in rule]
    assert jumps == [
        "-t nat -A POSTROUTING -s 10.1.0.0/28 -j snat-10.1.0.0",
        "-t nat -A POSTROUTING -s 10.1.0.16/28 -j snat-10.1.0.16",
    ]
    assert "-t nat -A snat-10.1.0.16 -s 10.1.0.20/32 -p tcp -j SNAT --to-source 40.1.1.1:17408-18431" in rules
    assert len(rules) == 2 + 2 * 17


def test_whoever_is_linked_to_nothing_leaves_by_an_address_of_the_platforms_choice() -> None:
    network = worlds.one_vm()
    chosen = network.virtual_networks[0].default_outbound_address
    found = [str(i) for i in outbound_snat.items(network, frozenset()) if isinstance(i, Rule) and i.table == "nat"]
    assert found == [
        f"-t nat -A POSTROUTING -s 10.1.0.0/16 -p {protocol} -j SNAT --to-source {chosen}:1024-65535"
        for protocol in ("tcp", "udp")
    ]


def test_the_default_address_leads_back_to_its_network() -> None:
    network = worlds.two_networks()
    routes = [i for i in outbound_snat.items(network, frozenset()) if isinstance(i, Route) and i.place == "internet"]
    chosen = [vnet.default_outbound_address for vnet in network.virtual_networks]
    assert [(r.destination, r.interface) for r in routes] == [
        (f"{chosen[0]}/32", "lb.v1"),
        (f"{chosen[1]}/32", "lb.v2"),
    ]


def test_the_default_is_the_last_translation_of_a_network() -> None:
    rules = [
        r for r in compile_network(worlds.three_ways_out()).of(Rule) if (r.table, r.chain) == ("nat", "POSTROUTING")
    ]
    assert [rule.why.entity for rule in rules] == ["own", *["web"] * 2, *["web2"] * 2, *["default address of v"] * 2]


def test_only_tcp_and_udp_may_begin_a_flow() -> None:
    found = [
        str(i) for i in outbound_snat.items(worlds.one_vm(), frozenset()) if isinstance(i, Rule) and i.table == "filter"
    ]
    assert found == [
        f"-t filter -A FORWARD -i router.vnet1 -p {protocol} --ctstate NEW -j ACCEPT" for protocol in ("tcp", "udp")
    ]


@pytest.mark.parametrize(("scale", "seconds"), [(1, 240), (60, 4), (240, 1)])
def test_idle_flows_end_after_four_minutes_of_the_labs_time(scale: int, seconds: int) -> None:
    timers = {
        i.key: i.value for i in outbound_snat.items(worlds.load_balanced(1, time_scale=scale), frozenset())
        if isinstance(i, Sysctl)
    }  # fmt: skip
    assert timers == {
        "net.netfilter.nf_conntrack_tcp_timeout_established": seconds,
        "net.netfilter.nf_conntrack_udp_timeout": seconds,
        "net.netfilter.nf_conntrack_udp_timeout_stream": seconds,
        "net.netfilter.nf_conntrack_tcp_loose": 0,
    }


def test_a_network_without_vms_needs_no_way_out() -> None:
    network = worlds.network("virtual_networks: {v: {address_space: [10.1.0.0/16]}}")
    assert list(outbound_snat.items(network, frozenset())) == []
