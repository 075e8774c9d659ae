"""A running lab as OpenMetrics, under the names and dimensions that Azure Monitor gives a load balancer's metrics.

Source: "Supported metrics for Microsoft.Network/loadBalancers" (Azure Monitor reference); a dimension or metric that is
not there says so here.
"""

from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from lab.deciders.snat_ports import Usage
from lab.runtime import show, snat_usage
from lab.runtime.show import Lab

#: ``Backend``, the name of the VM, is a dimension of the lab's own, and so are all of tunnels.
_SNAT = ("FrontendIPAddress", "BackendIPAddress", "Backend", "ProtocolType")
_PROBE = ("LoadBalancer", "Probe", "BackendIPAddress", "Backend")


def families(lab: Lab, used: Sequence[Usage]) -> Iterator[Metric]:
    """Yield the metrics of a lab, by what its agent says of SNAT ports and what its record says of probes."""
    addresses = {node.name: node.address for node in lab.nodes}
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
        taken.add_metric(labels, usage.flows)
        fullest.add_metric(labels, usage.fullest)
        peak.add_metric(labels, usage.peak)
        flows.add_metric((*labels, "Successful"), usage.given)
        flows.add_metric((*labels, "Failed"), usage.refused)
    health = GaugeMetricFamily("DipAvailability", "Health probe status: 100 up, 0 down", labels=_PROBE)
    for node in lab.nodes:
        for key, member in node.health.items():
            balancer, probe, _ = key.split("/", 2)
            health.add_metric((balancer, probe, node.address, node.name), 100.0 if member.up else 0.0)
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

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of now.

        Raises:
            UsageError: there is no such lab.
            InconclusiveError: its agent does not answer.

        """
        yield from families(show.describe(self._name), snat_usage.usage(self._name))

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: what a lab has is known when it is asked."""
        return iter(())
