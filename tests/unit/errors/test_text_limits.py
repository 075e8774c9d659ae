"""The words of every refusal: values of the wrong kind, and what must hold between the parts of a good file."""

import pytest

from lab.topology import parse
from tests.unit.refusals import BALANCER, MACHINE, NETWORK, said

_PROBES_2018 = "(load-balancer-custom-probe-overview.md (2018-09-04))"
_PROBES = "(load-balancer-custom-probe-overview.md (2018-09-04); earlier revisions print no minimum)"
_KINDS = "http, https, tcp, udp, dns, ssh, ftp"

# --- values -----------------------------------------------------------------------------------


def _host(value: str) -> str:
    return f"name: a\ninternet: {{h: {{address: 198.51.100.1, services: [{value}]}}}}"


def _probe(value: str) -> str:
    return f"{BALANCER[: BALANCER.index('    probes')]}    probes: {{p: {{port: 80, {value}}}}}"


def _nat(value: str) -> str:
    return BALANCER + f"    inbound_nat_rules: {{r: {{frontend: public, virtual_machine: vm, {value}}}}}"


def _expect(value: str) -> str:
    return MACHINE + f"expect: [{{from: vm, to: 'vm:80', {value}}}]"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: Lab_1", ('f:1: name: "Lab_1"; a lab\'s name begins with a lower-case letter and has up to 20 '
                        "lower-case letters, digits and dashes; correct it")),
        ("name: 5", "f:1: name: 5; it must be text; correct it"),
        ("name:", "f:1: name: nothing; it must be text; correct it"),
        ("name: a\nprofile: 2018-11", 'f:2: profile: "2018-11"; no such revision; did you mean "2018-12"?'),
        ("name: a\ninternet: []", "f:2: internet: a list; it must be a mapping; correct it"),
        ("name: a\nexpect: {}", "f:2: expect: a mapping; it must be a list; correct it"),
        ("name: a\nvirtual_machines: {vm: hello}",
         'f:2: virtual_machines.vm: "hello"; it must be a mapping; correct it'),
        ("name: a\nvirtual_machines: {1vm: {}}",
         ('f:2: virtual_machines.1vm: "1vm"; a name begins with a letter and has up to 63 letters, digits, dots, '
         "dashes and underscores; correct it")),
        ("name: a\nvirtual_networks: {v: {address_space: []}}",
         "f:2: virtual_networks.v.address_space: a list; it must not be empty; correct it"),
        ("name: a\nvirtual_networks: {v: {address_space: 10.1.0.0/16}}",
         'f:2: virtual_networks.v.address_space: "10.1.0.0/16"; it must be a list; correct it'),
        ("name: a\nvirtual_networks: {v: {address_space: [ten]}}",
         'f:2: virtual_networks.v.address_space.0: "ten"; not an IPv4 prefix, such as 10.1.0.0/24; correct it'),
        ("name: a\nvirtual_networks: {v: {address_space: [10.1.0.5/16]}}",
         'f:2: virtual_networks.v.address_space.0: "10.1.0.5/16"; has host bits set; the prefix is 10.1.0.0/16'),
        (NETWORK + "virtual_machines: {vm: {subnet: front}}",
         ('f:3: virtual_machines.vm.subnet: "front"; a subnet reference is NETWORK/SUBNET, such as "vnet1/front"; '
         "correct it")),
        ("name: a\nload_balancers: {lb: {frontend_ip_configurations: {}}}",
         "f:2: load_balancers.lb.frontend_ip_configurations: a mapping; it must not be empty; correct it"),
        ("name: a\nload_balancers: {lb: {sku: Premium, frontend_ip_configurations: {f: 40.1.1.1}}}",
         "f:2: load_balancers.lb.sku: \"Premium\"; it must be 'Basic' or 'Standard'; use one of them"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused(text: str, line: str) -> None:
    assert said(text) == [line]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("198.51.100.300", '"198.51.100.300"'), ("198.5", "198.5"), ("5", "5"), ("'2001:db8::1'", '"2001:db8::1"')],
)
def test_what_is_no_ipv4_address_is_refused(value: str, shown: str) -> None:
    assert said(f"name: a\ninternet: {{h: {{address: {value}}}}}") == [
        f"f:2: internet.h.address: {shown}; not an IPv4 address, such as 10.1.0.4; correct it"
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [("true", "true"), ("[1]", "a list"), ("{}", "a mapping"), ("", "nothing")]
)
def test_an_address_that_is_no_text_is_refused(value: str, shown: str) -> None:
    assert said(f"name: a\ninternet: {{h: {{address: {value}}}}}") == [
        f"f:2: internet.h.address: {shown}; it must be text; correct it"
    ]


