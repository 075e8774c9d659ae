"""Which revision of the documents is played: the values that differ between revisions.

``TABLE`` has one row per revision and one cell per value, each with its source. A cell that
a revision leaves blank is taken from the newest earlier revision that fills it. What never
differed between revisions stays in the rule that uses it.

The default row ``seeds`` plays the seed documents together: SNAT as seed 002 describes it,
its unnamed port counts from the table first printed on 2017-09-28, and what binds a pool to
a frontend as tested in seed 001.
"""

from typing import Literal

import msgspec

Sku = Literal["Basic", "Standard"]
Binding = Literal["load_balancing_rule", "inbound_nat_rule"]
Frontends = Literal["any"]


class Tier(msgspec.Struct, frozen=True):
    """Pools of up to ``pool_size`` machines give each of them ``ports`` SNAT ports."""

    pool_size: int
    ports: int


class Cell(msgspec.Struct, frozen=True):
    """A value and the text it comes from."""

    value: object
    source: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of the documents, every cell filled."""

    name: str
    #: What links a VM to a frontend for outbound flows, per SKU of the load balancer.
    binding_basic: frozenset[Binding]
    binding_standard: frozenset[Binding]
    #: SNAT ports of each VM by size of its pool, smallest pool first.
    port_tiers: tuple[Tier, ...]
    #: First and last port of a public address that SNAT may use.
    snat_first_port: int
    snat_last_port: int
    #: Which frontend a flow takes when several are linked to its VM.
    several_frontends: Frontends
    #: A flow without packets for this long gives its SNAT port back; seconds.
    idle_timeout_s: int
    #: Smallest interval of a health probe in seconds, smallest number of failures, and the
    #: most that the two multiplied may come to.
    probe_min_interval_s: int
    probe_min_count: int
    probe_max_s: int
    #: Idle timeout that a load-balancing rule may ask for; minutes.
    rule_idle_min: tuple[int, int]
    sources: dict[str, str]

    def binding(self, sku: Sku) -> frozenset[Binding]:
        """Return the kinds of rule that link a VM to a frontend of a load balancer of ``sku``."""
        return self.binding_standard if sku == "Standard" else self.binding_basic

    def ports_per_vm(self, pool_size: int) -> int | None:
        """Return the SNAT ports each of ``pool_size`` VMs gets, None for a pool that is too large."""
        return next((tier.ports for tier in self.port_tiers if pool_size <= tier.pool_size), None)


_BOTH = frozenset[Binding]({"load_balancing_rule", "inbound_nat_rule"})
_TIERS_TO_1000 = (Tier(50, 1024), Tier(100, 512), Tier(200, 256), Tier(400, 128), Tier(800, 64), Tier(1000, 32))

_SEED_001 = "seed 001, tests 1 and 2 (2018-12-11)"
_SEED_002 = "seed 002 (2017-05-31)"
_STANDARD_2017_09 = "load-balancer-standard-overview.md (2017-09-28)"
_PROBES_2018_09 = "load-balancer-custom-probe-overview.md (2018-09-04)"

#: Oldest revision first.
TABLE: dict[str, dict[str, Cell]] = {
    "2017-05b": {
        "binding_basic": Cell(_BOTH, _SEED_002 + ": a rule that links frontend and pool; it names no kind of rule"),
        "binding_standard": Cell(_BOTH, _SEED_002 + ": written before there was a Standard load balancer"),
        "port_tiers": Cell(
            _TIERS_TO_1000, _SEED_002 + ": by pool size, figures unnamed; figures of " + _STANDARD_2017_09
        ),
        "snat_first_port": Cell(1024, "English revision of " + _SEED_002 + ": 65,535 - 1,024 = 64,511 ports"),
        "snat_last_port": Cell(65535, "English revision of " + _SEED_002),
        "several_frontends": Cell("any", _SEED_002 + ", Limitations: any of the addresses is a candidate"),
        "idle_timeout_s": Cell(240, _SEED_002 + ": 4-minute idle timeout"),
        "probe_min_interval_s": Cell(5, _PROBES_2018_09 + "; earlier revisions print no minimum"),
        "probe_min_count": Cell(2, _PROBES_2018_09 + "; earlier revisions print no minimum"),
        "probe_max_s": Cell(120, _PROBES_2018_09 + "; earlier revisions print no maximum"),
        "rule_idle_min": Cell((4, 30), "load-balancer-tcp-idle-timeout.md (2016-10-24)"),
    },
    "2018-12": {
        "binding_basic": Cell(_BOTH, _SEED_001 + ": a load-balancing rule or an inbound NAT rule"),
        "binding_standard": Cell(
            frozenset[Binding]({"load_balancing_rule"}),
            "load-balancer-outbound-rules-overview.md (2018-09-24): only inbound NAT rules, no outbound NAT",
        ),
    },
}

#: The default: the newest revision of the table, which fills each cell from the seeds.
SEEDS = "seeds"
NAMES = (SEEDS, *TABLE)


def resolve(name: str) -> Profile:
    """Return the profile of a revision.

    Raises:
        KeyError: no such revision.

    """
    last = "2018-12" if name == SEEDS else name
    if last not in TABLE:
        raise KeyError(name)
    cells: dict[str, Cell] = {}
    for revision, row in TABLE.items():
        cells |= row
        if revision == last:
            break
    values = {key: cell.value for key, cell in cells.items()}
    sources = {key: cell.source for key, cell in cells.items()}
    return msgspec.convert({"name": name, "sources": sources, **values}, Profile)
