"""Gateways that run: tunnels that work, that heal, that never connect when they must not, and keys that stay secret."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.kernel import charon, daemons, netns
from lab.kernel.state import StateDir
from lab.plan import namespace
from tests import rootlab

pytestmark = pytest.mark.root

KEY = "A1b2C3D4"
NO_AGENT = "the agent does not run, nor does any IKE daemon; `lab up` starts them again"
SLOW = "LAB_SLOW_TESTS"
PAIR = f"""\
name: NAME
internet: {{far: {{address: 198.51.100.10, services: [http:80]}}}}
virtual_networks:
  v1: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24, GatewaySubnet: 10.1.255.0/27}}}}
  v2: {{address_space: [10.2.0.0/16], subnets: {{s: 10.2.0.0/24, GatewaySubnet: 10.2.255.0/27}}}}
virtual_machines:
  a: {{subnet: v1/s, private_ip_address: 10.1.0.4, services: [http:80]}}
  b: {{subnet: v2/s, private_ip_address: 10.2.0.4, services: [http:80]}}
vpn_gateways: {{v1: {{routing: dynamic}}, v2: {{routing: dynamic}}}}
local_networks:
  s1: {{address_space: [10.1.0.0/16], vpn_gateway: v1}}
  s2: {{address_space: [10.2.0.0/16], vpn_gateway: v2}}
connections:
  - {{virtual_network: v1, local_network: s2, shared_key: {KEY}}}
  - {{virtual_network: v2, local_network: s1, shared_key: {KEY}}}
"""


def pair(name: str) -> str:
    return PAIR.replace("NAME", name)


def states(name: str) -> dict[str, str]:
    shown = json.loads(rootlab.ok("gateway", "show", name, "-o", "json"))["gateways"]
    return {gateway["VNetName"]: gateway["Connections"][0]["ConnectivityState"] for gateway in shown}


def reason(name: str, network: str) -> str:
    shown = json.loads(rootlab.ok("gateway", "show", name, network, "-o", "json"))["gateways"]
    return str(shown[0]["Connections"][0]["Reason"])


def connected(name: str) -> bool:
    return set(states(name).values()) == {"Connected"}


def reach(name: str) -> dict[str, Any]:
    return rootlab.ask(name, "a", "http://10.2.0.4/")


def daemon(name: str, place: str) -> daemons.Process:
    found = daemons.identify(StateDir(name).tunnels()[place].pid)
    assert found is not None
    return found


def ours() -> list[int]:
    """Return all IKE daemons that were started from the unpacked folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            program = str((process / "exe").readlink())
        except OSError:
            continue
        if program == str(charon.folder() / "charon"):
            found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("gateways")
    with rootlab.running(folder, pair("vpn")) as name:
        yield name, folder / "vpn.lab.yaml"
    assert rootlab.leftovers("vpn") == []


def test_the_tunnel_is_up_when_up_returns_and_carries_packets_untranslated(lab: tuple[str, Path]) -> None:
    assert states(lab[0]) == {"v1": "Connected", "v2": "Connected"}
    seen = reach(lab[0])
    assert (seen["node"], seen["client_address"]) == ("b", "10.1.0.4")
    assert rootlab.ask(lab[0], "a", "http://198.51.100.10/")["client_address"] != "10.1.0.4"


def test_another_tool_sees_the_prefixes_and_the_daemon_in_its_namespace(lab: tuple[str, Path]) -> None:
    routes = json.loads(rootlab.must(lab[0], "gw.v1", "ip", "-j", "route", "show", "table", "220"))
    assert [(r["dst"], r["dev"]) for r in routes] == [("10.2.0.0/16", "ipsec0")]
    there = Path(f"/proc/{daemon(lab[0], 'gw.v1').pid}/ns/net").stat().st_ino
    assert there == netns.path(namespace(lab[0], "gw.v1")).stat().st_ino


