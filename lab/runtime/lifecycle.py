"""A lab is made to run, changed as a difference, and waited for: what `up`, operations and `verify` share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from lab import topology
from lab.azure import model, vpn_limits
from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.errors import BrokenRecordError, LabError, Problem, TopologyError
from lab.kernel import apply
from lab.kernel.state import LabState, MemberHealth, StateDir, StoppedVm
from lab.operations import base
from lab.path import health_probe
from lab.plan import HealthCheck, Plan

Progress = Callable[[str], None]

#: How long `up` waits for the first answers of pool members, and of peers. A member that is silent takes longer to be
#: judged; a tunnel is given up after 3 s of silence.
_FIRST_ANSWERS_S, _TUNNELS_S = 2.0, 10.0
#: How long the agent of a running lab may take to read its new plan, on a busy machine.
AGENT_S = 30.0


def load(file: Path, *, time_scale: int | None = None, profile: str | None = None) -> Network:
    """Read a topology; what it leaves open is as it is in a lab of its name that runs already.

    Raises:
        TopologyError: it is wrong, or the lab that runs may not become it.

    """
    network = topology.load(file, time_scale=time_scale, profile=profile)
    return as_running(network, file, time_scale=time_scale, profile=profile)


def as_running(network: Network, file: Path, *, time_scale: int | None = None, profile: str | None = None) -> Network:
    """Return the network of a file with what it leaves open as it is in a lab of its name that runs, if one does.

    Raises:
        TopologyError: the lab that runs may not become it.

    """
    folder = StateDir(network.name)
    kept = folder.addresses()
    if kept:
        network = topology.load(file, time_scale=time_scale, profile=profile, kept=kept)
    if problems := list(_forbidden_changes(folder, network)):
        text = topology.read(file)
        raise TopologyError(f"{file}:{topology.line(text, problem.path)}: {problem}" for problem in problems)
    return network


def _forbidden_changes(folder: StateDir, network: Network) -> Iterator[Problem]:
    """Yield what the lab that runs may not become; who may not read what it was made of cannot change it either."""
    try:
        before = model.decode(folder.network_file.read_bytes())
    except (FileNotFoundError, PermissionError):
        return
    yield from vpn_limits.change_violations(before, network)


def plan_of(network: Network, known: Mapping[str, MemberHealth]) -> Plan:
    """Return the plan of a network in which only members that are known to be up receive new flows."""
    return compile_network(network, down_of(network, known))


def down_of(network: Network, known: Mapping[str, MemberHealth]) -> frozenset[str]:
    """Return the members of pools that are not known to be up: they receive no new flows."""
    checked = (item.key for item in health_probe.items(network, frozenset()) if isinstance(item, HealthCheck))
    return frozenset(key for key in checked if key not in known or not known[key].up)


def down_now(network: Network) -> frozenset[str]:
    """Return the members of pools that receive no new flows in a running lab of a network's name."""
    return down_of(network, StateDir(network.name).health())


def plan_now(network: Network) -> Plan:
    """Return the plan of a network as a running lab of its name knows its members."""
    return plan_of(network, StateDir(network.name).health())


def bring_up(network: Network, file: Path, progress: Progress, *, mend: bool = True) -> apply.Outcome:
    """Make a network run, from nothing or as a difference.

    ``mend``: undo as well what was done to the running lab by hand.

    Raises:
        LabError: it runs, but a server of it could not be opened.

    """
    folder = StateDir(network.name)
    record = _readable(folder)
    running = record is not None and apply.is_there(record)
    made = plan_now(network) if running else plan_of(network, {})
    outcome = apply.up(made, source(network, file), progress, mend=mend)
    progress("waiting for servers and first probes")
    settle(folder)
    return outcome


def settle(folder: StateDir) -> None:
    """Wait until the servers of a lab listen, and for the first answers of pool members.

    Raises:
        LabError: a server could not be opened.

    """
    problems = folder.wait_agent(deadline_s=AGENT_S)
    if problems:
        raise LabError(f"{'; '.join(problems)}; the rest of {folder.lab} runs; free it, then run `lab up` again")
    folder.wait_health(deadline_s=_FIRST_ANSWERS_S)
    folder.wait_tunnels(deadline_s=_TUNNELS_S)


def taken_back(network: Network) -> tuple[str, ...]:
    """Return what commands made in a lab that runs and `up` removes: the network of its file does not have it."""
    record = _readable(StateDir(network.name))
    return base.outermost(set(record.made) - base.parts(network)) if record else ()


def _readable(folder: StateDir) -> LabState | None:
    """Return the record of a lab, None also if it cannot be read: `up` makes that lab anew."""
    try:
        return folder.read()
    except BrokenRecordError:
        return None


def source(network: Network, file: Path, made: Iterable[str] = ()) -> apply.Source:
    """Return what the record keeps of a network, and of what commands ``made`` in it."""
    return apply.Source(
        file=str(topology.located(file).resolve()),
        addresses={path: str(address) for path, address in network.addresses().items()},
        network=model.encode(network),
        outline=model.encode(model.without_keys(network)),
        profile=network.profile.name,
        time_scale=network.overrides.time_scale,
        absent=tuple(
            StoppedVm(name=vm.name, power_state=vm.power_state, address=str(vm.private_ip_address))
            for vm in network.virtual_machines
            if vm.power_state != "Started"
        ),
        made=tuple(sorted(made)),
    )
