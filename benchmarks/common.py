"""What the benchmarks share: topologies, the lab's own command, yardsticks in C, medians and tables.

Every lab that is made here is called ``bench-...``, and is removed whatever happens.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
LAB = CHECKOUT / "scripts" / "lab"
PYTHON = CHECKOUT / ".venv" / "bin" / "python"


# --- the command line of a benchmark ---


def arguments(text: str | None, **options: dict[str, Any]) -> argparse.Namespace:
    """Read the options that every benchmark has, and its own."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="a table, or everything")
    parser.add_argument("--rounds", type=int, help="how often each thing is measured (default: by its size)")
    for name, option in options.items():
        parser.add_argument("--" + name.replace("_", "-"), **option)
    return parser.parse_args()


def need_root() -> None:
    """End with the tool's own status for a machine that lacks what is needed, unless this is root."""
    if os.geteuid() != 0:
        print("this benchmark makes network namespaces: run it as root", file=sys.stderr)
        sys.exit(4)


def say(text: str) -> None:
    """Tell what goes on; results alone go to stdout."""
    print(text, file=sys.stderr, flush=True)


def on_signals() -> None:
    """Have a signal end the program by an exception, so that everything is cleaned up."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


# --- running things ---


def run(*command: object, **options: Any) -> str:
    """Run a command to its end and return what it printed; a failure shows what it said."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def clocked(*command: object, **options: Any) -> float:
    """Return the seconds that a command takes from beginning to end."""
    began = time.monotonic()
    run(*command, **options)
    return time.monotonic() - began


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Have a folder for what is generated and compiled."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def compiled(source: str, folder: Path) -> Path:
    """Compile one of the yardsticks."""
    program = folder / Path(source).stem
    run("gcc", "-O2", "-Wall", "-o", program, HERE / source)
    return program


# --- labs ---


@contextlib.contextmanager
def removed(*names: str) -> Iterator[None]:
    """Have these labs gone before and after."""

    def down() -> None:
        for name in names:
            subprocess.run([LAB, "down", name], capture_output=True, check=False)

    down()
    try:
        yield
    finally:
        down()


def topology(
    folder: Path,
    name: str,
    vms: int,
    *,
    pools: Sequence[int] = (),
    nat_rules: int = 0,
    own_addresses: int = 0,
    services: str = "",
    snat_ports: int = 0,
    time_scale: int = 0,
    profile: str = "",
) -> Path:
    """Write a topology: one virtual network with ``vms`` VMs and one outside host.

    ``pools`` gives the sizes of load-balanced pools, filled from the first VM on, each with a frontend and a rule;
    ``nat_rules`` is the number of inbound NAT rules of one more load balancer, all to the last VM; the
    ``own_addresses`` VMs after those of the pools have an instance-level public IP; ``services`` is each VM's;
    ``snat_ports`` replaces the documents' number of SNAT ports of a VM, ``time_scale`` has timers run faster,
    ``profile`` is another revision of the documents than the default one.
    """
    lines = [
        f"name: {name}",
        *([f"profile: {profile}"] if profile else []),
        "internet:",
        "  outside: {address: 198.51.100.20}",
        "virtual_networks:",
        "  vnet1: {address_space: [10.0.0.0/16], subnets: {all: 10.0.0.0/17}}",
        "virtual_machines:",
    ]
    balanced = sum(pools)
    serves = f", services: [{services}]" if services else ""
    for number in range(vms):
        extra = ""
        if number < balanced:
            extra = ", availability_set: pooled"
        elif number < balanced + own_addresses:
            extra = f", instance_public_ip: {{name: own{number}}}"
        lines.append(f"  vm{number}: {{subnet: vnet1/all{extra}{serves}}}")
    if pools or nat_rules:
        lines.append("load_balancers:")
    first = 0
    for pool, size in enumerate(pools):
        members = ", ".join(f"vm{number}" for number in range(first, first + size))
        first += size
        lines += [
            f"  lb{pool}:",
            "    frontend_ip_configurations: {public: null}",
            f"    backend_address_pools: {{pool: [{members}]}}",
            "    probes: {alive: {port: 80}}",
            "    load_balancing_rules:",
            "      web: {frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}",
        ]
    if nat_rules:
        lines += ["  lbnat:", "    frontend_ip_configurations: {public: null}", "    inbound_nat_rules:"]
    for number in range(nat_rules):
        ports = f"frontend_port: {10000 + number}, backend_port: {1 + number}"
        lines.append(f"      r{number}: {{frontend: public, virtual_machine: vm{vms - 1}, {ports}}}")
    overrides = {"snat_ports_per_vm": snat_ports, "time_scale": time_scale}
    wanted = ", ".join(f"{key}: {value}" for key, value in overrides.items() if value)
    if wanted:
        lines.append(f"overrides: {{{wanted}}}")
    file = folder / f"{name}.lab.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def namespace(lab: str, place: str) -> str:
    """Return the name of a place's namespace, as `ip netns` knows it."""
    return f"lab.{lab}.{place}"


