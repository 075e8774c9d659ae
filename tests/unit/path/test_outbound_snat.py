"""lab/path/outbound_snat.py: what links a VM to a frontend, which SNAT ports it may use, and who is asked for one."""

import itertools
from math import ceil

import msgspec
import pytest

from lab.azure import outbound
from lab.azure.model import Network
from lab.azure.outbound import links
from lab.azure.profile import NAMES, Tier
from lab.compile import compile as compile_network
from lab.path import outbound_snat
from lab.path.outbound_snat import ranges
from lab.plan import Queue, Route, Rule, SnatPolicy, SnatPool, SnatRange, Sysctl
from tests import worlds


def rules_of(network: Network, table: str) -> list[str]:
    found = [i for i in outbound_snat.items(network, frozenset()) if isinstance(i, Rule) and i.table == table]
    return [str(i) for i in found]


def policy_of(network: Network) -> SnatPolicy:
    (policy,) = (i for i in outbound_snat.items(network, frozenset()) if isinstance(i, SnatPolicy))
    return policy


def ports(network: Network) -> dict[str, list[str]]:
    return {vm: [str(share) for share in found] for vm, found in ranges(network).items()}


def sizes(network: Network) -> set[int]:
    return {len(share) for found in ranges(network).values() for share in found}


def standalone(profile: str, machines: str, overrides: str = "") -> Network:
    return worlds.network(
        f"profile: {profile}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        f"virtual_machines: {{{machines}}}\noverrides: {{{overrides}}}\n"
    )


# --- what links a VM --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sku", "profile", "linked"),
    [
        ("Basic", "seeds", True),
        ("Basic", "2017-05b", True),
        ("Standard", "2017-05b", True),
        ("Standard", "seeds", False),
        ("Basic", "2026-07", True),
        ("Standard", "2026-07", False),
    ],
)
def test_an_inbound_nat_rule_links_as_the_revision_says_for_the_sku(sku: str, profile: str, linked: bool) -> None:
    """Source IP of outbound flows, 2018-12-11, test 1; load-balancer-outbound-rules-overview.md (2018-09-24).

    Not on Standard.
    """
    network = worlds.network(
        f"profile: {profile}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
        f"load_balancers:\n  lb:\n    sku: {sku}\n    frontend_ip_configurations: {{f: 40.1.1.1}}\n"
        "    inbound_nat_rules: {r: {frontend: f, virtual_machine: vm, frontend_port: 1, backend_port: 22}}\n"
    )
    assert [frontend.name for _, frontend in links(network, "vm")] == (["f"] if linked else [])


def test_a_pool_alone_links_nothing() -> None:
    network = worlds.pool_without_rule()
    default = str(network.virtual_networks[0].default_outbound_address)
    assert links(network, "pooled") == ()
    assert {share.address for found in ranges(network).values() for share in found} == {default}


@pytest.mark.parametrize("profile", NAMES)
def test_a_pool_alone_linked_its_vms_before_the_documents_required_a_rule(profile: str) -> None:
    """load-balancer-outbound-connections.md (2016-10-31)."""
    network = worlds.network(
        f"profile: {profile}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
        "load_balancers: {lb: {frontend_ip_configurations: {f: 40.1.1.1}, backend_address_pools: {p: [vm]}}}\n"
    )
    assert [frontend.name for _, frontend in links(network, "vm")] == (["f"] if profile == "2016-10" else [])


def test_a_load_balancing_rule_links_every_vm_of_its_pool_to_its_frontend() -> None:
    network = worlds.load_balanced(2)
    assert [[f.name for _, f in links(network, vm.name)] for vm in network.virtual_machines] == [["public"], ["public"]]


# --- which ports: pools -----------------------------------------------------------------------


def test_each_vm_of_a_small_pool_has_1024_ports_of_its_own() -> None:
    """From 1025: 65,535 - 1,024 = 64,511 ports (the English page of 2017-05-31)."""
    wanted = {"web1": ["40.1.1.1:1025-2048"], "web2": ["40.1.1.1:2049-3072"], "web3": ["40.1.1.1:3073-4096"]}
    assert ports(worlds.load_balanced(3)) == wanted


def test_ranges_follow_the_natural_order_of_names() -> None:
    found = ports(worlds.load_balanced(10))
    assert (found["web2"], found["web10"]) == (["40.1.1.1:2049-3072"], ["40.1.1.1:10241-11264"])


