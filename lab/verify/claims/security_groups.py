"""What a network security group is: default rules, tags, priorities, where it is associated."""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from lab.azure.model import Direction, Network, SecurityGroup, SecurityRule
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit import tunnels
from lab.verify.claims.kit.blocked_probes import probes_blocked
from lab.verify.claims.kit.cloud_service_kit import let, operated
from lab.verify.claims.kit.judges import judge_by, outcomes, refused
from lab.verify.claims.kit.nsg_oracle import (
    PROBES,
    Case,
    answers,
    before,
    first_of_each,
    groups,
    guarded,
    outward,
    some,
    trial,
    two_of_each,
)
from lab.verify.claims.kit.oracle import far_client
from lab.verify.experiment import (
    SILENCE_S,
    Answers,
    Ask,
    Checked,
    Health,
    Members,
    Protocol,
    Run,
    Watch,
)

_GROUPS = "virtual-networks-nsg.md (2016-02-11)"
_OUTBOUND_2017 = "Outbound connections (2017-05-31)"
#: Ports that no rule of a group names and nobody listens on, and one that web servers have.
_NOBODYS: tuple[tuple[Protocol, int], ...] = (("tcp", 47), ("udp", 47))
_WEB: tuple[tuple[Protocol, int], ...] = (("tcp", 80), *_NOBODYS)
#: So many conversations find each of two members but for one run in a billion: 2 * (1/2) ** 31.
_CONVERSATIONS = 31


@claim(
    "S2-15",
    f"{_OUTBOUND_2017}, SNAT and security groups",
    "A network security group can forbid outbound flows, or restrict where they may go.",
    facts=("a group forbids all outbound flows", "a group forbids some destinations, and no others"),
)
def group_restricts_outbound_flows(network: Network) -> Iterator[Trial]:
    """One VM that a rule forbids everything, and one that it forbids some destinations."""
    found: dict[bool, Trial] = {}
    for vm in two_of_each(guarded(network)):
        cases = [outward(network, vm, host, "tcp", 443) for host in network.internet]
        denied = [case for case in cases if not case.allowed and not case.answers[-1].default]
        others = [v for v in two_of_each(network.virtual_machines) if v.virtual_network == vm.virtual_network]
        controls = [outward(network, other, host, "tcp", 443) for other in others for host in network.internet]
        allowed = [case for case in (*cases, *controls) if case.allowed][:1]
        if denied and allowed:
            # Seen anywhere outside, it has left; the control shows that the capture of the public wire sees.
            wire = Watch("public wire", vm.virtual_network)
            watched = [
                msgspec.structs.replace(
                    case, target=wire.name, flow=msgspec.structs.replace(case.flow, ends=(wire, *case.flow.ends))
                )
                for case in (*denied, *allowed)
            ]
            found.setdefault(len(denied) == len(cases), trial(vm.name, watched))
    yield from found.values()