#: Echo requests, UDP with each small TTL, and large UDP that must not be fragmented; what ICMP comes back is printed.
_ASK = """
import json, select, socket, struct, sys, time
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
end, pings = sys.argv[1], sys.argv[2:]
for address in [*pings, end]:
    head = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    total = sum(struct.unpack("!4H", head))
    raw.sendto(struct.pack("!BBHHH", 8, 0, 0xFFFF - total % 0xFFFF, 7, 1), (address, 0))
sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for ttl in range(1, 9):
    sent.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
    sent.sendto(b"x", (end, 33434 + ttl))
large = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
large.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: always
large.connect((end, 9))
large.send(bytes(1450))
found, until = set(), time.monotonic() + float(1.5)
while select.select([raw], [], [], max(0, until - time.monotonic()))[0]:
    data, (source, _) = raw.recvfrom(2048)
    found.add((source, *data[20:22]))
print(json.dumps([sorted(found), large.getsockopt(socket.IPPROTO_IP, 14)]))  # IP_MTU
"""
_ECHO_REPLY, _PORT_UNREACHABLE, _TOO_LARGE = [0, 0], [3, 3], [3, 4]


def test_gateways_and_hops_answer_neither_ping_nor_traceroute_but_say_what_is_too_large(lab: tuple[str, Path]) -> None:
    hops = (
        "10.1.0.1",
        "10.1.255.1",
        "10.1.255.4",
        "10.2.255.4",
        "10.2.0.1",
        "169.254.1.1",
        "169.254.1.2",
        "168.63.129.16",
    )
    script = ("python3", "-c", _ASK)
    heard, mtu = json.loads(rootlab.must(lab[0], "a", *script, "10.2.0.4", *hops))
    # The control: the far VM is heard through all of these hops, and a tunnel carries less than a wire.
    assert [["10.2.0.4", *_ECHO_REPLY], ["10.2.0.4", *_PORT_UNREACHABLE]] == [h for h in heard if h[0] == "10.2.0.4"]
    assert {tuple(h[1:]) for h in heard if h[0] != "10.2.0.4"} == {tuple(_TOO_LARGE)}
    assert mtu < 1478
    # And on the way to an outside host, whose own answer a load balancer does not carry.
    heard, mtu = json.loads(rootlab.must(lab[0], "a", *script, "198.51.100.10", "192.0.2.53"))
    assert [h for h in heard if h[0] != "198.51.100.10"] == []


def test_the_key_is_in_one_file_that_only_root_reads(lab: tuple[str, Path]) -> None:
    folder = StateDir(lab[0])
    holding = [p for p in folder.path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert holding == [folder.network_file]
    assert folder.network_file.stat().st_mode & 0o777 == 0o600
    for words in (
        ("plan", lab[1]),
        ("plan", lab[1], "-o", "json"),
        ("show", lab[0], "-o", "json"),
        ("gateway", "show"),
    ):
        assert KEY not in rootlab.ok(*words)
    for process in ours():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # of another test, and gone by now
            assert KEY.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()
            assert KEY.encode() not in Path(f"/proc/{process}/environ").read_bytes()


def test_up_twice_changes_nothing_and_keeps_the_tunnel(lab: tuple[str, Path]) -> None:
    before, daemons_before = rootlab.world(lab[0]), [daemon(lab[0], g) for g in ("gw.v1", "gw.v2")]
    assert "nothing to change" in rootlab.ok("up", lab[1])
    rootlab.assert_same(before, rootlab.world(lab[0]))
    assert [daemon(lab[0], g) for g in ("gw.v1", "gw.v2")] == daemons_before
    assert reach(lab[0])["node"] == "b"


@pytest.mark.parametrize("place", ["gw.v1", "gw.v2"])
def test_a_daemon_that_is_killed_comes_back_by_itself(lab: tuple[str, Path], place: str) -> None:
    name, before = lab[0], daemon(lab[0], place)
    os.kill(before.pid, signal.SIGKILL)
    rootlab.wait_until(lambda: StateDir(name).tunnels()[place].pid not in (0, before.pid), f"{place}: a new daemon")
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))
    rootlab.wait_until(lambda: rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status == 0, "b answers a")


def test_a_silent_peer_is_noticed_and_found_again(lab: tuple[str, Path]) -> None:
    name = lab[0]
    rootlab.must(name, "internet", "ip", "link", "set", "gw.v1", "down")
    try:
        rootlab.wait_until(lambda: "Connected" not in states(name).values(), "noticed", lambda: states(name))
        assert reason(name, "v1") == "no answer from 203.0.113.2"
        assert rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status != 0
    finally:
        rootlab.must(name, "internet", "ip", "link", "set", "gw.v1", "up")
        rootlab.ok("up", lab[1])  # the route that went with the wire
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))
    assert reach(name)["node"] == "b"