@pytest.mark.parametrize(
    ("count", "size"),
    # load-balancer-standard-overview.md (2017-09-28), the table of preallocated ports.
    [(1, 1024), (50, 1024), (51, 512), (100, 512), (101, 256), (200, 256), (201, 128), (400, 128), (401, 64),
     (800, 64), (801, 32), (1000, 32)],
)  # fmt: skip
def test_the_size_of_a_range_follows_the_size_of_the_pool(count: int, size: int) -> None:
    found = sorted((r.first, r.last) for given in ranges(worlds.load_balanced(count)).values() for r in given)
    assert [last - first + 1 for first, last in found] == [size] * count
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(found))
    assert (found[0][0] >= 1025, found[-1][1] <= 65535) == (True, True)


#: The tiers of 2017-09-28 once more, for what is computed from numbers alone.
TIERS = [(50, 1024), (100, 512), (200, 256), (400, 128), (800, 64), (1000, 32)]


def place(number: int, size: int) -> range:
    begin = outbound.place(number, size, Tier(50, 1024))
    return range(begin, begin + size)


def test_no_port_is_two_vms_whatever_the_size_of_their_pool() -> None:
    """All sizes from 1 to 1000: the VMs of a smaller pool have what the first of a larger one of the same tier have."""
    for largest, size in TIERS:
        used = sorted(place(number, size).start for number in range(largest))
        assert all(before + size <= after for before, after in itertools.pairwise(used))
        assert (used[0], used[-1] + size <= 50 * 1024) == (0, True)


@pytest.mark.parametrize(("before", "after"), list(itertools.pairwise(TIERS)))
def test_a_pool_that_grows_into_the_next_tier_leaves_every_vm_the_first_half(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    """Half of the ports are reclaimed (load-balancer-outbound-connections.md, 2018-02-05)."""
    largest, size = before
    assert after[1] * 2 == size
    for number in range(largest):
        assert place(number, after[1]) == place(number, size)[: after[1]]


def test_the_51st_vm_is_given_what_the_first_one_lost() -> None:
    fifty, more = ports(worlds.load_balanced(50)), ports(worlds.load_balanced(51))
    assert (fifty["web1"], fifty["web50"]) == (["40.1.1.1:1025-2048"], ["40.1.1.1:51201-52224"])
    assert (more["web1"], more["web50"]) == (["40.1.1.1:1025-1536"], ["40.1.1.1:51201-51712"])
    assert more["web51"] == ["40.1.1.1:1537-2048"]


def test_an_override_replaces_the_documents_number() -> None:
    assert ports(worlds.load_balanced(2, snat_ports=8)) == {
        "web1": ["40.1.1.1:1025-1032"],
        "web2": ["40.1.1.1:1033-1040"],
    }


def test_an_override_that_is_too_large_for_all_is_shared_out() -> None:
    found = ports(worlds.load_balanced(2, snat_ports=64511))
    assert found == {"web1": ["40.1.1.1:1025-33279"], "web2": ["40.1.1.1:33280-65534"]}


@pytest.mark.parametrize(
    ("network", "fewest"),
    [
        (worlds.load_balanced(2), None),
        (worlds.load_balanced(2, snat_ports=32255), None),
        (worlds.load_balanced(2, snat_ports=32256), 32255),
        (worlds.balanced(2, profile="2026-07", frontends=2, snat_ports=2000), 512),
    ],
)
def test_an_override_that_is_not_played_as_it_is_written_is_told(network: Network, fewest: int | None) -> None:
    assert outbound_snat.fewer(network) == fewest


@pytest.mark.parametrize(("profile", "span"), [("2018-07-classic", "1025-2048"), ("2018-12", "1024-2047")])
def test_from_2018_09_on_the_first_port_is_1024(profile: str, span: str) -> None:
    """64,000 ports for each frontend: 1024 to 65023 (load-balancer-outbound-rules-overview.md, 2018-09-24)."""
    assert ports(worlds.balanced(1, profile=profile)) == {"web1": [f"40.1.1.1:{span}"]}


@pytest.mark.parametrize(
    ("profile", "sku", "on_demand"),
    [
        ("2016-10", "Basic", True),
        ("2017-05a", "Basic", True),
        ("2017-05b", "Basic", False),
        ("2017-09", "Basic", True),  # the table of SKUs of 2017-09-28: Basic on demand, Standard preallocated
        ("2017-09", "Standard", False),
        ("2018-02", "Basic", False),
        ("2026-07", "Standard", False),
    ],
)
def test_where_ports_are_allocated_on_demand_every_vm_may_use_all(profile: str, sku: str, on_demand: bool) -> None:
    found = ports(worlds.balanced(2, profile=profile, sku=sku))
    assert (found["web1"] == found["web2"] == ["40.1.1.1:1025-65535"]) == on_demand
    assert (found["web1"] != found["web2"]) != on_demand


def test_an_override_gives_each_vm_its_own_ports_even_where_they_are_allocated_on_demand() -> None:
    assert ports(worlds.balanced(2, profile="2016-10", snat_ports=4)) == {
        "web1": ["40.1.1.1:1025-1028"],
        "web2": ["40.1.1.1:1029-1032"],
    }


def redeployed(instances: int, profile: str = "2018-07-classic", others: int = 0, overrides: str = "") -> Network:
    """Return a network with a service of role instances that is being redeployed, and another that is not."""
    return worlds.network(
        f"""
profile: {profile}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/16}}}}}}
cloud_services:
  shop:
    roles: {{web: {{instances: {instances}, subnet: v/s}}}}
    virtual_ips: {{Vip1: {{address: 40.1.1.1}}}}
    endpoints: [{{name: web, role: web, local_port: 80, public_port: 80}}]
    redeploying: true
  calm:
    roles: {{other: {{instances: {max(others, 1)}, subnet: v/s}}}}
    virtual_ips: {{Vip1: {{address: 40.1.1.2}}}}
    endpoints: [{{name: web, role: other, local_port: 80, public_port: 80}}]
overrides: {{{overrides}}}
"""
    )


def of_service(network: Network, address: str) -> list[SnatRange]:
    return [share for found in ranges(network).values() for share in found if share.address == address]


@pytest.mark.parametrize(
    ("instances", "size"),
    # load-balancer-outbound-connections-classic.md (2018-07-13): the tier of twice as many, and none beyond the last.
    [(1, 1024), (25, 1024), (26, 512), (50, 512), (51, 256), (100, 256), (101, 128), (200, 128), (201, 128)],
)
def test_instances_of_a_service_that_is_being_redeployed_have_the_ports_of_a_pool_twice_as_large(
    instances: int, size: int
) -> None:
    given = of_service(redeployed(instances), "40.1.1.1")
    assert [len(share) for share in given] == [size] * instances
    found = sorted((share.first, share.last) for share in given)
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(found))


