"""A lab's metrics over HTTP, on a loopback address or a unix socket: who scrapes a lab that is down is told so."""

import os
import socket
import socketserver
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from lab.errors import LabError, UsageError

#: A port of an address of this machine's own, or the path of a socket.
Place = tuple[str, int] | Path

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def app(collector: Collector) -> _App:
    """Return what answers a scrape: with the metrics, or with 503 and one line of why there are none."""
    registry = CollectorRegistry()
    registry.register(collector)
    answered: _App = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return answered(environ, start)
        except (LabError, OSError) as error:
            said = f"{' '.join(str(error).split())}\n".encode()
            start("503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "5")])
            return [said]

    return answer


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SixServer(_Server):
    address_family = socket.AF_INET6


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        before = os.umask(0o177)  # no other user may ask
        try:
            socketserver.TCPServer.server_bind(self)
        finally:
            os.umask(before)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        return self.socket.accept()[0], ("unix", 0)

    def server_close(self) -> None:
        super().server_close()
        with suppress(FileNotFoundError):
            Path(str(self.server_address)).unlink()


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each scrape."""


def server(place: Place, collector: Collector) -> WSGIServer:
    """Return a server that is bound to a place, and not yet serving.

    Raises:
        UsageError: the place is taken, or cannot be made.

    """
    host = str(place) if isinstance(place, Path) else place[0]
    kind = _UnixServer if isinstance(place, Path) else _SixServer if ":" in host else _Server
    try:
        if isinstance(place, Path):
            _free(place)
        made = kind(host if isinstance(place, Path) else place, _Handler)  # type: ignore[arg-type]
    except OSError as error:
        where, other = (f"unix:{host}", "path") if isinstance(place, Path) else (f"{host}:{place[1]}", "port")
        reason = error.strerror or str(error)
        raise UsageError(f"{where}: {reason}; it must be free to listen on; choose another {other}") from None
    made.set_app(app(collector))
    return made


def _free(path: Path) -> None:
    """Remove a socket that no process listens on any more.

    Raises:
        FileExistsError: something else is there, or a process listens.

    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(None, "a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise FileExistsError(None, "another process listens on it")
