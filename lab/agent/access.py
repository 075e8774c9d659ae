"""Who came to the lab's own servers: a line of JSON for each connection and datagram.

Lines are written together, a few times a second. The log has at most two parts, of which the older one is dropped.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec

from lab.agent.servers import Handler
from lab.plan import Server

_MOST_BYTES = 8 * 1024 * 1024
_WRITE_S = 0.05


class Access:
    """The log of one lab's servers."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: list[bytes] = []

    def connections(self, handler: Handler, server: Server) -> Handler:
        """Return a handler that notes each connection before it is served."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = writer.get_extra_info("peername")
            if client is not None:
                self._note(server, client)
            await handler(reader, writer)

        return handle

    def datagrams(self, protocol: Any, server: Server) -> Any:
        """Make a protocol note each datagram before it is answered."""
        answer = protocol.datagram_received

        def received(data: bytes, client: tuple[str, int]) -> None:
            self._note(server, client)
            answer(data, client)

        protocol.datagram_received = received
        return protocol

    def _note(self, server: Server, client: tuple[str, int]) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_later(_WRITE_S, self.write)
        seen = {
            "time": round(time.time(), 6),
            "node": server.node,
            "service": f"{server.kind}:{server.port}/{server.protocol}",
            "client_address": client[0],
            "client_port": client[1],
            "server_address": server.address,
            "server_port": server.port,
        }
        self._lines.append(msgspec.json.encode(seen) + b"\n")

    def write(self) -> None:
        """Write what was noted; what finds no room is lost."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            with self._file.open("ab") as log:
                log.write(b"".join(lines))
                full = log.tell() > _MOST_BYTES
            if full:
                self._file.replace(self._file.with_name(self._file.name + ".1"))
        except OSError:
            return
