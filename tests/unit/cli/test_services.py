"""`lab service`, `vip`, `endpoint`, `reserved-ip`, `vm`: of a topology file, and what bad requests are told."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner

from lab import topology
from lab.cli import cli
from lab.operations.base import changed
from lab.operations.power import SetPower
from tests import rootlab

_TEXT = """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {myVM1: {subnet: v/s}, myVM2: {subnet: v/s, instance_public_ip: {name: own}}}
cloud_services:
  myService:
    virtual_machines: [myVM1, myVM2]
    virtual_ips: {Vip1: {address: 191.238.74.148}, Vip2: {address: 191.238.74.13}, Vip3: {reserved_ip: keepme}}
    endpoints:
      - {name: web, virtual_machine: myVM1, local_port: 8080, public_port: 80, virtual_ip: Vip2,
         acl: [{order: 100, action: deny, remote_subnet: 175.1.0.1/24}]}
      - {name: lb, virtual_machine: myVM1, local_port: 8181, public_port: 81, virtual_ip: Vip3, load_balanced_set: L,
         probe: {protocol: http, path: /up}}
reserved_ips: {keepme: {address: 191.238.74.20, label: web}, spare: {address: 191.238.74.21}}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("services") / "a.lab.yaml"
    written.write_text(_TEXT)
    return written


def test_a_service_is_shown_as_the_document_shows_it(file: Path) -> None:
    assert rootlab.ok("service", "show", file, "myService") == (
        "Address         : 191.238.74.148\n"
        "IsDnsProgrammed : True\n"
        "Name            : Vip1\n"
        "ReservedIPName  :\n"
        "ExtensionData   :\n"
        "\n"
        "Address         : 191.238.74.13\n"
        "IsDnsProgrammed :\n"
        "Name            : Vip2\n"
        "ReservedIPName  :\n"
        "ExtensionData   :\n"
        "\n"
        "Address         : 191.238.74.20\n"
        "IsDnsProgrammed :\n"
        "Name            : Vip3\n"
        "ReservedIPName  : keepme\n"
        "ExtensionData   :\n"
    )


def test_the_json_of_a_service_has_the_fields_and_what_is_behind_them(file: Path) -> None:
    shown = json.loads(rootlab.ok("service", "show", file, "myService", "-o", "json"))
    assert shown["virtual_ips"][1] == {
        "Address": "191.238.74.13",
        "IsDnsProgrammed": "",
        "Name": "Vip2",
        "ReservedIPName": "",
        "ExtensionData": "",
        "billed": True,
        "endpoints": ["myVM1/web"],
    }
    assert [v["billed"] for v in shown["virtual_ips"]] == [False, True, True]
    assert (shown["location"], shown["default_virtual_ip"]) == ("China North", "Vip1")
    assert shown["load_balanced_sets"] == {"L": ["myVM1/lb"]}
    assert shown["virtual_machines"] == {"myVM1": "Started", "myVM2": "Started"}
    assert [(e["name"], e["public_port"]) for e in shown["endpoints"]] == [("web", 80), ("lb", 81)]
    listed = json.loads(rootlab.ok("service", "list", file, "-o", "json"))
    assert listed == {"cloud_services": [shown]}


def test_the_lists_have_a_line_for_each(file: Path) -> None:
    assert rootlab.ok("service", "list", file).splitlines() == [
        "SERVICE    LOCATION     ADDRESS         VMS  VIPS  ENDPOINTS",
        "myService  China North  191.238.74.148  2    3     2",
    ]
    assert rootlab.ok("vip", "list", file).splitlines()[2].split() == [
        "myService", "Vip2", "191.238.74.13", "-", "-", "1", "yes",
    ]  # fmt: skip
    assert [row.split() for row in rootlab.ok("endpoint", "list", file).splitlines()[1:]] == [
        [
            *[
                "myService",
                "myVM1",
                "web",
                "tcp",
                "Vip2",
                "80",
                "8080",
                "-",
                "-",
                "4",
                "min",
                "100",
                "deny",
                "175.1.0.0/24",
            ]
        ],
        [
            *[
                "myService",
                "myVM1",
                "lb",
                "tcp",
                "Vip3",
                "81",
                "8181",
                "L",
                "Http",
                "8181/up,",
                "15",
                "s",
                "of",
                "31",
                "s",
                "4",
                "min",
                "all",
            ]
        ],
    ]
    assert rootlab.ok("reserved-ip", "list", file).splitlines() == [
        "NAME    ADDRESS        LOCATION     STATE    IN USE  SERVICE    LABEL",
        "keepme  191.238.74.20  China North  Created  True    myService  web",
        "spare   191.238.74.21  China North  Created  False   -          -",
    ]
    assert rootlab.ok("vm", "list", file).splitlines()[1:] == [
        "myVM1  myService  Started  v/s     10.1.0.4  -",
        "myVM2  myService  Started  v/s     10.1.0.5  203.0.113.1",
    ]


def test_a_vm_of_no_virtual_network_has_no_subnet(tmp_path: Path) -> None:
    alone = tmp_path / "b.lab.yaml"
    alone.write_text("name: b\nvirtual_machines: {vm: {}}\n")
    assert rootlab.ok("vm", "list", alone).splitlines()[1].split() == [
        "vm", "-", "Started", "-", "100.64.0.4", "-",
    ]  # fmt: skip
    (shown,) = json.loads(rootlab.ok("vm", "list", alone, "-o", "json"))["virtual_machines"]
    assert shown["subnet"] == ""


