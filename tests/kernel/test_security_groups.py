"""Groups in the kernel: the pure answer against packets, flows that outlive rules, and what a VM cannot get around."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from lab.azure import invariants
from lab.azure.model import Network, SecurityGroup, SecurityRule
from lab.flow import PortRange
from lab.kernel import apply
from lab.predict import forecast, matrix
from lab.predict.forecast import Service
from lab.runtime import operate
from lab.verify import experiment as ex
from lab.verify import runner
from lab.verify.probe import Prober
from tests import rootlab

pytestmark = pytest.mark.root

TEXT = """\
name: NAME
internet:
  far: {address: 198.51.100.10, services: [http:80]}
  other: {address: 198.51.100.20}
virtual_networks:
  v:
    address_space: [10.1.0.0/16]
    subnets: {s: {address_prefix: 10.1.0.0/24, network_security_group: on-subnet}, t: 10.1.1.0/24}
virtual_machines:
  a: {subnet: v/s, services: [http:80, tcp:7000, udp:9000], instance_public_ip: {name: a, address: 104.43.142.1}}
  b: {subnet: v/s, network_security_group: on-vm, instance_public_ip: {name: b, address: 104.43.142.2}}
  c: {subnet: v/t, network_security_group: on-vm, instance_public_ip: {name: c, address: 104.43.142.3}}
network_security_groups: {on-subnet: [], on-vm: []}
"""
_OPEN = ("--access", "Allow", "--source", "Internet")


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A lab with two groups that have no rules yet."""
    with rootlab.running(tmp_path, TEXT.replace("NAME", f"nsg-{abs(hash(request.node.name)) % 10000}")) as name:
        yield name


def add(lab: str, rule: str, priority: int, *options: str, group: str = "on-subnet") -> None:
    rootlab.ok("nsg", "rule", "add", lab, group, rule, "--priority", str(priority), *options)


def reaches(lab: str, sender: str, url: str) -> bool:
    return rootlab.inside(lab, sender, "curl", "-sS", "-m", "15", url).status == 0


def silent(lab: str, sender: str, url: str) -> bool:
    return rootlab.inside(lab, sender, "curl", "-sS", "-m", "1", url).status != 0


# --- the pure answer against packets ----------------------------------------------------------

_PREFIXES = (
    "VirtualNetwork", "AzureLoadBalancer", "Internet", "10.1.0.0/16", "10.1.0.0/24", "10.1.0.4/31", "10.1.1.4/32",
    "198.51.100.0/24", "198.51.100.10/32", "198.51.100.16/28", "128.0.0.0/1", "0.0.0.0/1",
)  # fmt: skip
_RANGES = tuple(
    PortRange(*ends)
    for ends in ((80, 80), (1, 100), (79, 81), (81, 443), (443, 8080), (1024, 65535), (0, 79), (0, 65534))
)
_SOURCE_PORTS = (1024, 40000)
_PORTS = (1, 79, 80, 81, 443, 8080, 65535)
_PAIRS = [
    ("a", "b"), ("b", "a"), ("a", "c"), ("c", "a"), ("far", "a"), ("other", "b"), ("far", "c"), ("a", "far"),
    ("b", "other"), ("c", "far"),
]  # fmt: skip
_EXAMPLES = 15
_DECISIONS = 2_000