@claim(
    "S2-16",
    f"{_OUTBOUND_2017}, SNAT and security groups",
    "A group that blocks AZURE_LOADBALANCER blocks the VM's probes: it is marked down and sent no new flows.",
    facts=(
        "a group that blocks the probe takes the VM down",
        "a VM that is down is sent no new flow",
        "dipDownCount is one more",
        "established flows go on",
    ),
)
def group_that_blocks_probes_marks_down(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    vms = {vm.name: vm for vm in guarded(network)}
    for lb in network.balancers:
        for rule in lb.load_balancing_rules:
            probe = next((p for p in lb.probes if p.name == rule.probe), None)
            members = lb.pool(rule.backend_pool).members
            blocked = {
                name
                for name in members
                if probe is not None
                and name in vms
                and not all(a.allows for a in answers(network, vms[name], "Inbound", "tcp", PROBES, probe.port))
            }
            if not blocked or blocked == {*members} or client is None or rule.protocol != "tcp" or probe is None:
                continue
            keys = {f"{lb.name}/{probe.name}/{name}": name for name in blocked}
            ask = Ask(
                client=client.name,
                address=str(lb.frontend(rule.frontend).address),
                port=rule.frontend_port,
                kind="http",
                count=_CONVERSATIONS,
            )

            expected = f"{', '.join(sorted(blocked))} down, and sent no new flow"
            yield Trial(
                f"{lb.name}/{rule.name}",
                expected,
                (Stage((Health(), ask)),),
                judge_by(partial(_down_and_unanswered, keys=keys)),
            )
    yield from probes_blocked(network)


def _down_and_unanswered(known: Members, answered: Answers, *, keys: dict[str, str]) -> Finding:
    nodes = sorted({a.node for a in answered.answers if a.node})
    observed = f"down: {', '.join(known.down) or 'nobody'}; {outcomes(answered)}, by {', '.join(nodes) or 'nobody'}"
    probed = [key for key in keys if key not in known.down]
    if probed:
        return Finding(observed, f"the probe of {', '.join(probed)} succeeds")
    if not nodes:
        return Finding(observed, doubt="no other member of the pool answers either")
    wrong = sorted(set(nodes) & set(keys.values()))
    return Finding(observed, f"new flows went to {', '.join(wrong)}" if wrong else "")


@claim(
    "N-NS-1",
    f"{_GROUPS}, default rules",
    "Every group ends with default rules: the virtual network and probes in, the virtual network and the internet "
    "out, nothing else. They cannot be removed.",
    facts=(
        "the virtual network is let in by default",
        "probes are let in by default",
        "the virtual network is let out by default",
        "the internet is let out by default",
        "nothing else is let in by default",
        "the default rules have the names of the revision",
        "default rules cannot be removed",
        "the refusal of their removal says why",
    ),
)
def default_rules_end_every_group(network: Network) -> Iterator[Trial]:
    def by_defaults(case: Case) -> object:
        if not case.answers or not all(answer.default for answer in case.answers):
            return None
        return case.answers[-1].rule, case.answers[-1].direction

    cases = first_of_each(some(network, _NOBODYS), by_defaults)
    probed = [key for key, by_default in _probes_that_pass(network) if by_default]
    if cases:
        judge = judge_by(partial(_probed, wanted=probed))
        yield trial("flows that no rule of a user's concerns", cases, Health(up=tuple(probed)), judge=judge)
    names = _default_names(network)
    for vm in guarded(network)[:1]:
        group = next(iter(groups(network, vm).values()))
        listed = Run(words=("nsg", "rule", "list", "{lab}", group))
        removals = tuple(Run(words=("nsg", "rule", "remove", "{lab}", group, name)) for name in names[2::3])

        expected = f"{', '.join(names)}: listed; the last of each direction is not removed"
        yield Trial(
            group,
            expected,
            (operated(listed, *removals, listed),),
            judge_by(partial(_listed_and_not_removed, names=names)),
        )


def _listed_and_not_removed(*observations: Checked, names: tuple[str, ...]) -> Finding:
    shown, *removed, after = observations
    places = [shown.said.find(name) for name in names]
    observed = f"listed: {', '.join(name for name, at in zip(names, places, strict=True) if at >= 0)}"
    if -1 in places or places != sorted(places):
        return Finding(observed, f"{', '.join(names)} are not all listed, in this order")
    done_to = zip(names[2::3], removed, strict=True)
    wrong = (let(done, f"the removal of {name}", "cannot be removed") for name, done in done_to)
    return Finding(
        observed, next(filter(None, wrong), "") or ("" if after.said == shown.said else "the list has changed")
    )


def _default_names(network: Network) -> tuple[str, ...]:
    """Return the default rules of a group, in the order in which they are asked."""
    if before(network, "2018-07"):
        inbound = ("ALLOW VNET INBOUND", "ALLOW AZURE LOAD BALANCER INBOUND", "DENY ALL INBOUND")
        return (*inbound, "ALLOW VNET OUTBOUND", "ALLOW INTERNET OUTBOUND", "DENY ALL OUTBOUND")
    inbound = ("AllowVnetInBound", "AllowAzureLoadBalancerInBound", "DenyAllInbound")
    return (*inbound, "AllowVnetOutBound", "AllowInternetOutBound", "DenyAllOutBound")


def _probed(known: Members, *, wanted: Sequence[str]) -> Finding:
    lost = [key for key in wanted if key not in known.up]
    return Finding(f"up: {', '.join(known.up) or 'nobody'}", f"the probe of {', '.join(lost)} fails" if lost else "")


@claim(
    "N-NS-2",
    f"{_GROUPS}, default tags",
    "Tags stand for the virtual network's space, for where probes come from, and for all that is outside.",
    facts=(
        "VirtualNetwork is the network's own space",
        "VirtualNetwork is connected networks too",
        "VirtualNetwork is connected local sites too",
        "AzureLoadBalancer is where probes come from",
        "Internet is all that is outside",
        "Internet is nothing that is inside",
    ),
)
def tags_stand_for_addresses(network: Network) -> Iterator[Trial]:
    def by_side(case: Case) -> object:
        """Return where the other end of a flow is, which way it goes, whether it must arrive, and by which rules."""
        inside = case.flow.passes[0].kind == "VM wire" and bool(case.flow.ends[0].network)
        last = case.answers[-1] if case.answers else None
        return (inside, case.allowed, last.direction, last.default) if last else None

    cases = first_of_each(some(network, _WEB), by_side)
    probed = [key for key, _ in _probes_that_pass(network)]
    if cases:
        judge = judge_by(partial(_probed, wanted=probed))
        yield trial("flows inside and outside", cases, Health(), judge=judge)
    few = len(network.connections) <= _FEW_TUNNELS
    found = [pair for pair in tunnels.pairs(network) if few and not pair.policy_based]  # those may rest
    # A virtual network at the other end, and a device.
    for pairs in ([p for p in found if p.far_network], [p for p in found if not p.far_network]):
        for pair in pairs[:1]:
            yield _connected(network, pair)


#: A trial that changes the network disturbs all tunnels of it; networks with more of them are left alone.
_FEW_TUNNELS = 4


def _connected(network: Network, pair: tunnels.Pair) -> Trial:
    """Return a trial that a connected network is inside, for a group that closes its VM to the internet both ways."""
    denials = tuple(
        SecurityRule(
            name=f"no-internet-{way}".lower(),
            priority=100,
            direction=way,
            access="Deny",
            protocol="*",
            **{ends: ("Internet",)},  # type: ignore[arg-type]
        )
        for way, ends in _ENDS.items()
    )
    group = SecurityGroup(name="inside-only", rules=denials)
    vms = tuple(
        msgspec.structs.replace(vm, network_security_group=group.name) if vm.name == pair.near.node else vm
        for vm in network.virtual_machines
    )
    closed = msgspec.structs.replace(
        network, virtual_machines=vms, network_security_groups=(*network.network_security_groups, group)
    )
    back = Ask(client=pair.far.node, address=str(pair.near.address), port=80, kind="http")
    hosts = [host for host in network.internet if any(s.kind == "http" for s in host.services)]
    outside = tuple(
        Ask(client=pair.near.node, address=str(host.address), port=80, kind="http", timeout_s=SILENCE_S)
        for host in hosts[:1]
    )

    expected = f"{pair.far.node} is reached and reaches by the rules for VirtualNetwork; the internet is not"
    stages = (Stage((pair.there,)), Stage((pair.there, back, *outside), closed))
    return Trial(
        f"{pair.near.node}, across the tunnel to {pair.site.name}",
        expected,
        stages,
        judge_by(partial(_inside_across_the_tunnel, pair=pair)),
    )


def _inside_across_the_tunnel(
    before: Answers, out: Answers, into: Answers, *denied: Answers, pair: tunnels.Pair
) -> Finding:
    observed = f"before: {outcomes(before)}; out: {outcomes(out)}; in: {outcomes(into)}"
    observed += "".join(f"; to the internet: {outcomes(one)}" for one in denied)
    wrong = pair.reached(before) or pair.reached(out)
    if not wrong and into.answers[0].outcome != "answered":
        wrong = f"{pair.near.node} is not reached from the connected network ({outcomes(into)})"
    reached = any(answer.outcome == "answered" for one in denied for answer in one.answers)
    return Finding(observed, wrong or ("the internet counts as the virtual network" if reached else ""))


#: Where a rule of each direction names the other end.
_ENDS: dict[Direction, str] = {"Inbound": "sources", "Outbound": "destinations"}


def _probes_that_pass(network: Network) -> Iterator[tuple[str, bool]]:
    """Yield the members of pools that have a group, a server for their probe, and no rule against it.

    With each whether only default rules let its probe in.
    """
    vms = {vm.name: vm for vm in guarded(network)}
    for lb in network.balancers:
        for rule in lb.load_balancing_rules:
            probe = next((p for p in lb.probes if p.name == rule.probe), None)
            for name in lb.pool(rule.backend_pool).members:
                if probe is None or name not in vms:
                    continue
                serves = any(s.port == probe.port and s.kind == "http" for s in vms[name].services)
                asked = answers(network, vms[name], "Inbound", "tcp", PROBES, probe.port)
                if serves and all(answer.allows for answer in asked):
                    yield f"{lb.name}/{probe.name}/{name}", all(answer.default for answer in asked)


@claim(
    "N-NS-3",
    f"{_GROUPS}, rules",
    "Of the rules that match a flow the one with the lowest priority number decides; a number is used once in a "
    "direction.",
    facts=("the lowest priority decides", "a priority is used once in a direction"),
)
def lowest_priority_decides(network: Network) -> Iterator[Trial]:
    def contested(case: Case) -> object:
        for answer in case.answers:
            if len({rule.access for rule in answer.matching}) > 1:
                return "several match", answer.group, answer.rule
        return None

    cases = first_of_each(some(network, _WEB), contested)
    losers = {rule.name for case in cases for answer in case.answers for rule in answer.matching[1:]}

    def alone(case: Case) -> object:
        last = case.answers[-1] if case.answers else None
        return last.rule if last and last.rule in losers and len(last.matching) == 1 else None

    if cases:
        yield trial("flows that several rules match", [*cases, *first_of_each(some(network, _WEB), alone)])
        yield refused(_TWO_OF_ONE_PRIORITY, "two rules of one priority", "is also the priority of")


_TWO_OF_ONE_PRIORITY = """\
name: twice
network_security_groups:
  g:
    - {name: a, priority: 100, direction: Inbound, access: Allow}
    - {name: b, priority: 100, direction: Inbound, access: Deny}
"""


@claim(
    "N-NS-4",
    f"{_GROUPS}, associating groups",
    "A flow passes the groups of the subnet and of the VM; both must allow it.",
    facts=(
        "the subnet's group must allow a flow into a VM",
        "the VM's group must allow a flow into it",
        "the VM's group must allow a flow out of it",
        "the subnet's group must allow a flow out of a VM",
    ),
)
def subnet_and_vm_must_both_allow(network: Network) -> Iterator[Trial]:
    def of_both(case: Case) -> object:
        for direction in ("Inbound", "Outbound"):
            mine = [answer for answer in case.answers if answer.direction == direction]
            rest = [answer for answer in case.answers if answer.direction != direction]
            if len(mine) == 2 and all(answer.allows for answer in rest):
                return direction, tuple(answer.allows for answer in mine)
        return None

    services: tuple[tuple[Protocol, int], ...] = (("tcp", 80), ("tcp", 1433), *_NOBODYS)
    cases = first_of_each(some(network, services), of_both)
    if cases:
        yield trial("VMs with a group of their own in a subnet with one", cases)


CLAIMS = (
    group_restricts_outbound_flows,
    group_that_blocks_probes_marks_down,
    default_rules_end_every_group,
    tags_stand_for_addresses,
    lowest_priority_decides,
    subnet_and_vm_must_both_allow,
)
