"""Mutations of what the document of 2017-05-31 states: outbound connections, and how they are translated."""

from tests.mutations import Mutation
from tests.mutations.seed_001 import (
    AS_FRONTEND,
    BY_POOL,
    DEFAULT,
    KEPT_APART,
    LINKED,
    LINKS,
    NOT_LINKED,
    ON_DEMAND,
    POOL_BINDS,
    SNAT,
)

_OWN = "lab/path/instance_public_ip.py"
_WIRING = "lab/path/wiring.py"
_SHAPE = "lab/topology/shape.py"
_SERVICES = "lab/agent/servers.py"
_PROFILE = "lab/azure/profile.py"
_PORTS = "lab/deciders/snat_ports.py"
_NO_ADDRESS = "if vm.instance_public_ip is None:"
_IN_NO_POOL = (
    "if vm.instance_public_ip is None or any(\n"
    "                vm.name in pool.members for lb in network.balancers for pool in lb.pools\n"
    "            ):"
)
_OWN_SOURCE = "target=SourceNat(public),"
_DEFAULT_SOURCE = "target=SourceNat(str(vnet.default_outbound_address)),"
_KEY = "default_outbound_address: Address | None = None"
_CANDIDATES = "return sorted(found, key=lambda entry: entry[1].address)"
_LEADS_IN = (
    "public_address(vnet, vnet.default_outbound_address, _default_why(vnet))\n"
    '        alone = next((vm for vm in everyone if vm.name == "alone"), everyone[0])\n'
    "        yield Rule(\n"
    "            place=wiring.load_balancer(vnet),\n"
    '            table="nat",\n'
    '            chain="PREROUTING",\n'
    '            destination=f"{vnet.default_outbound_address}/32",\n'
    "            target=__import__('lab.plan').plan.DestinationNat(str(alone.private_ip_address)),\n"
    "            why=_default_why(vnet),\n"
    "        )"
)

