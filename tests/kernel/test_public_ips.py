"""Instance-level public IPs and several network interfaces on a running lab: live flows, FTP, fragments."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import rootlab

pytestmark = pytest.mark.root

TEXT = """\
name: own-addresses
profile: 2022-03
internet:
  far: {address: 198.51.100.20, services: [http:80, tcp:7000, udp:9000]}
virtual_networks:
  vnet1:
    address_space: [10.1.0.0/16]
    subnets: {front: 10.1.0.0/24, back: {address_prefix: 10.1.1.0/24, network_security_group: group}}
virtual_machines:
  web: {subnet: vnet1/front, services: [http:80, ftp:2121]}
  wide: {services: [http:80], network_interfaces: {nic1: {subnet: vnet1/front}, nic2: {subnet: vnet1/back}}}
  back: {subnet: vnet1/back, services: [http:80]}
cloud_services:
  shop: {virtual_machines: [web], endpoints: [{name: web, virtual_machine: web, local_port: 80, public_port: 80}]}
network_security_groups:
  group: [{name: no, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, destination_port_range: 81}]
"""
#: Opens a flow that is held, and then says what the far side sees of it, a line for each that it is given.
_HELD = """
import socket
held = socket.create_connection(("198.51.100.20", 7000), 5).makefile("rw")
print(held.readline(), end="", flush=True)
while True:
    input()
    held.write("x\\n")
    held.flush()
    print(held.readline(), end="", flush=True)
"""
_DATAGRAM = """
import socket, sys
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.settimeout(float(sys.argv[2]))
opened.sendto(bytes(int(sys.argv[1])), ("198.51.100.20", 9000))
try:
    print(opened.recv(1000).decode(), end="")
except TimeoutError:
    print("silence", end="")
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rootlab.running(tmp_path_factory.mktemp("own"), TEXT) as name:
        yield name


def _seen(lab: str) -> str:
    return str(rootlab.ask(lab, "web", "http://198.51.100.20/")["client_address"])


def _datagram(lab: str, size: int, timeout_s: float = 5.0) -> str:
    return rootlab.must(lab, "web", "python3", "-c", _DATAGRAM, str(size), str(timeout_s))


def _idles(lab: str, own: str, above: int, most: int) -> None:
    """Hold a flow that comes in to an address, and see how long it may be idle."""
    connect = "import socket; held = socket.create_connection(('OWN', 80), 5); print(flush=True); input()"
    with rootlab.talking(lab, "far", connect.replace("OWN", own)) as held:
        held()
        listed = rootlab.must(lab, "lb.vnet1", "conntrack", "-L", "-p", "tcp", "-d", own, "--state", "ESTABLISHED")
        found = [int(line.split()[2]) for line in listed.splitlines() if "dport=80 " in line]
        assert found, listed
        assert all(above < left <= most for left in found), listed


def test_an_address_comes_and_goes_and_flows_that_live_keep_the_one_they_have(lab: str):
    vip = _seen(lab)
    with rootlab.talking(lab, "web", _HELD) as held:
        before = json.loads(held())
        rootlab.ok("public-ip", "set", lab, "web", "ip", "--domain-name-label", "label")
        (shown,) = json.loads(rootlab.ok("public-ip", "show", lab, "web", "-o", "json"))["public_ips"]
        own = shown["PublicIPAddress"]
        assert own not in ("", vip)
        assert (_seen(lab), rootlab.ask(lab, "far", f"http://{own}/")["node"]) == (own, "web")
        assert rootlab.ask(lab, "far", f"http://{vip}/")["node"] == "web"
        assert json.loads(held("more")) == before
        assert before["client_address"] == vip
    _idles(lab, own, 0, 240)
    rootlab.ok("public-ip", "set", lab, "web", "ip", "--idle-timeout-in-minutes", "15")
    _idles(lab, own, 240, 900)
    named = rootlab.ok("exec", lab, "far", "--", "curl", "-sS", "-m", "5", "http://label.0.shop.cloudapp.net/")
    assert json.loads(named)["node"] == "web"
    # Fragments leave by it, and only by it, from this revision on.
    assert json.loads(_datagram(lab, 3000))["client_address"] == own
    rootlab.ok("public-ip", "remove", lab, "web")
    assert _seen(lab) == vip
    assert _datagram(lab, 3000, 0.5) == "silence"
    assert json.loads(_datagram(lab, 30))["client_address"] == vip
    assert rootlab.inside(lab, "far", "curl", "-sS", "-m", "0.5", f"http://{own}/").status != 0


