"""The words of every refusal: values of the wrong kind, and what must hold between the parts of a good file."""

from lab.topology import parse
from tests.unit.refusals import NETWORK, said

# --- values -----------------------------------------------------------------------------------


def test_two_public_addresses_of_one_vm_are_refused_as_a_list_and_as_a_second_key() -> None:
    text = NETWORK + "virtual_machines:\n  vm:\n    subnet: v/s\n    instance_public_ip: "
    assert said(text + "[{name: a}, {name: b}]\n") == [
        (
            "f:6: virtual_machines.vm.instance_public_ip: a list; 2 instance-level public IPs; "
            "a VM has at most one (Instance level public IP, 2016-02-10)"
        )
    ]
    assert said(text + "{name: a}\n    instance_public_ip: {name: b}\n") == [
        (
            'f:7: virtual_machines.vm.instance_public_ip: "instance_public_ip" is here a second time; '
            "the first is on line 6; a key appears once; remove or rename one of them"
        )
    ]


def test_only_true_and_numbers_are_not_text() -> None:
    """YAML 1.1 would make a country code false and two numbers with a colon a base-60 one."""
    text = "name: no\ninternet: {yes: {address: 198.51.100.1, services: [tcp:22]}, on: {address: 198.51.100.2}}"
    network = parse(text, "f")
    assert (network.name, [host.name for host in network.internet]) == ("no", ["on", "yes"])
