"""Flows a second that the prober sends and matches, against scapy's own sr1.

    sudo .venv/bin/python -P benchmarks/probe.py [--flows 50000] [-o json]

``lab.verify.probe.packets.send`` from a VM with an instance-level public IP to a host outside, through a running lab:
every flow counts that the capture at the host has seen and matched. The clock is that of the whole call.
scapy sends from the same VM to a closed TCP port of the same host, over one socket that stays open, and
gets its answers; its start is not counted.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks import common
from lab.verify import experiment as ex
from lab.verify.probe import packets

LAB = "bench-probe"
OUTSIDE, PRIVATE = "198.51.100.20", "10.0.0.4"
GOAL = 20_000
SCAPY_FLOWS = 48


def flows(protocol: ex.Protocol, count: int, numbers: packets.Numbers) -> dict[str, Any]:
    """Send flows, and return how many arrived and in which time."""
    what = ex.Send(
        sender="vm0",
        private=PRIVATE,
        destination=OUTSIDE,
        protocol=protocol,
        count=count,
        watches=(ex.Watch("node", "outside"),),
    )
    began = time.monotonic()
    arrivals = packets.send(LAB, what, numbers)
    seconds = time.monotonic() - began
    matched = len(arrivals.seen[0])
    sources = {one.source for one in arrivals.seen[0]}
    return {
        "sent": count,
        "matched": matched,
        "distinct": len({one.source_port for one in arrivals.seen[0]}),
        "sources": sorted(sources),
        "seconds": seconds,
        "rate": matched / seconds,
    }


def scapy_alone() -> dict[str, Any]:
    """Ask with scapy alone, in a process of its own."""
    program = common.HERE / "scapy_yardstick.py"
    return json.loads(
        common.run(*common.inside(LAB, "vm0"), common.PYTHON, "-P", program, PRIVATE, OUTSIDE, SCAPY_FLOWS)
    )


def main() -> None:
    options = common.arguments(__doc__, flows={"type": int, "default": 50_000, "help": "flows of one measurement"})
    common.need_root()
    common.on_signals()
    numbers = packets.Numbers(1)
    with common.workplace() as folder, common.removed(LAB):
        common.run(common.LAB, "up", common.topology(folder, LAB, 1, own_addresses=1))
        things: dict[str, Callable[[], dict[str, Any]]] = {
            "udp": lambda: flows("udp", options.flows, numbers),
            "tcp": lambda: flows("tcp", options.flows, numbers),
            "scapy sr1": scapy_alone,
        }
        found = common.interleaved(options.rounds or 5, things)
    rates = {who: [one["rate"] for one in all_of] for who, all_of in found.items()}
    goals = {who: common.goal(common.median(rates[who]), GOAL) for who in ("udp", "tcp")}
    ratios = {who: common.ratio(rates[who], rates["scapy sr1"]) for who in goals}
    rows = []
    for who, all_of in found.items():
        lost = sum(one["sent"] - one["matched"] for one in all_of)
        judged = goals.get(who)
        text = f"{judged['goal']}: {'met' if judged['met'] else 'MISSED'}; {ratios[who]:.0f} x scapy" if judged else ""
        rows.append((who, common.spread(rates[who], ".0f"), str(all_of[0]["sent"]), str(lost), text))
    data = {"measured": found, "goals": goals, "times_scapy": ratios}
    common.report(options, ("", "flows/s", "of each", "lost in all", "goal"), rows, data)


if __name__ == "__main__":
    main()
