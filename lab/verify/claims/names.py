"""Names across virtual networks, and the servers that know them, by the page on name resolution of 2015-09-02."""

from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address

from lab.azure.model import PLATFORM_ADDRESS, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.gateways import file_with
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.tunnels import Pair, alone, fits
from lab.verify.experiment import Answers, Ask, Lookup, Names

_NAMES = "virtual-networks-name-resolution-for-vms-and-role-instances.md (2015-09-02)"


@claim(
    "N-DN-1",
    _NAMES,
    "The provided resolver knows names of its own network only, and looks up no addresses.",
    facts=(
        "names of its own network",
        "and of no other",
        "no reverse lookup",
    ),
)
def resolver_knows_its_own_network(network: Network) -> Iterator[Trial]:
    for pair in alone(network):
        here = pair.near.node
        lookups = (
            Lookup(client=here, name=here, server=str(PLATFORM_ADDRESS)),
            Lookup(client=here, name=pair.far.node, server=str(PLATFORM_ADDRESS)),
            Lookup(client=here, name=str(pair.near.address), server=str(PLATFORM_ADDRESS)),
        )

        expected = "names of its own network, none of the other's, no reverse lookup"
        yield Trial(here, expected, (Stage(lookups),), judge_by(partial(_known_in_its_network_only, pair=pair)))


def _known_in_its_network_only(own: Names, far: Names, reverse: Names, *, pair: Pair) -> Finding:
    names = [", ".join(found.addresses) or "no answer" for found in (own, far)]
    back = "a name" if "name =" in reverse.said else "none"
    observed = f"own: {names[0]}; other network's: {names[1]}; reverse: {back}"
    if own.addresses != (str(pair.near.address),):
        return Finding(observed, "it does not know a name of its own network")
    if far.addresses:
        return Finding(observed, "it knows a name of another network")
    return Finding(observed, "it looks up addresses" if back == "a name" else "")


@claim(
    "N-DN-2",
    _NAMES,
    "DNS servers of one's own are tried in their order, over TCP and UDP 53.",
    facts=(
        "servers are asked in their order",
        "over TCP, too",
    ),
)
def own_servers_are_tried_in_order(network: Network) -> Iterator[Trial]:
    serving = {v.private_ip_address for v in network.virtual_machines if any(s.kind == "dns" for s in v.services)}
    for vm in network.virtual_machines:
        vnet = network.vnet(vm.virtual_network)
        if vnet is None or len(vnet.dns_servers) < 2 or vnet.dns_servers[0] in serving:
            continue
        second = next((a for a in vnet.dns_servers[1:] if a in serving), None)
        if second is None:
            continue
        by_tcp = Ask(client=vm.name, address=str(second), port=53, kind="connect")
        first = vnet.dns_servers[0]

        stage = Stage((Lookup(client=vm.name, name=vm.name), by_tcp))
        expected = f"{first} is silent, so {second} answers"
        yield Trial(vm.name, expected, (stage,), judge_by(partial(_second_server_answers, vm=vm, second=second)))
        return


def _second_server_answers(names: Names, connection: Answers, *, vm: VirtualMachine, second: IPv4Address) -> Finding:
    tcp = connection.answers[0].outcome
    observed = f"{', '.join(names.addresses) or 'no answer'} for {vm.name}; TCP 53: {tcp}"
    if names.addresses != (str(vm.private_ip_address),) or f"Server:\t\t{second}" not in names.said:
        return Finding(observed, "the second server did not answer in the first one's place")
    return Finding(observed, "" if tcp == "answered" else "TCP 53 is not answered")


@claim(
    "N-DN-3",
    _NAMES,
    "The provided resolver is 168.63.129.16; a network has at most 20 servers of its own.",
    facts=(
        "168.63.129.16 answers",
        "20 servers at most",
    ),
)
def resolver_has_one_address(network: Network) -> Iterator[Trial]:
    for pair in alone(network):
        vnet = network.vnet(pair.network)
        if vnet is None or vnet.dns_servers:
            continue
        lookup = Lookup(client=pair.near.node, name=pair.near.node)

        yield Trial(
            pair.near.node,
            "168.63.129.16 answers",
            (Stage((lookup,)),),
            judge_by(partial(_resolver_answers, pair=pair)),
        )
        servers = ", ".join(f"10.20.0.{i}" for i in range(10, 31))
        many = file_with(1).replace("10.20.0.0/16]", f"10.20.0.0/16], dns_servers: [{servers}]")
        yield fits(many, "21 DNS servers", "at most 20")


def _resolver_answers(*observations: Names, pair: Pair) -> Finding:
    names = observations[0]
    observed = " ".join(names.said.split()[:4])
    right = names.addresses == (str(pair.near.address),) and "168.63.129.16" in names.said
    return Finding(observed, "" if right else "168.63.129.16 does not answer")


CLAIMS = (
    resolver_knows_its_own_network,
    own_servers_are_tried_in_order,
    resolver_has_one_address,
)
