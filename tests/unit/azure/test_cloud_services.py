"""lab/azure/cloud_services.py: which VIPs have an address, who is billed, who may use an endpoint."""

from ipaddress import IPv4Address, IPv4Network

import msgspec
import pytest

from lab.azure import cloud_services
from lab.azure.model import AclRule, CloudService, Endpoint, Network, PowerState, VirtualIp
from lab.errors import UsageError
from tests import worlds

_change = msgspec.structs.replace


def shop(network: Network) -> CloudService:
    (service,) = network.cloud_services
    return service


def addresses(network: Network) -> dict[str, str]:
    """Return the address of each VIP, blank where it has none."""
    return {vip.name: str(vip.address or "") for vip in shop(network).virtual_ips}


def powered(network: Network, state: PowerState, *vms: str) -> Network:
    """Return the network with VMs in another state, and the VIPs that follow from it."""
    machines = tuple(
        _change(vm, power_state=state) if vm.name in vms or not vms else vm for vm in network.virtual_machines
    )
    return cloud_services.settled(_change(network, virtual_machines=machines))


def with_endpoints(network: Network, *endpoints: Endpoint) -> Network:
    return cloud_services.settled(_change(network, cloud_services=(_change(shop(network), endpoints=endpoints),)))


def reserving(network: Network) -> Network:
    """Return the network with a reservation of Vip1's address, which Vip1 has."""
    reserved = worlds.network("reserved_ips: {kept: {address: 40.1.1.1}}").reserved_ips
    first, *others = shop(network).virtual_ips
    vips = (_change(first, reserved_ip="kept", address=None), *others)
    changed = _change(network, reserved_ips=reserved, cloud_services=(_change(shop(network), virtual_ips=vips),))
    return cloud_services.settled(changed)


# --- addresses --------------------------------------------------------------------------------


def test_the_default_vip_and_those_with_endpoints_have_an_address_and_no_other_has() -> None:
    """Multiple VIPs, 2015-07-23: Vip3 is blank until an endpoint uses it."""
    assert addresses(worlds.classic()) == {"Vip1": "40.1.1.1", "Vip2": "40.1.1.2", "Vip3": ""}


def test_the_default_vip_needs_no_endpoint() -> None:
    assert addresses(with_endpoints(worlds.classic())) == {"Vip1": "40.1.1.1", "Vip2": "", "Vip3": ""}


def test_a_vip_whose_last_endpoint_goes_loses_its_address_and_never_gets_the_same_again() -> None:
    network = worlds.classic()
    endpoints = shop(network).endpoints
    without = with_endpoints(network, *(e for e in endpoints if e.virtual_ip != "Vip2"))
    again = with_endpoints(without, *endpoints)
    assert addresses(without)["Vip2"] == ""
    assert addresses(again)["Vip2"] == "203.0.113.1"


def test_a_vip_with_an_endpoint_left_keeps_its_address() -> None:
    network = worlds.classic()
    assert addresses(with_endpoints(network, *shop(network).endpoints[:2]))["Vip2"] == "40.1.1.2"


def test_an_unused_vip_is_given_the_address_that_is_planned_for_it() -> None:
    """Multiple VIPs, 2015-07-23 shows 191.238.74.13 for Vip2 once it has an endpoint."""
    text = worlds.classic()
    (_, second, third) = shop(text).virtual_ips
    planned = _change(third, planned=IPv4Address("191.238.74.13"))
    service = _change(shop(text), virtual_ips=(shop(text).virtual_ips[0], second, planned))
    network = _change(text, cloud_services=(service,))
    assert addresses(network)["Vip3"] == ""
    more = _change(shop(network).endpoints[0], name="more", local_port=9, virtual_ip="Vip3")
    assert addresses(with_endpoints(network, *shop(network).endpoints, more))["Vip3"] == "191.238.74.13"


@pytest.mark.parametrize("state", ["Started", "Stopped"])
def test_a_stopped_service_keeps_its_addresses(state: PowerState) -> None:
    assert addresses(powered(worlds.classic(), state)) == addresses(worlds.classic())


def test_addresses_are_kept_while_a_single_vm_is_left() -> None:
    assert addresses(powered(worlds.classic(), "Deallocated", "vm1")) == addresses(worlds.classic())


def test_a_service_whose_vms_are_all_deallocated_has_no_address_and_then_others() -> None:
    """Multiple VIPs, 2015-07-23: the address of a VIP may change; here it does, so that nobody relies on it."""
    gone = powered(worlds.classic(), "Deallocated")
    assert addresses(gone) == {"Vip1": "", "Vip2": "", "Vip3": ""}
    assert addresses(powered(gone, "Started")) == {"Vip1": "203.0.113.1", "Vip2": "203.0.113.2", "Vip3": ""}


def test_a_reserved_address_is_the_same_before_and_after() -> None:
    """virtual-networks-reserved-public-ip.md (2016-02-10)."""
    network = reserving(worlds.classic())
    gone = powered(network, "Deallocated")
    assert addresses(network)["Vip1"] == "40.1.1.1"
    assert addresses(gone)["Vip1"] == ""
    assert addresses(powered(gone, "Started"))["Vip1"] == "40.1.1.1"


