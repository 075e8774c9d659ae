"""lab/path/cloud_service.py: a service's name, and who may use its endpoints."""

from collections.abc import Sequence

import msgspec
import pytest

from lab import compile as compiling
from lab.azure.model import Network
from lab.errors import LabError
from lab.path import cloud_service
from lab.plan import DnsRecord, Rule
from tests import worlds


def rules_of(network: Network) -> list[str]:
    found = [i for i in cloud_service.items(network, frozenset()) if isinstance(i, Rule)]
    assert {rule.place for rule in found} <= {"lb.vnet1"}
    return [str(rule) for rule in found]


def records_of(network: Network) -> set[tuple[str, str, str]]:
    return {(r.place, r.name, r.address) for r in cloud_service.items(network, frozenset()) if isinstance(r, DnsRecord)}


def guarded(*rules: str, alone: bool = True) -> Network:
    """Return a network with an access list of an endpoint, or of a set."""
    listed = ", ".join(
        f"{{order: {order}, action: {action}, remote_subnet: {subnet}}}"
        for order, action, subnet in (rule.split() for rule in rules)
    )
    mate = "" if alone else ", load_balanced_set: g"
    lines = f"      - {{name: g, virtual_machine: vm1, local_port: 90, public_port: 91, acl: [{listed}]{mate}}}"
    if not alone:
        lines += "\n      - {name: g, virtual_machine: vm2, local_port: 90, public_port: 91, load_balanced_set: g}"
    return worlds.classic(lines)


_ASKED = "-t mangle -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 91 --ctstate NEW -j "


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        (["100 permit 65.0.0.0/8", "200 permit 159.0.0.0/8"],
         ["-s 65.0.0.0/8 -j RETURN", "-s 159.0.0.0/8 -j RETURN", "-j DROP"]),
        (["200 permit 175.0.0.0/8", "100 deny 175.1.0.1/24"],
         ["-s 175.1.0.0/24 -j DROP", "-s 175.0.0.0/8 -j RETURN", "-j DROP"]),
        (["100 deny 198.51.100.0/24"], ["-s 198.51.100.0/24 -j DROP"]),
        (["100 permit 0.0.0.0/0"], ["-j RETURN", "-j DROP"]),
    ],
    ids=["permits", "both, by order", "denies", "everybody"],
)  # fmt: skip
def test_rules_are_asked_by_order_and_who_is_not_named_is_denied_if_any_permits(
    rules: Sequence[str], wanted: Sequence[str]
) -> None:
    """virtual-networks-acl.md (2016-03-15), with its two examples; its 175.1.0.1/24 is 175.1.0.0/24."""
    chain = "acl/shop/vm1/g"
    assert rules_of(guarded(*rules)) == [_ASKED + chain, *(f"-t mangle -A {chain} {rule}" for rule in wanted)]


def test_the_list_of_one_member_is_asked_once_for_the_whole_set() -> None:
    chain = "acl/shop/g"
    assert rules_of(guarded("1 deny 65.0.0.0/8", alone=False)) == [
        _ASKED + chain,
        f"-t mangle -A {chain} -s 65.0.0.0/8 -j DROP",
    ]


def test_endpoints_without_a_list_are_not_asked_about() -> None:
    assert rules_of(worlds.classic()) == []


def test_a_list_whose_vip_has_no_address_is_not_there() -> None:
    network = guarded("1 deny 65.0.0.0/8")
    stopped = tuple(msgspec.structs.replace(vm, power_state="Deallocated") for vm in network.virtual_machines)
    (service,) = network.cloud_services
    bare = tuple(msgspec.structs.replace(vip, address=None) for vip in service.virtual_ips)
    services = (msgspec.structs.replace(service, virtual_ips=bare),)
    network = msgspec.structs.replace(network, virtual_machines=stopped, cloud_services=services)
    assert list(cloud_service.items(network, frozenset())) == []


def test_a_list_is_asked_before_anybody_is_let_pass_to_a_public_address_of_the_network() -> None:
    """A VM with an address of its own, and one that asks for a public address of its network, pass mangle unasked."""
    text = str(compiling.compile(guarded("1 deny 65.0.0.0/8")).text())
    first = text.index("-t mangle -A PREROUTING -d 40.1.1.1/32 -p tcp --dport 91")
    assert first < text.index("-t mangle -A PREROUTING -d 40.1.1.1/32 -j ACCEPT")


def test_two_lists_never_share_a_chain() -> None:
    network = guarded("1 deny 65.0.0.0/8")
    doubled = [*cloud_service.items(network, frozenset())] * 2

    def twice(*_: object) -> list[object]:
        return doubled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "RULES", (*compiling.RULES[:1], (twice, "")))
        with pytest.raises(LabError, match=r"chain lb\.vnet1 mangle acl/shop/vm1/g is made 2 times"):
            compiling.compile(network)


def test_the_name_of_a_service_leads_to_its_default_vip_alone_wherever_names_are_known() -> None:
    """Multiple VIPs, 2015-07-23: IsDnsProgrammed is true of Vip1."""
    assert records_of(worlds.classic()) == {
        ("internet", "shop.cloudapp.net", "40.1.1.1"),
        ("lb.vnet1", "shop.cloudapp.net", "40.1.1.1"),
    }


def test_name_servers_of_the_users_own_know_it_too() -> None:
    network = worlds.network(
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}, names: {subnet: v/s, services: [dns:53]}}\n"
        "cloud_services: {shop: {virtual_machines: [vm]}}\n"
    )
    assert records_of(network) == {
        (place, "shop.cloudapp.net", "203.0.113.1") for place in ("internet", "lb.v", "names")
    }


def test_the_default_vip_is_the_one_that_is_named_so() -> None:
    network = worlds.network(
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s}}\n"
        "cloud_services: {shop: {virtual_machines: [vm], virtual_ips: {A: {}, B: {address: 40.1.1.2}}, "
        "default_virtual_ip: B}}\n"
    )
    assert {address for _, _, address in records_of(network)} == {"40.1.1.2"}


def test_a_service_whose_vms_are_all_deallocated_has_no_name_that_leads_anywhere() -> None:
    network = worlds.network("cloud_services: {shop: {}}\n")
    assert records_of(network) == set()
