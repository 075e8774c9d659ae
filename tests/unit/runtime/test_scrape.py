"""Scrapes: answered on a loopback address and on a socket that root alone may open; of a lab that is down, with 503."""

import http.client
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lab.errors import InconclusiveError, UsageError
from lab.runtime import scrape


class _Lab(Collector):
    """A lab that is there, or raises what its absence does."""

    trouble: Exception | None = None

    def collect(self) -> Iterator[Any]:
        if self.trouble is not None:
            raise self.trouble
        yield GaugeMetricFamily("UsedSnatPorts", "used", value=3)

    def describe(self) -> Iterator[Any]:
        return iter(())


@contextmanager
def _serving(place: scrape.Place, lab: Collector) -> Iterator[Any]:
    with scrape.server(place, lab) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _asked(place: scrape.Place) -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost", timeout=5)
    if isinstance(place, Path):
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(place))
    else:
        connection.sock = socket.create_connection(place, timeout=5)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_loopback_address_answers(address: str) -> None:
    with _serving((address, 0), _Lab()) as server:
        assert _asked((address, server.server_address[1])) == (200, _asked((address, server.server_address[1]))[1])
        assert "UsedSnatPorts 3.0" in _asked((address, server.server_address[1]))[1]


def test_a_socket_answers_that_root_alone_may_open_and_is_gone_with_its_server(tmp_path: Path) -> None:
    path = tmp_path / "lab.sock"
    with _serving(path, _Lab()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "UsedSnatPorts 3.0" in _asked(path)[1]
    assert not path.exists()


@pytest.mark.parametrize(
    "trouble",
    [UsageError('no lab "a"; a lab must be up first'), InconclusiveError("a: two\nlines"), OSError(2, "gone")],
)
def test_a_lab_that_is_down_is_answered_with_one_line(trouble: Exception, capfd: pytest.CaptureFixture[str]) -> None:
    lab = _Lab()
    with _serving(("127.0.0.1", 0), lab) as server:
        lab.trouble = trouble
        status, said = _asked(("127.0.0.1", server.server_address[1]))
        assert (status, said.count("\n")) == (503, 1)
        assert said.split() == str(trouble).split()
        lab.trouble = None
        assert _asked(("127.0.0.1", server.server_address[1]))[0] == 200
    assert capfd.readouterr().err == ""


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    with _serving(("127.0.0.1", 0), _Lab()) as server, pytest.raises(UsageError, match="choose another port"):
        scrape.server(("127.0.0.1", server.server_address[1]), _Lab())
    path = tmp_path / "lab.sock"
    with _serving(path, _Lab()), pytest.raises(UsageError, match="another process listens on it; it must be free"):
        scrape.server(path, _Lab())
    path.write_text("mine")
    with pytest.raises(UsageError, match="a file that is no socket; it must be free to listen on; choose another path"):
        scrape.server(path, _Lab())
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match="No such file or directory"):
        scrape.server(tmp_path / "none" / "lab.sock", _Lab())


def test_a_socket_that_a_killed_server_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lab.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with _serving(path, _Lab()):
        assert _asked(path)[0] == 200
    assert not os.path.lexists(path)
