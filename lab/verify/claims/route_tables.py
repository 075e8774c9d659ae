"""virtual-networks-udr-overview.md and diagnose-network-routing-problem.md: route tables, and VMs as appliances.

Which route a packet takes, what an appliance needs, what becomes of answers, and what is refused.
"""

import json
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import msgspec

from lab.azure.model import InternetHost, Network, UserRoute, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import judge_by, outcomes, refused
from lab.verify.experiment import Answers, Ask, Checked, Run

_UDR = "virtual-networks-udr-overview.md (2023-05-27)"
_FORWARDING = "diagnose-network-routing-problem.md (2018-05-30)"
_MANAGE = "virtual-network-manage-peering.md (2024-06-27)"
_SILENT_S = 0.4  # a connection that is lost is given up after so long
_PRIVATE = IPv4Network("10.0.0.0/8")


class _Routed(msgspec.Struct, frozen=True):
    """A VM and a route of its subnet's table."""

    vm: VirtualMachine
    route: UserRoute

    @property
    def hop(self) -> IPv4Address | None:
        return self.route.next_hop_ip_address


def _routed(network: Network) -> list[_Routed]:
    """Return every route of a table with each VM whose subnet has the table: read by hand."""
    tables = {table.name: table.routes for table in network.route_tables}
    of_subnet = {
        (v.name, s.name): tables.get(s.route_table or "", ()) for v in network.virtual_networks for s in v.subnets
    }
    return [_Routed(vm, route) for vm in network.virtual_machines for route in of_subnet[vm.virtual_network, vm.subnet]]


def _at(network: Network, address: IPv4Address | None) -> VirtualMachine | None:
    return next((vm for vm in network.virtual_machines if vm.private_ip_address == address), None)


def _ask(client: VirtualMachine | InternetHost, address: object, *, lost: bool = False) -> Ask:
    ask = Ask(client=client.name, address=str(address), port=80, kind="http")
    return msgspec.structs.replace(ask, timeout_s=_SILENT_S) if lost else ask


def _serves(node: VirtualMachine | InternetHost) -> bool:
    return any((s.kind, s.port) == ("http", 80) for s in node.services)


def _inside(network: Network, one: _Routed) -> list[VirtualMachine]:
    """Return the VMs that a route leads to, which answer; longer routes of the table are for others."""
    longer = [r.route.address_prefix for r in _routed(network) if r.vm == one.vm and r.route != one.route]
    prefix = one.route.address_prefix
    more = [p for p in longer if p.prefixlen > prefix.prefixlen]
    own = [vm for vm in network.virtual_machines if vm.private_ip_address in prefix and _serves(vm)]
    return [vm for vm in own if not any(vm.private_ip_address in p for p in more) and vm != one.vm]


def _forwards(network: Network, one: _Routed) -> VirtualMachine | None:
    """Return the appliance of a route that passes packets on."""
    found = _at(network, one.hop)
    return found if found is not None and found.enable_ip_forwarding else None


def _routes_of(vm: VirtualMachine) -> Run:
    return Run(words=("routes", "{lab}", vm.name, "-o", "json"))