def _some(values: tuple[object, ...]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


@st.composite
def _rules(draw: st.DrawFn) -> tuple[SecurityRule, ...]:
    count = draw(st.integers(0, 8))
    priorities = draw(st.permutations(range(100, 100 + count)))
    rules = []
    for number, priority in enumerate(priorities):
        protocol = draw(st.sampled_from(("*", "Tcp", "Udp", "Icmp")))
        ports = st.just(()) if protocol == "Icmp" else _some(_RANGES)
        rules.append(
            SecurityRule(
                name=f"r{number}",
                priority=priority,
                direction=draw(st.sampled_from(("Inbound", "Outbound"))),
                access=draw(st.sampled_from(("Allow", "Deny"))),
                protocol=protocol,  # type: ignore[arg-type]
                sources=draw(_some(_PREFIXES)),  # type: ignore[arg-type]
                source_ports=draw(st.just(()) | ports),  # type: ignore[arg-type]
                destinations=draw(st.just(()) | _some(_PREFIXES)),  # type: ignore[arg-type]
                destination_ports=draw(ports),  # type: ignore[arg-type]
            )
        )
    return tuple(rules)


def _flows(network: Network) -> list[forecast.Forecast]:
    found = []
    for sender, to in _PAIRS:
        found.append(forecast.forecast(network, sender, to, Service("icmp")))
        found += [
            forecast.forecast(network, sender, to, Service(protocol, port), source_port=source_port)  # type: ignore[arg-type]
            for protocol in ("tcp", "udp")
            for port in _PORTS
            for source_port in _SOURCE_PORTS
        ]
    return found


def test_whatever_the_rules_the_wire_does_as_the_pure_answer_says(lab: str, tmp_path: Path):
    network = operate.network_of(lab)
    file = next(tmp_path.glob("*.lab.yaml"))
    decided = 0

    with Prober() as prober:

        @settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_rules(), _rules())
        def agree(on_subnet: tuple[SecurityRule, ...], on_vm: tuple[SecurityRule, ...]) -> None:
            nonlocal decided
            groups = (SecurityGroup(name="on-subnet", rules=on_subnet), SecurityGroup(name="on-vm", rules=on_vm))
            drawn = msgspec.structs.replace(network, network_security_groups=groups)
            assert list(invariants.violations(drawn)) == []
            apply.up(runner.plan_now(drawn), runner.source(drawn, file), lambda _text: None)
            # A flow that is tracked is asked about no more, and here the same flows come again.
            rootlab.must(lab, "router.v", "conntrack", "-F")
            outcomes = matrix.seen(drawn, _flows(drawn), prober)
            different = [o for o in outcomes if o.differs]
            note("\n".join(f"{o.seen}: {o.predicted}" for o in different[:5]))
            assert different == []
            assert all(o.predicted.access in ("Allow", "Deny") and o.seen for o in outcomes)
            decided += len(outcomes)

        agree()
    assert decided >= _DECISIONS


def test_a_rule_altered_by_hand_shows_in_the_grid_and_up_gives_it_back(lab: str, tmp_path: Path):
    services = ("--service", "80/tcp", "--service", "81/tcp", "--service", "icmp")
    assert "differ" not in rootlab.run("nsg", "matrix", lab, *services).stderr
    rootlab.must(lab, "router.v", "iptables-legacy", "-I", "FORWARD", "1", "-p", "tcp", "--dport", "81", "-j", "ACCEPT")
    done = rootlab.run("nsg", "matrix", lab, *services)
    assert (done.returncode, "deny, but arrived" in done.stdout) == (1, True)
    assert "81/tcp: predicted Deny, seen: arrived" in done.stderr
    rootlab.ok("up", next(tmp_path.glob("*.lab.yaml")))
    rootlab.ok("nsg", "matrix", lab, *services)


#: Of the bundled topologies, those whose nodes differ in who may speak to whom.
_NAMES = ("load-balancer", "nsg", "outbound", "source-ip", "vnet-to-vnet")
GRIDS = [rootlab.TOPOLOGIES / f"{name}.lab.yaml" for name in _NAMES]


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.name)
def test_the_grid_of_a_bundled_topology_is_as_predicted(file: Path, tmp_path: Path):
    name = file.name.split(".", 1)[0]
    text = file.read_text().replace(f"\nname: {name}", f"\nname: grid-{name}", 1)
    with rootlab.running(tmp_path, text) as lab:
        grid = json.loads(rootlab.ok("nsg", "matrix", lab, "-o", "json"))["outcomes"]
        assert len(grid) > 40
        assert {o["seen"] for o in grid if o["access"] == "Allow"} == {"arrived"}
        assert {o["seen"] for o in grid if o["access"] in ("Deny", "NoWay")} == {"lost"}


