"""What network security groups cost: to apply, the first packet of a flow, and those after it.

    sudo .venv/bin/python -P benchmarks/security_groups.py [-o json]

``apply`` is `lab up` of a running lab whose file has 200 rules more, in the group of each of 100 VMs: the whole
command. ``first`` and ``later`` packets are the microseconds of a ``send`` of UDP from a VM, which takes the packet all
the way into the receiver's socket before it returns: in a network without groups, whose router tracks nothing, and in
one where the packet is asked of 200 rules before those that let it pass, half of them on its way out and half on its
way in. The ``neighbour`` is a VM of the same network, behind the router alone; to ``outside`` a flow is asked on its
way out only, and a load balancer translates it in both networks.
"""

import contextlib
import json
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks import common

FREE, GUARDED, MANY = "bench-free", "bench-guarded", "bench-many"
OUTSIDE = "198.51.100.20"
RULES, VMS = 200, 100
FLOWS, PACKETS = 900, 20000
APPLY_S, FIRST, LATER = 2.0, 2.0, 1.05

PLACES = {"vm1": "a neighbour", "outside": "outside"}
KINDS = (("first", FLOWS, 0, FIRST), ("later", 1, PACKETS, LATER))

#: Answers every datagram; opens flows, sends on each of them, and prints the median microseconds of both.
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 7)); print("ready", flush=True)
while True:
    data, peer = s.recvfrom(64); s.sendto(data, peer)
"""
ASK = """
import socket, sys, time
address, flows, trips = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sockets = []
for _ in range(flows):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.connect((address, 7)); sockets.append(s)
first, after = [], []
for s in sockets:
    for times, count in ((first, 1), (after, trips)):
        for _ in range(count):
            began = time.perf_counter_ns(); s.send(b"x"); times.append(time.perf_counter_ns() - began); s.recv(64)
first.sort(); after.sort()
print(first[len(first) // 2] / 1000, after[len(after) // 2] / 1000 if after else 0.0)
"""


def topology(folder: Path, name: str, vms: int, rules: int, *, guarded: bool) -> Path:
    """Write a network of VMs and an outside host, each VM with the group if they are guarded.

    What the benchmark sends is matched by the default rules only.
    """
    group = ", network_security_group: g" if guarded else ""
    lines = [
        f"name: {name}",
        f"internet: {{outside: {{address: {OUTSIDE}}}}}",
        "virtual_networks: {vnet1: {address_space: [10.0.0.0/16], subnets: {all: 10.0.0.0/17}}}",
        "virtual_machines:",
        *(f"  vm{number}: {{subnet: vnet1/all{group}}}" for number in range(vms)),
    ]
    if guarded:
        lines += ["network_security_groups:", "  g:", *(f"    - {rule(number)}" for number in range(rules))]
        lines += [] if rules else ["    []"]
    file = folder / f"{name}.lab.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def rule(number: int) -> str:
    """Return one of the rules: half of them for each direction, all for UDP, none for what the benchmark sends."""
    direction, other = ("Inbound", "source") if number % 2 else ("Outbound", "destination")
    return (
        f"{{name: r{number}, priority: {100 + number}, direction: {direction}, access: Deny, protocol: Udp, "
        f"{other}_address_prefix: 10.0.{number % 100}.0/24, destination_port_range: {9000 + number}}}"
    )


def applied(folder: Path) -> float:
    """Return the seconds of `up` that brings the rules to a running lab."""
    with common.removed(MANY):
        common.run(common.LAB, "up", topology(folder, MANY, VMS, 0, guarded=True))
        return common.clocked(common.LAB, "up", topology(folder, MANY, VMS, RULES, guarded=True))


def sends(lab: str, place: str, flows: int, after: int) -> dict[str, float]:
    """Return the median microseconds of the first packet of a flow to a place and of later ones."""
    target = json.loads(common.run(common.LAB, "show", lab, place, "-o", "json"))["address"]
    said = common.run(*common.inside(lab, "vm0"), common.PYTHON, "-c", ASK, target, flows, after)
    first, later = map(float, said.split())
    return {"first": first, "later": later}


def main() -> None:
    options = common.arguments(__doc__)
    common.need_root()
    common.on_signals()
    rounds = options.rounds or 9
    data: dict[str, object] = {}
    rows = []
    with common.workplace() as folder:
        common.say(f"apply, {rounds} rounds")
        seconds = [applied(folder) for _ in range(rounds)]
        found = common.goal(common.median(seconds), APPLY_S, at_most=True)
        data["apply"] = {"seconds": seconds, **found}
        rows.append(("apply", f"{RULES} rules, {VMS} VMs", f"{common.spread(seconds)} s", common.verdict(found)))
        with common.removed(FREE, GUARDED):
            for name in (FREE, GUARDED):
                common.run(common.LAB, "up", topology(folder, name, 2, RULES, guarded=name == GUARDED))
            with contextlib.ExitStack() as stack:
                for lab, place in product((FREE, GUARDED), PLACES):
                    stack.enter_context(common.answering(lab, place, common.PYTHON, "-c", ECHO))
                for place, (what, flows, after, limit) in product(PLACES, KINDS):
                    title = f"{what} packets to {PLACES[place]}"
                    common.say(f"{title}, {rounds} rounds")
                    both = common.interleaved(
                        rounds, {lab: partial(sends, lab, place, flows, after) for lab in (FREE, GUARDED)}
                    )
                    times = {lab: [one[what] for one in all_of] for lab, all_of in both.items()}
                    ratio = common.goal(common.ratio(times[GUARDED], times[FREE]), limit, at_most=True)
                    data[title] = {"microseconds": times, **ratio}
                    rows += [(title, lab, f"{common.spread(t, '.1f')} us", "") for lab, t in times.items()]
                    rows.append((title, "guarded / free", "", common.verdict(ratio)))
    common.report(options, ("", "", "", "ratio"), rows, data)


if __name__ == "__main__":
    main()
