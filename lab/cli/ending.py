"""How a command ends: one message, an exit status, and what becomes of results that cannot be written.

Exit status 1 says that a claim is contradicted and is given by nothing else. So no error may leave this module as an
exception, which Python ends with 1, nor may a write to standard output that fails.
"""

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import cast

import click

from lab.errors import Interrupted, LabError, MachineError

#: Set it to have the traceback of a fault of lab itself.
TRACEBACK = "LAB_TRACEBACK"


class Output(io.TextIOWrapper):
    """Standard output or standard error. What cannot be written is dropped; the first reason is kept.

    A command that changes a lab must not stop half way because the reader of its messages has gone.
    """

    failure: OSError | None = None

    def __init__(self, binary: io.BufferedWriter, encoding: str, *, closed: bool = False) -> None:
        super().__init__(binary, encoding=encoding, errors="replace", line_buffering=binary.isatty())
        self._was_closed = closed

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        if self._was_closed and text:
            self._drop(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write what is held back, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Send what is held back, and all that follows, to nowhere."""
        self.failure = self.failure or error
        nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nothing, self.fileno())
        os.close(nothing)


def take_outputs() -> None:
    """Put ``Output`` in the place of this process's standard output and standard error.

    Standard descriptors that are closed are opened on /dev/null, or a socket of ours would take their number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
    sys.stdout = _taken(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _taken(sys.stderr, sys.__stderr__, 2)


def _taken(stream: object, original: object, number: int) -> io.TextIOWrapper:
    """Return a guarded stream, or the stream itself if it is not this process's own."""
    if stream is None:  # Python found it closed
        return Output(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8", closed=True)
    if stream is original and isinstance(stream, io.TextIOWrapper) and not isinstance(stream, Output):
        return Output(cast("io.BufferedWriter", stream.buffer), stream.encoding)
    return cast("io.TextIOWrapper", stream)


def is_read() -> bool:
    """Tell whether what is printed still arrives: commands without an end stop when it does not."""
    return not (isinstance(sys.stdout, Output) and sys.stdout.failure)


def status_of(run: Callable[[], object]) -> int:
    """Run a command line; return its exit status, with every error said in one message."""
    status = _status(run)
    sys.stdout.flush()
    failure = sys.stdout.failure if isinstance(sys.stdout, Output) else None
    if failure is None or failure.errno == errno.EPIPE:
        return status  # the reader of the output has seen enough of it
    _say(
        f"standard output: {failure.strerror}; what the command printed is lost, what it changed is changed; "
        "standard output must be writable; write to another file, or to a pipe"
    )
    return status or MachineError.exit_code


def _status(run: Callable[[], object]) -> int:
    try:
        run()
    except (click.exceptions.Exit, SystemExit) as done:
        code = done.exit_code if isinstance(done, click.exceptions.Exit) else done.code
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return Interrupted.exit_code
    except LabError as error:
        _say(f"{error}")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - or Python would end with the status of a contradiction
        full = refused(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))) if isinstance(error, MemoryError) else None
        _say(f"{full}" if full else _own_fault(error))
        return (full or LabError).exit_code
    return 0


#: What must hold, and what to do, for a refusal of the operating system.
_ADVICE = {
    errno.ENOSPC: "there must be room; make some, then run the command again",
    errno.EDQUOT: "there must be room; make some, then run the command again",
    errno.EROFS: "it must be writable; mount it so, then run the command again",
    errno.EMFILE: "more files must be open at a time; raise `ulimit -n`",
    errno.ENFILE: "more files must be open at a time; raise fs.file-max",
    errno.EAGAIN: "more processes must be allowed; end others, or raise `ulimit -u` or the cgroup's pids.max",
    errno.ENOMEM: "more memory must be free; end other programs, or use a larger machine",
}


def refused(error: OSError) -> MachineError:
    """Return a refusal of the operating system as an error that says what must hold."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    reason = error.strerror or str(error)
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return MachineError(f"{where}{reason}; root is needed; run it with sudo")
    advice = _ADVICE.get(error.errno or 0, "this machine must allow it; run `lab doctor`")
    return MachineError(f"{where or 'this machine: '}{reason}; {advice}")


def _own_fault(error: Exception) -> str:
    """Say that lab itself is wrong, and where."""
    if os.environ.get(TRACEBACK):
        _say("".join(traceback.format_exception(error)).rstrip())
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}:{last.lineno}"
    return (
        f"{where}: {type(error).__name__}: {error}; this is a fault of lab itself; "
        f"report it, with what the command prints when {TRACEBACK}=1 is set"
    )


def _say(text: str) -> None:
    click.echo(text, err=True)
