"""What carriers share: sockets that are read for a decider, and a timer for its next deadline."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

#: Enters a place of the lab for as long as it takes to open sockets there.
Inside = Callable[[str], contextlib.AbstractContextManager[None]]


class _Opened(Protocol):
    def close(self) -> None:
        """Give back what was opened."""


class Carrier:
    """Reads sockets for a decider, and looks again when its next deadline has come."""

    def __init__(self) -> None:
        """Take the running loop; nothing is read yet."""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._read: list[socket.socket] = []

    def read(self, opened: socket.socket, arrived: Callable[[], None]) -> None:
        """Call a function when something arrives at a socket."""
        self._loop.add_reader(opened, arrived)
        self._read.append(opened)

    def stop(self, *opened: _Opened) -> None:
        """Stop reading, forget the deadline, and close what was opened."""
        if self._timer is not None:
            self._timer.cancel()
        for one in self._read:
            self._loop.remove_reader(one)
        for each in opened:
            each.close()

    def wake_at(self, due: float | None, on_time: Callable[[], None]) -> None:
        """Call a function at a time of the loop's clock, ``time.monotonic``, unless it is called earlier already."""
        if due is None or (self._timer is not None and not self._timer.cancelled() and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._wake, on_time)

    def _wake(self, on_time: Callable[[], None]) -> None:
        self._timer = None
        on_time()
