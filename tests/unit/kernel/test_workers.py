"""lab/kernel/workers.py: jobs side by side, each in a process, and what becomes of them in an interrupt."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.errors import LabError, MachineError, TopologyError
from lab.kernel.workers import Job, Say, side_by_side
from tests import rootlab


def run(*functions: Callable[[Say], object], at_once: int = 3, names: Sequence[str] = ()) -> list[object]:
    jobs = [Job(names[n] if names else f"job{n}", function) for n, function in enumerate(functions)]
    return side_by_side(jobs, at_once, lambda _number, _text: None, lambda _running: None)


def test_results_are_in_the_order_of_the_jobs_whichever_ends_first(tmp_path: Path) -> None:
    second_ended = tmp_path / "ended"

    def first(_say: Say) -> str:
        rootlab.wait_until(second_ended.exists, "the second has ended")
        return "first"

    def second(_say: Say) -> str:
        second_ended.touch()
        return "second"

    assert run(first, second) == ["first", "second"]


def _together(folder: Path, number: int) -> Callable[[Say], int]:
    """Return a job that tells how many ran at any moment of it."""

    def work(_say: Say) -> int:
        own = folder / str(number)
        own.touch()
        most, end = 0, time.monotonic() + 0.05
        while time.monotonic() < end:
            most = max(most, len(list(folder.iterdir())))
        own.unlink()
        return most

    return work


@pytest.mark.parametrize(("at_once", "names", "most"), [(1, "abcd", 1), (2, "abcd", 2), (4, "aaaa", 1)])
def test_no_more_run_at_once_than_may_and_never_two_of_one_name(
    at_once: int, names: str, most: int, tmp_path: Path
) -> None:
    found = run(*(_together(tmp_path, n) for n in range(4)), at_once=at_once, names=names)
    assert max(map(int, map(str, found))) <= most


def test_one_that_fails_does_not_stop_the_others() -> None:
    def wrong(_say: Say) -> None:
        raise TopologyError(["a.lab.yaml:1: wrong", "a.lab.yaml:2: wrong too"])

    def broken(_say: Say) -> None:
        raise ZeroDivisionError("by nought")

    def killed(_say: Say) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    *failed, last = run(wrong, broken, killed, lambda _say: "done", at_once=1)
    assert last == "done"
    assert all(isinstance(one, LabError) for one in failed)
    assert [str(one) for one in failed] == [
        "a.lab.yaml:1: wrong\na.lab.yaml:2: wrong too",
        "job1: ZeroDivisionError: by nought; report this",
        "job2: its process ended without a result; it must run to its end",
    ]


def test_what_the_machine_lacks_ends_all() -> None:
    def lacking(_say: Say) -> None:
        raise MachineError("no such device")

    with pytest.raises(MachineError, match="no such device"):
        run(lacking, lambda _say: time.sleep(60))


def test_what_jobs_say_is_heard_in_its_order_and_the_caller_is_told_which_run() -> None:
    def work(say: Say) -> None:
        say("one")
        say("two")

    heard: list[tuple[int, str]] = []
    ticks: list[list[int]] = []
    side_by_side([Job("a", work), Job("b", work)], 1, lambda *what: heard.append(what), lambda r: ticks.append(list(r)))
    assert heard == [(0, "one"), (0, "two"), (1, "one"), (1, "two")]
    assert [0] in ticks
    assert [1] in ticks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_each_undo_what_it_made_and_is_raised(number: signal.Signals, tmp_path: Path) -> None:
    def work(say: Say) -> None:
        try:
            say("made")
            time.sleep(60)
        finally:
            (tmp_path / f"undone {os.getpid()}").touch()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    heard: list[int] = []

    def hear(job: int, _text: str) -> None:
        heard.append(job)
        if len(heard) == 2:
            os.kill(os.getpid(), number)

    before = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(KeyboardInterrupt):
            side_by_side([Job("a", work), Job("b", work), Job("c", work)], 2, hear, lambda _running: None)
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert len(list(tmp_path.iterdir())) == 2  # the third never began


def test_a_worker_undoes_what_it_made_when_its_parent_is_killed(tmp_path: Path) -> None:
    undone = tmp_path / "undone"

    def work(say: Say) -> None:
        try:
            say("made")
            time.sleep(60)
        finally:
            undone.touch()

    pid = os.fork()
    if pid == 0:
        try:
            side_by_side([Job("a", work)], 1, lambda *_: os.kill(os.getpid(), signal.SIGKILL), lambda _running: None)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    rootlab.wait_until(undone.exists, "undone")