@pytest.mark.parametrize("noun", ["vip", "endpoint", "reserved-ip", "vm"])
def test_every_list_is_json_too(noun: str, file: Path) -> None:
    (found,) = json.loads(rootlab.ok(noun, "list", file, "-o", "json")).values()
    assert len(found) == {"vip": 3}.get(noun, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["service", "show", "myServic"], 'a: no cloud service "myServic"; did you mean "myService"?'),
        (["vip", "list", "other"], 'a: no cloud service "other"; known: myService'),
        (["endpoint", "list", "other"], 'a: no cloud service "other"; known: myService'),
        (
            ["endpoint", "list", "myVM1"],
            'a: "myVM1" is a VM; a cloud service must be named; name its service: myService',
        ),
    ],
)
def test_a_service_that_is_not_there_is_named(arguments: list[str], said: str, file: Path) -> None:
    done = rootlab.run(*arguments[:2], str(file), *arguments[2:])
    assert (done.returncode, done.stderr.strip()) == (2, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("vip", "add", "shop", "V", "--lab", "a"), "first argument; give the lab first: lab vip add LAB SERVICE VIP"),
        (("vip", "--lab", "a", "list"), "give the lab first: lab vip COMMAND LAB …"),
        (("endpoint", "list", "--lab", "a.lab.yaml"), "give the lab first: lab endpoint list LAB|FILE [SERVICE]"),
        (("import", "cscfg", "a.cscfg", "--into", "a"), "give the lab first: lab import cscfg LAB|FILE CONFIGURATION"),
    ],
)  # fmt: skip
def test_an_option_that_names_the_lab_is_told_that_the_lab_comes_first(arguments: tuple[str, ...], said: str) -> None:
    done = rootlab.run(*arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_a_reserved_address_has_a_guid_of_its_own_that_stays(file: Path) -> None:
    first, again = (json.loads(rootlab.ok("reserved-ip", "list", file, "-o", "json")) for _ in range(2))
    assert first == again
    assert len({UUID(reserved["Id"]) for reserved in first["reserved_ips"]}) == 2


def test_a_deallocated_vms_public_ip_is_listed_without_an_address(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deallocated = changed(topology.load(file), SetPower("myVM2", "Deallocated"))
    monkeypatch.setattr("lab.cli.public_ip.network_named", lambda _name: deallocated)
    printed = CliRunner().invoke(cli, ["public-ip", "show", "a"]).output.splitlines()
    assert [line.split() for line in printed] == [
        ["VM", "SERVICE", "ADDRESS", "NAME", "LABEL", "IDLE", "NAMES", "IN", "DNS"],
        ["myVM2", "myService", "-", "own", "-", "4", "min", "-"],
    ]
    output = CliRunner().invoke(cli, ["public-ip", "show", "a", "-o", "json"]).output
    (shown,) = json.loads(output)["public_ips"]
    assert (shown["Name"], shown["PublicIPName"], shown["PublicIPAddress"]) == ("myVM2", "own", "")


_ADD = ("endpoint", "add", "nobody", "vm", "e", "--local-port", "1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*_ADD, "--default-probe", "--no-probe"],
         ("--default-probe, --no-probe: a default probe, no probe and a probe of its own exclude each other "
         "(load-balancer-custom-probe-overview.md, 2016-10-24); choose one of them")),
        ([*_ADD, "--no-probe", "--probe-path", "/"], "--no-probe, --probe-path: a default probe, no probe and"),
        ([*_ADD, "--probe-protocol", "http", "--probe-path", "up"],
         '--probe-path "up"; a request path begins with "/"; correct it'),
        ([*_ADD, "--probe-protocol", "tcp", "--probe-path", "/up"],
         ('--probe-path "/up" of a TCP probe; only an HTTP probe asks for a path; leave it out, or use '
          "--probe-protocol http")),
        ([*_ADD, "--probe-path", "/"], '--probe-path "/" of a TCP probe; only an HTTP probe asks for a path'),
        (["endpoint", "set-lb", "nobody", "s", "L", "--probe-path", "/"], '--probe-path "/" of a TCP probe'),
        ([*_ADD, "--acl", "100 allow 65.0.0.0/8"],
         "--acl \"100 allow 65.0.0.0/8\": action: \"allow\"; it must be 'permit' or 'deny'"),
        ([*_ADD, "--acl", "1 permit 65.0.0.0/8", "--acl", "permit 65.0.0.0/8"],
         '--acl "permit 65.0.0.0/8": order: "permit"; it must be a whole number'),
        ([*_ADD, "--acl", "100 permit"],
         '--acl "100 permit": remote_subnet: ""; not an IPv4 prefix, such as 65.0.0.0/8'),
        (["endpoint", "set", "nobody", "vm", "e", "--acl", "1 permit 1.0.0.0/8", "--no-acl"],
         "--acl and --no-acl: an endpoint has access rules or none; choose one of the two"),
        (["reserved-ip", "create", "nobody", "r", "--address", "191.238.74.20"],
         ("--address 191.238.74.20: the address cannot be chosen, it is the platform's "
         "(virtual-networks-reserved-public-ip.md, 2016-02-10); leave it out")),
        (["reserved-ip", "create", "nobody", "r", "--virtual-ip", "V"], "--virtual-ip without --service"),
        (["vm", "create", "nobody", "s", "vm", "--service", "web:80"],
         '--service "web:80"; not KIND:PORT with a kind of http, https'),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(arguments: list[str], said: str) -> None:
    done = rootlab.run(*arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
