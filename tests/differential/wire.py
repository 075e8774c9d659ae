"""Flows of a topology on the wire: all at once, from every node, by one process that wanders through the lab."""

import contextlib
import errno
import json
import random
import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.kernel import netns
from lab.plan import namespace
from tests.differential.oracle import DEFAULT, HOST, SILENCE, Expected, Oracle, Way

_DEADLINE_S, _SILENCE_S = 10.0, 0.35
_FLOWS = 24  # to each public address and port: enough that each of three members is seen
_SNAT_FIRST = 1024
_PORTS_EACH = 1024  # that a VM has of an address, in a pool of up to 50


@dataclass(frozen=True)
class Flow:
    """A flow, and what becomes of it by the documents."""

    sender: str
    address: str
    protocol: str
    port: int
    expected: Expected
    balanced: bool = False  # one of several that together are seen to reach every member
    ttl: int = 64


@dataclass(frozen=True)
class Answer:
    """Who answered, what it saw of the client, and what the client had."""

    node: str
    address: str
    port: int
    own_address: str
    own_port: int


def flows(oracle: Oracle) -> list[Flow]:
    """Return the flows that are tried of a topology."""
    found: list[Flow] = []
    for vm in oracle.vms:
        for host, settings in oracle.hosts.items():
            for protocol, port in sorted(oracle.listens(host)):
                expected = oracle.outbound(vm, protocol, host, port)
                found.append(Flow(vm, str(settings["address"]), protocol, port, expected))
        first = next(iter(oracle.hosts))
        address = str(oracle.hosts[first]["address"])
        found.append(Flow(vm, address, "icmp", 0, oracle.outbound(vm, "icmp", first, 0)))
        for other in oracle.vms:
            if other != vm:
                for protocol, port in (("tcp", 80), ("udp", 80), ("tcp", 8081)):
                    expected = oracle.inner(vm, protocol, other, port)
                    found.append(Flow(vm, oracle.address(other), protocol, port, expected))
        inside = {(front.address, front.protocol, front.port) for front in oracle.fronts if vm not in front.members}
        inside |= {(own, p, 80) for v in oracle.vms if v != vm and (own := oracle.own(v)) for p in ("tcp", "udp")}
        found += [Flow(vm, *target, oracle.hairpin(vm, target[1], target[0], target[2])) for target in sorted(inside)]
        found.append(Flow(vm, HOST, "dns", 53, Expected(frozenset({HOST}), silent=False)))
        # Neither a gateway nor a router on the way says anything (virtual networks FAQ, 2019-02-12).
        gateway = oracle.address(vm).rpartition(".")[0] + ".1"
        found.append(Flow(vm, gateway, "icmp", 0, SILENCE))
        found += [Flow(vm, address, "icmp", 0, SILENCE, ttl=ttl) for ttl in (1, 2, 3)]
    for host, settings in oracle.hosts.items():
        source = str(settings["address"])
        for address, protocol, port in targets(oracle):
            expected = oracle.inbound(source, address, protocol, port)
            number = _FLOWS if len(expected.answerers) > 1 or (expected.answerers and expected.silent) else 1
            found += [Flow(host, address, protocol, port, expected, number > 1)] * number
    return found


def targets(oracle: Oracle) -> list[tuple[str, str, int]]:
    """Return the public addresses and ports that lead to a VM, and some that do not."""
    found = [(front.address, front.protocol, front.port) for front in oracle.fronts]
    found += [(address, "udp" if protocol == "tcp" else "tcp", port) for address, protocol, port in found]
    found += [(address, "tcp", 9) for address, _, _ in found]
    for vm in oracle.vms:
        if (own := oracle.own(vm)) is not None:
            found += [(own, "tcp", 80), (own, "udp", 80), (own, "tcp", 8081), (own, "icmp", 0)]
    return sorted(set(found))


def send(
    lab: str, wanted: Sequence[Flow], hosts: Sequence[str] = (), deadline_s: float = _DEADLINE_S
) -> tuple[list[Answer | None], list[str]]:
    """Send flows, all at once; return each one's answer, None for silence and for what was refused.

    And the private addresses that ``hosts`` saw packets from meanwhile: none may leave a network.
    """
    return netns.in_child(_send, lab, list(wanted), list(hosts), deadline_s)


def _listen(lab: str, hosts: Sequence[str]) -> list[socket.socket]:
    """Return sockets that see what comes to hosts."""
    opened = []
    for host in hosts:
        netns.enter(namespace(lab, host))
        opened.append(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(0x0800)))
    return opened