def way_out(name: str) -> str:
    return rootlab.must(name, "gw.v1", "ip", "route", "show", "default")


def test_a_gateway_whose_own_wire_goes_down_loses_its_tunnel_and_finds_it_again_without_help(
    lab: tuple[str, Path],
) -> None:
    name = lab[0]
    time.sleep(1.0)  # counters are read twice a second: what was sent before is counted now
    before = StateDir(name).tunnels()["gw.v1"].tunnels["s2"].egress
    rootlab.must(name, "gw.v1", "ip", "link", "set", "internet", "down")
    try:
        rootlab.wait_until(lambda: "Connected" not in states(name).values(), "noticed", lambda: states(name))
        assert reason(name, "v1") == "no answer from 203.0.113.2"
        # Counters are those of users' packets: not of the daemon's own, which have nowhere to go.
        assert StateDir(name).tunnels()["gw.v1"].tunnels["s2"].egress == before
        assert rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status != 0
        assert way_out(name) == ""
    finally:
        rootlab.must(name, "gw.v1", "ip", "link", "set", "internet", "up")
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))
    rootlab.wait_until(lambda: rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status == 0, "b answers a")
    assert way_out(name).startswith("default via 169.254.2.1 ")


def test_a_gateway_whose_own_wire_comes_back_before_anybody_notices_keeps_its_tunnel(lab: tuple[str, Path]) -> None:
    name = lab[0]
    before = StateDir(name).tunnels()["gw.v1"].tunnels["s2"].established
    rootlab.must(name, "gw.v1", "ip", "link", "set", "internet", "down")
    rootlab.must(name, "gw.v1", "ip", "link", "set", "internet", "up")
    rootlab.wait_until(lambda: way_out(name) != "", "the default route")
    assert reach(name)["node"] == "b"
    assert StateDir(name).tunnels()["gw.v1"].tunnels["s2"].established == before


@contextmanager
def peer_gone(name: str) -> Iterator[None]:
    """Have nothing of one gateway come through the internet; no wire and no route is touched."""
    rule = ("FORWARD", "-i", "gw.v2", "-j", "DROP")
    rootlab.must(name, "internet", "iptables-legacy", "-I", *rule)
    try:
        yield
    finally:
        rootlab.must(name, "internet", "iptables-legacy", "-D", *rule)


def outage(name: str, seconds: float) -> None:
    """Have a peer be gone for so long; both sides must notice, and be connected again by themselves afterwards."""
    before = {place: StateDir(name).tunnels()[place] for place, _ in ENDS}
    with peer_gone(name):
        began = time.monotonic()
        rootlab.wait_until(lambda: "Connected" not in states(name).values(), "noticed", lambda: states(name))
        assert reason(name, "v1") == "no answer from 203.0.113.2"
        time.sleep(max(0.0, began + seconds - time.monotonic()))  # the length of the outage is what is tried
        assert "Connected" not in states(name).values()
        assert rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status != 0
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))
    rootlab.wait_until(lambda: rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status == 0, "b answers a")
    for place, tunnel in ENDS:
        after = StateDir(name).tunnels()[place]
        assert after.pid == before[place].pid
        assert after.tunnels[tunnel].established != before[place].tunnels[tunnel].established


ENDS = (("gw.v1", "s2"), ("gw.v2", "s1"))


def test_a_peer_that_is_down_for_a_minute_is_found_again_without_help(lab: tuple[str, Path]) -> None:
    """A minute at ten times the pace. What finds a peer gone, and tries it again, has its own pace, which no scale
    changes: 5 s until it is given up, then an attempt at least every 4 s. Six seconds are longer than the first.
    """
    outage(lab[0], 60 / 10)


@pytest.mark.skipif(SLOW not in os.environ, reason=f"a minute and a half of real time; set {SLOW}=1 to run it")
@pytest.mark.slow
def test_a_peer_that_is_down_for_a_minute_of_real_time_is_found_again_without_help(lab: tuple[str, Path]) -> None:
    outage(lab[0], 60)


