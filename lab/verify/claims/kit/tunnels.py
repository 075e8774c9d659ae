"""The parts of trials about tunnels: who may reach whom, what is sent across, and what must be seen of it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import msgspec

from lab.azure.model import PLATFORM_ADDRESS, Connection, LocalNetwork, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import arrived, judge_by, of_type
from lab.verify.experiment import (
    ANSWER_S,
    Answers,
    Ask,
    Checked,
    CheckFile,
    Crossed,
    Gateway,
    Observation,
    Protocol,
    Send,
    TunnelFlows,
    Tunnels,
    Watch,
)

#: What carries flows between gateways, and all that may be on a wire there (RFC 7296, RFC 3948).
_ESP = ("udp 4500", "esp")
_IKE_AND_ESP = (*_ESP, "udp 500", "ike 4500", "keepalive")
_FLOWS = 8


class End(msgspec.Struct, frozen=True):
    """A node with a web server at one end of a tunnel."""

    node: str
    address: IPv4Address


class Pair(msgspec.Struct, frozen=True):
    """A virtual network, and what one of its tunnels leads to."""

    network: str
    near: End
    site: LocalNetwork
    far: End
    far_network: str  # the virtual network at the other end, or ""
    policy_based: bool = False

    @property
    def there(self) -> Ask:
        """A question across the tunnel, and an answer back."""
        return Ask(client=self.near.node, address=str(self.far.address), port=80, kind="http", timeout_s=ANSWER_S)

    def reached(self, answers: Answers) -> str:
        """Return what contradicts that the far end was reached, untranslated; "" if nothing does."""
        for answer in answers.answers:
            if answer.outcome != "answered":
                return f"{self.near.node} does not reach {self.far.node} ({answer.outcome})"
            if (answer.node, answer.client_address) != (self.far.node, str(self.near.address)):
                return f"{self.far.address} is answered by {answer.node}, which sees {answer.client_address}"
        return ""

    def crossing(self, protocol: Protocol, count: int = _FLOWS, *, arrives: bool = True) -> TunnelFlows:
        """Return flows across, watched at their far end and on the wires of the gateways."""
        flows = Send(
            sender=self.near.node,
            private=str(self.near.address),
            destination=str(self.far.address),
            protocol=protocol,
            count=count,
            watches=(Watch("node", self.far.node),),
            lost=0 if arrives else count,
            controlled=False,
            untranslated=True,
        )
        return TunnelFlows(send=flows, networks=tuple(filter(None, (self.network, self.far_network))))


def _web(network: Network, vnet: str) -> VirtualMachine | None:
    return next((v for v in network.virtual_machines if v.virtual_network == vnet and _serves(v.services)), None)


def _serves(services: Sequence[Any]) -> bool:
    return any(s.kind == "http" and s.port == 80 for s in services)


def pairs(network: Network) -> Iterator[Pair]:
    """Yield every tunnel that must work, from each of its ends that is a virtual network.

    Both sides have a gateway, know each other and hold the same key; a device of the lab's has its connection's.
    """
    for connection in network.connections:
        site, near = network.local_network(connection.local_network), _web(network, connection.virtual_network)
        gateway = network.gateway(connection.virtual_network)
        if near is None or gateway is None:
            continue
        end = End(near.name, near.private_ip_address)
        if site.vpn_device is not None and _serves(site.vpn_device.services):
            far = End(site.name, site.vpn_device.private_ip_address)
            yield Pair(connection.virtual_network, end, site, far, "", gateway.routing == "static")
        elif site.vpn_gateway is not None and _answers(network, connection, site.vpn_gateway):
            vm = _web(network, site.vpn_gateway)
            if vm is not None:
                yield Pair(connection.virtual_network, end, site, End(vm.name, vm.private_ip_address), site.vpn_gateway)


def _answers(network: Network, connection: Connection, peer: str) -> bool:
    """Tell whether a peer has the connection back, with the same key."""
    return any(
        back.virtual_network == peer
        and back.shared_key == connection.shared_key is not None
        and network.local_network(back.local_network).vpn_gateway == connection.virtual_network
        for back in network.connections
    )


def between_networks(network: Network) -> list[Pair]:
    """Return the tunnels between virtual networks."""
    return [pair for pair in pairs(network) if pair.far_network]


def alone(network: Network) -> list[Pair]:
    """Return the two directions of a tunnel that is the only one of the network.

    What changes a network for a trial, or asks about files, is tried there: it would disturb every other tunnel.
    """
    return between_networks(network) if len(network.connections) == 2 else []


def gateway_addresses(network: Network, pair: Pair) -> set[str]:
    """Return the public addresses of a tunnel's two ends."""
    near = network.gateway(pair.network)
    assert near is not None
    return {str(near.address), str(pair.site.vpn_gateway_address)}


