"""What it costs to probe 1,000 members every 15 seconds.

    sudo .venv/bin/python -P benchmarks/health_probes.py [--members 1000] [--tcp] [-o json]

One pool, one HTTP probe (or TCP) with the interval that the documents begin with, and a server in every member, which
is the same process: the agent both asks and answers. ``share`` is the agent's processor time in an interval by the
interval, ``round`` the seconds from the first to the last probe of a round, by a capture of the connections that the
load balancer opens, and ``answered`` the members that are up at the end.
"""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from benchmarks import common
from lab.kernel import netns

LAB = "bench-health"
INTERVAL_S = 15
PROBER = socket.inet_aton("168.63.129.16")
SHARE, ROUND_S = 0.20, 15.0


def topology(folder: Path, members: int, protocol: str) -> Path:
    """Write a network of a pool of so many members that all answer."""
    names = [f"vm{number}" for number in range(members)]
    lines = [
        f"name: {LAB}",
        "internet: {outside: {address: 198.51.100.20}}",
        "virtual_networks: {vnet1: {address_space: [10.0.0.0/16], subnets: {all: 10.0.0.0/17}}}",
        "virtual_machines:",
        *(f"  {name}: {{subnet: vnet1/all, services: [http:80]}}" for name in names),
        "load_balancers:",
        "  lb:",
        "    frontend_ip_configurations: {public: 40.1.1.1}",
        f"    backend_address_pools: {{pool: [{', '.join(names)}]}}",
        f"    probes: {{alive: {{protocol: {protocol}, port: 80, interval_in_seconds: {INTERVAL_S}}}}}",
        "    load_balancing_rules:",
        "      web: {frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}",
    ]
    file = folder / f"{LAB}.lab.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def state() -> dict[str, Any]:
    return json.loads(common.run(common.LAB, "show", LAB, "-o", "json"))


def agent() -> int:
    return int(json.loads(Path(f"/run/lab/{LAB}/record.json").read_text())["agent"]["pid"])


def used_s(process: int) -> float:
    """Return the processor seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def probes(seconds: float) -> list[float]:
    """Return when probes left the load balancer, for so many seconds."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns.enter(common.namespace(LAB, "lb.vnet1"))
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
    netns.enter_descriptor(home)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
    opened.settimeout(0.1)
    found, end = [], time.monotonic() + seconds
    with opened:
        while time.monotonic() < end:
            try:
                packet = opened.recv(100)
            except TimeoutError:
                continue
            syn = packet[9] == socket.IPPROTO_TCP and packet[(packet[0] & 15) * 4 + 13] == 2
            if syn and packet[12:16] == PROBER:
                found.append(time.monotonic())
    return found


def rounds_of(times: list[float]) -> list[list[float]]:
    """Return the probes of each round: between two rounds nobody is asked for a while."""
    found: list[list[float]] = []
    for when in times:
        if found and when - found[-1][-1] < INTERVAL_S / 4:
            found[-1].append(when)
        else:
            found.append([when])
    return found


def main() -> None:
    options = common.arguments(
        __doc__,
        members={"type": int, "default": 1000, "help": "members of the pool"},
        tcp={"action": "store_true", "help": "TCP probes instead of HTTP"},
    )
    common.need_root()
    common.on_signals()
    count = options.rounds or 3
    with common.workplace() as folder, common.removed(LAB):
        protocol = "Tcp" if options.tcp else "Http"
        common.run(common.LAB, "up", topology(folder, options.members, protocol))
        time.sleep(INTERVAL_S)
        process = agent()
        shares = []
        for number in range(count):
            common.say(f"interval {number + 1} of {count}")
            before, began = used_s(process), time.monotonic()
            time.sleep(INTERVAL_S)
            shares.append((used_s(process) - before) / (time.monotonic() - began))
        common.say("capturing two rounds")
        captured = [one for one in rounds_of(probes(2 * INTERVAL_S)) if len(one) >= options.members / 2]
        spans = [one[-1] - one[0] for one in captured]
        up = sum(member["up"] for node in state()["nodes"] for member in node["health"].values())
    share = common.goal(common.median(shares), SHARE, at_most=True)
    took = common.goal(max(spans, default=float("inf")), ROUND_S, at_most=True)
    rows = [
        ("share of one core", common.spread(shares), common.verdict(share)),
        ("seconds of a round", common.spread(spans) if spans else "-", common.verdict(took)),
        ("answered", f"{up} of {options.members}", ""),
    ]
    data = {"protocol": protocol, "shares": shares, "rounds": spans, "share": share, "round": took, "up": up}
    common.report(options, (f"{options.members} members, {protocol}", "", "goal"), rows, data)


if __name__ == "__main__":
    main()
