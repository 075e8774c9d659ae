"""The first packets of flows that a decider is asked about, and the kernel's table of flows.

A rule with the target ``Queue`` keeps a flow's first packet back (NFQUEUE). The decider enters the flow
with its translation into the connection table (ctnetlink), lets the kernel drop the packet it kept, and sends
its copy once more from where it came: the copy finds the entry and takes the translation, and so does every
later packet, without anybody being asked.

Messages are encoded and read by hand, at fixed places: pyroute2 takes a hundred times as long for each.
linux/netfilter/nfnetlink{,_queue,_conntrack}.h name the numbers.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from lab.errors import KernelError
from lab.flow import TCP, UDP, Flow
from lab.kernel import netlink
from lab.kernel.sockets import enlarge

_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NETLINK_NO_ENOBUFS = 270, 1, 5
_SO_ATTACH_FILTER = 26
_BUFFER_BYTES = 64 * 1024 * 1024

_DUMP, _EXCLUSIVE, _CREATE = 0x300, 0x200, 0x400
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_CT_NEW, _CT_GET, _CT_DELETE = 0x100, 0x101, 0x102
_QUEUE_CONFIG, _QUEUE_VERDICT_BATCH = 0x302, 0x303
_UPDATES, _DESTROYS = 2, 3  # multicast groups
_DROP = 0

_PROTOINFO, _PROTOINFO_TCP, _TCP_STATE = 4, 1, 1
_MARK = 8
TCP_ESTABLISHED, TCP_FIN_WAIT, TCP_TIME_WAIT, TCP_CLOSE = 3, 4, 7, 8  # linux/netfilter/nf_conntrack_tcp.h
_BURST = 64  # packets that are read before their answers are sent
_BURSTS = 1024  # of events, at one go


class Entry(NamedTuple):
    """A flow in the table: where its answers go, the state of a TCP connection (0 otherwise), and who answers.

    ``mark`` is 0 unless marks were asked for.
    """

    flow: Flow
    reply_address: int
    reply_port: int
    state: int
    answerer: int
    mark: int = 0


class Event(NamedTuple):
    """What happened to a flow: it is gone, or a TCP connection came to a state that closes it."""

    kind: Literal["gone", "closing"]
    entry: Entry


class Ended(NamedTuple):
    """A flow that is gone from the table: the one that its receiver saw, its state, and whether its time was over."""

    flow: Flow
    received: Flow
    state: int
    timed_out: bool


# --- messages ---------------------------------------------------------------------------------


#: CTA_TUPLE_ORIG or _REPLY: addresses, protocol and ports, each an attribute, with its padding.
_TUPLE = struct.Struct("=HHHHHH4sHH4sHHHHB3xHH2s2xHH2s2x")
_TUPLE_READ = struct.Struct("!12xI4xI8xB7xH6xH2x")  # source, destination, protocol, source port, destination port
assert _TUPLE.size == _TUPLE_READ.size


def _tuple(kind: int, protocol: int, source: bytes, source_port: bytes, destination: bytes, port: bytes) -> bytes:
    inner = 0x8001, 8, 1, source, 8, 2, destination
    return _TUPLE.pack(
        _TUPLE.size, kind | netlink.NESTED, 20, *inner, 28, 0x8002, 5, 1, protocol, 6, 2, source_port, 6, 3, port
    )


_ADDRESS, _PORT = struct.Struct("!I"), struct.Struct("!H")
_ORIGINAL, _REPLY, _NAT_SOURCE, _TIMEOUT = 1, 2, 6, 7


def _original(flow: Flow) -> bytes:
    return _tuple(
        _ORIGINAL,
        flow.protocol,
        _ADDRESS.pack(flow.source),
        _PORT.pack(flow.source_port),
        _ADDRESS.pack(flow.destination),
        _PORT.pack(flow.destination_port),
    )


def _creation(flow: Flow, address: int, port: int, timeout_s: int, number: int) -> bytes:
    """Return the message that enters a flow, with a source translation to one address and port."""
    # The reply is given untranslated: the kernel translates it as it would for a rule.
    reply = _tuple(
        _REPLY,
        flow.protocol,
        _ADDRESS.pack(flow.destination),
        _PORT.pack(flow.destination_port),
        _ADDRESS.pack(flow.source),
        _PORT.pack(flow.source_port),
    )
    to, at = _ADDRESS.pack(address), _PORT.pack(port)
    translation = netlink.attribute(1, to) + netlink.attribute(2, to)
    translation += netlink.attribute(3 | netlink.NESTED, netlink.attribute(1, at) + netlink.attribute(2, at))
    body = _original(flow) + reply + netlink.attribute(_TIMEOUT, _ADDRESS.pack(timeout_s))
    return netlink.of_netfilter(
        _CT_NEW, _CREATE | _EXCLUSIVE, body + netlink.attribute(_NAT_SOURCE | netlink.NESTED, translation), number
    )


def _read_entry(message: bytes, *, state: bool) -> Entry | None:
    """Return the flow of a message of the table, None if it is not TCP or UDP over IPv4.

    Both tuples come first, in this order and without gaps; a zone would come after them.
    """
    if len(message) < 20 + 2 * _TUPLE.size or message[16] != socket.AF_INET:
        return None
    source, destination, protocol, source_port, destination_port = _TUPLE_READ.unpack_from(message, 20)
    if protocol not in (TCP, UDP):
        return None
    answerer, reply_address, _, _, reply_port = _TUPLE_READ.unpack_from(message, 20 + _TUPLE.size)
    flow = Flow(protocol, source, source_port, destination, destination_port)
    tcp_state = _tcp_state(message) if state and protocol == TCP else 0
    return Entry(flow, reply_address, reply_port, tcp_state, answerer)


def _tcp_state(message: bytes) -> int:
    begin, end = 20, len(message)
    for wanted in (_PROTOINFO, _PROTOINFO_TCP, _TCP_STATE):
        found = next(((b, e) for kind, b, e in netlink.attributes(message, begin, end) if kind == wanted), None)
        if found is None:
            return 0
        begin, end = found
    return message[begin]


def _mark(message: bytes) -> int:
    for kind, begin, _ in netlink.attributes(message, 20, len(message)):
        if kind == _MARK:
            return int(_ADDRESS.unpack_from(message, begin)[0])
    return 0


# --- the table --------------------------------------------------------------------------------


#: What the kernel answers that has no room for an entry.
_NO_ROOM = (errno.ENOMEM, errno.ENOSPC, errno.ENOBUFS)


class Table:
    """The connection table of the namespace that this was opened in. Entries of other protocols are passed over.

    Changes made through it are not among the events it reports.
    """

    def __init__(self, *, closing_from: int) -> None:
        """Open it, to report TCP connections from a state on: ``TCP_FIN_WAIT`` or ``TCP_TIME_WAIT``."""
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, netlink.NETFILTER)
        enlarge(self.socket, _BUFFER_BYTES)
        self.socket.bind((0, 0))
        self._own: int = self.socket.getsockname()[0]
        self._closing_from = 0
        self.close_from(closing_from)
        for group in (_UPDATES, _DESTROYS):
            self.socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        self._events: list[Event] = []
        self._failed: list[tuple[int, int]] = []  # a number and why: an error of the kernel
        self._lost = False
        self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETFILTER)
        enlarge(self._asking, _BUFFER_BYTES)
        self._asking.bind((0, 0))

    def close_from(self, state: int) -> None:
        """Report TCP connections from another state on."""
        if state != self._closing_from:
            self._closing_from = state
            _filter(self.socket, state)

    def close(self) -> None:
        """Close its sockets."""
        self.socket.close()
        self._asking.close()

    def enter(self, flows: Sequence[tuple[Flow, int, int]], timeout_s: int) -> tuple[set[Flow], set[Flow]]:
        """Enter flows with the address and port that each is seen with; one that is there already stays as it is.

        Returns those whose place is taken, by an entry that was not reported with their address and port, and those
        that the kernel has no room for: its table is full, or its memory.
        """
        if not flows:
            return set(), set()
        self.socket.send(b"".join(_creation(*flow, timeout_s, number) for number, flow in enumerate(flows, start=1)))
        self._read()  # the kernel has answered before send returns
        failed, self._failed = [(flows[number - 1][0], why) for number, why in self._failed], []
        absent = [(flow, why) for flow, why in failed if not self._has(flow)]
        refused = {flow for flow, why in absent if why in _NO_ROOM}
        return {flow for flow, _ in absent} - refused, refused

    def _has(self, flow: Flow) -> bool:
        self._asking.send(netlink.of_netfilter(_CT_GET, 0, _original(flow)))
        (kind,) = struct.unpack_from("=H", self._asking.recv(4096), 4)
        return bool(kind == _CT_NEW)

    def left(self, flow: Flow) -> tuple[int, int] | None:
        """Return how many seconds a flow has left, rounded down, and the state of a TCP connection; None: it is gone.

        The kernel removes a flow whose time is over when it is asked for.
        """
        self._asking.send(netlink.of_netfilter(_CT_GET, 0, _original(flow)))
        message = self._asking.recv(4096)
        if struct.unpack_from("=H", message, 4)[0] != _CT_NEW:
            return None
        for kind, begin, _ in netlink.attributes(message, 20, len(message)):
            if kind == _TIMEOUT:
                return int(_ADDRESS.unpack_from(message, begin)[0]), _tcp_state(message)
        return 0, _tcp_state(message)

    def expire(self, flow: Flow) -> None:
        """End a flow as the kernel ends one whose time is over, and report it likewise."""
        over = _original(flow) + netlink.attribute(_TIMEOUT, _ADDRESS.pack(0))
        self._asking.send(netlink.of_netfilter(_CT_NEW, netlink.ACK, over))
        self._asking.recv(4096)
        self.left(flow)

    def forget(self, flows: Iterable[Flow]) -> None:
        """Remove flows; one that is not there is fine."""
        messages = [netlink.of_netfilter(_CT_DELETE, 0, _original(flow)) for flow in flows]
        for start in range(0, len(messages), _BURST):
            self.socket.send(b"".join(messages[start : start + _BURST]))

    def events(self) -> tuple[list[Event], bool]:
        """Return what has happened since the last call, and whether something was lost for want of room."""
        self._read()
        found, self._events = self._events, []
        lost, self._lost = self._lost, False
        return found, lost

    def _read(self) -> None:
        """Read what there is: events, and the numbers of messages that the kernel refused."""
        for _ in range(_BURSTS * _BURST):
            try:
                message = self.socket.recv(4096)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._lost = True
                continue
            _, kind, _, number, sender = struct.unpack_from("=IHHII", message)
            if kind == _NLMSG_ERROR and number:
                self._failed.append((number, -struct.unpack_from("=i", message, 16)[0]))
            elif kind in (_CT_NEW, _CT_DELETE) and sender != self._own:  # the kernel tells the remover too
                entry = _read_entry(message, state=kind == _CT_NEW)
                if entry is not None:
                    self._events.append(Event("gone" if kind == _CT_DELETE else "closing", entry))

    def entries(self, *, marks: bool = False) -> list[Entry]:
        """Return all flows of the table, with their marks if asked; those whose time is over are removed on the way.

        Raises:
            KernelError: the kernel does not list its table.

        """
        self._asking.send(netlink.of_netfilter(_CT_GET, _DUMP, b""))
        found: list[Entry] = []
        while True:
            data = self._asking.recv(1 << 20)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", data, at + 16)[0]
                    raise KernelError(
                        f"connection table: {os.strerror(number)}; the kernel must list it; run `lab doctor`"
                    )
                message = data[at : at + length]
                entry = _read_entry(message, state=True)
                if entry is not None:
                    found.append(entry._replace(mark=_mark(message)) if marks else entry)
                at += (length + 3) & ~3


class Ends:
    """The ends of flows of the connection table of the namespace that this was opened in."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, netlink.NETFILTER)
        enlarge(self.socket, _BUFFER_BYTES)
        self.socket.bind((0, 0))
        self.socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _DESTROYS)
        self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETFILTER)
        self._asking.bind((0, 0))

    def close(self) -> None:
        """Close its sockets."""
        self.socket.close()
        self._asking.close()

    def ask(self, flow: Flow) -> bool:
        """Tell whether a flow is there; the kernel removes one whose time is over when it is asked for."""
        self._asking.send(netlink.of_netfilter(_CT_GET, 0, _original(flow)))
        (kind,) = struct.unpack_from("=H", self._asking.recv(4096), 4)
        return bool(kind == _CT_NEW)

    def read(self) -> list[Ended]:
        """Return the flows that have ended since the last call; what was lost for want of room is not among them."""
        found: list[Ended] = []
        for _ in range(_BURSTS * _BURST):
            try:
                message = self.socket.recv(4096)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            (kind,) = struct.unpack_from("=H", message, 4)
            entry = _read_entry(message, state=True) if kind == _CT_DELETE else None
            if entry is None:
                continue
            source, to, protocol, source_port, to_port = _TUPLE_READ.unpack_from(message, 20 + _TUPLE.size)
            # A flow that was removed had time left.
            left = any(kind == _TIMEOUT for kind, _, _ in netlink.attributes(message, 20, len(message)))
            found.append(Ended(entry.flow, Flow(protocol, to, to_port, source, source_port), entry.state, not left))
        return found