def test_a_vip_that_is_given_up_by_its_reservation_gets_another_address() -> None:
    network = reserving(worlds.classic())
    first, *others = shop(network).virtual_ips
    vips = (_change(first, reserved_ip=None), *others)
    parted = cloud_services.settled(_change(network, cloud_services=(_change(shop(network), virtual_ips=vips),)))
    assert addresses(parted)["Vip1"] not in ("", "40.1.1.1")


def test_settling_what_is_settled_changes_nothing() -> None:
    for network in (worlds.classic(), reserving(worlds.classic()), powered(worlds.classic(), "Deallocated")):
        assert cloud_services.settled(network) == network


def test_what_is_settled_breaks_no_rule() -> None:
    for network in (reserving(worlds.classic()), powered(powered(worlds.classic(), "Deallocated"), "Started")):
        assert list(cloud_services.violations(network)) == []


# --- what a VIP is ----------------------------------------------------------------------------


def test_the_default_vip_is_programmed_and_every_other_is_billed_once_an_endpoint_uses_it() -> None:
    """Multiple VIPs, 2015-07-23, notes."""
    service = shop(worlds.classic())
    assert [cloud_services.is_programmed(service, vip) for vip in service.virtual_ips] == [True, False, False]
    assert [cloud_services.is_billed(service, vip) for vip in service.virtual_ips] == [False, True, False]


def test_a_reserved_address_is_for_regional_networks_only() -> None:
    """virtual-networks-reserved-public-ip.md (2016-02-10): none of an affinity group."""
    network = reserving(worlds.classic())
    (vnet,) = network.virtual_networks
    grouped = _change(network, virtual_networks=(_change(vnet, affinity_group="group1"),))
    assert [str(problem) for problem in cloud_services.violations(grouped)] == [
        (
            'cloud_services.shop.virtual_ips.Vip1.reserved_ip: "kept" for VMs of "vnet1", which is in the affinity '
            'group "group1"; a reserved address is for VMs of regional virtual networks only '
            "(virtual-networks-reserved-public-ip.md, 2016-02-10); use a network with a location"
        )
    ]


@pytest.mark.parametrize(
    ("taken", "named", "wanted"),
    [((), (), 49152), ((49152, 49153), (), 49154), ((49153,), (49152,), 49154), ((80,), (), 49152)],
)
def test_an_endpoint_without_a_public_port_gets_the_lowest_dynamic_one_of_its_vip_that_is_free(
    taken: tuple[int, ...], named: tuple[int, ...], wanted: int
) -> None:
    one = shop(worlds.classic()).endpoints[0]
    endpoints = [_change(one, public_port=port) for port in taken]
    endpoints += [_change(one, public_port=49154, virtual_ip="Vip2"), _change(one, public_port=49154, protocol="udp")]
    assert cloud_services.free_port(endpoints, "Vip1", "tcp", named) == wanted


# --- access lists -----------------------------------------------------------------------------


def rules(*texts: str) -> tuple[AclRule, ...]:
    found = []
    for text in texts:
        order, action, subnet = text.split()
        network = IPv4Network(subnet, strict=False)
        found.append(AclRule(order=int(order), action=action, remote_subnet=network))  # type: ignore[arg-type]
    return tuple(found)


_PERMITS = ("100 permit 65.0.0.0/8", "200 permit 159.0.0.0/8")
_BOTH = ("100 deny 175.1.0.1/24", "200 permit 175.0.0.0/8")
_DENIES = ("100 deny 175.1.0.1/24",)


@pytest.mark.parametrize(
    ("listed", "client", "allowed"),
    [
        (_PERMITS, "65.55.58.10", True), (_PERMITS, "159.8.1.10", True), (_PERMITS, "175.2.0.20", False),
        (_BOTH, "175.1.0.77", False), (_BOTH, "175.2.0.20", True), (_BOTH, "65.55.58.10", False),
        (_DENIES, "175.1.0.77", False), (_DENIES, "65.55.58.10", True),
        ((), "65.55.58.10", True),
        (("1 permit 0.0.0.0/0", "2 deny 65.0.0.0/8"), "65.55.58.10", True),
    ],
)  # fmt: skip
def test_the_first_rule_decides_and_who_is_not_named_is_denied_if_any_permits(
    listed: tuple[str, ...], client: str, allowed: bool
) -> None:
    """virtual-networks-acl.md (2016-03-15), with its examples."""
    assert cloud_services.permits(rules(*listed), IPv4Address(client)) is allowed


def test_the_list_of_one_member_of_a_set_is_that_of_all_by_order() -> None:
    service = shop(worlds.classic())
    web, first, second = service.endpoints
    given = _change(second, acl=rules("2 deny 1.0.0.0/8", "1 permit 1.1.0.0/16"))
    service = _change(service, endpoints=(web, first, given))
    for endpoint in (first, given):
        assert [rule.order for rule in cloud_services.access_list(service, endpoint)] == [1, 2]
    assert cloud_services.access_list(service, web) == ()


def test_there_are_only_so_many_addresses() -> None:
    network = worlds.classic()
    vip = VirtualIp(name="V", address=None)
    few = tuple(_change(shop(network), name=f"s{n}", virtual_ips=(vip,), default_virtual_ip="V") for n in range(770))
    with pytest.raises(UsageError, match=r"no public address left; the lab has 761 of its own"):
        cloud_services.settled(_change(network, cloud_services=few))
