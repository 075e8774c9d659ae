"""Mutations of what is claimed of NAT gateways and private subnets."""

from tests.mutations import Mutation
from tests.mutations.seed_001 import LINKS

_PATH, _LIMITS, _PROFILE = "lab/path/nat_gateway.py", "lab/azure/nat_gateways.py", "lab/azure/profile.py"
_DECIDER = "lab/deciders/snat_ports.py"
_HERE, _TIMERS, _PRIVATE = "nat-gateway", "nat-timers", "private-subnets"

_AT_ROUTER = "        yield from _at_router(vnet)\n"
_RANGE = "return tuple(SnatRange(str(address), first, last) for address in gateway.addresses)"
_LAST = "last = first + wanted - 1 if wanted else _LAST_PORT"
_IDLE = "idle, half_open = gateway.idle_timeout_min * 60, profile.nat_half_open_s"
_RESET = "Reset(), protocol="
_STEP = "self._step = random.randrange(self._size // 4 + 1, self._size - self._size // 4 + 1)"
_SCOPE = "            key = (address, shared, flow.destination, flow.destination_port)"
_WHOLE = '"fragments_need_own_address": Cell(value=True'
_SHUT = "if not (new if subnet.default_outbound_access is None else subnet.default_outbound_access)"


def _around(which: str) -> str:
    """Return the code that has the VMs of which something is true leave by the load balancer."""
    rule = "RoutingRule(place=wiring.router(vnet), source=f'{vm.private_ip_address}/32', table=_MAIN, priority=1499, "
    return f"{_AT_ROUTER}        yield from ({rule}why=Provenance('', '')) for vm in network.vms_of(vnet) if {which})\n"


def _of_path(claim: str, fact: str, old: str, new: str, topology: str = _HERE) -> Mutation:
    return Mutation(claim, fact, topology, _PATH, old, new)


def _limit(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _LIMITS, old, new)


