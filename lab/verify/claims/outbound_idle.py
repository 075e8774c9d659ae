"""load-balancer-outbound-rules-overview.md and outbound-rules.md: how long flows of an outbound rule may be idle."""

from collections.abc import Iterator
from functools import partial

import msgspec

from lab.azure.model import Network, OutboundRule, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import occupy, of_protocol, opened, several_goals, wrong_number
from lab.verify.claims.kit.idle_ends import LATE_S, not_reset_in_time, said_told
from lab.verify.claims.kit.judges import judge_by, refused
from lab.verify.claims.kit.oracle import far_host, outbound_rules, scaled, speaking_freely, way_out
from lab.verify.experiment import Happened, IdleFlows, Left, Occupied, Open, Pause, Talk

_OVERVIEW = "load-balancer-outbound-rules-overview.md (2018-09-24), outbound flow idle timeout"
_RULES = "outbound-rules.md (2024-04-11)"
_KNOWN = ("2018-12", "2019-05", "2020-06", "2020-10", "2022-03", "2026-07")
_LONG = ("2020-06", "2020-10", "2022-03", "2026-07")  # 4 to 120 minutes
_DEFAULT_MIN, _LONGEST_MIN = 4, 12
#: Times faster than the documents while flows are idle: four minutes are a second.
_QUICK = 240
_FEW = 2
_PORT = 15_001  # that nothing listens on


def _of_tcp(network: Network) -> list[tuple[VirtualMachine, OutboundRule]]:
    """Return the VMs whose TCP flows one outbound rule translates, with the rule."""
    found = []
    for vm in speaking_freely(network):
        rules = [rule for _, rule in outbound_rules(network, vm.name) if "tcp" in rule.protocols]
        if way_out(network, vm, "tcp").kind == "rule" and len(rules) == 1:
            found.append((vm, rules[0]))
    return found


@claim(
    "T-OR-15",
    f"{_OVERVIEW}, TCP reset; {_RULES}",
    "An outbound rule's TCP flows may be idle for 4 minutes, or as long as it says, 4 to 120; then they end in silence "
    "or, with TCP reset, with a reset to both ends.",
    profiles=_LONG,
    facts=(
        "4 minutes where the rule names none",
        "as long as the rule says",
        "with TCP reset both ends are told",
        "without it they end in silence",
        "other values are refused",
    ),
)
def idle_flow_ends_as_its_rule_says(network: Network) -> Iterator[Trial]:
    """Leave flows of two rules alone, side by side: one of 4 minutes, and one of more that has TCP reset."""
    quick = msgspec.structs.replace(network, overrides=msgspec.structs.replace(network.overrides, time_scale=_QUICK))
    plain = [vm for vm, rule in _of_tcp(quick) if rule.idle_timeout_min == _DEFAULT_MIN and not rule.tcp_reset]
    told = [(vm, rule) for vm, rule in _of_tcp(quick) if rule.tcp_reset]
    told = [(vm, rule) for vm, rule in told if 2 * _DEFAULT_MIN < rule.idle_timeout_min <= _LONGEST_MIN]
    goals = next((found[:1] for _, offered in several_goals(quick) if (found := of_protocol(offered, "tcp"))), ())
    far = far_host(quick)
    if plain and told and goals and far is not None:
        idle = scaled(quick, _DEFAULT_MIN * 60)
        steps = (Open(goals=goals, count=_FEW), Pause(seconds=idle / 2), Talk(), Pause(seconds=2 * idle))
        vm, rule = told[0]
        longer = scaled(quick, rule.idle_timeout_min * 60)
        left = IdleFlows(
            client=vm.name,
            server=far.name,
            address=str(far.address),
            port=_PORT,
            server_port=_PORT,
            wait_s=longer + LATE_S,
        )
        expected = (
            f"{plain[0].name}: silence after {_DEFAULT_MIN} minutes ({idle:g} s); {vm.name}: after "
            f"{rule.idle_timeout_min} minutes ({longer:g} s) a reset to both ends"
        )
        experiments = (occupy(quick, plain[0], *steps, Talk(lost=_FEW)), left)
        stages = (Stage(experiments, quick),)
        yield Trial(f"{plain[0].name} and {vm.name}", expected, stages, judge_by(partial(_ended, longer=longer)))
    if _of_tcp(network):
        for minutes, nearest in ((3, 4), (121, 120)):
            words = "an idle timeout is 4 to 120 minutes"
            yield refused(_file("2020-10", minutes), f"{minutes} minutes", words, allowed=_file("2020-10", nearest))


def _ended(held: Occupied, left: Left, *, longer: float) -> Finding:
    first, _, alive, _, dead = held.steps
    whole = next(flow for flow in left.flows if flow.kind == "tcp")
    others = [flow for flow in left.flows if flow.kind != "tcp"]
    observed = f"by default: {opened(alive)}, then {opened(dead)}; with TCP reset: {said_told(whole)}"
    if not whole.answered:
        return Finding(observed, doubt="the flow was not answered at first")
    wrong = wrong_number(first, _FEW) or _silence(alive, dead) or not_reset_in_time(whole, longer)
    more = next((f"a {flow.kind} flow was told: {flow.told[0].what}" for flow in others if flow.told), "")
    return Finding(observed, wrong or more)


def _silence(alive: Happened, dead: Happened) -> str:
    if alive.answered != _FEW:
        return f"{_FEW - alive.answered} flows ended within {_DEFAULT_MIN} minutes"
    if dead.answered:
        return f"{dead.answered} flows outlived {_DEFAULT_MIN} minutes"
    return f"{dead.refused} flows ended with a reset instead of in silence" if dead.refused else ""


@claim(
    "N-OR-2",
    _OVERVIEW,
    "The idle timeout of an outbound rule is 4 to 66 minutes (2018-09).",
    profiles=_KNOWN,
    facts=("other values are refused",),
)
def idle_timeout_was_4_to_66_minutes(network: Network) -> Iterator[Trial]:
    for minutes, nearest in ((3, 4), (67, 66)) if _of_tcp(network) else ():
        words = "an idle timeout is 4 to 66 minutes"
        yield refused(_file("2018-12", minutes), f"{minutes} minutes", words, allowed=_file("2018-12", nearest))


def _file(profile: str, minutes: int) -> str:
    return f"""\
name: chosen
profile: {profile}
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
load_balancers:
  lb:
    sku: Standard
    frontend_ip_configurations: {{f: 40.1.1.1}}
    backend_address_pools: {{p: [vm]}}
    outbound_rules:
      out: {{frontends: [f], backend_pool: p, idle_timeout_in_minutes: {minutes}}}
"""


CLAIMS = (idle_timeout_was_4_to_66_minutes, idle_flow_ends_as_its_rule_says)
