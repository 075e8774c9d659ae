"""lab/verify/probe/packets.py: the bytes of probe packets are what scapy itself would send, whatever is patched in."""

import itertools
from typing import Any, get_args

import pytest
from scapy.layers.inet import IP

from lab.verify import experiment as ex
from lab.verify.probe.packets import Numbers, Template, number_of, seen_of

#: What is sent; GRE has neither ports nor a checksum.
KINDS: list[tuple[ex.Protocol, ex.Form]] = [
    ("tcp", "open"), ("tcp", "middle"), ("udp", "open"), ("udp", "large"), ("icmp", "open"), ("esp", "open"),
]  # fmt: skip
_VALUES = [(32768, 1), (65535, 65535), (1024, 0), (40000, 32767), (1, 40000)]


def packet(protocol: ex.Protocol, form: ex.Form, source_port: int, number: int) -> bytes:
    what = ex.Send(
        sender="vm", private="10.1.0.4", destination="198.51.100.20", protocol=protocol, form=form, watches=()
    )
    return bytes(Template(what, 9000).packet(source_port, number))


def rebuilt(data: bytes) -> bytes:
    """Return a packet with the length and all checksums as scapy makes them."""
    parsed: Any = IP(data)
    for layer in parsed.iterpayloads():
        if "chksum" in layer.fields:
            layer.delfieldval("chksum")
    return bytes(parsed)


@pytest.mark.parametrize(("protocol", "form"), KINDS)
@pytest.mark.parametrize(("port", "number"), _VALUES)
def test_a_patched_packet_has_the_checksums_that_scapy_would_give_it(
    protocol: ex.Protocol, form: ex.Form, port: int, number: int
) -> None:
    data = packet(protocol, form, port, number)
    assert rebuilt(data) == data


@pytest.mark.parametrize(("protocol", "form"), KINDS)
@pytest.mark.parametrize(("port", "number"), _VALUES)
def test_the_number_of_a_packet_is_read_back(protocol: ex.Protocol, form: ex.Form, port: int, number: int) -> None:
    assert number_of(packet(protocol, form, port, number)) == number


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_addresses_and_ports_of_a_packet_are_read_back(protocol: ex.Protocol) -> None:
    seen = seen_of(packet(protocol, "open", 40000, 7), 3)
    assert seen == ex.Seen(3, "10.1.0.4", 40000, "198.51.100.20", 9000)


@pytest.mark.parametrize("protocol", ["icmp", "esp"])
def test_a_packet_without_ports_is_seen_with_none(protocol: ex.Protocol) -> None:
    assert seen_of(packet(protocol, "open", 40000, 7), 3) == ex.Seen(3, "10.1.0.4", 0, "198.51.100.20", 0)


def test_a_large_datagram_does_not_fit_one_ethernet_frame() -> None:
    assert len(packet("udp", "large", 1, 1)) > 2 * 1500


def test_a_segment_from_the_middle_of_a_flow_does_not_open_one() -> None:
    assert [str(IP(packet("tcp", form, 1, 1))["TCP"].flags) for form in ("open", "middle")] == ["S", "PA"]


@pytest.mark.parametrize(
    "other",
    [
        bytes(IP(dst="10.0.0.1", proto=17) / (b"hello, world" * 4)),
        bytes(IP(dst="10.0.0.1", proto=6) / b"xx"),
        bytes(IP(dst="10.0.0.1", proto=47) / (b"LA" * 20)),
        bytes(IP(dst="10.0.0.1", proto=17, frag=100) / (b"LA" * 20)),
    ],
    ids=["another's", "too short", "another protocol", "a later fragment"],
)
def test_a_packet_that_is_not_ours_has_no_number(other: bytes) -> None:
    assert number_of(other) is None


def test_a_packet_with_ip_options_is_read_behind_them() -> None:
    parsed: Any = IP(packet("udp", "open", 40000, 7))
    parsed.options = [b"\x01\x01\x01\x01"]
    del parsed.ihl, parsed.len, parsed.chksum
    data = bytes(parsed)
    assert (number_of(data), seen_of(data, 0).source_port) == (7, 40000)


def test_numbers_are_never_given_twice_while_they_last() -> None:
    numbers = Numbers(1)
    taken = [numbers.take(1000) for _ in range(20)]
    spans = sorted((first, first + 1000) for first in taken)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize("seed", range(0, 100, 7))
def test_numbers_fit_the_two_bytes_they_travel_in(seed: int) -> None:
    numbers = Numbers(seed)
    assert all(0 <= numbers.take(5000) <= 0x10000 - 5000 for _ in range(30))


def test_every_experiment_on_one_port_gets_a_port_of_its_own() -> None:
    numbers = Numbers(1)
    ports = [numbers.port() for _ in range(5000)]
    assert len(set(ports)) == 5000
    assert all(20000 <= port < 30000 for port in ports)


def test_source_ports_of_one_experiment_differ_and_lie_above_the_first_half() -> None:
    ports = Numbers(1).source_ports(32000)
    assert len(set(ports)) == 32000
    assert all(32768 <= port <= 65535 for port in ports)


def test_every_protocol_and_form_is_tried_here() -> None:
    assert {p for p, _ in KINDS} == set(get_args(ex.Protocol))
    assert {f for _, f in KINDS} == set(get_args(ex.Form))
