"""lab/cli/ending.py, lab/__main__.py: exit status 1 means that a claim is contradicted, whatever else fails."""

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from lab import cli
from lab.cli import arguments as reading
from lab.cli import ending
from lab.errors import ContradictedError, UsageError
from lab.kernel import state

CHECKOUT = Path(__file__).parents[3]
LOST = "what the command printed is lost"


class Done(NamedTuple):
    status: int
    err: str


def _leaves(group: click.Group, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*prefix, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, (*prefix, name))


COMMANDS = [(), *_leaves(cli.cli)]
#: Commands that print something without root and without a lab.
ANSWERS = [
    ("--version",),
    ("list",),
    ("list", "-o", "json"),
    ("schema",),
    ("check", f"{CHECKOUT}/topologies/nsg.lab.yaml"),
    ("check", f"{CHECKOUT}/topologies/nsg.lab.yaml", "-o", "json"),
    ("plan", f"{CHECKOUT}/topologies/nsg.lab.yaml"),
    ("claims", "--profiles"),
    ("nsg", "matrix", f"{CHECKOUT}/topologies/nsg.lab.yaml", "web1", "--service", "80/tcp"),
]


def _full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def _pipe_without_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


#: How standard output may fail, and the status of a command that is done otherwise.
FAULTS: dict[str, tuple[Callable[[], int] | None, int]] = {
    "full": (_full, 4),
    "closed": (None, 4),
    "no reader": (_pipe_without_reader, 0),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Run a command line in a child of this process, with a standard output that fails."""
    monkeypatch.setattr(state, "RUN", tmp_path / "run")
    said = tmp_path / "stderr"

    def child(fault: str, arguments: tuple[str, ...]) -> None:
        opener = FAULTS[fault][0]
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stderr = sys.__stderr__ = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
        if opener is None:
            os.close(1)
            sys.stdout = sys.__stdout__ = None  # type: ignore[assignment, misc] - as Python has it then
        else:
            os.dup2(opener(), 1)
            sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
        sys.argv = ["lab", *arguments]
        cli.main()

    def in_child(fault: str, *arguments: str) -> Done:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 99  # an exception that came out
            try:
                child(fault, arguments)
            except SystemExit as done:
                status = done.code if isinstance(done.code, int) else 98
            finally:
                os._exit(status)
        return Done(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.read_text())

    return in_child


@pytest.mark.parametrize("fault", FAULTS)
def test_help_of_every_command_that_cannot_be_written(run: Callable[..., Done], fault: str) -> None:
    for command in COMMANDS:
        done = run(fault, *command, "--help")
        assert (command, done.status) == (command, FAULTS[fault][1])
        assert (LOST in done.err) == (fault != "no reader"), (command, done.err)
        assert "Traceback" not in done.err


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ANSWERS, ids=" ".join)
def test_an_answer_that_cannot_be_written(run: Callable[..., Done], command: tuple[str, ...], fault: str) -> None:
    done = run(fault, *command)
    assert done.status == FAULTS[fault][1], done.err
    assert len(done.err.splitlines()) == (fault != "no reader")


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_keeps_its_status_when_nothing_can_be_printed(run: Callable[..., Done], fault: str) -> None:
    assert run(fault, "show", "nowhere").status == 2


def test_no_command_ends_with_1_for_arguments_that_are_wrong(run: Callable[..., Done]) -> None:
    for command in COMMANDS:
        assert (command, run("full", *command, "--no-such-option").status) == (command, 2)


# --- errors -----------------------------------------------------------------------------------


def ends(error: BaseException) -> int:
    def fail() -> None:
        raise error

    return ending.status_of(fail)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ContradictedError("seen otherwise"), 1, "seen otherwise"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyError("x"), 3, "test_ending.py:"),
        (RecursionError("too deep"), 3, "this is a fault of lab itself"),
        (SystemExit(4), 4, ""),
        (SystemExit(None), 0, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_exception_is_a_message_and_a_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, said: str
) -> None:
    assert ends(error) == status
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == bool(said)


def test_a_fault_of_lab_itself_has_a_traceback_for_those_who_ask(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ending.TRACEBACK, "1")
    assert ends(KeyError("x")) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            OSError(28, "No space left on device"),
            "this machine: No space left on device; there must be room; make some, then run the command again",
        ),
        (
            OSError(30, "Read-only file system", "/run/lab"),
            "/run/lab: Read-only file system; it must be writable; mount it so, then run the command again",
        ),
        (
            OSError(24, "Too many open files", "/x"),
            "/x: Too many open files; more files must be open at a time; raise `ulimit -n`",
        ),
        (OSError(5, "I/O error"), "this machine: I/O error; this machine must allow it; run `lab doctor`"),
    ],
    ids=lambda value: os.strerror(value.errno) if isinstance(value, OSError) else "",
)
def test_a_refusal_of_the_system_says_what_must_hold(error: OSError, text: str) -> None:
    refused = ending.refused(error)
    assert (str(refused), refused.exit_code) == (text, 4)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")], ids=str)
def test_a_refusal_within_a_command_ends_with_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError
) -> None:
    def fail() -> list[str]:
        raise error

    monkeypatch.setattr("lab.runtime.show.labs", fail)
    monkeypatch.setattr(sys, "argv", ["lab", "list"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 4
    assert error.strerror in capsys.readouterr().err


# --- the folder, and interrupts ---------------------------------------------------------------


def test_a_working_directory_that_was_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match="the working directory was removed"):
        reading.only_file()
    done = subprocess.run([sys.executable, "-P", "-m", "lab", "list"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


#: Says when lab begins to be imported, and waits: an interrupt comes at this very moment.
_WAITING = """
import sys, time
class Waits:
    def find_spec(self, name, *_):
        if name == "MODULE":
            print("now", flush=True)
            time.sleep(20)
sys.meta_path.insert(0, Waits())
"""


_SCRIPT = ["-c", "from lab.__main__ import main; main()"]


@pytest.mark.parametrize("module", ["click", "lab.cli", "lab.errors", "lab.cli.vm", "lab.cli.output"])
@pytest.mark.parametrize("program", [["-m", "lab"], _SCRIPT], ids=["module", "script"])
def test_an_interrupt_while_modules_are_loaded(tmp_path: Path, module: str, program: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(_WAITING.replace("MODULE", module))
    process = subprocess.Popen(
        [sys.executable, "-P", *program, "list"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{CHECKOUT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "interrupted\n")


def test_an_interrupt_before_lab_is_loaded_waits_for_it(tmp_path: Path) -> None:
    """What `scripts/lab` does: the signal is blocked until there is somebody to hear it."""
    (tmp_path / "sitecustomize.py").write_text(_WAITING.replace("MODULE", "lab").replace("sleep(20)", "sleep(0.3)"))
    process = subprocess.Popen(
        ["env", "--block-signal=INT", sys.executable, "-P", "-m", "lab", "list"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{CHECKOUT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "interrupted\n")
    assert "env --block-signal=INT" in (CHECKOUT / "scripts" / "lab").read_text()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Cannot allocate memory; more memory must be free"),
        (BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "more processes must be allowed"),
    ],
)
def test_a_limit_of_the_machine_is_named_as_such(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise ending.refused(error) if isinstance(error, OSError) else error

    assert ending.status_of(run) == 4
    assert said in capsys.readouterr().err
