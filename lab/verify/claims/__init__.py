"""What the documents say, restated by hand: which experiment shows it, and what must be seen.

``CATALOGUE`` lists every claim with its statement in our words and its source, one file for each
document. A claim is a function from a network to trials; it yields none where it does not apply.
Nothing here reads the rules under test or their table of numbers: figures are written down a
second time, from the documents.
"""

from collections.abc import Container

import msgspec

from lab.azure.model import LoadBalancer, Network
from lab.azure.programs import Execution
from lab.verify.claims import (
    default_outbound,
    distribution_mode,
    endpoint_acls,
    endpoints,
    execution,
    expectation,
    gateway_tunnels,
    gateways,
    grouped_flows,
    health_probes,
    idle_timeouts,
    instance_level_public_ip,
    instance_level_public_ip_managed,
    internal_balancers,
    logged,
    managed_vips,
    members_down,
    metrics,
    multiple_vips,
    names,
    nat_gateways,
    netcfg,
    no_healthy_members,
    outbound_classic,
    outbound_connections,
    outbound_idle,
    outbound_rule_limits,
    outbound_rules,
    outbound_rules_needed,
    peerings,
    preallocated_ports,
    reserved_ips,
    route_tables,
    security_groups,
    service_files,
    several_frontends,
    snat_port_reuse,
    snat_ports,
    source_ip,
    standard,
    vnet_to_vnet,
    vnet_to_vnet_steps,
)
from lab.verify.claims.claim import Claim, Stage, Trial
from lab.verify.claims.kit import guarantees

__all__ = ["CATALOGUE", "Claim", "Stage", "Trial", "expected", "find", "once", "trials"]

CATALOGUE: tuple[Claim, ...] = (
    *multiple_vips.CLAIMS,
    *managed_vips.CLAIMS,
    *source_ip.CLAIMS,
    *outbound_classic.CLAIMS,
    *snat_ports.CLAIMS,
    *snat_port_reuse.CLAIMS,
    *preallocated_ports.CLAIMS,
    *outbound_connections.CLAIMS,
    *outbound_rules_needed.CLAIMS,
    *standard.CLAIMS,
    *outbound_rules.CLAIMS,
    *metrics.CLAIMS,
    *outbound_idle.CLAIMS,
    *outbound_rule_limits.CLAIMS,
    *nat_gateways.CLAIMS,
    *default_outbound.CLAIMS,
    *internal_balancers.CLAIMS,
    *peerings.CLAIMS,
    *route_tables.CLAIMS,
    *distribution_mode.CLAIMS,
    *idle_timeouts.CLAIMS,
    *several_frontends.CLAIMS,
    *endpoints.CLAIMS,
    *security_groups.CLAIMS,
    *grouped_flows.CLAIMS,
    *health_probes.CLAIMS,
    *members_down.CLAIMS,
    *no_healthy_members.CLAIMS,
    *endpoint_acls.CLAIMS,
    *reserved_ips.CLAIMS,
    *logged.CLAIMS,
    *vnet_to_vnet.CLAIMS,
    *vnet_to_vnet_steps.CLAIMS,
    *gateways.CLAIMS,
    *gateway_tunnels.CLAIMS,
    *names.CLAIMS,
    *netcfg.CLAIMS,
    *instance_level_public_ip.CLAIMS,
    *service_files.CLAIMS,
    *instance_level_public_ip_managed.CLAIMS,
    *guarantees.CLAIMS,
)
#: Claims that speak of private frontends; all others see public ones alone.
_OF_PRIVATE_FRONTENDS = frozenset(c.id for c in (*internal_balancers.CLAIMS, *peerings.CLAIMS, *route_tables.CLAIMS))
#: A trial that lets more time pass is left out unless its claim is asked for: timers of four minutes in real time.
_PATIENCE_S = 60.0


def find(claim: str) -> Claim | None:
    """Return a claim of the catalogue."""
    return next((c for c in CATALOGUE if c.id == claim), None)


def _public(network: Network) -> Network:
    """Return a network as the documents of public load balancers speak of it: without the rules of private frontends.

    Its load balancers are all there, with their pools, since a VM's way out follows from what it belongs to. VMs whose
    packets a route table leads elsewhere are not, unless a load balancer has them.
    """
    network = _unrouted(network)
    if not any(True for _ in network.private_frontends()):
        return network

    def public(lb: LoadBalancer) -> LoadBalancer:
        return msgspec.structs.replace(
            lb,
            load_balancing_rules=tuple(rule for rule in lb.load_balancing_rules if not lb.is_private(rule)),
            inbound_nat_rules=tuple(rule for rule in lb.inbound_nat_rules if not lb.is_private(rule)),
        )

    return msgspec.structs.replace(network, load_balancers=tuple(map(public, network.load_balancers)))


def _unrouted(network: Network) -> Network:
    if not network.route_tables:
        return network
    led = {
        (vnet.name, subnet.name) for vnet in network.virtual_networks for subnet in vnet.subnets if subnet.route_table
    }
    behind = frozenset().union(*(lb.virtual_machines() for lb in network.balancers))
    kept = (vm for vm in network.virtual_machines if (vm.virtual_network, vm.subnet) not in led or vm.name in behind)
    return msgspec.structs.replace(network, virtual_machines=tuple(kept))


def trials(
    network: Network, only: frozenset[str] = frozenset(), judged: Container[object] = ()
) -> list[tuple[str, list[Trial]]]:
    """Return the trials that a network allows, by claim in the order of the catalogue, own expectations first.

    ``only``: the claims to keep; empty for all. An expectation that names a claim is one of its trials.
    ``judged``: what `once` returned of trials that were judged; those that need no lab are not judged again.
    """
    own = expected(network)
    public = _public(network)
    catalogued = {claim.id for claim in CATALOGUE}
    grouped = {claim: list(found) for claim, found in own.items() if claim not in catalogued}
    for claim in CATALOGUE:
        if only and claim.id not in only:
            continue
        if not claim.profiles or network.profile.name in claim.profiles:
            found = [
                trial
                for trial in claim.trials(network if claim.id in _OF_PRIVATE_FRONTENDS else public)
                if (trial.pauses_s <= _PATIENCE_S or claim.id in only) and once(trial) not in judged
            ]
            if found:
                grouped[claim.id] = found
    for claim_id, found in own.items():
        if claim_id in catalogued:
            grouped.setdefault(claim_id, []).extend(found)
    return [(claim, found) for claim, found in grouped.items() if not only or claim in only]


def expected(network: Network) -> dict[str, list[Trial]]:
    """Return the trials of what a file itself expects, by the claim that each names, or its own name."""
    found: dict[str, list[Trial]] = {}
    for number, one in enumerate(network.expectations, start=1):
        of = execution.trial if isinstance(one, Execution) else expectation.trial
        trial = of(network, number, one)  # type: ignore[arg-type]
        found.setdefault(trial.claim, []).append(trial)
    return found


def once(trial: Trial) -> object:
    """Return what tells a trial that needs no lab from others, None if it needs one: one statement is proved once."""
    return None if trial.needs_lab else (trial.claim, trial.subject, trial.stages)
