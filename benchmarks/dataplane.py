"""New connections and throughput from a VM through its load balancer's SNAT, against the same path without rules.

    sudo .venv/bin/python -P benchmarks/dataplane.py [-o json]

Two labs of one topology. ``snat`` is one as it comes: the first packet of each connection waits until the agent
has given it a port, and what follows takes the kernel's entry. In the other one the tables of the load balancer are
emptied, what is forwarded is accepted, and the internet gets a route to the private address: ``no rules`` is that,
with connection tracking off; ``tracked`` has one rule that asks for a connection's state, which switches tracking on,
and no other. Nobody is told of its connections, so that its agent sleeps.
``one wire`` is the load generator from the internet namespace to the host: the generator's own limit.
Connections are closed by a reset, 32 are open at once; ``16 ports`` spreads them over 16 ports of the host.
What the agent's part of ``snat`` costs, against ports that the kernel picks, is for ``snat_ports.py``.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.common import OUTSIDE, PORT
from lab.kernel.state import StateDir

SNAT, BARE = "bench-snat", "bench-bare"
SECONDS = 2.0
TOGETHER = 32
TABLES = ("mangle", "nat", "filter")
GOALS = {"connections/s": 0.85, "connections/s, 16 ports": 0.85, "Gbit/s": 0.95}


def filter_of(*words: str) -> str:
    """Run iptables in the load balancer of the lab without rules."""
    return common.run(*common.inside(BARE, "lb.vnet1"), "iptables-legacy", "-w", *words)


def take_rules_away() -> None:
    # When members are first judged, the agent writes the tables once more.
    _, unsettled = StateDir(BARE).wait_health(deadline_s=60)
    assert not unsettled, "members are not judged"
    for table in TABLES:
        filter_of("-t", table, "-F")
        filter_of("-t", table, "-X")
    filter_of("-P", "FORWARD", "ACCEPT")
    common.run(*common.inside(BARE, "lb.vnet1"), "sysctl", "-qw", "net.netfilter.nf_conntrack_events=0")
    words = ("ip", "route", "add", "10.0.0.0/16", "via", "169.254.2.2", "dev", "lb.vnet1", "onlink")
    common.run(*common.inside(BARE, "internet"), *words)


@contextlib.contextmanager
def tracked(wanted: bool) -> Iterator[None]:
    """Have connection tracking on in the lab without rules, by a rule that changes nothing."""
    rule = ("FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
    if not wanted:
        yield
        return
    filter_of("-A", *rule)
    try:
        yield
    finally:
        filter_of("-D", *rule)


def measured(traffic: Path, lab: str, place: str, kind: str) -> dict[str, Any]:
    """Measure one thing once."""
    if kind == "Gbit/s":
        return common.load(traffic, lab, place, "push", OUTSIDE, PORT - 1, SECONDS)
    common.run(*common.inside(lab, "lb.vnet1"), "conntrack", "-F")
    ports = 16 if "16" in kind else 1
    found: dict[str, Any] = common.load(traffic, lab, place, "open", OUTSIDE, PORT, ports, SECONDS, TOGETHER)
    found["tracked"] = common.entries(lab)
    return found


def bare(traffic: Path, kind: str, *, track: bool) -> dict[str, Any]:
    with tracked(track):
        return measured(traffic, BARE, "vm0", kind)


def main() -> None:
    options = common.arguments(__doc__)
    common.need_root()
    common.on_signals()
    rounds = options.rounds or 7
    data: dict[str, Any] = {"seconds_each": SECONDS, "together": TOGETHER, "kinds": {}}
    rows = []
    with common.workplace() as folder, common.removed(SNAT, BARE), contextlib.ExitStack() as stack:
        traffic = common.compiled("traffic.c", folder)
        for name in (SNAT, BARE):
            common.run(common.LAB, "up", common.topology(folder, name, 2, pools=[1]))
        take_rules_away()
        for name in (SNAT, BARE):
            stack.enter_context(common.serving(traffic, name))
        for kind, limit in GOALS.items():
            common.say(f"{kind}, {rounds} rounds")
            things: dict[str, Callable[[], dict[str, Any]]] = {
                "snat": lambda kind=kind: measured(traffic, SNAT, "vm0", kind),
                "no rules": lambda kind=kind: bare(traffic, kind, track=False),
                "tracked": lambda kind=kind: bare(traffic, kind, track=True),
                "one wire": lambda kind=kind: measured(traffic, BARE, "internet", kind),
            }
            found = common.interleaved(rounds, things)
            rates = {who: [one["rate"] for one in all_of] for who, all_of in found.items()}
            ratios = {
                f"snat / {other}": common.goal(common.ratio(rates["snat"], rates[other]), limit)
                for other in ("no rules", "tracked")
            }
            data["kinds"][kind] = {"measured": found, "ratios": ratios}
            form = ".2f" if kind == "Gbit/s" else ".0f"
            rows += [(kind, who, common.spread(rate, form)) for who, rate in rates.items()]
            rows += [(kind, name, common.verdict(one)) for name, one in ratios.items()]
        left = [line for table in TABLES for line in filter_of("-t", table, "-S").splitlines() if line.startswith("-A")]
        assert not left, f"rules were written again meanwhile: {left}"
    common.report(options, ("", "", "rate"), rows, data)


if __name__ == "__main__":
    main()