MUTATIONS = (
    Mutation(
        "S2-1",
        "the flow is given a public address",
        "outbound",
        SNAT,
        DEFAULT,
        'profile, address = network.profile, "10.99.0.1"',
    ),
    Mutation(
        "S2-1",
        "its return traffic reaches the VM",
        "outbound",
        _WIRING,
        'ctstate="ESTABLISHED,RELATED,DNAT",',
        'ctstate="DNAT",',
    ),
    Mutation(
        "S2-1",
        "another host's packets do not",
        "outbound",
        SNAT,
        "public_address(vnet, vnet.default_outbound_address, _default_why(vnet))",
        _LEADS_IN,
    ),
    Mutation("S2-2", "neither: default SNAT", "outbound", SNAT, DEFAULT, AS_FRONTEND),
    Mutation("S2-2", "a load balancer only: its address", "outbound", LINKS, LINKED, NOT_LINKED),
    Mutation(
        "S2-2",
        "an address of its own only: that address",
        "outbound",
        _OWN,
        _OWN_SOURCE,
        "target=SourceNat(\n"
        "                    public\n"
        "                    if any(vm.name in pool.members for lb in network.balancers for pool in lb.pools)\n"
        "                    else str(vnet.default_outbound_address)\n"
        "                ),",
    ),
    Mutation(
        "S2-2",
        "both: the address of its own",
        "outbound",
        _OWN,
        _OWN_SOURCE,
        "target=SourceNat(\n"
        "                    next(\n"
        "                        (\n"
        "                            str(lb.frontends[0].address)\n"
        "                            for lb in network.balancers\n"
        "                            for pool in lb.pools\n"
        "                            if vm.name in pool.members\n"
        "                        ),\n"
        "                        public,\n"
        "                    )\n"
        "                ),",
    ),
    Mutation("S2-3", "the platform chooses the address", "outbound", SNAT, DEFAULT, AS_FRONTEND),
    Mutation(
        "S2-3",
        "no file can choose it",
        "outbound",
        _SHAPE,
        "    loopback_addresses: tuple[Address, ...] = ()",
        f"    loopback_addresses: tuple[Address, ...] = ()\n    {_KEY}",
    ),
    Mutation(
        "S2-3",
        "no file can choose it",
        "outbound",
        _SHAPE,
        "    dns_servers: tuple[Address, ...] = ()",
        f"    dns_servers: tuple[Address, ...] = ()\n    {_KEY}",
    ),
    Mutation(
        "S2-3",
        "it is not listed as a public IP",
        "outbound",
        "lab/runtime/show.py",
        "route.via is not None and not route.why.entity.startswith(_DEFAULT)",
        "route.via is not None",
    ),
    Mutation(
        "S2-3",
        "it does not count towards the limit of public IPs",
        "outbound",
        "lab/azure/public_ips.py",
        "        if own is None:\n            continue\n        path = (",
        "        if own is None:\n"
        '            if vm.name == "alone":\n'
        "                owners.setdefault(subscriptions[vm.virtual_network], []).append(vm.name)\n"
        "            continue\n"
        "        path = (",
    ),
    Mutation("S2-4", "a port for each flow", "outbound", _PORTS, "scope.used.add(port)", "free and free.welcome(port)"),
    Mutation(
        "S2-4",
        "an ephemeral port of the public address",
        "outbound",
        _PROFILE,
        '"snat_first_port": Cell(1025,',
        '"snat_first_port": Cell(1,',
    ),
    Mutation(
        "S2-4",
        "taken when the flow is created",
        "outbound",
        "lab/agent/snat.py",
        "            if grant is not None:\n                granted.append((packet, grant))\n        self._send_on",
        '            once = self.__dict__.setdefault("once", set())\n'
        "            if grant is not None and packet.flow in once:\n"
        "                granted.append((packet, grant))\n"
        "            once.add(packet.flow)\n"
        "        self._send_on",
    ),
    Mutation("S2-10", "a pool without a rule does not bind", "source-ip", LINKS, BY_POOL, POOL_BINDS),
    Mutation("S2-10", "the source is that of a standalone VM", "source-ip", SNAT, ON_DEMAND, KEPT_APART),
    Mutation("S2-11", "the source is the frontend's address", "outbound", LINKS, LINKED, NOT_LINKED),
    Mutation(
        "S2-11",
        "the VMs of the pool share its ports",
        "outbound",
        SNAT,
        "begin = first + place(number, size, profile.port_tiers[0])",
        "begin = first + place(0, size, profile.port_tiers[0])",
        profile="2018-02",
    ),
    Mutation("S2-12", "all flows use the address", "outbound", _OWN, _OWN_SOURCE, _DEFAULT_SOURCE),
    Mutation(
        "S2-12",
        "no port is translated",
        "outbound",
        _OWN,
        _OWN_SOURCE,
        'protocol="udp",\n                target=SourceNat(public, "1024-2047"),',
    ),
    Mutation("S2-12", "the load balancer does not matter", "outbound", _OWN, _NO_ADDRESS, _IN_NO_POOL),
    Mutation(
        "S2-12",
        "other protocols than TCP and UDP, too",
        "outbound",
        _OWN,
        'ctstate="NEW",',
        'ctstate="NEW",\n                protocol="udp",',
    ),
    Mutation(
        "S2-13",
        "with an address of its own there is no limit",
        "outbound",
        _OWN,
        _OWN_SOURCE,
        'protocol="udp",\n                target=SourceNat(public, "1024-2047"),',
    ),
    Mutation(
        "S2-13",
        "without one there is",
        "outbound",
        _PROFILE,
        '"allocation_basic": Cell(\n            "preallocated", _OUTBOUND_2017',
        '"allocation_basic": Cell(\n            "on demand", _OUTBOUND_2017',
    ),
    Mutation(
        "S2-14",
        "the answer is the address that the query came from",
        "outbound",
        _SERVICES,
        "address = client if tells_source and",
        'address = "198.51.100.99" if tells_source and',
    ),
    Mutation(
        "S2-14",
        "the resolver's name is known",
        "outbound",
        _SERVICES,
        "else names.get(name)",
        'else names.get("" if "opendns" in name else name)',
    ),
    Mutation("S2-17", "each address is a candidate", "outbound", SNAT, _CANDIDATES, _CANDIDATES + "[:1]"),
    Mutation("S2-17", "each address is a candidate", "outbound", SNAT, _CANDIDATES, _CANDIDATES + "[:2]"),
    Mutation(
        "S2-17",
        "no other is",
        "outbound",
        LINKS,
        LINKED,
        "found.setdefault(vm, []).extend((lb, f) for lb in network.balancers for f in lb.addressed() if names)",
    ),
)
