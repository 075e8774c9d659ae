"""The operations of classic services as functions from network to network: what each leaves, and gives back."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec
import pytest

from lab.azure.cloud_services import is_billed, is_programmed
from lab.azure.model import AclRule, CloudService, EndpointProbe, Network, Service, VirtualIp
from lab.operations.base import Operation, Refused, changed
from lab.operations.cloud_service import AddService, AddVirtualMachine, BeginRedeployment, EndRedeployment
from lab.operations.endpoint import AddEndpoint, RemoveEndpoint, SetEndpoint, SetLoadBalancedSet
from lab.operations.power import SetPower
from lab.operations.public_ip import RemovePublicIp, SetPublicIp
from lab.operations.reserved_ip import AssociateIp, DisassociateIp, ReleaseIp, ReserveIp
from lab.operations.virtual_ip import AddVirtualIp, RemoveVirtualIp
from lab.topology import parse

VIP1, VIP2 = IPv4Address("191.238.74.148"), IPv4Address("191.238.74.13")
OFFICE = AclRule(order=100, action="permit", remote_subnet=IPv4Network("65.0.0.0/8"))


def network() -> Network:
    return parse(
        f"""\
name: a
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/24, tiny: 10.1.9.0/29}}}}}}
virtual_machines:
  myVM1: {{subnet: v/s}}
  myVM2: {{subnet: v/s, instance_public_ip: {{name: own, domain_name_label: second}}}}
cloud_services:
  myService:
    virtual_machines: [myVM1, myVM2]
    virtual_ips: {{Vip1: {{address: {VIP1}}}, Vip2: {{address: {VIP2}}}}}
