"""Documents as people know them: by title and date."""

import re

_TITLES = {
    "000": "Multiple VIPs per cloud service",
    "001": "Source IP of outbound connections of VMs behind an Azure load balancer",
    "002": "Understanding outbound connections in Azure",
    "003": "Configure a VNet-to-VNet connection",
    "004": "Instance-level public IP (classic) addresses",
}
OUTBOUND = "Understanding outbound connections in Azure (2017-05-31)"
SOURCE_IP = "Source IP of outbound connections of VMs behind an Azure load balancer (2018-12-11)"
ENDPOINTS = "Multiple VIPs per cloud service (2015-07-23)"
TUNNELS = "Configure a VNet-to-VNet connection (2015-05-15)"
GROUPS = "virtual-networks-nsg.md (2016-02-11)"
PLATFORM = "load-balancer-custom-probe-overview.md (2016-10-24)"
INTERFACES = "virtual-networks-multiple-nics.md (2016-02-02)"
IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"


def cited(source: str) -> str:
    """Return a source with the titles of the documents that it numbers."""
    return re.sub(r"seed (00\d)", lambda found: _TITLES[found[1]], source)
