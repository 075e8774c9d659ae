"""Each claim about cloud services turns CONTRADICTED when what is behind it is altered.

One lab for all of them. What is altered in its kernel is altered for several claims at once, each of which must say so,
and must hold again when ``lab up`` has given the lab its rules back. Claims that operate the lab write its rules
themselves: for these it is altered how the internet routes. What only a command says is altered in the command.
"""

import json
from pathlib import Path

import msgspec
import pytest

from lab.kernel.state import StateDir
from lab.verify.claims import endpoint_acls, endpoints, managed_vips, multiple_vips, reserved_ips, service_files
from tests import rootlab
from tests.sabotage import Command, Labs, acts, altered_programs, assert_noticed, first

pytestmark = pytest.mark.root

_TOPOLOGY = "multivip"
_EDGE, _INTERNET = "lb.vnet1", "internet"
_VIP1, _VIP2, _KEPT = "191.238.74.148", "191.238.74.13", "191.238.74.20"
_DYNAMIC, _GUARDED, _LISTENER2 = "203.0.113.1", "203.0.113.2", "203.0.113.6"


class Sabotage(msgspec.Struct, frozen=True):
    """What is done where, and what each claim must say of it."""

    commands: tuple[Command, ...]
    reasons: dict[str, str]
    place: str = _EDGE


def _lead(to: str, address: str, port: int) -> Command:
    """Have the edge lead a port of a VIP elsewhere."""
    where = ("-p", "tcp", "-d", address, "--dport", str(port))
    return first("nat", "PREROUTING", *where, "-j", "DNAT", "--to-destination", to)


def _lose(way: str, address: str) -> Command:
    """Have the internet lose packets, which no change of the lab undoes."""
    return ("ip", "rule", "add", way, address, "blackhole")


