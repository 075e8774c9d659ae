"""Mutations of what the document of 2017-05-31 states of SNAT ports."""

from tests.mutations import Mutation
from tests.mutations.seed_001 import SNAT

_PROFILE = "lab/azure/profile.py"
_PORTS = "lab/deciders/snat_ports.py"
_AGENT = "lab/agent/snat.py"
_HERE = "snat-exhaustion"
_TCP = '"tcp_reuse": Cell("destination address", _OUTBOUND_2017'
_UDP = '"udp_reuse": Cell("destination address", _OUTBOUND_2017'
_BY_ADDRESS = "key = (address, shared, flow.destination)\n"
#: The platform's address is in no account of a load balancer's frontend: what is altered for standalone VMs alone.
_ALONE = "address >> 24 == 192"
_REFUSED = "        self._refuse(pool, flow, now_s)\n        return None"
_TELL = 'self._tell("exhausted", pool, share, flow.protocol, self.allocated(share), now_s)'
_GRANTED = "                self._refused.pop(flow, None)\n                in_use ="
_IDLE = '"idle_timeout_s": Cell(240, _OUTBOUND_2017'
_ROOM = "size = max(1, min(wanted or 1, room // len(vms)))"
_DEFAULT_ROOM = "vm.name: wanted or profile.ports_per_vm("
_RULE = "    disable_outbound_snat: bool = False\n"
_ASKED = "allocated_outbound_ports: int | None = None"

MUTATIONS = (
    Mutation(
        "S2-5",
        "a port for each flow to one address",
        _HERE,
        _PORTS,
        "scope.used.add(port)",
        "free and free.welcome(port)",
    ),
    Mutation("S2-5", "whatever the destination port", _HERE, _PROFILE, _TCP, _TCP.replace("n address", "n")),
    Mutation("S2-5", "whatever the destination port", _HERE, _PROFILE, _UDP, _UDP.replace("n address", "n")),
    Mutation(
        "S2-5",
        "whatever the protocol",
        _HERE,
        _PROFILE,
        '"port_per_protocol": Cell(value=False, source=_OUTBOUND_2016_10',
        '"port_per_protocol": Cell(value=True, source=_OUTBOUND_2016_10',
    ),
    Mutation(
        "S2-5",
        "of a standalone VM, too",
        _HERE,
        _PORTS,
        _BY_ADDRESS,
        f"key = (address, shared, flow.destination, flow.destination_port if {_ALONE} else 0)\n",
    ),
    Mutation(
        "S2-6",
        "the same ports serve another address",
        _HERE,
        _PROFILE,
        _TCP,
        _TCP.replace("destination address", "nothing"),
    ),
    Mutation(
        "S2-6",
        "of a standalone VM, too",
        _HERE,
        _PORTS,
        _BY_ADDRESS,
        f"key = (address, shared) if {_ALONE} else (address, shared, flow.destination)\n",
    ),
    Mutation(
        "S2-7",
        "without a free port a new flow fails",
        _HERE,
        _PORTS,
        _REFUSED,
        "        self._refuse(pool, flow, now_s)\n"
        "        return Grant(self._numbers[pool.ranges[0].address], 60000 + len(self._refused))",
    ),
    Mutation(
        "S2-7",
        "live flows are undisturbed",
        _HERE,
        _AGENT,
        "            if grant is not None:\n                granted.append((packet, grant))\n        self._send_on",
        "            if grant is not None:\n                granted.append((packet, grant))\n"
        "            else:\n                self._table.forget([flow for flow, _ in self.ports.flows()][:1])\n"
        "        self._send_on",
    ),
    Mutation("S2-7", "a release makes room", _HERE, _PORTS, "scope.used.discard(port)", "scope.used.add(port)"),
    Mutation(
        "S2-7",
        "of a standalone VM, too",
        _HERE,
        SNAT,
        _DEFAULT_ROOM,
        "vm.name: (wanted or 0) + 9 or profile.ports_per_vm(",
    ),
    Mutation("S2-8", "exhaustion raises an alert", _HERE, _PORTS, _TELL, "del share, now_s"),
    Mutation("S2-8", "not before", _HERE, _PORTS, 'self._tell("high usage",', 'self._tell("exhausted",'),
    Mutation(
        "S2-8",
        "the alert names the address",
        _HERE,
        _PORTS,
        "Alert(kind, pool.node, share.address,",
        "Alert(kind, pool.node, str(IPv4Address(pool.source)),",
    ),
    Mutation(
        "S2-8",
        "of a standalone VM, too",
        _HERE,
        _PORTS,
        _TELL,
        f'if not share.address.startswith("192."):\n            {_TELL}',
    ),
    Mutation("S2-9", "after four minutes", _HERE, _PROFILE, _IDLE, _IDLE.replace("240", "300")),
    Mutation("S2-9", "not before", _HERE, _PROFILE, _IDLE, _IDLE.replace("240", "180")),
    Mutation(
        "S2-9",
        "not of flows that are used",
        _HERE,
        _PORTS,
        _GRANTED,
        "                self._cool(flow, found, now_s + self.policy.idle_s)\n" + _GRANTED,
    ),
    Mutation(
        "S2-9",
        "of a standalone VM, too",
        _HERE,
        _PORTS,
        _GRANTED,
        '                if share.address.startswith("192."):\n'
        "                    self._cool(flow, found, now_s + self.policy.idle_s / 2)\n" + _GRANTED,
    ),
    Mutation(
        "S2-18",
        "the number depends on the size of the pool",
        _HERE,
        SNAT,
        "profile.ports_per_vm(_reported(network, vms))",
        "profile.ports_per_vm(1)",
    ),
    Mutation(
        "S2-18",
        "it is told",
        _HERE,
        _PORTS,
        "return self._allocated[share]",
        "return 1024",
    ),
    Mutation(
        "S2-18",
        "it cannot be configured",
        _HERE,
        "lab/topology/shape.py",
        _RULE,
        _RULE.replace("False\n", f"False\n    {_ASKED}\n", 1),
    ),
    Mutation("S2-19", "more flows than ports", _HERE, _PROFILE, _TCP, _TCP.replace("destination address", "nothing")),
    Mutation(
        "S2-19", "ports and flows are counted apart", _HERE, _PORTS, "flows=account.flows,", "flows=len(account.ports),"
    ),
    Mutation(
        "S2-19",
        "of a standalone VM, too",
        _HERE,
        _PORTS,
        _BY_ADDRESS,
        f"key = (address, shared) if {_ALONE} else (address, shared, flow.destination)\n",
    ),
)
