"""lab/kernel/netfilter.py on a fresh namespace, beside another tool that writes the same table."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from lab.errors import KernelError
from lab.kernel import netfilter, netns
from lab.plan import Jump, Provenance, Rule, Terminal

pytestmark = pytest.mark.root

PLACE = "test-netfilter.place"
RULES = tuple(
    Rule(
        place="place",
        why=Provenance("test", f"number {number}"),
        table="nat",
        chain="PREROUTING",
        destination=f"10.0.0.{number}/32",
        target=Terminal("ACCEPT"),
    )
    for number in range(40)
)


@pytest.fixture
def _place() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns.prepare()
    try:
        os.close(netns.make(PLACE))
        netns.enter_descriptor(home)
        yield
    finally:
        netns.enter_descriptor(home)
        os.close(home)
        netns.remove_all([PLACE])
        netns.remove_seed()


@pytest.mark.usefixtures("_place")
def test_a_table_is_written_although_somebody_else_writes_it_all_the_time():
    forever = "echo begun; while :; do iptables-legacy -t nat -I PREROUTING 1 -j ACCEPT 2>&-; done"
    command = ["ip", "netns", "exec", PLACE, "sh", "-c", forever]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == "begun\n"
            for _ in range(20):
                netfilter.write(PLACE, {"nat": RULES})
        finally:
            other.kill()
        other.stdout.read()  # until what it started has ended, too
    netfilter.write(PLACE, {"nat": RULES})
    saved = subprocess.run(
        ["ip", "netns", "exec", PLACE, "iptables-legacy-save", "-t", "nat"], capture_output=True, text=True, check=True
    )
    assert sum(line.startswith("-A") for line in saved.stdout.splitlines()) == len(RULES)


@pytest.mark.usefixtures("_place")
def test_what_the_kernel_does_not_take_is_an_error_and_no_endless_loop():
    here = Rule(place="place", why=RULES[0].why, table="nat", chain="round", target=Jump("round"))
    into = Rule(place="place", why=RULES[0].why, table="nat", chain="PREROUTING", target=Jump("round"))
    with pytest.raises(KernelError, match="the kernel must take its 2 items"):
        netfilter.write(PLACE, {"nat": (into, here)})
