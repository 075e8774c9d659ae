"""The words of every refusal that concerns cloud services, their VIPs and endpoints, and reserved addresses."""

import pytest

from lab.topology import parse
from tests.unit.refusals import said

_HEAD = """\
name: a
virtual_networks:
  v:
    address_space: [10.1.0.0/16]
    subnets: {s: 10.1.0.0/24, g: {address_prefix: 10.1.1.0/24, network_security_group: n}}
  w: {address_space: [10.2.0.0/16], subnets: {s: 10.2.0.0/24}}
network_security_groups: {n: []}
virtual_machines: {vm: {subnet: v/s}, web: {subnet: v/s}, far: {subnet: w/s}, guarded: {subnet: v/g}}
"""  # eight lines


def _endpoints(*endpoints: str, vms: str = "vm, web") -> str:
    """Return a service whose endpoints are on the lines 13, 14 and on."""
    lines = "".join(f"      - {{{endpoint}}}\n" for endpoint in endpoints)
    return f"cloud_services:\n  shop:\n    virtual_machines: [{vms}]\n    endpoints:\n{lines}".replace(
        "shop:\n", "shop:\n", 1
    )


_WEB = "name: a, virtual_machine: vm, local_port: 80, public_port: 80"


def test_what_is_wrong_with_a_roles_endpoint_is_said_once_and_at_its_place() -> None:
    endpoint = "{name: %s, role: Web, local_port: %d, idle_timeout_in_minutes: %d}"
    text = (
        "cloud_services:\n  shop:\n    roles: {Web: {instances: 3, subnet: v/s}}\n    endpoints:\n"
        f"      - {endpoint % ('a', 80, 2)}\n      - {endpoint % ('b', 81, 5)}\n      - {endpoint % ('c', 82, 31)}\n"
    )
    assert [line.split(";")[0] for line in said(_HEAD + text)] == [
        "f:13: cloud_services.shop.endpoints.0.idle_timeout_in_minutes: 2",
        "f:15: cloud_services.shop.endpoints.2.idle_timeout_in_minutes: 31",
    ]


def test_two_roles_of_one_name_are_two_sets_of_vms_with_the_same_names() -> None:
    lines = said(_HEAD + "cloud_services: {mall: {roles: {Web: {subnet: v/s}}}, shop: {roles: {Web: {subnet: v/s}}}}\n")
    assert lines[0] == (
        'f:9: cloud_services.shop.roles.Web: "Web_IN_0" is the name of another VM; the instances of a role are '
        "VMs, and "
        "names of VMs are unique in the lab; rename the role"
    )


@pytest.mark.parametrize("direct", [0, 1], ids=["direct first", "direct last"])
def test_an_endpoint_with_direct_server_return_shares_a_port_of_its_vm_with_one_that_is_translated(direct: int) -> None:
    """The one ends at the VIP's address, the other at the VM's own (load-balancer-multivip-overview.md, 2016-08-11)."""
    both = [_WEB, _WEB.replace("name: a", "name: b") + ", virtual_ip: V2"]
    both[direct] += ", direct_server_return: true"
    text = _endpoints(*both).replace("    endpoints", "    virtual_ips: {Vip1: {}, V2: {}}\n    endpoints")
    parse(_HEAD + text.replace(both[0], both[0] + ", virtual_ip: Vip1"), "f")


def test_a_service_with_roles_has_one_reserved_address_as_the_schema_of_its_file_says() -> None:
    text = (
        _HEAD + "cloud_services: {shop: {roles: {W: 1}, virtual_ips: {A: {reserved_ip: x}, B: {reserved_ip: y}}}}\n"
        "reserved_ips: {x: {}, y: {}}\n"
    )
    assert (
        "f:9: cloud_services.shop.virtual_ips: 2 reserved addresses in one service with roles; its deployment has at "
        'most one (schema-cscfg-networkconfiguration.md, 2023-02-21); keep one: "x" of A or "y" of B'
    ) in said(text)
