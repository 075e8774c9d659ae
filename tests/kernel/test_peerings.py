"""Peerings beside groups, forwarded traffic and the gateway of a peer, and their switches in a lab that runs."""

from pathlib import Path

import pytest

from tests import rootlab

pytestmark = pytest.mark.root

TOPOLOGY = """\
name: x-peerings
profile: 2022-03
virtual_networks:
  hub:
    address_space: [10.0.0.0/16]
    subnets: {s: 10.0.0.0/24, GatewaySubnet: 10.0.255.0/27}
    peerings:
      to-spoke: {remote_virtual_network: spoke, allow_gateway_transit: true, allow_forwarded_traffic: true}
  spoke:
    address_space: [10.1.0.0/16]
    subnets: {s: 10.1.0.0/24}
    peerings: {to-hub: {remote_virtual_network: hub, use_remote_gateways: true}}
virtual_machines:
  h: {subnet: hub/s, services: [http:80], network_security_group: web}
  s: {subnet: spoke/s, services: [http:80]}
network_security_groups:
  web:
    - {name: no-8080, priority: 100, direction: Outbound, access: Deny, protocol: Tcp,
       destination_address_prefix: VirtualNetwork, destination_port_range: 8080}
vpn_gateways: {hub: {routing: dynamic}}
local_networks:
  site:
    address_space: [192.168.9.0/24]
    vpn_gateway_address: 203.0.113.9
    vpn_device: {private_ip_address: 192.168.9.9, services: [http:80]}
connections: [{virtual_network: hub, local_network: site, shared_key: abc123}]
"""


def _answered(lab: str, node: str, address: str) -> bool:
    words = ("curl", "-sf", "-m", "1", "--retry", "0", f"http://{address}/")
    return rootlab.run("exec", lab, node, "--", *words).returncode == 0


def test_a_peering_carries_what_its_halves_allow(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, TOPOLOGY) as lab:
        done = rootlab.run("nsg", "matrix", lab, "--service", "80/tcp", "--service", "8080/tcp")
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [line.split() for line in done.stdout.splitlines()]
        assert ["h", "s", "allow", "deny"] in rows
        assert ["s", "h", "allow", "allow"] in rows
        assert _answered(lab, "s", "192.168.9.9")  # by the gateway of the hub
        assert _answered(lab, "h", "10.1.0.4")
        assert rootlab.run("peering", "set", lab, "hub", "to-spoke", "--no-vnet-access").returncode == 0
        assert not _answered(lab, "h", "10.1.0.4")
        assert not _answered(lab, "s", "192.168.9.9")
        assert rootlab.run("peering", "set", lab, "hub", "to-spoke", "--allow-vnet-access").returncode == 0
        assert _answered(lab, "s", "192.168.9.9")
        # A VM speaks with no other source than its own, though the router asks less of what a peer forwards.
        spoofed = "ip addr add 10.0.0.77/32 dev lo && curl -sf -m 1 --interface 10.0.0.77 http://10.1.0.4/"
        assert rootlab.run("exec", lab, "h", "--", "sh", "-c", spoofed).returncode != 0
