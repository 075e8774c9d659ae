"""What becomes different for flows when a network becomes another: between files, revisions or SKUs.

Both networks are predicted; what is the same in both is not told. A flow is known by its two ends' names, so that an
address that changes is a difference, and not another flow.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from lab.azure.model import Network
from lab.azure.security_groups import STANDARD, Groups
from lab.predict import forecast, matrix, routed
from lab.predict.answer import REUSE
from lab.predict.forecast import Forecast, Service
from lab.predict.outbound import Supply, WayOut

What = Literal["there", "source address", "SNAT ports", "reachability", "idle timeout", "port release", "port reuse"]
#: What stands for every host outside, where a difference is the same for all of them.
OUTSIDE = "outside"


class Side(msgspec.Struct, frozen=True):
    """What is predicted on one side, and why."""

    value: str
    because: str = ""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference of one flow, or of flows that differ in their service alone."""

    what: What
    sender: str
    to: str
    services: tuple[Service, ...] = ()
    before: Side
    after: Side

    @property
    def reason(self) -> str:
        """Why it differs: what decides afterwards, or else what decided before."""
        return self.after.because or self.before.because


def changes(before: Network, after: Network) -> tuple[Change, ...]:
    """Return all that differs for the flows of two networks: who is there, addresses, ports, timers, reachability."""
    return (
        *_there(before, after),
        *_ways_out(before, after),
        *_timers(before, after),
        *_rules(before, after),
        *_nat_gateways(before, after),
        *_reachability(before, after),
    )


def _there(before: Network, after: Network) -> Iterator[Change]:
    """Yield the nodes that only one of the networks has."""
    one, other = (dict.fromkeys([*_nodes(network), *frontends(network)]) for network in (before, after))
    for name in [n for n in one if n not in other] + [n for n in other if n not in one]:
        sides = [Side("there" if name in found else "not there") for found in (one, other)]
        yield Change(what="there", sender=name, to="-", before=sides[0], after=sides[1])


def _nodes(network: Network) -> list[str]:
    return [*(vm.name for vm in network.virtual_machines), *(host.name for host in network.internet)]


def frontends(network: Network) -> dict[str, str]:
    """Return the address of each frontend, by load balancer and name."""
    return {f"{lb.name}/{f.name}": str(f.address) for lb in network.balancers for f in lb.reachable()}


def _ways_out(before: Network, after: Network) -> Iterator[Change]:
    """Yield what VMs are seen with outside, and how many ports they have, where that differs."""
    ways = [{way.vm: way for way in routed.ways(network)} for network in (before, after)]
    for vm in (name for name in ways[0] if name in ways[1]):
        pair = ways[0][vm], ways[1][vm]
        because = _because(before, pair[0], after, pair[1]), _because(after, pair[1], before, pair[0])
        told: tuple[tuple[What, list[str]], ...] = (
            ("source address", [_addresses(way) for way in pair]),
            ("SNAT ports", [_ports(way) for way in pair]),
        )
        for what, values in told:
            if values[0] != values[1]:
                one, other = (Side(value, why) for value, why in zip(values, because, strict=True))
                yield Change(what=what, sender=vm, to=OUTSIDE, before=one, after=other)


def _addresses(way: WayOut) -> str:
    return ", ".join(f"{s.address}{_protocol(s)}" for s in way.supplies) or "no way out"


def _protocol(supply: Supply) -> str:
    return f" for {supply.protocol.upper()} alone" if supply.protocol else ""


def _ports(way: WayOut) -> str:
    """Say how many ports a VM has, and whether alone; where they begin makes no difference to it."""
    said = [
        "unchanged" if s.ports is None else f"{s.count:,}{'' if s.alone else f' of {s.sharers} VMs'}{_protocol(s)}"
        for s in way.supplies
    ]
    return ", ".join(said) or "none"


def _because(network: Network, way: WayOut, other: Network, other_way: WayOut) -> str:
    """Say what decides, or where that is the same on the other side, which texts differ."""
    if not way.supplies:
        return f"{way.because} ({way.document})"
    if set(way.addresses) != set(other_way.addresses) and way.reason != other_way.reason:
        return f"{way.reason} ({way.document})"
    cells, others = _cells(network, way), _cells(other, other_way)
    texts = [source for key, (value, source) in cells.items() if key in others and others[key][0] != value]
    if any(s.protocol for s in way.supplies) and not any(s.protocol for s in other_way.supplies):
        texts.insert(0, network.profile.sources["standard_protocols"])
    return f"{way.reason} ({'; '.join(texts)})" if texts else f"{way.reason}; other VMs share the address"


def _cells(network: Network, way: WayOut) -> dict[str, tuple[object, str]]:
    """Return the values of the revision that say which ports a VM has, with their sources."""
    names = {"first port": "snat_first_port", "last port": "snat_last_port", "table": "port_tiers"}
    sku = next((lb.sku.lower() for found in way.considered for lb, _ in found.frontends), None)
    if way.kind == "default outbound":
        names |= {"allocation": "default_allocation"}
    elif sku is not None:
        names |= {"allocation": f"allocation_{sku}", "frontends": f"frontends_{sku}", "blocks": "rule_block"}
    profile = network.profile
    return {key: (getattr(profile, cell), profile.sources[cell]) for key, cell in names.items()}


