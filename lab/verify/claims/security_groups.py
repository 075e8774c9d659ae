"""Network security groups: virtual-networks-nsg.md (2016-02-11) and its successors.

And what Outbound connections, 2017-05-31 says of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from lab.azure.model import Direction, InternetHost, Network, SecurityGroup, SecurityRule, VirtualMachine
from lab.verify.claims import health_probes
from lab.verify.claims.claim import Finding, Judge, Stage, Trial, claim
from lab.verify.claims.kit import tunnels
from lab.verify.claims.kit.cloud_service_kit import let, operated
from lab.verify.claims.kit.judges import judge_by, outcomes, refused
from lab.verify.claims.kit.nsg_oracle import (
    PROBES,
    Answer,
    Case,
    answers,
    before,
    between,
    first_of_each,
    groups,
    guarded,
    inward,
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
    Lookup,
    Members,
    Names,
    Protocol,
    Run,
    Watch,
)
from lab.verify.verdict import Judgement

_GROUPS = "virtual-networks-nsg.md (2016-02-11)"
_OUTBOUND_2017 = "Outbound connections (2017-05-31)"
#: Ports that no rule of a group names and nobody listens on, and one that web servers have.
_NOBODYS: tuple[tuple[Protocol, int], ...] = (("tcp", 47), ("udp", 47))
_WEB: tuple[tuple[Protocol, int], ...] = (("tcp", 80), *_NOBODYS)
#: So many conversations find each of two members but for one run in a billion: 2 * (1/2) ** 31.
_CONVERSATIONS = 31


# --- Outbound connections, 2017-05-31 ---------------------------------------------------------------------------------


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
    yield from health_probes.blocked(network)


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


# --- what a group is --------------------------------------------------------------------------


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


# --- what a flow is ---------------------------------------------------------------------------


@claim(
    "N-NS-5",
    f"{_GROUPS}; security-overview.md (2018-07-20)",
    "Groups are stateful: answers need no rule, and a rule that comes later does not cut a flow.",
    facts=(
        "answers need no rule",
        "a rule that comes later does not cut a flow",
        "a rule that comes later holds for new flows",
    ),
)
def groups_are_stateful(network: Network) -> Iterator[Trial]:
    yield from _answers_need_no_rule(network)
    yield from _flows_outlive_rules(network)


def _answers_need_no_rule(network: Network) -> Iterator[Trial]:
    for vm in guarded(network):
        served = [s for s in vm.services if s.kind == "http"]
        for host in network.internet:
            if not vm.instance_public_ip or not served:
                continue
            into = inward(network, host, vm, "tcp", served[0].port)
            back = outward(network, vm, host, "tcp", 40000)
            if not into.allowed or back.allowed:
                continue
            ask = Ask(client=host.name, address=into.flow.destination, port=served[0].port, kind="http", count=3)

            yield trial(f"{host.name} and {vm.name}", [into, back], ask, judge=judge_by(_answered_without_a_rule))
            return


def _answered_without_a_rule(back: Answers) -> Finding:
    silent = any(a.outcome != "answered" for a in back.answers)
    return Finding(outcomes(back), "the answers were lost" if silent else "")


def _flows_outlive_rules(network: Network) -> Iterator[Trial]:
    """Yield a flow that goes on after a rule was added that denies it, and every new one."""
    for vm in guarded(network):
        served = [s for s in vm.services if s.kind == "udp"]
        peers = [v for v in network.virtual_machines if v.virtual_network == vm.virtual_network and v != vm]
        known = [peer for peer in peers if served and between(network, peer, vm, "udp", served[0].port).allowed]
        if not known:
            continue
        name = next(iter(groups(network, vm).values()))
        address, port = str(vm.private_ip_address), served[0].port
        goes_on = Ask(client=known[0].name, address=address, port=port, kind="udp", source_port=_KEPT_PORT)
        begins = Ask(client=known[0].name, address=address, port=port, kind="udp", timeout_s=0.5)

        stages = (Stage((goes_on,)), Stage((goes_on, begins), _denying(network, name, "Udp")))
        yield Trial(
            f"{known[0].name} to {vm.name}", "goes on when a rule denies it; new ones do not begin", stages,
            judge_by(_went_on_when_denied),
        )  # fmt: skip
        return


def _went_on_when_denied(*observations: Answers) -> Finding:
    before, kept, new = (found.answers[0].outcome for found in observations)
    observed = f"before: {before}; after, the same flow: {kept}, a new one: {new}"
    if before != "answered":
        return Finding(observed, "the flow was not let begin")
    if kept != "answered":
        return Finding(observed, "the flow was cut by a rule that came after it")
    return Finding(observed, "" if new == "timeout" else "the new rule does not hold for a new flow")


#: The source port of the flow that is kept; within the range that no program is given by the system.
_KEPT_PORT = 20047


def _denying(network: Network, name: str, protocol: str) -> Network:
    """Return the network with a rule in a group, before all others, that denies a protocol inbound."""
    changed = []
    for group in network.network_security_groups:
        taken = {rule.priority for rule in group.rules if rule.direction == "Inbound"}
        moved = [
            msgspec.structs.replace(rule, priority=rule.priority + 1) if rule.direction == "Inbound" else rule
            for rule in group.rules
        ]
        rules: list[SecurityRule] = moved if 100 in taken else list(group.rules)
        first = SecurityRule(
            name="deny-from-now-on",
            priority=100,
            direction="Inbound",
            access="Deny",
            protocol=protocol,  # type: ignore[arg-type]
        )
        changed.append(SecurityGroup(name=name, rules=(*rules, first)) if group.name == name else group)
    return msgspec.structs.replace(network, network_security_groups=tuple(changed))


@claim(
    "N-NS-6",
    f"{_GROUPS}, planning: load balancers",
    "A rule is matched on the client's own address and the port at the VM, not on the load balancer's.",
    facts=("a rule names the port at the VM", "a rule names the client's own address"),
)
def rules_match_the_clients_address(network: Network) -> Iterator[Trial]:
    vms = {vm.name: vm for vm in guarded(network)}
    cases = []
    for lb in network.balancers:
        for rule in lb.inbound_nat_rules:
            if rule.virtual_machine not in vms or rule.frontend_port == rule.backend_port:
                continue
            at = (str(lb.frontend(rule.frontend).address), rule.frontend_port)
            of_rule = [
                inward(network, host, vms[rule.virtual_machine], rule.protocol, rule.backend_port, at=at)
                for host in network.internet
            ]
            by_frontend = [
                all(
                    a.allows
                    for a in answers(
                        network, vms[rule.virtual_machine], "Inbound", rule.protocol, str(host.address), at[1]
                    )
                )
                for host in network.internet
            ]
            if [case.allowed for case in of_rule] != by_frontend:
                cases += first_of_each(iter(of_rule), lambda case: case.allowed)
    if cases:
        yield trial("ports that a load balancer translates", cases)


@claim(
    "N-NS-7",
    f"{_GROUPS}, limits",
    "A subnet or VM has one group at most, a group so many rules, and the gateway subnet no group.",
    facts=(
        "a group has so many rules",
        "a region has so many groups",
        "a VM has one group",
        "the gateway subnet has no group",
        "a VM has a group or an access list",
    ),
)
def one_group_at_most(network: Network) -> Iterator[Trial]:
    if not guarded(network):
        return
    limit = 200 if before(network, "2018-07") else 1000
    rules = "".join(
        f"    - {{name: r{n}, priority: {100 + n}, direction: Inbound, access: Allow}}\n" for n in range(limit + 1)
    )
    profile = f"profile: {network.profile.name}\n"
    too_many = f"name: many\n{profile}network_security_groups:\n  g:\n{rules}"
    yield refused(too_many, f"{limit + 1} rules in a group", f"a group has at most {limit}")
    groups_of_a_region = ", ".join(f"g{number}: []" for number in range(101))
    text = f"name: many\n{profile}network_security_groups: {{{groups_of_a_region}}}\n"
    yield refused(text, "101 groups", "a region has at most 100")
    yield refused(_LIST_TOO, "a group beside the access list of an endpoint", "a VM has one or the other")
    yield refused(_TWO_GROUPS, "two groups on a VM", "a subnet or VM has at most one")
    yield refused(_ON_GATEWAY, "a group on the gateway subnet", "the gateway subnet has no")


_LIST_TOO = """\
name: both
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {vm: {subnet: v/s, network_security_group: g}}
network_security_groups: {g: []}
cloud_services:
  shop:
    virtual_machines: [vm]
    endpoints:
      - {name: web, virtual_machine: vm, local_port: 80, public_port: 80,
         acl: [{order: 1, action: deny, remote_subnet: 10.9.0.0/24}]}
