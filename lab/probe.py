"""Experiments with real packets inside namespaces: ``python -m lab.probe``, spoken to in JSON lines.

scapy builds one packet of each kind; what differs between flows is patched into its bytes, and they go
out through a raw socket. Arrivals are captured by packet sockets that were opened where the flow must
arrive, and matched by a number each flow carries where no translation touches it: the TCP sequence
number, or the first bytes of the payload. scapy is imported in this process and in no other.

    Prober   the caller's side, which imports no scapy
    main     the process
"""

import contextlib
import http.client
import json
import os
import random
import re
import selectors
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from lab import experiment as ex
from lab.errors import LabError
from lab.kernel import daemons, netns
from lab.kernel.record import Folder
from lab.plan import HealthCheck, interface_to, namespace

# --- the caller's side ------------------------------------------------------------------------


class Prober:
    """The prober's process; starts at once, so that it loads while a lab comes up."""

    def __init__(self) -> None:
        self._process = daemons.talk("lab.probe")

    def __enter__(self) -> "Prober":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, lab: str, experiments: Sequence[ex.Experiment]) -> ex.Reply:
        """Do experiments in a running lab.

        Raises:
            LabError: the prober ended.

        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(ex.Request(lab, tuple(experiments))) + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise LabError("the prober ended; it must answer; what it said is above")
        return msgspec.json.decode(line, type=ex.Reply)


# --- packets ----------------------------------------------------------------------------------

_MAGIC = 0x4C41  # "LA": the upper half of the number that flows carry
_PACKET_OUTGOING = 4  # linux/if_packet.h
_SO_RCVBUFFORCE = 33
_CAPTURE_BYTES = 64 * 1024 * 1024
_BURST = 256  # flows sent before captures are read
_QUIET_S = 0.1  # nothing more is expected once the control packet came and the wires were quiet for so long
_ARRIVAL_S = 3.0  # what has not arrived by then will not
_CONTROL_PORT = 9  # discard (RFC 863)
_LARGE = 3000  # bytes of a datagram that needs three fragments on an Ethernet-sized wire
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "gre": 47}


class Numbers:
    """Numbers and ports that no earlier experiment of this process has used."""

    def __init__(self, seed: int) -> None:
        chosen = random.Random(seed)  # noqa: S311 - nothing secret
        self._number = chosen.randrange(0, 0x8000)
        self._port = chosen.randrange(20000, 30000)
        self._source = chosen.randrange(0, 10000)

    def take(self, count: int) -> int:
        """Return the first of ``count`` numbers, below 0x10000."""
        first = self._number
        self._number += count
        if self._number > 0xFFFF:
            first, self._number = 0, count
        return first

    def port(self) -> int:
        """Return a destination port."""
        self._port = 20000 + (self._port - 19999) % 10000
        return self._port

    def source_ports(self, count: int) -> tuple[int, ...]:
        """Return source ports above every VM's range of SNAT ports in small pools."""
        first = self._source
        self._source += count
        return tuple(32768 + (first + i) % 32000 for i in range(count))


class _Capture:
    """Packet sockets of several watches, read together."""

    def __init__(self, lab: str, watches: Sequence[ex.Watch]) -> None:
        self.sockets = []
        for watch in watches:
            node = watch.kind == "node"
            with inside(lab, watch.name if node else "internet"):
                opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
                opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _CAPTURE_BYTES)
                opened.bind(("eth0" if node else interface_to(f"lb.{watch.name}"), 0x0800))
            self.sockets.append(opened)

    def close(self) -> None:
        for opened in self.sockets:
            opened.close()

    def read(self) -> Iterator[tuple[int, bytes]]:
        """Yield incoming packets that are there now, with the number of their watch."""
        for number, opened in enumerate(self.sockets):
            while True:
                try:
                    packet, address = opened.recvfrom(65536)
                except BlockingIOError:
                    break
                if address[2] != _PACKET_OUTGOING:
                    yield number, packet


