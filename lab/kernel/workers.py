"""Jobs side by side: each runs in a process that is forked from this one, and says meanwhile what it does.

This process alone is interrupted: a worker ignores what a terminal sends to all, and undoes what it has made when this
process tells it to or has ended.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

import msgspec

from lab.errors import LabError, MachineError
from lab.kernel import netns

Say = Callable[[str], None]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 0.25  # how often the caller may draw its progress, at least


class Job(msgspec.Struct, frozen=True):
    """Something to do. Jobs of one ``name`` never run at once; ``function`` is given what says what is being done."""

    name: str
    function: Callable[[Say], Any]


class _Worker:
    """A process with a job."""

    def __init__(self, number: int, job: Job) -> None:
        self.number, self.job = number, job
        self.pipe, far = Pipe(duplex=False)
        us = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _work(us, job, far)
        far.close()

    def heard(self) -> tuple[str, Any]:
        """Return its next word: that it says something, or its outcome."""
        try:
            word: tuple[str, Any] = self.pipe.recv()
        except EOFError:
            return "ended", LabError(f"{self.job.name}: its process ended without a result; it must run to its end")
        return word

    def end(self) -> None:
        """Wait for its end."""
        self.pipe.close()
        os.waitpid(self.pid, 0)


def side_by_side(
    jobs: Sequence[Job], at_once: int, heard: Callable[[int, str], None], tick: Callable[[Sequence[int]], None]
) -> list[Any]:
    """Run jobs, in their order so far as they may run; return their results in it: a LabError for one that failed.

    ``heard`` is told what the job of a number says; ``tick`` is called now and then with the numbers of those that run.
    A MachineError of a job, and an interrupt, ends all of them and is raised.
    """
    results: list[Any] = [None] * len(jobs)
    waiting = list(range(len(jobs)))
    running: dict[Connection, _Worker] = {}
    try:
        while waiting or running:
            for number in list(waiting):
                if len(running) < at_once and jobs[number].name not in {w.job.name for w in running.values()}:
                    with _held_back():
                        worker = _Worker(number, jobs[number])
                        running[worker.pipe] = worker
                    waiting.remove(number)
            tick([worker.number for worker in running.values()])
            ready = wait([*running], _TICK_S)
            for worker in [worker for pipe, worker in running.items() if pipe in ready]:
                kind, value = worker.heard()
                if kind == "says":
                    heard(worker.number, value)
                    continue
                if isinstance(value, MachineError):
                    raise value
                results[worker.number] = value
                del running[worker.pipe]
                worker.end()
    finally:
        with _held_back():
            _stop(running.values())
    return results


def _stop(workers: Any) -> None:
    """Tell workers to undo what they have made, and wait until they have."""
    for worker in workers:
        os.kill(worker.pid, signal.SIGTERM)
    for worker in workers:
        worker.end()


@contextmanager
def _held_back() -> Iterator[None]:
    """Let interrupts wait until the end of the body."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(parent: int, job: Job, far: Connection) -> NoReturn:
    """Do a job and tell its outcome."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)  # once: what is undone must not be interrupted
        raise KeyboardInterrupt

    def say(text: str) -> None:
        far.send(("says", text))

    outcome: Any = LabError(f"{job.name}: interrupted")
    try:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, interrupt)
        netns.end_with_parent(parent, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        outcome = job.function(say)
    except MachineError as error:
        outcome = error
    except LabError as error:
        outcome = LabError(str(error))
    except Exception as error:  # noqa: BLE001 - the other jobs go on
        outcome = LabError(f"{job.name}: {type(error).__name__}: {error}; report this")
    except KeyboardInterrupt:
        pass
    finally:
        try:
            far.send(("ended", outcome))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
