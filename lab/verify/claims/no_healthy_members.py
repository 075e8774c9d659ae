"""Rules without a probe, members that count as up, and what is told of them."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from lab.azure.model import (
    Network,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.held_flows import held_trial, kept, occupy, several_goals
from lab.verify.claims.kit.judges import judge_by, outcomes, refused
from lab.verify.claims.kit.nsg_oracle import before
from lab.verify.claims.kit.oracle import (
    far_client,
    ports_each,
    scaled,
    sole_frontend,
    way_out,
)
from lab.verify.claims.kit.probed_pools import (
    CONVERSATIONS,
    Pool,
    answering_nodes,
    ask_frontend,
    asked_rules,
    frontend_of,
    healthy_pools,
    is_let_in,
    listens_at,
    not_down,
    told_health,
    turning_trial,
    with_ended,
)
from lab.verify.claims.kit.tunnels import fits
from lab.verify.experiment import (
    SILENCE_S,
    Answers,
    Ask,
    Checked,
    CheckFile,
    Happened,
    Health,
    Members,
    Pause,
    Run,
    ShowEvents,
)

_PROBES = "load-balancer-custom-probe-overview.md"
_2016, _2018, _2023 = f"{_PROBES} (2016-10-24)", f"{_PROBES} (2018-09-04)", f"{_PROBES} (2023-10-10)"
_NO_PROBE = """\
name: no-probe
profile: {profile}
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{vm: {{subnet: v/s}}}}
load_balancers:
  lb:
    frontend_ip_configurations: {{public: 192.0.2.1}}
    backend_address_pools: {{pool: [vm]}}
    load_balancing_rules:
      web: {{frontend: public, backend_pool: pool, protocol: Tcp, frontend_port: 80, backend_port: 80}}
"""


@claim(
    "N-HP-14",
    _2023,
    "Only the portal insists on a probe: a rule without one is accepted, and its members always count as up.",
    facts=(
        "a rule without a probe is accepted",
        "its members count as up",
        "the portal of 2018 insists on a probe",
    ),
)
def only_the_portal_insists_on_a_probe(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    if before(network, "2023-10") or client is None:
        return
    for lb in network.load_balancers:
        for rule in lb.load_balancing_rules:
            members = [vm for vm in network.virtual_machines if vm.name in lb.pool(rule.backend_pool).members]
            idle = [vm.name for vm in members if not listens_at(vm, rule.backend_port)]
            reached = all(is_let_in(network, vm, str(client.address), "tcp", rule.backend_port) for vm in members)
            if (
                rule.probe is not None
                or rule.protocol != "tcp"
                or not reached
                or len(idle) not in range(1, len(members))
            ):
                continue
            ask = Ask(
                client=client.name,
                address=str(lb.frontend(rule.frontend).address),
                port=rule.frontend_port,
                kind="connect",
                count=CONVERSATIONS,
            )

            expected = f"new flows go to {', '.join(idle)} too, where nobody listens"
            yield Trial(
                f"{lb.name}/{rule.name}", expected, (Stage((ask,)),), judge_by(partial(_counted_as_up, idle=idle))
            )
            yield _accepted(network)
            text = _NO_PROBE.format(profile="2018-12")
            yield refused(text, "a rule without a probe, as in the portal of 2018", "no probe")
            return


def _counted_as_up(*observations: Answers, idle: Sequence[str]) -> Finding:
    found = {answer.outcome for answer in observations[0].answers}
    wrong = f"no new flow went to {', '.join(idle)}" if "refused" not in found else ""
    if "answered" not in found:
        wrong = "no new flow went to a member that listens"
    return Finding(outcomes(observations[0]), wrong)


_HEALTH_KEYS = [
    *("TimeGenerated", "HealthEventType", "Severity", "FrontendIP", "Description", "LoadBalancerResourceId"),
    "operationName",
]
_USAGE = 0.75  # of a VM's ports
_FEW_PORTS = 128  # more flows than this are held elsewhere


def _health_events(records: Sequence[dict[str, Any]], kind: str, severity: str, address: str) -> list[dict[str, Any]]:
    """Return the well-formed records of a kind about a frontend."""
    return [
        record
        for record in records
        if (record.get("HealthEventType"), record.get("Severity"), record.get("FrontendIP"))
        == (kind, severity, address)
        and [key for key in record if key != "lab"] == _HEALTH_KEYS
        and record["operationName"] == "LoadBalancerHealthEvent"
    ]


@claim(
    "N-ML-5",
    "load-balancer-health-event-logs.md (2024-05-21)",
    "Health events tell of SNAT ports that are exhausted, of more than 75 % of them in use, and of a frontend "
    "without a healthy member.",
    facts=(
        "more than 75 % of the ports is high usage",
        "high usage is a warning",
        "exhaustion is critical",
        "the last member that goes down is told",
        "no other member's going down is",
        "it has the keys of the document",
    ),
)
def health_events_tell_of_ports_and_members(network: Network) -> Iterator[Trial]:
    yield from _snat_events(network)
    events = Run(words=("events", "{lab}", "-o", "json"))
    for client, pool, rule in asked_rules(network)[:1]:
        address, _ = frontend_of(pool, rule)
        silent = ask_frontend(client, pool, rule, 1, timeout_s=SILENCE_S)
        one_left = with_ended(network, pool, *pool.members[1:])
        stages = (
            Stage((Health(up=pool.keys), events)),
            Stage((Health(down=pool.keys[1:]), events), one_left),
            Stage((Health(down=pool.keys), silent, events), with_ended(network, pool, *pool.members)),
        )

        expected = f"NoHealthyBackends, Critical, of {address} when its last member is down, and not before"
        yield Trial(
            f"{pool}, all down", expected, stages, judge_by(partial(_told_of_members, pool=pool, address=address))
        )


def _told_of_members(
    _0: Members,
    before: Checked,
    _2: Members,
    less: Checked,
    known: Members,
    found: Answers,
    after: Checked,
    *,
    pool: Pool,
    address: str,
) -> Finding:
    told = [
        len(_health_events(json.loads(done.said)["records"], "NoHealthyBackends", "Critical", address))
        for done in (before, less, after)
    ]
    observed = f"{told_health(known, pool.keys)}; {outcomes(found)}; NoHealthyBackends: {told}"
    wrong = not_down(known, pool.keys)
    if not wrong and told[1] > told[0]:
        wrong = "NoHealthyBackends is told while a member answers"
    return Finding(observed, wrong or ("" if told[2] > told[1] else "no NoHealthyBackends is told of the frontend"))


def _snat_events(network: Network) -> Iterator[Trial]:
    hosts = several_goals(network)
    found = [(vm, ports) for vm in sole_frontend(network) if (ports := ports_each(network, vm)) is not None]
    for vm, ports in [(vm, ports) for vm, ports in found if ports <= _FEW_PORTS][:1]:
        if not hosts or len(way_out(network, vm).addresses) != 1:
            continue
        goals, few = hosts[0][1][:1], 4
        (address,) = way_out(network, vm).addresses
        upto = int(ports * _USAGE)
        steps = (
            Pause(seconds=scaled(network, 300) + 0.1),  # whatever was told before is over
            *(ShowEvents(), kept(network, goals, upto), ShowEvents()),
            *(kept(network, goals, 1), ShowEvents()),
            *(kept(network, goals, ports - upto - 1), kept(network, goals, few, lost=few), ShowEvents()),
        )

        expected = f"HighSnatPortUsage with flow {upto + 1} of {ports}, SnatPortExhaustion with flow {ports + 1}"
        yield held_trial(vm.name, expected, occupy(network, vm, *steps), partial(_told_of_ports, address=address))


def _told_of_ports(steps: Sequence[Happened], *, address: str) -> Finding:
    shown = [happened.records for happened in (steps[1], steps[3], steps[5], steps[8])]
    high, none = (
        [len(_health_events(records, *kind, address)) for records in shown]
        for kind in (("HighSnatPortUsage", "Warning"), ("SnatPortExhaustion", "Critical"))
    )
    observed = f"HighSnatPortUsage: {high}; SnatPortExhaustion: {none}"
    if high[1] > high[0] or none[2] > none[0]:
        return Finding(observed, "an event is told too early")
    if high[2] == high[1]:
        return Finding(observed, "high usage is not told")
    return Finding(observed, "" if none[3] > none[2] else "exhaustion is not told")


_LATER = """\
name: later
profile: 2018-12
load_balancers:
  lb:
    frontend_ip_configurations: {f: 192.0.2.1}
    probes: {p: {port: 80, probe_threshold: 2}, q: {port: 80, no_healthy_backends_behavior: AllProbedUp}}