def test_an_outage_that_is_shorter_than_it_takes_to_notice_costs_no_tunnel_and_no_byte(lab: tuple[str, Path]) -> None:
    name = lab[0]
    before = {place: StateDir(name).tunnels()[place].tunnels[tunnel].established for place, tunnel in ENDS}
    far = (
        "import socket;c,_=socket.create_server(('10.2.0.4',7000)).accept()\n"
        "while d:=c.recv(9): print(d.decode(),flush=True)"
    )
    near = (
        "import socket,sys;s=socket.create_connection(('10.2.0.4',7000),9);print('open',flush=True)\n"
        "for word in sys.stdin: s.sendall(word.strip().encode());print('sent',flush=True)"
    )
    with rootlab.talking(name, "b", far) as heard:
        rootlab.wait_until(lambda: ":7000" in rootlab.must(name, "b", "ss", "-Hltn"), "b listens")
        with rootlab.talking(name, "a", near) as say:
            assert say() == "open"
            assert (say("before"), heard()) == ("sent", "before")
            began = time.monotonic()
            with peer_gone(name):
                assert say("meanwhile") == "sent"
                time.sleep(1.0)  # the length of the outage is what is tried
            lasted = time.monotonic() - began
            assert heard() == "meanwhile"
    after = {place: StateDir(name).tunnels()[place].tunnels[tunnel].established for place, tunnel in ENDS}
    # A peer is given up after 5 s; a machine that takes so long to lift the outage has made another one.
    assert after == before or lasted > 4.0
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))


def test_a_policy_based_tunnel_that_rests_is_woken_by_its_device_too(tmp_path: Path) -> None:
    text = (rootlab.TOPOLOGIES / "policy-based.lab.yaml").read_text()
    with rootlab.running(tmp_path, text.replace("\nname: policy-based", "\nname: rests", 1)) as name:

        def resting() -> list[str]:
            known = [StateDir(name).tunnels()[place].tunnels[site] for place, site in ends]
            return [tunnel.reason for tunnel in known if tunnel.state == "NotConnected"]

        ends = (("depot", "Static"), ("gw.Static", "depot"))
        rootlab.wait_until(lambda: len(resting()) == 2, "both ends rest", resting)
        assert all("the next one rebuilds it" in reason for reason in resting())
        rootlab.wait_until(
            lambda: rootlab.inside(name, "depot", "curl", "-m3", "http://10.2.0.4/").status == 0, "vm2 answers depot"
        )
        rootlab.wait_until(lambda: resting() == [], "both ends are connected", resting)


def test_a_way_that_was_taken_away_by_hand_is_back_after_up(lab: tuple[str, Path]) -> None:
    name = lab[0]
    rootlab.must(name, "gw.v1", "ip", "route", "flush", "table", "220")
    rootlab.must(name, "gw.v1", "ip", "rule", "del", "pref", "220")
    assert rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status != 0
    rootlab.ok("up", lab[1])
    rootlab.wait_until(lambda: rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status == 0, "b answers a")


def test_without_its_agent_a_lab_has_no_daemons_and_up_heals_it(lab: tuple[str, Path]) -> None:
    name = lab[0]
    record = StateDir(name).read()
    assert record is not None
    assert record.agent is not None
    before = [daemon(name, place) for place in ("gw.v1", "gw.v2")]
    os.kill(record.agent.pid, signal.SIGKILL)
    rootlab.wait_until(lambda: not any(map(daemons.alive, before)), "daemons end with their agent")
    assert states(name) == {"v1": "Unknown", "v2": "Unknown"}
    assert reason(name, "v1") == NO_AGENT
    for words in (("gateway", "show", name), ("show", name)):
        said = rootlab.ok(*words)
        assert said.count(NO_AGENT) == 2
        assert "Connected" not in said
    rootlab.ok("up", lab[1])
    assert NO_AGENT not in rootlab.ok("show", name)
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))
    assert reach(name)["node"] == "b"


