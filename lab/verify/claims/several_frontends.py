"""Several frontends of one load balancer, and floating IP.

Restated from load-balancer-multivip-overview.md (2016-08-11).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address

import msgspec

from lab.azure.model import (
    BackendPool,
    Frontend,
    InboundNatRule,
    InternetHost,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualIp,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.balanced_flows import (
    FLOWS,
    PORTS,
    Listening,
    all_rules,
    arrived_at,
    closed_to_nobody,
    conversations_with,
    from_one_client,
    gone_astray,
    listening_rules,
    said_shares,
    sweep_to,
    unheard,
    with_balancer,
)
from lab.verify.claims.kit.cloud_service_kit import (
    Reached,
    alone,
    command,
    failed_command,
    nodes,
    operated,
    reached,
    show,
    silent,
    vips,
    vips_beside,
)
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, outcomes, refused
from lab.verify.claims.kit.oracle import far_client, far_host, speaking_freely
from lab.verify.claims.kit.sampling import sample
from lab.verify.experiment import (
    ANSWER_S,
    SILENCE_S,
    Answers,
    Arrivals,
    Ask,
    Checked,
    Counted,
    Flow,
    Health,
    Members,
    Observation,
    Protocol,
    PublicAddresses,
    Send,
    Sweep,
    Swept,
    Watch,
)

_SEVERAL = "load-balancer-multivip-overview.md (2016-08-11)"


def _right(found: Listening, members: Members, answers: Answers) -> str:
    """Return what contradicts that a rule's VMs answered, at its port, "" if nothing does."""
    for answer in answers.answers:
        if answer.outcome != "answered":
            return f"{found.name}: {answer.outcome}"
        if answer.node not in found.up(members):
            return f"{found.name} was answered by {answer.node}"
        if answer.server_port != found.rule.backend_port:
            return f"{found.name} ended at port {answer.server_port} instead of {found.rule.backend_port}"
    return ""


def _reached(found: Listening, answers: Answers) -> str:
    """Say where the flows of a rule ended."""
    ports = sorted({answer.server_port for answer in answers.answers if answer.outcome == "answered"})
    where = f"{found.address} {found.rule.protocol} {found.rule.frontend_port}"
    return f"{where}: {'port ' + ', '.join(map(str, ports)) if ports else outcomes(answers)}"


def _several(network: Network) -> Iterator[tuple[LoadBalancer, list[Listening]]]:
    """Yield the load balancers with several frontends, and those of their rules that say whom they saw."""
    for lb in network.load_balancers:
        found = [f for f in listening_rules(network) if f.lb is lb and f.kind() and f.works]
        if len({f.rule.frontend for f in found}) > 1:
            yield lb, found


