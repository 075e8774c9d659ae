"""The words of every refusal: what is no topology, keys, names, and values that do not fit.

Each test holds the whole line that the user reads. What must hold between parts of a good
file is in test_errors_text_limits.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import TopologyError, UsageError
from lab.topology import load, parse
from tests.unit.refusals import BALANCER, MACHINE, NETWORK, said

# --- no topology at all -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ('f:1: found an empty file; a topology is a mapping of keys; begin with "name: NAME"; '
             "the bundled topologies are examples")),
        ("# nothing\n", ('f:1: found an empty file; a topology is a mapping of keys; begin with "name: NAME"; '
                        "the bundled topologies are examples")),
        ("- a\n", ('f:1: found a list; a topology is a mapping of keys; begin with "name: NAME"; '
                  "the bundled topologies are examples")),
        ("hello\n", ('f:1: found "hello"; a topology is a mapping of keys; begin with "name: NAME"; '
                    "the bundled topologies are examples")),
        ("name: a\ninternet: {h: {\n", ("f:3: while parsing a flow node, did not find expected node content; "
                                       "a topology is YAML; correct this line")),
        ("name: a\ninternet: {h: 1\n", ("f:3: while parsing a flow mapping, did not find expected ',' or '}'; "
                                       "a topology is YAML; correct this line")),
        ("name: a\ninternet:\n\th: 1\n", ("f:3: found a tab character in the indentation; YAML is indented with "
                                         "spaces; replace each tab by spaces")),
        ("name: a: b\n", "f:1: mapping values are not allowed in this context; a topology is YAML; correct this line"),
        ("name: *x\n", "f:1: found undefined alias; a topology is YAML; correct this line"),
        ("name: a\n---\nname: b\n", ("f:2: expected a single document in the stream, but found another document; "
                                    "a topology is YAML; correct this line")),
        ("name: a\nx-b: \x01\n", ("f:2: unacceptable character #x0001: control characters are not allowed; "
                                 "a topology is YAML; correct this line")),
        ("x-a: &a [*a]\nb: &b [*b]\n", "f:1: an alias that holds itself; a topology is YAML; remove it"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_mapping_is_refused_with_the_parsers_words(text: str, line: str) -> None:
    assert said(text) == [line]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_ends_in_a_message_and_never_in_the_end_of_the_process(tmp_path: Path, opening: str) -> None:
    """PyYAML's C half recurses without a limit: 100,000 brackets would end the process, hence one of its own."""
    file = tmp_path / "deep.lab.yaml"
    file.write_text("name: a\nx-deep:\n " + opening * 100_000)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lab", "check", file], capture_output=True, text=True, check=False
    )
    assert done.stderr == f"{file}:3: more than 64 levels; a topology is YAML; correct this line\n"
    assert done.returncode == 2


def test_a_billion_laughs_end_in_a_message() -> None:
    laughs = "x: &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n"
    laughs += "".join(f"x{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert said(laughs) == ["f:1: more than 100,000 values, aliases included; a topology is YAML; correct this line"]


def test_a_missing_file_is_named_with_the_nearest_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "shop.lab.yaml").write_text(NETWORK)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "shp.lab.yaml")
    wanted = f'{tmp_path}/shp.lab.yaml: no such file; a topology file is needed; did you mean "shop.lab.yaml"?'
    assert str(caught.value) == wanted


