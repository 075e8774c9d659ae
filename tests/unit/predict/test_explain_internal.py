"""What is explained of private frontends: where a flow is led, what of it is not answered, and what would change it."""

import pytest

from lab import topology
from lab.azure.model import Network
from lab.pictures.diagram import diagram
from lab.predict.explain import Explanation, explain
from lab.predict.forecast import Service


@pytest.fixture(scope="module")
def network() -> Network:
    return topology.load(topology.BUNDLED / "internal.lab.yaml")


def _explained(network: Network, sender: str, to: str, port: int) -> Explanation:
    return explain(network, sender, to, Service("tcp", port))


def test_a_private_frontend_is_a_hop_of_its_load_balancers_name(network: Network) -> None:
    found = _explained(network, "peer", "10.1.1.100", 8080)
    assert [(hop.type, hop.name) for hop in found.hops][1] == ("InternalLoadBalancer", "private of ilb")
    assert found.answer[0] == "peer to 10.1.1.100, 8080/tcp: allowed"
    assert found.connection == "Reachable"


def test_a_member_that_may_be_led_to_itself_is_answered_in_part(network: Network) -> None:
    itself = "web1 is led to itself, and takes no packet that has its own address as its source"
    found = _explained(network, "web1", "10.1.1.100", 8080)
    assert found.answer[0] == f"web1 to 10.1.1.100, 8080/tcp: allowed, and answered in part: {itself}"
    assert found.connection == "Degraded"
    found = _explained(network, "lone", "10.1.1.9", 80)
    assert found.answer[0] == (
        "lone to 10.1.1.9, 80/tcp: allowed, and not answered: lone is led to itself, and takes no packet that has its "
        "own address as its source"
    )
    assert found.connection == "Unreachable"
    assert found.changes == ("Serve from other VMs than those that ask: none then is led to itself.",)


def test_a_port_without_a_rule_at_a_private_frontend_names_its_document(network: Network) -> None:
    found = _explained(network, "peer", "10.1.1.100", 99)
    assert found.hops[-1].rules[-1].document == "components.md (2020-06-04)"
    assert found.changes == ("Add a load-balancing rule or an inbound NAT rule for 99/tcp at 10.1.1.100.",)
    assert found.connection == "Unreachable"


@pytest.mark.parametrize("to", ["10.1.1.100", "10.1.1.7", "10.1.9.9"])
def test_nothing_outside_reaches_a_private_address(network: Network, to: str) -> None:
    found = _explained(network, "client", to, 80)
    reason = f"{to} is a private address of vnet1, which is reached from there or through a tunnel"
    assert found.answer == (f"client to {to}, 80/tcp: no way: {reason}",)
    assert found.changes == ()


def test_a_picture_says_that_a_rule_is_for_all_ports_once(network: Network) -> None:
    labels = {link.label for link in diagram(network).links if link.source == "lb all-ports"}
    assert labels == {"ha: all ports, probe alive"}
