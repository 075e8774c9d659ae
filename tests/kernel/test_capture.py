"""`lab capture`: the same packet at several places, with its place, in the order of time, and with its rule."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pcapng
import pytest

from tests import rootlab

pytestmark = pytest.mark.root


def _captured(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Capture while a VM asks an outside host; the request is sent once the capture says that it listens."""
    command = [sys.executable, "-P", "-m", "lab", "capture", name, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    if said.startswith("capturing"):
        rootlab.ask(name, "web", "http://198.51.100.10/")
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, said + err)


def test_a_packet_is_seen_at_each_place_with_the_rule_that_decides(tmp_path: Path):
    file = tmp_path / "seen.pcapng"
    with rootlab.running(tmp_path, rootlab.small("captured")) as name:
        wire = ("--filter", "tcp[tcpflags] & tcp-syn != 0 and port 80 and not host 168.63.129.16")
        shown = _captured(name, "web", "far", "--count", "4", "-o", "json", *wire)
        packets: list[dict[str, Any]] = json.loads(shown.stdout)["packets"]
        written = _captured(name, "web", "far", "--count", "4", "-w", str(file), *wire)
        refused = _captured(name, "web", "--seconds", "1", "--filter", "no such filter")
    assert [packet["at"] for packet in packets] == ["web/eth0", "far/eth0", "far/eth0", "web/eth0"]
    assert [packet["headers"]["source"] for packet in packets] == [
        "10.1.0.5",
        "40.1.2.3",
        "198.51.100.10",
        "198.51.100.10",
    ]
    assert "rule http of lb1: the source becomes 40.1.2.3" in packets[0]["rules"]
    assert packets[3]["rules"] == ""
    assert sorted(packet["time"] for packet in packets) == [packet["time"] for packet in packets]
    assert (shown.returncode, written.returncode, written.stdout) == (0, 0, "")
    assert written.stderr.endswith(f"{file}: 4 packets\n")
    blocks = [
        b for b in pcapng.FileScanner(io.BytesIO(file.read_bytes())) if isinstance(b, pcapng.blocks.EnhancedPacket)
    ]
    assert [block.interface.options["if_name"] for block in blocks] == [packet["at"] for packet in packets]
    assert blocks[0].options["opt_comment"] == packets[0]["rules"]
    assert refused.returncode == 2
    assert 'filter "no such filter": ' in refused.stderr
    assert "see pcap-filter(7)" in refused.stderr
