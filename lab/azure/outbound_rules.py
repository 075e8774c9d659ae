"""What outbound rules may say, and what is refused with the codes of Azure's own.

By load-balancer-outbound-rules-overview.md (2018-09-24) and outbound-rules.md (2024-04-11). Codes and messages are
those that users were shown (Azure/AzLoadBalancerMigration#10, 2022-12-01; MicrosoftDocs/azure-docs#36809, 2019-08;
ansible-collections/azure#743, 2022-01-26).
"""

from collections.abc import Iterator

from lab.azure.model import LoadBalancer, OutboundRule
from lab.azure.profile import Profile
from lab.errors import Problem
from lab.flow import Transport

#: Ports of one address, and of what they are given in multiples.
PER_ADDRESS, BLOCK = 64_000, 8
#: Outbound rules, and frontends, of a load balancer.
_MOST = 600
_SOURCE = "outbound-rules.md (2024-04-11)"
_ALLOCATED = "SpecifiedAllocatedOutboundPortsForOutboundRule"


def violations(profile: Profile, lb: LoadBalancer) -> Iterator[Problem]:
    """Yield what a load balancer's outbound rules must not be."""
    path = ("load_balancers", lb.name)
    yield from _known(profile, path, lb)
    yield from _limits(profile, path, lb)
    for rule in lb.outbound_rules:
        where = (*path, "outbound_rules", rule.name)
        yield from _ports(profile, where, lb, rule)
        yield from _idle(profile, where, rule)
    yield from _alone_at_frontends(path, lb)
    yield from _beside_load_balancing_rules(path, lb)


def _known(profile: Profile, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    """Yield what is used though the SKU or the revision has no outbound rules."""
    used = [(*path, "outbound_rules", rule.name) for rule in lb.outbound_rules]
    used += [
        (*path, "load_balancing_rules", rule.name, "disable_outbound_snat")
        for rule in lb.load_balancing_rules
        if rule.disable_outbound_snat
    ]
    for where in used:
        if not profile.outbound_rules:
            yield Problem(
                path=where,
                found=f"profile {profile.name}",
                must=f"outbound SNAT is configured from revision 2018-12 on ({profile.sources['outbound_rules']})",
                advice="choose a later profile, or leave it out",
            )
        elif lb.sku != "Standard":
            yield Problem(
                path=where,
                found=f"a {lb.sku} load balancer",
                must=f"only a Standard load balancer has its outbound SNAT configured ({_SOURCE})",
                advice="choose sku: Standard, or leave it out",
            )


def _limits(profile: Profile, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    """Yield what is more than a Standard load balancer has at most."""
    if lb.sku != "Standard" or not profile.outbound_rules:
        return
    told = (
        ("outbound_rules", "outbound rules", len(lb.outbound_rules)),
        ("frontend_ip_configurations", "frontends", len(lb.frontends)),
    )
    for key, what, count in told:
        if count > _MOST:
            yield Problem(
                path=(*path, key),
                found=f"{count} {what}",
                must=f"a Standard load balancer has at most {_MOST} {what} (load-balancer limits, 2024-10-24)",
                advice="use another load balancer for the others",
            )


def available(profile: Profile, lb: LoadBalancer, rule: OutboundRule) -> int:
    """Return how many ports a rule can give each VM of its pool: those of its addresses less what rules take there."""
    size = profile.rule_block
    blocks = {(r.frontend, r.frontend_port // size) for r in lb.rules() if size and r.frontend in rule.frontends}
    members = len(lb.pool(rule.backend_pool).members) or 1
    return BLOCK * ((PER_ADDRESS * len(rule.frontends) - size * len(blocks)) // members // BLOCK)


def _ports(profile: Profile, where: tuple[str, ...], lb: LoadBalancer, rule: OutboundRule) -> Iterator[Problem]:
    at = (*where, "allocated_outbound_ports")
    if rule.ports % BLOCK:
        yield Problem(
            path=at,
            found=f"{rule.ports}",
            must=f"ports are given in multiples of {BLOCK} ({_SOURCE}): {_ALLOCATED}IsNotAMultipleOfEight",
            advice=f"use {rule.ports // BLOCK * BLOCK} or {(rule.ports // BLOCK + 1) * BLOCK}",
        )
    most = PER_ADDRESS * len(rule.frontends)
    if rule.ports > most:
        yield Problem(
            path=at,
            found=f"{rule.ports} ports with {len(rule.frontends)} addresses",
            must=f"an address has {PER_ADDRESS:,} ports ({_SOURCE}): "
            f"{_ALLOCATED}ExceedsTotalNumberOfAllowedPortsPerRule",
            advice=f"use at most {most}, or add a frontend",
        )
    elif rule.ports > (left := available(profile, lb, rule)):
        yield Problem(
            path=at,
            found=f"Specified Allocated Outbound Ports {rule.ports} for Outbound Rule {rule.name} exceeds total number "
            f"of available ports {left}",
            must=f"all VMs of the pool have their ports ({_SOURCE}): {_ALLOCATED}ExceedsTotalNumberOfAvailablePorts",
            advice="Reduce allocated ports or increase number of IP addresses for outbound rule",
        )


def _idle(profile: Profile, where: tuple[str, ...], rule: OutboundRule) -> Iterator[Problem]:
    low, high = profile.outbound_idle_min
    if not low <= rule.idle_timeout_min <= high:
        yield Problem(
            path=(*where, "idle_timeout_in_minutes"),
            found=f"{rule.idle_timeout_min}",
            must=f"an idle timeout is {low} to {high} minutes ({profile.sources['outbound_idle_min']})",
            advice=f"use a value from {low} to {high}",
        )


def _alone_at_frontends(path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    """Yield rules that share a frontend and a protocol with another one."""
    seen: dict[tuple[str, Transport], str] = {}
    for rule in lb.outbound_rules:
        shared = [(f, seen[f, p]) for f in rule.frontends for p in rule.protocols if (f, p) in seen]
        if shared:
            frontend, other = shared[0]
            yield Problem(
                path=(*path, "outbound_rules", rule.name, "frontends"),
                found=f'"{frontend}" is used by {other} for the same protocol',
                must="a frontend and protocol have one outbound rule: "
                "MoreThanOneOutboundRuleUsingSameFrontendIPConfigurationAndProtocolIsNotSupported",
                advice="use another frontend, or another protocol",
            )
        for frontend in rule.frontends:
            for protocol in rule.protocols:
                seen.setdefault((frontend, protocol), rule.name)


def _beside_load_balancing_rules(path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    """Yield load-balancing rules that translate flows to a frontend that an outbound rule has."""
    rule_of = {frontend: rule.name for rule in lb.outbound_rules for frontend in rule.frontends}
    for rule in lb.load_balancing_rules:
        if rule.frontend in rule_of and not rule.disable_outbound_snat:
            yield Problem(
                path=(*path, "load_balancing_rules", rule.name),
                found=f'"{rule.frontend}" is also a frontend of outbound rule "{rule_of[rule.frontend]}"',
                must=f"then the rule itself translates nothing ({_SOURCE}): "
                "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule",
                advice="add disable_outbound_snat: true",
            )
