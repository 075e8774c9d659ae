"""Names with spaces, and names that the lab had for itself, in a lab that runs."""

import json
from pathlib import Path

import pytest

from tests import rootlab

pytestmark = pytest.mark.root

_TEXT = """\
name: spaced
internet: {far: {address: 198.51.100.10, services: [http:80]}}
virtual_networks:
  Group RG vnet: {address_space: [10.1.0.0/16], subnets: {the front: 10.1.0.0/24, GatewaySubnet: 10.1.255.0/27}}
  platform: {address_space: [10.3.0.0/16], subnets: {platform: 10.3.0.0/24}}
virtual_machines:
  a: {subnet: Group RG vnet/the front, services: [http:80, http:82]}
  own: {subnet: platform/platform, services: [http:80]}
  alone: {services: [http:80]}
cloud_services:
  shop:
    virtual_machines: [a]
    virtual_ips: {The VIP: {}}
    endpoints:
      - {name: Remote Desktop, virtual_machine: a, local_port: 80, public_port: 3389,
         acl: [{order: 1, action: permit, remote_subnet: 198.51.100.0/24}]}
      - {name: web, virtual_machine: a, local_port: 81, public_port: 81, load_balanced_set: The set}
vpn_gateways: {Group RG vnet: {routing: dynamic}}
local_networks:
  site: {address_space: [10.9.0.0/16], vpn_gateway_address: 131.1.1.1, vpn_device: {services: [http:80]}}
connections: [{virtual_network: Group RG vnet, local_network: site, shared_key: A1b2C3D4}]
"""


def test_names_that_azure_accepts_work_in_a_lab_that_runs(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, _TEXT) as name:
        vip = json.loads(rootlab.ok("vip", "list", name, "shop", "-o", "json"))["virtual_ips"][0]["Address"]
        assert rootlab.ask(name, "far", f"http://{vip}:3389/")["node"] == "a"
        assert rootlab.ask(name, "a", "http://10.9.0.4/")["client_address"] == "10.1.0.4"
        assert {rootlab.ask(name, vm, "http://198.51.100.10/")["node"] for vm in ("own", "alone")} == {"far"}
        (gateway,) = json.loads(rootlab.ok("gateway", "show", name, "Group RG vnet", "-o", "json"))["gateways"]
        assert gateway["Connections"][0]["ConnectivityState"] == "Connected"
        rootlab.ok("endpoint", "add", name, "a", "another one", "--local-port", "82", "--public-port", "8080")
        assert rootlab.ask(name, "far", f"http://{vip}:8080/")["node"] == "a"
    assert rootlab.leftovers(name) == []