@contextlib.contextmanager
def inside(lab: str, place: str) -> Iterator[None]:
    """Have this thread be in a place for as long as it takes to open a socket."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.enter(namespace(lab, place))
        yield
    finally:
        netns.enter_descriptor(home)
        os.close(home)


def number_of(packet: bytes) -> int | None:
    """Return the number that a packet of ours carries, None for any other packet."""
    start = (packet[0] & 15) * 4
    protocol = packet[9]
    if struct.unpack_from("!H", packet, 6)[0] & 0x1FFF:
        return None  # not the first fragment
    if protocol == 6:
        at = start + 4
    elif protocol in (17, 1):
        at = start + 8
    elif protocol == 47:
        at = start + 4
    else:
        return None
    if len(packet) < at + 4:
        return None
    magic, number = struct.unpack_from("!HH", packet, at)
    return number if magic == _MAGIC else None


def seen_of(packet: bytes, number: int) -> ex.Seen:
    """Return a packet's addresses and ports."""
    start = (packet[0] & 15) * 4
    ports = struct.unpack_from("!HH", packet, start) if packet[9] in (6, 17) else (0, 0)
    return ex.Seen(
        number, socket.inet_ntoa(packet[12:16]), ports[0], socket.inet_ntoa(packet[16:20]), ports[1]
    )


class Template:
    """One packet, built by scapy, and the bytes that differ from flow to flow: source port, number, checksum."""

    def __init__(self, send: ex.Send, port: int) -> None:
        from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: PLC0415 - in this process only
        from scapy.packet import Raw  # noqa: PLC0415

        number = struct.pack("!HH", _MAGIC, 0)
        size = _LARGE if send.form == "large" else 16
        payload = Raw(number.ljust(size, b"\0"))
        layers: dict[str, Any] = {
            "tcp": TCP(sport=0, dport=port, seq=_MAGIC << 16, flags="S"),
            "udp": UDP(sport=0, dport=port) / payload,
            "icmp": ICMP(type=8, id=1) / payload,
            "gre": Raw(b"\0\0\x08\0" + number),
        }
        layer = layers[send.protocol]
        if send.form == "middle":
            layer = TCP(sport=0, dport=port, seq=_MAGIC << 16, ack=1, flags="PA") / payload
        head = IP(src=send.private, dst=send.destination, proto=_PROTOCOLS[send.protocol])
        self.data = bytes(head / layer)
        self.protocol = send.protocol
        self.number_at = 26 if send.protocol in ("tcp", "gre") else 30
        self.checksum_at = {"tcp": 36, "udp": 26, "icmp": 22, "gre": None}[send.protocol]
        base = 0 if self.checksum_at is None else struct.unpack_from("!H", self.data, self.checksum_at)[0]
        self.sum = ~base & 0xFFFF

    def packet(self, source_port: int, number: int) -> bytearray:
        """Return the packet of one flow; the checksum follows RFC 1624."""
        data = bytearray(self.data)
        total = self.sum + number
        if self.protocol in ("tcp", "udp"):
            struct.pack_into("!H", data, 20, source_port)
            total += source_port
        struct.pack_into("!H", data, self.number_at, number)
        if self.checksum_at is not None:
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            struct.pack_into("!H", data, self.checksum_at, ~total & 0xFFFF or 0xFFFF)
        return data


def _fragments(packet: bytes) -> list[bytes]:
    from scapy.layers.inet import IP, fragment  # noqa: PLC0415

    return [bytes(part) for part in fragment(IP(bytes(packet)), fragsize=1400)]


