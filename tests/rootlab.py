"""Labs that root tests make: small texts, run through the real command line, always removed."""

import difflib
import functools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.kernel import daemons, netns
from lab.kernel.warm import Server
from lab.plan import namespace
from tests import shapes

CHECKOUT = Path(__file__).resolve().parent.parent
TOPOLOGIES = CHECKOUT / "topologies"
DEADLINE_S = 30.0

SMALL = """\
name: NAME
internet:
  far: {address: 198.51.100.10, services: [http:80, tcp:7000, udp:9000, https:443]}
  other: {address: 198.51.100.11}
virtual_networks:
  vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}
virtual_machines:
  web: {subnet: vnet1/front, services: [http:80]}
  alone: {subnet: vnet1/front}
load_balancers:
  lb1:
    frontend_ip_configurations: {public: 40.1.2.3}
    backend_address_pools: {pool: [web]}
    probes: {alive: {port: 80, interval_in_seconds: 5}}
    load_balancing_rules:
      http: {frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}
"""


def small(name: str) -> str:
    """Return a topology with a balanced VM, a standalone one and two outside hosts."""
    return SMALL.replace("NAME", name)


def _commands() -> Server:
    """Return the command line, loaded; tests/unit/kernel/test_warm.py holds it against one that starts."""
    mask = os.umask(0)
    os.umask(mask)
    return _loaded(Path("/proc/self/ns/mnt").stat().st_ino, mask, resource.getrlimit(resource.RLIMIT_NOFILE))


@functools.cache
def _loaded(*_inherited: object) -> Server:
    """Load the command line, once for all that a command inherits: mounts, umask and limits."""
    return Server("lab.cli.warm")


def run(*arguments: str | Path, timeout_s: float = 600.0) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would; started anew where modules are to be found elsewhere."""
    words = [*map(str, arguments)]
    if "PYTHONPATH" in os.environ:
        command = [sys.executable, "-P", "-m", "lab", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    done = _commands().run(words, timeout_s=timeout_s)
    return subprocess.CompletedProcess(words, done.status, done.stdout, done.stderr)


def ok(*arguments: str | Path) -> str:
    """Run the command line, which must succeed."""
    done = run(*arguments)
    assert done.returncode == 0, f"lab {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}"
    if "json" in arguments and "--follow" not in arguments:
        assert shapes.misfits([*map(str, arguments)], done.stdout) == []
    return done.stdout


def inside(lab: str, place: str, *command: str, timeout_s: float = 30.0) -> daemons.Finished:
    """Run a command in a place of a lab."""
    return daemons.run(command, inside=lambda: netns.enter(namespace(lab, place)), timeout_s=timeout_s)


def must(lab: str, place: str, *command: str) -> str:
    """Run a command in a place of a lab, which must succeed."""
    done = inside(lab, place, *command)
    assert done.status == 0, f"{place}: {' '.join(command)}: {done.stderr}"
    return done.stdout


def ask(lab: str, place: str, url: str) -> dict[str, object]:
    """Return what an http service says it saw of a client in a place."""
    return json.loads(must(lab, place, "curl", "-sS", "-m", "15", url))


@contextmanager
def talking(lab: str, place: str, script: str) -> Iterator[Callable[..., str]]:
    """Have a Python script run in a place; yield what sends it a line, if one is given, and returns its next."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: netns.enter(namespace(lab, place)),  # noqa: PLW1509 - tests have one thread
    )

    def said(line: str = "") -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        if line:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        return process.stdout.readline().strip()

    try:
        yield said
    finally:
        process.kill()
        process.communicate()


@contextmanager
def running(folder: Path, text: str) -> Iterator[str]:
    """Have a topology run; yield its name, and remove it whatever happens."""
    name = text.split("name: ", 1)[1].split(maxsplit=1)[0]
    file = folder / f"{name}.lab.yaml"
    file.write_text(text)
    try:
        ok("up", file)
        yield name
    finally:
        done = run("down", name)
        assert done.returncode == 0, done.stderr


def wait_until(condition: Callable[[], bool], what: str, seen: Callable[[], object] = str) -> None:
    """Wait for a condition, and say what was seen last if it does not come."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {DEADLINE_S:g} s; last seen: {seen()}"
        time.sleep(0.02)


def world(lab: str) -> str:
    """Return all of a lab that other tools can see: namespaces, links, addresses, routes, rules, sysctls."""
    lines = []
    for path in sorted(netns.RUN.glob(f"lab.{lab}.*")):
        place = path.name.removeprefix(f"lab.{lab}.")
        lines.append(f"== {place}")
        for command in (
            ["ip", "-o", "link"],
            ["ip", "-o", "-4", "addr"],
            ["ip", "route", "show", "table", "all"],
            ["iptables-legacy-save"],
            ["sysctl", "-a", "--pattern", r"^net\.ipv4\.(ip_forward|conf\.all)|nf_conntrack_(tcp|udp)_"],
        ):
            said = re.sub(r"(state|qdisc) \w+|NO-CARRIER,", "", inside(lab, place, *command).stdout)
            # Counters and dates are no state of ours.
            kept = [line.split(" [")[0] for line in said.splitlines() if not line.startswith("#")]
            lines += [line for line in kept if "tcp_metrics" not in line]
    return "\n".join(lines)


def assert_same(before: str, after: str) -> None:
    """Fail with the lines that differ."""
    changed = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", n=0, lineterm=""))
    assert not changed, "\n".join(changed)


def machine() -> str:
    """Return everything of the machine itself that a lab might touch, as text."""
    commands = (
        ["ip", "-o", "link"],
        ["ip", "-o", "addr"],
        ["ip", "route", "show", "table", "all"],
        ["ip", "rule"],
        ["iptables-legacy-save"],
        ["sysctl", "-a", "--pattern", r"^net\.(ipv4|ipv6|core|netfilter)\."],
        ["ss", "-Hltun"],
        ["cat", "/etc/resolv.conf", "/etc/hosts", "/etc/passwd"],
    )
    lines = []
    for command in commands:
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        kept = (line.split(" [")[0] for line in said.splitlines() if not line.startswith("#"))
        lines += [line for line in kept if not any(word in line for word in _MOVING)]
    return "\n".join(lines)


#: Values of the machine that change by themselves.
_MOVING = ("nf_conntrack_count", "tcp_metrics", "udp_mem", "tcp_mem", "dev_weight", "netdev_rss", "inode")


def leftovers(lab: str) -> list[str]:
    """Return what is left of a lab: namespaces, its folder, its processes."""
    found = [path.name for path in netns.RUN.glob(f"lab.{lab}.*")]
    if (Path("/run/lab") / lab).exists():
        found.append(f"/run/lab/{lab}")
    if (Path("/run/lab") / f".{lab}.lock").exists():
        found.append(f"lock of {lab}")
    ours = Path("/run").stat().st_dev
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "root/run").stat().st_dev == ours  # others belong to tests with a /run of their own
        except OSError:
            continue
        if here and b"lab.agent" in command and lab.encode() in command:
            found.append(f"process {process.name}")
    return found


def kill_after(seconds: float, *arguments: str | Path) -> int:
    """Start the command line, kill it with SIGKILL after so long, and return how it ended."""
    command = [sys.executable, "-P", "-m", "lab", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        return process.wait()
