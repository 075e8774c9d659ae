"""Services with several VIPs, as claims see them."""

from lab.azure.model import CloudService, Network, VirtualIp
from lab.verify.claims.claim import Finding
from lab.verify.claims.kit.balanced_flows import unheard
from lab.verify.claims.kit.cloud_service_kit import (
    of_machines,
)
from lab.verify.experiment import (
    Swept,
)

VIPS_2015 = "Multiple VIPs (2015-07-23)"
#: Most VIPs of a service (virtual-network-ip-addresses-overview-classic.md, 2016-02-11).
MOST_VIPS = 5
NEW_VIP = "VipOfATrial"


def with_several_vips(network: Network) -> list[CloudService]:
    """Return the services of virtual machines with more than one VIP."""
    return [service for service in of_machines(network) if len(service.virtual_ips) > 1]


def with_room_for_a_vip(network: Network) -> list[CloudService]:
    """Return those of them that may have one VIP more."""
    return [service for service in with_several_vips(network) if len(service.virtual_ips) < MOST_VIPS]


def doubted(swept: Swept, observed: str, wrong: str) -> Finding:
    """Return what was observed and what contradicts it, unless the silence of a sweep tells nothing."""
    doubt = "" if wrong else unheard([swept])
    return Finding(observed, wrong, doubt)


def came_anyway(swept: Swept) -> str:
    """Return what contradicts that nothing arrived, "" if nothing does."""
    ends = sorted({passage.end for passage in swept.passages if passage.end})
    return f"flows that no endpoint takes arrived at {', '.join(ends)}" if ends else ""


def default_vip(service: CloudService) -> VirtualIp:
    """Return the VIP that the service's name leads to."""
    return next(vip for vip in service.virtual_ips if vip.name == service.default_virtual_ip)