def _raw(lab: str, place: str) -> socket.socket:
    with inside(lab, place):
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def send(lab: str, what: ex.Send, numbers: Numbers) -> ex.Arrivals:
    """Send flows and watch for them until all have arrived at every watch, or the wires are quiet."""
    first, port = numbers.take(what.count + 1), what.port or numbers.port()
    ports = numbers.source_ports(what.count)
    template = Template(what, port)
    capture = _Capture(lab, what.watches)
    private = socket.inet_aton(what.private)
    seen: list[dict[int, ex.Seen]] = [{} for _ in what.watches]
    strays: dict[str, None] = {}
    control = [False]
    last = began = time.monotonic()

    def read() -> None:
        nonlocal last
        for watch, packet in capture.read():
            number = number_of(packet)
            if number == first + what.count:
                control[0] = True
            elif number is not None and first <= number < first + what.count:
                seen[watch].setdefault(number - first, seen_of(packet, number - first))
                last = time.monotonic()
            if packet[12:16] == private:
                strays[f"{_words(packet)} on {what.watches[watch]}"] = None

    def complete() -> bool:
        return control[0] and all(len(found) == what.count for found in seen)

    sender = _raw(lab, what.sender)
    try:
        for start in range(0, what.count, _BURST):
            for index in range(start, min(start + _BURST, what.count)):
                data = template.packet(ports[index], first + index)
                for part in _fragments(data) if what.form == "large" else (data,):
                    sender.sendto(part, (what.destination, 0))
            read()
        _control(lab, what, first + what.count)
        _wait(capture.sockets, read, complete, lambda: control[0])
    finally:
        sender.close()
        capture.close()
    return ex.Arrivals(
        sent=what.count,
        source_ports=ports,
        control=control[0],
        seen=tuple(tuple(found[n] for n in sorted(found)) for found in seen),
        strays=tuple(strays),
        seconds=last - began,
    )


def _control(lab: str, what: ex.Send, number: int) -> None:
    """Send a packet that no rule of Azure's concerns to where the flows must arrive: the capture must see it."""
    with inside(lab, "internet"):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.sendto(struct.pack("!HH", _MAGIC, number), (what.destination, _CONTROL_PORT))
    finally:
        opened.close()


def _wait(
    sockets: Sequence[socket.socket], read: Callable[[], None], complete: Callable[[], bool], control: Callable[[], bool]
) -> None:
    """Read captures until all is there, nothing has come since the control packet, or it took too long."""
    with selectors.DefaultSelector() as selector:
        for opened in sockets:
            selector.register(opened, selectors.EVENT_READ)
        end = time.monotonic() + _ARRIVAL_S
        while not complete() and time.monotonic() < end:
            if not selector.select(_QUIET_S) and control():
                return
            read()


def _words(packet: bytes) -> str:
    from scapy.layers.inet import IP  # noqa: PLC0415

    return str(IP(packet).summary())


# --- conversations ----------------------------------------------------------------------------


def ask(lab: str, what: ex.Ask) -> ex.Answers:
    """Talk to a real server, several times at once."""
    with ThreadPoolExecutor(min(16, what.count)) as pool:
        return ex.Answers(answers=tuple(pool.map(lambda _: _ask_once(lab, what), range(what.count))))


def _ask_once(lab: str, what: ex.Ask) -> ex.Answer:
    kind = socket.SOCK_DGRAM if what.kind == "udp" else socket.SOCK_STREAM
    with inside(lab, what.client):
        opened = socket.socket(socket.AF_INET, kind)
    try:
        opened.settimeout(what.timeout_s)
        opened.connect((what.address, what.port))
        if what.kind == "connect":
            return ex.Answer("answered")
        text = _converse(opened, what)
        return msgspec.convert({"outcome": "answered", **json.loads(text)}, ex.Answer)
    except TimeoutError:
        return ex.Answer("timeout")
    except OSError:
        return ex.Answer("refused")
    finally:
        opened.close()


def _converse(opened: socket.socket, what: ex.Ask) -> bytes:
    if what.kind == "udp":
        opened.send(b"who am I?\n")
        return opened.recv(65536)
    if what.kind == "tcp":
        with opened.makefile("rb") as stream:
            return stream.readline()
    if what.kind == "https":
        context = ssl.create_default_context()
        context.check_hostname = False  # which server answers is what is asked
        context.verify_mode = ssl.CERT_NONE
        opened = context.wrap_socket(opened)
    connection = http.client.HTTPConnection(what.address, what.port)
    connection.sock = opened
    connection.request("GET", "/")
    return connection.getresponse().read()


