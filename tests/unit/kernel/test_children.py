"""lab/kernel/netns.py: functions in child processes, which make nothing once their caller was interrupted."""

import os
import signal
import time
from pathlib import Path

import pytest

from lab.kernel import netns


def late(file: Path) -> None:
    """Make a file, after a while in which whoever is to be ended has been."""
    time.sleep(0.2)
    file.touch()


def test_a_child_is_ended_by_an_interrupt_that_comes_as_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children, fork = [], os.fork

    def interrupted() -> int:
        child = fork()
        if child:
            children.append(child)
            os.kill(os.getpid(), signal.SIGINT)
        return child

    monkeypatch.setattr(os, "fork", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            netns.in_child(late, tmp_path / "made")
    finally:
        signal.signal(signal.SIGINT, before)
    (child,) = children
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not (tmp_path / "made").exists()


def test_interrupts_are_handled_as_before_after_a_child_has_begun_and_within_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    in_child = netns.in_child(lambda: signal.getsignal(signal.SIGINT) is before)
    assert in_child
    assert signal.getsignal(signal.SIGINT) is before
