"""lab/kernel/flows.py, as far as it needs no kernel: what messages and fragments are made of."""

import socket
import struct
from ipaddress import IPv4Address
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP, IPOption, defragment

from lab.flow import Flow
from lab.kernel import flows, netlink

SEVENTEEN = Flow(17, int(IPv4Address("10.1.0.4")), 40000, int(IPv4Address("198.51.100.20")), 443)
SIX = SEVENTEEN._replace(protocol=6)


def packet(size: int, **fields: Any) -> bytes:
    """Return a UDP packet over IPv4 with so many bytes of payload."""
    payload = bytes(number * 7 % 251 for number in range(size))
    return bytes(IP(src="10.1.0.4", dst="198.51.100.20", id=4711, ttl=61, tos=8, **fields) / UDP(sport=1) / payload)


def put_together(parts: list[bytes]) -> Any:
    (whole,) = defragment([IP(part) for part in parts])
    return whole


# --- fragments --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 100, 1471, 1472])
def test_a_packet_that_fits_goes_as_it_came(size: int) -> None:
    assert flows.fragments(packet(size), 1500) == [packet(size)]


@pytest.mark.parametrize(("size", "count"), [(1473, 2), (2952, 2), (2953, 3), (4000, 3), (65507, 45)])
def test_a_packet_that_does_not_fit_is_put_together_by_its_receiver(size: int, count: int) -> None:
    parts = flows.fragments(packet(size), 1500)
    assert len(parts) == count  # 1480 bytes each, of the payload and the header of UDP
    assert max(map(len, parts)) <= 1500
    whole = put_together(parts)
    assert bytes(whole.payload) == packet(size)[20:]
    assert (whole.src, whole.dst, whole.id, whole.ttl, whole.tos) == ("10.1.0.4", "198.51.100.20", 4711, 61, 8)


@pytest.mark.parametrize("mtu", [68, 576, 1006, 1499, 1501])
def test_fragments_begin_at_multiples_of_eight_and_only_the_last_says_that_it_is_the_last(mtu: int) -> None:
    parts = [IP(part) for part in flows.fragments(packet(3000), mtu)]
    assert all(len(part) <= mtu for part in parts)
    assert [int(part.flags) for part in parts] == [*[1] * (len(parts) - 1), 0]
    ends = [part.frag * 8 + len(part.payload) for part in parts]
    assert [part.frag * 8 for part in parts] == [0, *ends[:-1]]
    assert [part.len for part in parts] == [len(part) for part in parts]


def test_options_are_in_the_first_fragment() -> None:
    sent = packet(3000, options=[IPOption(b"\x44\x08\x05\x00\x00\x00\x00\x00")])
    parts = flows.fragments(sent, 1500)
    assert [IP(part).ihl for part in parts] == [7, 5, 5]
    assert [len(part) for part in parts] == [28 + 1472, 20 + 1472, 20 + 64]
    assert b"".join(part[IP(part).ihl * 4 :] for part in parts) == sent[28:]
    assert [IP(part).frag for part in parts] == [0, 184, 368]


# --- messages ---------------------------------------------------------------------------------


def tree(data: bytes) -> dict[int, Any]:
    """Return the attributes of a message, by kind: bytes, or the attributes within."""
    found: dict[int, Any] = {}
    while data:
        length, kind = struct.unpack_from("=HH", data)
        value = data[4:length]
        found[kind & 0x3FFF] = tree(value) if kind & 0x8000 else value
        data = data[(length + 3) & ~3 :]
    return found


def test_a_flow_is_entered_with_both_directions_a_time_and_its_translation() -> None:
    """linux/netfilter/nfnetlink_conntrack.h: 1 and 2 are the tuples, 6 the source translation, 7 the time."""
    message = flows._creation(SEVENTEEN, int(IPv4Address("40.1.1.1")), 1024, 240, 5)
    length, kind, told, number, sender, family, version, resource = struct.unpack_from("=IHHIIBBH", message)
    assert (length, kind, told) == (len(message), 0x100, 0x1 | 0x200 | 0x400)  # CT_NEW; request, excl, create
    assert (number, sender, family, version, resource) == (5, 0, socket.AF_INET, 0, 0)
    inside, outside = IPv4Address("10.1.0.4").packed, IPv4Address("198.51.100.20").packed
    own, far = (40000).to_bytes(2, "big"), (443).to_bytes(2, "big")
    public, port = IPv4Address("40.1.1.1").packed, (1024).to_bytes(2, "big")
    assert tree(message[20:]) == {
        1: {1: {1: inside, 2: outside}, 2: {1: b"\x11", 2: own, 3: far}},
        2: {1: {1: outside, 2: inside}, 2: {1: b"\x11", 2: far, 3: own}},
        6: {1: public, 2: public, 3: {1: port, 2: port}},
        7: (240).to_bytes(4, "big"),
    }


@pytest.mark.parametrize("flow", [SIX, SEVENTEEN])
def test_an_entry_is_read_as_it_was_written(flow: Flow) -> None:
    message = flows._creation(flow, int(IPv4Address("40.1.1.1")), 1024, 240, 5)
    # The answers of what is asked for are still those of the flow itself.
    wanted = flows.Entry(flow, flow.source, flow.source_port, 0, flow.destination)
    assert flows._read_entry(message, state=True) == wanted


@pytest.mark.parametrize("state", [0, 3, flows.TCP_FIN_WAIT, flows.TCP_TIME_WAIT, flows.TCP_CLOSE])
def test_the_state_of_a_connection_is_found_wherever_it_stands(state: int) -> None:
    nested = 0x8000
    inner = netlink.attribute(2, b"\x07") + netlink.attribute(1, bytes([state]))
    info = netlink.attribute(4 | nested, netlink.attribute(1 | nested, inner))
    message = flows._creation(SIX, 1, 2, 3, 5) + netlink.attribute(3, bytes(4)) + info
    found = flows._read_entry(message, state=True)
    unasked = flows._read_entry(message, state=False)
    assert (found and found.state, unasked and unasked.state) == (state, 0)


def test_entries_that_are_neither_tcp_nor_udp_over_ipv4_are_passed_over() -> None:
    message = bytearray(flows._creation(SEVENTEEN, 1, 2, 3, 5))
    message[16] = socket.AF_INET6
    assert flows._read_entry(bytes(message), state=False) is None
    assert flows._read_entry(flows._creation(SEVENTEEN._replace(protocol=47), 1, 2, 3, 5), state=False) is None
    assert flows._read_entry(bytes(message)[:40], state=False) is None


def test_attributes_are_filled_up_to_four_bytes() -> None:
    assert netlink.attribute(1, b"abcde") == struct.pack("=HH", 9, 1) + b"abcde\0\0\0"
    data = netlink.attribute(1, b"abcde") + netlink.attribute(2, b"xyz!")
    assert [(kind, data[begin:end]) for kind, begin, end in netlink.attributes(data, 0, len(data))] == [
        (1, b"abcde"),
        (2, b"xyz!"),
    ]


def test_a_broken_attribute_ends_the_reading() -> None:
    assert list(netlink.attributes(bytes(8), 0, 8)) == []
