"""Instance-level public IPs: limits, operations, names, and what is shown of them."""

from typing import Any

import pytest

from lab.azure import public_ips
from lab.azure.model import Network
from lab.operations.base import Operation, Refused, changed
from lab.operations.power import SetPower
from lab.operations.public_ip import RemovePublicIp, SetPublicIp
from lab.topology import parse
from tests.unit.refusals import NETWORK, said

TEXT = """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24, t: 10.1.1.0/24}}}
virtual_machines:
  own: {instance_public_ip: {name: ftpip, address: 104.43.142.188}}
  bare: {subnet: v/s}
  wide: {network_interfaces: {a: {subnet: v/s}, b: {subnet: v/t}}}
cloud_services:
  shop: {virtual_machines: [own]}
  paas: {roles: {web: {instances: 2, instance_public_ip: {name: w, domain_name_label: Web}}}}
"""


def network() -> Network:
    return parse(TEXT, "f")


def test_an_address_is_given_that_nobody_has_and_taken_away_again() -> None:
    made = changed(network(), SetPublicIp("bare", "ip", "label", 15))
    own = made.vm("bare").instance_public_ip  # type: ignore[union-attr]
    assert own is not None
    assert (own.name, own.domain_name_label, own.idle_timeout_min) == ("ip", "label", 15)
    assert own.address not in {a for a, _ in network().public_addresses()}
    assert own.address not in {v.default_outbound_address for v in network().virtual_networks}
    assert changed(made, RemovePublicIp("bare")) == network()


def test_a_name_that_a_deallocated_vm_holds_is_told_without_the_address_that_it_gave_back() -> None:
    with pytest.raises(Refused) as caught:
        changed(changed(network(), SetPower("own", "Deallocated")), SetPublicIp("own", "second"))
    assert '"ftpip" is there (no address: the VM is deallocated); a VM has at most one' in str(caught.value)


def test_an_address_of_the_same_name_stays_and_what_is_not_said_too() -> None:
    made = changed(network(), SetPublicIp("own", "ftpip", idle_timeout_min=30))
    made = changed(made, SetPublicIp("own", "ftpip", "ftp"))
    own = made.vm("own").instance_public_ip  # type: ignore[union-attr]
    assert own is not None
    assert (str(own.address), own.domain_name_label, own.idle_timeout_min) == ("104.43.142.188", "ftp", 30)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (SetPublicIp("own", "second"), 'a second instance-level public IP; "ftpip" is there (104.43.142.188); a VM'),
        (SetPublicIp("wide", "x"), "an instance-level public IP on a VM with 2 network interfaces"),
        (SetPublicIp("bar", "x"), 'no virtual machine "bar"; it must name one of the lab; did you mean "bare"?'),
        (SetPublicIp("web_IN_0", "w"), 'an instance of a role of "paas"; role instances are given theirs by'),
        (SetPublicIp("bare", "x", None, 3), "3; an idle timeout is 4 to 30 minutes"),
        (SetPublicIp("bare", "x", None, 31), "31; an idle timeout is 4 to 30 minutes"),
        (SetPublicIp("bare", "x", "-a"), '"-a"; a label begins with a letter'),
        (SetPublicIp("bare", "x", "a" * 64), "a label begins with a letter, ends with a letter or digit, and has up"),
        (RemovePublicIp("bare"), "no instance-level public IP; what is removed must be there"),
        (RemovePublicIp("nobody"), 'no virtual machine "nobody"'),
        (RemovePublicIp("web_IN_1"), 'an instance of a role of "paas"'),
    ],
)  # fmt: skip
def test_what_the_documents_do_not_allow_is_refused_in_words(operation: Operation, words: str) -> None:
    with pytest.raises(Refused) as caught:
        changed(network(), operation)
    assert str(caught.value).startswith(f"{operation}: ")
    assert words in str(caught.value)


def _many(count: int, more: str = "", profile: str = "seeds") -> str:
    vms = ", ".join(f"vm{i}: {{subnet: v/s, instance_public_ip: {{name: a}}}}" for i in range(count))
    return NETWORK.replace("name: a", f"name: a\nprofile: {profile}") + f"virtual_machines: {{{vms}{more}}}\n"


def test_a_subscription_has_five_and_by_later_limits_500() -> None:
    assert parse(_many(5), "f").name == "a"
    (line,) = said(_many(6))
    assert line.startswith(
        'f:4: virtual_machines: 6 instance-level public IPs in subscription "default": vm0, vm1, vm2, vm3, vm4, vm5; '
        "a subscription has at most 5 (Instance level public IP (2016-02-10)"
    )
    assert said(_many(6, profile="2022-03")) != []
    wide = _many(200, profile="2026-07").replace("10.1.0.0/24", "10.1.0.0/22")
    assert parse(wide, "f").name == "a"


