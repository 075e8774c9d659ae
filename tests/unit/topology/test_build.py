"""lab/topology/build.py: names become values, and addresses are allocated."""

import pytest

from lab.azure.model import PLATFORM_NETWORK, CloudService, Network
from lab.operations import base
from lab.operations.base import Operation
from lab.operations.reserved_ip import AssociateIp, DisassociateIp, ReleaseIp, ReserveIp
from lab.topology import parse
from tests import worlds
from tests.unit.refusals import said

_VNET = "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {b: 10.1.1.0/24, a: 10.1.0.0/24}}}\n"


def test_vms_are_numbered_from_the_fourth_address_in_natural_order() -> None:
    network = worlds.network(_VNET + "virtual_machines: {w10: {subnet: v/a}, w2: {subnet: v/a}, other: {subnet: v/b}}")
    wanted = {"other": "10.1.1.4", "w2": "10.1.0.4", "w10": "10.1.0.5"}
    assert {vm.name: str(vm.private_ip_address) for vm in network.virtual_machines} == wanted
    assert [vm.name for vm in network.virtual_machines] == ["other", "w2", "w10"]


def test_an_address_that_is_asked_for_is_not_given_to_another() -> None:
    network = worlds.network(
        _VNET + "virtual_machines: {x: {subnet: v/a}, y: {subnet: v/a, private_ip_address: 10.1.0.4}}"
    )
    assert [str(vm.private_ip_address) for vm in network.virtual_machines] == ["10.1.0.5", "10.1.0.4"]


def test_public_addresses_left_out_are_documentation_addresses_load_balancers_first() -> None:
    network = worlds.network(
        _VNET + "internet: {h: {address: 203.0.113.1}}\n"
        "virtual_machines: {x: {subnet: v/a, instance_public_ip: {name: ip}}}\n"
        "load_balancers: {lb: {frontend_ip_configurations: {f: , g: 40.1.1.1}}}\n"
    )
    assert [str(f.address) for f in network.load_balancers[0].frontends] == ["203.0.113.2", "40.1.1.1"]
    own = network.virtual_machines[0].instance_public_ip
    assert own is not None
    assert str(own.address) == "203.0.113.3"


def test_a_vm_without_subnet_lives_in_the_platforms_own_network() -> None:
    network = worlds.network(_VNET + "virtual_machines: {x: {}, y: {subnet: v/a}}")
    vm = network.vm("x")
    assert vm is not None
    assert (vm.virtual_network, str(vm.private_ip_address)) == (PLATFORM_NETWORK, "100.64.0.4")
    assert [vnet.name for vnet in network.virtual_networks] == ["v", PLATFORM_NETWORK]


def test_a_network_without_such_a_vm_has_no_platform_network() -> None:
    assert [vnet.name for vnet in worlds.one_vm().virtual_networks] == ["vnet1"]


def test_members_of_a_pool_are_in_natural_order_whatever_the_file_says() -> None:
    text = "virtual_machines: {w10: {subnet: v/a}, w2: {subnet: v/a}}\n"
    text += "load_balancers: {lb: {frontend_ip_configurations: {f: }, backend_address_pools: {p: [w10, w2]}}}"
    assert worlds.network(_VNET + text).load_balancers[0].pools[0].members == ("w2", "w10")


def test_azures_words_for_transports_become_tcp_and_udp() -> None:
    nat = "{frontend: f, virtual_machine: x, protocol: %s, frontend_port: %d, backend_port: %d}"
    network = worlds.network(
        _VNET + "virtual_machines: {x: {subnet: v/a}}\nload_balancers:\n  lb:\n"
        f"    frontend_ip_configurations: {{f: }}\n    inbound_nat_rules: {{t: {nat % ('Tcp', 1, 1)}, "
        f"u: {nat % ('Udp', 2, 2)}}}\n"
    )
    assert [rule.protocol for rule in network.load_balancers[0].inbound_nat_rules] == ["tcp", "udp"]


def test_more_public_addresses_than_there_are_for_documentation_must_be_given_by_the_user() -> None:
    frontends = ", ".join(f"f{n}: " for n in range(762))
    text = f"name: a\nload_balancers:\n  lb: {{frontend_ip_configurations: {{{frontends}}}}}\n"
    assert said(text) == [
        (
            "f:3: load_balancers.lb.frontend_ip_configurations.f761: no public address left; the lab has 761 "
            "of its own "
            "(RFC 5737); give it one: an address of your choice"
        )
    ]


