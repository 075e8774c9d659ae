"""lab/topology/build.py: names become values, and addresses are allocated."""

from lab.model import PLATFORM_NETWORK, Network
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
