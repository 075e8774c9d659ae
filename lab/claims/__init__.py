"""What the documents say, restated by hand: which experiment shows it, and what must be seen.

``CATALOGUE`` lists every claim with its statement in our words and its source, one file for each
document. A claim is a function from a network to trials; it yields none where it does not apply.
Nothing here reads the rules under test or their table of numbers: figures are written down a
second time, from the documents.
"""

from lab.claims import (
    expectation,
    gateways,
    health_probes,
    load_balancers,
    logged,
    netcfg,
    outbound_connections,
    promises,
    security_groups,
    seed_001,
    seed_002,
    seed_002_ports,
    seed_003,
    seed_004,
)
from lab.claims.claim import Claim, Stage, Trial
from lab.model import Network

__all__ = ["CATALOGUE", "Claim", "Stage", "Trial", "find", "trials"]

CATALOGUE: tuple[Claim, ...] = (
    *seed_001.CLAIMS,
    *seed_002.CLAIMS,
    *seed_002_ports.CLAIMS,
    *outbound_connections.CLAIMS,
    *load_balancers.CLAIMS,
    *security_groups.CLAIMS,
    *health_probes.CLAIMS,
    *logged.CLAIMS,
    *seed_003.CLAIMS,
    *gateways.CLAIMS,
    *netcfg.CLAIMS,
    *seed_004.CLAIMS,
    *promises.CLAIMS,
)
#: A trial that lets more time pass is left out unless its claim is asked for: timers of four minutes in real time.
_PATIENCE_S = 60.0


def find(claim: str) -> Claim | None:
    """Return a claim of the catalogue."""
    return next((c for c in CATALOGUE if c.id == claim), None)


def trials(network: Network, only: frozenset[str] = frozenset()) -> list[tuple[str, list[Trial]]]:
    """Return the trials that a network allows, by claim in the order of the catalogue, expectations last.

    ``only``: the claims to keep; empty for all. An expectation that names a claim is one of its trials.
    """
    grouped: dict[str, list[Trial]] = {}
    for claim in CATALOGUE:
        if not claim.profiles or network.profile.name in claim.profiles:
            found = [t for t in claim.trials(network) if t.pauses_s <= _PATIENCE_S or claim.id in only]
            if found:
                grouped[claim.id] = found
    for number, expected in enumerate(network.expectations, start=1):
        trial = expectation.trial(network, number, expected)
        grouped.setdefault(trial.claim, []).append(trial)
    return [(claim, found) for claim, found in grouped.items() if not only or claim in only]