TOGETHER: dict[str, Sabotage] = {
    "ports lead elsewhere": Sabotage(
        (
            _lead("@myVM1:8187", _VIP1, 49152),
            _lead("@myVM1:8443", _VIP2, 443),
            _lead("@sql2:1433", _LISTENER2, 1433),
            _lead("@guarded2:81", _GUARDED, 83),
            first("nat", "myService/myLBSet", "-p", "tcp", "-j", "DNAT", "--to-destination", "@myVM1:8181"),
        ),
        {
            "S0-1": "Vip1:49152 was answered by myVM1",
            "S0-2": "Vip2:443 shows the certificate of myVM1:8443 instead of myVM1:8444",
            "S0-3": "Listener2:1433 ended at port 1433 instead of 1434",
            "S0-14": "none of them came to myVM2",
            "N-HP-5": "Vip1:83 ended at port 81 instead of 8083",
        },
    ),
    "access lists are not asked": Sabotage(
        (first("mangle", "PREROUTING", "-d", _GUARDED, "-j", "ACCEPT"),),
        {
            "N-AC-1": "denied (175.1.0.77) came to ",
            "N-AC-2": "client (198.51.100.10) came to guarded1 through Vip1:3389",
            "N-AC-4": " through Vip1:80",
        },
    ),
    "nobody is told names": Sabotage(
        (first("filter", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP"),),
        {"S0-11": "myVM1 is told no answer"},
    ),
    "what is for VIPs or comes from them is lost in the internet": Sabotage(
        (_lose("to", _VIP2), _lose("to", _KEPT), _lose("from", _DYNAMIC)),
        {
            "S0-4": "Vip1:80: timeout",
            "S0-9": "Vip2:443: timeout",
            "S0-13": "Vip2:80: timeout",
            "S0-15": "Vip2:81: timeout",
            "N-AC-3": "its endpoint leads to timeout",
            "N-RI-1": "Vip1:80: timeout",
            "N-RI-3": "timeout",
        },
        _INTERNET,
    ),
    "a VM is not heard": Sabotage(
        (first("filter", "OUTPUT", "-p", "tcp", "--sport", "3389", "-j", "DROP"),),
        {"N-DM-5": "Vip1:49152: timeout"},
        "myVM2",
    ),
    "another network's VM is not let out": Sabotage(
        (first("filter", "OUTPUT", "-p", "tcp", "--sport", "80", "-j", "DROP"),), {"N-AC-5": "timeout"}, "outsider"
    ),
}
#: What a command does when it is altered, as code that is run before it. ``asked`` tells whether it is of some words.
_ALTERED = """\
import sys
import lab.cli
def asked(*words):
    return all(word in sys.argv for word in words)
def altered(run=lab.cli.main):
    CODE
    run()
lab.cli.main = altered
"""
COMMANDS: dict[str, str] = {
    "S0-5": "if asked('vip', 'add'): import lab.azure.cloud_services as s; s._virtual_ips = lambda *_: iter(())",
    "S0-6": "if asked('import'): import lab.formats.cscfg as c; c.read = lambda *_: c.Configuration('myService', ())",
    "N-CS-1": "if asked('import'): import lab.formats.cscfg as c; c.problems = lambda *_: iter(())",
    "S0-7": "if asked('vip', 'add'): import lab.cli.output as p; p.print_table = lambda *_, **__: None",
    # A VIP that was added is taken for one that an endpoint uses.
    "S0-8": "if asked('vip', 'add'): import lab.azure.model as m; m.CloudService.endpoints_of = lambda *_: (1,)",
    "S0-10": "if asked('service', 'show'): import lab.azure.cloud_services as s; s.is_programmed = lambda *_: True",
    "S0-12": "if asked('service', 'show'): import lab.azure.cloud_services as s; s.is_billed = lambda *_: True",
    "N-RI-2": "if asked('replay'): import lab.azure.model as m; m.Network.user_of = lambda *_: None",
    "N-RI-4": "if asked('vip', 'add'): import lab.azure.cloud_services as s; s.MAX_VIRTUAL_IPS = 6",
    "N-IT-2": "if asked('set-lb'): import lab.operations.lookup as f; f.endpoints = lambda *_: None",
}
#: What shows each claim to be contradicted.
SABOTAGES = {claim: what for what, sabotage in TOGETHER.items() for claim in sabotage.reasons} | COMMANDS


def test_every_claim_about_cloud_services_has_a_sabotage():
    own = {
        claim.id
        for module in (multiple_vips, managed_vips, endpoints, endpoint_acls, reserved_ips, service_files)
        for claim in module.CLAIMS
    }
    assert set(SABOTAGES) == own


@pytest.mark.parametrize("what", TOGETHER)
def test_claims_are_contradicted_when_their_rules_are_altered(labs: Labs, what: str):
    sabotage = TOGETHER[what]
    labs.run(_TOPOLOGY)
    with labs.altered(acts(sabotage.place, *sabotage.commands)):
        sabotaged = labs.judge_all(*sabotage.reasons)
    healed = labs.judge_all(*sabotage.reasons)
    for claim, reason in sabotage.reasons.items():
        assert_noticed(sabotaged[claim], healed[claim], reason)


def test_claims_about_commands_are_contradicted_when_the_commands_are_altered(labs: Labs, tmp_path: Path):
    labs.run(_TOPOLOGY)
    with altered_programs(tmp_path, _ALTERED.replace("CODE", "\n    ".join(COMMANDS.values()))) as altered:
        sabotaged = labs.judge_all(*COMMANDS, prober=altered)
    healed = labs.judge_all(*COMMANDS)
    for claim in COMMANDS:
        assert_noticed(sabotaged[claim], healed[claim], "")


def test_curl_is_shown_another_certificate_at_each_vip_by_a_name_and_an_authority_that_it_checks(labs: Labs):
    """Multiple VIPs (2015-07-23) two tenants on one VM: one port, two VIPs, two certificates."""
    name = labs.run(_TOPOLOGY)
    seen = []
    for address in (_VIP1, _VIP2):
        words = ["-sS", "-m", "5", "--cacert", str(StateDir(name).certificate_file), "-w", "\n%{certs}"]
        words += ["--resolve", f"myVM1:443:{address}", "https://myVM1/"]
        said = rootlab.ok("exec", name, "client", "--", "curl", *words)
        assert json.loads(said.splitlines()[0])["node"] == "myVM1"
        seen.append(next(line for line in said.splitlines() if line.startswith("Subject:")))
    assert [line.split("CN = ")[-1].split("CN=")[-1] for line in seen] == ["myVM1:8443", "myVM1:8444"]