def _listed(shown: Checked) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the state and the kind of each route that ``lab routes`` printed, by its source and prefix."""
    found = json.loads(shown.said)["value"] if shown.status == 0 else []
    return {(r["source"], r["addressPrefix"][0]): (r["state"], r["nextHopType"]) for r in found}


@claim(
    "T-UR-4",
    _UDR,
    "The longest prefix decides, whichever source a route has: a longer route leads nowhere, a shorter one to an "
    "appliance.",
    facts=("the shorter route leads on", "the longer one decides where it matches"),
)
def longest_prefix_decides(network: Network) -> Iterator[Trial]:
    found = _routed(network)
    for one in found:
        longer = [r for r in found if r.vm == one.vm and r.route.next_hop_type == "None"]
        near = [r for r in longer if r.route.address_prefix.subnet_of(one.route.address_prefix) and r != one]
        through = _inside(network, one) if _forwards(network, one) else []
        shut = [vm for r in near for vm in _inside(network, r)]
        if through and shut and one.route.address_prefix.subnet_of(_PRIVATE):
            yield Trial(
                f"{one.vm.name} to {through[0].name} and {shut[0].name}",
                f"answered through {one.hop}; lost",
                (
                    Stage(
                        (
                            _ask(one.vm, through[0].private_ip_address),
                            _ask(one.vm, shut[0].private_ip_address, lost=True),
                        )
                    ),
                ),
                judge_by(_longest),
            )
            return


def _longest(shorter: Answers, longer: Answers) -> Finding:
    observed = f"{outcomes(shorter)}; the longer prefix: {outcomes(longer)}"
    if any(answer.outcome != "answered" for answer in shorter.answers):
        return Finding(observed, "the shorter route does not lead on")
    lost = all(answer.outcome == "timeout" for answer in longer.answers)
    return Finding(observed, "" if lost else "the longer route does not decide")


@claim(
    "T-UR-8",
    _UDR,
    "A user's route of a system route's prefix makes that one Invalid, in the subnets of the table alone; a default "
    "route to an appliance takes the routes to nowhere away.",
    facts=("the system route is Invalid", "the user's is Active", "others keep theirs", "no route to nowhere is left"),
)
def system_route_is_overridden(network: Network) -> Iterator[Trial]:
    default = IPv4Network("0.0.0.0/0")
    over = [r for r in _routed(network) if r.route.address_prefix == default and _forwards(network, r)]
    tabled = {r.vm.name for r in _routed(network)}
    others = [vm for vm in network.virtual_machines if vm.name not in tabled]
    for one in over[:1]:
        if others:
            yield Trial(
                f"{one.vm.name} and {others[0].name}",
                "0.0.0.0/0 to Internet is Invalid for the first alone, which has no route to nowhere",
                (Stage((_routes_of(one.vm), _routes_of(others[0]))),),
                judge_by(_overridden),
            )


def _overridden(first: Checked, second: Checked) -> Finding:
    own, other = _listed(first), _listed(second)
    key = ("Default", "0.0.0.0/0")
    nowhere = [prefix for (_, prefix), (_, kind) in own.items() if kind == "None"]
    observed = f"{own.get(key)}, user {own.get(('User', '0.0.0.0/0'))}, to nowhere: {len(nowhere)}; {other.get(key)}"
    if own.get(key) != ("Invalid", "Internet"):
        return Finding(observed, "the system route is not Invalid")
    if own.get(("User", "0.0.0.0/0")) != ("Active", "VirtualAppliance"):
        return Finding(observed, "the user's route is not Active")
    if other.get(key) != ("Active", "Internet"):
        return Finding(observed, "a subnet without the table has not its own route")
    return Finding(observed, "a route to nowhere is left" if nowhere else "")


@claim(
    "T-UR-10",
    _UDR,
    "The next hop of a user's route is a VirtualAppliance with its address, or a VirtualNetworkGateway, VnetLocal, "
    "Internet or None without one.",
    facts=("other kinds are refused", "an appliance has an address", "any other kind has none"),
)
def kinds_of_next_hops(network: Network) -> Iterator[Trial]:
    if network.route_tables:
        good = _FILE.format(route="next_hop_type: VirtualAppliance, next_hop_ip_address: 10.1.0.4", gateway="")
        for what, route, words in (
            ("a route to a peering", "next_hop_type: VirtualNetworkPeering", "it must be"),
            ("an appliance without an address", "next_hop_type: VirtualAppliance", "has the address of it"),
            ("an address with None", "next_hop_type: None, next_hop_ip_address: 10.1.0.4", "has the address of it"),
        ):
            yield refused(_FILE.format(route=route, gateway=""), what, words, allowed=good)


@claim(
    "T-UR-12",
    _FORWARDING,
    "An appliance is given what is for others only with IP forwarding; a route to one without it, or to none, loses "
    "what it matches.",
    facts=("with it packets pass", "without it they are lost", "so they are where no VM has the address"),
)
def appliance_needs_ip_forwarding(network: Network) -> Iterator[Trial]:
    hosts = [host for host in network.internet if _serves(host)]
    found = _routed(network)
    passing = [(r, vm) for r in found if _forwards(network, r) for vm in _inside(network, r)]
    idle = [(r, h) for r in found for h in hosts if h.address in r.route.address_prefix and _is_idle(network, r)]
    gone = [r for r in found if r.hop is not None and _at(network, r.hop) is None]
    for (one, far), (other, host), lost in list(zip(passing, idle, gone, strict=False))[:1]:
        within = lost.route.address_prefix.network_address
        asks = (
            _ask(one.vm, far.private_ip_address),
            _ask(other.vm, host.address, lost=True),
            _ask(lost.vm, within, lost=True),
        )
        yield Trial(
            f"{one.vm.name} by {one.hop}; {other.vm.name} by {other.hop}; by {lost.hop}",
            "answered; lost; lost, and Invalid",
            (Stage((_routes_of(lost.vm), *asks)),),
            judge_by(partial(_forwarded, prefix=str(lost.route.address_prefix))),
        )


def _is_idle(network: Network, one: _Routed) -> bool:
    found = _at(network, one.hop)
    return found is not None and not found.enable_ip_forwarding


def _forwarded(shown: Checked, passing: Answers, idle: Answers, gone: Answers, *, prefix: str) -> Finding:
    state = _listed(shown).get(("User", prefix), ("not shown", ""))[0]
    observed = f"{outcomes(passing)}; without: {outcomes(idle)}; to none: {outcomes(gone)}, {state}"
    if any(answer.outcome != "answered" for answer in passing.answers):
        return Finding(observed, "an appliance with IP forwarding passes nothing on")
    if any(answer.outcome != "timeout" for answer in idle.answers):
        return Finding(observed, "a VM without IP forwarding passes packets on")
    lost = state == "Invalid" and all(answer.outcome == "timeout" for answer in gone.answers)
    return Finding(observed, "" if lost else "a route to no VM is not Invalid, or loses nothing")


@claim(
    "T-UR-14",
    _UDR,
    "What an appliance translates to its own address is seen outside with the appliance's way out; a route to Internet "
    "leaves by the VM's own.",
    facts=("by the appliance it has the appliance's address", "by a route to Internet its own network's"),
)
def appliance_lends_its_way_out(network: Network) -> Iterator[Trial]:
    found = _routed(network)
    for one in found:
        nva = _forwards(network, one)
        direct = [r for r in found if r.vm == one.vm and r.route.next_hop_type == "Internet"]
        hosts = [h for h in network.internet if _serves(h) and h.address in one.route.address_prefix]
        far = [h for h in hosts if not any(h.address in r.route.address_prefix for r in direct)]
        near = [h for h in hosts if any(h.address in r.route.address_prefix for r in direct)]
        if nva is not None and nva.masquerade and far and near and one.vm.instance_public_ip is None:
            asks = (_ask(nva, far[0].address), _ask(one.vm, far[0].address), _ask(one.vm, near[0].address))
            yield Trial(
                f"{one.vm.name} by {nva.name}, and without it",
                f"seen as {nva.name} is, and otherwise",
                (Stage(asks),),
                judge_by(_lent),
            )
            return


def _lent(appliance: Answers, through: Answers, direct: Answers) -> Finding:
    seen = [one.answers[0].client_address if one.answers else "" for one in (appliance, through, direct)]
    observed = f"the appliance: {seen[0]}; through it: {seen[1]}; direct: {seen[2]}"
    if not all(seen):
        return Finding(observed, "flows were not answered")
    if seen[1] != seen[0]:
        return Finding(observed, "the appliance's address is not seen")
    return Finding(observed, "a route to Internet leaves by the appliance" if seen[2] == seen[0] else "")


@claim(
    "T-UR-15",
    _UDR,
    "With a default route to an appliance a VM's own public address answers nothing from the internet: its answers go "
    "to the appliance.",
    facts=("its own address is not answered",),
)
def own_address_is_not_answered(network: Network) -> Iterator[Trial]:
    default = [r for r in _routed(network) if r.route.address_prefix.prefixlen == 0 and _forwards(network, r)]
    direct = [r.route.address_prefix for r in _routed(network) if r.route.next_hop_type == "Internet"]
    hosts = {any(h.address in p for p in direct): h for h in network.internet}
    for one in default:
        own = one.vm.instance_public_ip
        if own is not None and set(hosts) == {True, False} and _serves(one.vm):
            asks = (_ask(hosts[True], own.address), _ask(hosts[False], own.address, lost=True))
            yield Trial(
                f"{one.vm.name} at {own.address}",
                f"{hosts[True].name}, with a route to Internet, is answered, {hosts[False].name} is not",
                (Stage(asks),),
                judge_by(_unanswered),
            )
            return


def _unanswered(direct: Answers, led: Answers) -> Finding:
    observed = f"with a route to Internet: {outcomes(direct)}; without: {outcomes(led)}"
    if any(answer.outcome != "answered" for answer in direct.answers):
        return Finding(observed, "", "the VM's own address is answered by nothing")
    lost = all(answer.outcome == "timeout" for answer in led.answers)
    return Finding(observed, "" if lost else "answers do not take the route to the appliance")


@claim(
    "T-UR-20",
    _UDR,
    "A route to a VirtualNetworkGateway is for networks that have a VPN gateway.",
    facts=("without one it is refused",),
)
def gateway_route_needs_a_gateway(network: Network) -> Iterator[Trial]:
    if network.route_tables:
        route = "next_hop_type: VirtualNetworkGateway"
        good = _FILE.format(route=route, gateway="vpn_gateways: {vnet1: {routing: dynamic}}\n")
        yield refused(
            _FILE.format(route=route, gateway=""), "a network without a gateway", "with a VPN gateway", allowed=good
        )


@claim(
    "T-UR-21",
    _UDR,
    "A subnet has one route table, and a table 400 routes at most.",
    facts=("a second table is refused", "and the 401st route"),
)
def route_tables_have_limits(network: Network) -> Iterator[Trial]:
    if network.route_tables:
        good = _FILE.format(route="next_hop_type: None", gateway="")
        yield refused(good.replace("route_table: t", "route_table: [t, t]"), "two tables", "at most one", allowed=good)
        yield refused(_many(401), "401 routes", "at most 400 routes", allowed=_many(400))


def _many(count: int) -> str:
    listed = ", ".join(
        f"r{n}: {{address_prefix: 20.0.{n // 256}.{n % 256}/32, next_hop_type: None}}" for n in range(count)
    )
    return f"name: many\nroute_tables: {{t: {{routes: {{{listed}}}}}}}\n"


@claim(
    "T-PE-6",
    _MANAGE,
    "What a peer forwards and did not begin is let in only with allow_forwarded_traffic.",
    facts=("with it spokes meet in an appliance of the hub", "without it they do not"),
)
def forwarded_traffic_is_a_switch(network: Network) -> Iterator[Trial]:
    for one in _routed(network):
        nva = _forwards(network, one)
        far = [
            vm
            for vm in _inside(network, one)
            if nva and vm.virtual_network not in (one.vm.virtual_network, nva.virtual_network)
        ]
        if nva is not None and far:
            shut = _without_forwarded(network, far[0].virtual_network)
            yield Trial(
                f"{one.vm.name} to {far[0].name} by {nva.name}",
                "answered; lost when the far network's half does not allow it",
                (
                    Stage((_ask(one.vm, far[0].private_ip_address),)),
                    Stage((_ask(one.vm, far[0].private_ip_address, lost=True),), shut),
                ),
                judge_by(_forwarded_in),
            )
            return


def _without_forwarded(network: Network, name: str) -> Network:
    """Return the network in which no half of one virtual network allows forwarded traffic."""
    made = []
    for vnet in network.virtual_networks:
        halves = tuple(msgspec.structs.replace(p, allow_forwarded_traffic=False) for p in vnet.peerings)
        made.append(msgspec.structs.replace(vnet, peerings=halves) if vnet.name == name else vnet)
    return msgspec.structs.replace(network, virtual_networks=tuple(made))


def _forwarded_in(allowed: Answers, shut: Answers) -> Finding:
    observed = f"allowed: {outcomes(allowed)}; not: {outcomes(shut)}"
    if any(answer.outcome != "answered" for answer in allowed.answers):
        return Finding(observed, "forwarded traffic is lost although it is allowed")
    lost = all(answer.outcome == "timeout" for answer in shut.answers)
    return Finding(observed, "" if lost else "forwarded traffic is let in although it is not allowed")


_FILE = """\
name: routed
virtual_networks:
  vnet1:
    address_space: [10.1.0.0/16]
    subnets: {{s: {{address_prefix: 10.1.0.0/24, route_table: t}}, GatewaySubnet: 10.1.255.0/27}}
route_tables: {{t: {{routes: {{r: {{address_prefix: 0.0.0.0/0, {route}}}}}}}}}
{gateway}"""
CLAIMS = (
    longest_prefix_decides,
    system_route_is_overridden,
    kinds_of_next_hops,
    appliance_needs_ip_forwarding,
    appliance_lends_its_way_out,
    own_address_is_not_answered,
    gateway_route_needs_a_gateway,
    route_tables_have_limits,
    forwarded_traffic_is_a_switch,
)