@pytest.mark.parametrize(
    ("sender", "to", "access", "rule", "last"),
    [
        ("far", "104.43.142.1:80", "Allow", "securityRules/web", "a"),
        ("far", "a/icmp", "Deny", "defaultSecurityRules/DenyAllInbound", "v"),
        ("a", "168.63.129.16:53/udp", "Allow", None, "platform"),
    ],
)
def test_a_flow_is_explained_with_the_rule_that_decides_and_seen(
    lab: str, sender: str, to: str, access: str, rule: str | None, last: str
):
    add(lab, "web", 100, *_OPEN, "--protocol", "Tcp", "--destination-ports", "80")
    found = json.loads(rootlab.ok("explain", lab, sender, to, "--send", "-o", "json"))
    assert (found["access"], found["ruleName"], found["hops"][-1]["name"]) == (access, rule, last)
    assert found["blamed"] is None
    assert found["hops"][-1]["observed"]


# --- flows and rules --------------------------------------------------------------------------


def test_a_flow_outlives_the_rule_that_let_it_begin_and_a_new_one_does_not(lab: str):
    add(lab, "echo", 100, *_OPEN, "--protocol", "Tcp", "--destination-ports", "7000")
    script = (
        "import socket,sys\n"
        "c=socket.create_connection(('104.43.142.1',7000),9); c.settimeout(9); c.recv(999); print('open',flush=True)\n"
        "for line in sys.stdin:\n c.sendall(b'x'); print(len(c.recv(999))>0,flush=True)\n"
    )
    with rootlab.talking(lab, "far", script) as said:
        assert said() == "open"
        rootlab.ok("nsg", "rule", "remove", lab, "on-subnet", "echo")
        assert said("again") == "True"
        assert silent(lab, "far", "http://104.43.142.1:7000/")
        add(lab, "no-internet", 100, "--access", "Deny", "--source", "Internet")
        assert said("and again") == "True"


def test_a_flow_that_was_never_answered_outlives_its_rule_too(lab: str):
    add(lab, "quiet", 100, *_OPEN, "--protocol", "Udp", "--destination-ports", "4711")
    script = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('',30000))\n"
        "print('bound',flush=True)\n"
        "for line in sys.stdin:\n s.sendto(line.encode(),('104.43.142.1',4711)); print('sent',flush=True)\n"
    )
    listen = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('',4711)); s.settimeout(2)\n"
        "print('bound',flush=True)\n"
        "for line in sys.stdin:\n"
        " try: print(s.recvfrom(99)[0].decode().strip(),flush=True)\n"
        " except TimeoutError: print('nothing',flush=True)\n"
    )
    with rootlab.talking(lab, "far", script) as send, rootlab.talking(lab, "a", listen) as heard:
        assert (send(), heard()) == ("bound", "bound")
        assert (send("one"), heard("?")) == ("sent", "one")
        rootlab.ok("nsg", "rule", "remove", lab, "on-subnet", "quiet")
        assert (send("two"), heard("?")) == ("sent", "two")
    with (
        rootlab.talking(lab, "far", script.replace("30000", "30001")) as send,
        rootlab.talking(lab, "a", listen) as heard,
    ):
        assert (send(), heard()) == ("bound", "bound")
        assert (send("three"), heard("?")) == ("sent", "nothing")


def test_a_group_denies_what_a_vm_was_open_to(lab: str):
    assert silent(lab, "far", "http://104.43.142.1/")
    add(lab, "web", 110, *_OPEN, "--protocol", "Tcp", "--destination-ports", "80")
    assert reaches(lab, "far", "http://104.43.142.1/")
    add(lab, "not-far", 100, "--access", "Deny", "--source", "198.51.100.10")
    assert silent(lab, "far", "http://104.43.142.1/")
    assert reaches(lab, "other", "http://104.43.142.1/")