def _filter(opened: socket.socket, state: int) -> None:
    """Let only what matters into a socket of events: flows that are gone, and TCP connections from a state on.

    Each connection causes seven events or more, and reading one costs more than filtering many.
    """
    netlink, nested = 0xFFFFF000 + 12, 0xFFFFF000 + 16  # SKF_AD_NLATTR, SKF_AD_NLATTR_NEST of linux/filter.h
    half, word, byte_at = 0x28, 0x20, 0x50  # load two bytes, four, one at X
    constant, index, to_index = 0x00, 0x01, 0x07  # A = k, X = k, X = A
    equal, at_least, done = 0x15, 0x35, 0x06
    program = (
        (half, 0, 0, 4),
        (equal, 0, 12, 0x0001),  # _CT_NEW, read in the other order of bytes; anything else is kept
        (constant, 0, 0, 20),
        (index, 0, 0, _PROTOINFO),
        (word, 0, 0, netlink),
        (equal, 9, 0, 0),
        (index, 0, 0, _PROTOINFO_TCP),
        (word, 0, 0, nested),
        (equal, 6, 0, 0),
        (index, 0, 0, _TCP_STATE),
        (word, 0, 0, nested),
        (to_index, 0, 0, 0),
        (byte_at, 0, 0, 4),
        (at_least, 0, 1, state),
        (done, 0, 0, 0xFFFFFFFF),
        (done, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))