def inside(lab: str, place: str) -> tuple[str, ...]:
    """Return the words that run a command inside a place."""
    return ("ip", "netns", "exec", namespace(lab, place))


# --- load ---

OUTSIDE = "198.51.100.20"
PORT = 7000  # the first of the echo servers; the sink has the one before


@contextlib.contextmanager
def answering(lab: str, place: str, *command: object) -> Iterator[None]:
    """Have a command run in a place of a lab that says ``ready`` as soon as it answers."""
    words = [*inside(lab, place), *map(str, command)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield
        finally:
            server.terminate()


def serving(
    traffic: Path, lab: str, ports: int = 16, *, place: str = "outside", address: str = OUTSIDE
) -> contextlib.AbstractContextManager[None]:
    """Have the far end run in a lab, in its outside host if nothing else is said."""
    return answering(lab, place, traffic, "serve", address, PORT, ports)


def load(traffic: Path, lab: str, place: str, *words: object) -> dict[str, Any]:
    """Run the load generator in a place."""
    return json.loads(run(*inside(lab, place), traffic, *words))


def entries(lab: str) -> int:
    """Return how many connections a load balancer tracks."""
    return int(run(*inside(lab, "lb.vnet1"), "conntrack", "-C"))


# --- numbers ---


def interleaved(rounds: int, things: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Measure several things in turn, A B A B: what disturbs the machine disturbs all of them."""
    found: dict[str, list[Any]] = {name: [] for name in things}
    for _ in range(rounds):
        for name, measure in things.items():
            found[name].append(measure())
    return found


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios of what was measured in the same round."""
    return statistics.median(a / b for a, b in zip(these, those, strict=False))


def spread(values: Sequence[float], form: str = ".3f") -> str:
    """Return a median with its extremes."""
    return f"{median(values):{form}} [{min(values):{form}}-{max(values):{form}}]"


def goal(value: float, limit: float, *, at_most: bool = False) -> dict[str, Any]:
    """Return whether a ratio is as good as it should be."""
    met = value <= limit if at_most else value >= limit
    return {"ratio": value, "goal": f"{'<=' if at_most else '>='} {limit:g}", "met": met}


def report(options: argparse.Namespace, header: Sequence[str], rows: Sequence[Sequence[str]], data: object) -> None:
    """Print the table, or everything as JSON."""
    if options.output == "json":
        print(json.dumps(data, indent=1))
        return
    lines = [header, *rows]
    widths = [max(len(str(line[column])) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def verdict(found: dict[str, Any] | None) -> str:
    """Return a ratio, its goal and whether it is met, in words."""
    if found is None:
        return ""
    return f"{found['ratio']:.2f} (goal {found['goal']}: {'met' if found['met'] else 'MISSED'})"
