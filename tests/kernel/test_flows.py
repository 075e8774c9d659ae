"""lab/kernel/flows.py on fresh namespaces: vm --- lb --- far, and nothing of a lab.

conntrack -L is the other witness of what is in the table.
"""

import os
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from lab.errors import KernelError
from lab.flow import TCP, UDP, Flow
from lab.kernel import daemons, flows, netns

pytestmark = pytest.mark.root

PLACES = ("test-flows.vm", "test-flows.lb", "test-flows.far")
VM, LB, FAR = PLACES
PUBLIC = "40.1.1.1"
_QUIET_S, _DEADLINE_S = 0.2, 15.0  # for what must not come, and for what must


def number(address: str) -> int:
    return int(IPv4Address(address))


def flow(source_port: int, *, protocol: int = UDP, port: int = 9000) -> Flow:
    return Flow(protocol, number("10.1.0.4"), source_port, number("198.51.100.20"), port)


@contextmanager
def inside(place: str) -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns.enter(place)
    try:
        yield
    finally:
        netns.enter_descriptor(home)
        os.close(home)


def must(place: str, command: str) -> str:
    done = daemons.run(command.split(), inside=lambda: netns.enter(place), timeout_s=60.0)
    assert done.status == 0, f"{place}: {command}: {done.stderr}"
    return done.stdout


@pytest.fixture
def _world() -> Iterator[None]:
    """A VM, a load balancer that asks about each new flow of it, and a far side; conntrack is in use."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns.prepare()
    try:
        for place in PLACES:
            os.close(netns.make(place))
            must(place, "ip link set lo up")
        for place, near, far, address in (
            (VM, "vm", "10.1.0.1", "10.1.0.4"),
            (FAR, "far", "198.51.100.1", "198.51.100.20"),
        ):
            must(LB, f"ip link add {near} type veth peer name eth0 netns {place}")
            must(LB, f"ip addr add {far}/24 dev {near}")
            must(LB, f"ip link set {near} up")
            must(place, f"ip addr add {address}/24 dev eth0")
            must(place, "ip link set eth0 up")
            must(place, f"ip route add default via {far}")
        must(LB, "sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_events=1")
        must(LB, "iptables-legacy -t nat -A POSTROUTING -p icmp -j ACCEPT")  # translations are done where nat is used
        must(
            LB,
            "iptables-legacy -t mangle -A PREROUTING -i vm -m conntrack --ctstate NEW ! --ctstatus CONFIRMED"
            " -j NFQUEUE --queue-num 0",
        )
        yield
    finally:
        netns.enter_descriptor(home)
        os.close(home)
        netns.remove_all(PLACES)
        netns.remove_seed()


@pytest.fixture
def table(_world: None) -> Iterator[flows.Table]:
    with inside(LB):
        opened = flows.Table(closing_from=flows.TCP_TIME_WAIT)
    yield opened
    opened.close()


@pytest.fixture
def queue(_world: None) -> Iterator[flows.Queue]:
    with inside(LB):
        opened = flows.Queue()
    yield opened
    opened.close()


def listed(place: str = LB) -> set[tuple[str, ...]]:
    """Return what conntrack -L says: protocol, and both directions."""
    found = set()
    for line in must(place, "conntrack -L").splitlines():
        words = re.findall(r"\b(?:src|dst|sport|dport)=(\S+)", line)
        found.add((line.split()[0], *words))
    return found


def opened(place: str, address: str, port: int) -> socket.socket:
    with inside(place):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, port))
    made.settimeout(_DEADLINE_S)
    return made


def events(table: flows.Table, awaited: Callable[[list[flows.Event]], bool] = lambda _: True) -> list[flows.Event]:
    """Return all that happened until what is awaited did, and then nothing for a while."""
    found: list[flows.Event] = []
    last = time.monotonic()
    while time.monotonic() < last + (_QUIET_S if awaited(found) else _DEADLINE_S):
        new, lost = table.events()
        assert not lost
        if new:
            last = time.monotonic()
        found += new
        time.sleep(0.005)
    return found


def some(found: list[flows.Event]) -> bool:
    return bool(found)


def packets(queue: flows.Queue, count: int) -> list[flows.Packet]:
    found: list[flows.Packet] = []
    end = time.monotonic() + _DEADLINE_S
    while len(found) < count and time.monotonic() < end:
        found += queue.packets()
    assert len(found) == count
    return found


def connection(*, reset: bool = False) -> Flow:
    """Open and close a TCP connection over the load balancer's own loopback; return its flow."""
    with inside(LB):
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    (_, source_port), (_, port) = client.getsockname(), listener.getsockname()
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    server.close()
    listener.close()
    return Flow(TCP, number("127.0.0.1"), source_port, number("127.0.0.1"), port)


