"""Processes: start them, know them again, stop them. The only importer of subprocess.

A process is known by its number and its start time, so that a number which the system has given
to another user's process is never signalled.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import msgspec

from lab.errors import LabError
from lab.kernel import netns

_STOP_S = 3.0  # how long a process may take to end when asked
_LEAVE_S = 1.0  # likewise, all of a user's in a lab that is removed


def say(who: str, words: str) -> None:
    """Write a line to this process's log, if there is room: what it does goes on without."""
    with contextlib.suppress(OSError):
        print(f"{who}: {words}", file=sys.stderr, flush=True)


class Process(msgspec.Struct, frozen=True):
    """A process of ours: its number, and its start in clock ticks since boot (proc(5), stat field 22)."""

    pid: int
    started: int


class Finished(msgspec.Struct, frozen=True):
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str


def identify(pid: int) -> Process | None:
    """Return the process of a number, None if there is none or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else Process(pid, int(fields[19]))


def alive(process: Process | None) -> bool:
    """Tell whether a process still runs."""
    return process is not None and identify(process.pid) == process


def start(module: str, *arguments: str, log: Path, pass_fds: Sequence[int] = (), stdin: int | None = None) -> Process:
    """Start a Python module of ours in a session of its own; what it says goes to ``log``."""
    with os.fdopen(_opened(log), "ab") as output:
        started = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    process = identify(started.pid)
    # It outlives us on purpose; without this, its end would be waited for when we end.
    started.returncode = 0
    if process is None:
        raise LabError(f"{module} ended at once; it must keep running; read {log}")
    return process


def begin(module: str, stdin: int) -> "subprocess.Popen[bytes]":
    """Start a Python module of ours that has a descriptor for its standard input.

    It has a session of its own, so that a terminal's Ctrl-C interrupts the caller alone, which then closes its input.
    """
    return subprocess.Popen([sys.executable, "-P", "-m", module], stdin=stdin, start_new_session=True)


def _opened(log: Path) -> int:
    """Open a log for appending, which all may read and its owner alone may write, whatever the umask is."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.fchmod(output, 0o644)
    return output


def stop(process: Process) -> None:
    """End a process: ask, wait, then force. One that is gone is fine.

    Raises:
        LabError: it is still there after being forced.

    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not alive(process):
            return
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return
        if wait_ended(process, deadline_s=_STOP_S):
            return
    raise LabError(f"process {process.pid} does not end; it must before its namespaces can; see /proc/{process.pid}")


class Left(msgspec.Struct, frozen=True):
    """A process in a namespace that nothing of ours started: a user's, such as one that `lab exec` left behind."""

    process: Process
    namespace: str
    command: str


def _identities(namespaces: Iterable[str]) -> dict[tuple[int, int], str]:
    """Return the names of namespaces by what the kernel knows each by."""
    found = {}
    for name in namespaces:
        with contextlib.suppress(OSError):
            there = netns.path(name).stat()
            found[there.st_dev, there.st_ino] = name
    return found


def place_of_this(namespaces: Iterable[str]) -> str | None:
    """Return the one of these namespaces that this process is in."""
    here = Path("/proc/self/ns/net").stat()
    return _identities(namespaces).get((here.st_dev, here.st_ino))


def left_in(namespaces: Iterable[str], servants: Iterable[Process | None]) -> list[Left]:
    """Return the processes in namespaces, but for this process's family, and ``servants`` with their children.

    This process's family are its ancestors and its descendants: it may run inside a node itself.
    """
    wanted = _identities(namespaces)
    if not wanted:
        return []
    inside: dict[int, str] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
                here = (entry / "ns/net").stat()
                if (here.st_dev, here.st_ino) in wanted:
                    inside[int(entry.name)] = wanted[here.st_dev, here.st_ino]

    def line(pid: int) -> set[int]:
        found = set()
        while pid not in found:
            found.add(pid)
            pid = parents.get(pid, 0)
        return found - {0}

    family, masters = line(os.getpid()), {os.getpid(), *(servant.pid for servant in servants if servant)}
    left = []
    for pid, name in sorted(inside.items()):
        process = identify(pid)
        if process is not None and pid not in family and not line(pid) & masters:
            left.append(Left(process, name, _command(pid)))
    return left


