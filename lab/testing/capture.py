"""What crosses the internet of a lab while a test runs, kept for the case that it fails."""

import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

from lab.kernel import netns

_ETH_P_ALL = 3  # linux/if_ether.h
_OUTGOING = 4  # PACKET_OUTGOING of linux/if_packet.h: the same packet again, as it leaves
_MOST_BYTES = 8 * 1024 * 1024
_MOST_PACKET = 65535
#: Magic number, version 2.4, no time zone, longest packet, Ethernet (pcap-savefile(5)).
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _MOST_PACKET, 1)


class Capture:
    """Packets of a namespace, each once, as it comes in; the first 8 MiB of them."""

    def __init__(self, namespace: str) -> None:
        with netns.visit(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.settimeout(0.2)
        self._packets: list[bytes] = []
        self._size = 0
        self._ended = False
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._ended and self._size < _MOST_BYTES:
            try:
                data, address = self._socket.recvfrom(_MOST_PACKET)
            except TimeoutError:
                continue
            except OSError:
                return
            if address[2] != _OUTGOING:
                now = time.time()
                record = struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(data), len(data))
                self._packets.append(record + data)
                self._size += len(data)

    def forget(self) -> None:
        """Forget what was seen until now."""
        self._packets.clear()
        self._size = 0

    def write(self, file: Path) -> None:
        """Write what was seen as a pcap file."""
        file.write_bytes(_HEADER + b"".join(list(self._packets)))

    def close(self) -> None:
        """Stop listening."""
        self._ended = True
        self._thread.join()
        with suppress(OSError):
            self._socket.close()