def test_an_instance_keeps_the_first_half_of_its_ports_while_its_service_is_redeployed() -> None:
    network = redeployed(26)
    calm = msgspec.structs.replace(
        network, cloud_services=tuple(msgspec.structs.replace(s, redeploying=False) for s in network.cloud_services)
    )
    for before, meanwhile in zip(of_service(calm, "40.1.1.1"), of_service(network, "40.1.1.1"), strict=True):
        assert (meanwhile.first, meanwhile.last) == (before.first, before.first + 511)


def test_other_services_count_once_while_one_is_redeployed() -> None:
    assert {len(share) for share in of_service(redeployed(26, others=26), "40.1.1.2")} == {1024}


@pytest.mark.parametrize("profile", [name for name in NAMES if name != "2018-07-classic"])
def test_a_redeployment_changes_no_range_where_the_revision_does_not_say_so(profile: str) -> None:
    network = redeployed(26, profile)
    calm = msgspec.structs.replace(
        network, cloud_services=tuple(msgspec.structs.replace(s, redeploying=False) for s in network.cloud_services)
    )
    assert ranges(network) == ranges(calm)


def test_a_number_of_ports_that_the_file_gives_is_not_changed_by_a_redeployment() -> None:
    assert {len(s) for s in of_service(redeployed(26, overrides="snat_ports_per_vm: 64"), "40.1.1.1")} == {64}


# --- which ports: several frontends -----------------------------------------------------------


def test_any_frontend_of_several_may_be_taken_in_the_order_of_their_addresses() -> None:
    """Outbound connections, 2017-05-31, Limitations."""
    assert ports(worlds.several_frontends()) == {"many": [f"40.1.1.{n}:1025-2048" for n in (1, 2, 3)]}


