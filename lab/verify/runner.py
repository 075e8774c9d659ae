"""Up, judge every claim and expectation that applies, down: the main job.

A lab that already runs with the same plan is judged as it stands and left as it stands, altered rules
included: that is how one sees a claim contradicted. A trial that needs another network gets it as a
difference applied to the running lab, and the lab is changed back after it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

from lab.azure.model import Network
from lab.errors import InconclusiveError, LabLocked
from lab.kernel import apply
from lab.kernel.state import StateDir, locked
from lab.runtime.lifecycle import (
    AGENT_S,
    Progress,
    as_running,
    bring_up,
    down_now,
    load,
    plan_now,
    plan_of,
    settle,
    source,
    taken_back,
)
from lab.verify import claims, verdict
from lab.verify.claims import Trial
from lab.verify.evidence import TRIALS, Evidence, evidence
from lab.verify.experiment import Health, Observation
from lab.verify.probe import Prober
from lab.verify.verdict import Judgement, Result

__all__ = [
    "Planned", "Progress", "as_running", "bring_up", "down_now", "judge", "load", "not_run", "plan_now", "running",
    "settle", "source", "taken_back", "tried", "verify",
]  # fmt: skip

_Judged: TypeAlias = Sequence[tuple[Trial, Judgement, Evidence | None]]
Planned: TypeAlias = list[tuple[str, list[Trial]]]  # trials by claim

_AGENT_S = AGENT_S
_LOOK_S = 0.05
_RESTART_S = 5.0  # how long an agent may take that is being started again


def _agrees(folder: StateDir, network: Network) -> bool:
    """Tell whether a running lab has the plan of a network.

    Between a member's going up or down and the rules that follow, the plan is still that of before: it is waited for.
    """
    end = time.monotonic() + _AGENT_S
    while True:
        known = folder.health()
        if folder.plan() == plan_of(network, known):
            return True
        if all(member.applied for member in known.values()) and folder.health() == known:
            return False
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_S)


@contextmanager
def _running(network: Network, file: Path, progress: Progress) -> Iterator[None]:
    """Bring the lab up; one that runs already, with this very plan, is neither changed nor removed.

    Raises:
        NotJudgedError: a lab of this name runs, but not as the file says.

    """
    folder = StateDir(network.name)
    record = folder.read()
    if record is not None and apply.is_whole(record):
        _need_agent(network.name)
        if not _agrees(folder, network):
            raise InconclusiveError(
                f'lab "{network.name}" runs with another plan than {file}, or was brought up by another version; '
                f"they must agree to be judged; run `lab up {file}` or `lab down {network.name}` first"
            )
        yield
        return
    ours = True
    try:
        try:
            bring_up(network, file, progress)
        except LabLocked:
            ours = False  # it is another command's lab, and not ours to remove
            raise
        yield
    finally:
        if ours:
            apply.down(network.name)


def verify(
    file: Path,
    prober: Prober,
    progress: Progress,
    *,
    only: frozenset[str] = frozenset(),
    time_scale: int | None = None,
    profile: str | None = None,
) -> list[Result]:
    """Judge one topology; the lab is down afterwards unless it was up before.

    Raises:
        TopologyError, KernelError, MachineError, LabError: the lab could not be brought up or changed.
        NotJudgedError: a lab of that name runs, but not as the file says.

    """
    network = load(file, time_scale=time_scale, profile=profile)
    return judge(network, claims.trials(network, only), file, prober, progress)


def judge(network: Network, planned: Planned, file: Path, prober: Prober, progress: Progress) -> list[Result]:
    """Judge the trials of a network; the lab is down afterwards unless it was up before.

    Raises:
        KernelError, MachineError, LabError: the lab could not be brought up or changed.
        NotJudgedError: a lab of that name runs, but not as the file says, or is being judged.

    """
    if not planned:
        return []
    results = []
    with running(network, file, progress):
        prober.run(network.name, (Health(),))
        # Claims that need the lab changed come last: a change writes rules again, and all else is judged as it stands.
        for claim, trials in sorted(planned, key=lambda item: any(_changes(trial) for trial in item[1])):
            progress(claim)
            began = time.monotonic()
            _need_agent(network.name)
            found = [(trial, *_try(network, trial, file, prober)) for trial in trials]
            results.append(_result(network, claim, found, time.monotonic() - began))
    order = [claim for claim, _ in planned]
    return sorted(results, key=lambda result: order.index(result.id))


@contextmanager
def running(network: Network, file: Path, progress: Progress) -> Iterator[None]:
    """Bring the lab up, to be judged by this command alone.

    Raises:
        InconclusiveError: a lab of this name runs, but not as the file says; or another command judges it.

    """
    with _alone(network.name), _running(network, file, progress):
        yield


@contextmanager
def _alone(lab: str) -> Iterator[None]:
    """Be the only command that judges a lab: one that another command has brought up to judge it is gone in a moment.

    Raises:
        NotJudgedError: another command judges it.

    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(f"{lab}.judged", deadline_s=0.0))
        except LabLocked:
            raise InconclusiveError(
                f'lab "{lab}" is being judged by another `lab verify`; one at a time can; wait for its end'
            ) from None
        yield