MUTATIONS = (
    _of_path("T-NG-1", "before an address of its own", _AT_ROUTER, _around("vm.instance_public_ip")),
    _of_path(
        "T-NG-1",
        "before an outbound rule",
        _AT_ROUTER,
        _around("any(vm.name in lb.virtual_machines() for lb in network.balancers)"),
    ),
    _of_path("T-NG-1", "before the default address", _AT_ROUTER, _around("vm.name == 'busy1'")),
    _of_path(
        "T-NG-2",
        "what comes in by an address of its own is answered",
        'restore = FlowMark("restore", CAME_IN)',
        'restore = FlowMark("restore", CAME_IN >> 1)',
    ),
    _of_path(
        "T-NG-2",
        "and what comes in by a load balancer",
        'ctstate="NEW",\n        target=FlowMark',
        'ctstate="INVALID",\n        target=FlowMark',
    ),
    _of_path("T-NG-4", "an address has 64,512 ports", _LAST, _LAST.replace("else _LAST_PORT", "else _LAST_PORT - 1")),
    Mutation("T-NG-4", "and no more", _HERE, _PROFILE, '"nat_first_port": Cell(1024,', '"nat_first_port": Cell(1023,'),
    _limit("T-NG-4", "17 addresses are refused", "MOST, LONGEST, SHORTEST = 16,", "MOST, LONGEST, SHORTEST = 17,"),
    _limit("T-NG-4", "prefixes are /28 to /31", "LONGEST, SHORTEST = 16, 28,", "LONGEST, SHORTEST = 16, 27,"),
    _of_path("T-NG-5", "a VM takes as many as it asks for", _LAST, "last = first + 1023"),
    _of_path("T-NG-5", "of the whole range", _LAST, "last = first + 32767"),
    _of_path(
        "T-NG-5",
        "VMs of other subnets too",
        "names, given = {subnet.name for subnet in subnets}",
        "names, given = {subnet.name for subnet in subnets[:1]}",
    ),
    Mutation("T-NG-6", "in no order", _HERE, _DECIDER, _STEP, "self._step = 1"),
    Mutation(
        "T-NG-6",
        "a port serves several destinations at once",
        _HERE,
        _DECIDER,
        _SCOPE,
        "            key = (address, shared)",
    ),
    _of_path("T-NG-7", "every address of it is used", _RANGE, _RANGE.replace("addresses)", "addresses[1:])")),
    _of_path("T-NG-7", "those of a prefix too", _RANGE, _RANGE.replace("addresses)", "addresses[:-1])")),
    _of_path("T-NG-8", "65 s after FIN", "fin_s=profile.nat_fin_s / scale", "fin_s=30 / scale", _TIMERS),
    _of_path("T-NG-8", "16 or 20 s after RST", "rst_s=profile.nat_rst_s / scale", "rst_s=60 / scale", _TIMERS),
    _of_path("T-NG-8", "65 s after an idle UDP flow", "udp_s=profile.nat_udp_s / scale", "udp_s=0.0", _TIMERS),
    _of_path("T-NG-8", "other destinations at once", 'tcp_reuse="destination"', 'tcp_reuse="nothing"', _TIMERS),
    _of_path(
        "T-NG-9", "an idle flow lives until then", _IDLE, _IDLE.replace("gateway.idle_timeout_min * 60", "240"), _TIMERS
    ),
    _of_path("T-NG-9", "and no longer", _IDLE, _IDLE.replace("* 60", "* 90"), _TIMERS),
    Mutation(
        "T-NG-9",
        "other values are refused",
        _HERE,
        _PROFILE,
        '"nat_idle_min": Cell((4, 120),',
        '"nat_idle_min": Cell((3, 120),',
    ),
    _of_path("T-NG-11", "a later segment is answered by a reset", _RESET, 'Terminal("DROP"), protocol=', _TIMERS),
    _of_path(
        "T-NG-11",
        "a flow that was used meanwhile goes on",
        _IDLE,
        _IDLE.replace("gateway.idle_timeout_min * 60", "60"),
        _TIMERS,
    ),
    _of_path("T-NG-12", "an answer comes in", 'ctstate="ESTABLISHED,RELATED"', 'ctstate="RELATED"'),
    _of_path(
        "T-NG-12",
        "what was not asked for does not",
        'yield Policy(place=here, table="filter", chain="FORWARD", verdict="DROP", why=silent)',
        'yield Policy(place=here, table="filter", chain="FORWARD", verdict="ACCEPT", why=silent)\n'
        '    yield Rule(place=here, table="nat", chain="PREROUTING", in_interface=to(wiring.INTERNET), why=silent, '
        "target=__import__('lab.plan').plan.DestinationNat('10.1.2.4'))",
    ),
    Mutation(
        "T-NG-14",
        "two gateways are refused",
        _HERE,
        "lab/topology/shape.py",
        "def _one_gateway(value: object) -> object:\n",
        "def _one_gateway(value: object) -> object:\n    value = value[0] if isinstance(value, list) else value\n",
    ),
    _limit("T-NG-14", "two virtual networks are refused", "if home != vnet.name:", "if False:"),
    _limit("T-NG-14", "a gateway subnet is refused", "if subnet.name == GATEWAY_SUBNET:", "if False:"),
    _limit("T-NG-15", "a Basic public IP is refused", 'ip.sku == "Basic"', 'ip.sku == "None"'),
    _limit("T-NG-15", "a Basic load balancer is refused", 'if lb.sku == "Basic"', 'if lb.sku == "None"'),
    _of_path(
        "T-NG-18",
        "no ICMP leaves",
        'yield Policy(place=here, table="filter", chain="FORWARD", verdict="DROP", why=silent)',
        'yield Policy(place=here, table="filter", chain="FORWARD", verdict="ACCEPT", why=silent)\n'
        '    yield Rule(place=here, table="nat", chain="POSTROUTING", protocol="icmp", why=silent, '
        "target=__import__('lab.plan').plan.SourceNat(str(gateway.addresses[0])))",
    ),
    _of_path("T-NG-19", "a datagram in fragments is lost", 'sources=("0.0.0.0/0",)', 'sources=("192.0.2.0/24",)'),
    Mutation(
        "T-DO-2",
        "a subnet that says nothing is private",
        _PRIVATE,
        LINKS,
        _SHUT,
        "if subnet.default_outbound_access is False",
    ),
    Mutation("T-DO-2", "one that says otherwise is not", _PRIVATE, LINKS, _SHUT, "if not new"),
    Mutation("T-DO-3", "no default address in a private subnet", _PRIVATE, LINKS, _SHUT, "if False"),
    Mutation(
        "T-DO-3",
        "an own address works",
        _PRIVATE,
        "lab/path/instance_public_ip.py",
        "        target=SourceNat(public),",
        "        target=SourceNat('192.0.2.1'),",
    ),
    Mutation(
        "T-DO-3",
        "an outbound rule works",
        _PRIVATE,
        LINKS,
        "named.setdefault(vm, set()).update(out.frontends)",
        "named.setdefault(vm, set())",
    ),
    _of_path("T-DO-3", "a NAT gateway works", _AT_ROUTER, _around("vm.subnet == 'gated'"), _PRIVATE),
    Mutation("N-SN-22", "it carries no fragments", _PRIVATE, _PROFILE, _WHOLE, _WHOLE.replace("True", "False")),
    _of_path("N-SN-22", "a NAT gateway ends it", _AT_ROUTER, _around("vm.subnet == 'open'"), _PRIVATE),
    Mutation(
        "N-SN-22",
        "an outbound rule ends it",
        _PRIVATE,
        LINKS,
        "named.setdefault(vm, set()).update(out.frontends)",
        "named.setdefault(vm, set())",
    ),
    Mutation(
        "N-SN-22",
        "a public IP ends it",
        _PRIVATE,
        "lab/path/instance_public_ip.py",
        "        target=SourceNat(public),",
        "        target=SourceNat('192.0.2.254'),",
    ),
    Mutation("N-SN-22", "without these a VM has it", _PRIVATE, LINKS, _SHUT, "if not new"),
)