@pytest.mark.parametrize("profile", ["2018-02", "2019-05", "2026-07"])
def test_basic_picks_one_frontend_for_each_vm_and_spreads_the_vms(profile: str) -> None:
    """load-balancer-outbound-connections.md (2018-02-05): one of them, picked at random."""
    network = worlds.balanced(30, profile=profile, sku="Basic", frontends=3)
    found = ranges(network)
    assert {len(given) for given in found.values()} == {1}
    assert {given[0].address for given in found.values()} == {"40.1.1.1", "40.1.1.2", "40.1.1.3"}
    assert len({str(given[0]) for given in found.values()}) == 30
    assert ranges(worlds.balanced(30, profile=profile, sku="Basic", frontends=3)) == found


def test_the_frontend_of_a_vm_does_not_depend_on_which_other_vms_there_are() -> None:
    few, many = (ranges(worlds.balanced(n, profile="2018-02", sku="Basic", frontends=3)) for n in (5, 9))
    assert {vm: given[0].address for vm, given in few.items()} == {vm: many[vm][0].address for vm in few}


def test_standard_multiplies_the_table_by_the_frontends_in_2019() -> None:
    """50 VMs and 2 frontends are 2048 ports for each VM (load-balancer-outbound-connections.md, 2019-05-02)."""
    found = ranges(worlds.balanced(50, profile="2019-05", frontends=2))
    assert {sum(map(len, given)) for given in found.values()} == {2048}
    assert {tuple(share.address for share in given) for given in found.values()} == {("40.1.1.1", "40.1.1.2")}


def test_standard_takes_one_frontend_after_the_other_in_2022() -> None:
    network = worlds.balanced(1, profile="2022-03", frontends=2)
    assert ports(network) == {"web1": ["40.1.1.1:1024-2047", "40.1.1.2:1024-2047"]}
    assert policy_of(network).sequential


@pytest.mark.parametrize("profile", [name for name in NAMES if name != "2022-03"])
def test_no_other_revision_takes_one_frontend_after_the_other(profile: str) -> None:
    assert not policy_of(worlds.balanced(1, profile=profile, frontends=2)).sequential


@pytest.mark.parametrize(
    ("vms", "frontends", "each"),
    # MIN(table x frontends, 1,024), 2026-07-07: 1 VM has 1024 by the table, 60 have 512, 150 have 256.
    [(1, 1, 1024), (1, 2, 512), (1, 3, 341), (60, 2, 512), (60, 3, 341), (150, 2, 256), (150, 4, 256), (150, 5, 204)],
)
def test_several_frontends_give_no_more_than_1024_ports_in_2026(vms: int, frontends: int, each: int) -> None:
    network = worlds.balanced(vms, profile="2026-07", frontends=frontends)
    assert sizes(network) == {each}
    assert {len(given) for given in ranges(network).values()} == {frontends}


# --- which ports: the platform's address ------------------------------------------------------


def test_whoever_is_linked_to_nothing_leaves_by_an_address_of_the_platforms_choice() -> None:
    network = worlds.one_vm()
    chosen = network.virtual_networks[0].default_outbound_address
    assert ports(network) == {"vm": [f"{chosen}:1025-65535"]}


def test_standalone_vms_of_one_network_share_all_ports_of_one_address() -> None:
    network = standalone("seeds", "a: {subnet: v/s}, b: {subnet: v/s}")
    assert len(set(ranges(network).values())) == 1


def test_a_standalone_vm_is_a_pool_of_one_from_2019_on_and_its_availability_set_is_its_pool() -> None:
    """load-balancer-outbound-connections.md (2019-05-02)."""
    machines = [f"s{n}: {{subnet: v/s, availability_set: many}}" for n in range(51)]
    machines += ["a: {subnet: v/s}", "b: {subnet: v/s}", "p: {subnet: v/s, availability_set: pair}"]
    found = ranges(standalone("2019-05", ", ".join(machines)))
    assert {len(found[vm][0]) for vm in ("a", "b", "p")} == {1024}
    assert {len(found[f"s{n}"][0]) for n in range(51)} == {512}
    spans = sorted((given[0].first, given[0].last) for given in found.values())
    assert all(last + 1 == first for (_, last), (first, _) in itertools.pairwise(spans))
    assert spans[0][0] == 1024


