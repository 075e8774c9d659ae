"""A lab that runs for a test: its nodes run commands and serve, and it tells what it saw."""

import itertools
import json
import os
import socket
import subprocess
import time
from base64 import b32encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec

from lab import topology
from lab.azure.model import Network
from lab.deciders.snat_ports import Usage
from lab.errors import UsageError, did_you_mean
from lab.flow import Destination
from lab.kernel import apply, daemons, netns
from lab.kernel.state import StateDir
from lab.operations.base import Operation
from lab.plan import namespace
from lab.predict import explain as explaining
from lab.predict.explain import Explanation
from lab.predict.forecast import Service
from lab.runtime import lifecycle, logs, operate, snat_usage
from lab.testing.capture import Capture

_NAME_MOST = 20  # characters of a lab's name
_READY_S = 10.0
_LOOK_S = 0.02
_WRITTEN_S = 0.15  # after so long what came to a server of the lab's is in its log
_numbers = itertools.count()


class Connection(msgspec.Struct, frozen=True):
    """A connection, or a datagram, as a server of a node saw it."""

    time: float
    client_address: str
    client_port: int
    server_port: int
    service: str


class Server:
    """What ``Node.serve`` started; it ends with the lab, or before that by ``close``."""

    def __init__(self, port: int, close: Callable[[], None]) -> None:
        self.port = port
        self.connections: list[Connection] = []
        self.close = close


