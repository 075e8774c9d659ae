"""Mutations of what is claimed of internal load balancers."""

from tests.mutations import Mutation

_PATH, _LIMITS, _OUTBOUND = (
    "lab/path/internal_load_balancer.py",
    "lab/azure/internal_balancers.py",
    "lab/azure/outbound.py",
)
_HERE = "internal"

_TIMERS = "            yield from _timers(network, vnet)\n"
_SNAT = (
    f"{_TIMERS}            yield Rule(place=wiring.router(vnet), table='nat', chain='POSTROUTING', ctstate='DNAT', "
    "target=__import__('lab.plan').plan.SourceNat(str(vnet.subnets[0].gateway)), why=Provenance('', ''))\n"
)
_AT_EDGE = "                if not rule.floating_ip and not lb.is_private(rule):\n"
_PUBLISHED = (
    "                if lb.is_private(rule) and lb.name == 'basic':\n"
    "                    where = lb.frontend(rule.frontend).address\n"
    "                    yield from wiring.public_address(vnet, where, Provenance('', ''))\n"
    "                if not rule.floating_ip and (not lb.is_private(rule) or lb.name == 'basic'):\n"
)
_PORTS = "        destination_ports=rule.ports,\n"
_NAT = "target=DestinationNat(str(vm.private_ip_address), rule.backend_port or None)"


def _of_path(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _PATH, old, new)


def _limit(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _LIMITS, old, new)


def _without(protocol: str) -> str:
    """Return the code that leads one port alone of a protocol where all are to be led."""
    one = "__import__('lab.flow').flow.PortRange(1, 1)"
    return f"        destination_ports=rule.ports or ({one} if rule.protocol == '{protocol}' else None),\n"


MUTATIONS = (
    _of_path(
        "T-IL-1",
        "VMs of the network reach it",
        _PORTS,
        _PORTS.replace("rule.ports", "__import__('lab.flow').flow.PortRange(1, 1)"),
    ),
    Mutation("T-IL-1", "hosts outside do not", _HERE, "lab/path/load_balancer.py", _AT_EDGE, _PUBLISHED),
    _limit(
        "T-IL-1",
        "its address is one that the subnet gives",
        "elif int(frontend.address) not in usable:",
        "elif int(frontend.address) not in usable and False:",
    ),
    _of_path("T-IL-2", "members see the client's address", _TIMERS, _SNAT),
    _of_path(
        "T-IL-2",
        "flows to the frontend are answered there",
        _NAT,
        _NAT.replace("rule.backend_port or None", "rule.backend_port + 1"),
    ),
    _of_path(
        "T-IL-3",
        "some of a member's flows are answered by the others",
        "distribution.members(vms, lb, rule, down)",
        "distribution.members(vms, lb, rule, down)[:1]",
    ),
    _of_path("T-IL-3", "those that are led to itself are lost in silence", _TIMERS, _SNAT),
    Mutation(
        "T-IL-4",
        "a Standard one takes the default away",
        _HERE,
        _OUTBOUND,
        "internal = frozenset(vm for lb in private for vm in lb.virtual_machines())",
        "internal = frozenset(vm for lb in private for vm in ())",
        "2018-02",
    ),
    Mutation(
        "T-IL-4",
        "a Basic one does not",
        _HERE,
        _OUTBOUND,
        "private = [lb for lb in standard if any(",
        "private = [lb for lb in network.balancers if any(",
        "2018-02",
    ),
    _of_path("T-IL-8", "TCP ports are led to members", _PORTS, _without("tcp")),
    _of_path("T-IL-8", "UDP ports are, too", _PORTS, _without("udp")),
    _limit(
        "T-IL-8",
        "only a Standard one has it",
        'if lb.sku != "Standard" or not lb.is_private(rule):',
        "if not lb.is_private(rule):",
    ),
    _limit("T-IL-8", "All and 0 go together", "if (port == 0) != (both[rule.name] == 2):", "if port < 0:"),
    _limit("T-IL-9", "a non-floating one is alone", "if not rule.floating_ip and others:", "if not others and others:"),
    _limit(
        "T-IL-9",
        "rules at a floating one's frontend have floating IP",
        "elif rule.floating_ip and any(not r.floating_ip for r in near):",
        "elif others and not others:",
    ),
    _limit("T-IL-9", "one at each frontend", "elif any(_is_ha(r) for r in near):", "elif others and not others:"),
    _limit("T-IL-12", "a second internal one is refused", "if other != lb.name:", "if other != lb.name and False:"),
)
