"""Labs in which every explained flow is sent: the bundled topologies, and random ones that a number stands for.

`scripts/prove-explain` runs many of them, tests/kernel/test_explain_random.py a few.
"""

import copy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lab.azure import profile
from lab.azure.model import Network
from lab.errors import TopologyError
from lab.kernel import apply
from lab.predict import explain, forecast, matrix, observed
from lab.predict.explain import Explanation
from lab.predict.forecast import Service
from lab.predict.outbound import Outbound
from lab.runtime import lifecycle, show
from lab.topology import parse
from lab.verify.probe import Prober
from tests import strategies

_DRAWN = 2  # of each number the last one is taken: the first that hypothesis draws is the simplest there is
_FEW = 8  # of no more VMs each is sent to each
_MANY = 100  # of more VMs one service to each host is enough
_HTTP, _NAMES, _PING = Service("tcp", 80), Service("udp", 53), Service("icmp")


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent in a lab, and what differs, in words."""

    name: str
    flows: int
    differ: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.flows} flows, {len(self.differ)} differ"


# --- random topologies ------------------------------------------------------------------------


def drawn(number: int) -> str:
    """Return the text of a random topology, of which the number says which: `x-NUMBER` is its name."""
    found: list[dict[str, Any]] = []

    @seed(number)
    @settings(
        max_examples=_DRAWN,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_topologies())
    def collect(topology: dict[str, Any]) -> None:
        found.append(topology)

    collect()
    return strategies.text_of(found[-1] | {"name": f"x-{number}"})


@st.composite
def _topologies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a topology in which something can be sent, with more ways out where its revision allows them."""
    topology = draw(strategies.topologies().filter(lambda t: t["internet"] and t["virtual_machines"]))
    if "overrides" in topology:
        topology["overrides"]["snat_ports_per_vm"] = max(topology["overrides"]["snat_ports_per_vm"], 64)
    for more in (_later, _nat_gateway, _nat_gateway, _private_subnet, _outbound_rule):
        if draw(st.booleans()) and (more is not _outbound_rule or topology["load_balancers"]):
            candidate = copy.deepcopy(topology)
            more(draw, candidate)
            topology = candidate if _is_valid(candidate) else topology
    return topology


def _is_valid(topology: dict[str, Any]) -> bool:
    try:
        parse(strategies.text_of(topology), "drawn.lab.yaml")
    except TopologyError:
        return False
    return True


def _later(draw: st.DrawFn, topology: dict[str, Any]) -> None:
    """Play one of the revisions that know the most ways out."""
    topology["profile"] = draw(st.sampled_from(profile.NAMES[-4:]))


def _subnet(draw: st.DrawFn, topology: dict[str, Any]) -> dict[str, Any]:
    """Choose a subnet, and return its keys."""
    found = topology["virtual_networks"][draw(st.sampled_from(sorted(topology["virtual_networks"])))]["subnets"]
    name = draw(st.sampled_from(sorted(found)))
    found[name] = dict(found[name]) if isinstance(found[name], dict) else {"address_prefix": found[name]}
    keys: dict[str, Any] = found[name]
    return keys


def _nat_gateway(draw: st.DrawFn, topology: dict[str, Any]) -> None:
    """Give a subnet a NAT gateway; beside one there is no Basic load balancer or public IP."""
    gateways = topology.setdefault("nat_gateways", {})
    name = f"ng{len(gateways)}"
    count = draw(st.integers(1, 3))
    gateways[name] = {"public_ip_addresses": [f"40.9.{len(gateways) + 1}.{n}" for n in range(1, count + 1)]}
    _subnet(draw, topology)["nat_gateway"] = name
    for balancer in topology["load_balancers"].values():
        balancer["sku"] = "Standard"
    for vm in topology["virtual_machines"].values():
        if "instance_public_ip" in vm:
            vm["instance_public_ip"]["sku"] = "Standard"


def _private_subnet(draw: st.DrawFn, topology: dict[str, Any]) -> None:
    """Say of a subnet whether the platform gives its VMs an address."""
    _subnet(draw, topology)["default_outbound_access"] = draw(st.booleans())


def _outbound_rule(draw: st.DrawFn, topology: dict[str, Any]) -> None:
    """Give a load balancer an outbound rule, beside which no load-balancing rule translates."""
    balancer = topology["load_balancers"][draw(st.sampled_from(sorted(topology["load_balancers"])))]
    protocol = draw(st.sampled_from(["Tcp", "Udp", "All"]))
    balancer["sku"] = "Standard"
    balancer["outbound_rules"] = {
        "out": {"frontends": ["f0"], "backend_pool": "pool0", "protocol": protocol, "allocated_outbound_ports": 64}
    }
    for rule in balancer["load_balancing_rules"].values():
        rule["disable_outbound_snat"] = True


# --- what is sent -----------------------------------------------------------------------------


@contextmanager
def running(network: Network, file: Path) -> Iterator[None]:
    """Have a network run until the end of the block."""
    try:
        lifecycle.bring_up(network, file, lambda _said: None)
        yield
    finally:
        apply.down(network.name)


def flows(network: Network) -> Iterator[Explanation]:
    """Yield every VM to every outside host, and every node to every frontend, explained as the lab is that runs."""
    down = lifecycle.down_now(network)
    broken = matrix.broken(network, show.describe(network.name).gateways)
    outbound = Outbound(network)
    for sender, to, service in _pairs(network):
        if forecast.address_of(network, sender, to) is None:
            continue
        said = explain.explain(network, sender, to, service, down=down, broken=broken, outbound=outbound)
        if said.predicted.source != said.predicted.destination and said.hops[-1].watch is not None:
            yield said


def _pairs(network: Network) -> Iterator[tuple[str, str, Service]]:
    vms = [vm.name for vm in network.virtual_machines]
    many = len(vms) > _MANY
    for host in network.internet:
        offered = [Service(s.protocol, s.port) for s in host.services]
        for service in offered[:1] if many else dict.fromkeys((*offered[:2], _HTTP, _NAMES, _PING)):
            yield from ((vm, host.name, service) for vm in vms)
    if len(vms) <= _FEW:
        yield from ((one, other, _HTTP) for one in vms for other in vms if one != other)
    for lb in network.balancers:
        for rule in lb.rules():
            frontend = next(f for f in lb.frontends if f.name == rule.frontend)
            if frontend in lb.reachable():
                for sender in (*vms[:_MANY], *(host.name for host in network.internet[:1])):
                    yield sender, str(frontend.address), Service(rule.protocol, rule.frontend_port or 4000)


def prove(network: Network, file: Path, prober: Prober) -> Proof:
    """Bring a network up, send every flow in it, and take it down."""
    with running(network, file):
        said = list(flows(network))
        compared = observed.send_all(network, said, prober)
    differ = [
        f"{network.name}: {s.predicted.sender} to {s.predicted.to}, {s.predicted.service}: differs: {c.blamed}"
        for s, c in zip(said, compared, strict=True)
        if c.blamed
    ]
    return Proof(name=network.name, flows=len(said), differ=tuple(differ))


def prove_drawn(number: int, prober: Prober) -> Proof:
    """Prove the random topology that a number stands for."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"x-{number}.lab.yaml"
        file.write_text(drawn(number))
        return prove(parse(file.read_text(), str(file)), file, prober)


if __name__ == "__main__":
    print(drawn(int(sys.argv[1])))
