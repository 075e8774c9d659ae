"""What rules cost `up`: it should grow with the rules of a topology, not with its VMs.

    sudo .venv/bin/python -P benchmarks/rules.py [-o json]

Each size is measured as whole commands: ``up`` from nothing, and ``again``, which is `up` of the lab that runs
already: nothing is made, every packet-filter table is written anew. ``tables`` is the writing alone
(lab.kernel.netfilter, in a process that has loaded it) and ``restore`` is iptables-legacy-restore with the same
rules, in the same namespace. ``healthy`` is, for the pool of VMs that serve, the time from the end of `up`
until the rules of the last member are there, and how many of them ever are (of at most a minute).
"""

import time
from pathlib import Path
from typing import Any

from benchmarks import common
from lab import plan
from lab.kernel import netfilter
from lab.kernel.state import StateDir

EDGE = "lb.vnet1"
HEALTHY_S = 60.0

#: What is measured: how many VMs, and what else; the number of rules follows.
RULES_GROW = {rules: {"vms": 10, "nat_rules": rules} for rules in (10, 100, 1000, 5000)}
VMS_GROW = {vms: {"vms": vms, "nat_rules": 100} for vms in (10, 100, 1000)}
POOLS: dict[str, dict[str, Any]] = {
    "pool of 1,000": {"vms": 1000, "pools": [1000]},
    "pool of 1,000, serving": {"vms": 1000, "pools": [1000], "services": "http:80"},
}


def edge_rules(name: str) -> list[plan.Rule]:
    """Return the rules of a running lab's load balancer."""
    return [rule for rule in StateDir(name).plan().of(plan.Rule) if rule.place == EDGE]


def healthy(name: str, members: int) -> tuple[int, float]:
    """Return how many members the load balancer came to translate to, and after how many seconds."""
    began = last = time.monotonic()
    there = 0
    while there < members and time.monotonic() - began < HEALTHY_S:
        saved = common.run(*common.inside(name, EDGE), "iptables-legacy-save", "-t", "nat")
        found = saved.count("--to-destination")
        if found != there:
            there, last = found, time.monotonic()
        time.sleep(0.1)
    return there, last - began


def measured(folder: Path, name: str, shape: dict[str, Any]) -> dict[str, Any]:
    """Bring a lab up, measure what its rules cost, take it down."""
    file = common.topology(folder, name, **shape)
    with common.removed(name):
        found: dict[str, Any] = {"up": common.clocked(common.LAB, "up", file)}
        if "services" in shape:
            found["members"], found["healthy"] = healthy(name, shape["vms"])
        found["rules"] = len(edge_rules(name))
        found["again"] = common.clocked(common.LAB, "up", file)
        tables = {table: items for (place, table), items in StateDir(name).plan().tables().items() if place == EDGE}
        began = time.monotonic()
        netfilter.write(common.namespace(name, EDGE), tables)
        found["tables"] = time.monotonic() - began
        saved = common.run(*common.inside(name, EDGE), "iptables-legacy-save")
        found["restore"] = common.clocked(*common.inside(name, EDGE), "iptables-legacy-restore", input=saved)
        return found


def main() -> None:
    options = common.arguments(__doc__)
    common.need_root()
    common.on_signals()
    rounds = options.rounds or 5
    groups: dict[str, dict[Any, dict[str, Any]]] = {
        "rules grow, 10 VMs": RULES_GROW,
        "VMs grow, 100 NAT rules": VMS_GROW,
        "one pool": POOLS,
    }
    data: dict[str, Any] = {}
    rows = []
    with common.workplace() as folder:
        for title, shapes in groups.items():
            common.say(f"{title}, {rounds} rounds")
            things = {
                key: lambda number=number, shape=shape: measured(folder, f"bench-rules{number}", shape)
                for number, (key, shape) in enumerate(shapes.items())
            }
            found = common.interleaved(3 if title == "one pool" else rounds, things)
            data[title] = {"measured": found}
            for key, all_of in found.items():
                cells = [
                    common.spread([one[what] for one in all_of]) if what in all_of[0] else ""
                    for what in ("up", "again", "tables", "restore", "healthy")
                ]
                if "members" in all_of[0]:
                    cells[-1] += f", {min(one['members'] for one in all_of)} members"
                rows.append((title, str(shapes[key]["vms"]), str(all_of[0]["rules"]), *cells))
            data[title]["tables / restore"] = {
                str(key): common.ratio([one["tables"] for one in all_of], [one["restore"] for one in all_of])
                for key, all_of in found.items()
            }
    same = data["VMs grow, 100 NAT rules"]["measured"]
    growth = common.ratio([one["tables"] for one in same[1000]], [one["tables"] for one in same[10]])
    data["tables: 1,000 VMs / 10 VMs"] = common.goal(growth, 1.5, at_most=True)
    rows.append(("tables: 1,000 VMs / 10 VMs", "", "", common.verdict(data["tables: 1,000 VMs / 10 VMs"]), *[""] * 4))
    common.report(
        options, ("", "VMs", "rules", "up, s", "again, s", "tables, s", "restore, s", "healthy, s"), rows, data
    )


if __name__ == "__main__":
    main()
