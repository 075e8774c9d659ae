"""What the documents say, restated by hand: which experiment shows it, and what must be seen.

``CATALOGUE`` lists every claim with its statement in our words and its source, one file for each
document. A claim is a function from a network to trials; it yields none where it does not apply.
Nothing here reads the rules under test or their table of numbers: figures are written down a
second time, from the documents.
"""

from collections.abc import Container

import msgspec

from lab.azure.model import Network
from lab.verify.claims import (
    endpoint_acls,
    endpoints,
    expectation,
    gateways,
    health_probes,
    instance_level_public_ip,
    instance_level_public_ip_managed,
    load_balancers,
    logged,
    multiple_vips,
    names,
    netcfg,
    outbound_classic,
    outbound_connections,
    outbound_rules,
    outbound_rules_needed,
    reserved_ips,
    security_groups,
    service_files,
    snat_ports,
    source_ip,
    standard,
    vnet_to_vnet,
    vnet_to_vnet_steps,
)
from lab.verify.claims.claim import Claim, Stage, Trial
from lab.verify.claims.kit import guarantees

__all__ = ["CATALOGUE", "Claim", "Stage", "Trial", "find", "once", "trials"]


def _of_services_too(claim: Claim) -> Claim:
    """Return a claim with the trials that cloud services have for it beside those of load balancers."""
    more = endpoints.MORE.get(claim.id)
    if more is None:
        return claim
    return msgspec.structs.replace(claim, extended_by=(more,))


CATALOGUE: tuple[Claim, ...] = (
    *multiple_vips.CLAIMS,
    *source_ip.CLAIMS,
    *outbound_classic.CLAIMS,
    *snat_ports.CLAIMS,
    *outbound_connections.CLAIMS,
    *outbound_rules_needed.CLAIMS,
    *standard.CLAIMS,
    *outbound_rules.CLAIMS,
    *map(_of_services_too, load_balancers.CLAIMS),
    *endpoints.CLAIMS,
    *security_groups.CLAIMS,
    *map(_of_services_too, health_probes.CLAIMS),
    *endpoint_acls.CLAIMS,
    *reserved_ips.CLAIMS,
    *logged.CLAIMS,
    *vnet_to_vnet.CLAIMS,
    *vnet_to_vnet_steps.CLAIMS,
    *gateways.CLAIMS,
    *names.CLAIMS,
    *netcfg.CLAIMS,
    *instance_level_public_ip.CLAIMS,
    *service_files.CLAIMS,
    *instance_level_public_ip_managed.CLAIMS,
    *guarantees.CLAIMS,
)
#: A trial that lets more time pass is left out unless its claim is asked for: timers of four minutes in real time.
_PATIENCE_S = 60.0


def find(claim: str) -> Claim | None:
    """Return a claim of the catalogue."""
    return next((c for c in CATALOGUE if c.id == claim), None)


def trials(
    network: Network, only: frozenset[str] = frozenset(), judged: Container[object] = ()
) -> list[tuple[str, list[Trial]]]:
    """Return the trials that a network allows, by claim in the order of the catalogue, expectations last.

    ``only``: the claims to keep; empty for all. An expectation that names a claim is one of its trials.
    ``judged``: what `once` returned of trials that were judged; those that need no lab are not judged again.
    """
    grouped: dict[str, list[Trial]] = {}
    for claim in CATALOGUE:
        if only and claim.id not in only:
            continue
        if not claim.profiles or network.profile.name in claim.profiles:
            found = [
                trial
                for trial in claim.trials(network)
                if (trial.pauses_s <= _PATIENCE_S or claim.id in only) and once(trial) not in judged
            ]
            if found:
                grouped[claim.id] = found
    for number, expected in enumerate(network.expectations, start=1):
        trial = expectation.trial(network, number, expected)
        grouped.setdefault(trial.claim, []).append(trial)
    return [(claim, found) for claim, found in grouped.items() if not only or claim in only]


def once(trial: Trial) -> object:
    """Return what tells a trial that needs no lab from others, None if it needs one: one statement is proved once."""
    return None if trial.needs_lab else (trial.claim, trial.subject, trial.stages)
