"""What network security groups do to flows: answers, load balancers, ICMP, the platform, Standard SKUs."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from lab.azure.model import InternetHost, Network, SecurityGroup, SecurityRule, VirtualMachine
from lab.verify.claims.claim import Finding, Judge, Stage, Trial, claim
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
)
from lab.verify.experiment import (
    Answers,
    Ask,
    Health,
    Lookup,
    Names,
)
from lab.verify.verdict import Judgement

_GROUPS = "virtual-networks-nsg.md (2016-02-11)"


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
    groups_are_stateful,
    rules_match_the_clients_address,
    one_group_at_most,
    tcp_and_udp_rules_leave_icmp,
    platform_answers_names_past_groups,
    front_subnet_of_the_example,
    standard_is_closed_to_the_internet,
)
