"""lab/path/instance_public_ip.py: 1:1, both ways, all ports, all protocols."""

from lab.azure.model import Network
from lab.path import instance_public_ip, outbound_snat
from lab.plan import DnsRecord, Route, Rule, Timeout
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


def _names(network: Network) -> set[tuple[str, str, str]]:
    records = [i for i in instance_public_ip.items(network, frozenset()) if isinstance(i, DnsRecord)]
    return {(r.place, r.name, r.address) for r in records}


def test_names_are_under_the_service_and_everybody_knows_them() -> None:
    """Instance level public IP, 2016-02-10: contosoweb_IN_0; the revision of 2018-08-03: WebPublicIP.0."""
    network = worlds.network(
        "cloud_services:\n"
        "  contoso: {roles: {web: {instances: 2, instance_public_ip: {name: a, domain_name_label: Web}}}}\n"
        "  ftp: {virtual_machines: [vm]}\n"
        "virtual_machines: {vm: {instance_public_ip: {name: b, address: 104.43.142.188, domain_name_label: f}}}\n"
    )
    assert _names(network) == {
        (place, name, address)
        for place in ("internet", "lb._platform")
        for name, address in (
            ("vm.ftp.cloudapp.net", "104.43.142.188"),
            ("f.0.ftp.cloudapp.net", "104.43.142.188"),
            ("web_IN_0.contoso.cloudapp.net", "203.0.113.1"),
            ("Web.0.contoso.cloudapp.net", "203.0.113.1"),
            ("web_IN_1.contoso.cloudapp.net", "203.0.113.2"),
            ("Web.1.contoso.cloudapp.net", "203.0.113.2"),
        )
    }


def test_without_a_service_there_is_no_name_to_be_under() -> None:
    assert _names(worlds.one_vm_with_public_ip()) == set()


def test_a_vm_without_an_address_of_its_own_is_none_of_this_rules_business() -> None:
    assert list(instance_public_ip.items(worlds.pool_without_rule(), frozenset())) == []


def test_a_vm_with_an_address_of_its_own_uses_no_snat_port_though_a_rule_links_it() -> None:
    """Outbound connections, 2017-05-31: used whether balanced or not."""
    network = worlds.network(
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines: {vm: {subnet: v/s, instance_public_ip: {name: ip}}, web: {subnet: v/s}}\n"
        "load_balancers:\n  lb:\n    frontend_ip_configurations: {f: 40.1.1.1}\n"
        "    inbound_nat_rules:\n"
        "      a: {frontend: f, virtual_machine: vm, frontend_port: 1, backend_port: 22}\n"
        "      b: {frontend: f, virtual_machine: web, frontend_port: 2, backend_port: 22}\n"
    )
    assert set(outbound_snat.ranges(network)) == {"web"}


def test_an_idle_timeout_of_its_own_is_that_of_tcp_flows_that_come_in() -> None:
    own = "{name: i, address: 40.1.1.1, idle_timeout_in_minutes: MINUTES}"
    text = f"virtual_machines: {{a: {{instance_public_ip: {own}}}}}"
    longer, usual = (
        instance_public_ip.items(worlds.network(text.replace("MINUTES", str(n))), frozenset()) for n in (15, 4)
    )
    found = [str(i) for i in longer if isinstance(i, Timeout) or (isinstance(i, Rule) and i.table == "raw")]
    assert [i for i in usual if isinstance(i, Timeout)] == []
    assert found == [
        "-t raw -A PREROUTING -d 40.1.1.1/32 -p tcp -j CT --timeout o15 --ctevents helper",
        "timeout o15: TCP flows may be idle for 900 s",
    ]
