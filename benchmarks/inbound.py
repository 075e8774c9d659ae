"""New inbound connections a second through the rules of load balancers, against bare iptables DNAT on the same path.

    sudo .venv/bin/python -P benchmarks/inbound.py [-o json] [--only rule timeout floating reset programming]

For each kind of rule two labs of one topology: one as it comes, and one whose load balancer has its tables emptied and
DNAT rules to the two members in turn instead (``bare``), with nobody told of connections (``untold``: the events of
connection tracking are off) or with the agent told of their ends, as it is in every lab (``told``). ``rule`` is a
load-balancing rule, ``timeout`` one with an idle timeout of its own, ``floating`` one with floating IP, and ``reset``
one of a Standard load balancer with TCP reset, whose every segment the agent hears. Connections are closed by a reset,
32 are open at once.

``cost`` is what a first packet and its answer take of a processor, to a port of the rule where nothing listens: the
sender pays for the whole way, so that it hardly depends on who else is busy.

``programming`` is how long it takes to have a rule for a pool of 1,000 members in a lab that did not have it:
``tables`` is what the agent does when members come and go, compiling the network and writing the load balancer's
tables; ``up`` is the whole command, which also gives all the VMs other SNAT ports, and waits for the first probes.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.common import PORT
from lab.compile import compile as compile_network
from lab.kernel import netfilter
from lab.kernel.state import StateDir
from lab.topology import load

VIP = "40.1.2.3"
SECONDS = 2.0
TOGETHER = 32
GOAL = 0.9
#: What a rule of each kind says beside its ports.
KINDS = {
    "rule": "",
    "timeout": ", idle_timeout_in_minutes: 10",
    "floating": ", enable_floating_ip: true",
    "reset": ", enable_tcp_reset: true",
}
MEMBERS = 1000
PROGRAMMED_S = 1.0


def topology(folder: Path, name: str, kind: str) -> Path:
    """Write a topology with two VMs behind a rule of a kind."""
    sku, group = ("Standard", ", network_security_group: open") if kind == "reset" else ("Basic", "")
    own = f", loopback_addresses: [{VIP}]" if kind == "floating" else ""
    ports = f"frontend_port: {PORT}, backend_port: {PORT}{KINDS[kind]}"
    file = folder / f"{name}.lab.yaml"
    file.write_text(
        f"""name: {name}
internet: {{outside: {{address: {common.OUTSIDE}}}}}
virtual_networks: {{vnet1: {{address_space: [10.0.0.0/16], subnets: {{all: 10.0.0.0/17}}}}}}
virtual_machines:
  vm0: {{subnet: vnet1/all, private_ip_address: 10.0.0.4, services: [tcp:80]{own}{group}}}
  vm1: {{subnet: vnet1/all, private_ip_address: 10.0.0.5, services: [tcp:80]{own}{group}}}