def _need_agent(lab: str) -> None:
    """Check that the lab's agent answers.

    Raises:
        InconclusiveError: it does not run, or is stopped.

    """
    end = time.monotonic() + _RESTART_S
    record = StateDir(lab).read()
    while record is not None and apply.is_restarting(record) and time.monotonic() < end:
        time.sleep(_LOOK_S)
        record = StateDir(lab).read()
    if record is not None and (trouble := apply.agent_trouble(record)):
        raise InconclusiveError(
            f'lab "{lab}" runs without its servers and probes; they must run to be judged; {trouble}'
        )


def _changes(trial: Trial) -> bool:
    return any(stage.network is not None or stage.operates for stage in trial.stages)


def not_run(network: Network, planned: Planned, reason: str) -> list[Result]:
    """Return NOT_RUN for every claim that would have been judged."""
    nothing = Judgement("NOT_RUN", "nothing", reason)
    return [_result(network, claim, [(trial, nothing, None) for trial in trials], 0.0) for claim, trials in planned]


def _try(network: Network, trial: Trial, file: Path, prober: Prober) -> tuple[Judgement, Evidence]:
    """Run the stages of a trial and judge what was seen; the lab ends as it began."""
    observations: list[Observation] = []
    current: Network | None = None
    operated = False
    try:
        for stage in trial.stages:
            if operated or stage.network is not current:
                bring_up(stage.network or network, file, _quiet, mend=False)
                current = stage.network
            operated = stage.operates
            observations += prober.run(network.name, stage.experiments).observations
    finally:
        if operated or current is not None:
            bring_up(network, file, _quiet, mend=False)
    asked = [experiment for stage in trial.stages for experiment in stage.experiments]
    return trial.judge(observations), evidence(trial.subject, asked, observations)


def tried(network: Network, trial: Trial, prober: Prober) -> Judgement:
    """Try one thing in a lab that runs, as it is, and judge what was seen; the lab is not changed for it."""
    observations: list[Observation] = []
    for stage in trial.stages:
        observations += prober.run(network.name, stage.experiments).observations
    return trial.judge(observations)


def _quiet(_text: str) -> None:
    """Say nothing: a trial's own changes are no news."""


def _result(network: Network, claim: str, judged: _Judged, seconds: float) -> Result:
    known = claims.find(claim)
    word = verdict.worst(judgement.verdict for _, judgement, _ in judged)
    overrides = f" (with {network.overrides})" if str(network.overrides) else ""
    return Result(
        id=claim,
        statement=known.statement if known else f"expectation of {network.name}: {judged[0][0].subject}",
        source=known.source if known else "the topology file",
        topology=network.name,
        profile=network.profile.name + overrides,
        expected="; ".join(dict.fromkeys(f"{trial.subject}: {trial.expected}" for trial, _, _ in judged)),
        observed="; ".join(f"{trial.subject}: {judgement.observed}" for trial, judgement, _ in judged),
        verdict=word,
        reason="; ".join(dict.fromkeys(_reason(t, j) for t, j, _ in judged if j.verdict == word and j.reason)),
        seconds=round(seconds, 3),
        evidence=_telling(word, judged),
    )


def _telling(word: verdict.Word, judged: _Judged) -> tuple[Evidence, ...]:
    """Return the evidence that is kept of a claim: first that of trials which decided its verdict."""
    ordered = sorted(judged, key=lambda one: one[1].verdict != word)
    return tuple(seen for _, _, seen in ordered if seen is not None and seen.seen)[:TRIALS]


def _reason(trial: Trial, judgement: Judgement) -> str:
    return judgement.reason if judgement.verdict == "NOT_RUN" else f"{trial.subject}: {judgement.reason}"
