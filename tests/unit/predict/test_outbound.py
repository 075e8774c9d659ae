"""lab/predict/outbound.py: the way out of a VM, what binds it, and why not otherwise."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import topology
from lab.azure import profile
from lab.azure.model import Network
from lab.compile import compile as compiled
from lab.errors import TopologyError
from lab.predict.outbound import Outbound, WayOut
from lab.runtime.show import outbound as planned
from tests import worlds

TOPOLOGIES = sorted((Path(__file__).parents[3] / "topologies").glob("*.lab.yaml"))


def way(network: Network, name: str) -> WayOut:
    vm = network.vm(name)
    assert vm is not None
    return Outbound(network).of(vm)


def seen(found: WayOut) -> list[tuple[str, str, str]]:
    return [
        (
            str(s.address),
            f"{s.ports.first}-{s.ports.last}" if s.ports else "unchanged",
            f"{s.protocol} only" if s.protocol else "",
        )
        for s in found.supplies
    ]


def playable(file: Path) -> Iterator[Network]:
    """Yield a file's network in each revision that has all that the file asks for."""
    for revision in profile.NAMES:
        with contextlib.suppress(TopologyError):
            yield topology.load(file, profile=revision)


@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.name)
def test_the_prediction_is_what_the_rules_do_in_every_bundled_topology_and_revision(file: Path) -> None:
    networks = list(playable(file))
    assert networks
    for network in networks:
        plan = planned(compiled(network))
        assert {w.vm: seen(w) for w in Outbound(network).all()} == {
            vm.name: [
                (o.address, o.ports, o.how.rpartition(", ")[2] if o.how.endswith(" only") else "")
                for o in plan.get(vm.name, ())
            ]
            for vm in network.virtual_machines
        }, network.profile.name


def test_a_pool_that_no_rule_names_binds_nothing_and_the_advice_says_what_would() -> None:
    found = way(worlds.pool_without_rule(), "pooled")
    (refused,) = (c for c in found.considered if c.way == "load-balancing rule")
    assert (found.kind, refused.applies) == ("default outbound", False)
    assert refused.because == (
        "pooled is in pool `pool` of `lb1`, but no rule refers to this pool; membership alone binds nothing"
    )
    assert refused.change == "Add a load-balancing rule for `pool`, or an inbound NAT rule for pooled."
    assert "(2018-12-11)" in refused.document
    assert found.reason == "default: pool pool has no rule"


@pytest.mark.parametrize(
    ("network", "vm", "kind", "bound_by"),
    [
        (worlds.one_vm(), "vm", "default outbound", ("the platform",)),
        (worlds.one_vm_with_public_ip(), "vm", "instance-level public IP", ("public IP ip",)),
        (worlds.nat_rule_only(), "vm", "load balancer", ("NAT rule ssh of lb1",)),
        (worlds.nat_rule_only("Standard"), "vm", "none", ("no default outbound behind Standard",)),
        (worlds.load_balanced(2), "web1", "load balancer", ("rule web of lb1",)),
    ],
)
def test_what_binds_a_vm_is_named(network: Network, vm: str, kind: str, bound_by: tuple[str, ...]) -> None:
    found = way(network, vm)
    assert (found.kind, found.bound_by) == (kind, bound_by)


_STANDARD = """
profile: {profile}
internet: {{far: {{address: 198.51.100.20, services: [tcp:80]}}}}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines:
  vm: {{subnet: v/s, availability_set: set}}
  mate: {{subnet: v/s, availability_set: set}}
load_balancers:
  lb:
    sku: Standard
    frontend_ip_configurations: {{f: 40.1.1.1, g: 40.1.1.2}}
    backend_address_pools: {{p: [vm]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
      t: {{frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80{inbound}}}
    outbound_rules: {{{rules}}}
"""


def standard(profile: str, *, rules: str = "", inbound: bool = False) -> Network:
    return worlds.network(
        _STANDARD.format(profile=profile, rules=rules, inbound=", disable_outbound_snat: true" if inbound else "")
    )


def test_a_standard_load_balancers_rule_is_a_way_out_for_its_own_protocol_alone() -> None:
    (supply,) = way(standard("2019-05"), "vm").supplies
    assert (str(supply.address), supply.protocol, supply.bound_by) == ("40.1.1.1", "tcp", ("rule t of lb",))


def test_an_outbound_rule_gives_the_ports_that_it_says_over_all_its_addresses() -> None:
    rules = "o: {frontends: [f, g], backend_pool: p, protocol: All, allocated_outbound_ports: 24}"
    found = way(standard("2022-03", rules=rules, inbound=True), "vm")
    assert [(str(s.address), s.count, s.protocol, s.alone) for s in found.supplies] == [
        ("40.1.1.1", 16, None, True),
        ("40.1.1.2", 8, None, True),
    ]
    assert found.bound_by == ("outbound rule o of lb",)
    (refused,) = (c for c in found.considered if c.way == "load-balancing rule")
    assert (refused.applies, refused.short) == (False, "rule t is inbound only")


def test_behind_a_standard_load_balancer_there_is_no_default_outbound_nor_in_the_rest_of_its_set() -> None:
    network = standard("2022-03", inbound=True)
    for vm, says in (("vm", "vm is behind `lb`"), ("mate", "none of the set has default outbound")):
        found = way(network, vm)
        assert (found.kind, found.supplies) == ("none", ())
        assert says in found.because
    assert way(standard("2018-02"), "mate").kind == "default outbound"


def test_a_way_that_applies_and_is_not_taken_is_told_too() -> None:
    applies = [c.way for c in way(worlds.one_vm_with_public_ip(), "vm").considered if c.applies]
    assert applies == ["instance-level public IP", "default outbound"]


def test_ports_are_counted_without_the_blocks_that_rules_take_and_with_the_vms_that_share_them() -> None:
    (alone,) = way(worlds.balanced(2, profile="2020-10"), "web1").supplies
    assert (alone.count, alone.alone, alone.sharers) == (1024, True, 2)
    (shared,) = way(worlds.pool_without_rule(), "pooled").supplies
    assert (shared.count, shared.alone, shared.sharers) == (64511, False, 2)


def test_a_deallocated_vm_has_no_way_out() -> None:
    text = "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
    network = worlds.network(text + "virtual_machines: {off: {subnet: v/s}}")
    from msgspec.structs import replace

    (vm,) = network.virtual_machines
    found = way(replace(network, virtual_machines=(replace(vm, power_state="Deallocated"),)), "off")
    assert (found.kind, found.supplies) == ("none", ())


def test_a_thousand_vms_take_a_fraction_of_a_second_of_processor_time() -> None:
    network = worlds.balanced(1000, profile="2020-10")
    began = time.process_time()
    assert len(Outbound(network).all()) == 1000
    Outbound(network).of(network.virtual_machines[500])
    assert time.process_time() - began < 0.5
