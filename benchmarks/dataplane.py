"""New connections and throughput from a VM through its load balancer's SNAT, against the same path without rules.

    sudo .venv/bin/python -P benchmarks/dataplane.py [-o json]

Three labs of one topology: ``snat`` has the documents' range of ports, ``64,000 ports`` nearly all of an address's,
which is never full. In the third one the tables of the load balancer are emptied, what is forwarded is
accepted, and the internet gets a route to the private address: ``no rules`` is that, with connection tracking
off; ``tracked`` has one rule that asks for a connection's state, which switches tracking on, and no other.
``one wire`` is the load generator from the internet namespace to the host: the generator's own limit.
Connections are closed by a reset, 32 are open at once; ``16 ports`` spreads them over 16 ports of the host.
"""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import common

SNAT, WIDE, BARE = "bench-snat", "bench-wide", "bench-bare"
OUTSIDE = "198.51.100.20"
PORT = 7000  # of the echo servers; the sink has the one before
SECONDS = 2.0
TOGETHER = 32
GOAL = 0.85


@contextlib.contextmanager
def serving(traffic: Path, lab: str) -> Iterator[None]:
    """Have the far end run in a lab's outside host."""
    words = (*common.inside(lab, "outside"), str(traffic), "serve", OUTSIDE, str(PORT), "16")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.terminate()


def filter_of(*words: str) -> None:
    """Run iptables in the load balancer of the third lab."""
    common.run(*common.inside(BARE, "lb.vnet1"), "iptables-legacy", "-w", *words)


def take_rules_away() -> None:
    for table in ("nat", "filter"):
        filter_of("-t", table, "-F")
        filter_of("-t", table, "-X")
    filter_of("-P", "FORWARD", "ACCEPT")
    words = ("ip", "route", "add", "10.0.0.0/16", "via", "169.254.2.2", "dev", "lb.vnet1", "onlink")
    common.run(*common.inside(BARE, "internet"), *words)


@contextlib.contextmanager
def tracked(wanted: bool) -> Iterator[None]:
    """Have connection tracking on in the third lab, by a rule that changes nothing."""
    rule = ("FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
    if not wanted:
        yield
        return
    filter_of("-A", *rule)
    try:
        yield
    finally:
        filter_of("-D", *rule)


def entries(lab: str) -> int:
    """Return how many connections a load balancer tracks."""
    return int(common.run(*common.inside(lab, "lb.vnet1"), "conntrack", "-C"))


def load(traffic: Path, lab: str, place: str, *words: object) -> dict[str, float]:
    """Run the load generator in a place."""
    return json.loads(common.run(*common.inside(lab, place), traffic, *words))


def measured(traffic: Path, lab: str, place: str, kind: str) -> dict[str, Any]:
    """Measure one thing once."""
    if kind == "Gbit/s":
        return load(traffic, lab, place, "push", OUTSIDE, PORT - 1, SECONDS)
    ports = 16 if "16" in kind else 1
    found: dict[str, Any] = load(traffic, lab, place, "open", OUTSIDE, PORT, ports, SECONDS, TOGETHER)
    found["tracked"] = entries(lab)
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
    with common.workplace() as folder, common.removed(SNAT, WIDE, BARE), contextlib.ExitStack() as stack:
        traffic = common.compiled("traffic.c", folder)
        for name in (SNAT, WIDE, BARE):
            ports = 64000 if name == WIDE else 0
            common.run(common.LAB, "up", common.topology(folder, name, 2, pools=[1], snat_ports=ports))
        take_rules_away()
        for name in (SNAT, WIDE, BARE):
            stack.enter_context(serving(traffic, name))
        for kind in ("connections/s", "connections/s, 16 ports", "Gbit/s"):
            common.say(f"{kind}, {rounds} rounds")
            things: dict[str, Callable[[], dict[str, Any]]] = {
                "snat": lambda kind=kind: measured(traffic, SNAT, "vm0", kind),
                "64,000 ports": lambda kind=kind: measured(traffic, WIDE, "vm0", kind),
                "no rules": lambda kind=kind: bare(traffic, kind, track=False),
                "tracked": lambda kind=kind: bare(traffic, kind, track=True),
                "one wire": lambda kind=kind: measured(traffic, BARE, "internet", kind),
            }
            found = common.interleaved(rounds, things)
            rates = {who: [one["rate"] for one in all_of] for who, all_of in found.items()}
            ratios = {
                f"{ours} / {other}": common.goal(common.ratio(rates[ours], rates[other]), GOAL)
                for ours in ("snat", "64,000 ports")
                for other in ("no rules", "tracked")
            }
            data["kinds"][kind] = {"measured": found, "ratios": ratios}
            form = ".1f" if kind == "Gbit/s" else ".0f"
            rows += [(kind, who, common.spread(rate, form)) for who, rate in rates.items()]
            rows += [(kind, name, common.verdict(one)) for name, one in ratios.items()]
    common.report(options, ("", "", "rate"), rows, data)


if __name__ == "__main__":
    main()