# --- the table --------------------------------------------------------------------------------


def test_a_flow_that_is_entered_is_translated(table: flows.Table):
    table.enter([(flow(40000), number(PUBLIC), 1024), (flow(40000, protocol=TCP), number(PUBLIC), 1024)], 60)
    assert listed() == {
        (protocol, "10.1.0.4", "198.51.100.20", "40000", "9000", "198.51.100.20", PUBLIC, "9000", "1024")
        for protocol in ("udp", "tcp")
    }


def test_a_flow_that_is_there_already_stays_as_it_is(table: flows.Table):
    table.enter([(flow(40000), number(PUBLIC), 1024)], 60)
    table.enter([(flow(40000), number(PUBLIC), 1025), (flow(40001), number(PUBLIC), 1026)], 60)
    assert {words[8] for words in listed()} == {"1024", "1026"}
    assert events(table) == []


def test_only_a_flow_whose_place_another_one_has_is_not_entered(table: flows.Table):
    other = flow(40000)._replace(source=number("10.1.0.9"))
    assert table.enter([(flow(40000), number(PUBLIC), 1024)], 60) == (set(), set())
    again = [(flow(40000), number(PUBLIC), 1024), (other, number(PUBLIC), 1024), (flow(40001), number(PUBLIC), 1025)]
    assert table.enter(again, 60) == ({other}, set())
    assert {entry.flow for entry in table.entries()} == {flow(40000), flow(40001)}


def test_a_flow_is_forgotten_after_the_time_it_was_given(table: flows.Table):
    table.enter([(flow(40000), number(PUBLIC), 1024)], 1)
    assert len(table.entries()) == 1
    time.sleep(1.2)
    assert table.entries() == []  # being listed removes what is over
    assert [(event.kind, event.entry.flow) for event in events(table, some)] == [("gone", flow(40000))]


def test_the_entries_are_those_that_conntrack_lists(table: flows.Table):
    table.enter([(flow(port), number(PUBLIC), port - 38976) for port in range(40000, 40500)], 60)
    connection()
    with inside(LB), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as echo:
        echo.sendto(bytes.fromhex("0800f7fd00010001"), ("127.0.0.1", 0))
    ours = {
        (
            {TCP: "tcp", UDP: "udp"}[e.flow.protocol],
            *(str(IPv4Address(e.flow[at])) for at in (1, 3)),
            *(str(e.flow[at]) for at in (2, 4)),
            str(IPv4Address(e.flow.destination)),
            str(IPv4Address(e.reply_address)),
            str(e.flow.destination_port),
            str(e.reply_port),
        )
        for e in table.entries()
    }
    theirs = listed()
    assert {words for words in theirs if words[0] == "icmp"}
    assert ours == {words for words in theirs if words[0] != "icmp"}
    assert len(ours) == 501
    assert {e.state for e in table.entries()} == {0, flows.TCP_TIME_WAIT}


def test_more_flows_than_a_burst_are_forgotten(table: flows.Table):
    many = [flow(port) for port in range(40000, 40300)]
    table.enter([(entered, number(PUBLIC), entered.source_port) for entered in many], 60)
    table.forget(many[:299])
    assert [entry.flow for entry in table.entries()] == many[299:]


def test_ones_own_changes_are_no_events(table: flows.Table):
    table.enter([(flow(40000), number(PUBLIC), 1024)], 60)
    table.forget([flow(40000), flow(40001)])
    assert (table.entries(), events(table)) == ([], [])


def test_what_somebody_else_removes_is_gone(table: flows.Table):
    table.enter([(flow(40000), number(PUBLIC), 1024), (flow(40001), number(PUBLIC), 1025)], 60)
    must(LB, "conntrack -D -p udp --orig-port-src 40000")
    wanted = flows.Event("gone", flows.Entry(flow(40000), number(PUBLIC), 1024, 0, flow(40000).destination))
    assert events(table, some) == [wanted]


@pytest.mark.parametrize(
    ("closing_from", "states"),
    [(flows.TCP_TIME_WAIT, [7]), (flows.TCP_FIN_WAIT, [4, 5, 6, 7])],  # fin wait, close wait, last ack, time wait
)
def test_of_a_connection_only_its_end_is_told(table: flows.Table, closing_from: int, states: list[int]):
    table.close_from(closing_from)
    opened_and_closed = connection()

    def ended(found: list[flows.Event]) -> bool:
        return any(event.entry.flow == opened_and_closed and event.entry.state == states[-1] for event in found)

    seen = [event for event in events(table, ended) if event.entry.flow == opened_and_closed]
    assert {event.kind for event in seen} == {"closing"}
    told = [event.entry.state for event in seen]
    assert (set(told) <= set(states), told[0], told[-1]) == (True, states[0], 7)


