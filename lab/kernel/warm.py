"""Programs of ours that are forked from a process which has loaded them already, instead of each starting Python.

A server is a Python module that loads what its programs need, opens nothing and starts no thread, and calls ``serve``.
``serve`` forks a process for each order and runs the program in it: with the arguments, folder, environment, and
standard input, output and error of the order, as a shell would have started it. Its exit status is reported to the
process that gave the order. Only Python's own start, and its clearing-up before the end, are left out.

An order is one message on the server's control socket, which is its standard input. Four descriptors come with it:
the three standard ones, and a pipe that the exit status is written to. Several processes may share one control socket.
"""

import array
import atexit
import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn, Self

import msgspec

from lab.errors import LabError
from lab.kernel import daemons

_MESSAGE = 1 << 20  # bytes of an order; the environment is most of it
_STANDARD = 3  # standard input, output and error
_KILLED_LATE = "late"
_NEVER = float("inf")


class Order(msgspec.Struct, frozen=True):
    """What a process begins with."""

    arguments: tuple[str, ...]
    folder: str
    environment: dict[str, str]
    timeout_s: float  # 0: it may take as long as it likes


class Started:
    """A process that was ordered."""

    def __init__(self, what: str, status: int, timeout_s: float) -> None:
        self._what = what
        self._status = status
        self._timeout_s = timeout_s

    def wait(self) -> int:
        """Wait until it has ended, and return its exit status; below 0: the signal that ended it.

        Raises:
            LabError: it took longer than allowed, or its server ended.

        """
        with os.fdopen(self._status, "rb") as pipe:
            said = pipe.read().decode()
        if said == _KILLED_LATE:
            raise LabError(f"{self._what}: no end after {self._timeout_s:g} s; it must end by itself")
        if not said:
            raise LabError(
                f"{self._what}: the process that was to run it has ended; it must run; see what it said above"
            )
        return int(said)


class Server:
    """A module of ours that has loaded, and forks a process for each order."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE)
        with far:
            self._process = daemons.begin(module, far.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the server end, once the processes that it forked have ended and no other process can give it orders."""
        self._control.close()
        self._process.wait()

    def start(self, arguments: Sequence[str], standard: Sequence[int], *, timeout_s: float = 0.0) -> Started:
        """Start a process with these arguments, and descriptors for standard input, output and error.

        Raises:
            LabError: the server has ended.

        """
        order = Order(tuple(arguments), str(Path.cwd()), dict(os.environ), timeout_s)
        what = " ".join((self._module, *arguments))
        status, far = os.pipe()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [*standard, far]))]
        try:
            self._control.sendmsg([msgspec.json.encode(order)], rights)
        except BrokenPipeError:
            os.close(status)
            raise LabError(f"{what}: the process that was to run it has ended; it must run") from None
        finally:
            os.close(far)
        return Started(what, status, timeout_s)

    def run(self, arguments: Sequence[str], *, timeout_s: float = 30.0) -> daemons.Finished:
        """Run a process to its end, with nothing to read on standard input, and return what it left behind.

        Raises:
            LabError: it took longer than ``timeout_s``, or the server has ended.

        """
        reads, writes = os.pipe()
        os.close(writes)
        (out, to_out), (err, to_err) = os.pipe(), os.pipe()
        with os.fdopen(out, "rb") as output, os.fdopen(err, "rb") as errors:
            try:
                started = self.start(arguments, (reads, to_out, to_err), timeout_s=timeout_s)
            finally:
                for descriptor in (reads, to_out, to_err):
                    os.close(descriptor)
            said = _read_all(output, errors)
        return daemons.Finished(started.wait(), *said)


def _read_all(*pipes: BinaryIO) -> list[str]:
    """Read several pipes to their ends, whichever has something."""
    said = {pipe: bytearray() for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ, said[pipe])
        while selector.get_map():
            for key, _ in selector.select():
                key.data.extend(part := os.read(key.fd, 1 << 16))
                if not part:
                    selector.unregister(key.fd)
    return [text.decode(errors="replace") for text in said.values()]


# --- the server -------------------------------------------------------------------------------


class _Forked:
    """A process that was forked, and where its end is reported."""

    def __init__(self, pid: int, status: int, timeout_s: float) -> None:
        self.pid = pid
        self.descriptor = os.pidfd_open(pid)
        self.end = time.monotonic() + timeout_s if timeout_s else _NEVER
        self._status = status
        self._late = False

    def kill(self) -> None:
        """End it: it has taken too long."""
        self._late, self.end = True, _NEVER
        os.kill(self.pid, signal.SIGKILL)

    def report(self) -> None:
        """Tell how it ended."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            os.write(self._status, _KILLED_LATE.encode() if self._late else str(status).encode())
        self.close()

    def close(self) -> None:
        """Let go of it: it is another process's to report."""
        os.close(self._status)
        os.close(self.descriptor)


def serve(program: str, main: Callable[[], None]) -> NoReturn:
    """Run ``main`` in a new process for each order; the server itself ends with its control socket.

    ``program``: the module that a process would have been started with.
    """
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy every page of what was loaded
    order = _next(control)
    control.close()
    _become(program, *order)
    _run(main)


def _next(control: socket.socket) -> tuple[Order, list[int]]:
    """Fork a process for each order, and return the order in it; the server itself never returns."""
    forked: dict[int, _Forked] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while selector.get_map():
            soonest = min((one.end for one in forked.values()), default=_NEVER)
            for key, _ in selector.select(None if soonest == _NEVER else max(0.0, soonest - time.monotonic())):
                if key.fd in forked:
                    selector.unregister(key.fd)
                    forked.pop(key.fd).report()
                elif (taken := _order(control)) is None:
                    selector.unregister(control)
                elif (one := _fork(*taken)) is not None:
                    forked[one.descriptor] = one
                    selector.register(one.descriptor, selectors.EVENT_READ)
                else:
                    for other in forked.values():
                        other.close()
                    return taken
            for one in forked.values():
                if one.end <= time.monotonic():
                    one.kill()
    sys.exit()


def _order(control: socket.socket) -> tuple[Order, list[int]] | None:
    """Take an order with its descriptors; None: there will be no more."""
    data, descriptors, _, _ = socket.recv_fds(control, _MESSAGE, _STANDARD + 1)
    return (msgspec.json.decode(data, type=Order), descriptors) if data else None


def _fork(order: Order, descriptors: list[int]) -> _Forked | None:
    """Fork; return the process, and nothing in it."""
    *standard, status = descriptors
    pid = os.fork()
    if pid == 0:
        return None
    for descriptor in standard:
        os.close(descriptor)
    return _Forked(pid, status, order.timeout_s)


def _become(program: str, order: Order, descriptors: list[int]) -> None:
    """Make this process what was ordered."""
    *standard, status = descriptors
    os.close(status)
    for target, descriptor in enumerate(standard):
        os.dup2(descriptor, target)
        os.close(descriptor)
    # A stream remembers what it found out about its descriptor, such as whether it can be sought.
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        stream = open(number, mode, errors="backslashreplace" if number == 2 else None, closefd=False)  # noqa: SIM115 - it stays
        for known in (name, f"__{name}__"):
            setattr(sys, known, stream)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv[1:] = order.arguments
    sys.orig_argv[:] = [sys.executable, "-P", "-m", program, *order.arguments]


def _run(main: Callable[[], None]) -> NoReturn:
    """Run a program to its end; an error that it does not expect ends it as Python ends any program."""
    status = 0
    try:
        main()
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            raise
        status = end.code or 0
    atexit._run_exitfuncs()  # noqa: SLF001 - the same that Python would call now
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 0xFF)