def _private(listening: Iterable[socket.socket]) -> list[str]:
    """Return the private addresses that packets came from."""
    found = set()
    for one in listening:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = one.recv(64)
                if packet[12] == 10:  # 10.0.0.0/8 (RFC 791: the source stands at 12)
                    found.add(socket.inet_ntoa(packet[12:16]))
    return sorted(found)


class _Sender:
    """One flow's socket."""

    def __init__(self, flow: Flow, number: int) -> None:
        self.flow, self.number = flow, number
        kind = {"tcp": socket.SOCK_STREAM, "icmp": socket.SOCK_RAW}.get(flow.protocol, socket.SOCK_DGRAM)
        protocol = socket.IPPROTO_ICMP if flow.protocol == "icmp" else 0
        self.socket = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK, protocol)
        if flow.ttl != 64:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, flow.ttl)
        self.data = b""
        self.over = False
        self.answer: Answer | None = None
        # An error about a packet comes from a router on its way, and a socket that is connected would not hear it.
        code = 0 if flow.protocol == "icmp" else self.socket.connect_ex((flow.address, flow.port))
        self.over = code not in (0, errno.EINPROGRESS)
        if not self.over and flow.protocol == "udp":
            self._try(b"?\n")
        if not self.over and flow.protocol == "dns":
            self._try(_QUESTION)
        if not self.over and flow.protocol == "icmp":
            self._try(_echo(number))

    def _try(self, data: bytes) -> None:
        try:
            self.socket.sendto(data, (self.flow.address, 0)) if self.flow.protocol == "icmp" else self.socket.send(data)
        except OSError:
            self.over = True

    def hear(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.over = True
            return
        own, own_port = self.socket.getsockname()[:2]
        if self.flow.protocol == "icmp":
            # An answer to our echo, or an error that holds our echo after its own header and that of IP.
            at = {0: 24, 3: 52, 11: 52}.get(data[20], len(data))
            if data[at : at + 2] == struct.pack("!H", self.number & 0xFFFF):
                from_there = data[20] == 0 and socket.inet_ntoa(data[12:16]) == self.flow.address
                node = next(iter(self.flow.expected.answerers), "?") if from_there else "a router"
                self.answer = Answer(node, "", 0, own, 0)
                self.over = True
            return
        if self.flow.protocol == "dns":
            self.answer = Answer(HOST, own, own_port, own, own_port)
            self.over = True
            return
        self.data += data
        self.over = not data
        if self.data.endswith(b"\n"):
            said: dict[str, Any] = json.loads(self.data)
            self.answer = Answer(said["node"], said["client_address"], said["client_port"], own, own_port)
            self.over = True


#: A question for the address of "z" (RFC 1035).
_QUESTION = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\x01z\0" + struct.pack("!2H", 1, 1)


def _echo(number: int) -> bytes:
    """Return an ICMP echo request (RFC 792)."""
    head = struct.pack("!BBHHH", 8, 0, 0, number & 0xFFFF, 1)
    total = sum(struct.unpack("!4H", head))
    total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!BBHHH", 8, 0, ~total & 0xFFFF, number & 0xFFFF, 1)


def _send(lab: str, wanted: list[Flow], hosts: list[str], deadline_s: float) -> tuple[list[Answer | None], list[str]]:
    netns.prepare()
    listening = _listen(lab, hosts)
    first = random.randrange(1 << 16)  # what is known of an echo must not be what was known of one before
    senders: list[_Sender | None] = [None] * len(wanted)
    for place in dict.fromkeys(flow.sender for flow in wanted):
        netns.enter(namespace(lab, place))
        for number, flow in enumerate(wanted):
            if flow.sender == place:
                senders[number] = _Sender(flow, first + number)
    made = [sender for sender in senders if sender is not None]
    poll = select.poll()
    by_number = {sender.socket.fileno(): sender for sender in made if not sender.over}
    for number in by_number:
        poll.register(number, select.POLLIN)
    deadline = time.monotonic() + deadline_s
    silence = time.monotonic() + _SILENCE_S
    while by_number:
        waited = any(not s.flow.expected.silent for s in by_number.values())
        left = (deadline if waited else max(silence, 0.0)) - time.monotonic()
        if left <= 0:
            break
        for number, _ in poll.poll(left * 1000):
            sender = by_number[number]
            sender.hear()
            if sender.over:
                poll.unregister(number)
                del by_number[number]
                if not sender.flow.expected.silent:
                    silence = max(silence, time.monotonic() + _SILENCE_S)
    answers = [sender.answer for sender in made]
    for sender in made:
        if sender.flow.protocol == "tcp":
            sender.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sender.socket.close()
    return answers, _private(listening)


def differences(oracle: Oracle, wanted: Sequence[Flow], answers: Iterable[Answer | None]) -> list[str]:
    """Return what was seen otherwise than the documents say."""
    found: list[str] = []
    met: dict[Flow, set[str]] = {}
    ports: dict[tuple[str, str, str], set[int]] = {}
    for flow, answer in zip(wanted, answers, strict=True):
        what = f"{flow.sender} to {flow.address}:{flow.port}/{flow.protocol}"
        expected = flow.expected
        if answer is None:
            if not expected.silent:
                found.append(f"{what}: silence; {sorted(expected.answerers)} must answer")
            continue
        if answer.node not in expected.answerers:
            found.append(f"{what}: {answer.node} answered; by the documents {sorted(expected.answerers) or 'silence'}")
            continue
        met.setdefault(flow, set()).add(answer.node)
        if flow.protocol != "icmp":
            found += [f"{what}: {wrong}" for wrong in _seen(oracle, expected.seen, answer)]
            if expected.seen is not None and not expected.seen.port_kept:
                ports.setdefault((answer.address, flow.protocol, flow.sender), set()).add(answer.port)
    found += [
        f"{flow.sender} to {flow.address}:{flow.port}/{flow.protocol}: never {sorted(flow.expected.answerers - nodes)}"
        for flow, nodes in met.items()
        if flow.balanced and flow.expected.answerers - nodes
    ]
    return found + _shared(oracle, ports)


def _seen(oracle: Oracle, way: Way | None, answer: Answer) -> list[str]:
    """Say what is wrong with what an answerer saw of its client."""
    if way is None:
        fine = (answer.address, answer.port) == (answer.own_address, answer.own_port)
        return [] if fine else [f"seen with {answer.address}:{answer.port}, not the client's own"]
    if way.addresses == {DEFAULT}:
        ours = {front.address for front in oracle.fronts} | {str(h["address"]) for h in oracle.hosts.values()}
        private = answer.address.startswith("10.")
        wrong = [f"seen with {answer.address}, which is of the topology"] if private or answer.address in ours else []
    else:
        wrong = [] if answer.address in way.addresses else [f"seen with {answer.address}, not {sorted(way.addresses)}"]
    if way.port_kept and answer.port != answer.own_port:
        wrong.append(f"seen with port {answer.port}, not its own {answer.own_port}")
    if not way.port_kept and answer.port < _SNAT_FIRST:
        wrong.append(f"seen with port {answer.port}, which no VM is given")
    return wrong


def _shared(oracle: Oracle, ports: dict[tuple[str, str, str], set[int]]) -> list[str]:
    """Say where two VMs have ports of one address among each other, or one has them further apart than it may."""
    found = []
    fronts = {front.address for front in oracle.fronts}
    each: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for (address, protocol, vm), used in ports.items():
        if address in fronts:
            each.setdefault((address, protocol), []).append((min(used), max(used), vm))
    for (address, protocol), spans in each.items():
        for first, last, vm in spans:
            if last - first >= _PORTS_EACH:
                found.append(f"{vm}: ports {first} to {last} of {address}/{protocol}, more than {_PORTS_EACH}")
        for one, other in zip(sorted(spans), sorted(spans)[1:], strict=False):
            if other[0] <= one[1]:
                found.append(f"{address}/{protocol}: ports of {one[2]} and {other[2]} lie among each other")
    return found


def settled(lab: str, oracle: Oracle) -> list[str]:
    """Wait until members are up and down as the documents say; return those that are not."""
    from lab.kernel.state import StateDir
    from lab.plan import HealthCheck

    folder = StateDir(lab)
    wanted = {check.key: oracle.up(check.node, check.port) for check in folder.plan().of(HealthCheck)}
    _, unsettled = folder.wait_health(deadline_s=_DEADLINE_S, wanted=wanted)
    return [f"{key}: must be {'up' if wanted[key] else 'down'}" for key in unsettled]


def look(lab: str, text: str) -> list[str]:
    """Try all flows of a topology that runs; return what differs."""
    oracle = Oracle(text)
    wanted = flows(oracle)
    late = settled(lab, oracle)
    return late + tried(lab, oracle, wanted)


def tried(lab: str, oracle: Oracle, wanted: Sequence[Flow], deadline_s: float = _DEADLINE_S) -> list[str]:
    """Send flows; return what differs."""
    answers, private = send(lab, wanted, list(oracle.hosts), deadline_s)
    return differences(oracle, wanted, answers) + [f"{address}: a host saw a packet from it" for address in private]