def login(lab: str, what: ex.Login) -> ex.AuthLog:
    """Run ssh; nobody may log in, but the server names its peer."""
    log = Folder(lab).log / f"{what.host}.auth.log"
    size = log.stat().st_size if log.exists() else 0
    options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=3"]
    command = ["ssh", "-F", "none", *(word for option in options for word in ("-o", option))]
    # Run to its end; the log is complete once the server has seen the connection close.
    daemons.run(
        [*command, "-p", str(what.port), f"nobody@{what.address}", "true"],
        inside=lambda: netns.enter(namespace(lab, what.client)),
        timeout_s=10,
    )
    lines: list[str] = []
    end = time.monotonic() + 1.0
    while not any("Connection closed" in line for line in lines) and time.monotonic() < end:
        lines = log.read_bytes()[size:].decode(errors="replace").splitlines() if log.exists() else []
        time.sleep(0.01)
    peers = [match[1] for line in lines if (match := re.search(r"Connection from (\S+) port \d+", line))]
    return ex.AuthLog(lines=tuple(lines), peers=tuple(dict.fromkeys(peers)))


def lookup(lab: str, what: ex.Lookup) -> ex.Names:
    """Run nslookup with the node's own resolver."""
    from lab.kernel.apply import node_files  # noqa: PLC0415

    folder = Folder(lab)
    files = node_files(folder.plan(), what.client)

    def become() -> None:
        netns.enter(namespace(lab, what.client))
        netns.own_files(what.client, folder.own, files)

    done = daemons.run(["nslookup", "-timeout=2", "-retry=1", what.name, what.server], inside=become, timeout_s=15)
    # The first address is the server's own; what follows the blank line is the answer.
    answer = done.stdout.partition("\n\n")[2]
    return ex.Names(addresses=tuple(re.findall(r"^Address: (\S+)$", answer, re.MULTILINE)), said=done.stdout)


# --- flows and their state --------------------------------------------------------------------


def track(lab: str, what: ex.Track, numbers: Numbers) -> ex.Tracked:
    """List the tracked flows from the sender to the destination before and after a flow is opened."""
    before = _entries(lab, f"lb.{what.network}", what.send)
    arrivals = send(lab, what.send, numbers)
    after = _entries(lab, f"lb.{what.network}", what.send)
    return ex.Tracked(before=before, after=tuple(e for e in after if e not in before), arrivals=arrivals)


def _entries(lab: str, place: str, flow: ex.Send) -> tuple[ex.Entry, ...]:
    return netns.run_in(namespace(lab, place), _entries_here, flow.private, flow.destination)


def _entries_here(source: str, destination: str) -> tuple[ex.Entry, ...]:
    from pyroute2 import NFCTSocket  # noqa: PLC0415

    found = []
    with NFCTSocket() as tracking:
        for entry in tracking.dump():
            original = _tuple(entry, "CTA_TUPLE_ORIG")
            reply = _tuple(entry, "CTA_TUPLE_REPLY")
            if original[0] == source and original[2] == destination:
                found.append(ex.Entry(original[1], reply[2], reply[3]))
    return tuple(found)


def _tuple(entry: Any, name: str) -> tuple[str, int, str, int]:
    """Return source, source port, destination and destination port of a direction."""
    direction = entry.get_attr(name)
    address, ports = direction.get_attr("CTA_TUPLE_IP"), direction.get_attr("CTA_TUPLE_PROTO")
    return (
        address.get_attr("CTA_IP_V4_SRC") or "",
        ports.get_attr("CTA_PROTO_SRC_PORT") or 0,
        address.get_attr("CTA_IP_V4_DST") or "",
        ports.get_attr("CTA_PROTO_DST_PORT") or 0,
    )


