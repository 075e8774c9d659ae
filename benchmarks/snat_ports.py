"""What it costs that an agent gives each outbound flow its SNAT port, against the kernel's own ranges on the same path.

    sudo .venv/bin/python -P benchmarks/snat_ports.py [--only rate first held decider] [-o json]

``rate``: new connections a second. ``plain`` is a lab of the same topology whose mangle table is empty, so that nobody
is asked and the iptables SNAT range translates; its agent still hears of the ends of connections. ``plain, untold``
has the kernel keep them to itself, so that the agent sleeps. Both begin with an empty table; ``plain, full`` goes on
from there: the kernel remembers closed connections, and must take ports over from them. The default profile has 1,024
ports; ``2019-05`` here has 64,000, timers 10 times faster and each port held for 1.5 s after a reset. Connections as in
``dataplane.py``.
``first``: what a flow waits for its first packet and the answer, one flow at a time, from the last VM of a pool of
1,000 and from a pool of one. ``held``: 64,000 UDP flows of one VM at once, and ``lab ports`` meanwhile. ``decider``:
``lab.deciders.snat_ports`` alone; needs no root.
"""

import contextlib
import json
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from benchmarks import common
from lab.compile import compile as compile_network
from lab.deciders.snat_ports import Ports
from lab.flow import TCP, UDP, Flow
from lab.kernel.state import StateDir, existing
from lab.plan import SnatPolicy, SnatPool
from lab.topology import load

ASKED, PLAIN, ASKED_2019, PLAIN_2019 = "bench-asked", "bench-plain", "bench-asked19", "bench-plain19"
ONE, MANY, HELD = "bench-one", "bench-many", "bench-held"
EDGE = "lb.vnet1"
SECONDS, TOGETHER = 1.0, 32  # short, and often: other work on the machine disturbs a whole round alike
COOL_S = 2.0  # longer than a port of 2019-05 is held here
POOL = 1000
DATAGRAMS = 20  # of a VM that has 32 ports
SOCKETS, PORTS, FIRST_PORT = 250, 256, 20_000  # of flows that are held
FLOWS = SOCKETS * PORTS
PARTS = ("rate", "first", "held", "decider")
Row = tuple[str, str, str]


def edge(lab: str, *words: object) -> str:
    return common.run(*common.inside(lab, EDGE), *words)


def judge(data: dict[str, Any], rows: list[Row], kind: str, name: str, found: dict[str, Any]) -> None:
    data.setdefault("ratios", {})[f"{kind}: {name}"] = found
    rows.append((kind, name, common.verdict(found)))


# --- new connections a second ---


def ask_nobody(lab: str) -> None:
    edge(lab, "iptables-legacy", "-w", "-t", "mangle", "-F", "PREROUTING")


def asked(lab: str) -> bool:
    return "NFQUEUE" in edge(lab, "iptables-legacy", "-w", "-t", "mangle", "-S", "PREROUTING")


def opened(
    traffic: Path, lab: str, ports: int, *, told: bool = True, empty: bool = True, settle_s: float = 0.0
) -> dict[str, Any]:
    """Open connections for a while."""
    edge(lab, "sysctl", "-qw", f"net.netfilter.nf_conntrack_events={int(told)}")
    if empty:
        edge(lab, "conntrack", "-F")
    time.sleep(0.2)
    words = ("open", common.OUTSIDE, common.PORT, ports, SECONDS, TOGETHER)
    agent_before = cpu_s(agent_of(lab))
    found = common.load(traffic, lab, "vm0", *words)
    found["agent_cpu_s"] = cpu_s(agent_of(lab)) - agent_before
    found["tracked"] = common.entries(lab)
    time.sleep(settle_s)
    return found


def rate(traffic: Path, folder: Path, rounds: int, data: dict[str, Any], rows: list[Row]) -> None:
    shapes: dict[str, dict[str, Any]] = {
        ASKED: {},
        PLAIN: {},
        ASKED_2019: {"profile": "2019-05", "snat_ports": 64_000, "time_scale": 10},
        PLAIN_2019: {"profile": "2019-05", "snat_ports": 64_000, "time_scale": 10},
    }
    with common.removed(*shapes), contextlib.ExitStack() as stack:
        for lab, shape in shapes.items():
            # An inbound NAT rule: it binds the VM to a frontend as a pool does, and nobody is probed meanwhile.
            common.run(common.LAB, "up", common.topology(folder, lab, 1, nat_rules=1, **shape))
            stack.enter_context(common.serving(traffic, lab))
        for lab in (PLAIN, PLAIN_2019):
            ask_nobody(lab)
        for ports in (1, 16):
            kind = f"connections/s, {ports} port{'s' if ports > 1 else ''}"
            common.say(f"{kind}, {rounds} rounds")
            things: dict[str, Callable[[], dict[str, Any]]] = {
                "asked": lambda ports=ports: opened(traffic, ASKED, ports),
                "plain": lambda ports=ports: opened(traffic, PLAIN, ports),
                "plain, full": lambda ports=ports: opened(traffic, PLAIN, ports, empty=False),
                "plain, untold": lambda ports=ports: opened(traffic, PLAIN, ports, told=False),
                "asked, 2019-05": lambda ports=ports: opened(traffic, ASKED_2019, ports, settle_s=COOL_S),
                "plain, 2019-05": lambda ports=ports: opened(traffic, PLAIN_2019, ports),
                "plain, untold, 2019-05": lambda ports=ports: opened(traffic, PLAIN_2019, ports, told=False),
            }
            found = common.interleaved(rounds, things)
            data[kind] = found
            rates = {who: [one["rate"] for one in all_of] for who, all_of in found.items()}
            for who, values in rates.items():
                failed = sum(one["failed"] for one in found[who])
                rows.append((kind, who, common.spread(values, ".0f") + (f", {failed} failed" if failed else "")))
            for end in ("", ", 2019-05"):
                for other in ("plain", "plain, full", "plain, untold"):
                    if other + end not in rates:
                        continue
                    one = common.goal(common.ratio(rates["asked" + end], rates[other + end]), 0.9)
                    judge(data, rows, kind, f"asked / {other}{end}", one)
        assert [asked(lab) for lab in shapes] == [True, False, True, False], "a table was written again meanwhile"


