"""A far side of the experiment's own: it names each client, and closes its side of a flow only when it is told to."""

import contextlib
import selectors
import socket
import threading
from typing import Self

from lab.agent.servers import sighting
from lab.verify.probe.packets import inside

#: What a client says over a flow: that the far side closes its side now, or that it keeps it when the client closes.
CLOSE, KEEP = b"close your side\n", b"keep your side\n"
_QUEUED = 4096
_LINE = 65536


class FarSide:
    """A TCP server at a port of a node, in a thread of its own; flows that are closed on one side stay so."""

    def __init__(self, lab: str, node: str, port: int) -> None:
        self._node = node
        with inside(lab, node):
            self._listener = socket.create_server(("", port), backlog=_QUEUED)
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._kept: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr] # sockets, each of them
        for kept in self._kept:
            kept.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._hear(key.fileobj)  # type: ignore[arg-type] # a socket

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                flow, client = self._listener.accept()
                flow.setblocking(False)
                self._selector.register(flow, selectors.EVENT_READ)
                flow.send(sighting(self._node, client, flow.getsockname()))

    def _hear(self, flow: socket.socket) -> None:
        try:
            said = flow.recv(_LINE)
            if KEEP in said:
                self._kept.add(flow)
            if CLOSE in said:
                flow.shutdown(socket.SHUT_WR)
                self._kept.add(flow)
            elif said:
                flow.send(sighting(self._node, flow.getpeername(), flow.getsockname()))
        except OSError:
            said = b""
        if not said:
            self._selector.unregister(flow)
            if flow not in self._kept:
                flow.close()