def not_across(network: Network, pair: Pair, crossed: Crossed) -> str:
    """Return what contradicts that flows went through a tunnel, and nothing in clear; "" if nothing does."""
    flows, ends = crossed.arrivals, gateway_addresses(network, pair)
    if len(flows.seen[-1]) < flows.sent:
        return f"{flows.sent - len(flows.seen[-1])} flows did not arrive"
    translated = sorted({s.source for s in flows.seen[-1]} - {str(pair.near.address)})
    if translated:
        return f"seen from {', '.join(translated)}, not from {pair.near.address}"
    clear = [o for o in crossed.outer if o.kind not in _IKE_AND_ESP or not {o.source, o.destination} <= ends]
    others = [o for o in clear if o.kind not in _IKE_AND_ESP]
    if others:
        return f"{others[0].kind} from {others[0].source} to {others[0].destination} on the wire of {others[0].network}"
    carrying = [o for o in crossed.outer if {o.source, o.destination} == ends and o.kind in _ESP]
    if sum(o.packets for o in carrying if o.network == pair.network) < flows.sent:
        return f"the flows arrived, but the wire of {pair.network} carried too little for them"
    return ""


def crossed_anyway(crossed: Crossed) -> str:
    """Return what contradicts that flows arrived nowhere and took no tunnel, "" if nothing does."""
    if crossed.arrivals.seen[-1]:
        return "the far end is reached"
    carrying = [o for o in crossed.outer if o.kind in _ESP]
    return f"{carrying[0].packets} packets of ESP on the wire of {carrying[0].network}" if carrying else ""


def said(crossed: Crossed) -> str:
    """Say what was seen at the far end and on the wires."""
    wires = "; ".join(f"{o.network}: {o.packets} {o.kind} {o.source} > {o.destination}" for o in crossed.outer)
    return f"{arrived(crossed.arrivals)}; on the wires: {wires or 'nothing'}"


def states(gateway: Gateway, site: str = "") -> str:
    """Say how connections are."""
    shown = [c for c in gateway.connections if site in ("", c.site)]
    return "; ".join(f"{c.site} {c.state}{f' ({c.reason})' if c.reason else ''}" for c in shown) or gateway.status


def connected(gateway: Gateway, site: str) -> str:
    """Return what contradicts that a connection is connected, "" if nothing does."""
    found = next((c for c in gateway.connections if c.site == site), None)
    if found is None:
        return f"{site} is not among the connections"
    return "" if found.state == "Connected" else f"{site} is {found.state}: {found.reason}"


def changed(network: Network, **values: Any) -> Network:
    """Return a network with other parts."""
    return msgspec.structs.replace(network, **values)


def with_site(network: Network, name: str, **values: Any) -> Network:
    """Return a network one of whose local networks is different."""
    sites = tuple(
        msgspec.structs.replace(site, **values) if site.name == name else site for site in network.local_networks
    )
    return changed(network, local_networks=sites)