def test_a_member_whose_probes_are_blocked_goes_down_and_comes_back(tmp_path: Path):
    text = rootlab.small("probes").replace(
        "front: 10.1.0.0/24", "front: {address_prefix: 10.1.0.0/24, network_security_group: g}"
    )
    rule = "{name: web, priority: 200, direction: Inbound, access: Allow, protocol: Tcp, destination_port_range: 80}"
    text += f"network_security_groups: {{g: [{rule}]}}\noverrides: {{time_scale: 60}}\n"

    def health(name: str) -> bool:
        (member,) = json.loads(rootlab.ok("show", name, "web", "-o", "json"))["health"].values()
        return bool(member["up"] and member["applied"])

    with rootlab.running(tmp_path, text) as name:
        rootlab.wait_until(lambda: health(name), "the member comes up")
        assert reaches(name, "far", "http://40.1.2.3/")
        add(name, "no-probes", 100, "--access", "Deny", "--source", "AzureLoadBalancer", group="g")
        rootlab.wait_until(lambda: not health(name), "the member goes down")
        rootlab.wait_until(lambda: silent(name, "far", "http://40.1.2.3/"), "new flows stop")
        rootlab.ok("nsg", "rule", "remove", name, "g", "no-probes")
        rootlab.wait_until(lambda: health(name), "the member comes back")
        rootlab.wait_until(lambda: reaches(name, "far", "http://40.1.2.3/"), "new flows come")


# --- out of the VM's reach --------------------------------------------------------------------


def test_a_vm_gets_around_its_group_neither_by_its_own_rules_nor_by_anothers_address(lab: str):
    add(lab, "nothing-out", 100, "--access", "Deny", "--direction", "Outbound")
    for rule in (["-F"], ["-P", "OUTPUT", "ACCEPT"], ["-t", "mangle", "-A", "OUTPUT", "-j", "MARK", "--set-mark", "7"]):
        rootlab.must(lab, "a", "iptables-legacy", *rule)
    assert silent(lab, "a", "http://198.51.100.10/")
    rootlab.must(lab, "a", "ip", "address", "add", "10.1.1.4/32", "dev", "eth0")
    spoofed = rootlab.inside(lab, "a", "curl", "-sS", "-m", "1", "--interface", "10.1.1.4", "http://198.51.100.10/")
    assert spoofed.status != 0
    assert reaches(lab, "far", "http://198.51.100.10/"), "the server must answer, or silence means nothing"


def test_a_segment_of_a_flow_that_nobody_saw_begin_is_asked_about_and_makes_no_flow_known(lab: str):
    network = operate.network_of(lab)
    a, c = network.vm("a"), network.vm("c")
    assert a is not None
    assert c is not None
    segment = ex.Send(
        sender="c",
        private=str(c.private_ip_address),
        destination=str(a.private_ip_address),
        form="middle",
        port=4711,
        watches=(ex.Watch("VM wire", "c", "v"), ex.Watch("node", "a")),
        controlled=False,
    )

    def seen(prober: Prober) -> tuple[int, int]:
        (arrivals,) = prober.run(lab, (segment,)).observations
        assert isinstance(arrivals, ex.Arrivals), arrivals
        return len(arrivals.seen[0]), len(arrivals.seen[1])

    with Prober() as prober:
        assert seen(prober) == (1, 1)
        assert "dport=4711" not in rootlab.must(lab, "router.v", "conntrack", "-L")
        add(lab, "no-neighbours", 100, "--access", "Deny", "--source", "VirtualNetwork")
        assert seen(prober) == (1, 0)


@pytest.mark.alone
def test_the_first_group_comes_and_the_last_goes_and_the_machine_is_untouched(tmp_path: Path):
    before = rootlab.machine()
    with rootlab.running(tmp_path, rootlab.small("plain")) as name:
        bare = rootlab.world(name)
        file = tmp_path / "plain.lab.yaml"
        text = file.read_text()
        guarded = text.replace("front: 10.1.0.0/24", "front: {address_prefix: 10.1.0.0/24, network_security_group: g}")
        file.write_text(guarded + "network_security_groups: {g: []}\n")
        rootlab.ok("up", file)
        assert silent(name, "far", "http://40.1.2.3/")
        file.write_text(text)
        rootlab.ok("up", file)
        assert reaches(name, "far", "http://40.1.2.3/")
        left = [line for line in rootlab.world(name).splitlines() if line.startswith("-A") or "nsg-" in line]
        assert left == [line for line in bare.splitlines() if line.startswith("-A")]
    rootlab.assert_same(before, rootlab.machine())