# --- first packets ----------------------------------------------------------------------------


class Packet(NamedTuple):
    """A packet that was kept back, whole."""

    flow: Flow
    data: bytes


class Queue:
    """The queue number 0 of the namespace that this was opened in; packets for it are lost when it is closed."""

    _LONGEST = 65535  # packets that wait; the kernel drops what comes on top

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETFILTER)
        enlarge(self.socket, _BUFFER_BYTES)
        # A burst beyond that is lost as if the queue were full; an error would not help.
        self.socket.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        self.socket.bind((0, 0))
        for attribute in (
            netlink.attribute(1, struct.pack("!BBH", 1, 0, socket.AF_INET)),  # NFQA_CFG_CMD: bind
            netlink.attribute(2, struct.pack("!IB", 0xFFFF, 2)),  # NFQA_CFG_PARAMS: copy whole packets
            netlink.attribute(3, struct.pack("!I", self._LONGEST)),  # NFQA_CFG_QUEUE_MAXLEN
        ):
            self.socket.send(netlink.of_netfilter(_QUEUE_CONFIG, netlink.ACK, attribute))
            answer = self.socket.recv(4096)
            number = -struct.unpack_from("=i", answer, 16)[0]
            if number:
                self.socket.close()
                raise KernelError(
                    f"NFQUEUE: {os.strerror(number)}; the queue must be free and known to the kernel; run `lab doctor`"
                )
        self.socket.setblocking(False)

    def close(self) -> None:
        """Give the queue up."""
        self.socket.close()

    def packets(self) -> list[Packet]:
        """Return packets that wait, at most a burst, and have the kernel drop them."""
        found: list[Packet] = []
        last = 0
        for _ in range(_BURST):
            try:
                message = self.socket.recv(1 << 17)
            except BlockingIOError:
                break
            data = b""
            for kind, begin, end in netlink.attributes(message, 20, len(message)):
                if kind == 1:  # NFQA_PACKET_HDR
                    last = struct.unpack_from("!I", message, begin)[0]
                elif kind == 10:  # NFQA_PAYLOAD
                    data = message[begin:end]
            head = (data[0] & 15) * 4
            source, destination = struct.unpack_from("!II", data, 12)
            source_port, destination_port = struct.unpack_from("!HH", data, head)
            found.append(Packet(Flow(data[9], source, source_port, destination, destination_port), data))
        if last:
            self.socket.send(
                netlink.of_netfilter(_QUEUE_VERDICT_BATCH, 0, netlink.attribute(2, struct.pack("!II", _DROP, last)))
            )
        return found