def _timers(before: Network, after: Network) -> Iterator[Change]:
    """Yield what the revision says of all flows that take SNAT ports, where that differs."""
    one, other = before.profile, after.profile
    told: tuple[tuple[What, str, list[str]], ...] = (
        ("idle timeout", "idle_timeout_s", [f"{p.idle_timeout_s} s" for p in (one, other)]),
        ("port release", "fin_s", [f"FIN of {p.fin_close} + {p.fin_s} s" for p in (one, other)]),
        ("port release", "rst_s", [f"RST + {p.rst_s} s" for p in (one, other)]),
        ("port reuse", "tcp_reuse", [f"TCP: {REUSE[p.tcp_reuse]}" for p in (one, other)]),
        ("port reuse", "udp_reuse", [f"UDP: {REUSE[p.udp_reuse]}" for p in (one, other)]),
    )
    for what, cell, values in told:
        if values[0] != values[1]:
            sides = [Side(v, p.sources[cell]) for v, p in zip(values, (one, other), strict=True)]
            yield Change(what=what, sender="every VM", to=OUTSIDE, before=sides[0], after=sides[1])


def _rules(before: Network, after: Network) -> Iterator[Change]:
    """Yield the idle timeouts of rules that both networks have, where they differ."""

    def timeouts(network: Network) -> dict[tuple[str, str, Service], Side]:
        return {
            (lb.name, rule.name, Service(rule.protocol, rule.frontend_port)): Side(
                f"{rule.idle_timeout_min} min, {'both ends are reset' if rule.tcp_reset else 'in silence'}",
                f"rule {rule.name}",
            )
            for lb in network.balancers
            for rule in lb.rules()
        }

    def outbound(network: Network) -> dict[tuple[str, str], Side]:
        return {
            (lb.name, rule.name): Side(
                f"{rule.idle_timeout_min} min, {'both ends are reset' if rule.tcp_reset else 'in silence'}",
                f"outbound rule {rule.name}",
            )
            for lb in network.load_balancers
            for rule in lb.outbound_rules
            if "tcp" in rule.protocols
        }

    one, other = timeouts(before), timeouts(after)
    for key in (key for key in one if key in other and one[key] != other[key]):
        lb, _, service = key
        yield Change(what="idle timeout", sender=OUTSIDE, to=lb, services=(service,), before=one[key], after=other[key])
    out, of_it = outbound(before), outbound(after)
    for name in (name for name in out if name in of_it and out[name] != of_it[name]):
        yield Change(what="idle timeout", sender=name[0], to=OUTSIDE, before=out[name], after=of_it[name])


def _nat_gateways(before: Network, after: Network) -> Iterator[Change]:
    """Yield the times of NAT gateways that both networks have, where they differ."""
    gateways = [{gateway.name: gateway for gateway in network.nat_gateways} for network in (before, after)]
    profiles = before.profile, after.profile
    for name in (name for name in gateways[0] if name in gateways[1]):
        told: tuple[tuple[What, str, list[str]], ...] = (
            ("idle timeout", "nat_idle_min", [f"{of_it[name].idle_timeout_min} min" for of_it in gateways]),
            ("port release", "nat_fin_s", [f"FIN + {p.nat_fin_s} s" for p in profiles]),
            ("port release", "nat_rst_s", [f"RST + {p.nat_rst_s} s" for p in profiles]),
            ("idle timeout", "nat_half_open_s", [f"half open: {p.nat_half_open_s} s" for p in profiles]),
        )
        for what, cell, values in told:
            if values[0] != values[1]:
                sides = [Side(value, p.sources[cell]) for value, p in zip(values, profiles, strict=True)]
                yield Change(what=what, sender=f"NAT gateway {name}", to=OUTSIDE, before=sides[0], after=sides[1])


def _reachability(before: Network, after: Network) -> Iterator[Change]:
    """Yield the flows of which something else becomes, services with the same difference together."""
    found: dict[tuple[str, str, Side, Side], list[Service]] = {}
    services = dict.fromkeys((*matrix.services(before), *matrix.services(after)))
    groups = Groups(before), Groups(after)
    addresses = frontends(before), frontends(after)
    nodes = [name for name in _nodes(before) if name in _nodes(after)]
    targets = [*nodes, *(name for name in addresses[0] if name in addresses[1])]
    for sender in nodes:
        for to in targets:
            if sender == to:
                continue
            for service in services:
                one, other = (
                    _side(network, forecast.forecast(network, sender, at.get(to, to), service, groups=of_it))
                    for network, at, of_it in zip((before, after), addresses, groups, strict=True)
                )
                if one.value != other.value:
                    found.setdefault((sender, to, one, other), []).append(service)
    for (sender, to, one, other), of_it in found.items():
        yield Change(what="reachability", sender=sender, to=to, services=tuple(sorted(of_it)), before=one, after=other)


WORDS = {"Allow": "allowed", "Deny": "denied", "NoWay": "no way", "Depends": "it depends"}


def _side(network: Network, predicted: Forecast) -> Side:
    """Return what becomes of a flow, and what decides it; obstacles that name the service alike for all services."""
    denied = [way.decisions[-1] for way in predicted.ways if way.access == "Deny"]
    obstacles = [way.obstacle for way in predicted.ways if way.obstacle]
    because = ""
    if denied:
        last = denied[0]
        standard = f" ({network.profile.sources['nsg_required_standard']})"
        group = f"the Standard SKU{standard}" if last.group == STANDARD else last.group
        because = f"rule {last.rule} of {group}"
    elif obstacles:
        because = obstacles[0].replace(f", {predicted.service}", "")
    return Side(WORDS[predicted.access], because)
