"""virtual-network-manage-peering.md and virtual-network-peering-overview.md: peerings of virtual networks.

Both halves, what one of them alone does, who is reached and who is not, and what is refused.
"""

import json
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address

import msgspec

from lab.azure.model import PLATFORM_ADDRESS, Network, Peering, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import command, operated
from lab.verify.claims.kit.judges import judge_by, outcomes, refused
from lab.verify.claims.kit.oracle import speaking_freely
from lab.verify.experiment import Answers, Ask, Checked, Lookup, Names, Run

_MANAGE = "virtual-network-manage-peering.md (2024-06-27)"
_OVERVIEW = "virtual-network-peering-overview.md (2025-07-16)"
_FAQ = "virtual-networks-faq.md (2019-02-12)"
_OVERLAPS = f"{_MANAGE}; Azure/ResourceModules#731 (2021-12-04)"
_LIMITS = "azure-virtual-network-limits.md (2022-12-05)"
_SILENT_S = 0.4  # a connection that is lost is given up after so long


class _Pair(msgspec.Struct, frozen=True):
    """Two networks, the half that the first has, and the one that the second has; None: it has none."""

    near: str
    far: str
    own: Peering
    theirs: Peering | None

    @property
    def is_open(self) -> bool:
        """Whether both halves are there and have access on."""
        both = self.theirs is not None
        return both and self.own.allow_virtual_network_access and self.theirs.allow_virtual_network_access  # type: ignore[union-attr]


def _pairs(network: Network) -> list[_Pair]:
    """Return every half, with the other one: read by hand, whatever the lab makes of them."""
    halves = {(v.name, p.remote_virtual_network): p for v in network.virtual_networks for p in v.peerings}
    return [_Pair(near, far, own, halves.get((far, near))) for (near, far), own in halves.items()]


def _web(network: Network, vnet: str) -> list[VirtualMachine]:
    """Return the VMs of a network that answer at port 80 and that no rule of a user's narrows."""
    serving = [vm for vm in speaking_freely(network) if any((s.kind, s.port) == ("http", 80) for s in vm.services)]
    return [vm for vm in serving if vm.virtual_network == vnet]


def _ask(client: VirtualMachine, to: VirtualMachine | IPv4Address, port: int = 80, count: int = 1) -> Ask:
    address = to.private_ip_address if isinstance(to, VirtualMachine) else to
    return Ask(client=client.name, address=str(address), port=port, kind="http", count=count)