# --- the first packet of a flow ---


def first(traffic: Path, folder: Path, rounds: int, data: dict[str, Any], rows: list[Row]) -> None:
    senders = {ONE: "vm0", MANY: f"vm{POOL - 1}"}
    names = {ONE: "pool of 1", MANY: f"pool of {POOL}"}

    def datagrams(lab: str) -> dict[str, Any]:
        edge(lab, "conntrack", "-F")
        time.sleep(0.1)
        return common.load(traffic, lab, senders[lab], "ask", common.OUTSIDE, common.PORT, DATAGRAMS)

    def connections(lab: str) -> dict[str, Any]:
        return common.load(traffic, lab, senders[lab], "open", common.OUTSIDE, common.PORT, 1, SECONDS / 2, 1)

    with common.removed(ONE, MANY), contextlib.ExitStack() as stack:
        for lab, size in ((ONE, 1), (MANY, POOL)):
            common.run(common.LAB, "up", common.topology(folder, lab, size, pools=[size]))
            stack.enter_context(common.serving(traffic, lab))
        for lab in (ONE, MANY):
            _, unsettled = StateDir(lab).wait_health(deadline_s=60)
            assert not unsettled, "members are not judged"
        parts: dict[str, tuple[Callable[[str], dict[str, Any]], str, int]] = {
            "first UDP datagram, ms": (datagrams, "first_ms", 12 * rounds),
            "TCP connect, ms": (connections, "connect_ms", 4 * rounds),
        }
        for kind, (measure, what, times) in parts.items():
            common.say(f"{kind}, {times} rounds")
            things = {lab: lambda lab=lab, measure=measure: measure(lab) for lab in senders}
            found = common.interleaved(times, things)
            data[kind] = found
            waited = {lab: [one[what] for one in all_of] for lab, all_of in found.items()}
            rows += [(kind, names[lab], common.spread(values)) for lab, values in waited.items()]
            one = common.goal(common.ratio(waited[MANY], waited[ONE]), 1.15, at_most=True)
            judge(data, rows, kind, f"{names[MANY]} / {names[ONE]}", one)
            if what == "first_ms":
                assert all(one["answered"] == DATAGRAMS for all_of in found.values() for one in all_of), "lost"


# --- many flows at once ---


def agent_of(lab: str) -> int:
    agent = existing(lab)[1].agent
    assert agent is not None
    return agent.pid


