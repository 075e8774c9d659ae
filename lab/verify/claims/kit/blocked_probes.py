"""Members whose probes a security group blocks."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import (
    Network,
    VirtualMachine,
)
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.log_records import probe_records
from lab.verify.claims.kit.oracle import (
    scaled,
)
from lab.verify.claims.kit.probed_pools import (
    CONVERSATIONS,
    PATIENCE_S,
    answering_nodes,
    ask_frontend,
    flow_pairs,
    frontend_of,
    have_several,
    keep_flows,
    not_down,
    pools_with_a_group,
    still_alive,
    told_health,
    with_shut_out,
)
from lab.verify.experiment import (
    Answers,
    Health,
    Logged,
    Members,
    ProbeLog,
    ReuseFlows,
)


def probes_blocked(network: Network) -> Iterator[Trial]:
    """Yield the half of S2-16 that is about the load balancer: what is logged, and what becomes of flows."""
    for pool, vm in pools_with_a_group(network):
        found = [(client, rule) for client, other, rule in have_several(network) if other == pool]
        if not found or pool.lb.sku != "Basic":
            continue
        (client, rule), key = found[0], pool.key(vm)
        kept = keep_flows(client, pool, rule)
        log = ProbeLog(records=1, deadline_s=4 * scaled(network, 60) + PATIENCE_S)
        after = (Health(down=(key,)), ReuseFlows(kept=kept), ask_frontend(client, pool, rule, CONVERSATIONS), log)
        stages = (Stage((Health(up=pool.keys), log, kept)), Stage(after, with_shut_out(network, pool, vm)))
        at = frontend_of(pool, rule)

        expected = f"{vm.name} down, dipDownCount one more, no new flow to it; established ones go on"
        yield Trial(
            f"{pool} of {vm.name}",
            expected,
            stages,
            judge_by(partial(_marked_down_and_passed_by, key=key, vm=vm, at=at)),
        )
        return


def _marked_down_and_passed_by(
    _0: Members,
    logged: Logged,
    opened: Answers,
    known: Members,
    resumed: Answers,
    new: Answers,
    logged_after: Logged,
    *,
    key: str,
    vm: VirtualMachine,
    at: tuple[str, int],
) -> Finding:
    mine = [later for one, later in flow_pairs(opened, resumed) if one.node == vm.name]
    counts = [_counted_down(text, at) for text in (logged, logged_after)]
    nodes = answering_nodes(new)
    observed = (
        f"{told_health(known, (key,))}; dipDownCount {counts[0]}, then {counts[1]}; "
        f"new flows by {', '.join(nodes) or 'nobody'}; {still_alive(mine, vm.name)} of {len(mine)} flows go on"
    )
    if not mine:
        return Finding(observed, doubt=f"no flow came to {vm.name} before it was blocked")
    wrong = not_down(known, (key,))
    if not wrong and not nodes:
        return Finding(observed, doubt="no other member of the pool answers either")
    if not wrong and vm.name in nodes:
        wrong = f"new flows went to {vm.name}"
    if not wrong and still_alive(mine, vm.name) < len(mine):
        wrong = f"{len(mine) - still_alive(mine, vm.name)} established flows ended"
    if not wrong and (counts[0] is None or counts[1] != counts[0] + 1):
        wrong = f"dipDownCount went from {counts[0]} to {counts[1]}"
    return Finding(observed, wrong)


def _counted_down(logged: Logged, at: tuple[str, int]) -> int | None:
    """Return the last dipDownCount of a frontend's port."""
    found = [
        record["properties"]["dipDownCount"]
        for record in probe_records(logged.text)
        if (record["properties"]["publicIpAddress"], record["properties"]["port"]) == (at[0], str(at[1]))
    ]
    return found[-1] if found else None