""",
        "f",
    )


def after(*operations: Operation, before: Network | None = None) -> Network:
    made = before or network()
    for operation in operations:
        made = changed(made, operation)
    return made


def service(made: Network) -> CloudService:
    found = made.cloud_service("myService")
    assert found is not None
    return found


def vip(made: Network, name: str) -> VirtualIp:
    found = service(made).virtual_ip(name)
    assert found is not None
    return found


def plain(vm: str = "myVM1", name: str = "myEndpoint", **more: Any) -> AddEndpoint:
    values = {"local_port": 8080, "public_port": 80, "virtual_ip": "Vip2"} | more
    return AddEndpoint(virtual_machine=vm, name=name, **values)


def member(vm: str, **more: Any) -> AddEndpoint:
    values = {"local_port": 8181, "public_port": 81, "virtual_ip": "Vip2", "probe": "default"} | more
    return AddEndpoint(virtual_machine=vm, name="lb", load_balanced_set="myLBSet", **values)


BALANCED = (member("myVM1"), member("myVM2"))


# --- VIPs and endpoints -----------------------------------------------------------------------


def test_a_vip_that_is_added_has_a_name_only_and_goes_without_a_trace() -> None:
    made = after(AddVirtualIp("myService", "Vip10"), AddVirtualIp("myService", "Vip3"))
    assert [(v.name, v.address) for v in service(made).virtual_ips] == [
        ("Vip1", VIP1), ("Vip2", None), ("Vip3", None), ("Vip10", None),
    ]  # fmt: skip
    assert after(RemoveVirtualIp("myService", "Vip3"), RemoveVirtualIp("myService", "Vip10"), before=made) == network()


def test_a_vip_has_an_address_and_a_price_from_its_first_endpoint_to_its_last() -> None:
    made = after(plain())
    assert (vip(made, "Vip1").address, vip(made, "Vip2").address) == (VIP1, VIP2)
    billed = [is_billed(service(n), vip(n, "Vip2")) for n in (network(), made)]
    assert (billed, is_programmed(service(made), vip(made, "Vip2"))) == ([False, True], False)
    gone = after(RemoveEndpoint("myVM1", "myEndpoint"), before=made)
    assert (vip(gone, "Vip1").address, vip(gone, "Vip2").address) == (VIP1, None)
    again = after(plain(), before=gone)
    assert vip(again, "Vip2").address not in (None, VIP2)


def test_what_an_endpoint_does_not_say_is_the_default_vip_a_free_port_and_tcp() -> None:
    made = after(
        AddEndpoint(virtual_machine="myVM1", name="one", local_port=1),
        AddEndpoint(virtual_machine="myVM1", name="two", local_port=2),
        AddEndpoint(virtual_machine="myVM1", name="three", local_port=2, protocol="udp"),
    )
    assert [(e.virtual_ip, e.protocol, e.public_port, e.probe) for e in service(made).endpoints] == [
        ("Vip1", "tcp", 49152, None), ("Vip1", "tcp", 49153, None), ("Vip1", "udp", 49152, None),
    ]  # fmt: skip


def test_a_member_that_joins_a_set_is_as_the_set_is() -> None:
    own = EndpointProbe(protocol="Http", port=0, path="/alive", interval_s=5, timeout_s=11)
    made = after(
        member("myVM1", probe=own, load_distribution="SourceIP"),
        AddEndpoint(virtual_machine="myVM2", name="lb", local_port=8181, load_balanced_set="myLBSet"),
    )
    first, second = service(made).endpoints
    assert first.shared() == second.shared()
    assert first.probe == msgspec.structs.replace(own, port=8181)


def test_a_set_without_a_word_about_its_probe_has_the_default_one() -> None:
    (endpoint,) = service(after(member("myVM1", probe=None))).endpoints
    assert endpoint.probe == EndpointProbe(protocol="Tcp", port=8181)
    (endpoint,) = service(after(member("myVM1", probe="none"))).endpoints
    assert endpoint.probe is None


def test_an_endpoint_changes_and_what_is_not_said_stays() -> None:
    made = after(plain(idle_timeout_min=30, acl=(OFFICE,)), SetEndpoint(virtual_machine="myVM1", name="myEndpoint"))
    (before,) = service(made).endpoints
    changed_to = SetEndpoint(virtual_machine="myVM1", name="myEndpoint", idle_timeout_min=15, local_port=90, acl=())
    (endpoint,) = service(after(changed_to, before=made)).endpoints
    assert endpoint == msgspec.structs.replace(before, idle_timeout_min=15, local_port=90, acl=())
    moved = after(SetEndpoint(virtual_machine="myVM1", name="myEndpoint", virtual_ip="Vip1"), before=made)
    assert (service(moved).endpoints[0].virtual_ip, vip(moved, "Vip2").address) == ("Vip1", None)


def test_the_access_rules_of_one_member_are_those_of_all() -> None:
    made = after(*BALANCED, SetEndpoint(virtual_machine="myVM2", name="lb", acl=(OFFICE,)))
    assert [e.acl for e in service(made).endpoints] == [(OFFICE,), (OFFICE,)]
    gone = after(SetEndpoint(virtual_machine="myVM1", name="lb", acl=()), before=made)
    assert gone == after(*BALANCED)


def test_a_set_moves_whole_and_takes_the_address_of_the_vip_that_nothing_uses_with_it() -> None:
    move = SetLoadBalancedSet(service="myService", load_balanced_set="myLBSet", virtual_ip="Vip1")
    made = after(*BALANCED, move)
    assert {e.virtual_ip for e in service(made).endpoints} == {"Vip1"}
    assert (vip(made, "Vip1").address, vip(made, "Vip2").address) == (VIP1, None)
    assert vip(after(*BALANCED, plain(), move), "Vip2").address == VIP2


def test_a_set_changes_whole_and_its_default_probe_follows_its_port() -> None:
    whole = SetLoadBalancedSet(
        service="myService", load_balanced_set="myLBSet", local_port=8282, idle_timeout_min=15,
        load_distribution="SourceIPProtocol", acl=(OFFICE,),
    )  # fmt: skip
    made = service(after(*BALANCED, plain(), whole)).load_balanced_sets()["myLBSet"]
    for endpoint in made:
        assert (endpoint.local_port, endpoint.idle_timeout_min, endpoint.acl) == (8282, 15, (OFFICE,))
        assert (endpoint.load_distribution, endpoint.probe) == (
            "SourceIPProtocol", EndpointProbe(protocol="Tcp", port=8282),
        )  # fmt: skip
    none = SetLoadBalancedSet(service="myService", load_balanced_set="myLBSet", probe="none", local_port=8282)
    assert {e.probe for e in service(after(*BALANCED, none)).endpoints} == {None}


@pytest.mark.parametrize(
    ("operation", "command"),
    [
        (plain(), "endpoint add myVM1 myEndpoint"),
        (SetLoadBalancedSet(service="s", load_balanced_set="l", virtual_ip="v"), "endpoint move s l v"),
        (SetLoadBalancedSet(service="s", load_balanced_set="l", virtual_ip="v", acl=()), "endpoint set-lb s l"),
        (SetPower("vm", "Deallocated"), "vm deallocate vm"),
        (AddVirtualMachine(service="s", name="vm"), "vm create s vm"),
        (BeginRedeployment("s"), "service redeploy s"),
        (EndRedeployment("s"), "service redeploy s, its end"),
        (DisassociateIp("r", "s"), "reserved-ip disassociate r s"),
    ],
)
def test_an_operation_is_said_as_the_command_that_asks_for_it(operation: Operation, command: str) -> None:
    assert str(operation) == command


# --- reserved addresses -----------------------------------------------------------------------


def test_a_live_address_is_reserved_in_place() -> None:
    made = after(plain(), ReserveIp(name="keep", location="China North", label="web", service="myService"))
    assert [(r.name, r.address, r.label) for r in made.reserved_ips] == [("keep", VIP1, "web")]
    assert (vip(made, "Vip1").address, vip(made, "Vip1").reserved_ip) == (VIP1, "keep")
    other = after(plain(), ReserveIp(name="k", location="China North", service="myService", virtual_ip="Vip2"))
    assert (vip(other, "Vip2").address, vip(other, "Vip2").reserved_ip) == (VIP2, "k")


def test_a_reserved_address_is_nobodys_before_given_and_taken_and_released() -> None:
    reserved = after(ReserveIp(name="keep", location="China North"))
    (address,) = (r.address for r in reserved.reserved_ips)
    assert address not in {a for a, _ in network().public_addresses()}
    given = after(AssociateIp("keep", "myService"), before=reserved)
    assert vip(given, "Vip1").address == address
    taken = after(DisassociateIp("keep", "myService"), before=given)
    # Neither the reserved address nor the one that the VIP gave back for it.
    assert vip(taken, "Vip1").address not in (address, VIP1, None)
    assert [r.name for r in taken.reserved_ips] == ["keep"]
    assert after(ReleaseIp("keep"), before=taken).reserved_ips == ()


def test_each_vip_of_a_service_of_virtual_machines_may_have_a_reserved_address() -> None:
    made = after(
        ReserveIp(name="one", location="China North"),
        ReserveIp(name="two", location="China North"),
        AssociateIp("one", "myService"),
        AssociateIp("two", "myService", "Vip2"),
        plain(),
    )
    kept = {r.name: r.address for r in made.reserved_ips}
    assert {v: vip(made, v).address for v in ("Vip1", "Vip2")} == {"Vip1": kept["one"], "Vip2": kept["two"]}
    taken = after(DisassociateIp("two", "myService"), before=made)
    assert vip(taken, "Vip1").address == kept["one"]
    assert vip(taken, "Vip2").address not in kept.values()


def test_a_vip_that_no_endpoint_uses_has_its_reserved_address_once_one_does() -> None:
    reserved = after(ReserveIp(name="keep", location="China North"), AssociateIp("keep", "myService", "Vip2"))
    assert vip(reserved, "Vip2").address is None
    used = after(plain(), before=reserved)
    assert vip(used, "Vip2").address == used.reserved_ips[0].address


# --- power ------------------------------------------------------------------------------------

_OFF = (SetPower("myVM1", "Deallocated"), SetPower("myVM2", "Deallocated"))


def test_dynamic_addresses_go_with_the_last_vm_and_come_back_as_others() -> None:
    made = after(plain(), _OFF[0])
    assert (vip(made, "Vip1").address, vip(made, "Vip2").address) == (VIP1, VIP2)
    off = after(_OFF[1], before=made)
    assert (vip(off, "Vip1").address, vip(off, "Vip2").address) == (None, None)
    on = after(SetPower("myVM2", "Started"), before=off)
    addresses = {vip(on, "Vip1").address, vip(on, "Vip2").address}
    assert len(addresses) == 2
    assert not addresses & {VIP1, VIP2, None}


def test_a_reserved_address_is_the_same_after_all_were_deallocated() -> None:
    off = after(ReserveIp(name="keep", location="China North", service="myService"), *_OFF)
    assert (vip(off, "Vip1").address, off.reserved_ips[0].address) == (None, VIP1)
    assert vip(after(SetPower("myVM1", "Started"), before=off), "Vip1").address == VIP1


def test_stopped_vms_keep_everything() -> None:
    made = after(plain(), SetPower("myVM1", "Stopped"), SetPower("myVM2", "Stopped"))
    assert (vip(made, "Vip1").address, vip(made, "Vip2").address) == (VIP1, VIP2)
    assert [vm.instance_public_ip for vm in made.virtual_machines] == [
        vm.instance_public_ip for vm in network().virtual_machines
    ]
    assert after(SetPower("myVM1", "Started"), SetPower("myVM2", "Started"), before=made) == after(plain())


def test_a_deallocated_vms_own_address_is_released_and_another_one_given() -> None:
    before = network().vm("myVM2")
    off = after(_OFF[1]).vm("myVM2")
    on = after(_OFF[1], SetPower("myVM2", "Started")).vm("myVM2")
    assert before and off and on and before.instance_public_ip and on.instance_public_ip  # noqa: PT018 - types
    assert off.instance_public_ip is None
    assert on.instance_public_ip.address != before.instance_public_ip.address
    assert (on.instance_public_ip.name, on.instance_public_ip.domain_name_label) == ("own", "second")
    assert on.released_public_ip is None


def test_an_own_address_of_a_deallocated_vm_can_be_asked_for_and_taken_away() -> None:
    off = after(_OFF[0], SetPublicIp("myVM1", "mine"))
    vm = off.vm("myVM1")
    assert vm is not None
    assert vm.instance_public_ip is None
    on = after(SetPower("myVM1", "Started"), before=off).vm("myVM1")
    assert on is not None
    assert on.instance_public_ip is not None
    gone = after(RemovePublicIp("myVM1"), SetPower("myVM1", "Started"), before=off).vm("myVM1")
    assert gone == network().vm("myVM1")


# --- services and VMs -------------------------------------------------------------------------


def test_a_service_has_an_address_once_it_has_a_vm_which_has_the_lowest_that_is_free() -> None:
    made = after(AddService(name="web", location="China North"))
    (new,) = (s for s in made.cloud_services if s.name == "web")
    assert [(v.name, v.address) for v in new.virtual_ips] == [("Vip1", None)]
    http = Service(kind="http", port=80, protocol="tcp")
    made = after(AddVirtualMachine(service="web", name="n", subnet="v/s", services=(http,)), before=made)
    vm = made.vm("n")
    assert vm is not None
    assert (vm.private_ip_address, vm.services, vm.virtual_network) == (IPv4Address("10.1.0.6"), (http,), "v")
    (new,) = (s for s in made.cloud_services if s.name == "web")
    assert new.virtual_ips[0].address is not None
    # A file that says the same gives the same address.
    text = "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\nvirtual_machines: {%s}\n"
    same = parse("name: a\n" + text % ", ".join(f"{n}: {{subnet: v/s}}" for n in ("myVM1", "myVM2", "n")), "f").vm("n")
    assert same is not None
    assert same.private_ip_address == vm.private_ip_address


def test_a_vm_without_a_subnet_is_in_the_platforms_own_network_as_in_a_file() -> None:
    made = after(
        AddService(name="FTPService", location="China North"),
        AddVirtualMachine(service="FTPService", name="FTPInstance", public_ip="ftpip"),
        AddVirtualMachine(service="FTPService", name="FTPOther"),
    )
    file = parse("name: a\nvirtual_machines: {FTPInstance: {}, FTPOther: {}}\n", "f")
    for name in ("FTPInstance", "FTPOther"):
        here, there = made.vm(name), file.vm(name)
        assert here is not None
        assert there is not None
        assert (here.private_ip_address, here.subnet) == (there.private_ip_address, there.subnet)
    first = made.vm("FTPInstance")
    assert first is not None
    assert first.instance_public_ip is not None
    platform = made.vnet("_platform")
    assert platform is not None
    addresses = {a for a, _ in made.public_addresses()} | {v.default_outbound_address for v in made.virtual_networks}
    assert len(addresses) == 6  # two VIPs, two addresses of VMs' own, two defaults


def test_the_first_vm_of_a_service_may_bring_its_reserved_address() -> None:
    made = after(
        ReserveIp(name="keep", location="China North"),
        AddService(name="web", location="China North"),
        AddVirtualMachine(service="web", name="n", subnet="v/s", reserved_ip="keep"),
    )
    (new,) = (s for s in made.cloud_services if s.name == "web")
    assert new.virtual_ips[0].address == made.reserved_ips[0].address


# --- redeployment -----------------------------------------------------------------------------


def test_a_redeployment_leaves_nothing_behind() -> None:
    busy = after(plain(), BeginRedeployment("myService"))
    assert [s.redeploying for s in busy.cloud_services] == [True]
    assert after(EndRedeployment("myService"), before=busy) == after(plain())


def test_a_redeployment_that_ended_already_may_be_ended() -> None:
    assert after(EndRedeployment("myService")) == network()


@pytest.mark.parametrize("operation", [BeginRedeployment("myservice"), EndRedeployment("myservice")])
def test_a_service_that_is_not_there_is_not_redeployed(operation: Operation) -> None:
    with pytest.raises(Refused) as caught:
        after(operation)
    assert str(caught.value) == (
        f'{operation}: cloud_services: no cloud service "myservice"; it must name one of the lab; '
        'did you mean "myService"?'
    )


def test_a_service_is_redeployed_once_at_a_time() -> None:
    with pytest.raises(Refused) as caught:
        after(BeginRedeployment("myService"), BeginRedeployment("myService"))
    assert str(caught.value) == (
        "service redeploy myService: cloud_services.myService: is being redeployed already; its deployment is changed "
        "once at a time; wait until that is over; if the command that began it was killed, run `lab up FILE`"
    )