def _command(pid: int) -> str:
    """Return the name of a process's program, without its arguments, which may be private."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended"


def end_all(processes: Iterable[Process]) -> None:
    """End processes: ask all, wait for all, then force those that stay."""
    there = list(processes)
    for numbers in ((signal.SIGHUP, signal.SIGTERM), (signal.SIGKILL,)):
        there = [process for process in there if alive(process)]
        for process in there:
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        end = time.monotonic() + _LEAVE_S
        for process in there:
            wait_ended(process, deadline_s=max(0.0, end - time.monotonic()))


def seeing_as_run(folder: Path, program: Path) -> list[Process]:
    """Return the processes that run a program and have a folder for their /run."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        wanted = folder.stat()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    here = (entry / "root/run").stat()
                    if (here.st_dev, here.st_ino) == (wanted.st_dev, wanted.st_ino):
                        found += [identify(int(entry.name))] if (entry / "exe").readlink() == program else []
    return [process for process in found if process is not None]


def is_stopped(process: Process | None) -> TypeGuard[Process]:
    """Tell whether a process is stopped, by SIGSTOP or a debugger: it answers nothing, and takes no end."""
    try:
        return process is not None and Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0] in "Tt"
    except OSError:
        return False


def wait_ended(process: Process, *, deadline_s: float) -> bool:
    """Wait until a process has ended; return False if it has not by the deadline."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        # Opened first, then known again: the descriptor is of this very process.
        return not alive(process) or bool(select.select([descriptor], [], [], deadline_s)[0])
    finally:
        os.close(descriptor)


def run(
    command: Sequence[str], *, inside: Callable[[], Any] | None = None, stdin: str = "", timeout_s: float = 30.0
) -> Finished:
    """Run a command to its end; ``inside`` is called in the child before the command begins.

    Raises:
        LabError: there is no such command, or it takes longer than ``timeout_s``.

    """
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            preexec_fn=inside,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]}: no such command; it must be installed; run `lab doctor`") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: no end after {timeout_s:g} s; it must end by itself") from None
    return Finished(done.returncode, done.stdout, done.stderr)


class Bounded(msgspec.Struct, frozen=True):
    """What a command left behind; ``status`` None: its time was over before its end."""

    status: int | None
    stdout: str
    stderr: str


def run_bounded(
    command: Sequence[str], *, inside: Callable[[], Any], variables: Mapping[str, str], timeout_s: float
) -> Bounded:
    """Run a command, and end it with its process group when its time is over; ``inside`` must make it the leader.

    Raises:
        LabError: there is no such command.

    """
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **variables},
            preexec_fn=inside,  # noqa: PLW1509 - no thread is running where this is used
        )
    except (FileNotFoundError, PermissionError) as error:
        raise LabError(f"{command[0]}: {error.strerror}; it must be a program of this machine; install it") from None
    status: int | None
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
        status = process.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        status = None
    return Bounded(status, stdout, stderr)


def bound(pid: int, port: int, protocol: str) -> bool:
    """Tell whether a port is served in the network namespace of a process: listened on, or for UDP bound."""
    listening = "0A" if protocol == "tcp" else "07"
    for file in (f"/proc/{pid}/net/{protocol}", f"/proc/{pid}/net/{protocol}6"):
        try:
            lines = Path(file).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state = line.split()[:4]
            if state == listening and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def popen(
    command: Sequence[str], *, inside: Callable[[], Any], variables: Mapping[str, str], **options: Any
) -> "subprocess.Popen[Any]":
    """Start a command, with the options of Popen; ``inside`` must make it the leader of a process group."""
    # Threads of a test's servers may run: `inside` changes namespaces and files only, and takes no lock of theirs.
    return subprocess.Popen(list(command), env={**os.environ, **variables}, preexec_fn=inside, **options)  # noqa: PLW1509


def end_group(process: "subprocess.Popen[Any]") -> None:
    """End a command and all of its process group, unless it has ended."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def serve(command: Sequence[str], connection: int, inside: Callable[[], Any]) -> "subprocess.Popen[bytes]":
    """Start a server for one connection, which is its standard input and output (as inetd does).

    What it says on standard error is for the caller to read.
    """
    return subprocess.Popen(
        list(command),
        stdin=connection,
        stdout=connection,
        stderr=subprocess.PIPE,
        preexec_fn=inside,  # noqa: PLW1509 - no thread is running where this is used
    )