def _lost(asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
    """Return questions that are not to be answered: they are given up soon."""
    return tuple(msgspec.structs.replace(ask, timeout_s=_SILENT_S) for ask in asks)


def _ways(network: Network, one: str, other: str) -> tuple[Ask, ...]:
    """Return a question in each direction between two networks."""
    near, far = _web(network, one)[:1], _web(network, other)[:1]
    return tuple(_ask(*ends) for ends in (*zip(near, far, strict=False), *zip(far, near, strict=False)))


def _said(*found: Answers) -> str:
    return "; ".join(map(outcomes, found))


def _are(outcome: str, *found: Answers) -> bool:
    return all(answer.outcome == outcome for one in found for answer in one.answers)


def _states(shown: Checked) -> dict[tuple[str, str], str]:
    """Return the state of each half that ``lab peering show`` printed, by its network and the other one."""
    if shown.status != 0:
        return {}
    listed = json.loads(shown.said)["peerings"]
    return {(one["virtualNetwork"], one["remoteVirtualNetwork"]): one["peeringState"] for one in listed}


_SHOW = command("peering", "show", "-o", "json")


@claim(
    "T-PE-1",
    _MANAGE,
    "Two halves make a peering, and are Connected; a half alone is Initiated, and nothing passes.",
    facts=("two halves carry flows", "they are Connected", "a half alone carries none", "it is Initiated"),
)
def two_halves_make_a_peering(network: Network) -> Iterator[Trial]:
    alone = [pair for pair in _pairs(network) if pair.theirs is None]
    whole = [pair for pair in _pairs(network) if pair.is_open]
    for pair, other in list(zip(alone, whole, strict=False))[:1]:
        carried, lost = _ways(network, other.near, other.far), _lost(_ways(network, pair.near, pair.far))
        if carried and lost:
            yield Trial(
                f"{other.near} and {other.far}; {pair.near} to {pair.far}",
                "answered and Connected; lost and Initiated",
                (Stage((_SHOW, *carried, *lost)),),
                judge_by(partial(_both_needed, whole=other, alone=pair, count=len(carried))),
            )


def _both_needed(shown: Checked, *found: Answers, whole: _Pair, alone: _Pair, count: int) -> Finding:
    states = _states(shown)
    first, second = (states.get((pair.near, pair.far), "not shown") for pair in (whole, alone))
    observed = f"{first}: {_said(*found[:count])}; {second}: {_said(*found[count:])}"
    if not _are("answered", *found[:count]):
        return Finding(observed, "two halves do not carry every flow")
    if not _are("timeout", *found[count:]):
        return Finding(observed, "a half alone carries flows")
    return Finding(observed, "" if (first, second) == ("Connected", "Initiated") else "the states are others")


@claim(
    "T-PE-2",
    f"{_FAQ}; {_MANAGE}",
    "Deleting a half stops what passes and leaves the other half Disconnected; that must be deleted before a new pair.",
    facts=(
        "nothing passes any more",
        "the other half is Disconnected",
        "a new half is refused",
        "until that is deleted",
    ),
)
def deleted_half_disconnects_the_other(network: Network) -> Iterator[Trial]:
    for pair in [pair for pair in _pairs(network) if pair.is_open][-1:]:
        asks = _ways(network, pair.near, pair.far)
        create = command("peering", "create", pair.near, pair.own.name, "--remote-vnet", pair.far)
        assert pair.theirs is not None
        steps: tuple[Ask | Run, ...] = (
            command("peering", "delete", pair.near, pair.own.name),
            _SHOW,
            create,
            *_lost(asks),
            command("peering", "delete", pair.far, pair.theirs.name),
            create,
        )
        if asks:
            yield Trial(
                f"{pair.near}/{pair.own.name} deleted",
                f"lost, {pair.far} is Disconnected, RemotePeeringIsDisconnected; once that is deleted, a new half",
                (operated(*steps),),
                judge_by(partial(_disconnected, pair=pair)),
            )


def _disconnected(*observations: Checked | Answers, pair: _Pair) -> Finding:
    commands = [one for one in observations if isinstance(one, Checked)]
    found = [one for one in observations if isinstance(one, Answers)]
    deleted, shown, refusal, *anew = commands
    state = _states(shown).get((pair.far, pair.near), "not shown")
    observed = f"{pair.far}: {state}; {_said(*found)}; a new one: exit {refusal.status}, "
    observed += f"then {', '.join(f'exit {one.status}' for one in anew)}"
    if deleted.status:
        return Finding(observed, "", f"the half could not be deleted: {deleted.said}")
    if not _are("timeout", *found):
        return Finding(observed, "flows pass although a half is deleted")
    if state != "Disconnected":
        return Finding(observed, "the other half is not Disconnected")
    if refusal.status != 2 or "RemotePeeringIsDisconnected" not in refusal.said:
        return Finding(observed, "a new half is not refused")
    return Finding(observed, "" if all(one.status == 0 for one in anew) else "a new half is refused still")


@claim(
    "T-PE-3",
    _OVERVIEW,
    "A peering is not transitive: two peers of a network do not reach each other through it.",
    facts=("peers of one network do not reach each other", "both reach that network"),
)
def peering_is_not_transitive(network: Network) -> Iterator[Trial]:
    pairs = [pair for pair in _pairs(network) if pair.is_open]
    joined = {(pair.near, pair.far) for pair in pairs}
    chains = [
        (a, b) for a in pairs for b in pairs if a.near == b.near and a.far < b.far and (a.far, b.far) not in joined
    ]
    for one, other in chains[:1]:
        far = _lost(_ways(network, one.far, other.far))
        near = (*_ways(network, one.far, one.near), *_ways(network, other.far, one.near))
        if far and near:
            yield Trial(
                f"{one.far} and {other.far}, peers of {one.near}",
                f"lost, and each is answered by {one.near}",
                (Stage((*far, *near)),),
                judge_by(partial(_not_transitive, count=len(far))),
            )


def _not_transitive(*found: Answers, count: int) -> Finding:
    observed = f"each other: {_said(*found[:count])}; in between: {_said(*found[count:])}"
    if not _are("answered", *found[count:]):
        return Finding(observed, "a peer is not answered by the network in between")
    return Finding(observed, "" if _are("timeout", *found[:count]) else "two peers of a network reach each other")


@claim(
    "T-PE-4",
    _OVERLAPS,
    "Address spaces of peers must not overlap, nor those of two peers of one network.",
    facts=("a pair that overlaps is refused", "and two peers of one network that do"),
)
def overlapping_spaces_are_refused(network: Network) -> Iterator[Trial]:
    if _pairs(network):
        good = _HUB.format(one="10.1.0.0/16", other="10.2.0.0/16")
        for what, space in (
            ("an equal space", "10.0.0.0/16"),
            ("a space that contains it", "10.0.0.0/8"),
            ("a space that it contains", "10.0.1.0/24"),
            ("two spaces that share a part", "10.1.0.0/16, 10.0.128.0/17"),
        ):
            wrong = _HUB.format(one=space, other="192.168.0.0/16")
            yield refused(wrong, what, "address spaces of peered virtual networks must not overlap", allowed=good)
        twice = _HUB.format(one="10.1.0.0/16", other="10.1.0.0/16")
        yield refused(twice, "two equal peers of a hub", "VnetAddressSpaceOverlapsWithAlreadyPeeredVnet", allowed=good)


@claim(
    "T-PE-5",
    _MANAGE,
    "Without access nothing passes by default, though the peering stays Connected; with it the default rules of groups "
    "let a peer in, as part of VirtualNetwork.",
    facts=("access off stops flows", "the peering stays Connected", "access on lets them pass", "the tag has the peer"),
)
def access_is_a_switch(network: Network) -> Iterator[Trial]:
    for pair in [p for p in _pairs(network) if p.theirs and not p.own.allow_virtual_network_access][:1]:
        guarded = [vm for vm in _web(network, pair.far) if vm.network_security_group][:1]
        ends = list(zip(_web(network, pair.near)[:1], guarded, strict=False))
        asks = tuple(ask for one, other in ends for ask in (_ask(one, other), _ask(other, one)))
        on = command("peering", "set", pair.near, pair.own.name, "--allow-vnet-access")
        if asks:
            yield Trial(
                f"{pair.near}/{pair.own.name}, {asks[-1].client} behind a group of default rules",
                "lost and Connected; once access is on, answered",
                (operated(_SHOW, *_lost(asks), on, *asks),),
                judge_by(partial(_switched, pair=pair, count=len(asks))),
            )


def _switched(*observations: Checked | Answers, pair: _Pair, count: int) -> Finding:
    shown, done = (one for one in observations if isinstance(one, Checked))
    found = [one for one in observations if isinstance(one, Answers)]
    state = _states(shown).get((pair.near, pair.far), "not shown")
    observed = f"off, {state}: {_said(*found[:count])}; on: {_said(*found[count:])}"
    if done.status:
        return Finding(observed, "", f"access could not be switched on: {done.said}")
    if not _are("timeout", *found[:count]):
        return Finding(observed, "flows pass although access is off")
    if state != "Connected":
        return Finding(observed, "the peering is not Connected")
    return Finding(observed, "" if _are("answered", *found[count:]) else "flows are lost although access is on")


@claim(
    "T-PE-7",
    f"{_MANAGE}; {_OVERVIEW}",
    "A remote gateway is used only where it is there and lent, by one peering, of a network without its own.",
    facts=("it must be there", "it must be lent", "one peering uses one", "not beside a gateway of one's own"),
)
def remote_gateways_are_lent(network: Network) -> Iterator[Trial]:
    if _pairs(network):
        good = _transit()
        for what, text, words in (
            ("a hub without a gateway", _transit(gateways="{}"), "RemoteVnetHasNoGateways"),
            ("a gateway that is not lent", _transit(lent="false"), "where the other half has allow_gateway_transit"),
            ("two remote gateways", _transit(second="true"), "one peering of a virtual network may use remote"),
            ("a gateway beside its own", _transit(gateways=_OWN), "uses its own gateway or a remote one"),
        ):
            yield refused(text, what, words, allowed=good)


@claim(
    "T-PE-8",
    _OVERVIEW,
    "Every range of a peer is reached from every subnet, in both directions.",
    facts=("every range of the peer", "from every subnet"),
)
def every_range_is_reached(network: Network) -> Iterator[Trial]:
    spaces = {vnet.name: vnet.address_space for vnet in network.virtual_networks}
    pairs = [pair for pair in _pairs(network) if pair.is_open and len(spaces[pair.far]) > 1]
    for pair in pairs[:1]:
        near = list({vm.subnet: vm for vm in _web(network, pair.near)}.values())
        far = list({vm.subnet: vm for vm in _web(network, pair.far)}.values())
        asks = [_ask(*ends) for one in near for other in far for ends in ((one, other), (other, one))]
        if len(near) > 1 and len(far) > 1:
            yield Trial(
                f"{pair.near} and {pair.far}",
                f"{len(near)} subnets and {len(far)}: each answered by each",
                (Stage(tuple(asks)),),
                judge_by(_all_answered),
            )


def _all_answered(*found: Answers) -> Finding:
    answers = [answer for one in found for answer in one.answers]
    lost = sum(answer.outcome != "answered" for answer in answers)
    observed = f"{len(answers) - lost} of {len(answers)} answered"
    return Finding(observed, f"{lost} flows between subnets of peers were not answered" if lost else "")


@claim(
    "T-PE-11",
    _OVERVIEW,
    "The private frontend of a Basic load balancer is reached by a peer of its region alone; a Standard one by all.",
    facts=("a peer of the region reaches both", "one of another region the Standard one", "but not the Basic one"),
)
def basic_balancer_is_for_its_region(network: Network) -> Iterator[Trial]:
    homes = {vnet.name: vnet.location for vnet in network.virtual_networks}
    found = {
        lb.sku: (frontend, rule)
        for lb in network.load_balancers
        for rule in lb.load_balancing_rules
        if (frontend := lb.frontend(rule.frontend)).private and rule.protocol == "tcp" and rule.frontend_port
    }
    if set(found) != {"Basic", "Standard"}:
        return
    home = found["Basic"][0].virtual_network
    peers = {homes[p.near] == homes[home]: p.near for p in _pairs(network) if p.is_open and p.far == home}
    clients = {near: vms[0] for near, peer in peers.items() if (vms := _web(network, peer))}
    if set(clients) == {True, False} and found["Standard"][0].virtual_network == home:
        asks = [
            _ask(clients[near], found[sku][0].address, found[sku][1].frontend_port, 2)
            for near in (True, False)
            for sku in ("Standard", "Basic")
        ]
        yield Trial(
            f"{clients[True].name} of {homes[home]}, {clients[False].name} of another region",
            "both answered by the Standard one, and by the Basic one the first alone",
            (Stage((*asks[:-1], *_lost(tuple(asks[-1:])))),),
            judge_by(_basic_is_near),
        )


def _basic_is_near(near: Answers, near_basic: Answers, far: Answers, far_basic: Answers) -> Finding:
    observed = f"its region: {_said(near)}, Basic {_said(near_basic)}; another: {_said(far)}, Basic {_said(far_basic)}"
    if not _are("answered", near, near_basic):
        return Finding(observed, "a peer of the region is not answered")
    if not _are("answered", far):
        return Finding(observed, "a peer of another region is not answered by the Standard one")
    return Finding(observed, "" if _are("timeout", far_basic) else "another region reaches the Basic one")


@claim(
    "T-PE-12",
    _FAQ,
    "Names that Azure provides are of one network: a peer's are not resolved.",
    facts=("names of its own network", "and of no peer"),
)
def names_of_peers_are_not_resolved(network: Network) -> Iterator[Trial]:
    for pair in [p for p in _pairs(network) if p.is_open][:1]:
        near, far = _web(network, pair.near)[:1], _web(network, pair.far)[:1]
        own_servers = any(v.dns_servers for v in network.virtual_networks if v.name == pair.near)
        for client, other in zip(near, far, strict=False):
            asked = tuple(
                Lookup(client=client.name, name=n, server=str(PLATFORM_ADDRESS)) for n in (client.name, other.name)
            )
            if not own_servers:
                yield Trial(
                    f"{client.name} asks",
                    f"an address of {client.name}, none of {other.name}",
                    (Stage(asked),),
                    judge_by(partial(_own_name_only, address=str(client.private_ip_address))),
                )


def _own_name_only(own: Names, peer: Names, *, address: str) -> Finding:
    observed = f"own: {', '.join(own.addresses) or 'no answer'}; peer's: {', '.join(peer.addresses) or 'no answer'}"
    if own.addresses != (address,):
        return Finding(observed, "it does not know a name of its own network")
    return Finding(observed, "it knows a name of a peer" if peer.addresses else "")


@claim(
    "T-PE-14",
    _LIMITS,
    "A virtual network has at most 500 peerings.",
    facts=("the 501st is refused",),
)
def peerings_have_a_limit(network: Network) -> Iterator[Trial]:
    if _pairs(network):
        yield refused(_many(501), "501 peerings", "at most 500 peerings", allowed=_many(500))


_LENT = "{hub: {routing: dynamic}, other: {routing: dynamic}}"
_OWN = "{hub: {routing: dynamic}, other: {routing: dynamic}, spoke: {routing: dynamic}}"


def _many(count: int) -> str:
    """Return a file of a network with so many peerings."""
    vnets = "".join(f"  v{n}: {{address_space: [10.{n // 256}.{n % 256}.0/24]}}\n" for n in range(count))
    halves = ", ".join(f"to-v{n}: {{remote_virtual_network: v{n}}}" for n in range(count))
    return f"name: many\nvirtual_networks:\n  hub: {{address_space: [172.16.0.0/24], peerings: {{{halves}}}}}\n{vnets}"


def _transit(gateways: str = _LENT, lent: str = "true", second: str = "false") -> str:
    """Return a file in which a spoke uses the gateway of a hub."""
    return _TRANSIT.format(gateways=gateways, lent=lent, second=second)


_HUB = """\
name: overlaps
virtual_networks:
  hub:
    address_space: [10.0.0.0/16]
    peerings: {{one: {{remote_virtual_network: s1}}, two: {{remote_virtual_network: s2}}}}
  s1: {{address_space: [{one}]}}
  s2: {{address_space: [{other}]}}
"""
_TRANSIT = """\
name: transit
virtual_networks:
  hub:
    address_space: [10.0.0.0/16]
    subnets: {{GatewaySubnet: 10.0.255.0/27}}
    peerings: {{to-spoke: {{remote_virtual_network: spoke, allow_gateway_transit: {lent}}}}}
  other:
    address_space: [10.2.0.0/16]
    subnets: {{GatewaySubnet: 10.2.255.0/27}}
    peerings: {{to-spoke: {{remote_virtual_network: spoke, allow_gateway_transit: true}}}}
  spoke:
    address_space: [10.1.0.0/16]
    subnets: {{GatewaySubnet: 10.1.255.0/27}}
    peerings:
      to-hub: {{remote_virtual_network: hub, use_remote_gateways: true}}
      to-other: {{remote_virtual_network: other, use_remote_gateways: {second}}}
vpn_gateways: {gateways}
"""
CLAIMS = (
    two_halves_make_a_peering,
    deleted_half_disconnects_the_other,
    peering_is_not_transitive,
    overlapping_spaces_are_refused,
    access_is_a_switch,
    remote_gateways_are_lent,
    every_range_is_reached,
    basic_balancer_is_for_its_region,
    names_of_peers_are_not_resolved,
    peerings_have_a_limit,
)