"""


@claim(
    "N-HP-15",
    "Load Balancer Probes, REST API (2024-01-01)",
    "probeThreshold is how many results in a row take a member out and bring it back; with "
    "noHealthyBackendsBehavior AllProbedUp new flows go to all members where none answers.",
    facts=(
        "so many failures in a row take a member out",
        "so many successes in a row bring it back",
        "with AllProbedUp flows go to all members where none answers",
        "revisions before do not have it",
    ),
)
def threshold_and_all_probed_up(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for pool in healthy_pools(network, later=True):
        threshold, rule = pool.probe.threshold, pool.to("tcp")
        if threshold is None or client is None or rule is None:
            continue
        yield turning_trial(network, pool, threshold, threshold)
        asked = ask_frontend(client, pool, rule, CONVERSATIONS)
        stage = Stage((Health(down=pool.keys), asked), with_ended(network, pool, *pool.members))

        if pool.probe.all_probed_up:
            yield Trial(
                f"{pool}, all down", "new flows to all members", (stage,), judge_by(partial(_all_answer, pool=pool))
            )
        words = ("probe_threshold in the revision 2018-12", "no_healthy_backends_behavior in the revision 2018-12")
        yield fits(_LATER, "these properties in 2018", *words)
        return


def _all_answer(known: Members, found: Answers, *, pool: Pool) -> Finding:
    idle = [vm.name for vm in pool.members if vm.name not in answering_nodes(found)]
    observed = f"{told_health(known, pool.keys)}; {outcomes(found)}, by {', '.join(answering_nodes(found)) or 'nobody'}"
    wrong = not_down(known, pool.keys)
    return Finding(observed, wrong or (f"no new flow went to {', '.join(idle)}" if idle else ""))


def _accepted(network: Network) -> Trial:

    file = CheckFile(text=_NO_PROBE.format(profile=network.profile.name))
    return Trial("a rule without a probe", "accepted, exit 0", (Stage((file,)),), judge_by(_file_accepted))


def _file_accepted(done: Checked) -> Finding:
    return Finding(f"exit {done.status}: {done.said}", "" if done.status == 0 else "a rule without a probe is refused")


CLAIMS = (
    only_the_portal_insists_on_a_probe,
    threshold_and_all_probed_up,
    health_events_tell_of_ports_and_members,
)