@claim(
    "N-MV-1",
    _SEVERAL,
    "A frontend is an address, a protocol and a port; a rule leads it to an address and port of a VM, and where "
    "there is no rule there is silence.",
    facts=(
        "the address is part of a frontend",
        "the port is part of a frontend",
        "the protocol is part of a frontend",
        "a rule leads to its address and port of a VM",
    ),
)
def frontend_is_address_protocol_and_port(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for lb, asked in _several(network):
        if client is None:
            continue
        taken = {(r.frontend, r.protocol, r.frontend_port) for r in all_rules(lb)}
        addresses = {f.rule.frontend: f.address for f in asked}
        used = {(protocol, port) for _, protocol, port in taken}
        free = [
            (address, protocol, port)
            for name, address in addresses.items()
            for protocol, port in sorted(used)
            if (name, protocol, port) not in taken
        ]
        home = asked[0].vms[0].virtual_network
        nodes = {vm.name: Watch("node", vm.name, vm.virtual_network) for f in asked for vm in f.vms}
        silence = Sweep(
            flows=tuple(
                Flow(
                    sender=client.name,
                    private=str(client.address),
                    destination=address,
                    protocol=protocol,
                    port=port,
                    passes=(Watch("edge", home),),
                    ends=tuple(nodes.values()),
                    awaited=False,
                )
                for address, protocol, port in free
            )
        )
        asks = tuple(conversations_with(client, found, PORTS) for found in asked)

        expected = f"{len(asked)} rules lead to a VM and port each; {len(free)} combinations without one are silent"
        stages = (Stage((Health(), silence, *asks)),)
        yield Trial(lb.name, expected, stages, judge_by(partial(_led_or_silent, asked=asked, free=free)))


def _led_or_silent(
    members: Members,
    swept: Swept,
    *answers: Answers,
    asked: list[Listening],
    free: Sequence[tuple[str, Protocol, int]],
) -> Finding:
    observed = "; ".join(_reached(f, a) for f, a in zip(asked, answers, strict=True))
    observed += f"; {len(free)} others: {said_shares(arrived_at(swept))}"
    doubt = unheard([swept])
    came = [where for where, end in zip(free, arrived_at(swept), strict=True) if end]
    if came:
        return Finding(observed, f"{came[0][0]} {came[0][1]} {came[0][2]} leads to a VM without a rule")
    if doubt:
        return Finding(observed, doubt=doubt)
    wrong = (_right(f, members, a) for f, a in zip(asked, answers, strict=True))
    return Finding(observed, next((text for text in wrong if text), ""))


@claim(
    "N-MV-2",
    f"{_SEVERAL}, rule type 1",
    "Rules of two frontends lead the same port to different ports of the same VM.",
    facts=("one port of two frontends leads to two ports of a VM",),
)
def frontends_lead_one_port_to_different_ports(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for _, found in _several(network):
        pairs = [
            (one, other)
            for index, one in enumerate(found)
            for other in found[index + 1 :]
            if (one.rule.protocol, one.rule.frontend_port) == (other.rule.protocol, other.rule.frontend_port)
            and one.rule.frontend != other.rule.frontend
            and one.vms == other.vms
            and not (one.rule.floating_ip or other.rule.floating_ip)
        ]
        for pair in sorted(pairs, key=lambda pair: pair[0].rule.frontend_port)[:1]:
            if client is None:
                continue

            ports = " and ".join(str(f.rule.backend_port) for f in pair)
            expected = f"port {pair[0].rule.frontend_port} of two frontends ends at ports {ports} of one VM"
            asks = tuple(conversations_with(client, f, PORTS) for f in pair)
            subject = " and ".join(f.name for f in pair)
            yield Trial(
                subject, expected, (Stage((Health(), *asks)),), judge_by(partial(_led_to_different_ports, pair=pair))
            )


def _led_to_different_ports(members: Members, *answers: Answers, pair: tuple[Listening, Listening]) -> Finding:
    observed = "; ".join(_reached(f, a) for f, a in zip(pair, answers, strict=True))
    wrong = (_right(f, members, a) for f, a in zip(pair, answers, strict=True))
    return Finding(observed, next((text for text in wrong if text), ""))


_TWICE = """
name: twice
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {vm: {subnet: v/s}}
load_balancers:
  lb:
    frontend_ip_configurations: {f: 40.1.1.1, g: 40.1.1.2}
    backend_address_pools: {p: [vm]}
    probes: {alive: {port: 80, interval_in_seconds: 15}}
    load_balancing_rules:
      one: {frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80}
      two: {frontend: g, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80}
"""


@claim(
    "N-MV-3",
    _SEVERAL,
    "Every rule needs its own address and port at the VM.",
    facts=("two rules to one port of a VM are refused",),
)
def rule_needs_a_port_of_its_own(network: Network) -> Iterator[Trial]:
    if any(lb.load_balancing_rules for lb in network.load_balancers):
        what = "two rules that end at one VM and port"
        yield refused(_TWICE, what, "every rule needs its own port at the VM")


@claim(
    "N-MV-4",
    f"{_SEVERAL}, rule type 2",
    "With floating IP the destination stays the frontend's: a VM that has the address on a loopback interface "
    "answers, one that has not is silent.",
    facts=(
        "the destination stays the frontend's",
        "a VM with the address answers",
        "a VM without the address is silent",
    ),
)
def floating_ip_keeps_the_destination(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    floating = [f for f in listening_rules(network) if f.rule.floating_ip and f.kind() and client]
    for found in floating:
        if client is None or not (found.owned or _owned_by_none(found)):
            continue
        count = sample(len(found.vms)) if len(found.vms) > 1 else PORTS
        sweep = sweep_to(client, found, from_one_client(client, count))
        ask = conversations_with(client, found, PORTS, ANSWER_S if found.owned else SILENCE_S)

        means = "VMs have it, and answer" if found.owned else "VMs do not have it, and are silent"
        expected = f"flows arrive for {found.address}:{found.rule.frontend_port}; {means}"
        yield Trial(
            found.name,
            expected,
            (Stage((Health(), sweep, ask)),),
            judge_by(partial(_arrived_for_the_frontend, found=found)),
        )


def _arrived_for_the_frontend(members: Members, swept: Swept, answers: Answers, *, found: Listening) -> Finding:
    there = f"{found.address}:{found.rule.frontend_port}"
    seen = sorted({p.destination for p in swept.passages if p.end})
    observed = f"arrived for {', '.join(seen) or 'nobody'}; {outcomes(answers)}"
    doubt = unheard([swept])
    if doubt:
        return Finding(observed, doubt=doubt)
    wrong = gone_astray(found, members, [swept])
    if not wrong and seen != [there]:
        wrong = f"flows arrived for {', '.join(s for s in seen if s != there)} instead of {there}"
    for answer in answers.answers:
        at = f"{answer.server_address}:{answer.server_port}"
        if not wrong and (answer.outcome == "answered") != found.owned:
            wrong = f"{answer.outcome}, and the VM {'has' if found.owned else 'does not have'} the address"
        if not wrong and answer.outcome == "answered" and at != there:
            wrong = f"the server was spoken to as {at} instead of {there}"
    return Finding(observed, wrong)


def _owned_by_none(found: Listening) -> bool:
    return not any(IPv4Address(found.address) in vm.loopback_addresses for vm in found.vms)


@claim(
    "N-MV-5",
    f"{_SEVERAL}, limitations",
    "What a VM sends from a frontend's address of its own accord is not translated and does not leave.",
    facts=(
        "what is sent from the frontend's address does not leave",
        "what is sent from the VM's own address leaves",
    ),
)
def nothing_leaves_from_a_frontends_address(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    speaking = {vm.name for vm in speaking_freely(network)}
    for vm in [v for v in network.virtual_machines if v.loopback_addresses and v.name in speaking][:1]:
        if far is None:
            continue
        watches = (Watch("public wire", vm.virtual_network), Watch("node", far.name))
        sends = tuple(
            Send(
                sender=vm.name,
                private=source,
                destination=str(far.address),
                protocol=protocol,
                count=FLOWS,
                watches=watches,
                lost=0 if source == str(vm.private_ip_address) else FLOWS,
                untranslated=source != str(vm.private_ip_address),  # it is a public address, and never a stray
            )
            for source in (str(vm.loopback_addresses[0]), str(vm.private_ip_address))
            for protocol in ("tcp", "udp")
        )

        expected = f"nothing from {vm.loopback_addresses[0]} leaves; from {vm.private_ip_address} all arrive"
        yield Trial(vm.name, expected, (Stage(sends),), judge_by(_stayed_inside))


def _stayed_inside(*observations: Arrivals) -> Finding:
    *bound, tcp, udp = observations
    observed = f"bound to the frontend: {arrived(bound[0])}; not bound: {arrived(tcp)}"
    if any(one.seen[0] or one.seen[-1] for one in bound):
        return Finding(observed, "flows bound to the frontend's address left")
    lost = sum(one.sent - len(one.seen[-1]) for one in (tcp, udp))
    return Finding(observed, f"{lost} flows from the VM's own address did not arrive" if lost else "")


_TIED_PORT = 4000


@claim(
    "N-MV-6",
    "note on dynamic public addresses of load balancers (2018-11-09)",
    "A dynamic public frontend has an address only while a rule of either kind leads it to a VM.",
    facts=(
        "without a rule a dynamic frontend has no address",
        "a load-balancing rule gives it one",
        "an inbound NAT rule gives it one",
        "a VIP without endpoints has no address",
    ),
)
def dynamic_frontend_has_an_address_while_ruled(network: Network) -> Iterator[Trial]:
    client, let_in = far_client(network), closed_to_nobody(network)
    for lb in network.load_balancers:
        bare = [f for f in lb.frontends if f.dynamic and not any(r.frontend == f.name for r in all_rules(lb))]
        pools = [p for p in lb.pools if p.members and let_in.issuperset(p.members)]
        if client is None or not bare or not pools or not lb.probes:
            continue
        yield _tied_trial(network, client, lb, bare[0], pools[0])
    yield from _vip_while_used(network)


def _tied_trial(
    network: Network, client: InternetHost, lb: LoadBalancer, frontend: Frontend, pool: BackendPool
) -> Trial:
    vms = [vm for vm in network.virtual_machines if vm.name in pool.members]
    home, address = vms[0].virtual_network, str(frontend.address)
    ports = {"name": "tied", "frontend": frontend.name, "frontend_port": _TIED_PORT, "backend_port": _TIED_PORT}
    rule = LoadBalancingRule(
        **ports,  # type: ignore[arg-type]
        protocol="tcp",
        backend_pool=pool.name,
        probe=lb.probes[0].name,
        load_distribution="Default",
        idle_timeout_min=4,
    )
    nat = InboundNatRule(**ports, protocol="tcp", virtual_machine=vms[0].name)  # type: ignore[arg-type]
    by_rule = with_balancer(network, lb, load_balancing_rules=(*lb.load_balancing_rules, rule))
    by_nat = with_balancer(network, lb, inbound_nat_rules=(*lb.inbound_nat_rules, nat))

    def flows(*ends: Watch, awaited: bool) -> Sweep:
        flow = Flow(
            sender=client.name,
            private=str(client.address),
            destination=address,
            protocol="tcp",
            port=_TIED_PORT,
            passes=(Watch("host wire", client.name),),
            ends=ends,
            awaited=awaited,
        )
        return Sweep(flows=(flow,) * FLOWS)

    # Without an address nothing comes to the virtual network; with it, flows come to a VM.
    without = (Health(), Counted(), flows(Watch("edge", home), awaited=False))
    tied = (Health(), Counted(), flows(*(Watch("node", vm.name, home) for vm in vms), awaited=True))
    states: tuple[tuple[str, Network | None, bool], ...] = (
        ("no rule", None, False),
        ("a load-balancing rule", by_rule, True),
        ("an inbound NAT rule", by_nat, True),
        ("no rule", None, False),
    )

    expected = "an address with a rule of either kind that leads to a VM, and none without"
    stages = tuple(Stage(tied if has else without, state) for _, state, has in states)
    return Trial(
        f"{lb.name}/{frontend.name}",
        expected,
        stages,
        judge_by(partial(_address_while_tied, states=states, address=address)),
    )


def _address_while_tied(
    *observations: Observation, states: tuple[tuple[str, Network | None, bool], ...], address: str
) -> Finding:
    shown, swept = of_type(observations, PublicAddresses), of_type(observations, Swept)
    said, wrong = [], ""
    for (what, _, has), counted, one in zip(states, shown, swept, strict=True):
        listed, came = address in counted.addresses, sum(bool(end) for end in arrived_at(one))
        said.append(f"{what}: {address if listed else 'no address'}, {came} of {FLOWS} flows came")
        if not wrong and listed != has:
            wrong = f"with {what} the frontend has {'an' if listed else 'no'} address"
        if not wrong and came != (FLOWS if has else 0):
            wrong = f"with {what} {came} flows came in"
    if not wrong and (doubt := unheard(swept)):
        return Finding("; ".join(said), doubt=doubt)
    return Finding("; ".join(said), wrong)


def _vip_while_used(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one in alone(reached(network)):
        vip = next(v for v in one.service.virtual_ips if v.name == one.endpoint.virtual_ip)
        if client is None or vip not in vips_beside(one.service) or vip.reserved_ip is not None:
            continue
        flow = msgspec.structs.replace(
            one.flow(client),
            passes=(Watch("host wire", client.name),),
            ends=(Watch("edge", one.vms[0].virtual_network),),
        )
        yield _tied(network, one, vip, one.ask(client.name), silent(flow))
        return


def _tied(network: Network, one: Reached, vip: VirtualIp, ask: Ask, lost: Sweep) -> Trial:
    using = [e for e in one.service.endpoints if e.virtual_ip == vip.name]
    taken = tuple(command("endpoint", "remove", e.virtual_machine, e.name) for e in using)
    expected = f"{vip.address} with endpoints, no address and no way there without"
    # A network of its own, though equal, has the endpoints given back before the second stage.
    again = Stage((ask,), msgspec.structs.replace(network))
    stages = (operated(ask, *taken, show(one.service), lost), again)
    judge = partial(_address_while_used, one=one, vip=vip)
    return Trial(f"{vip.name} of {one.service.name}", expected, stages, judge_by(judge))


def _address_while_used(*observations: Observation, one: Reached, vip: VirtualIp) -> Finding:
    before, after = of_type(observations, Answers)
    *removed, shown = of_type(observations, Checked)
    (swept,) = of_type(observations, Swept)
    came = "something came" if swept.passages[0].end else "nothing came"
    known = vips(shown).get(vip.name, {}).get("Address", "not shown")
    observed = f"{nodes(before)[0]}; without endpoints {known or 'no address'}, {came}; with them {nodes(after)[0]}"
    wrong = one.wrong(before) or failed_command(*removed)
    wrong = wrong or (f"without endpoints its address is {known}" if known else "")
    wrong = wrong or ("its address still leads somewhere" if swept.passages[0].end else "") or one.wrong(after)
    if not wrong and not swept.passages[0].passed:
        return Finding(observed, doubt="the client sent nothing")
    return Finding(observed, wrong)


CLAIMS = (
    frontend_is_address_protocol_and_port,
    frontends_lead_one_port_to_different_ports,
    rule_needs_a_port_of_its_own,
    floating_ip_keeps_the_destination,
    nothing_leaves_from_a_frontends_address,
    dynamic_frontend_has_an_address_while_ruled,
)