def test_a_folder_is_no_topology(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    wanted = f"{tmp_path}: a folder; a topology file is needed; name a file such as {tmp_path}/NAME.lab.yaml"
    assert str(caught.value) == wanted


@pytest.mark.parametrize(
    ("content", "rest"),
    [
        (b"name: a\nx: \xff\xfe\n", ":2: found bytes that are not UTF-8; a topology is a text file"),
        (b"name: a\nx: a\0b\n", ":2: found a NUL byte; a topology is a text file"),
        (b"#" * 10_000_000, ":1: found 10,000,000 bytes; a topology has at most 4 MiB; split it"),
    ],
    ids=["binary", "NUL", "10 MB"],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, rest: str) -> None:
    file = tmp_path / "a.lab.yaml"
    file.write_bytes(content)
    with pytest.raises(TopologyError) as caught:
        load(file)
    assert caught.value.lines == (f"{file}{rest}",)


# --- keys -------------------------------------------------------------------------------------


def test_an_unknown_key_gets_a_suggestion() -> None:
    assert said("name: a\nvirtual_machine: {}\n") == [
        (
            'f:2: virtual_machine: unknown key "virtual_machine"; keys are those of the vocabulary, or begin '
            'with "x-"; '
            'did you mean "virtual_machines"?'
        )
    ]


def test_an_unknown_key_that_resembles_none_gets_the_list() -> None:
    assert said("name: a\nqqq: {}\n") == [
        (
            'f:2: qqq: unknown key "qqq"; keys are those of the vocabulary, or begin with "x-"; known: '
            "cloud_services, connections, expect, internet, load_balancers, local_networks, name, nat_gateways, "
            "network_security_groups, overrides, profile, reserved_ips, virtual_machines, virtual_networks, "
            "vpn_gateways"
        )
    ]


@pytest.mark.parametrize(
    ("text", "path", "key", "close"),
    [
        (NETWORK + "virtual_machines: {vm: {subnets: v/s}}", "virtual_machines.vm", "subnets", "subnet"),
        ("name: a\n\nvirtual_networks: {v: {address_space: [10.1.0.0/16], subnet: {}}}",
         "virtual_networks.v", "subnet", "subnets"),
        ("name: a\n\ninternet: {h: {adress: 198.51.100.1, address: 198.51.100.1}}",
         "internet.h", "adress", "address"),
        ("name: a\n\nload_balancers: {lb: {frontend_ip_configurations: {f: 40.1.1.1}, probe: {}}}",
         "load_balancers.lb", "probe", "probes"),
        (MACHINE.replace("}}}\n", "}}}\n", 1).replace("virtual_machines: {vm: {subnet: v/s}}\n", "")
         + "expect: [{from: h, to: 'h:80', sourceip: 1.2.3.4}]", "expect.0", "sourceip", "source_ip"),
    ],
)  # fmt: skip
def test_a_suggestion_is_a_key_of_the_same_mapping(text: str, path: str, key: str, close: str) -> None:
    assert said(text)[0] == (
        f'f:3: {path}.{key}: unknown key "{key}"; keys are those of the vocabulary, or begin with "x-"; '
        f'did you mean "{close}"?'
    )


def test_keys_that_begin_with_x_are_left_alone_at_every_depth() -> None:
    text = "x-note: [1, {a: b}]\n" + MACHINE.replace("subnet: v/s", "subnet: v/s, x-owner: me")
    assert parse(text, "f") == parse(MACHINE, "f")


@pytest.mark.parametrize(
    ("text", "path", "key"),
    [
        ("internet: {}\n", "", "name"),
        ("name: a\ninternet: {h: {}}\n", "internet.h: ", "address"),
        ("name: a\nvirtual_networks: {v: {}}\n", "virtual_networks.v: ", "address_space"),
        ("name: a\nload_balancers: {lb: {}}\n", "load_balancers.lb: ", "frontend_ip_configurations"),
        ("name: a\nexpect: [{from: vm}]\n", "expect.0: ", "to"),
    ],
)
def test_a_missing_key_is_asked_for(text: str, path: str, key: str) -> None:
    line = text.rstrip().count("\n") + 1
    assert said(text)[0] == f'f:{line}: {path}no "{key}"; "{key}" is required; add it'


def test_a_key_that_appears_twice_is_refused_with_both_lines() -> None:
    text = NETWORK + "virtual_machines:\n  vm: {subnet: v/s}\n  vm: {subnet: v/s}\n"
    assert said(text) == [
        (
            'f:5: virtual_machines.vm: "vm" is here a second time; the first is on line 4; a key appears once; '
            "remove or rename one of them"
        )
    ]


# --- names that lead nowhere ------------------------------------------------------------------

_RULE = "frontend_port: 80, backend_port: 80}}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (NETWORK + "virtual_machines: {vm: {subnet: v/a}}",
         'f:3: virtual_machines.vm.subnet: no subnet "v/a"; it must name a subnet of this file; did you mean "v/s"?'),
        (NETWORK + "virtual_machines: {vm: {subnet: vnet/front}}",
         'f:3: virtual_machines.vm.subnet: no subnet "vnet/front"; it must name a subnet of this file; known: v/s'),
        ("name: a\nvirtual_machines: {vm: {subnet: v/s}}",
         'f:2: virtual_machines.vm.subnet: no subnet "v/s"; it must name a subnet of this file; none is defined'),
        (BALANCER.replace("[vm]", "[vm, vmm]"),
         ('f:7: load_balancers.lb.backend_address_pools.pool.1: no virtual machine "vmm"; '
         'it must name a virtual machine of this file; did you mean "vm"?')),
        (BALANCER + "    load_balancing_rules: {r: {frontend: pubic, backend_pool: pool, probe: alive, " + _RULE,
         ('f:9: load_balancers.lb.load_balancing_rules.r.frontend: no frontend "pubic"; '
         'it must name a frontend of this file; did you mean "public"?')),
        (BALANCER + "    load_balancing_rules: {r: {frontend: public, backend_pool: pol, probe: alive, " + _RULE,
         ('f:9: load_balancers.lb.load_balancing_rules.r.backend_pool: no backend pool "pol"; '
         'it must name a backend pool of this file; did you mean "pool"?')),
        (BALANCER + "    load_balancing_rules: {r: {frontend: public, backend_pool: pool, probe: live, " + _RULE,
         ('f:9: load_balancers.lb.load_balancing_rules.r.probe: no probe "live"; '
         'it must name a probe of this file; did you mean "alive"?')),
        (BALANCER + "    inbound_nat_rules: {r: {frontend: pubic, virtual_machine: vm, " + _RULE,
         ('f:9: load_balancers.lb.inbound_nat_rules.r.frontend: no frontend "pubic"; '
         'it must name a frontend of this file; did you mean "public"?')),
        (BALANCER + "    inbound_nat_rules: {r: {frontend: public, virtual_machine: vmm, " + _RULE,
         ('f:9: load_balancers.lb.inbound_nat_rules.r.virtual_machine: no virtual machine "vmm"; '
         'it must name a virtual machine of this file; did you mean "vm"?')),
        (MACHINE + "expect: [{from: vmm, to: 'vm:80'}]",
         ('f:4: expect.0.from: no node "vmm"; from is the name of a VM or of a host under internet; '
         'did you mean "vm"?')),
        (MACHINE + "expect: [{from: vm, to: 'vmm:80'}]",
         'f:4: expect.0.to: no node "vmm"; to is NODE:PORT/PROTOCOL or ADDRESS:PORT/PROTOCOL; did you mean "vm"?'),
        (MACHINE + "expect: [{from: vm, to: 'vm:80', answered_by: [vm, vmm]}]",
         ('f:4: expect.0.answered_by: no node "vmm"; answered_by names VMs or hosts under internet; '
         'did you mean "vm"?')),
    ],
)  # fmt: skip
def test_a_name_that_leads_nowhere_is_refused_with_the_nearest(text: str, line: str) -> None:
    assert said(text) == [line]