def come_back(lab: str, what: ex.Return, numbers: Numbers) -> ex.Returned:
    """Let the far end of a flow, and then a stranger, send to the flow's translated port."""
    arrivals = send(lab, what.send, numbers)
    if not arrivals.seen[-1]:
        return ex.Returned(source="", source_port=0, answered=False, intruded=False)
    flow = arrivals.seen[-1][0]
    first = numbers.take(2)
    capture = _Capture(lab, [ex.Watch("node", what.send.sender)])
    arrived: set[int] = set()

    def read() -> None:
        arrived.update(n for _, packet in capture.read() if (n := number_of(packet)) in (first, first + 1))

    try:
        # The stranger first: its silence means something once the answer behind it has arrived.
        for number, place, address, port in (
            (first + 1, what.stranger, what.stranger_address, flow.destination_port),
            (first, what.far, flow.destination, flow.destination_port),
        ):
            packet = ex.Send(
                sender=place, private=address, destination=flow.source, protocol="udp", watches=()
            )
            raw = _raw(lab, place)
            raw.sendto(Template(packet, flow.source_port).packet(port, number), (flow.source, 0))
            raw.close()
        _wait(capture.sockets, read, lambda: len(arrived) == 2, lambda: first in arrived)
    finally:
        capture.close()
    return ex.Returned(
        source=flow.source, source_port=flow.source_port, answered=first in arrived, intruded=first + 1 in arrived
    )


def health(lab: str) -> ex.Members:
    """Wait for the agent's judgement of every member of the plan."""
    folder = Folder(lab)
    wanted = {check.key: check for check in folder.plan().of(HealthCheck)}
    longest = max((check.interval_s * check.number_of_probes for check in wanted.values()), default=0.0)
    end = time.monotonic() + longest + 5.0
    while True:
        known = {key: member for key, member in folder.health().items() if key in wanted}
        if len(known) == len(wanted) and all(member.judged for member in known.values()):
            up = tuple(sorted(key for key, member in known.items() if member.up))
            return ex.Members(up=up, down={k: m.reason for k, m in sorted(known.items()) if not m.up})
        if time.monotonic() > end:
            waiting = sorted(key for key in wanted if key not in known or not known[key].judged)
            raise LabError(f"members not judged after {longest + 5:g} s: {', '.join(waiting)}")
        time.sleep(0.02)


def check_file(what: ex.CheckFile) -> ex.Checked:
    """Run ``lab check`` on a text."""
    with tempfile.NamedTemporaryFile("w", suffix=".lab.yaml") as file:
        file.write(what.text)
        file.flush()
        done = daemons.run([sys.executable, "-P", "-m", "lab", "check", file.name])
        said = (done.stdout + done.stderr).replace(file.name, Path(file.name).suffixes[-2].lstrip(".") + ".yaml")
    return ex.Checked(status=done.status, said=said.strip())


# --- the process ------------------------------------------------------------------------------


def perform(lab: str, what: ex.Experiment, numbers: Numbers) -> ex.Observation:
    """Do one experiment."""
    match what:
        case ex.Send():
            return send(lab, what, numbers)
        case ex.Ask():
            return ask(lab, what)
        case ex.Login():
            return login(lab, what)
        case ex.Lookup():
            return lookup(lab, what)
        case ex.Track():
            return track(lab, what, numbers)
        case ex.Return():
            return come_back(lab, what, numbers)
        case ex.Health():
            return health(lab)
        case ex.CheckFile():
            return check_file(what)


def main() -> None:
    """Answer requests until standard input ends."""
    import scapy.layers.inet  # noqa: F401, PLC0415 - loaded now, while a lab comes up

    numbers = Numbers(os.getpid() ^ time.time_ns())
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=ex.Request)
        observations: list[ex.Observation] = []
        seconds = []
        for what in request.experiments:
            began = time.monotonic()
            try:
                observations.append(perform(request.lab, what, numbers))
            except (OSError, LabError, ValueError) as error:
                observations.append(ex.Failed(reason=f"{type(error).__name__}: {error}"))
            seconds.append(time.monotonic() - began)
        reply = ex.Reply(tuple(observations), tuple(seconds))
        sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
