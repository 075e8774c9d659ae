"""What is left of a VM that does not run: in the plan, in predictions, in what is shown."""

from pathlib import Path

import pytest

from lab.azure.model import Network, PowerState
from lab.compile import compile as compile_network
from lab.errors import UsageError
from lab.kernel.state import LabState, StoppedVm, started
from lab.operations.base import changed
from lab.operations.power import SetPower
from lab.path.outbound_snat import ranges
from lab.plan import (
    Address,
    DestinationNat,
    HealthCheck,
    Namespace,
    Route,
    Rule,
    Server,
    SnatPool,
    VethPair,
    interface_to,
)
from lab.predict import forecast, matrix
from lab.predict.forecast import Service
from lab.topology import load, parse
from lab.verify.runner import source
from tests import rootlab

HTTP = Service("tcp", 80)
OFF: tuple[PowerState, ...] = ("Stopped", "Deallocated")


def network(state: PowerState = "Started", vm: str = "web1") -> Network:
    made = parse(
        """\
name: a
internet: {far: {address: 198.51.100.10, services: [http:80]}}
virtual_networks:
  v: {address_space: [10.1.0.0/16], subnets: {s: {address_prefix: 10.1.0.0/24, network_security_group: g}}}
virtual_machines:
  web1: {subnet: v/s, services: [http:80], availability_set: web}
  web2: {subnet: v/s, services: [http:80]}
  own: {subnet: v/s, instance_public_ip: {name: ip}}
cloud_services:
  svc:
    virtual_machines: [web1, web2]
    endpoints:
      - {name: lb, virtual_machine: web1, local_port: 80, public_port: 80, load_balanced_set: L}
      - {name: lb, virtual_machine: web2, local_port: 80, public_port: 80, load_balanced_set: L}
      - {name: ssh, virtual_machine: web1, local_port: 22, public_port: 2201}
network_security_groups: {g: [{name: in, priority: 100, direction: Inbound, access: Allow}]}
""",
        "f",
    )
    return made if state == "Started" else changed(made, SetPower(vm, state))


def vip(made: Network) -> str:
    return str(made.balancers[0].frontends[0].address)


@pytest.mark.parametrize("state", OFF)
def test_a_vm_that_does_not_run_has_no_namespace_wire_or_server(state: PowerState) -> None:
    made = compile_network(network(state))
    assert "web1" not in made.places()
    assert not [s for s in made.of(Server) if s.node == "web1"]
    assert not [w for w in made.of(VethPair) if "web1" in (w.place, w.peer_place)]
    assert not [r for r in made.of(Rule) if {r.in_interface, r.out_interface} & {interface_to("web1")}]
    assert {p.place for p in made.of(Namespace) if p.role == "vm"} == {"own", "web2"}


def test_a_stopped_member_is_still_probed_and_a_deallocated_one_is_no_member() -> None:
    probed = {state: {c.node for c in compile_network(network(state)).of(HealthCheck)} for state in OFF}
    assert probed == {"Stopped": {"web1", "web2"}, "Deallocated": {"web2"}}
    targets = [
        r.target.address
        for r in compile_network(network("Deallocated")).of(Rule)
        if isinstance(r.target, DestinationNat) and r.target.port == 80
    ]
    assert targets == ["10.1.0.6"]


@pytest.mark.parametrize("vm", ["web1", "web2", "own"])
def test_no_other_vms_ports_move_when_one_is_deallocated(vm: str) -> None:
    before, after = network(), network("Deallocated", vm)
    assert {name: ports for name, ports in ranges(after).items() if name != vm} == {
        name: ports for name, ports in ranges(before).items() if name != vm
    }
    assert vm not in {pool.node for pool in compile_network(after).of(SnatPool)}


@pytest.mark.parametrize("state", OFF)
def test_a_vm_that_does_not_run_sends_and_hears_nothing(state: PowerState) -> None:
    made = network(state)

    def becomes(sender: str, to: str, service: Service = HTTP) -> tuple[str, set[str]]:
        found = forecast.forecast(made, sender, to, service)
        return found.access, {way.obstacle for way in found.ways if way.obstacle}

    obstacle = {f"web1 is {state.lower()}"}
    assert becomes("web1", "far") == ("NoWay", obstacle)
    assert becomes("web2", "web1") == ("NoWay", obstacle)
    assert becomes("far", vip(made), Service("tcp", 2201)) == ("NoWay", obstacle)
    shared = becomes("far", vip(made))
    assert shared == (("Depends", obstacle) if state == "Stopped" else ("Allow", set()))
    up = forecast.forecast(made, "far", vip(made), HTTP, down=frozenset({"svc/L/web1"}))
    assert (up.access, {way.end for way in up.ways}) == ("Allow", {"web2"})


@pytest.mark.parametrize("state", OFF)
def test_nothing_is_sent_from_or_watched_at_a_vm_that_does_not_run(state: PowerState) -> None:
    made = network(state)
    found = matrix.predictions(made, (HTTP, Service("tcp", 2201)), frozenset())
    assert "web1" not in {node for f in found for node in (f.sender, f.to)}
    places = set(compile_network(made).places())
    for predicted in found:
        flow = forecast.flow_of(made, predicted)
        assert {watch.name for watch in flow.ends if watch.kind == "node"} <= places


def test_a_service_that_is_deallocated_has_no_frontend_rule_or_probe() -> None:
    made = changed(network("Deallocated"), SetPower("web2", "Deallocated"))
    (balancer,) = made.balancers
    assert (balancer.frontends, balancer.load_balancing_rules, balancer.inbound_nat_rules) == ((), (), ())
    assert not list(compile_network(made).of(HealthCheck))


@pytest.mark.parametrize("state", OFF)
def test_the_record_says_what_is_not_there_and_a_node_that_is_not_is_no_place_to_go(state: PowerState) -> None:
    absent = source(network(state), Path("f")).absent
    assert absent == (StoppedVm(name="web1", power_state=state, address="10.1.0.5"),)
    record = LabState(
        lab="a", state="running", file="f", profile="seeds", time_scale=1, created=0.0, namespaces=(), absent=absent
    )
    started(record, "web2")
    with pytest.raises(UsageError) as caught:
        started(record, "web1")
    assert str(caught.value) == (f"a: web1 is {state.lower()}; a VM must be started for it; run: lab vm start a web1")


@pytest.mark.parametrize("file", sorted(rootlab.TOPOLOGIES.glob("*.lab.yaml")), ids=lambda file: file.name)
def test_nothing_in_a_plan_hangs_on_an_interface_of_a_vm_that_does_not_run(file: Path) -> None:
    """Each VM of each bundled topology is stopped, and all of them are deallocated."""
    whole = load(file)
    vms = [vm.name for vm in whole.virtual_machines]
    networks = [changed(whole, SetPower(vm, "Stopped")) for vm in vms[:6]]
    off = whole
    for vm in vms[:40]:
        off = changed(off, SetPower(vm, "Deallocated"))
    for made in map(compile_network, (*networks, off)):
        wires = {end for w in made.of(VethPair) for end in ((w.place, w.interface), (w.peer_place, w.peer_interface))}
        used = {(i.place, i.interface) for i in (*made.of(Route), *made.of(Address)) if i.interface is not None}
        assert {end for end in used - wires if end[1] not in ("lo", "ipsec0")} == set()