def changed(lab: tuple[str, Path], *replacements: tuple[str, str]) -> Path:
    text = pair(lab[0])
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    file = lab[1].with_name("changed.lab.yaml")
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("old", "new", "words", "others"),
    [
        (f"s2, shared_key: {KEY}", "s2, shared_key: Other", "AUTHENTICATION_FAILED: ", "AUTHENTICATION_FAILED: "),
        (f"s2, shared_key: {KEY}", "s2", "AUTHENTICATION_FAILED: ", "AUTHENTICATION_FAILED: "),
        ("s2: {address_space: [10.2.0.0/16]", "s2: {address_space: [10.2.0.0/17]", *["ranges differ: "] * 2),
        ("s2: {address_space: [10.2.0.0/16]", "s2: {address_space: [10.2.0.0/15]", *["ranges differ: "] * 2),
        ("s2: {address_space: [10.2.0.0/16]", "s2: {address_space: [10.9.0.0/16]", *["ranges differ: "] * 2),
        ("[10.2.0.0/16], vpn_gateway: v2", "[10.2.0.0/16], vpn_gateway_address: 5.4.3.2", "no answer from 5.4.3.2",
         "NO_PROPOSAL_CHOSEN: "),
        ("[10.2.0.0/16], vpn_gateway: v2", "[10.2.0.0/16], vpn_gateway: v1", "addresses are mixed up",
         "NO_PROPOSAL_CHOSEN: "),
    ],
    ids=["key", "no key", "narrower", "wider", "apart", "placeholder", "own address"],
)  # fmt: skip
def test_what_must_not_connect_never_does_and_both_sides_say_why(
    lab: tuple[str, Path], old: str, new: str, words: str, others: str
) -> None:
    name = lab[0]
    rootlab.ok("up", changed(lab, (old, new)))
    try:
        rootlab.wait_until(lambda: words in reason(name, "v1"), words, lambda: reason(name, "v1"))
        rootlab.wait_until(lambda: others in reason(name, "v2"), others, lambda: reason(name, "v2"))
        assert set(states(name).values()) == {"NotConnected"}
        assert rootlab.inside(name, "a", "curl", "-m1", "http://10.2.0.4/").status != 0
        events = [t.message for g in StateDir(name).tunnels().values() for t in g.tunnels.values()]
        assert not any(message.endswith("to Connected.") for message in events)
    finally:
        rootlab.ok("up", lab[1])
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))
    assert reach(name)["node"] == "b"


def test_a_location_that_changes_is_refused_and_nothing_is_touched(lab: tuple[str, Path]) -> None:
    file = changed(lab, ("v1: {address_space", "v1: {location: elsewhere, address_space"))
    done = rootlab.run("up", file)
    assert done.returncode == 2
    assert "location of a virtual network cannot be changed" in done.stderr
    assert reach(lab[0])["node"] == "b"


def test_a_network_loses_its_gateway_and_gets_it_back(lab: tuple[str, Path]) -> None:
    name = lab[0]
    without = ("v2: {routing: dynamic}", ""), ("vpn_gateway: v2", "vpn_gateway_address: 203.0.113.2")
    rootlab.ok("up", changed(lab, *without))
    assert list(states(name)) == ["v1"]
    assert not netns.exists(namespace(name, "gw.v2"))
    rootlab.ok("up", lab[1])
    rootlab.wait_until(lambda: connected(name), "both sides connected", lambda: states(name))
    assert reach(name)["node"] == "b"


