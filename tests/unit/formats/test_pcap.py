"""Captures: read whatever pieces they come in, and written so that every reader finds place and comment again."""

import io
import struct
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pcapng
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.formats.pcap import Frame, Headers, Reader, Writer, headers

_FRAMES = st.lists(
    st.builds(lambda at, data: Frame(at, data, len(data)), st.integers(0, 2**62), st.binary(min_size=1, max_size=80)),
    max_size=5,
)


def _capture(frames: list[Frame], link_type: int, *, nano: bool) -> bytes:
    unit = 1 if nano else 1000
    made = struct.pack("=IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    for frame in frames:
        seconds, rest = divmod(frame.at_ns, 10**9)
        made += struct.pack("=IIII", seconds & 0xFFFFFFFF, rest // unit, len(frame.data), frame.length) + frame.data
    return made


def _tcp(flags: int, *, fragment: int = 0) -> bytes:
    ip = bytes([0x45, 0, 0, 40, 0, 1, fragment >> 8, fragment & 255, 64, 6, 0, 0, 10, 1, 0, 4, 198, 51, 100, 10])
    return b"\0" * 12 + b"\x08\0" + ip + struct.pack("!HHIIBBHHH", 40000, 80, 0, 0, 0x50, flags, 0, 0, 0)


@given(frames=_FRAMES, cuts=st.lists(st.integers(0, 500), max_size=4), nano=st.booleans())
def test_a_capture_is_read_whatever_pieces_it_comes_in(frames: list[Frame], cuts: list[int], nano: bool):
    unit = 1 if nano else 1000
    wanted = [Frame(f.at_ns % (2**32 * 10**9) // unit * unit, f.data, f.length) for f in frames]
    whole = _capture(frames, 1, nano=nano)
    ends = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    reader = Reader()
    found = [frame for a, b in pairwise(ends) for frame in reader.feed(whole[a:b])]
    assert found == wanted
    assert reader.link_type == 1


def test_what_is_no_capture_is_refused():
    with pytest.raises(ValueError, match="no capture"):
        list(Reader().feed(b"\0" * 24))


@given(frames=_FRAMES)
def test_each_packet_has_its_place_time_and_comment_in_the_file(frames: list[Frame]):
    stream = io.BytesIO()
    writer = Writer(stream, "lab")
    for number, frame in enumerate(frames):
        writer.write(f"web{number % 2}/eth0", 1, frame, f"rule {number}" if number % 2 else "")
    blocks = list(pcapng.FileScanner(io.BytesIO(stream.getvalue())))
    packets = [block for block in blocks if isinstance(block, pcapng.blocks.EnhancedPacket)]
    found: list[Any] = []
    for packet in packets:
        comment = packet.options.get("opt_comment", "")
        at = (packet.timestamp_high << 32) + packet.timestamp_low
        found.append((packet.interface.options["if_name"], at, packet.packet_data, comment))
    assert found == [
        (f"web{n % 2}/eth0", frame.at_ns // 1000, frame.data, f"rule {n}" if n % 2 else "")
        for n, frame in enumerate(frames)
    ]


def test_tcpdump_reads_the_file(tmp_path: Path):
    file = tmp_path / "made.pcapng"
    with file.open("wb") as stream:
        Writer(stream, "lab").write("web/eth0", 1, Frame(1_700_000_000_000_000_123, _tcp(0x02), 54), "rule http of lb1")
    done = subprocess.run(["tcpdump", "-nr", file], capture_output=True, text=True, check=True)
    assert "IP 10.1.0.4.40000 > 198.51.100.10.80: Flags [S]" in done.stdout


@pytest.mark.parametrize(("flags", "opens"), [(0x02, True), (0x12, False), (0x10, False), (0xC2, True)])
def test_the_headers_of_a_packet(flags: int, opens: bool):
    wanted = Headers(
        source="10.1.0.4",
        destination="198.51.100.10",
        protocol="tcp",
        source_port=40000,
        destination_port=80,
        opens=opens,
    )
    assert headers(1, _tcp(flags)) == wanted
    assert headers(101, _tcp(flags)[14:]) == wanted
    assert headers(1, _tcp(flags)).back().back().source_port == 40000  # type: ignore[union-attr]


def test_a_later_fragment_has_no_ports():
    assert headers(1, _tcp(2, fragment=5)) == Headers(source="10.1.0.4", destination="198.51.100.10", protocol="tcp")


@given(data=st.binary(max_size=60), link_type=st.sampled_from([0, 1, 101, 113]))
def test_no_packet_is_too_strange(data: bytes, link_type: int):
    assert headers(link_type, data) is None or link_type in (1, 101)