@pytest.mark.parametrize("value", ["http", "http:0", "http:99999", "smtp:25", "nfs:21", "http:80/sctp", "http:80:81"])
def test_what_is_no_service_is_refused(value: str) -> None:
    assert said(_host(f"'{value}'")) == [
        (
            f'f:2: internet.h.services.0: "{value}"; not KIND:PORT with a kind of {_KINDS} and a port of 1-65535; '
            "correct it"
        )
    ]


def test_a_service_over_the_wrong_transport_is_refused() -> None:
    assert said(_host("'http:80/udp'")) == [
        'f:2: internet.h.services.0: "http:80/udp"; http runs over tcp only; correct it'
    ]


def test_a_service_that_is_nothing_is_refused() -> None:
    assert said(_host("null")) == ["f:2: internet.h.services.0: nothing; it must be text; correct it"]


@pytest.mark.parametrize("text", ["[http:80, tcp:80]", "[dns:53, tcp:53]", "[dns:53, udp:53]"])
def test_two_services_on_one_port_are_refused(text: str) -> None:
    protocol, port = ("udp", 53) if "udp" in text else ("tcp", 53 if "53" in text else 80)
    assert said(_host(text[1:-1])) == [
        f"f:2: internet.h.services: 2 services on {port}/{protocol}; one port has one service; give each its own port"
    ]


@pytest.mark.parametrize(
    ("value", "key", "rest"),
    [
        ("frontend_port: 0, backend_port: 22", "frontend_port", "0; it must be at least 1; correct it"),
        ("frontend_port: 1, backend_port: 65536", "backend_port", "65536; it must be at most 65535; correct it"),
        ("frontend_port: '80', backend_port: 22", "frontend_port", '"80"; it must be a whole number; correct it'),
        ("frontend_port: 80.5, backend_port: 22", "frontend_port", "80.5; it must be a whole number; correct it"),
        ("frontend_port: true, backend_port: 22", "frontend_port", "true; it must be a whole number; correct it"),
        ("frontend_port: 22:22, backend_port: 22", "frontend_port", '"22:22"; it must be a whole number; correct it'),
        ("frontend_port: 1, backend_port: 22, protocol: tcp", "protocol",
         "\"tcp\"; it must be 'Tcp' or 'Udp'; did you mean \"Tcp\"?"),
    ],
)  # fmt: skip
def test_a_bad_port_or_protocol_of_a_rule_is_refused(value: str, key: str, rest: str) -> None:
    assert said(_nat(value)) == [f"f:9: load_balancers.lb.inbound_nat_rules.r.{key}: {rest}"]