class Piped:
    """A command whose output and errors the caller reads as they come; it ends with the caller.

    Raises:
        LabError: there is no such command.

    """

    def __init__(self, command: Sequence[str], inside: Callable[[], Any]) -> None:
        us = os.getpid()

        def begin() -> None:
            netns.end_with_parent(us)
            inside()

        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=begin,  # noqa: PLW1509 - no thread is running where this is used
                start_new_session=True,  # so that a terminal's Ctrl-C interrupts the caller alone
            )
        except FileNotFoundError:
            raise LabError(f"{command[0]}: no such command; it must be installed; run `lab doctor`") from None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.output, self.errors = self._process.stdout.fileno(), self._process.stderr.fileno()

    def end(self) -> None:
        """End it at once, and wait until it is gone."""
        self._process.kill()
        self._process.communicate()


class Attended:
    """A program that was started by ``attend``: a child of this process, which alone asks for its end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None  # how it ended; below 0: by this signal

    def running(self) -> bool:
        """Tell whether it has not ended."""
        if self.status is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self._reap()
        return self.status is None

    def end(self) -> None:
        """End it at once, and wait until it is gone."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class AttendedGroup(Attended):
    """A program with all that it starts: the leader of a process group of its own, as ``inside`` of ``attend`` made it.

    What is left of the group ends with its leader, before the system can give its number to another process.
    """

    def ask_to_end(self) -> None:
        """Ask all of it to end."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """End all of it at once, and wait until its leader is gone."""
        if self.status is None:
            self._signal(signal.SIGKILL)
            super().end()

    def _reap(self) -> None:
        self._signal(signal.SIGKILL)
        super()._reap()

    def _signal(self, number: int) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class Adopted(Attended):
    """A program that an earlier process started, and that outlived it."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.pid)
        self._process = process

    def running(self) -> bool:
        """Tell whether it has not ended."""
        return alive(self._process)

    def end(self) -> None:
        """End it at once, and wait until it is gone."""
        if self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            wait_ended(self._process, deadline_s=_STOP_S)


def attend(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    inside: Callable[[], Any],
    stdin: int | None = None,
    *,
    outlives_us: bool = False,
) -> Attended:
    """Start a program; what it says goes to ``log``. It ends with this process, unless ``outlives_us``.

    ``stdin``: a descriptor that it is to have for its standard input, such as a socket to serve.

    Return before it has begun, so that several begin at once. If ``inside`` or the beginning fails, the
    log says so and the process has ended.
    """
    us, whole = os.getpid(), {**os.environ, **environment}
    output = _opened(log)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            if outlives_us:
                os.setsid()
            else:
                netns.end_with_parent(us)
            for source, target in ((nothing if stdin is None else stdin, 0), (output, 1), (output, 2)):
                os.dup2(source, target)
            os.closerange(3, 1 << 20)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python has it ignored, which a program would inherit
            inside()
            os.execve(command[0], list(command), whole)  # noqa: S606 - an argument list
        except BaseException as error:  # noqa: BLE001 - no caller is left to raise it to
            os.write(2, f"{command[0]}: {error}\n".encode())
        finally:
            os._exit(1)
    os.close(output)
    os.close(nothing)
    return Attended(pid)
