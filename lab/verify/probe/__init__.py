"""Experiments with real packets inside namespaces.

``Prober`` is the caller's side, which imports no scapy: the experiments are done by a process of their own,
which is spoken to in JSON lines. It is forked from ``python -m lab.verify.probe``, which has loaded scapy
(kernel/warm.py).

    __main__.py        the process
    commands.py        the lab's own command line, as a user runs it
    packets.py         flows: built by scapy, patched, sent, captured, matched
    sweep.py           many different flows at once
    held_flows.py      flows that are opened and kept, until ports run out
    idle_flows.py      flows without traffic, and what their ends are told
    persistent_flows.py  flows that stay open while the lab is changed
    tracking.py        a flow's state in the load balancer, and what comes back
    tunnels.py         what crosses a tunnel, and what its gateways say of it
    connection_capture.py  who connects to a port of a node, and how
    transfers.py       real FTP clients, and their data connections
    clients.py         real clients and servers: HTTP, TLS, ssh, nslookup
    execution.py       a program of the user's in a node
"""

import contextlib
import socket
from collections.abc import Sequence
from typing import Self

import msgspec

from lab.errors import InconclusiveError
from lab.kernel.warm import Server
from lab.verify import experiment as ex


def server() -> Server:
    """Start what probers are forked from; it loads while a lab comes up."""
    return Server("lab.verify.probe")


class Prober:
    """A process that does experiments. ``of``: what it is forked from; None: a server of its own."""

    def __init__(self, of: Server | None = None) -> None:
        self._server = of or server()
        self._shared = of is not None
        here, far = socket.socketpair()
        with here, far:
            self._process = self._server.start((), (far.fileno(), far.fileno(), 2))
            self._stream = here.makefile("rwb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stream.close()
        self._process.wait()
        if not self._shared:
            self._server.close()

    def run(self, lab: str, experiments: Sequence[ex.Experiment]) -> ex.Reply:
        """Do experiments in a running lab.

        Raises:
            NotJudgedError: the prober ended.

        """
        try:
            self._stream.write(msgspec.json.encode(ex.Request(lab, tuple(experiments))) + b"\n")
            self._stream.flush()
            line = self._stream.readline()
        except (BrokenPipeError, ConnectionResetError):
            line = b""
        if not line:
            raise InconclusiveError("the prober ended; it must answer; what it said is above")
        return msgspec.json.decode(line, type=ex.Reply)