def test_a_name_that_leads_to_a_part_already_refused_is_no_second_problem() -> None:
    text = "name: a\nvirtual_networks: {v: {address_space: ten}}\nvirtual_machines: {vm: {subnet: v/s}}\n"
    assert said(text) == ['f:2: virtual_networks.v.address_space: "ten"; it must be a list; correct it']


# --- all at once ------------------------------------------------------------------------------


def test_all_problems_of_a_file_are_reported_at_once_in_the_order_of_its_lines() -> None:
    text = """\
profil: seeds
virtual_machines:
  vm: {subnet: v/t}
  vm: {subnet: v/s}
name: Upper
virtual_networks:
  v:
    address_space: [10.1.0.0/16]
    subnets:
      s: 10.2.0.0/24
internet: {h: {address: 198.51.100.256}}
"""
    assert said(text) == [
        (
            'f:1: profil: unknown key "profil"; keys are those of the vocabulary, or begin with "x-"; '
            'did you mean "profile"?'
        ),
        'f:3: virtual_machines.vm.subnet: no subnet "v/t"; it must name a subnet of this file; did you mean "v/s"?',
        (
            'f:4: virtual_machines.vm: "vm" is here a second time; the first is on line 3; a key appears once; '
            "remove or rename one of them"
        ),
        (
            'f:5: name: "Upper"; a lab\'s name begins with a lower-case letter and has up to 20 lower-case letters, '
            "digits and dashes; correct it"
        ),
        (
            "f:10: virtual_networks.v.subnets.s: 10.2.0.0/24 is outside the address space 10.1.0.0/16; a "
            "subnet must lie "
            "within its virtual network; change the subnet or add its range to address_space"
        ),
        'f:11: internet.h.address: "198.51.100.256"; not an IPv4 address, such as 10.1.0.4; correct it',
    ]
