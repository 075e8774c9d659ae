"""The documents that predictions name beside those of a revision's values: by title and date."""

OUTBOUND = "Outbound connections (2017-05-31)"
SOURCE_IP = "Source IP of outbound flows (2018-12-11)"
ENDPOINTS = "Multiple VIPs (2015-07-23)"
TUNNELS = "VNet to VNet connection (2015-05-15)"
PLATFORM = "load-balancer-custom-probe-overview.md (2016-10-24)"
INTERFACES = "virtual-networks-multiple-nics.md (2016-02-02)"
IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
