"""Which members are asked whether they may receive new flows, how, and what they are members of.

Owns the health checks, and the lists of the members that may receive new flows. ``deciders/health`` decides which of
them are down, and which flows end then.

A probe comes from 168.63.129.16 and goes to the member's own address, whatever frontend leads there
(load-balancer-multivip-overview.md, 2016-08-11). Members without a probe always count as up.
"""

from collections.abc import Iterator

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
    private = lb.is_private(rule)
    logged = lb.sku == "Basic" and rule.probe is not None and network.cloud_service(lb.name) is None
    return Backends(
        # Where the flows are tracked.
        place=wiring.router(vnet) if private else wiring.load_balancer(vnet),
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
        log_s=_LOG_S / network.overrides.time_scale if logged and not private else 0.0,
        marked_at=wiring.router(vnet) if rule.floating_ip else "",
        why=Provenance("health_probe", f"{lb.name}/{rule.name}", profile.sources[sku]),
    )