def test_of_very_many_the_first_are_named() -> None:
    (line,) = said(_many(40))
    assert "vm14, vm15 and 24 more; a subscription has at most 5" in line


def test_one_too_many_is_refused_by_all_who_have_one_and_who_is_deallocated_has_none() -> None:
    full = parse(_many(5, ", bare: {subnet: v/s}"), "f")
    holders = '6 instance-level public IPs in subscription "default": bare, vm0, vm1, vm2, vm3, vm4; a subscription has'
    with pytest.raises(Refused) as caught:
        changed(full, SetPublicIp("bare", "sixth"))
    assert str(caught.value).startswith(f"public-ip set bare sixth: virtual_machines: {holders} at most 5")
    # What vm0 gave back is another's then, and vm0 has to wait.
    other = changed(changed(full, SetPower("vm0", "Deallocated")), SetPublicIp("bare", "sixth"))
    with pytest.raises(Refused) as caught:
        changed(other, SetPower("vm0", "Started"))
    assert str(caught.value).startswith(f"vm start vm0: virtual_machines: {holders} at most 5")


def test_each_subscription_counts_its_own() -> None:
    other = "  w: {subscription: other, address_space: [10.2.0.0/16], subnets: {s: 10.2.0.0/24}}\n"
    text = _many(5, ", b: {subnet: w/s, instance_public_ip: {name: a}}, c: {instance_public_ip: {name: a}}")
    text = text.replace("virtual_networks: {v: ", "virtual_networks:\n  v: ").replace("10.1.0.0/24}}}", "10.1.0.0/24}}")
    text = text.replace("virtual_machines", other + "virtual_machines")
    (line,) = said(text)
    assert '6 instance-level public IPs in subscription "default"' in line  # c is in none, so in the default one
    service = "cloud_services: {s: {subscription: other, virtual_machines: [c]}}\n"
    assert parse(text + service, "f").name == "a"


def test_a_label_leads_to_one_instance_of_a_service() -> None:
    text = (
        "name: a\nvirtual_machines: {x: {instance_public_ip: {name: a, domain_name_label: L}}, "
        "y: {instance_public_ip: {name: a, domain_name_label: l}}}\n"
    )
    both = "cloud_services: {s: {virtual_machines: [x, y]}}\n"
    (line,) = said(text + both)
    assert '"l" is also the label of "x", in the same service; a name leads to one instance' in line
    apart = "cloud_services: {s: {virtual_machines: [x]}, t: {virtual_machines: [y]}}\n"
    assert parse(text + apart, "f").name == "a"


def test_what_is_shown_has_the_fields_of_the_documents_and_is_blank_without_an_address() -> None:
    shown: dict[str, Any] = {vm.name: public_ips.shown(network(), vm) for vm in network().virtual_machines}
    assert shown["web_IN_1"] == {
        "ServiceName": "paas",
        "Name": "web_IN_1",
        "PublicIPAddress": "203.0.113.2",
        "PublicIPName": "w",
        "PublicIPDomainNameLabel": "Web",
        "PublicIPFqdns": ["web_IN_1.paas.cloudapp.net", "Web.1.paas.cloudapp.net"],
        "IdleTimeoutInMinutes": 4,
    }
    assert shown["own"]["PublicIPFqdns"] == ["own.shop.cloudapp.net"]
    assert (shown["bare"]["PublicIPAddress"], shown["bare"]["PublicIPName"]) == ("", "")
    assert shown["bare"]["PublicIPFqdns"] == []


def test_a_deallocated_vm_is_shown_with_the_name_and_without_an_address() -> None:
    made = changed(changed(network(), SetPublicIp("bare", "ip", "label", 15)), SetPower("bare", "Deallocated"))
    assert [vm.name for vm in public_ips.holders(made)] == ["bare", "own", "web_IN_0", "web_IN_1"]
    vm = made.vm("bare")
    assert vm is not None
    assert public_ips.shown(made, vm) == {
        "ServiceName": "",
        "Name": "bare",
        "PublicIPAddress": "",
        "PublicIPName": "ip",
        "PublicIPDomainNameLabel": "label",
        "PublicIPFqdns": [],
        "IdleTimeoutInMinutes": 15,
    }
