"""Many topologies in one run of ``lab verify``: side by side, with results in the order of the files."""

import os
import time
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path

import msgspec

from lab import topology
from lab.azure.model import Network
from lab.errors import LabError
from lab.kernel import apply, workers
from lab.verify import claims, runner
from lab.verify.probe import Prober, server
from lab.verify.verdict import Result

#: A lab that is judged mostly waits, so that a processor carries several; and the memory that one takes with its
#: processes, in bytes.
_A_PROCESSOR, _MEMORY = 5, 300 << 20
#: How long a change of the lab lasts, beside what a trial says of its own time; a share of the wait only, so rough.
_CHANGE_S = 2.0


class Topology(msgspec.Struct, frozen=True):
    """A file, and what is to be judged of it."""

    file: Path
    network: Network
    planned: runner.Planned
    time_scale: int | None = None
    profile: str | None = None
    own_only: bool = False  # just what the file itself expects

    def as_running(self) -> "Topology":
        """Return it with what its file leaves open as it is in a lab of its name that runs, if one does."""
        network = runner.as_running(self.network, self.file, time_scale=self.time_scale, profile=self.profile)
        if network is self.network:
            return self
        wanted = frozenset(claim for claim, _ in self.planned)
        planned = _planned(network, wanted, own_only=self.own_only)
        return msgspec.structs.replace(self, network=network, planned=planned)

    def lasts(self) -> float:
        """Return about how many seconds it takes, so that the longest can begin first."""
        trials = [trial for _, found in self.planned for trial in found]
        changes = sum(stage.network is not None or stage.operates for trial in trials for stage in trial.stages)
        return sum(trial.pauses_s + len(trial.stages) / 2 for trial in trials) + changes * _CHANGE_S


class State(msgspec.Struct, frozen=True):
    """How far a run is, for the live line."""

    done: int
    total: int
    running: tuple[str, ...]  # topologies, each with what it is at
    left_s: float | None  # None: too early to tell

    def __str__(self) -> str:
        left = "" if self.left_s is None else f", about {self.left_s:.0f} s left"
        return f"{self.done}/{self.total} claims{left}: {', '.join(self.running)}"


def carried() -> int:
    """Return how many topologies this machine carries at once."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(_A_PROCESSOR * len(os.sched_getaffinity(0)), pages // _MEMORY))


def read(
    files: Iterable[Path],
    only: frozenset[str],
    say: Callable[[str], None],
    *,
    time_scale: int | None = None,
    profile: str | None = None,
    own_only: bool = False,
) -> list[Topology]:
    """Read files, and plan what is to be judged; what no topology has a say in is judged with the first that has it.

    ``own_only``: judge just what each file itself expects.

    Raises:
        TopologyError: a file is wrong.

    """
    found = []
    judged: set[object] = set()
    for file in files:
        say(f"reading {file.name}")
        network = topology.load(file, time_scale=time_scale, profile=profile)
        planned = _planned(network, only, judged, own_only=own_only)
        judged.update(claims.once(trial) for _, trials in planned for trial in trials if not trial.needs_lab)
        found.append(Topology(file, network, planned, time_scale, profile, own_only))
    return found


def _planned(
    network: Network, only: frozenset[str], judged: Container[object] = (), *, own_only: bool
) -> runner.Planned:
    """Return what is to be judged of a network."""
    if own_only:
        return [(claim, found) for claim, found in claims.expected(network).items() if not only or claim in only]
    return claims.trials(network, only, judged)


class _Watch:
    """How far the topologies of a run are."""

    def __init__(self, chosen: Sequence[Topology], show: Callable[[State], None]) -> None:
        self._chosen = chosen
        self._show = show
        self._claims = [{claim for claim, _ in one.planned} for one in chosen]
        self._heard = [0] * len(chosen)  # claims that were begun
        self._at = [""] * len(chosen)
        self._began = time.monotonic()

    def hear(self, number: int, text: str) -> None:
        """Note what a topology is at."""
        self._heard[number] += text in self._claims[number]
        self._at[number] = text

    def tick(self, running: Sequence[int]) -> None:
        """Show how far all are."""
        begun = sum(self._heard)
        done = begun - sum(self._heard[number] > 0 for number in running)
        total = sum(map(len, self._claims))
        since = time.monotonic() - self._began
        left = since / done * (total - done) if done >= min(10, total) and done else None
        names = [f"{self._chosen[n].network.name} {self._at[n]}".strip() for n in running]
        self._show(State(done, total, tuple(names), left))


def judge(chosen: Sequence[Topology], at_once: int, show: Callable[[State], None]) -> list[Result]:
    """Judge topologies, so many at once; one that cannot be judged does not stop the others.

    Raises:
        MachineError: this machine lacks what is needed.

    """
    begun = [one for one in chosen if one.planned]
    if at_once > 1:
        begun.sort(key=Topology.lasts, reverse=True)  # so that the longest is not alone at the end
    watch = _Watch(begun, show)
    with server() as probers:
        if begun:
            apply.preload()

        def job(one: Topology) -> workers.Job:
            def judged(say: workers.Say) -> list[Result]:
                with Prober(probers) as prober:
                    now = one.as_running()
                    return runner.judge(now.network, now.planned, now.file, prober, say)

            return workers.Job(one.network.name, judged)

        outcomes = workers.side_by_side([job(one) for one in begun], at_once, watch.hear, watch.tick)
    by_file = {
        id(one): runner.not_run(one.network, one.planned, str(outcome)) if isinstance(outcome, LabError) else outcome
        for one, outcome in zip(begun, outcomes, strict=True)
    }
    return [result for one in chosen for result in by_file.get(id(one), [])]
