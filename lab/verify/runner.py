"""Up, judge every claim and expectation that applies, down: the main job.

A lab that already runs with the same plan is judged as it stands and left as it stands, altered rules
included: that is how one sees a claim contradicted. A trial that needs another network gets it as a
difference applied to the running lab, and the lab is changed back after it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab import topology
from lab.azure import model, vpn_limits
from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.errors import Busy, LabError, NotJudgedError, Problem, TopologyError
from lab.kernel import apply
from lab.kernel.state import Absent, Folder, MemberHealth
from lab.operations import base
from lab.plan import HealthCheck, Plan
from lab.verify import claims, verdict
from lab.verify.claims import Trial
from lab.verify.experiment import Health, Observation
from lab.verify.probe import Prober
from lab.verify.verdict import Judgement, Result

Progress = Callable[[str], None]

#: How long `up` waits for the first answers of pool members, and of peers. Whoever is silent takes longer to be judged;
#: a tunnel is given up after 3 s of silence.
_FIRST_ANSWERS_S, _TUNNELS_S = 2.0, 10.0
#: How long the agent of a running lab may take to read its new plan, on a busy machine.
_AGENT_S = 30.0
_LOOK_S = 0.05


def load(file: Path, *, time_scale: int | None = None, profile: str | None = None) -> Network:
    """Read a topology; what it leaves open is as it is in a lab of its name that runs already.

    Raises:
        TopologyError: it is wrong, or the lab that runs may not become it.

    """
    network = topology.load(file, time_scale=time_scale, profile=profile)
    folder = Folder(network.name)
    kept = folder.addresses()
    if kept:
        network = topology.load(file, time_scale=time_scale, profile=profile, kept=kept)
    if problems := list(_forbidden_changes(folder, network)):
        text = topology.read(file)
        raise TopologyError(f"{file}:{topology.line(text, problem.path)}: {problem}" for problem in problems)
    return network


def _forbidden_changes(folder: Folder, network: Network) -> Iterator[Problem]:
    """Yield what the lab that runs may not become; who may not read what it was made of cannot change it either."""
    try:
        before = model.decode(folder.network_file.read_bytes())
    except (FileNotFoundError, PermissionError):
        return
    yield from vpn_limits.change_violations(before, network)


def _plan(network: Network, known: Mapping[str, MemberHealth]) -> Plan:
    """Return the plan of a network in which only members that are known to be up receive new flows."""
    return compile_network(network, _down(network, known))


def _down(network: Network, known: Mapping[str, MemberHealth]) -> frozenset[str]:
    checks = compile_network(network).of(HealthCheck)
    return frozenset(c.key for c in checks if c.key not in known or not known[c.key].up)


def down_now(network: Network) -> frozenset[str]:
    """Return the members of pools that receive no new flows in a running lab of a network's name."""
    return _down(network, Folder(network.name).health())


def plan_now(network: Network) -> Plan:
    """Return the plan of a network as a running lab of its name knows its members."""
    return _plan(network, Folder(network.name).health())


def bring_up(network: Network, file: Path, progress: Progress) -> apply.Outcome:
    """Make a network run, from nothing or as a difference.

    Raises:
        LabError: it runs, but a server of it could not be opened.

    """
    folder = Folder(network.name)
    record = folder.read()
    running = record is not None and apply.is_whole(record)
    outcome = apply.up(plan_now(network) if running else _plan(network, {}), source(network, file), progress)
    progress("waiting for servers and first probes")
    settle(folder)
    return outcome


def settle(folder: Folder) -> None:
    """Wait until the servers of a lab listen, and for the first answers of pool members.

    Raises:
        LabError: a server could not be opened.

    """
    problems = folder.wait_agent(deadline_s=_AGENT_S)
    if problems:
        raise LabError(f"{'; '.join(problems)}; the rest of {folder.lab} runs; free it, then run `lab up` again")
    folder.wait_health(deadline_s=_FIRST_ANSWERS_S)
    folder.wait_tunnels(deadline_s=_TUNNELS_S)


def taken_back(network: Network) -> tuple[str, ...]:
    """Return what commands made in a lab that runs and `up` removes: the network of its file does not have it."""
    record = Folder(network.name).read()
    return base.outermost(set(record.made) - base.parts(network)) if record else ()


