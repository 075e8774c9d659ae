"""Experiments and judgements that many claims share. All pure: observations in, judgement out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from lab.azure.model import InternetHost, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Judge, Stage, Trial
from lab.verify.claims.kit.oracle import WayOut, far_host, matches, of_kind, pooled, ports_each, some, way_out
from lab.verify.experiment import (
    Answers,
    Arrivals,
    Checked,
    CheckFile,
    Failed,
    Observation,
    Protocol,
    Send,
    Tracked,
    Watch,
)
from lab.verify.verdict import Judgement

_Kind = TypeVar("_Kind")
_FLOWS = 16  # flows for a claim about every flow's source


def send(
    network: Network,
    vm: VirtualMachine,
    far: InternetHost,
    protocol: Protocol = "tcp",
    count: int = _FLOWS,
    *,
    beyond_ports: bool = False,
    kept: bool = False,
    **more: Any,
) -> Send:
    """Ask for flows from a VM to an outside host, watched on the public wire and where they must arrive.

    No more of them than the VM has SNAT ports, unless they are to go ``beyond_ports``; then the load balancer
    forgets them afterwards, so that they are in nobody's way, unless they are ``kept``.
    """
    if not beyond_ports and way_out(network, vm).kind == "frontend":
        count = min(count, ports_each(network, vm) or count)
    watches = (Watch("public wire", vm.virtual_network), Watch("node", far.name))
    return Send(
        sender=vm.name,
        private=str(vm.private_ip_address),
        destination=str(far.address),
        protocol=protocol,
        count=count,
        watches=watches,
        forgotten=beyond_ports and not kept,
        **more,
    )


def failed(observations: Sequence[Observation]) -> Judgement | None:
    """Return a judgement if an experiment could not be done, or a capture saw no control packet, or a stray one."""
    for observation in observations:
        if isinstance(observation, Failed):
            return Judgement("INCONCLUSIVE", "nothing", f"the experiment failed: {observation.reason}")
        arrivals = observation.arrivals if isinstance(observation, Tracked) else observation
        if isinstance(arrivals, Arrivals) and arrivals.strays:
            # What was seen needs no control.
            return Judgement("CONTRADICTED", arrived(arrivals), f"left untranslated: {arrivals.strays[0]}")
        if isinstance(arrivals, Arrivals) and not arrivals.control:
            return Judgement("INCONCLUSIVE", arrived(arrivals), "the control packet did not arrive")
    return None


def arrived(arrivals: Arrivals) -> str:
    """Say what arrived at the far side."""
    far = arrivals.seen[-1]
    if not far:
        return f"nothing of {arrivals.sent} flows"
    ports = sorted(seen.source_port for seen in far)
    span = f"{ports[0]}" if ports[0] == ports[-1] else f"{ports[0]}-{ports[-1]}"
    return f"{len(far)} of {arrivals.sent} flows from {', '.join(sources(arrivals))}, ports {span}"


def sources(arrivals: Arrivals) -> list[str]:
    """Return the source addresses seen at the far side."""
    return sorted({seen.source for seen in arrivals.seen[-1]})


def judge_by(find: Callable[..., Finding]) -> Judge:
    """Make a judge of what finds something in the observations of a trial, which it is given one by one."""

    def judge(observations: Sequence[Observation]) -> Judgement:
        return failed(observations) or judgement(find(*observations))

    return judge


def of_type(observations: Iterable[Observation], kind: type[_Kind]) -> list[_Kind]:
    """Return the observations of one kind, in their order."""
    return [one for one in observations if isinstance(one, kind)]


def judgement(found: Finding) -> Judgement:
    """Return the judgement of what was found."""
    if found.doubt:
        return Judgement("INCONCLUSIVE", found.observed, found.doubt)
    return Judgement("CONTRADICTED" if found.wrong else "HOLDS", found.observed, found.wrong)


def wrong_source(network: Network, way: WayOut, arrivals: Arrivals) -> str:
    """Return what contradicts that all flows arrived from a way out, "" if nothing does."""
    if len(arrivals.seen[-1]) < arrivals.sent:
        return f"{arrivals.sent - len(arrivals.seen[-1])} flows did not arrive"
    wrong = [source for source in sources(arrivals) if not matches(network, way, source)]
    return f"seen from {', '.join(wrong)}" if wrong else ""


def source_trial(network: Network, vm: VirtualMachine, far: InternetHost, way: WayOut) -> Trial:
    """Return a trial of the source that the far side sees of a VM's flows."""
    return Trial(
        vm.name,
        f"source {way}",
        (Stage((send(network, vm, far),)),),
        judge_by(partial(_all_from, network=network, way=way)),
    )


def _all_from(arrivals: Any, *, network: Network, way: WayOut) -> Finding:
    return Finding(arrived(arrivals), wrong_source(network, way, arrivals))


def refused(text: str, what: str, words: str, *, allowed: str = "") -> Trial:
    """Return a trial of a topology that `lab check` must refuse with these words, and for nothing else.

    ``allowed``: the same without what is refused, which it must accept.
    """
    texts = (text, allowed) if allowed else (text,)
    return Trial(
        what,
        "refused, exit 2",
        (Stage(tuple(CheckFile(text=t) for t in texts)),),
        judge_by(partial(_file_refused, words=words, what=what)),
    )


def _file_refused(*observations: Any, words: str, what: str) -> Finding:
    done: Checked = observations[0]
    if done.status != 2 or words not in done.said:
        return Finding(f"exit {done.status}: {done.said}", f"{what} was not refused")
    accepted: list[Checked] = list(observations[1:])
    if any(other.status != 0 for other in accepted):
        return Finding(f"exit 2: {done.said}; without it: {accepted[0].said}", f"{what}: it is refused without it, too")
    return Finding(f"exit 2: {done.said}")


def outcomes(answers: Answers) -> str:
    """Say how conversations ended."""
    outcomes = [a.outcome for a in answers.answers]
    return ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))


def pairs(pairs: set[tuple[str, int]]) -> str:
    """Say addresses and ports."""
    return ", ".join(f"{address}:{port}" for address, port in sorted(pairs)) or "nothing"


def pool_only(network: Network) -> Iterator[Trial]:
    """Yield, for each VM of a pool without any rule, that it is seen as a standalone VM of its network is."""
    far = far_host(network)
    for vm in some(network, of_kind(network, "default")):
        balancers = pooled(network, vm.name)
        if far is None or not balancers:
            continue
        frontends = sorted({str(f.address) for lb in balancers for f in lb.frontends})
        alone = [
            other
            for other in of_kind(network, "default")
            if not pooled(network, other.name) and other.virtual_network == vm.virtual_network
        ]
        senders = [vm, *alone[:1]]

        expected = f"not {' or '.join(frontends)}, but as a standalone VM"
        yield Trial(
            vm.name,
            expected,
            (Stage(tuple(send(network, s, far) for s in senders)),),
            judge_by(partial(_as_standalone, vm=vm, frontends=frontends, network=network)),
        )


def _as_standalone(*observations: Any, vm: VirtualMachine, frontends: list[str], network: Network) -> Finding:
    contradiction = wrong_source(network, way_out(network, vm), observations[0])
    if set(sources(observations[0])) & set(frontends):
        contradiction = "seen from the frontend"
    if not contradiction and len(observations) > 1 and sources(observations[0]) != sources(observations[1]):
        contradiction = f"a standalone VM is seen from {', '.join(sources(observations[1]))}"
    return Finding(arrived(observations[0]), contradiction)
