"""lab/path/instance_public_ip.py: 1:1, both ways, all ports, all protocols."""

from lab.path import instance_public_ip, outbound_snat
from lab.plan import Record, Route, Rule
from tests import worlds


def test_an_own_address_is_one_translation_in_one_out_and_leave_to_go() -> None:
    rules = [i for i in instance_public_ip.items(worlds.one_vm_with_public_ip(), frozenset()) if isinstance(i, Rule)]
    assert [str(rule) for rule in rules] == [
        "-t nat -A PREROUTING -d 104.43.142.188/32 -j DNAT --to-destination 10.1.0.4",
        "-t nat -A POSTROUTING -s 10.1.0.4/32 -j SNAT --to-source 104.43.142.188",
        "-t mangle -A PREROUTING -s 10.1.0.4/32 -j ACCEPT",
        "-t filter -A FORWARD -s 10.1.0.4/32 --ctstate NEW -j ACCEPT",
    ]


def test_no_port_and_no_protocol_is_named_so_that_all_of_them_pass_unchanged() -> None:
    rules = [i for i in instance_public_ip.items(worlds.one_vm_with_public_ip(), frozenset()) if isinstance(i, Rule)]
    assert {(rule.protocol, rule.destination_ports) for rule in rules} == {(None, None)}


def test_the_address_leads_to_the_vms_own_network() -> None:
    routes = [i for i in instance_public_ip.items(worlds.one_vm_with_public_ip(), frozenset()) if isinstance(i, Route)]
    assert [(route.place, route.interface) for route in routes] == [("internet", "lb.vnet1"), ("lb.vnet1", None)]


def test_a_label_is_a_name_that_everybody_knows() -> None:
    records = [
        i for i in instance_public_ip.items(worlds.one_vm_with_public_ip(), frozenset()) if isinstance(i, Record)
    ]
    assert {(r.place, r.name, r.address) for r in records} == {
        ("internet", "shop.cloudapp.net", "104.43.142.188"),
        ("lb.vnet1", "shop.cloudapp.net", "104.43.142.188"),
    }


def test_a_vm_without_an_address_of_its_own_is_none_of_this_rules_business() -> None:
    assert list(instance_public_ip.items(worlds.pool_without_rule(), frozenset())) == []


def test_a_vm_with_an_address_of_its_own_uses_no_snat_port_though_a_rule_links_it() -> None:
    """Seed 002: used whether balanced or not."""
    network = worlds.network(
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s, instance_public_ip: {name: ip}}, web: {subnet: v/s}}\n"
        "load_balancers:\n  lb:\n    frontend_ip_configurations: {f: 40.1.1.1}\n"
        "    inbound_nat_rules:\n"
        "      a: {frontend: f, virtual_machine: vm, frontend_port: 1, backend_port: 22}\n"
        "      b: {frontend: f, virtual_machine: web, frontend_port: 2, backend_port: 22}\n"
    )
    assert set(outbound_snat.ranges(network)) == {"web"}
