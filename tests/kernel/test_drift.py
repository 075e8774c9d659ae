"""What is done by hand to a lab is told by `show` and `plan --diff --kernel`, and `up` mends just that.

Every fault is made with the tool that makes it in life, and while a connection elsewhere in the lab goes on.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kernel import netns
from lab.plan import namespace
from tests import rootlab, unprivileged

pytestmark = pytest.mark.root

_TALK = """
import socket
with socket.create_connection(("198.51.100.10", 7000), timeout=10) as peer, peer.makefile("rw") as stream:
    print(stream.readline(), end="", flush=True)
    while line := input():
        stream.write(line + "\\n")
        stream.flush()
        print(stream.readline(), end="", flush=True)
"""
_NSG = """
network_security_groups:
  closed:
    - {name: web, priority: 100, direction: Inbound, access: Allow, protocol: Tcp, destination_port_range: 80}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("drift")
    text = rootlab.small("drift").replace("alone: {subnet: vnet1/front}", "alone: {subnet: vnet1/front, GROUP}")
    text = text.replace("GROUP", "network_security_group: closed, services: [http:80]") + _NSG
    with rootlab.running(folder, text):
        yield folder / "drift.lab.yaml"


#: What is done at once: where, by which tool, and a part of what is said of it.
BY_HAND = (
    (
        ("router.vnet1", "iptables-legacy -F FORWARD", "- router.vnet1: -t filter -A FORWARD"),
        ("lb.vnet1", "iptables-legacy -t nat -F", "- lb.vnet1: -t nat -A "),
        ("lb.vnet1", "iptables-legacy -P FORWARD ACCEPT", "- lb.vnet1: -t filter -P FORWARD DROP"),
        (
            "internet",
            "iptables-legacy -t mangle -A PREROUTING -p tcp --dport 80 -j DROP",
            "+ internet: -t mangle -A PREROUTING -j DROP",
        ),
        ("web", "ip addr flush dev eth0", "- web: address 10.1.0.5/32 on eth0"),
        ("router.vnet1", "ip addr add 10.1.0.4/32 dev lo", "+ router.vnet1: address 10.1.0.4/32 on lo"),
        ("internet", "ip route del 40.1.2.3", "- internet: route 40.1.2.3/32"),
        ("other", "ip route replace blackhole default", "- other: route 0.0.0.0/0"),
        ("lb.vnet1", "ip rule add from 198.51.100.11 table 77", "+ lb.vnet1: routing rule priority"),
        ("internet", "ip rule add table main; ip rule del priority 32766", "no routing rule priority 32766"),
        ("router.vnet1", "sysctl -qw net.ipv4.ip_forward=0", "- router.vnet1: sysctl net.ipv4.ip_forward = 1"),
    ),
    (
        ("web", "ip link set eth0 down", "+ web: interface eth0, which is down"),
        ("other", "ip link del eth0", " other --- eth0 in other"),
        ("router.vnet1", "iptables-legacy -I FORWARD -j DROP", "+ router.vnet1: -t filter -A FORWARD -j DROP"),
        ("router.vnet1", "iptables-legacy -N mine", "+ router.vnet1: -t filter -N mine"),
        (
            "internet",
            "ip route add blackhole 40.1.2.3/32 metric 5; ip route del 40.1.2.3/32 metric 0",
            "+ internet: route 40.1.2.3/32 blackhole metric 5",
        ),
    ),
    (("web", "ip link set eth0 down; ip link set eth0 name eth9", " web --- eth0 in web"),),
)


def mended(file: Path, *parts: str) -> None:
    """Hold what is said of faults, mend them, and see that nothing differs and all is reached."""
    said = rootlab.ok("show", "drift")
    differing = [line for line in said.splitlines() if line.startswith("differs: ")]
    for part in parts:
        assert any(part in line for line in differing), f"{part}: {said}"
    assert "`lab up` mends them" in said
    answer = json.loads(rootlab.ok("up", file, "-o", "json"))
    assert [f"differs: {line}" for line in answer["mended"]] == differing
    assert "differs: " not in rootlab.ok("show", "drift")
    rootlab.wait_until(
        lambda: "lb1/alive/web: down" not in rootlab.ok("show", "drift"), "the probe finds its member again"
    )
    assert rootlab.ask("drift", "web", "http://198.51.100.10/")["client_address"] == "40.1.2.3"
    assert rootlab.ask("drift", "far", "http://40.1.2.3/")["node"] == "web"
    assert rootlab.ask("drift", "web", "http://10.1.0.4/")["node"] == "alone"


def test_what_is_done_by_hand_is_told_and_mended_while_flows_elsewhere_go_on(file: Path):
    assert json.loads(rootlab.ok("show", "drift", "-o", "json"))["differs"] == []
    with rootlab.talking("drift", "alone", _TALK) as say:
        assert "far" in say()
        for faults in BY_HAND:
            for place, command, _ in faults:
                rootlab.must("drift", place, "sh", "-ec", command)
            mended(file, *(part for _, _, part in faults))
            assert "far" in say("on")


def test_links_that_are_moved_and_namespaces_whose_name_is_taken_are_made_anew(file: Path):
    with rootlab.talking("drift", "alone", _TALK) as say:
        assert "far" in say()
        router, internet = namespace("drift", "router.vnet1"), namespace("drift", "internet")
        subprocess.run(["ip", "-n", router, "link", "set", "web", "netns", internet], check=True)
        mended(file, " web --- eth0 in web")
        name = namespace("drift", "web")
        subprocess.run(["ip", "netns", "del", name], check=True)
        subprocess.run(["ip", "netns", "add", name], check=True)
        mended(file, "web: namespace")
        assert "far" in say("on")


def test_a_router_that_is_gone_is_made_anew_and_ports_are_given_out_again(file: Path):
    netns.remove(namespace("drift", "router.vnet1"))
    assert "damaged: a namespace is missing" in rootlab.ok("show", "drift")
    assert "+ router.vnet1: namespace" in rootlab.ok("plan", file, "--diff", "--kernel")
    assert rootlab.ok("plan", file, "--diff") == "nothing would change\n"
    mended(file, "router.vnet1: namespace")
    assert rootlab.ok("plan", file, "--diff", "--kernel") == "nothing would change\n"


def test_without_root_nothing_is_said_of_the_kernel(file: Path):
    done = unprivileged.run("show", "drift", "-o", "json")
    assert json.loads(done.stdout)["differs"] is None
    done = unprivileged.run("plan", str(file), "--diff", "--kernel")
    assert (done.returncode, "need root" in done.stderr) == (4, True)