def rss_mb(process: int) -> float:
    line = next(x for x in Path(f"/proc/{process}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def holding(traffic: Path) -> Iterator[subprocess.Popen[str]]:
    words = (*common.inside(HELD, "vm0"), traffic, "hold", common.OUTSIDE, common.PORT, PORTS, FIRST_PORT, SOCKETS)
    pipe = subprocess.PIPE
    with subprocess.Popen([str(word) for word in words], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def shown(agent: int) -> tuple[float, float, int]:
    """Return the clock's and the processors' seconds of ``lab ports``, the agent's among them, and the ports in use."""
    began, before = time.monotonic(), cpu_s(agent) + sum(os.times()[2:4])
    found = json.loads(common.run(common.LAB, "ports", HELD, "-o", "json"))
    used = cpu_s(agent) + sum(os.times()[2:4]) - before
    return time.monotonic() - began, used, sum(one["ports"] for one in found["ports"])


def filled(traffic: Path, folder: Path) -> dict[str, Any]:
    """Hold the flows once, in a lab of their own: a VM without a load balancer, which may take any port."""
    with common.removed(HELD):
        common.run(common.LAB, "up", common.topology(folder, HELD, 1, profile="2017-09"))
        agent = agent_of(HELD)
        found: dict[str, Any] = {"rss_before_mb": rss_mb(agent), "empty_s": [shown(agent)[0] for _ in range(3)]}
        with common.serving(traffic, HELD, PORTS), holding(traffic) as process:
            before = cpu_s(agent)
            found["opened"] = answer(process)
            found["agent_cpu_s"] = cpu_s(agent) - before
            looks = [shown(agent) for _ in range(7)]
            found |= {key: [look[at] for look in looks] for at, key in enumerate(("full_s", "cpu_s", "in_use"))}
            found |= {"tracked": common.entries(HELD), "rss_mb": rss_mb(agent)}
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            found["again"] = answer(process)
        return found


def held(traffic: Path, folder: Path, rounds: int, data: dict[str, Any], rows: list[Row]) -> None:
    common.say(f"{FLOWS} flows, {rounds} rounds")
    found = [filled(traffic, folder) for _ in range(rounds)]
    data["held"] = found
    kind = f"{FLOWS:,} UDP flows"

    def told(name: str, values: list[float], form: str) -> None:
        rows.append((kind, name, common.spread(values, form)))

    told("answered the first time", [one["opened"]["answered"] for one in found], ".0f")
    told("answered again, while all are held", [one["again"]["answered"] for one in found], ".0f")
    told("ports in use, as lab ports says", [min(one["in_use"]) for one in found], ".0f")
    told("flows/s decided", [one["opened"]["rate"] for one in found], ".0f")
    told("datagrams/s afterwards", [one["again"]["rate"] for one in found], ".0f")
    told("agent, CPU s", [one["agent_cpu_s"] for one in found], ".1f")
    told("agent before, MB", [one["rss_before_mb"] for one in found], ".0f")
    told("agent, MB", [one["rss_mb"] for one in found], ".0f")
    told("lab ports without flows, s", [x for one in found for x in one["empty_s"]], ".2f")
    told("lab ports -o json, s", [x for one in found for x in one["full_s"]], ".2f")
    told("lab ports -o json, CPU s with the agent's", [x for one in found for x in one["cpu_s"]], ".2f")
    usual = common.median([x for one in found for x in one["full_s"]])
    judge(data, rows, kind, "lab ports, s", common.goal(usual, 1, at_most=True))


# --- the decider alone ---


def decider(folder: Path, rounds: int, data: dict[str, Any], rows: list[Row]) -> None:
    far = 0xC6336414  # OUTSIDE

    def ports_of(**shape: Any) -> tuple[Ports, int]:
        plan = compile_network(load(common.topology(folder, "bench-decider", 1, **shape)))
        pools = tuple(plan.of(SnatPool))
        return Ports(next(plan.of(SnatPolicy)), pools), int(IPv4Address(pools[0].source))

    def turnover(count: int = 100_000, **shape: Any) -> float:
        """Each flow is closed by a reset when 32 others have begun; then time goes on, by 1/10,000 s for each."""
        ports, source = ports_of(**shape)
        flows = [Flow(TCP, source, 32768 + n % 28000, far, 443 + n // 28000) for n in range(count)]
        live: deque[Flow] = deque()
        began = time.process_time()
        for number, flow in enumerate(flows):
            now = number / 10_000
            assert ports.decide(flow, now) is not None
            live.append(flow)
            if len(live) > TOGETHER:
                ports.closed(live.popleft(), "rst", now)
                ports.due(now)
        return count / (time.process_time() - began)

    def filling(**shape: Any) -> float:
        ports, source = ports_of(**shape)
        flows = [Flow(UDP, source, FIRST_PORT + n // PORTS, far, common.PORT + n % PORTS) for n in range(FLOWS)]
        began = time.process_time()
        assert all(ports.decide(flow, 0.0) is not None for flow in flows)
        return FLOWS / (time.process_time() - began)

    wide = {"nat_rules": 1, "snat_ports": 64_000, "time_scale": 10, "profile": "2019-05"}
    things: dict[str, Callable[[], float]] = {
        "default profile, 1,024 ports": lambda: turnover(nat_rules=1),
        "2019-05, 64,000 ports": lambda: turnover(**wide),
        f"2017-09, {FLOWS:,} that stay": lambda: filling(profile="2017-09"),
    }
    common.say(f"the decider alone, {rounds} rounds")
    found = common.interleaved(rounds, things)
    data["decider"] = found
    rows += [("decisions/CPU s, decider alone", who, common.spread(rates, ".0f")) for who, rates in found.items()]


def main() -> None:
    only = {"nargs": "+", "choices": PARTS, "default": PARTS, "help": "what to measure"}
    options = common.arguments(__doc__, only=only)
    if set(options.only) != {"decider"}:
        common.need_root()
    common.on_signals()
    rounds = options.rounds or 7
    often = options.rounds or 15
    data: dict[str, Any] = {"seconds_each": SECONDS, "together": TOGETHER}
    rows: list[Row] = []
    with common.workplace() as folder:
        traffic = common.compiled("traffic.c", folder)
        if "rate" in options.only:
            rate(traffic, folder, often, data, rows)
        if "first" in options.only:
            first(traffic, folder, rounds, data, rows)
        if "held" in options.only:
            held(traffic, folder, min(rounds, 3), data, rows)
        if "decider" in options.only:
            decider(folder, rounds, data, rows)
    data["table"] = rows
    common.report(options, ("", "", "measured"), rows, data)


if __name__ == "__main__":
    main()