# --- cloud services ---------------------------------------------------------------------------

_VMS = _VNET + "virtual_machines: {w10: {subnet: v/a}, w2: {subnet: v/a}}\n"


def service(text: str) -> CloudService:
    (found,) = worlds.network(text).cloud_services
    return found


def test_a_service_without_vips_has_one_which_is_the_default() -> None:
    found = service(_VMS + "cloud_services: {shop: {virtual_machines: [w2]}}")
    assert found.default_virtual_ip == "Vip1"
    assert [(vip.name, str(vip.address)) for vip in found.virtual_ips] == [("Vip1", "203.0.113.1")]


def test_the_default_vip_is_the_first_by_name_unless_another_is_named() -> None:
    vips = "cloud_services: {shop: {virtual_ips: {Vip10: {}, Vip2: {}}%s}}"
    assert service(_VMS + vips % "").default_virtual_ip == "Vip2"
    assert service(_VMS + vips % ", default_virtual_ip: Vip10").default_virtual_ip == "Vip10"


def test_a_service_is_redeploying_only_if_the_file_says_so() -> None:
    found = [service(_VMS + f"cloud_services: {{shop: {{{key}}}}}") for key in ("", "redeploying: true")]
    assert [one.redeploying for one in found] == [False, True]


def test_a_vip_without_endpoints_has_no_address_and_keeps_the_one_that_is_planned() -> None:
    found = service(
        _VMS + "cloud_services: {shop: {virtual_machines: [w2], virtual_ips: {A: {address: 40.1.1.1}, "
        "B: {address: 40.1.1.2}}}}"
    )
    assert [(str(vip.address), str(vip.planned)) for vip in found.virtual_ips] == [
        ("40.1.1.1", "40.1.1.1"),
        ("None", "40.1.1.2"),
    ]


def test_an_address_that_is_planned_for_a_vip_is_given_to_nobody_else() -> None:
    network = worlds.network(
        _VMS + "cloud_services: {shop: {virtual_machines: [w2], virtual_ips: {A: {}, B: {address: 203.0.113.1}}}}"
    )
    assert str(network.cloud_services[0].virtual_ips[0].address) == "203.0.113.2"


def test_a_vip_has_the_address_that_is_reserved_for_it() -> None:
    network = worlds.network(
        _VMS + "reserved_ips: {kept: {label: mine}, spare: {address: 40.1.1.9}}\n"
        "cloud_services: {shop: {virtual_machines: [w2], virtual_ips: {A: {reserved_ip: kept}}}}"
    )
    kept, spare = network.reserved_ips
    assert (str(kept.address), kept.label, str(spare.address)) == ("203.0.113.1", "mine", "40.1.1.9")
    assert network.cloud_services[0].virtual_ips[0].address == kept.address


def test_endpoints_of_a_set_become_one_rule_and_those_without_one_become_inbound_nat_rules() -> None:
    network = worlds.classic()
    lb = network.cloud_services[0].load_balancer()
    assert lb in network.balancers
    (rule,), (nat,) = lb.load_balancing_rules, lb.inbound_nat_rules
    assert (rule.name, rule.frontend, rule.frontend_port, rule.backend_port, rule.probe) == (
        "set",
        "Vip2",
        81,
        8181,
        "set",
    )
    assert lb.pool(rule.backend_pool).members == ("vm1", "vm2")
    assert (nat.name, nat.frontend, nat.frontend_port, nat.virtual_machine, nat.backend_port) == (
        "vm1/web",
        "Vip1",
        80,
        "vm1",
        8080,
    )
    assert [frontend.name for frontend in lb.frontends] == ["Vip1", "Vip2"]


_OF_SET = "{name: e, load_balanced_set: s, virtual_machine: w2, local_port: 8080, public_port: 80%s}"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", ("Tcp", 8080, "/", 15, 2)),
        (", probe: default", ("Tcp", 8080, "/", 15, 2)),
        (", probe: {}", ("Tcp", 8080, "/", 15, 2)),
        (", probe: {protocol: http, port: 81, path: /up}", ("Http", 81, "/up", 15, 2)),
        (", probe: {interval_in_seconds: 5, timeout_in_seconds: 11}", ("Tcp", 8080, "/", 5, 2)),
        (", probe: {interval_in_seconds: 60, timeout_in_seconds: 11}", ("Tcp", 8080, "/", 60, 1)),
    ],
)
def test_members_of_a_set_are_probed_on_their_own_port_unless_the_file_says_otherwise(
    given: str, wanted: tuple[object, ...]
) -> None:
    """Down after as many failures as the timeout has intervals; 15 s and 31 s are the documents' sample."""
    found = service(_VMS + f"cloud_services: {{shop: {{virtual_machines: [w2], endpoints: [{_OF_SET % given}]}}}}")
    (probe,) = found.load_balancer().probes
    assert (probe.protocol, probe.port, probe.request_path, probe.interval_s, probe.number_of_probes) == wanted