def source(network: Network, file: Path, made: Iterable[str] = ()) -> apply.Source:
    """Return what the record keeps of a network, and of what commands ``made`` in it."""
    return apply.Source(
        file=str(file.resolve()),
        addresses={path: str(address) for path, address in network.addresses().items()},
        network=model.encode(network),
        outline=model.encode(model.without_keys(network)),
        profile=network.profile.name,
        time_scale=network.overrides.time_scale,
        absent=tuple(
            Absent(name=vm.name, power_state=vm.power_state, address=str(vm.private_ip_address))
            for vm in network.virtual_machines
            if vm.power_state != "Started"
        ),
        made=tuple(sorted(made)),
    )


def _agrees(folder: Folder, network: Network) -> bool:
    """Tell whether a running lab has the plan of a network.

    Between a member's going up or down and the rules that follow, the plan is still that of before: it is waited for.
    """
    end = time.monotonic() + _AGENT_S
    while True:
        known = folder.health()
        if folder.plan() == _plan(network, known):
            return True
        if all(member.applied for member in known.values()) and folder.health() == known:
            return False
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_S)


@contextmanager
def running(network: Network, file: Path, progress: Progress) -> Iterator[None]:
    """Have the lab run; one that runs already, with this very plan, is neither changed nor removed.

    Raises:
        NotJudgedError: a lab of this name runs, but not as the file says.

    """
    folder = Folder(network.name)
    record = folder.read()
    if record is not None and apply.is_whole(record):
        if not apply.agent_alive(record):
            raise NotJudgedError(
                f'lab "{network.name}" runs without its servers and probes; they must run to be judged; '
                f"run `lab up {file}` first"
            )
        if not _agrees(folder, network):
            raise NotJudgedError(
                f'lab "{network.name}" runs with another plan than {file}, or was brought up by another version; '
                f"they must agree to be judged; run `lab up {file}` or `lab down {network.name}` first"
            )
        yield
        return
    ours = True
    try:
        try:
            bring_up(network, file, progress)
        except Busy:
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
    planned = claims.trials(network, only)
    if not planned:
        return []
    results = []
    with running(network, file, progress):
        prober.run(network.name, (Health(),))
        # Claims that need the lab changed come last: a change writes rules again, and all else is judged as it stands.
        for claim, trials in sorted(planned, key=lambda item: any(_changes(trial) for trial in item[1])):
            progress(f"{network.name}: {claim}")
            began = time.monotonic()
            judged = [(trial, _try(network, trial, file, prober)) for trial in trials]
            results.append(_result(network, claim, judged, time.monotonic() - began))
    order = [claim for claim, _ in planned]
    return sorted(results, key=lambda result: order.index(result.id))


def _changes(trial: Trial) -> bool:
    return any(stage.network is not None or stage.operates for stage in trial.stages)


def not_run(network: Network, only: frozenset[str], reason: str) -> list[Result]:
    """Return NOT_RUN for every claim that would have been judged."""
    nothing = Judgement("NOT_RUN", "nothing", reason)
    planned = claims.trials(network, only)
    return [_result(network, claim, [(trial, nothing) for trial in trials], 0.0) for claim, trials in planned]


def _try(network: Network, trial: Trial, file: Path, prober: Prober) -> Judgement:
    """Run the stages of a trial and judge what was seen; the lab ends as it began."""
    observations: list[Observation] = []
    current: Network | None = None
    operated = False
    try:
        for stage in trial.stages:
            if operated or stage.network is not current:
                bring_up(stage.network or network, file, _quiet)
                current = stage.network
            operated = stage.operates
            observations += prober.run(network.name, stage.experiments).observations
    finally:
        if operated or current is not None:
            bring_up(network, file, _quiet)
    return trial.judge(observations)


def _quiet(_text: str) -> None:
    """Say nothing: a trial's own changes are no news."""


def _result(network: Network, claim: str, judged: list[tuple[Trial, Judgement]], seconds: float) -> Result:
    known = claims.find(claim)
    word = verdict.worst(judgement.verdict for _, judgement in judged)
    overrides = f" (with {network.overrides})" if str(network.overrides) else ""
    return Result(
        id=claim,
        statement=known.statement if known else f"expectation of {network.name}: {judged[0][0].subject}",
        source=known.source if known else "the topology file",
        topology=network.name,
        profile=network.profile.name + overrides,
        expected="; ".join(dict.fromkeys(f"{trial.subject}: {trial.expected}" for trial, _ in judged)),
        observed="; ".join(f"{trial.subject}: {judgement.observed}" for trial, judgement in judged),
        verdict=word,
        reason="; ".join(dict.fromkeys(_reason(t, j) for t, j in judged if j.verdict == word and j.reason)),
        seconds=round(seconds, 3),
    )


def _reason(trial: Trial, judgement: Judgement) -> str:
    return judgement.reason if judgement.verdict == "NOT_RUN" else f"{trial.subject}: {judgement.reason}"