def test_a_long_transfer_through_rekeys_loses_nothing(tmp_path: Path) -> None:
    """At 240 times the documents' speed, ESP is renewed after 13 s and IKE after 40 s."""
    text = pair("rekey") + "overrides: {time_scale: 240}\n"
    with rootlab.running(tmp_path, text) as name:
        size = 40_000_000
        receiver = (
            "import socket,hashlib;s=socket.create_server(('10.2.0.4',7000));c,_=s.accept();h=hashlib.sha256();n=0\n"
            "while d:=c.recv(65536): h.update(d);n+=len(d)\n"
            "print(n,h.hexdigest())"
        )
        sender = (
            "import socket,time,hashlib,random\n"
            "s=socket.create_connection(('10.2.0.4',7000),5);h=hashlib.sha256();r=random.Random(1);end=time.monotonic()+32\n"
            f"chunk=r.randbytes({size // 400});n=0\n"
            "while time.monotonic()<end: s.sendall(chunk);h.update(chunk);n+=len(chunk);time.sleep(0.08)\n"
            "s.close();print(n,h.hexdigest())"
        )

        def start(place: str, program: str) -> "subprocess.Popen[str]":
            command = ["ip", "netns", "exec", namespace(name, place), "python3", "-c", program]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        counters = [StateDir(name).tunnels()["gw.v1"].tunnels["s2"].egress]
        with start("b", receiver) as far:
            rootlab.wait_until(lambda: ":7000" in rootlab.must(name, "b", "ss", "-Hltn"), "b listens")
            with start("a", sender) as near:
                sent, _ = near.communicate(timeout=60)
            received, _ = far.communicate(timeout=20)
        assert sent.split()
        assert received == sent
        counters.append(StateDir(name).tunnels()["gw.v1"].tunnels["s2"].egress)
        assert counters[1] - counters[0] >= int(sent.split()[0]), "counters go on over rekeys"
        log = (StateDir(name).log / "gw.v1.charon.log").read_text()
        renewed = sum("established with SPIs" in line for line in log.splitlines())
        assert renewed >= 3, log[-3000:]
        assert connected(name)


def test_two_labs_side_by_side_do_not_meet(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, pair("one")) as one, rootlab.running(tmp_path, pair("two")) as two:
        assert connected(one)
        assert connected(two)
        assert (reach(one)["node"], reach(two)["node"]) == ("b", "b")
        rootlab.ok("down", one)
        assert reach(two)["node"] == "b"


def test_a_daemon_that_is_missing_is_said_with_what_to_do_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pathlib, lab.kernel.charon as c\nc.folder = lambda: pathlib.Path('/nowhere')\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{rootlab.CHECKOUT}")
    file = tmp_path / "gone.lab.yaml"
    file.write_text(pair("gone"))
    done = rootlab.run("up", file)
    assert done.returncode == 3
    assert "strongSwan: no /nowhere/charon" in done.stderr
    assert "run scripts/setup" in done.stderr
    assert rootlab.leftovers("gone") == []


def test_up_that_is_killed_leaves_no_daemon_behind_and_the_next_one_heals(tmp_path: Path) -> None:
    file = tmp_path / "killed.lab.yaml"
    file.write_text(pair("killed"))
    try:
        for seconds in (0.25, 0.32, 0.4):
            rootlab.kill_after(seconds, "up", file)
        rootlab.ok("up", file)
        rootlab.wait_until(lambda: connected("killed"), "connected", lambda: states("killed"))
        assert reach("killed")["node"] == "b"
    finally:
        rootlab.ok("down", "killed")
    assert rootlab.leftovers("killed") == []


def test_the_probe_of_the_kernel_agrees_with_another_tool() -> None:
    def by_hand() -> bool:
        netns.leave_machine()
        ends = ["ip", "xfrm", "state", "add", "src", "127.0.0.1", "dst", "127.0.0.1", "proto", "esp", "spi", "1"]
        words = [*ends, "auth", "hmac(sha1)", "0x" + "00" * 20, "enc", "cbc(aes)", "0x" + "00" * 16]
        device = ["ip", "link", "add", "x0", "type", "xfrm", "if_id", "1"]
        return all(subprocess.run(w, capture_output=True, check=False).returncode == 0 for w in (device, words))

    assert (charon.kernel_esp() == "kernel") == netns.in_child(by_hand)


def test_doctor_says_who_encrypts() -> None:
    findings = json.loads(rootlab.run("doctor", "-o", "json").stdout)["findings"]
    found = {f["what"]: f for f in findings}
    assert found["strongSwan"]["ok"]
    assert str(charon.folder()) in found["strongSwan"]["found"]
    wanted = "by the kernel" if charon.kernel_esp() == "kernel" else "in user space"
    assert found["ESP"]["found"].startswith(wanted)


@pytest.mark.alone
def test_the_machine_is_untouched_by_gateways(tmp_path: Path) -> None:
    before = rootlab.machine()
    with rootlab.running(tmp_path, pair("host")) as name:
        assert connected(name)
        rootlab.assert_same(before, rootlab.machine())
    rootlab.assert_same(before, rootlab.machine())