class Resend:
    """Sends whole packets from the namespace that this was opened in."""

    def __init__(self, mtu: int = 1500, interface: str = "") -> None:
        """Open it; ``interface`` is the wire that they go out by, whatever the routes say."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if interface:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        self._mtu = mtu

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, packet: Packet) -> None:
        """Send a packet that was kept back; one that arrived in fragments goes on in fragments."""
        to = (socket.inet_ntoa(packet.data[16:20]), 0)
        for part in fragments(packet.data, self._mtu):
            self._socket.sendto(part, to)


def fragments(packet: bytes, mtu: int) -> list[bytes]:
    """Return an IPv4 packet in parts of at most ``mtu`` bytes (RFC 791, section 3.2); options are only in the first."""
    if len(packet) <= mtu:
        return [packet]
    head = (packet[0] & 15) * 4
    plain = bytes([0x45]) + packet[1:20]
    step = (mtu - head) & ~7
    parts = []
    for at in range(0, len(packet) - head, step):
        body = packet[head + at : head + at + step]
        more = 0x2000 if head + at + step < len(packet) else 0
        part = bytearray(packet[:head] if at == 0 else plain)
        struct.pack_into("!H", part, 2, len(part) + len(body))
        struct.pack_into("!H", part, 6, more | at // 8)
        parts.append(bytes(part) + body)  # the kernel fills in the checksum
    return parts


def try_out() -> None:
    """Do once all that is done here, in a namespace that no other process uses.

    Raises:
        KernelError: the kernel does not do it.

    """
    flow = Flow(UDP, 0xC0000201, 1, 0xC0000202, 2)  # RFC 5737
    table, queue = Table(closing_from=TCP_TIME_WAIT), Queue()
    try:
        table.enter([(flow, 0xC0000203, 3)], timeout_s=60)
        if Entry(flow, 0xC0000203, 3, 0, 0xC0000202) not in table.entries():
            raise KernelError("connection table: a flow that was entered is not there; run `lab doctor`")
    finally:
        table.close()
        queue.close()