def with_connection(network: Network, pair: Pair, **values: Any) -> Network:
    """Return a network one of whose connections is different."""
    found = tuple(
        msgspec.structs.replace(c, **values)
        if (c.virtual_network, c.local_network) == (pair.network, pair.site.name)
        else c
        for c in network.connections
    )
    return changed(network, connections=found)


def never(pair: Pair, what: str, after: Network, words: str = "") -> Trial:
    """Return a trial that a tunnel which works does not when the network is ``after``, and that ``words`` say why.

    What is sent into it arrives nowhere, and no packet of ESP is on the wires of the gateways: what they say of
    themselves is not enough. Silence counts only beside an answer: the resolver must still hear the VM.
    """
    silent = pair.crossing("udp", arrives=False)
    heard = Ask(client=pair.near.node, address=str(PLATFORM_ADDRESS), port=53, kind="connect")
    state = Tunnels(network=pair.network, wanted="NotConnected")

    stages = (Stage((pair.there,)), Stage((state, heard, silent), after))
    why = f' ("{words}")' if words else ""
    expected = f"NotConnected{why}, nothing arrives, and no ESP on the wires"
    return Trial(
        f"{pair.near.node}, {what}", expected, stages, judge_by(partial(_never_crossed, pair=pair, words=words))
    )


def _never_crossed(
    before: Answers, shown: Gateway, control: Answers, across: Crossed, *, pair: Pair, words: str
) -> Finding:
    observed = f"{_outcome(before)} before; then {states(shown, pair.site.name)}; {said(across)}"
    if contradiction := pair.reached(before):
        return Finding(observed, contradiction)
    if _outcome(control) != "answered":
        return Finding(observed, doubt="the sender is not heard by its resolver either")
    found = [c for c in shown.connections if c.site == pair.site.name]
    if not found or found[0].state != "NotConnected":
        return Finding(observed, f"{pair.site.name} is {found[0].state if found else 'not shown'}")
    if words not in found[0].reason:
        return Finding(observed, f'the reason shown is "{found[0].reason}"')
    return Finding(observed, crossed_anyway(across))


def _outcome(answers: Answers) -> str:
    return answers.answers[0].outcome


def works(pair: Pair, expected: str, more: Callable[[Gateway], str]) -> Trial:
    """Return a trial that a tunnel is Connected and crossed; ``more`` returns what else contradicts."""
    # A policy-based tunnel may rest; what comes first wakes it.
    waking = (pair.there,) if pair.policy_based else ()

    stage = Stage((*waking, Tunnels(network=pair.network, wanted="Connected"), pair.there))
    return Trial(
        f"{pair.network} to {pair.site.name}",
        expected,
        (stage,),
        judge_by(partial(_crossed_connected, pair=pair, more=more)),
    )


def _crossed_connected(*observations: Observation, pair: Pair, more: Callable[[Gateway], str]) -> Finding:
    (shown,), (*_, answers) = of_type(observations, Gateway), of_type(observations, Answers)
    contradiction = connected(shown, pair.site.name) or pair.reached(answers) or more(shown)
    return Finding(f"{states(shown, pair.site.name)}; {pair.far.node}: {_outcome(answers)}", contradiction)


def fits(text: str, what: str, *words: str) -> Trial:
    """Return a trial of a topology that `lab check` must accept, or refuse with all of ``words``."""
    expected = "refused, exit 2" if words else "accepted"
    return Trial(
        what, expected, (Stage((CheckFile(text=text),)),), judge_by(partial(_file_fits, words=words, what=what))
    )


def _file_fits(done: Checked, *, words: tuple[str, ...], what: str) -> Finding:
    if not words:
        return Finding(f"exit {done.status}: {done.said}", "" if done.status == 0 else f"{what} was refused")
    if done.status != 2 or any(word not in done.said for word in words):
        return Finding(f"exit {done.status}: {done.said}", f"{what} was not refused")
    return Finding(f"exit 2: {done.said}")