def test_a_set_may_have_no_probe() -> None:
    text = f"cloud_services: {{shop: {{virtual_machines: [w2], endpoints: [{_OF_SET % ', probe: none'}]}}}}"
    lb = service(_VMS + text).load_balancer()
    assert (lb.probes, lb.load_balancing_rules[0].probe) == ((), None)


def test_an_endpoint_of_a_role_leads_to_each_of_its_instances() -> None:
    network = worlds.network(
        _VNET + "cloud_services: {shop: {roles: {Web: {instances: 2, subnet: v/a, services: [http:80]}}, "
        "endpoints: [{name: E, role: Web, local_port: 80}]}}"
    )
    assert [(vm.name, str(vm.private_ip_address), str(vm.services[0])) for vm in network.virtual_machines] == [
        ("Web_IN_0", "10.1.0.4", "http:80"),
        ("Web_IN_1", "10.1.0.5", "http:80"),
    ]
    (found,) = network.cloud_services
    assert found.virtual_machines == ("Web_IN_0", "Web_IN_1")
    lb = found.load_balancer()
    assert lb.pool("E").members == ("Web_IN_0", "Web_IN_1")
    assert lb.probes == (), "the guest agent is asked, which answers while an instance runs"


def test_an_endpoint_without_a_public_port_takes_none_that_another_names() -> None:
    found = service(
        _VMS + "cloud_services: {shop: {virtual_machines: [w2], endpoints: ["
        "{name: a, virtual_machine: w2, local_port: 1}, {name: b, virtual_machine: w2, local_port: 2}, "
        "{name: c, virtual_machine: w2, local_port: 3, public_port: 49152}]}}"
    )
    assert [endpoint.public_port for endpoint in found.endpoints] == [49153, 49154, 49152]


def test_a_member_without_a_public_port_has_that_of_its_set() -> None:
    found = service(
        _VMS + "cloud_services: {shop: {virtual_machines: [w2, w10], endpoints: ["
        "{name: a, virtual_machine: w2, local_port: 1, load_balanced_set: s}, "
        "{name: a, virtual_machine: w10, local_port: 1, load_balanced_set: s}]}}"
    )
    assert [endpoint.public_port for endpoint in found.endpoints] == [49152, 49152]


def test_distributions_and_access_rules_are_in_the_models_words_and_in_order() -> None:
    rules = (
        "[{order: 2, action: permit, remote_subnet: 1.0.0.0/8}, {order: 1, action: deny, remote_subnet: 1.1.1.1/24}]"
    )
    found = service(
        _VMS + "cloud_services: {shop: {virtual_machines: [w2], endpoints: [{name: a, virtual_machine: w2, "
        f"local_port: 1, load_balancer_distribution: sourceIPProtocol, acl: {rules}}}]}}}}"
    )
    (endpoint,) = found.endpoints
    assert endpoint.load_distribution == "SourceIPProtocol"
    assert [(rule.order, rule.action, str(rule.remote_subnet)) for rule in endpoint.acl] == [
        (1, "deny", "1.1.1.0/24"),
        (2, "permit", "1.0.0.0/8"),
    ]


# --- a file whose lab runs already ------------------------------------------------------------

_BEFORE = (
    "name: a\n" + _VNET + "virtual_machines: {m: {subnet: v/a}, z: {subnet: v/a, instance_public_ip: {name: ip}}}\n"
)


def changed(text: str, before: str = _BEFORE) -> Network:
    """Return the network of a text whose lab ran with another before."""
    return parse(text, "f", kept=parse(before, "f").addresses())


def test_what_the_file_leaves_open_stays_as_it_was() -> None:
    after = changed(_BEFORE.replace("{m:", "{b: {subnet: v/a, instance_public_ip: {name: b}}, m:"))
    assert {vm.name: str(vm.private_ip_address) for vm in after.virtual_machines} == {
        "b": "10.1.0.6", "m": "10.1.0.4", "z": "10.1.0.5",
    }  # fmt: skip
    own = {vm.name: str(vm.instance_public_ip.address) for vm in after.virtual_machines if vm.instance_public_ip}
    assert own == {"b": "203.0.113.2", "z": "203.0.113.1"}
    assert after.virtual_networks == parse(_BEFORE, "f").virtual_networks