_PATH = '.request_path: "/up"; only an HTTP probe asks for a path; remove it, or choose HTTP'


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ("interval_in_seconds: 1", (f".interval_in_seconds: 1; the shortest interval is 5 s {_PROBES}; "
                                   "use a longer interval; --time-scale makes a lab's clock run faster")),
        ("interval_in_seconds: 5s", '.interval_in_seconds: "5s"; it must be a whole number; correct it'),
        ("interval_in_seconds: 0", ".interval_in_seconds: 0; it must be at least 1; correct it"),
        ("number_of_probes: 1", f".number_of_probes: 1; the smallest count is 2 {_PROBES}; use a larger count"),
        ("probe_threshold: 101", ".probe_threshold: 101; it must be at most 100; correct it"),
        ("no_healthy_backends_behavior: AllProbedUp",
         (".no_healthy_backends_behavior: no_healthy_backends_behavior in the revision seeds; probes have it in "
          "revisions from 2023-10 on (Load Balancer Probes, REST API, 2024-01-01); remove it, or choose a later "
          "profile")),
        ("interval_in_seconds: 60, number_of_probes: 3",
         f": 60 s x 3; interval times count is at most 120 s {_PROBES_2018}; shorten one of the two"),
        ("protocol: Https", ".protocol: \"Https\"; it must be 'Tcp' or 'Http'; did you mean \"Http\"?"),
        ("request_path: health", '.request_path: "health"; a request path begins with "/"; correct it'),
        ("protocol: Tcp, request_path: /up", _PATH),
        ("request_path: /", _PATH.replace("/up", "/")),
    ],
)  # fmt: skip
def test_a_bad_probe_is_refused(value: str, rest: str) -> None:
    assert said(_probe(value)) == [f"f:8: load_balancers.lb.probes.p{rest}"]


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ("time_scale: 0", "time_scale: 0; it must be at least 1; correct it"),
        ("time_scale: 241", "time_scale: 241; it must be at most 240; correct it"),
        ("time_scale: 1.5", "time_scale: 1.5; it must be a whole number; correct it"),
        ("snat_ports_per_vm: 0", "snat_ports_per_vm: 0; it must be at least 1; correct it"),
        ("snat_ports_per_vm: 64512", "snat_ports_per_vm: 64512; it must be at most 64511; correct it"),
    ],
)
def test_a_bad_override_is_refused(value: str, rest: str) -> None:
    assert said(f"name: a\noverrides: {{{value}}}") == [f"f:2: overrides.{rest}"]


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        ("source_ip: vm", 'source_ip: "vm"; not an IPv4 address, such as 10.1.0.4; correct it'),
        ("source_port: 5-1", 'source_port: "5-1"; "5-1" is not within 1-65535, lower port first; correct it'),
        ("source_port: high", 'source_port: "high"; "high" is not a port or a range of ports; correct it'),
        ("outcome: answer", ("outcome: \"answer\"; it must be 'answered', 'refused' or 'timeout'; "
                            'did you mean "answered"?')),
        ("answered_by: vm", 'answered_by: "vm"; it must be a list; correct it'),
    ],
)  # fmt: skip
def test_a_bad_expectation_is_refused(value: str, rest: str) -> None:
    assert said(_expect(value)) == [f"f:4: expect.0.{rest}"]


@pytest.mark.parametrize(
    ("to", "rest"),
    [
        ("far", '"far" is not HOST:PORT, HOST:PORT/tcp or HOST:PORT/udp'),
        ("vm:0", '"vm:0": a port is from 1 to 65535'),
        ("vm:80/icmp", '"vm:80/icmp" is not HOST:PORT, HOST:PORT/tcp or HOST:PORT/udp'),
    ],
)
def test_a_bad_destination_is_refused(to: str, rest: str) -> None:
    assert said(MACHINE + f"expect: [{{from: vm, to: '{to}'}}]") == [f'f:4: expect.0.to: "{to}"; {rest}; correct it']


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


# --- between the parts ------------------------------------------------------------------------

_PAIR = NETWORK + "virtual_machines:\n  a: {subnet: v/s, %s}\n  b: {subnet: v/s, %s}\n"
_RULES = BALANCER + "    load_balancing_rules:\n      a: {%s, probe: alive}\n      b: {%s, probe: alive}\n"
_WEB = "frontend: public, backend_pool: pool, frontend_port: %d, backend_port: %d"
_TWO_NETWORKS = """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}, w: {address_space: [10.2.0.0/16],
  subnets: {s: 10.2.0.0/24}}}
virtual_machines: {a: {subnet: v/s}, b: {subnet: w/s}}
load_balancers: {lb: {frontend_ip_configurations: {f: 40.1.1.1}, backend_address_pools: {pool: [a, b]}}}
"""


def _network(space: str, subnets: str = "") -> str:
    return f"name: a\nvirtual_networks: {{v: {{address_space: [{space}], subnets: {{{subnets}}}}}}}\n"