def test_the_platforms_address_is_shared_out_where_it_has_too_few_ports_for_all() -> None:
    found = ranges(standalone("2019-05", ", ".join(f"vm{n}: {{subnet: v/s}}" for n in range(64))))
    assert {len(given[0]) for given in found.values()} == {64000 // 64}


def test_an_override_is_for_the_platforms_address_too() -> None:
    found = ranges(standalone("seeds", "a: {subnet: v/s}, b: {subnet: v/s}", "snat_ports_per_vm: 3"))
    assert [(given[0].first, given[0].last) for given in found.values()] == [(1025, 1027), (1028, 1030)]


# --- what rules take --------------------------------------------------------------------------


def test_each_rule_takes_a_block_of_eight_ports_and_rules_of_one_block_share_it() -> None:
    """load-balancer-outbound-connections.md (2020-10-13)."""
    network = worlds.network(
        "profile: 2020-10\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
        "load_balancers:\n  lb:\n    sku: Standard\n    frontend_ip_configurations: {f: 40.1.1.1, g: 40.1.1.2}\n"
        "    backend_address_pools: {p: [vm]}\n    probes: {alive: {port: 80}}\n    load_balancing_rules:\n"
        "      a: {frontend: f, backend_pool: p, probe: alive, frontend_port: 1024, backend_port: 1}\n"
        "      b: {frontend: f, backend_pool: p, probe: alive, frontend_port: 1031, backend_port: 2}\n"
        "      c: {frontend: g, backend_pool: p, probe: alive, frontend_port: 1032, backend_port: 3}\n"
        "    inbound_nat_rules: {d: {frontend: f, virtual_machine: vm, frontend_port: 50001, backend_port: 22}}\n"
    )
    wanted = (SnatRange("40.1.1.1", 1024, 1031), SnatRange("40.1.1.1", 50000, 50007), SnatRange("40.1.1.2", 1032, 1039))
    assert policy_of(network).blocks == wanted


@pytest.mark.parametrize("profile", NAMES)
def test_rules_take_no_ports_before_2020_10(profile: str) -> None:
    blocks = (SnatRange("40.1.1.1", 80, 87),) if profile in {"2020-10", "2022-03", "2026-07"} else ()
    assert policy_of(worlds.balanced(1, profile=profile)).blocks == blocks


# --- the plan ---------------------------------------------------------------------------------


def test_the_plan_has_one_pool_for_each_vm_without_an_address_of_its_own() -> None:
    network = worlds.three_ways_out()
    pools = [i for i in outbound_snat.items(network, frozenset()) if isinstance(i, SnatPool)]
    default = str(network.virtual_networks[0].default_outbound_address)
    assert [(p.place, p.node, p.source, p.ranges) for p in pools] == [
        ("lb.v", "alone", "10.1.0.4", (SnatRange(default, 1025, 65535),)),
        ("lb.v", "web", "10.1.0.6", (SnatRange("40.1.1.1", 1025, 2048),)),
        ("lb.v", "web2", "10.1.0.7", (SnatRange("40.1.1.1", 2049, 3072),)),
    ]


@pytest.mark.parametrize(
    ("profile", "wanted"),
    # claims.md C.1: scope for TCP, scope for UDP, inventories per protocol, order, FIN, seconds after it, after RST.
    [
        ("seeds", ("destination address", "destination address", False, "random", "both", 0, 0)),
        ("2016-10", ("destination address", "destination address", False, "random", "both", 0, 0)),
        ("2018-02", ("destination", "destination", False, "random", "both", 0, 0)),
        ("2018-07-classic", ("destination", "destination", False, "random", "both", 240, 15)),
        ("2019-05", ("destination", "nothing", True, "random", "either", 240, 15)),
        ("2020-06", ("destination", "nothing", True, "lowest", "either", 240, 15)),
        ("2020-10", ("destination", "destination address", True, "lowest", "either", 240, 15)),
        ("2022-03", ("destination", "destination address", True, "lowest", "both", 0, 0)),
        ("2026-07", ("destination", "destination address", True, "lowest", "both", 0, 0)),
    ],
)
def test_ports_are_given_out_as_the_revision_says(profile: str, wanted: tuple[object, ...]) -> None:
    p = policy_of(worlds.balanced(1, profile=profile))
    assert (p.tcp_reuse, p.udp_reuse, p.per_protocol, p.order, p.fin_close, p.fin_s, p.rst_s) == wanted
    assert (p.place, p.router, p.idle_s, p.alert_s) == ("lb.v", "router.v", 240, 300)


def test_all_times_are_of_the_labs_time() -> None:
    network = worlds.network(
        "profile: 2019-05\noverrides: {time_scale: 60}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
    )
    policy = policy_of(network)
    assert (policy.fin_s, policy.rst_s, policy.idle_s, policy.alert_s) == (4, 0.25, 4, 5)


def test_every_address_has_the_documents_name_of_what_it_belongs_to() -> None:
    """N-ML-2: the path of a resource is upper case."""
    network = worlds.three_ways_out()
    subscription = network.virtual_networks[0].subscription.upper()
    start = f"/SUBSCRIPTIONS/{subscription}/RESOURCEGROUPS/WORLD/PROVIDERS/MICROSOFT.NETWORK"
    assert policy_of(network).resources == (
        ("40.1.1.1", f"{start}/LOADBALANCERS/LB1"),
        (str(network.virtual_networks[0].default_outbound_address), f"{start}/VIRTUALNETWORKS/V"),
    )


def test_the_first_packet_of_a_flow_that_leaves_is_kept_back_and_none_of_a_flow_within_the_network() -> None:
    network = worlds.three_ways_out()
    default = network.virtual_networks[0].default_outbound_address
    within = ["168.63.129.16", str(default), "40.1.1.1", "104.43.142.188"]
    assert rules_of(network, "mangle") == [
        *(f"-t mangle -A PREROUTING -d {address}/32 -j ACCEPT" for address in within),
        *(
            f"-t mangle -A PREROUTING -i router.v -p {protocol} --ctstate NEW ! --ctstatus CONFIRMED"
            " -j NFQUEUE --queue-num 0"
            for protocol in ("tcp", "udp")
        ),
    ]


def test_a_vm_with_an_address_of_its_own_is_let_through_before_anybody_is_asked() -> None:
    rules = [r for r in compile_network(worlds.three_ways_out()).of(Rule) if r.table == "mangle"]
    queued = next(at for at, rule in enumerate(rules) if isinstance(rule.target, Queue))
    assert "-s 10.1.0.5/32 -j ACCEPT" in str(rules[0])
    assert queued > 0


def within(network: Network) -> list[str]:
    """Return the rules for flows within the network, without those for VMs that have no ports of their own."""
    *rules, tcp, udp = rules_of(network, "nat")
    default = network.virtual_networks[0].default_outbound_address
    assert [rule.split(" -j ")[1] for rule in (tcp, udp)] == [f"SNAT --to-source {default}:1025-65535"] * 2
    return rules


def test_flows_within_the_network_are_translated_by_one_rule_for_each_vm_and_transport() -> None:
    assert within(worlds.nat_rule_only()) == [
        "-t nat -A POSTROUTING -s 10.1.0.4/32 -p tcp -j SNAT --to-source 40.1.1.1:1025-2048",
        "-t nat -A POSTROUTING -s 10.1.0.4/32 -p udp -j SNAT --to-source 40.1.1.1:1025-2048",
    ]


def test_within_the_network_a_vm_of_several_frontends_is_seen_with_the_first() -> None:
    assert within(worlds.several_frontends()) == [
        f"-t nat -A POSTROUTING -s 10.1.1.4/32 -p {protocol} -j SNAT --to-source 40.1.1.1:1025-2048"
        for protocol in ("tcp", "udp")
    ]


def test_many_vms_are_found_through_one_chain_for_each_28() -> None:
    """So that a packet meets few rules."""
    rules = within(worlds.load_balanced(17))
    jumps = [rule for rule in rules if " -A POSTROUTING " in rule]
    assert jumps == [
        "-t nat -A POSTROUTING -s 10.1.0.0/28 -j snat-10.1.0.0",
        "-t nat -A POSTROUTING -s 10.1.0.16/28 -j snat-10.1.0.16",
    ]
    assert "-t nat -A snat-10.1.0.16 -s 10.1.0.20/32 -p tcp -j SNAT --to-source 40.1.1.1:17409-18432" in rules
    assert len(rules) == 2 + 2 * 17


def test_sixteen_vms_need_no_chains() -> None:
    assert all(" -A POSTROUTING " in rule for rule in rules_of(worlds.load_balanced(16), "nat"))


def test_the_default_address_leads_back_to_its_network() -> None:
    network = worlds.two_networks()
    routes = [i for i in outbound_snat.items(network, frozenset()) if isinstance(i, Route) and i.place == "internet"]
    chosen = [vnet.default_outbound_address for vnet in network.virtual_networks]
    assert [(r.destination, r.interface) for r in routes] == [
        (f"{chosen[0]}/32", "lb.v1"),
        (f"{chosen[1]}/32", "lb.v2"),
    ]


def test_a_vms_own_address_is_the_first_translation_of_a_network() -> None:
    rules = [
        r for r in compile_network(worlds.three_ways_out()).of(Rule) if (r.table, r.chain) == ("nat", "POSTROUTING")
    ]
    assert [rule.why.entity for rule in rules] == ["own", *["web"] * 2, *["web2"] * 2, *["default address of v"] * 2]


def test_only_tcp_and_udp_may_begin_a_flow() -> None:
    assert rules_of(worlds.one_vm(), "filter") == [
        f"-t filter -A FORWARD -i router.vnet1 -p {protocol} --ctstate NEW -j ACCEPT" for protocol in ("tcp", "udp")
    ]


def timers(network: Network) -> dict[str, int]:
    prefix = "net.netfilter.nf_conntrack_"
    found = [i for i in outbound_snat.items(network, frozenset()) if isinstance(i, Sysctl)]
    assert all(i.key.startswith(prefix) for i in found)
    return {i.key.removeprefix(prefix): i.value for i in found}


@pytest.mark.parametrize(("scale", "seconds"), [(1, 240), (60, 4), (240, 1)])
def test_idle_flows_end_after_four_minutes_of_the_labs_time(scale: int, seconds: int) -> None:
    found = timers(worlds.load_balanced(1, time_scale=scale))
    assert (found.pop("tcp_loose"), found.pop("events")) == (0, 1)
    found.pop("tcp_timeout_time_wait")
    found.pop("tcp_timeout_close")
    assert found == dict.fromkeys(
        ("tcp_timeout_established", "tcp_timeout_syn_sent", "tcp_timeout_syn_recv", "tcp_timeout_fin_wait",
         "tcp_timeout_close_wait", "tcp_timeout_last_ack", "tcp_timeout_unacknowledged", "tcp_timeout_max_retrans",
         "udp_timeout", "udp_timeout_stream"),
        seconds,
    )  # fmt: skip


@pytest.mark.parametrize("scale", [1, 7, 60, 240])
@pytest.mark.parametrize(("profile", "fin", "rst"), [("2017-05b", 0, 0), ("2018-07-classic", 240, 15)])
def test_the_kernel_forgets_a_closed_flow_later_than_its_port_comes_back(
    profile: str, fin: int, rst: int, scale: int
) -> None:
    network = worlds.network(
        f"profile: {profile}\noverrides: {{time_scale: {scale}}}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
    )
    found = timers(network)
    assert found["tcp_timeout_time_wait"] >= ceil(fin / scale) + 1
    assert found["tcp_timeout_close"] >= ceil(rst / scale) + 1


def test_a_network_without_vms_needs_no_way_out() -> None:
    network = worlds.network("virtual_networks: {v: {address_space: [10.1.0.0/16]}}")
    assert list(outbound_snat.items(network, frozenset())) == []


# --- the Standard SKU -------------------------------------------------------------------------


def of_standard(profile: str, rules: str, pool: str = "[vm]", nat: str = "") -> Network:
    return worlds.network(
        f"""
profile: {profile}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines:
  vm: {{subnet: v/s, availability_set: set}}
  mate: {{subnet: v/s, availability_set: set}}
  alone: {{subnet: v/s}}
load_balancers:
  lb:
    sku: Standard
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{p: {pool}}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules: {{{rules}}}
    inbound_nat_rules: {{{nat}}}
"""
    )


_TCP = "t: {frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80}"
_UDP = "u: {frontend: f, backend_pool: p, probe: alive, protocol: Udp, frontend_port: 80, backend_port: 80}"


@pytest.mark.parametrize(
    ("profile", "rules", "ending"),
    [
        ("2017-09", _TCP, ""),
        ("2018-02", _TCP, "/tcp"),
        ("2019-05", _TCP, "/tcp"),
        ("2026-07", _UDP, "/udp"),
        ("2026-07", f"{_TCP}, {_UDP}", ""),
        ("seeds", _TCP, "/tcp"),
    ],
)
def test_a_standard_load_balancer_translates_the_protocols_of_its_rules(profile: str, rules: str, ending: str) -> None:
    """load-balancer-outbound-connections.md (2018-03-21), preallocated ports."""
    (found,) = ports(of_standard(profile, rules))["vm"]
    assert found.startswith("40.1.1.1:")
    assert found.rpartition("-")[2].lstrip("0123456789") == ending


@pytest.mark.parametrize(
    ("profile", "without"),
    [
        ("2018-02", set()),
        ("2018-12", set()),
        ("2019-05", {"vm", "mate"}),
        ("2022-03", {"vm", "mate"}),
        ("2026-07", {"vm", "mate", "alone"}),  # new subnets are private
    ],
)
def test_a_standard_pool_without_a_rule_has_no_default_address_nor_has_its_set(profile: str, without: set[str]) -> None:
    """load-balancer-outbound-connections.md (2019-05-02), scenario 3."""
    network = of_standard(profile, "")
    assert {"vm", "mate", "alone"} - ranges(network).keys() == without
    shut = {rule.source for rule in shuts(network)}
    assert shut == {f"{vm.private_ip_address}/32" for vm in network.virtual_machines if vm.name in without}


def shuts(network: Network) -> list[Rule]:
    found = [i for i in outbound_snat.items(network, frozenset()) if isinstance(i, Rule)]
    return [rule for rule in found if rule.table == "mangle" and str(rule.target) == "-j DROP" and rule.ctstate]


def test_a_vm_without_a_way_out_is_kept_from_the_frontends_of_its_own_network_but_not_from_the_platform() -> None:
    """What a rule leads inside, or a guest has itself, is accepted later on."""
    found = [i for i in outbound_snat.items(of_standard("2019-05", _TCP), frozenset()) if isinstance(i, Rule)]
    before = [str(rule) for rule in found if (rule.table, rule.chain) == ("mangle", "PREROUTING")]
    drops = [number for number, rule in enumerate(before) if rule.endswith("-j DROP")]
    accepts = [number for number, rule in enumerate(before) if rule.endswith("-j ACCEPT")]
    assert "168.63.129.16" in before[accepts[0]]
    assert accepts[0] < drops[0] <= drops[-1] < accepts[1]


@pytest.mark.parametrize(("profile", "shut"), [("2018-02", False), ("2018-12", True), ("2019-05", True)])
def test_inbound_nat_rules_of_a_standard_load_balancer_alone_give_no_way_out(profile: str, shut: bool) -> None:
    """load-balancer-outbound-rules-overview.md (2018-09-24)."""
    nat = "r: {frontend: f, virtual_machine: vm, frontend_port: 50001, backend_port: 22}"
    assert ("vm" not in ranges(of_standard(profile, "", "[]", nat))) == shut


def test_a_vm_without_a_way_out_for_one_protocol_is_kept_inside_with_that_protocol_only() -> None:
    rules = shuts(of_standard("2019-05", _TCP))
    assert [(rule.source, rule.protocol) for rule in rules if rule.source == "10.1.0.6/32"] == [("10.1.0.6/32", "udp")]


def test_a_standard_public_ip_takes_the_default_address_from_the_rest_of_its_availability_set() -> None:
    own = "instance_public_ip: {name: ip, sku: Standard}"
    machines = f"vm: {{subnet: v/s, availability_set: set, {own}}}, mate: {{subnet: v/s, availability_set: set}}"
    assert set(ranges(standalone("2019-05", machines))) == set()
    assert set(ranges(standalone("2019-05", machines.replace("Standard", "Basic")))) == {"mate"}


def test_a_cloud_services_vms_are_picked_one_of_its_vips_where_the_revision_says_so() -> None:
    endpoints = "".join(
        f"{{name: e{n}, virtual_machine: vm, local_port: {n}, public_port: {n}, virtual_ip: V{n}}}, " for n in (1, 2, 3)
    )
    network = worlds.network(
        "profile: 2018-07-classic\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
        f"cloud_services: {{s: {{virtual_machines: [vm], virtual_ips: {{V1: {{}}, V2: {{}}, V3: {{}}}}, "
        f"endpoints: [{endpoints}]}}}}\n"
    )
    assert len(ranges(network)["vm"]) == 1