"""
_TWO_GROUPS = """\
name: two
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {vm: {subnet: v/s, network_security_group: [g, h]}}
network_security_groups: {g: [], h: []}
"""
_ON_GATEWAY = """\
name: gateway
virtual_networks:
  v:
    address_space: [10.0.0.0/16]
    subnets: {GatewaySubnet: {address_prefix: 10.0.255.0/27, network_security_group: g}}
network_security_groups: {g: []}
"""


@claim(
    "N-NS-8",
    f"{_GROUPS}, planning: ICMP",
    "Rules for TCP or UDP do not touch ICMP, a rule for * does; inside a virtual network it is allowed by default.",
    facts=(
        "a rule for TCP does not touch ICMP",
        "a rule for * does",
        "ICMP is allowed inside by default",
        "no rule is for ICMP alone before 2025",
    ),
)
def tcp_and_udp_rules_leave_icmp(network: Network) -> Iterator[Trial]:
    asked = list(some(network, (("icmp", 0), ("tcp", 47))))
    by_tcp = {(case.flow.sender, case.flow.destination): case.allowed for case in asked if case.flow.protocol == "tcp"}

    def told_apart(case: Case) -> object:
        """Return how a flow inside the virtual network is treated: by the kind of rule that decides, and as TCP."""
        if not case.answers or case.flow.passes[0].kind != "VM wire" or not case.flow.ends[0].network:
            return None
        into = [answer for answer in case.answers if answer.direction == "Inbound"]
        if len(into) != 1 or not all(answer.allows for answer in case.answers if answer.direction == "Outbound"):
            return None
        protocol = into[0].matching[0].protocol if into[0].matching else "default"
        return case.flow.protocol, protocol, case.allowed, by_tcp.get((case.flow.sender, case.flow.destination))

    cases = first_of_each(iter(asked), told_apart)
    if cases:
        yield trial("ICMP and TCP inside a virtual network", cases)
        yield refused(_NAMES_ICMP, "a rule for ICMP in 2018", "a protocol is *, Tcp, Udp")


_NAMES_ICMP = """\
name: icmp
profile: 2018-12
network_security_groups: {g: [{name: r, priority: 100, direction: Inbound, access: Allow, protocol: Icmp}]}
"""


@claim(
    "N-NS-9",
    f"{_GROUPS}, special rules: the host node's address",
    "168.63.129.16 answers names to VMs whatever their groups deny.",
    facts=("168.63.129.16 answers names whatever groups deny",),
)
def platform_answers_names_past_groups(network: Network) -> Iterator[Trial]:
    for vm in guarded(network):
        for host in network.internet:
            if outward(network, vm, host, "udp", 53).allowed:
                continue
            lookup = Lookup(client=vm.name, name=host.name, server=PROBES)

            case = outward(network, vm, host, "udp", 53)
            yield trial(
                f"{vm.name} asks for {host.name}", [case], lookup, judge=judge_by(partial(_name_answered, host=host))
            )
            return


def _name_answered(names: Names, *, host: InternetHost) -> Finding:
    found = ", ".join(names.addresses)
    return Finding(f"{host.name} is {found or 'unknown'}", "" if found == str(host.address) else "no answer")


@claim(
    "N-NS-10",
    f"{_GROUPS}, sample deployment",
    "The example: a front subnet takes HTTP from the internet and RDP from itself, and sends the internet nothing.",
    facts=(
        "HTTP comes in, and no other port",
        "RDP comes in from the subnet alone",
        "nothing goes to the internet",
    ),
)
def front_subnet_of_the_example(network: Network) -> Iterator[Trial]:
    for vnet in network.virtual_networks:
        for subnet in vnet.subnets:
            group = next((g for g in network.network_security_groups if g.name == subnet.network_security_group), None)
            if group is None or not _is_the_example(group, str(subnet.address_prefix)):
                continue
            vms = [v for v in network.vms_of(vnet) if v.subnet == subnet.name and not v.network_security_group]
            reached = [v for v in vms if v.instance_public_ip]
            if not reached or len(vms) < 2 or not network.internet:
                continue
            host, vm = network.internet[0], reached[0]
            peer = next(v for v in vms if v != vm)
            yield trial(f"subnet {subnet.name}", list(_example(network, host, vm, peer)))


def _is_the_example(group: SecurityGroup, prefix: str) -> bool:
    wanted = {
        (100, "Inbound", "Allow", "Tcp", ("Internet",), "80", ()),
        (200, "Inbound", "Allow", "Tcp", (prefix,), "3389", ()),
        (300, "Inbound", "Deny", "Tcp", ("Internet",), "", ()),
        (100, "Outbound", "Deny", "*", (), "", ("Internet",)),
    }
    found = {
        (
            r.priority,
            r.direction,
            r.access,
            r.protocol,
            r.sources,
            ",".join(map(str, r.destination_ports)),
            r.destinations,
        )
        for r in group.rules
    }
    return found == wanted


def _example(network: Network, host: InternetHost, vm: VirtualMachine, peer: VirtualMachine) -> Iterable[Case]:
    """Yield what the example is there for, as it is written beside it, whatever is computed of its rules."""
    written = (
        (inward(network, host, vm, "tcp", 80), True),
        (inward(network, host, vm, "tcp", 81), False),
        (inward(network, host, vm, "tcp", 3389), False),
        (inward(network, host, vm, "udp", 80), False),
        (between(network, peer, vm, "tcp", 3389), True),
        (outward(network, vm, host, "tcp", 80), False),
        (outward(network, peer, host, "udp", 53), False),
    )
    for case, arrives in written:
        said = Answer("", "", "", "as it is written", 0, arrives, ())
        flow = msgspec.structs.replace(case.flow, awaited=arrives)
        yield msgspec.structs.replace(case, flow=flow, answers=(said,))


@claim(
    "N-NS-11",
    "load-balancer-standard-overview.md (2017-09-28)",
    "A VM of a Standard load balancer or with a Standard public IP is closed to the internet unless a group "
    "lets it in.",
    facts=("without a group a Standard load balancer's VM is closed", "a group opens it"),
)
def standard_is_closed_to_the_internet(network: Network) -> Iterator[Trial]:
    if before(network, "2017-09"):
        return
    cases = []
    for lb in network.balancers:
        for rule in lb.load_balancing_rules:
            members = [vm for vm in network.virtual_machines if vm.name in lb.pool(rule.backend_pool).members]
            served = [
                vm
                for vm in members
                if any((s.port, s.protocol) == (rule.backend_port, rule.protocol) for s in vm.services)
            ]
            if lb.sku != "Standard" or len(members) != 1 or not served or not network.internet:
                continue
            vm, host = members[0], network.internet[0]
            at = (str(lb.frontend(rule.frontend).address), rule.frontend_port)
            case = inward(network, host, vm, rule.protocol, rule.backend_port, at=at)
            if not groups(network, vm):
                closed = Answer("", "", "Inbound", "no group lets it in", 0, False, ())
                flow = msgspec.structs.replace(case.flow, awaited=False)
                cases.append(msgspec.structs.replace(case, flow=flow, answers=(closed,)))
            elif vm in guarded(network) and case.allowed:
                cases.append(case)
    cases += _ns_11_public_ips(network)
    if any(not case.allowed for case in cases):
        known = trial("pools of Standard load balancers and Standard public IPs", cases)
        # Members are sent flows once their probes have succeeded.
        yield msgspec.structs.replace(known, stages=(Stage((Health(),)), *known.stages), judge=_after_health(known))


def _ns_11_public_ips(network: Network) -> Iterator[Case]:
    """Yield flows to Standard public IPs of VMs, one of each that has a group and that has none."""
    owners = [
        vm for vm in network.virtual_machines if vm.instance_public_ip and vm.instance_public_ip.sku == "Standard"
    ]
    for vm in owners if network.internet else ():
        served = next((s.port for s in vm.services if s.protocol == "tcp"), None)
        if served is None or vm.instance_public_ip is None:
            continue
        at = (str(vm.instance_public_ip.address), served)
        case = inward(network, network.internet[0], vm, "tcp", served, at=at)
        if not groups(network, vm):
            closed = Answer("", "", "Inbound", "no group lets it in", 0, False, ())
            flow = msgspec.structs.replace(case.flow, awaited=False)
            yield msgspec.structs.replace(case, flow=flow, answers=(closed,))
        elif vm in guarded(network) and case.allowed:
            yield case


def _after_health(known: Trial) -> Judge:
    def judge(observations: Sequence[Any]) -> Judgement:
        return known.judge(observations[1:])

    return judge


CLAIMS = (
    group_restricts_outbound_flows,
    group_that_blocks_probes_marks_down,
    default_rules_end_every_group,
    tags_stand_for_addresses,
    lowest_priority_decides,
    subnet_and_vm_must_both_allow,
    groups_are_stateful,
    rules_match_the_clients_address,
    one_group_at_most,
    tcp_and_udp_rules_leave_icmp,
    platform_answers_names_past_groups,
    front_subnet_of_the_example,
    standard_is_closed_to_the_internet,
)
