"""How long a flow through a load balancer may be idle, and what its ends are told.

Restated from load-balancer-tcp-idle-timeout.md (2016-10-24) and its successors.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from lab.azure.model import (
    InboundNatRule,
    Network,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.balanced_flows import FLOWS, Listening, listening_rules
from lab.verify.claims.kit.endpoint_files import service_file, set_member
from lab.verify.claims.kit.held_flows import held_trial
from lab.verify.claims.kit.idle_ends import LATE_S, not_reset_in_time, said_told
from lab.verify.claims.kit.judges import judge_by, refused
from lab.verify.claims.kit.oracle import far_client, scaled
from lab.verify.claims.kit.tunnels import fits
from lab.verify.experiment import (
    Checked,
    Goal,
    Happened,
    Health,
    HoldFlows,
    IdleFlows,
    Left,
    Members,
    Open,
    Pause,
    Run,
    Step,
    Talk,
)

_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
_RESET = "load-balancer-tcp-reset.md (2020-10-07)"
_DEFAULT_MIN = 4  # load-balancer-tcp-idle-timeout.md (2016-10-24)
_LONGEST_MIN = 12
_QUICK = 120  # times faster than the documents: four minutes are two seconds


@claim(
    "N-IT-1",
    _IDLE,
    "A rule's flows may be idle for 4 minutes, or as long as the rule says; then they end in silence.",
    facts=(
        "4 minutes where the rule names none",
        "as long as the rule says",
        "no longer",
        "in silence",
        "of an endpoint, 4 to 30 minutes",
        "of a set's members, the same",
    ),
)
def idle_flows_end_in_silence(network: Network) -> Iterator[Trial]:
    trials = list(_idle(network, listening_rules(network)))
    yield from trials
    if trials:
        yield _as_said()
    yield from _of_endpoints(network)


def _of_endpoints(network: Network) -> Iterator[Trial]:
    trials = list(_idle_endpoints(network))
    yield from trials
    if trials:
        text = service_file(
            "name: low, virtual_machine: a, local_port: 1, public_port: 1, idle_timeout_in_minutes: 3",
            "name: high, virtual_machine: a, local_port: 2, public_port: 2, idle_timeout_in_minutes: 31",
            set_member("a", ", idle_timeout_in_minutes: 15"),
            set_member("b", ""),
        )
        words = (
            "3; an idle timeout is 4 to 30 minutes",
            "31; an idle timeout is 4 to 30 minutes",
            'differs from "e" of a in idle_timeout_in_minutes',
        )
        yield fits(text, "3 minutes, 31 minutes, and those of one member", *words)
        allowed = service_file(
            "name: low, virtual_machine: a, local_port: 1, public_port: 1, idle_timeout_in_minutes: 4",
            "name: high, virtual_machine: a, local_port: 2, public_port: 2, idle_timeout_in_minutes: 30",
            set_member("a", ", idle_timeout_in_minutes: 15"),
            set_member("b", ", idle_timeout_in_minutes: 15"),
        )
        yield fits(allowed, "4 minutes, 30 minutes, and those of all members")


def _as_said() -> Trial:
    """Return a trial that a rule which names no idle timeout is played as one that names 4 minutes, and no other.

    That the minutes which a rule names are kept is seen on the wire.
    """

    def planned(*minutes: int) -> Run:
        named = f"idle_timeout_in_minutes: {minutes[0]}" if minutes else ""
        return Run(words=("plan", "{file}"), text=_LIMITS.format(profile="2016-10", rule=named, nat=named))

    stage = Stage((planned(), planned(_DEFAULT_MIN), planned(_DEFAULT_MIN + 1)))
    return Trial("rules that name no idle timeout", "as 4 minutes", (stage,), judge_by(_like_four_minutes))


def _like_four_minutes(*observations: Checked) -> Finding:
    none, four, five = observations
    failed = next((done for done in observations if done.status), None)
    if failed is not None:
        return Finding(f"exit {failed.status}: {failed.said[:200]}", "a rule was not played")
    observed = f"as 4 minutes: {none.said == four.said}; as 5 minutes: {none.said == five.said}"
    if four.said == five.said:
        return Finding(observed, "4 and 5 minutes are played alike")
    return Finding(
        observed, "" if none.said == four.said else "a rule that names no idle timeout has another one than 4 minutes"
    )


def _idle_endpoints(network: Network) -> Iterator[Trial]:
    """Yield that endpoints of cloud services keep idle flows for as long as each is told to."""
    quick = msgspec.structs.replace(network, overrides=msgspec.structs.replace(network.overrides, time_scale=_QUICK))
    alone = [found for found in listening_rules(quick, classic=True) if isinstance(found.rule, InboundNatRule)]
    for trial in _idle(quick, alone):
        yield msgspec.structs.replace(trial, stages=tuple(Stage(s.experiments, quick) for s in trial.stages))


def _idle(network: Network, listening: list[Listening]) -> Iterator[Trial]:
    client = far_client(network)
    plain = [f for f in listening if not (f.rule.tcp_reset or f.rule.floating_ip)]
    held = [f for f in plain if f.kind() == "tcp"]
    held.sort(key=lambda found: found.rule.idle_timeout_min)
    longer = [f for f in held if held[0].rule.idle_timeout_min * 2 <= f.rule.idle_timeout_min <= _LONGEST_MIN]
    if client is None or not longer:
        return
    short, long = held[0], longer[0]
    brief, length = (scaled(network, found.rule.idle_timeout_min * 60) for found in (short, long))
    opens = tuple(
        Open(goals=(Goal(found.address, found.rule.frontend_port, "tcp"),), count=FLOWS) for found in (long, short)
    )
    between = Pause(seconds=brief + min(1.0, (length - brief) / 3))
    again = Pause(seconds=length + min(0.6, length / 4))
    steps: tuple[Step, ...] = (*opens, between, Talk(lost=FLOWS), again, Talk(lost=2 * FLOWS))
    experiment = HoldFlows(client=client.name, private=str(client.address), network="", steps=steps)

    expected = (
        f"silence after {short.rule.idle_timeout_min} and {long.rule.idle_timeout_min} minutes ({brief:g} and "
        f"{length:g} s), life before"
    )
    yield held_trial(
        f"{short.name} and {long.name}", expected, experiment, partial(_idled_as_long_as_said, short=short, long=long)
    )


def _idled_as_long_as_said(steps: Sequence[Happened], *, short: Listening, long: Listening) -> Finding:
    first, second, _, then, _, after = steps
    lasting, ended = ({s.port for s in step.seen} for step in (first, second))
    alive = {s.port for s in then.seen}
    observed = (
        f"of {first.answered} and {second.answered} flows {len(alive & lasting)} and {len(alive & ended)} "
        f"were alive, and later {after.answered}"
    )
    if (first.answered, second.answered) != (FLOWS, FLOWS):
        return Finding(observed, "flows were not answered when they were opened")
    if alive & ended:
        return Finding(observed, f"{len(alive & ended)} flows outlived {short.rule.idle_timeout_min} minutes")
    if lasting - alive:
        return Finding(observed, f"{len(lasting - alive)} flows did not live for {long.rule.idle_timeout_min} minutes")
    if after.answered:
        return Finding(observed, f"{after.answered} flows outlived {long.rule.idle_timeout_min} minutes")
    if then.refused or after.refused:
        return Finding(observed, f"{then.refused + after.refused} flows ended with a reset instead of in silence")
    return Finding(observed)


_LIMITS = """
name: idle
profile: {profile}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
load_balancers:
  lb:
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{p: [vm]}}
    probes: {{alive: {{port: 80, interval_in_seconds: 15}}}}
    load_balancing_rules:
      r: {{frontend: f, backend_pool: p, probe: alive, frontend_port: 80, backend_port: 80, {rule}}}
    inbound_nat_rules:
      n: {{frontend: f, virtual_machine: vm, frontend_port: 50001, backend_port: 22, {nat}}}
