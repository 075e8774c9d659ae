"""What holds for the predictions of every network: they agree with each other and with the plan."""

from hypothesis import given, settings

from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.predict import explain, whatif
from lab.predict.forecast import Service
from lab.predict.outbound import Outbound, Supply
from lab.runtime.show import outbound as planned
from tests import strategies

some = settings(max_examples=60, deadline=None, derandomize=True)
few = settings(max_examples=25, deadline=None, derandomize=True)
HTTP = Service("tcp", 80)


def told(supply: Supply) -> tuple[str, str, str]:
    ports = f"{supply.ports.first}-{supply.ports.last}" if supply.ports else "unchanged"
    return str(supply.address), ports, f"{supply.protocol} only" if supply.protocol else ""


@some
@given(strategies.networks())
def test_every_vm_leaves_by_the_addresses_and_ports_that_the_plan_gives_it(network: Network) -> None:
    plan = planned(compile_network(network))
    for way in Outbound(network).all():
        assert [told(supply) for supply in way.supplies] == [
            (o.address, o.ports, o.how.rpartition(", ")[2] if o.how.endswith(" only") else "")
            for o in plan.get(way.vm, ())
        ], way.vm


@few
@given(strategies.networks())
def test_a_flow_that_is_allowed_is_explained_to_its_end_and_another_is_not(network: Network) -> None:
    outbound = Outbound(network)
    frontends = [str(frontend.address) for lb in network.balancers for frontend in lb.addressed()]
    nodes = [*(vm.name for vm in network.virtual_machines), *(host.name for host in network.internet)]
    for sender in nodes:
        for to in (*nodes, *frontends):
            if sender == to:
                continue
            found = explain.explain(network, sender, to, HTTP, outbound=outbound)
            arrived = {hop.name for hop in found.hops if hop.type == "Destination"}
            ways = {way.end for way in found.predicted.ways if way.access == "Allow"}
            assert arrived == ways or found.predicted.source == found.predicted.destination, (sender, to)
            if found.way_out is not None and network.host(to) is not None and arrived:
                assert {end.address for end in found.hops[-1].packet.sources} == {
                    supply.address for supply in found.way_out.of("tcp")
                }
            assert all(rule.document for hop in found.hops for rule in hop.rules)


@settings(few, max_examples=6)
@given(strategies.networks())
def test_nothing_changes_between_a_network_and_itself(network: Network) -> None:
    assert whatif.changes(network, network) == ()