def test_a_refusal_names_the_limit_and_changes_nothing(lab: str):
    before = rootlab.world(lab)
    done = rootlab.run("public-ip", "set", lab, "wide", "ip")
    assert done.returncode == 2
    assert "a VM with several network interfaces cannot have one (Instance level public IP, 2016-02-10)" in done.stderr
    rootlab.assert_same(before, rootlab.world(lab))


def test_a_secondary_interface_reaches_its_own_subnet_only(lab: str):
    """And its group is the subnet's, while the primary interface has none."""
    show = json.loads(rootlab.ok("show", lab, "wide", "-o", "json"))
    (second,) = show["secondary_addresses"]
    assert rootlab.ask(lab, "back", f"http://{second}/")["server_address"] == second
    assert rootlab.ask(lab, "wide", "http://10.1.1.4/")["client_address"] == second
    assert rootlab.ask(lab, "wide", "http://198.51.100.20/")["node"] == "far"
    # From another subnet it hears what it is asked, and its answer is lost: it has no default gateway.
    assert rootlab.inside(lab, "web", "curl", "-sS", "-m", "0.5", f"http://{second}/").status == 28
    # Each flow is seen to do as predicted, or the command fails.
    rootlab.ok("nsg", "matrix", lab, "--service", "80/tcp", "--service", "81/tcp")


def test_an_ftp_service_gives_one_file_and_takes_none(lab: str):
    url = "ftp://10.1.0.4:2121/"
    mine = rootlab.must(lab, "wide", "curl", "-sS", "-m", "5", f"{url}lab.json")
    assert json.loads(mine) == {"node": "web"}
    assert "lab.json" in rootlab.must(lab, "wide", "curl", "-sS", "-m", "5", "-P", "-", url)
    for words in (["-T", "/etc/hostname", url], [f"{url}../../../../etc/passwd", "--path-as-is"]):
        assert rootlab.inside(lab, "wide", "curl", "-sS", "-m", "5", *words).status != 0, words


def test_a_service_configuration_goes_into_a_topology_and_the_topology_runs(tmp_path: Path):
    text = "name: roles\ncloud_services:\n  s:\n    roles: {web: 1}  # one\n"
    exported = tmp_path / "s.cscfg"
    with rootlab.running(tmp_path, text) as name:
        exported.write_text(rootlab.ok("export", "cscfg", name).replace(
            "<AddressAssignments />",
            '<AddressAssignments><InstanceAddress roleName="web"><PublicIPs><PublicIP name="ip" /></PublicIPs>'
            "</InstanceAddress></AddressAssignments>",
        ))  # fmt: skip
        file = tmp_path / "roles.lab.yaml"
        assert "public IP ip" in rootlab.ok("import", "cscfg", file, exported)
        rootlab.ok("up", file)
        assert "web_IN_0.s.cloudapp.net" in rootlab.ok("public-ip", "show", name)
        assert "# one" in file.read_text()
        rootlab.ok("import", "cscfg", name, exported)
        exported.write_text(exported.read_text().replace("<PublicIP ", '<PublicIP idleTimeoutInMinutes="3" '))
        line = next(n for n, text in enumerate(exported.read_text().splitlines(), 1) if "<PublicIP " in text)
        done = rootlab.run("import", "cscfg", name, exported)
        assert done.returncode == 2
        assert f"s.cscfg:{line}: InstanceAddress web: PublicIP: idleTimeoutInMinutes: 3; an idle" in done.stderr