"""
#: Longest idle timeout of a rule in minutes, by revision.
_LONGEST = (("2020-10", 30), ("2026-07", 100))


@claim(
    "N-IT-3",
    f"{_RESET}; load-balancer-tcp-idle-timeout.md (2025-02-12)",
    "The idle timeout of a load-balancing or inbound NAT rule is 4 to 30 minutes, from 2025-02-12 on 4 to 100.",
    facts=("4 minutes at least", "30 minutes at most", "100 minutes from 2025-02-12 on", "of both kinds of rules"),
)
def idle_timeout_is_between_bounds(network: Network) -> Iterator[Trial]:
    if not any(lb.load_balancing_rules or lb.inbound_nat_rules for lb in network.load_balancers):
        return
    for profile, longest in _LONGEST:
        for minutes, nearest in ((_DEFAULT_MIN - 1, _DEFAULT_MIN), (longest + 1, longest)):
            for rule, kind in (("rule", "load-balancing rule"), ("nat", "inbound NAT rule")):
                text, allowed = (
                    _LIMITS.format(
                        profile=profile, **({"rule": "", "nat": ""} | {rule: f"idle_timeout_in_minutes: {number}"})
                    )
                    for number in (minutes, nearest)
                )
                words = f"an idle timeout is {_DEFAULT_MIN} to {longest} minutes"
                yield refused(text, f"{minutes} minutes, {kind}, {profile}", words, allowed=allowed)


@claim(
    "N-IT-4",
    _RESET,
    "With TCP reset, both ends of an established TCP flow are sent a reset when it times out; flows that are half "
    "closed, and UDP, end in silence.",
    facts=(
        "both ends are sent a reset",
        "when the flow times out",
        "they believe it",
        "half-closed flows and UDP end in silence",
    ),
)
def tcp_reset_tells_both_ends(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    alone = [
        f for f in listening_rules(network) if len(f.vms) == 1 and f.rule.protocol == "tcp" and not f.rule.floating_ip
    ]
    # The server is the experiment's own, so that it does not close when its client does.
    free = [f for f in alone if f.rule.backend_port not in {s.port for s in f.vms[0].services}]
    for found in [f for f in free if f.rule.tcp_reset][:1]:
        if client is None or found.rule.idle_timeout_min > _LONGEST_MIN:
            continue
        idle_s = scaled(network, found.rule.idle_timeout_min * 60)
        left = IdleFlows(
            client=client.name,
            server=found.vms[0].name,
            address=found.address,
            port=found.rule.frontend_port,
            server_port=found.rule.backend_port,
            wait_s=idle_s + LATE_S,
        )
        has_udp = any(
            (f.address, f.rule.frontend_port, f.rule.protocol) == (found.address, found.rule.frontend_port, "udp")
            for f in listening_rules(network)
        )

        expected = (
            f"after {found.rule.idle_timeout_min} minutes ({idle_s:g} s) a reset to both ends that they believe; none "
            "for a flow that is half closed, nothing for UDP"
        )
        stages = (Stage((Health(), left)),)
        yield Trial(found.name, expected, stages, judge_by(partial(_both_ends_told, idle_s=idle_s, has_udp=has_udp)))


def _both_ends_told(_known: Members, left: Left, *, idle_s: float, has_udp: bool) -> Finding:
    udp, half, whole = left.flows
    observed = "; ".join(f"{flow.kind}: {said_told(flow)}" for flow in (udp, half, whole))
    for flow in (half, whole, *((udp,) if has_udp else ())):
        if not flow.answered:
            return Finding(observed, doubt=f"the {flow.kind} flow was not answered at first")
    return Finding(
        observed,
        not_reset_in_time(whole, idle_s)
        or next((f"a {flow.kind} flow was told: {flow.told[0].what}" for flow in (udp, half) if flow.told), ""),
    )


CLAIMS = (
    idle_flows_end_in_silence,
    idle_timeout_is_between_bounds,
    tcp_reset_tells_both_ends,
)
