"""Who is asked whether it may receive new flows, when it counts as down, and which flows end then.

Owns the health checks, the decision whether a member is healthy, and what becomes of the flows of those that are
not. It does no I/O: results come with the time they came at, and what ends is returned.

A probe comes from 168.63.129.16 and goes to the member's own address, whatever frontend leads there
(load-balancer-multivip-overview.md, 2016-08-11). Members without a probe always count as up.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from lab.azure.model import (
    PLATFORM_ADDRESS,
    HealthProbe,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualMachine,
    VirtualNetwork,
)
from lab.path import marks, wiring
from lab.plan import Backend, Backends, HealthCheck, Item, Provenance

#: The log of probes is written once a minute, for public load balancers of the Basic SKU and no cloud service
#: (load-balancer-monitor-log.md, 2015-12-11).
_LOG_S = 60


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the health checks and the members of all load balancers."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    for vnet in network.virtual_networks:
        for lb in network.load_balancers_of(vnet):
            for probe in lb.probes:
                yield from _checks(network, vnet, lb, probe, vms)
            for rule in lb.load_balancing_rules:
                yield _backends(network, vnet, lb, rule, vms)


def _checks(
    network: Network, vnet: VirtualNetwork, lb: LoadBalancer, probe: HealthProbe, vms: dict[str, VirtualMachine]
) -> Iterator[HealthCheck]:
    profile, scale = network.profile, network.overrides.time_scale
    interval_s = profile.probe_interval_s if probe.interval_s is None else probe.interval_s
    # A TCP probe that is not answered before the next one is sent has failed.
    timeout_s = profile.probe_http_timeout_s if probe.protocol == "Http" else interval_s
    count = probe.threshold or (probe.number_of_probes if profile.probe_threshold == "count" else 1)
    pools = [lb.pool(rule.backend_pool) for rule in lb.load_balancing_rules if rule.probe == probe.name]
    # A VM that is stopped keeps its place, and is found down as any VM that does not answer.
    for name in sorted({m for pool in pools for m in pool.members if vms[m].power_state != "Deallocated"}):
        yield HealthCheck(
            place=wiring.load_balancer(vnet),
            load_balancer=lb.name,
            probe=probe.name,
            node=name,
            protocol=probe.protocol,
            source=str(PLATFORM_ADDRESS),
            address=str(vms[name].private_ip_address),
            port=probe.port,
            request_path=probe.request_path,
            interval_s=interval_s / scale,
            timeout_s=timeout_s / scale,
            failures=count,
            successes=count,
            wrong_answer_counts=probe.protocol == "Tcp" or profile.probe_http_failure == "counts",
            why=Provenance("health_probe", f"{lb.name}/{probe.name} of {name}", profile.sources["probe_threshold"]),
        )


def _backends(
    network: Network,
    vnet: VirtualNetwork,
    lb: LoadBalancer,
    rule: LoadBalancingRule,
    vms: dict[str, VirtualMachine],
) -> Backends:
    profile = network.profile
    names = [name for name in lb.targets(rule) if vms[name].power_state != "Deallocated"]
    sku = "all_down_standard" if lb.sku == "Standard" else "all_down_basic"
    goes_on = rule.probe is not None and lb.probe(rule.probe).all_probed_up
    logged = lb.sku == "Basic" and rule.probe is not None and network.cloud_service(lb.name) is None
    return Backends(
        place=wiring.load_balancer(vnet),
        address=str(lb.frontend(rule.frontend).address),
        port=rule.frontend_port,
        protocol=rule.protocol,
        members=tuple(
            Backend(
                name,
                str(vms[name].private_ip_address),
                f"{lb.name}/{rule.probe}/{name}" if rule.probe else "",
                marks.to_vm(vms[name]) if rule.floating_ip else 0,
            )
            for name in names
        ),
        ends_tcp=not goes_on and profile.all_down(lb.sku, len(names)),
        resource=wiring.resource_id(network, vnet, "loadBalancers", lb.name),
        log_s=_LOG_S / network.overrides.time_scale if logged else 0.0,
        marked_at=wiring.router(vnet) if rule.floating_ip else "",
        why=Provenance("health_probe", f"{lb.name}/{rule.name}", profile.sources[sku]),
    )


# --- who is down ------------------------------------------------------------------------------


class Result(msgspec.Struct, frozen=True):
    """What came of one probe, and why if it failed."""

    kind: Literal["success", "wrong answer", "silence"]
    why: str = ""


class Health(msgspec.Struct, frozen=True):
    """What is known of one member.

    A member is down until its first probe succeeds. It goes down after ``failures`` failures in a row, or at once by
    a wrong answer where that suffices; once taken out, it comes back after ``successes`` successes in a row, so one
    that flaps waits longer.
    """

    up: bool = False
    judged: bool = False
    taken_out: bool = False
    contrary: int = 0  # results in a row that speak against what is known
    since_s: float = 0.0
    reason: str = "not probed yet"

    def after(self, result: Result, check: HealthCheck, now_s: float) -> "Health":
        """Return the state after one probe; time in seconds."""
        return self._success(check, now_s) if result.kind == "success" else self._failure(result, check, now_s)

    def _success(self, check: HealthCheck, now_s: float) -> "Health":
        contrary = self.contrary + 1
        if self.up:
            since_s = self.since_s
        elif self.taken_out and contrary < check.successes:
            reason = f"answers again, {contrary} of {check.successes} times in a row"
            return msgspec.structs.replace(self, contrary=contrary, reason=reason)
        else:
            since_s = now_s
        return Health(up=True, judged=True, since_s=since_s, reason="answers its probe")

    def _failure(self, result: Result, check: HealthCheck, now_s: float) -> "Health":
        contrary = self.contrary + 1
        enough = contrary >= check.failures or (result.kind == "wrong answer" and not check.wrong_answer_counts)
        if self.up and not enough:
            return msgspec.structs.replace(self, contrary=contrary, reason=result.why)
        since_s = self.since_s if self.judged and not self.up else now_s
        return Health(judged=True, taken_out=self.up or self.taken_out, since_s=since_s, reason=result.why)


# --- what ends --------------------------------------------------------------------------------


class Ending(msgspec.Struct, frozen=True):
    """Flows that end: those to a public address and port that one member has, or all of them.

    A member's flows are told by who answers or, with floating IP, by their mark.
    """

    place: str
    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    member: str | None = None
    mark: int = 0


def endings(backends: Sequence[Backends], before: Mapping[str, bool], after: Mapping[str, bool]) -> Iterator[Ending]:
    """Yield what ends when members come to be as in ``after``: whether each that was judged is up, by its check.

    UDP flows of a member that goes down end there: the next datagram goes to another one, if there is any. Its
    established TCP flows go on, unless all members are down and the load balancer ends them.
    """
    for item in backends:
        down = [m for m in item.members if not after.get(m.check, True)]
        newly = [m for m in down if before.get(m.check, True)]
        if item.protocol == "udp":
            yield from (_of_member(item, member) for member in newly)
        elif newly and len(down) == len(item.members) and item.ends_tcp:
            yield Ending(item.place, "tcp", item.address, item.port)


def _of_member(item: Backends, member: Backend) -> Ending:
    """Return the end of all flows of one member."""
    if item.marked_at:
        return Ending(item.marked_at, item.protocol, item.address, item.port, mark=member.mark)
    return Ending(item.place, item.protocol, item.address, item.port, member.address)