def test_an_unchanged_file_gives_the_network_that_runs() -> None:
    assert changed(_BEFORE) == parse(_BEFORE, "f")


def test_an_address_that_the_file_now_gives_to_another_is_not_kept() -> None:
    after = changed(_BEFORE.replace("z: {subnet: v/a,", "z: {subnet: v/a, private_ip_address: 10.1.0.4,"))
    assert {vm.name: str(vm.private_ip_address) for vm in after.virtual_machines} == {"m": "10.1.0.5", "z": "10.1.0.4"}


def test_an_address_that_no_longer_fits_its_subnet_is_not_kept() -> None:
    after = changed(_BEFORE.replace("a: 10.1.0.0/24", "a: 10.1.9.0/24"))
    assert [str(vm.private_ip_address) for vm in after.virtual_machines] == ["10.1.9.4", "10.1.9.5"]


def test_an_address_that_azure_keeps_in_the_new_subnet_is_not_kept() -> None:
    """10.1.0.9 is a VM's in 10.1.0.0/24, and one of the first four of 10.1.0.8/29."""
    before = "name: a\n" + _VNET + "virtual_machines: {m: {subnet: v/a, private_ip_address: 10.1.0.9}}\n"
    after = changed(before.replace(", private_ip_address: 10.1.0.9", "").replace("10.1.0.0/24", "10.1.0.8/29"), before)
    assert [str(vm.private_ip_address) for vm in after.virtual_machines] == ["10.1.0.12"]


_SHOP = (
    "name: a\nreserved_ips: {spare: {location: China North}}\nvirtual_machines: {m: {}}\n"
    "cloud_services: {shop: {virtual_machines: [m]}}\n"
)


def operated(*operations: Operation, text: str = _SHOP) -> tuple[dict[str, str], Network]:
    """Return the public addresses of a lab on which operations were done, and what its file then makes of it."""
    before = parse(_SHOP, "f")
    for operation in operations:
        before = base.changed(before, operation)
    public = {".".join(path): str(address) for address, path in before.public_addresses()}
    return public, parse(text, "f", kept=before.addresses())


_VIP = "cloud_services.shop.virtual_ips.Vip1"
_KEEP = ReserveIp(name="keep", location="China North", service="shop")


def test_a_vip_keeps_the_address_that_was_reserved_in_place() -> None:
    before, after = operated(_KEEP)
    (vip,) = after.cloud_services[0].virtual_ips
    assert (str(vip.address), after) == (before["reserved_ips.keep.address"], parse(_SHOP, "f"))


def test_a_file_that_now_has_the_reservation_has_its_address() -> None:
    text = _SHOP.replace("reserved_ips: {", "reserved_ips: {keep: {location: China North}, ").replace(
        "[m]}", "[m], virtual_ips: {Vip1: {reserved_ip: keep}}}"
    )
    before, after = operated(_KEEP, text=text)
    (vip,) = after.cloud_services[0].virtual_ips
    assert (str(vip.address), vip.reserved_ip) == (before["reserved_ips.keep.address"], "keep")


def test_a_reserved_address_that_was_taken_from_its_vip_does_not_come_back() -> None:
    for done in ([DisassociateIp("keep", "shop")], [DisassociateIp("keep", "shop"), ReleaseIp("keep")]):
        before, after = operated(_KEEP, *done)
        (vip,) = after.cloud_services[0].virtual_ips
        assert str(vip.address) == before[_VIP]
        assert str(vip.address) != before.get("reserved_ips.keep.address")


def test_an_address_that_the_file_reserves_stays_reserved_and_the_vip_gets_another() -> None:
    before, after = operated(AssociateIp("spare", "shop"))
    (vip,) = after.cloud_services[0].virtual_ips
    assert str(after.reserved_ips[0].address) == before["reserved_ips.spare.address"]
    assert vip.address not in (None, after.reserved_ips[0].address)


def test_an_address_that_the_file_gives_comes_before_the_one_that_was_reserved_in_place() -> None:
    _, after = operated(_KEEP, text=_SHOP.replace("[m]}", "[m], virtual_ips: {Vip1: {address: 40.1.2.3}}}"))
    (vip,) = after.cloud_services[0].virtual_ips
    assert str(vip.address) == "40.1.2.3"
