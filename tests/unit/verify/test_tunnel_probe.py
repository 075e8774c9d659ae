"""What is sent into a tunnel that must lead nowhere waits for the packets of earlier conversations to end."""

import struct
import time

import pytest

from lab.errors import InconclusiveError
from lab.verify.probe import tunnels


def _udp(port: int, payload: bytes) -> bytes:
    header = bytes([0x45]) + bytes(8) + bytes([17]) + bytes(10)
    return header + struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload


_ESP = _udp(4500, b"\x01\x02\x03\x04payload")
_IKE = _udp(4500, bytes(4) + b"message")
_KEEPALIVE = _udp(4500, b"\xff")


def _wire(*moments: tuple[float, bytes]):
    """Return a reader of packets that come so many seconds from now, and when each was read."""
    began, left, read = time.monotonic(), list(moments), []

    def reader() -> list[bytes]:
        there = [packet for at, packet in left if at <= time.monotonic() - began]
        left[:] = [(at, packet) for at, packet in left if at > time.monotonic() - began]
        read.extend([time.monotonic()] * len(there))
        return there

    return reader, read


def test_a_wire_is_quiet_when_no_esp_has_come_for_a_while():
    reader, read = _wire((0.0, _ESP), (0.1, _ESP), (0.2, _ESP))
    tunnels.until_quiet(reader, silent_s=0.3)
    assert len(read) == 3
    assert time.monotonic() - read[-1] >= 0.3


@pytest.mark.parametrize("packet", [_IKE, _KEEPALIVE], ids=["ike", "keepalive"])
def test_what_keeps_tunnels_alive_does_not_make_a_wire_loud(packet: bytes):
    began = time.monotonic()
    reader, read = _wire(*((i / 100, packet) for i in range(500)))
    tunnels.until_quiet(reader, silent_s=0.2)
    assert read
    assert time.monotonic() - began < 2


def test_a_wire_that_does_not_get_quiet_makes_the_trial_inconclusive(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tunnels, "_SILENT_WITHIN_S", 0.3)
    with pytest.raises(InconclusiveError, match="does not stop"):
        tunnels.until_quiet(lambda: [_ESP], silent_s=0.1)
