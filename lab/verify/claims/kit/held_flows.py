"""Experiments that hold flows, and what the judges of SNAT ports have in common."""

from collections import Counter
from collections.abc import Callable, Sequence

from lab.azure.model import InternetHost, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.oracle import goals, scaled
from lab.verify.experiment import Goal, Happened, HoldFlows, Occupied, Open, Step

#: Flows that are tried beyond what there are ports for.
MORE = 8
_FIN_S = 240  # the longest time that any revision holds a port
_IDLE_S = 240  # Outbound connections, 2017-05-31: 4-minute idle timeout
_SETTLE_S = 5.0
#: So much later than that a busy machine may be, in real time.
LATE_S = 1.2
_EARLY_S = 0.02  # the kernel counts time in ticks of up to 10 ms


def several_goals(network: Network) -> list[tuple[InternetHost, tuple[Goal, ...]]]:
    """Return the outside hosts with services of both protocols that name a flow's source, those with most first."""
    found = [(host, goals(host)) for host in network.internet]
    both = [(host, offered) for host, offered in found if {goal.kind for goal in offered} == {"tcp", "udp"}]
    return sorted(both, key=lambda entry: -len(entry[1]))


def of_protocol(offered: tuple[Goal, ...], kind: str) -> tuple[Goal, ...]:
    """Return the goals of one protocol."""
    return tuple(goal for goal in offered if goal.kind == kind)


def occupy(network: Network, vm: VirtualMachine, *steps: Step) -> HoldFlows:
    """Return the experiment of a VM that holds flows."""
    return HoldFlows(
        client=vm.name,
        private=str(vm.private_ip_address),
        network=vm.virtual_network,
        steps=steps,
        settle_s=scaled(network, _FIN_S) + _SETTLE_S,
    )


def kept(network: Network, goals: tuple[Goal, ...], count: int, *, lost: int = 0, within_s: float = 0.0) -> Open:
    """Return the step that opens flows and keeps them alive, however long the steps after it take."""
    every = max(1, int(scaled(network, _IDLE_S) / 4))
    return Open(goals=goals, count=count, keepalive_s=every, lost=lost, within_s=within_s)


def held_trial(
    subject: str,
    expected: str,
    experiment: HoldFlows,
    find: Callable[[Sequence[Happened]], Finding],
) -> Trial:
    """Return a trial of what came of an experiment's steps."""

    def found(occupied: Occupied) -> Finding:
        return find(occupied.steps)

    return Trial(subject, expected, (Stage((experiment,)),), judge_by(found))


def opened(happened: Happened) -> str:
    """Say how many flows were answered, and how the others ended."""
    parts = [f"{happened.answered} answered"]
    parts += [f"{happened.silent} silent"] if happened.silent else []
    parts += [f"{happened.refused} refused"] if happened.refused else []
    return ", ".join(parts)


def shared(happened: Happened) -> str:
    """Return what contradicts that each flow has a source of its own, "" if nothing does."""
    twice = [source for source, times in Counter(happened.seen).items() if times > 1]
    return f"{len(twice)} ports were seen for two flows, {twice[0].address}:{twice[0].port} among them" if twice else ""


def again_after(happened: Happened, ended: Happened) -> str:
    """Say how long after flows began to end their ports served new ones."""
    first = min(happened.moments, default=None)
    return "were not taken again" if first is None else f"were taken again after {first - ended.began:.2f} s"


def too_early(happened: Happened, ended: Happened, held_s: float) -> str:
    """Return what contradicts that ports were held for a time after flows began to end, "" if nothing does."""
    early = any(moment - ended.began < held_s - _EARLY_S for moment in happened.moments)
    return f"ports {again_after(happened, ended)} instead of {held_s:g} s" if early else ""


def too_late(happened: Happened, held_s: float) -> str:
    """Return what contradicts that ports came back in time once they were asked for, "" if nothing does."""
    first = min(happened.moments, default=None)
    late = first is not None and first - happened.began > held_s + LATE_S
    return (
        f"ports came back only after {first - happened.began:.2f} s instead of {held_s:g} s" if late and first else ""
    )


def wrong_number(happened: Happened, answered: int, silent: int = 0) -> str:
    """Return what contradicts that so many flows were answered and so many met silence, "" if nothing does."""
    if happened.refused:
        return f"{happened.refused} flows were refused instead of met with silence"
    if happened.answered != answered:
        return f"{happened.answered} flows were answered instead of {answered}"
    return "" if happened.silent == silent else f"{happened.silent} flows met silence instead of {silent}"
