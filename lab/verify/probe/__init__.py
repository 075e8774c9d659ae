"""Experiments with real packets inside namespaces.

``Prober`` is the caller's side, which imports no scapy: the experiments are done by a process of their own,
``python -m lab.probe``, which is spoken to in JSON lines.

    __main__.py        the process
    packets.py         flows: built by scapy, patched, sent, captured, matched
    sweep.py           many different flows at once
    left_alone.py      flows that nobody speaks over, and what their ends are told
    tracking.py        a flow's state in the load balancer, and what comes back
    tunnels.py         what crosses a tunnel, and what its gateways say of it
    listening.py       who connects to a port of a node, and how
    keeping.py         flows that stay open while the lab is changed
    transfers.py       real FTP clients, and their data connections
    conversations.py   real clients and servers: HTTP, TLS, ssh, nslookup
"""

import contextlib
from collections.abc import Sequence
from typing import Self

import msgspec

from lab.errors import NotJudgedError
from lab.kernel import daemons
from lab.verify import experiment as ex


class Prober:
    """The prober's process; starts at once, so that it loads while a lab comes up."""

    def __init__(self) -> None:
        self._process = daemons.talk("lab.verify.probe")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, lab: str, experiments: Sequence[ex.Experiment]) -> ex.Reply:
        """Do experiments in a running lab.

        Raises:
            NotJudgedError: the prober ended.

        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(ex.Request(lab, tuple(experiments))) + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise NotJudgedError("the prober ended; it must answer; what it said is above")
        return msgspec.json.decode(line, type=ex.Reply)
