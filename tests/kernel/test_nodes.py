"""Inside nodes: names, servers, the way there, and no way out."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kernel.state import StateDir
from tests import rootlab, unprivileged

pytestmark = pytest.mark.root

TEXT = """\
name: nodes
internet:
  far: {address: 198.51.100.10, services: [http:80, https:443, tcp:7000, udp:9000, ssh:22]}
  resolver1.opendns.com: {address: 208.67.222.222, services: [dns:53]}
virtual_networks:
  vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}
  vnet2: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}
virtual_machines:
  one: {subnet: vnet1/front, services: [http:80]}
  two: {subnet: vnet1/front, services: [http:80]}
  own: {subnet: vnet1/front, services: [http:80], instance_public_ip: {name: ip, domain_name_label: label}}
  away: {subnet: vnet2/front, services: [http:80]}
  loose: {services: [http:80]}
cloud_services: {shop: {virtual_machines: [own]}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rootlab.running(tmp_path_factory.mktemp("nodes"), TEXT) as name:
        yield name


def test_exec_gives_a_node_its_hostname_resolver_and_interfaces(lab: str):
    assert rootlab.ok("exec", lab, "one", "--", "hostname") == "one\n"
    assert rootlab.ok("exec", lab, "one", "--", "cat", "/etc/resolv.conf") == "nameserver 168.63.129.16\n"
    assert rootlab.ok("exec", lab, "far", "--", "cat", "/etc/resolv.conf") == "nameserver 192.0.2.53\n"
    assert set(rootlab.ok("exec", lab, "one", "--", "ls", "/sys/class/net").split()) == {"lo", "eth0"}


def test_exec_passes_the_commands_exit_status_on(lab: str):
    assert rootlab.run("exec", lab, "one", "--", "sh", "-c", "exit 7").returncode == 7


def test_exec_of_an_unknown_node_suggests_one(lab: str):
    done = rootlab.run("exec", lab, "onne", "--", "true")
    assert (done.returncode, done.stderr) == (2, 'nodes: no node "onne"; did you mean "one"?\n')


def test_exec_of_an_unknown_command_says_so(lab: str):
    done = rootlab.run("exec", lab, "one", "--", "no-such-command")
    assert (done.returncode, "must be a command of this machine" in done.stderr) == (2, True)


def test_nodes_find_each_other_by_name_where_the_documents_allow(lab: str):
    curl = ["curl", "-sS", "-m", "5"]
    assert json.loads(rootlab.ok("exec", lab, "one", "--", *curl, "http://two/"))["node"] == "two"
    assert json.loads(rootlab.ok("exec", lab, "one", "--", *curl, "http://far/"))["node"] == "far"
    assert json.loads(rootlab.ok("exec", lab, "far", "--", *curl, "http://label.0.shop.cloudapp.net/"))["node"] == "own"
    # The provided resolver does not answer for another virtual network, nor the public one for private names.
    for client, name in (("away", "one"), ("far", "one"), ("loose", "one")):
        assert rootlab.run("exec", lab, client, "--", *curl, f"http://{name}/").returncode == 6, (client, name)


def test_vms_of_one_network_reach_each_other_untranslated(lab: str):
    seen = rootlab.ask(lab, "one", "http://10.1.0.6/")
    assert (seen["node"], seen["client_address"]) == ("two", "10.1.0.4")


def test_two_networks_with_one_address_space_are_apart(lab: str):
    assert (
        rootlab.ask(lab, "away", "http://198.51.100.10/")["client_address"]
        != (rootlab.ask(lab, "one", "http://198.51.100.10/")["client_address"])
    )
    assert rootlab.ask(lab, "away", "http://10.1.0.4/")["node"] == "away"


def test_a_vm_without_a_subnet_gets_out_too(lab: str):
    shown = json.loads(rootlab.ok("show", lab, "loose", "-o", "json"))
    assert shown["address"].startswith("100.64.")
    assert rootlab.ask(lab, "loose", "http://198.51.100.10/")["client_address"] == shown["outbound"][0]["address"]


@pytest.mark.parametrize(
    "command",
    [
        ["curl", "-sS", "--cacert", "CA", "https://far/"],
        ["sh", "-c", "exec 3<>/dev/tcp/198.51.100.10/7000; head -1 <&3"],
        ["sh", "-c", "exec 3<>/dev/udp/198.51.100.10/9000; echo hello >&3; head -1 <&3"],
    ],
    ids=["https", "tcp", "udp"],
)
def test_every_kind_of_service_names_the_client_it_sees(lab: str, command: list[str]):
    words = [str(StateDir(lab).certificate_file) if word == "CA" else word for word in command]
    words = ["bash" if word == "sh" else word for word in words]
    seen = json.loads(rootlab.ok("exec", lab, "own", "--", *words))
    own = json.loads(rootlab.ok("show", lab, "own", "-o", "json"))["outbound"][0]["address"]
    assert (seen["node"], seen["client_address"]) == ("far", own)
    assert seen["server_address"] == "198.51.100.10"


def test_sshd_names_its_peer_in_a_log(lab: str):
    rootlab.run("exec", lab, "own", "--", "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "far")
    own = json.loads(rootlab.ok("show", lab, "own", "-o", "json"))["outbound"][0]["address"]
    log = StateDir(lab).log / "far.auth.log"
    rootlab.wait_until(lambda: log.exists() and f"Connection from {own} port" in log.read_text(), "the peer in the log")
    assert " far sshd[" in log.read_text()


def test_the_resolver_of_seed_002_answers_with_the_source_over_udp_and_tcp(lab: str):
    own = json.loads(rootlab.ok("show", lab, "own", "-o", "json"))["outbound"][0]["address"]
    for option in ("+notcp", "+tcp"):
        said = rootlab.must(lab, "own", "dig", "+short", option, "myip.opendns.com", "@208.67.222.222")
        assert said.strip() == own


def test_no_namespace_has_a_way_out_of_the_lab(lab: str):
    """Every interface of a lab is loopback or one end of a wire whose other end is in the lab."""
    numbers = set()
    for place in StateDir(lab).plan().places():
        for link in json.loads(rootlab.must(lab, place, "ip", "-d", "-j", "link")):
            if link["ifname"] != "lo":
                assert link["linkinfo"]["info_kind"] == "veth"
                numbers.add(place)
                assert "link_netnsid" in link
    assert numbers == set(StateDir(lab).plan().places())


def test_what_has_no_owner_is_silent(lab: str):
    """An address that nobody has and a port that no rule listens on: no answer of any kind."""
    for address in ("203.0.113.200", "10.1.0.200"):
        done = rootlab.inside(lab, "one", "curl", "-sS", "-m", "1", f"http://{address}/")
        assert done.status == 28, (address, done.stderr)


def test_a_vm_cannot_speak_with_anothers_address(lab: str):
    """The router drops what does not come from where it is routed to."""
    spoof = (
        "import socket, struct\n"
        "from scapy.layers.inet import IP, UDP\n"
        "raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n"
        "for source in ('10.1.0.6', '8.8.8.8'):\n"
        "    raw.sendto(bytes(IP(src=source, dst='198.51.100.10') / UDP(sport=1, dport=9000)), ('198.51.100.10', 0))\n"
    )
    before = _forwarded(lab)
    rootlab.must(lab, "one", sys.executable, "-c", spoof)
    assert _forwarded(lab) == before
    rootlab.ask(lab, "one", "http://198.51.100.10/")
    assert _forwarded(lab) > before


def _forwarded(lab: str) -> int:
    """Return how many packets the edge has seen from the router."""
    link = json.loads(rootlab.must(lab, "lb.vnet1", "ip", "-s", "-j", "link", "show", "router.vnet1"))
    return int(link[0]["stats64"]["rx"]["packets"])


def test_show_needs_no_privilege(lab: str):
    done = unprivileged.run("show", lab)
    assert done.returncode == 0, done.stderr
    assert "instance-level public IP" in done.stdout


def test_a_file_without_a_lab_is_not_shown():
    done = rootlab.run("show", "no-such-lab")
    assert (done.returncode, done.stdout) == (2, "")
    assert 'no lab "no-such-lab"; a lab must be up first' in done.stderr


def test_plan_diff_tells_what_up_would_change(lab: str, tmp_path: Path):
    file = tmp_path / "nodes.lab.yaml"
    file.write_text(TEXT)
    assert rootlab.ok("plan", file, "--diff") == "nothing would change\n"
    file.write_text(TEXT.replace("  loose: {services: [http:80]}\n", ""))
    said = rootlab.ok("plan", file, "--diff")
    assert "- loose: namespace (vm)" in said
    assert "\n+" not in said