class Node:
    """A VM or an outside host of a lab."""

    def __init__(self, lab: "Lab", name: str, address: str) -> None:
        self.lab = lab
        self.name = name
        self.address = address
        self._servers: list[Server] = []

    def run(
        self,
        command: Sequence[str | Path],
        *,
        timeout: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the node to its end; ``check``: it must end with 0.

        Raises:
            subprocess.CalledProcessError: it did not.
            subprocess.TimeoutExpired: it took longer; it was ended, with all that it started.

        """
        words = [str(word) for word in command]
        done = daemons.run_bounded(words, inside=self._inside, variables=self._variables(env), timeout_s=timeout)
        if done.status is None:
            raise subprocess.TimeoutExpired(words, timeout, done.stdout, done.stderr)
        if check and done.status != 0:
            error = subprocess.CalledProcessError(done.status, words, done.stdout, done.stderr)
            error.add_note(f"in {self.name}: {done.stderr.strip() or done.stdout.strip() or 'it said nothing'}")
            raise error
        return subprocess.CompletedProcess(words, done.status, done.stdout, done.stderr)

    def popen(
        self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.Popen[Any]":
        """Start a command in the node, as ``subprocess.Popen`` does; it ends with the lab."""
        words = [str(word) for word in command]
        started = daemons.popen(words, inside=self._inside, variables=self._variables(env), **options)
        self.lab.at_end(partial(_end_group, started))
        return started

    def serve(self, what: Callable[[socket.socket], None] | Sequence[str | Path], port: int = 0) -> Server:
        """Serve a TCP port of the node, by a function for each connection, or by a command that binds to ``port``.

        A function is called in a thread of this process with a connected socket, which is closed after it.

        Raises:
            UsageError: a command is given without a port, or it does not bind to it in time.

        """
        if callable(what):
            return self._serve_function(what, port)
        process = self.popen(what)
        end = time.monotonic() + _READY_S
        while port and process.poll() is None and time.monotonic() < end:
            if daemons.bound(process.pid, port, "tcp"):
                return Server(port, partial(_end_group, process))
            time.sleep(_LOOK_S)
        raise UsageError(
            f"{self.name}: {' '.join(map(str, what))}: not bound to port {port} within {_READY_S:g} s; it must be to "
            "serve it; give the port that it binds to: port=8080"
        )

    def _serve_function(self, handle: Callable[[socket.socket], None], port: int) -> Server:
        with netns.visit(namespace(self.lab.name, self.name)):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))  # noqa: S104 - in a namespace that has no way out of the lab
        listener.listen(1024)
        server = Server(listener.getsockname()[1], partial(_shut, listener))
        self._servers.append(server)

        def accept() -> None:
            while True:
                try:
                    connection, client = listener.accept()
                except OSError:
                    return  # closed
                seen = Connection(time.time(), client[0], client[1], server.port, f"function:{server.port}/tcp")
                server.connections.append(seen)
                Thread(target=serve_one, args=(connection,), daemon=True).start()

        def serve_one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                handle(connection)

        Thread(target=accept, daemon=True).start()
        self.lab.at_end(server.close)
        return server

    def connections(self, port: int | None = None) -> list[Connection]:
        """Return what came to the node's servers until now, oldest first: what the far side saw."""
        time.sleep(_WRITTEN_S)
        found = [one for server in self._servers for one in server.connections]
        for log in logs.logs(self.lab.name, self.name):
            if log.source == "access":
                lines = map(json.loads, log.lines)
                found += [msgspec.convert(line, Connection) for line in lines if line["node"] == self.name]
        return sorted((one for one in found if port in (None, one.server_port)), key=lambda one: one.time)

    def _variables(self, more: Mapping[str, str] | None) -> dict[str, str]:
        return {**apply.node_variables(StateDir(self.lab.name), self.name), **(more or {})}

    def _inside(self) -> None:
        folder = StateDir(self.lab.name)
        os.setsid()
        netns.enter(namespace(self.lab.name, self.name))
        netns.own_files(self.name, folder.own, apply.node_files(folder.plan(), self.name))


class Lab:
    """A topology that runs under a name of its own, so that labs of several processes never meet."""

    def __init__(self, file: Path, *, profile: str | None = None, time_scale: int | None = None) -> None:
        self.file = topology.located(file)
        self._options = {"profile": profile, "time_scale": time_scale}
        network = topology.load(self.file, profile=profile, time_scale=time_scale)
        self.name = _unique(network.name)
        self._ends: list[Callable[[], None]] = []
        self.capture: Capture | None = None
        self._bring_up(network)
        self._nodes = {
            **{vm.name: Node(self, vm.name, str(vm.private_ip_address)) for vm in network.virtual_machines},
            **{host.name: Node(self, host.name, str(host.address)) for host in network.internet},
        }
        self.capture = Capture(namespace(self.name, "internet"))

    def __getitem__(self, name: str) -> Node:
        """Return a node.

        Raises:
            UsageError: there is none of that name.

        """
        if name not in self._nodes:
            raise UsageError(f'{self.file}: no node "{name}"; {did_you_mean(name, self._nodes)}')
        return self._nodes[name]

    vm = host = __getitem__

    @property
    def network(self) -> Network:
        """The network that runs now."""
        return operate.network_of(self.name)

    def ports(self) -> list[Usage]:
        """Return what each VM uses of its SNAT ports now."""
        return snat_usage.usage(self.name)

    def explain(self, sender: str, to: str) -> Explanation:
        """Return what the documents say of a flow; ``to`` is NODE:PORT or ADDRESS:PORT, with /udp if it is that."""
        goal = Destination.parse(to if "/" in to else f"{to}/tcp")
        network = self.network
        down = lifecycle.down_now(network)
        return explaining.explain(network, sender, goal.host, Service(goal.protocol, goal.port), down=down)

    def change(self, to: Operation | Path | Callable[[str], str]) -> None:
        """Change the lab while it runs: by an operation, to another file, or to what a function makes of its text."""
        if callable(to):
            text = to(topology.read(self.file))
            self._bring_up(topology.parse(text, str(self.file), **self._options))  # type: ignore[arg-type]
        elif isinstance(to, Path):
            self._bring_up(topology.load(to, **self._options))  # type: ignore[arg-type]
        else:
            operate.perform(self.name, to, _quiet)

    def at_end(self, call: Callable[[], None]) -> None:
        """Call something before the lab is removed; what was asked last comes first."""
        self._ends.append(call)

    def close(self) -> None:
        """Remove the lab, with all that runs in it."""
        for call in reversed(self._ends):
            call()
        self._ends.clear()
        if self.capture is not None:
            self.capture.close()
        apply.down(self.name)

    def _bring_up(self, network: Network) -> None:
        lifecycle.bring_up(msgspec.structs.replace(network, name=self.name), self.file, _quiet)


def _unique(name: str) -> str:
    """Return a name of a lab that no other process makes."""
    process = daemons.identify(os.getpid())
    said = f"{process} {next(_numbers)}"
    digest = b32encode(sha256(said.encode()).digest()).decode().lower()[:8]
    return f"{name[: _NAME_MOST - 9].rstrip('-')}-{digest}"


def _end_group(process: "subprocess.Popen[Any]") -> None:
    daemons.end_group(process)


def _shut(listener: socket.socket) -> None:
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
    listener.close()


def _quiet(_text: str) -> None:
    """Say nothing."""
