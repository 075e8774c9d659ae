"""lab/kernel/state.py: a lab that another command is changing is called busy, with that command, and is waited for."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import cli
from lab.errors import LabLocked, UsageError
from lab.kernel import apply
from lab.kernel import state as record
from lab.kernel.state import CALLER, LabState, StateDir, holder, locked, ready
from lab.runtime import show

HELD = r"`lab vm stop` \(process {}\) since \d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(record, "RUN", tmp_path)
    monkeypatch.setattr(CALLER, "wait_s", 0.0)
    monkeypatch.setattr(CALLER, "command", "lab up")


def write(state: record.State) -> None:
    folder = StateDir("a")
    folder.make()
    folder.write(
        LabState(lab="a", state=state, file="a", profile="seeds", time_scale=1, created=0.0, namespaces=()),
    )


@contextlib.contextmanager
def holding(before_release: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Have another process hold the lock of a lab; yield its number. Closing standard input of it releases the lock."""
    ready_to_read, say = os.pipe()
    go, let_go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(let_go)
        CALLER.command = "lab vm stop"
        with locked("a"):
            os.write(say, b"x")
            os.read(go, 1)
            before_release()
        os._exit(0)
    os.close(go)
    try:
        os.read(ready_to_read, 1)
        yield pid
    finally:
        os.close(let_go)
        os.waitpid(pid, 0)
        os.close(ready_to_read)
        os.close(say)


def test_who_wants_a_lab_that_is_being_changed_is_told_by_whom_and_since_when() -> None:
    with holding() as pid, pytest.raises(LabLocked, match=HELD.format(pid)) as caught, locked("a"):
        pytest.fail("two have the lock")
    assert caught.value.exit_code == 3
    assert "--wait SECONDS" in str(caught.value)


def test_the_lock_is_waited_for_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(CALLER, "wait_s", 20.0)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        with locked("a"):
            time.sleep(0.2)
        os._exit(0)
    with locked("a"):
        assert holder("a") is None  # we are no other
    os.waitpid(pid, 0)
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_killed_holds_nothing() -> None:
    with holding() as pid:
        assert holder("a") is not None
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert holder("a") is None
        with locked("a"):
            pass


def test_one_that_does_not_say_what_it_does_is_busy_all_the_same() -> None:
    with holding():
        record.RUN.joinpath(".a.busy").unlink()
        with pytest.raises(LabLocked, match="changed by another command;"), locked("a"):
            pytest.fail("two have the lock")


@pytest.mark.parametrize("state", ["building", "changing", "removing"])
def test_a_busy_lab_is_shown_as_what_it_is(state: record.State) -> None:
    write(state)
    with holding() as pid:
        assert show.describe("a").state.startswith(f"{state}, by `lab vm stop` (process {pid}) since ")
    assert show.describe("a").state.startswith(f"interrupted while {state}")


def test_a_lab_in_the_making_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    write("building")
    with holding(lambda: write("running")), pytest.raises(LabLocked):
        ready("a")
    assert ready("a")[1].state == "running"
    write("changing")
    assert ready("a")[1].state == "changing"  # nobody is at it: what it takes is seen where it is missing
    with pytest.raises(UsageError, match='no lab "b"'):
        ready("b")


def test_a_command_says_what_it_is_and_waits_as_long_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    seen: list[tuple[str, float]] = []

    def down(_name: str) -> apply.Removal:
        seen.append((CALLER.command, CALLER.wait_s))
        return apply.Removal(())

    monkeypatch.setattr(apply, "down", down)
    for arguments, variable in ((["--wait", "1.5"], ""), ([], "7"), (["--wait", "2"], "7"), ([], "")):
        monkeypatch.setenv("LAB_WAIT", variable) if variable else monkeypatch.delenv("LAB_WAIT", raising=False)
        monkeypatch.setattr(sys, "argv", ["lab", "down", "a", *arguments])
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert done.value.code == 0, capsys.readouterr().err
    assert seen == [("lab down", 1.5), ("lab down", 7.0), ("lab down", 2.0), ("lab down", 60.0)]


def test_a_command_that_finds_the_lab_busy_ends_with_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["lab", "down", "a", "--wait", "0"])
    write("building")
    with holding(), pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 3
    assert 'lab "a" is being changed by `lab vm stop`' in capsys.readouterr().err
