"""A running lab as OpenMetrics, under the names and dimensions that Azure Monitor gives a load balancer's metrics.

Source: "Supported metrics for Microsoft.Network/loadBalancers" (Azure Monitor reference); a dimension or metric that is
not there says so here.
"""

from collections.abc import Iterator, Sequence

import msgspec
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from lab.deciders.snat_ports import Usage
from lab.kernel.state import GatewayState, MemberHealth, existing
from lab.runtime import snat_usage
from lab.runtime.overview import Cache

#: ``Backend``, the name of the VM, is a dimension of the lab's own, and so are all of tunnels.
_SNAT = ("FrontendIPAddress", "BackendIPAddress", "Backend", "ProtocolType")
_PROBE = ("LoadBalancer", "Probe", "BackendIPAddress", "Backend")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a lab's folder says: addresses of nodes, members of pools, gateways."""

    addresses: dict[str, str]
    health: dict[str, MemberHealth]
    gateways: dict[str, GatewayState]


def families(lab: Known, used: Sequence[Usage]) -> Iterator[Metric]:
    """Yield the metrics of a lab, by what its agent says of SNAT ports and what its folder says of probes."""
    addresses = lab.addresses
    allocated = GaugeMetricFamily("AllocatedSnatPorts", "SNAT ports that a backend may use", labels=_SNAT)
    taken = GaugeMetricFamily("UsedSnatPorts", "SNAT ports that a backend uses, one for each destination", labels=_SNAT)
    peak = GaugeMetricFamily("PeakSnatPorts", "The most that were in use in one scope", labels=_SNAT)
    fullest = GaugeMetricFamily("FullestSnatPorts", "The most in use in one scope", labels=_SNAT)
    flows = CounterMetricFamily(
        "SnatConnectionCount", "Flows, by what became of them", labels=(*_SNAT, "ConnectionState")
    )
    for usage in used:
        labels = (usage.address, addresses.get(usage.node, ""), usage.node, usage.protocol.capitalize())
        allocated.add_metric(labels, usage.allocated)
        if not (usage.given or usage.refused):  # it never used a port: of 1,000 such VMs the text is made in a third
            continue
        taken.add_metric(labels, usage.flows)
        fullest.add_metric(labels, usage.fullest)
        peak.add_metric(labels, usage.peak)
        flows.add_metric((*labels, "Successful"), usage.given)
        flows.add_metric((*labels, "Failed"), usage.refused)
    health = GaugeMetricFamily("DipAvailability", "Health probe status: 100 up, 0 down", labels=_PROBE)
    for key, member in lab.health.items():
        balancer, probe, node = key.split("/", 2)
        health.add_metric((balancer, probe, addresses.get(node, ""), node), 100.0 if member.up else 0.0)
    tunnels = GaugeMetricFamily(
        "TunnelConnected", "1: the tunnel is connected", labels=("VirtualNetwork", "LocalNetwork")
    )
    for network, gateway in lab.gateways.items():
        for site, tunnel in gateway.tunnels.items():
            tunnels.add_metric((network, site), float(tunnel.state == "Connected"))
    yield from (allocated, taken, fullest, peak, flows, health, tunnels)


class Running(Collector):
    """Asks a lab anew for each scrape."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._cache = Cache()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of now.

        Raises:
            UsageError: there is no such lab.
            InconclusiveError: its agent does not answer.

        """
        folder, _ = existing(self._name)
        used = snat_usage.usage(self._name)
        known = Known(
            addresses=self._cache.get(folder.plan_file, lambda: folder.plan().addresses()) or {},
            health=folder.health(),
            gateways=folder.tunnels(),
        )
        yield from families(known, used)

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: what a lab has is known when it is asked."""
        return iter(())