network_security_groups: {{open: [{{name: all, priority: 100, direction: Inbound, access: Allow}}]}}
load_balancers:
  lb:
    sku: {sku}
    frontend_ip_configurations: {{public: {VIP}}}
    backend_address_pools: {{pool: [vm0, vm1]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules: {{web: {{frontend: public, backend_pool: pool, probe: alive, {ports}}}}}
"""
    )
    return file


def edge(lab: str, *words: str) -> str:
    """Run a command in the load balancer of a lab."""
    return common.run(*common.inside(lab, "lb.vnet1"), *words)


def take_rules_away(lab: str) -> None:
    """Leave a lab the rules that lead to its two VMs in turn."""
    for table in ("mangle", "nat", "filter", "raw"):
        edge(lab, "iptables-legacy", "-t", table, "-F")
        edge(lab, "iptables-legacy", "-t", table, "-X")
    edge(lab, "iptables-legacy", "-P", "FORWARD", "ACCEPT")
    to = ("-d", VIP, "-p", "tcp", "--dport", str(PORT))
    every_other = ("-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0")
    for address, when in (("10.0.0.4", every_other), ("10.0.0.5", ())):
        target = ("-j", "DNAT", "--to-destination", f"{address}:{PORT}")
        edge(lab, "iptables-legacy", "-t", "nat", "-A", "PREROUTING", *to, *when, *target)


@contextlib.contextmanager
def pair(folder: Path, traffic: Path | None, kind: str) -> Iterator[tuple[str, str]]:
    """Have two labs of a kind run, the second with bare rules, and servers in all their VMs if there are any."""
    ours, bare = f"bench-in-{kind}"[:20], f"bench-dnat-{kind}"[:20]
    with common.removed(ours, bare), contextlib.ExitStack() as stack:
        for name in (ours, bare):
            # The bare lab has no floating IP: its VM is spoken to by its own address.
            common.run(common.LAB, "up", topology(folder, name, "rule" if (name, kind) == (bare, "floating") else kind))
        for name in (ours, bare):
            _, unsettled = StateDir(name).wait_health(deadline_s=60)
            assert not unsettled, f"members are not judged: {unsettled}"
        take_rules_away(bare)
        for name in (ours, bare):
            for vm in ("vm0", "vm1"):
                at = VIP if (name, kind) == (ours, "floating") else {"vm0": "10.0.0.4", "vm1": "10.0.0.5"}[vm]
                if traffic is not None:
                    stack.enter_context(common.serving(traffic, name, 1, place=vm, address=at))
        yield ours, bare


def measured(traffic: Path, lab: str, *, told: bool = True) -> float:
    """Return the connections a second of one run."""
    edge(lab, "conntrack", "-F")
    edge(lab, "sysctl", "-qw", f"net.netfilter.nf_conntrack_events={int(told)}")
    found = common.load(traffic, lab, "outside", "open", VIP, PORT, 1, SECONDS, TOGETHER)
    return float(found["rate"])


def first_packets(lab: str, *, told: bool = True) -> float:
    """Return the CPU microseconds of a first packet and its answer, to a port of a rule where nothing listens.

    A wire's packet has arrived when `send` returns: the whole way is at the sender's expense, whoever else is busy.
    """
    edge(lab, "conntrack", "-F")
    edge(lab, "sysctl", "-qw", f"net.netfilter.nf_conntrack_events={int(told)}")
    words = (*common.inside(lab, "outside"), common.PYTHON, "-P", "-m", "benchmarks.inbound_first", VIP, str(PORT))
    return float(common.run(*words, cwd=common.CHECKOUT))


def costs(folder: Path, kind: str, rounds: int) -> dict[str, list[float]]:
    """Return the microseconds of first packets, with nothing that listens."""
    with pair(folder, None, kind) as (ours, bare):
        return common.interleaved(
            rounds,
            {
                kind: lambda: first_packets(ours),
                "bare, told": lambda: first_packets(bare),
                "bare, untold": lambda: first_packets(bare, told=False),
            },
        )


def rates(folder: Path, traffic: Path, kind: str, rounds: int) -> dict[str, list[float]]:
    """Return the connections a second."""
    with pair(folder, traffic, kind) as (ours, bare):
        return common.interleaved(
            rounds,
            {
                kind: lambda: measured(traffic, ours),
                "bare, told": lambda: measured(traffic, bare),
                "bare, untold": lambda: measured(traffic, bare, told=False),
            },
        )


def programming(folder: Path) -> dict[str, float]:
    """Return the seconds that a rule for 1,000 members takes, in a lab where nothing else changes."""
    name = "bench-programming"
    with common.removed(name):
        file = common.topology(folder, name, MEMBERS, pools=[MEMBERS])
        whole = file.read_text()
        file.write_text(whole.replace("    load_balancing_rules:\n", "    x-rules:\n"))
        common.run(common.LAB, "up", file)
        file.write_text(whole)
        network = load(file, kept=StateDir(name).addresses())
        began = time.monotonic()
        tables = compile_network(network).tables()
        netfilter.write(
            common.namespace(name, "lb.vnet1"),
            {table: items for (place, table), items in tables.items() if place == "lb.vnet1"},
        )
        took = time.monotonic() - began
        return {"tables": took, "up": common.clocked(common.LAB, "up", file)}


def main() -> None:
    known = (*KINDS, "programming")
    options = common.arguments(__doc__, only={"nargs": "*", "choices": known, "default": known, "help": "which"})
    common.need_root()
    common.on_signals()
    rounds = options.rounds or 9
    data: dict[str, Any] = {"seconds_each": SECONDS, "together": TOGETHER, "kinds": {}}
    rows = []
    with common.workplace() as folder:
        traffic = common.compiled("traffic.c", folder)
        for kind in (kind for kind in KINDS if kind in options.only):
            common.say(f"{kind}, {rounds} rounds")
            found = rates(folder, traffic, kind, rounds)
            ratios = {
                f"{kind} / {other}": common.goal(common.ratio(found[kind], found[other]), GOAL)
                for other in ("bare, told", "bare, untold")
            }
            data["kinds"][kind] = {"rates": found, "ratios": ratios}
            rows += [(kind, who, common.spread(rate, ".0f")) for who, rate in found.items()]
            rows += [(kind, what, common.verdict(one)) for what, one in ratios.items()]
            spent = costs(folder, kind, rounds)
            # Less is better: what the bare rules take, over what ours take.
            ratios = {
                f"cost: {other} / {kind}": common.goal(common.ratio(spent[other], spent[kind]), GOAL)
                for other in ("bare, told", "bare, untold")
            }
            data["kinds"][kind] |= {"cost_us": spent, "cost_ratios": ratios}
            rows += [(kind, f"cost: {who}, us", common.spread(cost, ".1f")) for who, cost in spent.items()]
            rows += [(kind, what, common.verdict(one)) for what, one in ratios.items()]
        if "programming" in options.only:
            common.say(f"programming of {MEMBERS} members")
            runs = [programming(folder) for _ in range(max(3, rounds // 3))]
            for what in ("tables", "up"):
                seconds = [one[what] for one in runs]
                data[f"programming, {what}"] = common.goal(common.median(seconds), PROGRAMMED_S, at_most=True)
                rows.append(("programming", f"{what}, s", common.spread(seconds)))
    common.report(options, ("", "", "connections/s"), rows, data)


if __name__ == "__main__":
    main()
