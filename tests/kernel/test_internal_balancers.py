"""Private frontends beside security groups and floating IP: every flow is seen to do as predicted."""

from pathlib import Path

import pytest

from tests import rootlab

pytestmark = pytest.mark.root

TOPOLOGY = """\
name: x-internal
profile: 2022-03
internet: {client: {address: 198.51.100.10}}
virtual_networks:
  vnet1: {address_space: [10.1.0.0/16], subnets: {front: {address_prefix: 10.1.0.0/24, network_security_group: out}}}
virtual_machines:
  web1: {subnet: vnet1/front, services: [http:80]}
  web2: {subnet: vnet1/front, services: [http:80], network_security_group: shut}
  own: {subnet: vnet1/front, services: [http:90], loopback_addresses: [10.1.0.101]}
  peer: {subnet: vnet1/front}
network_security_groups:
  # What a VM sends is asked about with the frontend as its destination, what it receives with its own port.
  out:
    - {name: to-frontend, priority: 100, direction: Outbound, access: Deny, protocol: Tcp,
       destination_address_prefix: 10.1.0.100, destination_port_range: 8081}
    - {name: to-members, priority: 110, direction: Outbound, access: Deny, protocol: Tcp,
       destination_address_prefix: VirtualNetwork, destination_port_range: 80}
  shut:
    - {name: from-peer, priority: 100, direction: Inbound, access: Deny, protocol: Tcp,
       source_address_prefix: VirtualNetwork, destination_port_range: 80}
load_balancers:
  ilb:
    sku: Standard
    frontend_ip_configurations:
      private: {subnet: vnet1/front, private_ip_address: 10.1.0.100}
      floating: {subnet: vnet1/front, private_ip_address: 10.1.0.101}
    backend_address_pools: {first: [web1], second: [web2], own: [own]}
    probes: {alive: {port: 80, interval_in_seconds: 5}, there: {port: 90, interval_in_seconds: 5}}
    load_balancing_rules:
      open: {frontend: private, backend_pool: first, probe: alive, protocol: Tcp, frontend_port: 8080, backend_port: 80}
      shut: {frontend: private, backend_pool: second, probe: alive, protocol: Tcp, frontend_port: 8082,
             backend_port: 80}
      denied: {frontend: private, backend_pool: own, probe: there, protocol: Tcp, frontend_port: 8081,
               backend_port: 90}
      own: {frontend: floating, backend_pool: own, probe: there, protocol: Tcp, frontend_port: 90, backend_port: 90,
            enable_floating_ip: true}
overrides: {time_scale: 5}
"""


def test_groups_see_the_frontend_outwards_and_the_member_inwards(tmp_path: Path) -> None:
    services = [word for port in (80, 90, 8080, 8081, 8082) for word in ("--service", f"{port}/tcp")]
    with rootlab.running(tmp_path, TOPOLOGY) as lab:
        done = rootlab.run("nsg", "matrix", lab, *services)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = [line.split() for line in done.stdout.splitlines()]
        assert ["peer", "10.1.0.100", "deny", "-", "allow", "deny", "deny"] in rows
        assert ["peer", "10.1.0.101", "deny", "allow", "-", "-", "-"] in rows
        assert ["peer", "web1", "deny", "allow", "allow", "allow", "allow"] in rows
        curl = ("exec", lab, "peer", "--", "curl", "-s", "-m", "2")
        assert '"node": "web1"' in rootlab.run(*curl, "http://10.1.0.100:8080/").stdout
        assert '"node": "own"' in rootlab.run(*curl, "http://10.1.0.101:90/").stdout
