"""lab/flow.py: ports and destinations as text."""

import pytest

from lab.flow import Destination, PortRange


@pytest.mark.parametrize(("text", "ports"), [("80", (80, 80)), ("1024-65535", (1024, 65535)), (" 1-1 ", (1, 1))])
def test_ports_are_read_as_one_or_as_a_range(text: str, ports: tuple[int, int]) -> None:
    assert PortRange.parse(text) == PortRange(*ports)


@pytest.mark.parametrize("text", ["", "0", "65536", "9-8", "80-", "-80", "http", "80,81", "1 - 2", "123456"])
def test_what_is_no_port_from_1_to_65535_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f'^"{text}" is not '):
        PortRange.parse(text)


def test_a_range_holds_both_its_ends_and_counts_them() -> None:
    ports = PortRange(10, 12)
    assert [port for port in range(9, 14) if port in ports] == [10, 11, 12]
    assert len(ports) == 3
    assert "10" not in ports


def test_a_range_of_one_port_is_written_as_that_port() -> None:
    assert [str(PortRange(80, 80)), str(PortRange(1, 2))] == ["80", "1-2"]


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("lbvm:22/tcp", Destination("lbvm", 22, "tcp")),
        ("lbvm:22", Destination("lbvm", 22, "tcp")),
        ("40.1.1.1:53/udp", Destination("40.1.1.1", 53, "udp")),
        ("resolver1.opendns.com:65535", Destination("resolver1.opendns.com", 65535, "tcp")),
    ],
)
def test_a_destination_is_host_port_and_protocol_tcp_unless_said(text: str, destination: Destination) -> None:
    assert Destination.parse(text) == destination


@pytest.mark.parametrize("text", ["lbvm", "lbvm:", "lbvm:0", "lbvm:65536", ":80", "lbvm:80/icmp", "lb vm:80", "-a:80"])
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f'^"{text}"'):
        Destination.parse(text)


def test_a_destination_is_written_with_its_protocol() -> None:
    assert str(Destination.parse("lbvm:22")) == "lbvm:22/tcp"