@pytest.mark.parametrize("closing_from", [flows.TCP_TIME_WAIT, flows.TCP_FIN_WAIT])
def test_a_reset_is_told_as_one(table: flows.Table, closing_from: int):
    table.close_from(closing_from)
    reset = connection(reset=True)
    seen = [event.entry for event in events(table, some) if event.kind == "closing"]
    assert seen == [flows.Entry(reset, reset.source, reset.source_port, flows.TCP_CLOSE, reset.destination)]


def test_a_connection_that_stays_open_and_datagrams_are_no_events(table: flows.Table):
    with inside(LB):
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    datagrams = opened(LB, "127.0.0.1", 0)
    for _ in range(3):
        client.sendall(b"x")
        server.sendall(b"y")
        datagrams.sendto(b"z", datagrams.getsockname())
    assert events(table) == []
    assert len(table.entries()) == 2
    for each in (client, server, listener, datagrams):
        each.close()


# --- first packets ----------------------------------------------------------------------------


def heard(listening: socket.socket) -> tuple[bytes, tuple[str, int]]:
    return listening.recvfrom(65535)


def silent(listening: socket.socket) -> bool:
    """Tell whether nothing is heard for a while."""
    return not select.select([listening], [], [], _QUIET_S)[0]


@pytest.mark.usefixtures("_world")
def test_without_a_listener_first_packets_are_lost():
    far, vm = opened(FAR, "198.51.100.20", 9000), opened(VM, "10.1.0.4", 40000)
    with inside(LB):
        flows.Queue().close()  # nor with one that has gone
    vm.sendto(b"lost", ("198.51.100.20", 9000))
    assert silent(far)
    must(LB, "iptables-legacy -t mangle -F")
    vm.sendto(b"control", ("198.51.100.20", 9000))
    assert heard(far) == (b"control", ("10.1.0.4", 40000))
    far.close()
    vm.close()


def test_a_packet_that_was_kept_back_is_whole_and_does_not_go_on_by_itself(queue: flows.Queue):
    far, vm = opened(FAR, "198.51.100.20", 9000), opened(VM, "10.1.0.4", 40000)
    vm.sendto(b"first", ("198.51.100.20", 9000))
    (packet,) = packets(queue, 1)
    assert packet.flow == flow(40000)
    assert packet.data[28:] == b"first"
    assert silent(far)
    assert queue.packets() == []
    assert listed() == set()
    far.close()
    vm.close()


def test_more_packets_than_a_burst_are_all_read(queue: flows.Queue):
    vm = opened(VM, "10.1.0.4", 40000)
    for port in range(9000, 9200):
        vm.sendto(b"x", ("198.51.100.20", port))
    assert [p.flow.destination_port for p in packets(queue, 200)] == list(range(9000, 9200))
    vm.close()


@pytest.mark.parametrize("size", [5, 1472, 1473, 4000, 20000])
def test_a_first_packet_that_is_sent_on_takes_its_translation_and_answers_come_back(
    table: flows.Table, queue: flows.Queue, size: int
):
    far, vm = opened(FAR, "198.51.100.20", 9000), opened(VM, "10.1.0.4", 40000)
    must(FAR, f"ip route add {PUBLIC}/32 via 198.51.100.1")
    with inside(VM):
        resend = flows.Resend()
    payload = os.urandom(size)
    vm.sendto(payload, ("198.51.100.20", 9000))
    (packet,) = packets(queue, 1)
    table.enter([(packet.flow, number(PUBLIC), 1024)], 60)
    resend.send(packet)
    assert heard(far) == (payload, (PUBLIC, 1024))
    far.sendto(b"answer", (PUBLIC, 1024))
    assert heard(vm) == (b"answer", ("198.51.100.20", 9000))
    vm.sendto(b"second", ("198.51.100.20", 9000))
    assert heard(far) == (b"second", (PUBLIC, 1024))
    assert queue.packets() == []  # nobody is asked again
    resend.close()
    far.close()
    vm.close()


def test_a_queue_has_one_listener(queue: flows.Queue):
    with inside(LB), pytest.raises(KernelError, match="NFQUEUE"):
        flows.Queue()
