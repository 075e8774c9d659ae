"""Mutations of what is claimed of peerings."""

from tests.mutations import Mutation

_PATH, _RULES, _OPERATIONS = "lab/path/peering.py", "lab/azure/peerings.py", "lab/operations/peering.py"
_HERE = "peerings"

_ROUTE = "        yield Route(place=here, destination=str(prefix), interface=wire, why=_why(vnet, link, _OVERVIEW))\n"
_STATE = '    return "Connected" if other is not None and not other.disconnected else "Initiated"\n'
_LINKS = "    found = []\n    for own in vnet.peerings:\n"
#: A half alone is joined with one that the other network has not, in both networks.
_JOINED = (
    "    def of(one: VirtualNetwork, other: str) -> Peering:\n"
    "        return half(one, other) or Peering(name=f'to-{other}', remote_virtual_network=other)\n\n"
    "    named = [r for r in network.virtual_networks if half(vnet, r.name) or half(r, vnet.name)]\n"
    "    if named:\n"
    "        return tuple(Link(own=of(vnet, r.name), theirs=of(r, vnet.name), remote=r) for r in named)\n"
    f"{_LINKS}"
)
#: The space of a peer is that of its peers as well.
_LINK = "            found.append(Link(own=own, theirs=theirs, remote=remote))\n"
_BEYOND = (
    "            spaces = [network.vnet(p.remote_virtual_network).address_space for p in remote.peerings]\n"
    "            more = [s for space in spaces for s in space if s not in vnet.address_space]\n"
    "            remote = msgspec.structs.replace(remote, address_space=(*remote.address_space, *more))\n"
    f"{_LINK}"
)
_SHOWN = '        "peeringState": state(network, vnet, peering),\n'
_CHAIN = '    entry = _why(vnet, link, _MANAGE, ", what originates there")\n'


def _of_path(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _PATH, old, new)


def _rule(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _RULES, old, new)


def _operation(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _OPERATIONS, old, new)


MUTATIONS = (
    _of_path("T-PE-1", "two halves carry flows", _ROUTE, "        pass\n"),
    _rule("T-PE-1", "they are Connected", _STATE, '    return "Initiated"\n'),
    _rule("T-PE-1", "a half alone carries none", _LINKS, _JOINED),
    _rule("T-PE-1", "it is Initiated", _STATE, '    return "Connected"\n'),
    _operation(
        "T-PE-2",
        "nothing passes any more",
        "    made = msgspec.structs.replace(vnet, peerings=halves)\n",
        "    made = msgspec.structs.replace(vnet, peerings=halves or vnet.peerings)\n",
    ),
    _operation(
        "T-PE-2",
        "the other half is Disconnected",
        "msgspec.structs.replace(theirs, disconnected=True)",
        "msgspec.structs.replace(theirs, disconnected=False)",
    ),
    _operation(
        "T-PE-2",
        "a new half is refused",
        "        if theirs is not None and theirs.disconnected:\n",
        "        if theirs is not None and theirs.disconnected and not theirs:\n",
    ),
    _operation(
        "T-PE-2",
        "until that is deleted",
        "        if theirs is not None and theirs.disconnected:\n",
        "        theirs = theirs or Peering(name='none', remote_virtual_network=vnet.name, disconnected=True)\n"
        "        if theirs is not None and theirs.disconnected:\n",
    ),
    _rule("T-PE-3", "peers of one network do not reach each other", _LINK, _BEYOND),
    _of_path("T-PE-3", "both reach that network", _ROUTE, "        pass\n"),
    _rule("T-PE-4", "a pair that overlaps is refused", "if shared := _shared(vnet, remote):", "if shared := None:"),
    _rule(
        "T-PE-4",
        "and two peers of one network that do",
        "if first != second and (shared := _shared(first, second)):",
        "if (shared := None):",
    ),
    _of_path(
        "T-PE-5", "access off stops flows", "if not link.own.allow_virtual_network_access:", "if not link.own.name:"
    ),
    _rule(
        "T-PE-5",
        "the peering stays Connected",
        _SHOWN,
        _SHOWN.replace("peering),", "peering) if peering.allow_virtual_network_access else 'Initiated',"),
    ),
    _operation(
        "T-PE-5",
        "access on lets them pass",
        "        return msgspec.structs.replace(peering, **{key:",
        "        return msgspec.structs.replace(peering, **{key.replace('virtual_network_access', 'gateway_transit'):",
    ),
    _rule(
        "T-PE-5",
        "the tag has the peer",
        "    if not vnet.peerings:\n        return ()\n",
        "    if network:\n        return ()\n",
    ),
    _rule("T-PE-7", "it must be there", "if network.gateway(remote) is None:", "if network.gateway(remote) is 0:"),
    _rule(
        "T-PE-7",
        "it must be lent",
        "elif theirs is not None and not theirs.allow_gateway_transit:",
        "elif theirs is not None and not theirs:",
    ),
    _rule("T-PE-7", "one peering uses one", "for peering in using[1:]:", "for peering in using[9:]:"),
    _rule(
        "T-PE-7",
        "not beside a gateway of one's own",
        "if network.gateway(vnet.name) is not None:",
        "if network.gateway(vnet.name) is 0:",
    ),
    _of_path(
        "T-PE-8",
        "every range of the peer",
        "    for prefix in link.remote.address_space:\n        yield Route",
        "    for prefix in link.remote.address_space[:1]:\n        yield Route",
    ),
    _of_path(
        "T-PE-8",
        "from every subnet",
        _CHAIN,
        f"{_CHAIN}    yield rule('FORWARD', Terminal('DROP'), entry, source=str(vnet.subnets[-1].address_prefix), "
        "out_interface=wire)\n",
    ),
    _of_path(
        "T-PE-11",
        "a peer of the region reaches both",
        "if vnet.location != link.remote.location:",
        "if vnet.location:",
    ),
    _of_path("T-PE-11", "one of another region the Standard one", ' and lb.sku == "Basic":', " and lb.sku:"),
    _of_path("T-PE-11", "but not the Basic one", "if vnet.location != link.remote.location:", "if not vnet.location:"),
    Mutation(
        "T-PE-12",
        "names of its own network",
        _HERE,
        "lab/path/wiring.py",
        "        yield DnsRecord(place=edge, name=vm.name, address=address, why=why)\n",
        "",
    ),
    Mutation(
        "T-PE-12",
        "and of no peer",
        _HERE,
        "lab/path/wiring.py",
        "        yield DnsRecord(place=edge, name=vm.name, address=address, why=why)\n",
        "        for every in network.virtual_networks:\n"
        "            there = load_balancer(every)\n"
        "            yield DnsRecord(place=there, name=vm.name, address=address, why=why)\n",
    ),
    _rule("T-PE-14", "the 501st is refused", "if len(vnet.peerings) > _MOST:", "if len(vnet.peerings) > 9 * _MOST:"),
)
