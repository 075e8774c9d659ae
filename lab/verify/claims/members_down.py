"""What becomes of flows when a member, or all of them, are down."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import (
    Network,
    VirtualMachine,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import arrived, judge_by, outcomes, send, wrong_source
from lab.verify.claims.kit.nsg_oracle import PROBES, before
from lab.verify.claims.kit.oracle import (
    WayOut,
    far_host,
    way_out,
)
from lab.verify.claims.kit.probed_pools import (
    CONVERSATIONS,
    Pool,
    answering_nodes,
    ask_frontend,
    asked_rules,
    control_of,
    flow_pairs,
    have_several,
    healthy_pools,
    hear_probes,
    keep_flows,
    not_controlled,
    not_down,
    not_up,
    one_of_each_probe,
    pools_with_a_group,
    still_alive,
    told_health,
    unprobed,
    with_ended,
    with_shut_out,
)
from lab.verify.experiment import (
    SILENCE_S,
    Answers,
    Arrivals,
    Health,
    Heard,
    Members,
    ReuseFlows,
)

_PROBES = "load-balancer-custom-probe-overview.md"
_2016, _2018, _2023 = f"{_PROBES} (2016-10-24)", f"{_PROBES} (2018-09-04)", f"{_PROBES} (2023-10-10)"


@claim(
    "N-HP-12",
    "load-balancer-multivip-overview.md (2016-08-11)",
    "A probe goes to the member's own address, not to a frontend's.",
    facts=("a probe goes to the member's own address",),
)
def probe_goes_to_the_members_own_address(network: Network) -> Iterator[Trial]:
    for pool in one_of_each_probe(healthy_pools(network)):
        vm = pool.members[0]
        own = str(vm.private_ip_address)

        stage = Stage((hear_probes(network, pool, vm, 3),))
        yield Trial(
            f"{pool} of {vm.name}",
            f"probes to {own}, no frontend",
            (stage,),
            judge_by(partial(_to_its_own_address, own=own)),
        )


def _to_its_own_address(heard: Heard, *, own: str) -> Finding:
    found = sorted({knock.destination for knock in heard.knocks})
    observed = f"{len(heard.knocks)} probes to {', '.join(found) or 'nobody'}"
    others = [destination for destination in found if destination != own]
    if others:
        return Finding(observed, f"probes are sent to {', '.join(others)}")
    return not_controlled(heard) or Finding(observed, unprobed(heard))


@claim(
    "N-HP-7",
    f"{_2018}",
    "A member that is down receives no new flows, and is probed on.",
    facts=("a member that is down is sent no new flow", "it is probed on"),
)
def member_that_is_down_gets_no_new_flows(network: Network) -> Iterator[Trial]:
    for client, pool, rule in have_several(network)[:1]:
        vm = pool.members[0]
        key = pool.key(vm)
        after = (
            Health(down=(key,)),
            ask_frontend(client, pool, rule, CONVERSATIONS),
            hear_probes(network, pool, vm, 3),
        )

        expected = f"{vm.name} is sent no new flow, and asked on"
        yield Trial(
            f"{pool}",
            expected,
            (Stage(after, with_ended(network, pool, vm)),),
            judge_by(partial(_no_flow_but_probes, key=key, vm=vm)),
        )


def _no_flow_but_probes(known: Members, found: Answers, heard: Heard, *, key: str, vm: VirtualMachine) -> Finding:
    nodes = answering_nodes(found)
    observed = f"{told_health(known, (key,))}; {outcomes(found)}, by {', '.join(nodes) or 'nobody'}; "
    observed += f"{len(heard.knocks)} probes"
    if wrong := not_down(known, (key,)):
        return Finding(observed, wrong)
    if vm.name in nodes:
        return Finding(observed, f"new flows went to {vm.name}")
    if not nodes:
        return Finding(observed, doubt="no other member of the pool answers either")
    return not_controlled(heard) or Finding(observed, unprobed(heard))


@claim(
    "N-HP-8",
    f"{_2018}",
    "New flows go to healthy members only; where all are down, a frontend does not answer, not even with a reset.",
    facts=("with all members down a frontend is silent",),
)
def frontend_is_silent_without_members(network: Network) -> Iterator[Trial]:
    for client, pool, rule in asked_rules(network):
        control = control_of(network, pool)
        if control is None:
            continue
        silent = ask_frontend(client, pool, rule, 3, timeout_s=SILENCE_S)
        stage = Stage((Health(down=pool.keys), silent, control), with_ended(network, pool, *pool.members))

        expected = "no answer and no reset, while another frontend answers"
        yield Trial(f"{pool}, all down", expected, (stage,), judge_by(partial(_silent_without_members, pool=pool)))
        return


def _silent_without_members(known: Members, found: Answers, others: Answers, *, pool: Pool) -> Finding:
    observed = f"{told_health(known, pool.keys)}; {outcomes(found)}; another frontend: {outcomes(others)}"
    if wrong := not_down(known, pool.keys):
        return Finding(observed, wrong)
    if any(answer.outcome != "timeout" for answer in found.answers):
        return Finding(observed, f"a frontend whose members are all down is not silent: {outcomes(found)}")
    return _unreached(others, observed) or Finding(observed)


def _unreached(control: Answers, observed: str) -> Finding | None:
    if any(answer.outcome != "answered" for answer in control.answers):
        return Finding(observed, doubt="the other frontend does not answer either")
    return None


@claim(
    "N-HP-9",
    f"{_2018}",
    "When one member is down its established TCP flows continue; UDP flows may move to another member.",
    facts=("TCP flows of a member that is down go on", "UDP flows go on there or elsewhere"),
)
def established_flows_outlive_their_member(network: Network) -> Iterator[Trial]:
    for client, pool, rule in have_several(network):
        datagrams = pool.to("udp")
        if datagrams is None:
            continue
        vm = pool.members[0]
        key, kept = pool.key(vm), (keep_flows(client, pool, rule), keep_flows(client, pool, datagrams))
        resumed = tuple(ReuseFlows(kept=one) for one in kept)
        stages = (
            Stage((Health(up=pool.keys), *kept)),
            Stage((Health(down=(key,)), *resumed), with_ended(network, pool, vm)),
        )

        expected = f"TCP flows at {vm.name} go on when it is down; UDP flows go on, there or elsewhere"
        yield Trial(f"{pool}", expected, stages, judge_by(partial(_flows_went_on, key=key, vm=vm)))
        return


def _flows_went_on(
    _0: Members,
    streams: Answers,
    datagrams: Answers,
    known: Members,
    streams_after: Answers,
    datagrams_after: Answers,
    *,
    key: str,
    vm: VirtualMachine,
) -> Finding:
    mine = [after for one, after in flow_pairs(streams, streams_after) if one.node == vm.name]
    of_mine = [after for one, after in flow_pairs(datagrams, datagrams_after) if one.node == vm.name]
    moved = sum(after.node not in ("", vm.name) for after in of_mine)
    observed = (
        f"{told_health(known, (key,))}; TCP at {vm.name}: {len(mine)}, {still_alive(mine, vm.name)} go on; "
        f"UDP: {len(of_mine)}, {moved} moved"
    )
    if not mine or not of_mine:
        return Finding(observed, doubt=f"no flow came to {vm.name} before it was down")
    if wrong := not_down(known, (key,)):
        return Finding(observed, wrong)
    if still_alive(mine, vm.name) < len(mine):
        return Finding(observed, f"{len(mine) - still_alive(mine, vm.name)} TCP flows ended with their member's probe")
    lost = sum(not after.node for after in of_mine)
    return Finding(observed, f"{lost} UDP flows neither stayed nor moved" if lost else "")


@claim(
    "N-HP-10",
    f"{_2018}; {_2023}",
    "When all members are down, a Basic load balancer ends all TCP flows, a Standard one keeps those that are "
    "established (since 2023: if the pool has more than one member); UDP flows end on both.",
    facts=(
        "a Basic load balancer ends TCP flows when all are down",
        "a Standard one keeps them",
        "since 2023 only in a pool of several members",
        "UDP flows end",
    ),
)
def flows_when_all_members_are_down(network: Network) -> Iterator[Trial]:
    for client, pool, rule in asked_rules(network):
        datagrams, control = pool.to("udp"), control_of(network, pool)
        if datagrams is None or control is None:
            continue
        several = len(pool.members) > 1
        goes_on = pool.lb.sku == "Standard" and (several or before(network, "2023-10"))
        kept = (keep_flows(client, pool, rule), keep_flows(client, pool, datagrams))
        # What goes on is given time to answer; what has ended only needs to be heard of no more.
        resumed = (
            ReuseFlows(kept=kept[0], **({} if goes_on else {"timeout_s": SILENCE_S})),
            ReuseFlows(kept=kept[1], timeout_s=SILENCE_S),
        )
        stages = (
            Stage((Health(up=pool.keys), *kept)),
            Stage((Health(down=pool.keys), *resumed, control), with_ended(network, pool, *pool.members)),
        )

        what = f"{pool.lb.sku}, {len(pool.members)} members" if several else f"{pool.lb.sku}, one member"
        expected = f"TCP flows {'go on' if goes_on else 'end'}, UDP flows end"
        yield Trial(
            f"{pool} ({what})", expected, stages, judge_by(partial(_flows_ended_as_stated, pool=pool, goes_on=goes_on))
        )


def _flows_ended_as_stated(
    _0: Members,
    streams: Answers,
    datagrams: Answers,
    known: Members,
    streams_after: Answers,
    datagrams_after: Answers,
    others: Answers,
    *,
    pool: Pool,
    goes_on: bool,
) -> Finding:
    alive = sum(one.node == after.node != "" for one, after in flow_pairs(streams, streams_after))
    talking = sum(after.node != "" for after in datagrams_after.answers)
    opened = sum(answer.node != "" for answer in streams.answers)
    observed = (
        f"{told_health(known, pool.keys)}; TCP: {alive} of {opened} go on; "
        f"UDP: {talking} of {sum(a.node != '' for a in datagrams.answers)}"
    )
    if opened < len(streams.answers) or not all(a.node for a in datagrams.answers):
        return Finding(observed, doubt="flows were not answered before anything was done")
    if wrong := not_down(known, pool.keys):
        return Finding(observed, wrong)
    if goes_on and alive < opened:
        return Finding(observed, f"{opened - alive} TCP flows ended")
    if not goes_on and alive:
        return Finding(observed, f"{alive} TCP flows go on")
    if talking:
        return Finding(observed, f"{talking} UDP flows go on")
    return _unreached(others, observed) or Finding(observed)


@claim(
    "N-HP-11",
    _2023,
    "Outbound flows are unaffected by what probes say.",
    facts=("outbound flows have the frontend's address when the probe fails",),
)
def outbound_is_unaffected_by_probes(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for pool in healthy_pools(network)[:1]:
        vm = pool.members[0]
        way, key = way_out(network, vm, "tcp"), pool.key(vm)
        if far is None or way.kind != "frontend":
            continue
        sent = send(network, vm, far)
        stages = (
            Stage((Health(up=(key,)), sent)),
            Stage((Health(down=(key,)), sent), with_ended(network, pool, vm)),
        )

        yield Trial(
            f"{vm.name}",
            f"source {way}, up and down",
            stages,
            judge_by(partial(_source_up_and_down, key=key, way=way, network=network)),
        )


def _source_up_and_down(
    _0: Members, well: Arrivals, known: Members, ill: Arrivals, *, key: str, way: WayOut, network: Network
) -> Finding:
    observed = f"up: {arrived(well)}; {told_health(known, (key,))}: {arrived(ill)}"
    if wrong := wrong_source(network, way, well):
        return Finding(observed, f"while it is up: {wrong}")
    return Finding(observed, not_down(known, (key,)) or wrong_source(network, way, ill))


@claim(
    "N-HP-13",
    f"{_2018}",
    "A security rule that denies the probe's source or port marks a member down: a way to simulate failure.",
    facts=("a group that denies the probe marks the member down",),
)
def rule_that_denies_probes_marks_down(network: Network) -> Iterator[Trial]:
    for pool, vm in pools_with_a_group(network)[:1]:
        key = pool.key(vm)
        stages = (
            Stage((Health(up=pool.keys),)),
            Stage((Health(down=(key,)),), with_shut_out(network, pool, vm)),
            Stage((Health(up=(key,)),)),
        )

        expected = f"{key} down while a group denies {PROBES} the probe's port"
        yield Trial(vm.name, expected, stages, judge_by(partial(_down_while_denied, key=key, pool=pool)))


def _down_while_denied(well: Members, denied: Members, back: Members, *, key: str, pool: Pool) -> Finding:
    observed = f"before: {told_health(well, pool.keys)}; denied: {told_health(denied, pool.keys)}; "
    observed += f"after: {told_health(back, (key,))}"
    if not_up(well, pool.keys):
        return Finding(observed, doubt="a member is down before anything was denied")
    wrong = not_down(denied, (key,)) or not_up(denied, [k for k in pool.keys if k != key])
    return Finding(observed, wrong or not_up(back, (key,)))


CLAIMS = (
    member_that_is_down_gets_no_new_flows,
    frontend_is_silent_without_members,
    established_flows_outlive_their_member,
    flows_when_all_members_are_down,
    outbound_is_unaffected_by_probes,
    probe_goes_to_the_members_own_address,
    rule_that_denies_probes_marks_down,
)