def _machine(value: str) -> str:
    return NETWORK + f"virtual_machines: {{vm: {{subnet: v/s, {value}}}}}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (_network("10.1.0.0/16", "a: 10.1.0.0/24, b: 10.1.0.128/25"),
         ("f:2: virtual_networks.v.subnets.b: 10.1.0.128/25 overlaps 10.1.0.0/24 (virtual_networks.v.subnets.a); "
         "subnets of one virtual network must not overlap; choose a range that is free")),
        (_network("10.1.0.0/16, 10.0.0.0/8"),
         ("f:2: virtual_networks.v.address_space.1: 10.0.0.0/8 overlaps 10.1.0.0/16 "
         "(virtual_networks.v.address_space.0); prefixes of one address space must not overlap; "
         "choose a range that is free")),
        (_network("10.1.0.0/16", "s: 10.2.0.0/24"),
         ("f:2: virtual_networks.v.subnets.s: 10.2.0.0/24 is outside the address space 10.1.0.0/16; "
         "a subnet must lie within its virtual network; change the subnet or add its range to address_space")),
        (_network("10.1.0.0/16", "s: 10.1.0.0/30"),
         ("f:2: virtual_networks.v.subnets.s: 10.1.0.0/30 has 4 addresses; a subnet is /29 or larger, since Azure "
         "keeps five of its addresses; choose a shorter prefix")),
        (_network("168.63.0.0/16"),
         ("f:2: virtual_networks.v.address_space.0: 168.63.0.0/16 overlaps 168.63.129.16/32 (the platform's "
         "own address, from which health probes come); it cannot be an address space; choose a private range, such as "
         "10.1.0.0/16")),
        (_network("169.254.7.0/24"),
         ("f:2: virtual_networks.v.address_space.0: 169.254.7.0/24 overlaps 169.254.0.0/16 (link-local, "
         "RFC 3927); it cannot be an address space; choose a private range, such as 10.1.0.0/16")),
        (NETWORK + "internet: {far: {address: 10.1.2.3}}",
         ('f:3: internet.far.address: 10.1.2.3 is inside the address space 10.1.0.0/16 of "v"; a public '
          'address must be '
         "outside every virtual network; change one of the two")),
        (_machine("private_ip_address: 10.1.9.4"),
         ('f:3: virtual_machines.vm.private_ip_address: 10.1.9.4 is outside subnet "s" (10.1.0.0/24); a VM\'s address '
         "must lie within its subnet; change the address or the subnet, or leave the address out to have one "
         "allocated")),
        (_machine("private_ip_address: 10.1.0.3"),
         ("f:3: virtual_machines.vm.private_ip_address: 10.1.0.3 is one of the five addresses Azure keeps in "
         "10.1.0.0/24; a VM's address is from 10.1.0.4 up, below the last; choose another address, or leave it out to "
         "have one allocated")),
        (_machine("private_ip_address: 10.1.0.255"),
         ("f:3: virtual_machines.vm.private_ip_address: 10.1.0.255 is one of the five addresses Azure keeps in "
         "10.1.0.0/24; a VM's address is from 10.1.0.4 up, below the last; choose another address, or leave it out to "
         "have one allocated")),
        (_PAIR % ("private_ip_address: 10.1.0.4", "private_ip_address: 10.1.0.4"),
         ("f:5: virtual_machines.b.private_ip_address: 10.1.0.4 is also the address of "
         "virtual_machines.a.private_ip_address; an address has one owner; change one of the two, or leave it out to "
         "have one allocated")),
        (_PAIR % (("instance_public_ip: {name: i, address: 40.1.1.1}",) * 2),
         ("f:5: virtual_machines.b.instance_public_ip.address: 40.1.1.1 is also the address of "
         "virtual_machines.a.instance_public_ip.address; an address has one owner; change one of the two, or leave it "
         "out to have one allocated")),
        ("name: a\ninternet: {far: {address: 127.0.0.1}}",
         ("f:2: internet.far.address: 127.0.0.1 is not an address of a public host; no host can have an "
         "address of 127.0.0.0/8 (loopback, RFC 1122); choose another address, or leave it out to have one allocated")),
        (NETWORK.replace("s: 10.1.0.0/24", "GatewaySubnet: 10.1.0.0/27")
         + "virtual_machines: {vm: {subnet: v/GatewaySubnet}}",
         ('f:3: virtual_machines.vm.subnet: VM in "GatewaySubnet"; the gateway subnet holds gateways only, no VM; '
         "place the VM in another subnet")),
        (NETWORK.replace("/24", "/29") + "virtual_machines: {a: {subnet: v/s}, b: {subnet: v/s}, c: {subnet: v/s}, "
         "d: {subnet: v/s}}",
         ('f:3: virtual_machines.d.subnet: subnet "v/s" (10.1.0.0/29) has no address left; it has 3 for VMs; '
         "choose a larger subnet")),
        (MACHINE + "internet: {vm: {address: 198.51.100.1}}",
         ('f:3: virtual_machines.vm: "vm" is also under internet; a node\'s name must be unique in the lab, '
         "whatever its case; rename one of the two")),
        (NETWORK + "virtual_machines: {lb.v: {subnet: v/s}}",
         ('f:3: virtual_machines.lb.v: "lb.v" is a name that the lab or Linux uses for itself; a node\'s name must be '
         "unique in the lab; rename it")),
        ("name: a\ninternet: {lo: {address: 198.51.100.1}}",
         ('f:2: internet.lo: "lo" is a name that the lab or Linux uses for itself; a node\'s name must be '
          'unique in the '
         "lab; rename it")),
        (BALANCER.replace("[vm]", "[vm, vm]"),
         ('f:7: load_balancers.lb.backend_address_pools.pool: "vm" is named 2 times; a VM is in a pool once; '
         "remove the repetition")),
        (_TWO_NETWORKS,
         ("f:5: load_balancers.lb.backend_address_pools: VMs of v, w; the VMs of a load balancer must be in "
          "one virtual "
         "network (VNet to VNet connection, 2015-05-15, What to know); make one load balancer for each virtual "
         "network")),
        (_RULES % (_WEB % (80, 80), _WEB % (80, 81)),
         ('f:11: load_balancers.lb.load_balancing_rules.b.frontend_port: 80/tcp of "public" is used by '
         "load_balancing_rules.a; a frontend port has one rule; choose another port or frontend")),
        (_RULES % (_WEB % (80, 80), _WEB % (81, 80)),
         ("f:11: load_balancers.lb.load_balancing_rules.b.backend_port: vm:80/tcp is also the target of "
         "load_balancing_rules.a; every rule needs its own port at the VM "
         "(load-balancer-multivip-overview.md, 2016-08-11); choose another backend_port, or use enable_floating_ip")),
        (_RULES % (_WEB % (80, 80) + ", enable_tcp_reset: true", _WEB % (81, 81)),
         ("f:10: load_balancers.lb.load_balancing_rules.a.enable_tcp_reset: TCP reset of a Basic load balancer; only a "
         "Standard load balancer resets idle flows (load-balancer-tcp-reset.md, 2020-10-07); leave it out, or choose "
         "sku: Standard")),
        (_RULES % (_WEB % (80, 81) + ", enable_floating_ip: true", _WEB % (82, 82)),
         ("f:10: load_balancers.lb.load_balancing_rules.a.backend_port: 81 instead of 80; with floating IP the "
         "destination stays what it is, its port too (load-balancer-multivip-overview.md, 2016-08-11); use 80")),
        (_RULES.replace(", probe: alive}\n      b: {%s, probe: alive", "") % (_WEB % (80, 80)),
         ("f:10: load_balancers.lb.load_balancing_rules.a: no probe; a load-balancing rule needs a probe that was "
         "defined first (Source IP of outbound flows, 2018-12-11, test 2); define one under probes and name it: "
         "probe: NAME")),
        (_RULES % (_WEB % (80, 80) + ", idle_timeout_in_minutes: 31", _WEB % (81, 81)),
         ("f:10: load_balancers.lb.load_balancing_rules.a.idle_timeout_in_minutes: 31; an idle timeout is 4 to 30 "
         "minutes (load-balancer-tcp-idle-timeout.md (2016-10-24)); use a value from 4 to 30")),
    ],
)  # fmt: skip
def test_what_the_documents_or_the_lab_do_not_allow_is_refused(text: str, line: str) -> None:
    assert said(text) == [line]
