"""Each claim turns CONTRADICTED when the rule behind it is altered in the kernel, and holds again when it is back.

SNAT ports are given out by the agent, which is asked by a rule of the ``mangle`` table. Where that rule is gone
around, nobody is asked, and the plain rules of the ``nat`` table decide.
"""

import importlib
from pathlib import Path

import msgspec
import pytest

from lab.verify import claims
from tests.sabotage import Command, Labs, acts, altered_programs, assert_noticed, first, of

pytestmark = pytest.mark.root

EDGE, ROUTER = "lb.vnet1", "router.vnet1"
_PLATFORM = "192.0.2.254"  # the default address of the only virtual network
_API, _OTHER = "198.51.100.20", "198.51.100.30"
_TCP, _UDP = ("-p", "tcp"), ("-p", "udp")


class Sabotage(msgspec.Struct, frozen=True):
    """What is done where in a topology, and what must be said of it."""

    topology: str
    commands: tuple[Command, ...]
    reason: str
    place: str = EDGE  # several, with blanks between


def _translate(to: str, *which: str) -> Command:
    """Have the kernel translate flows, of VMs whose flows need no port."""
    return first("nat", "POSTROUTING", *which, "-j", "SNAT", "--to-source", *to.split())


def _unasked(*which: str) -> Command:
    """Have the agent not asked for a port: the kernel's own rules decide."""
    return first("mangle", "PREROUTING", *which, "-j", "ACCEPT")


def _around(to: str, *which: str) -> tuple[Command, ...]:
    """Have flows translated by the kernel, and the agent not asked."""
    return _unasked(*which), _translate(to, *which)


def _timer(name: str, seconds: int) -> Command:
    return ("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={seconds}")


_WEB = "40.117.227.32"  # the frontend of the snat topologies
#: 64 ports for each VM, by the rules of a later revision.
_LATER = "snat-exhaustion 2020-10"

_LEADS_TO_SICK: Command = (
    *("iptables-legacy", "-t", "nat", "-A", "lb-unhealthy/web", *_TCP),
    *("-j", "DNAT", "--to-destination", "@unhealthy:80"),
)
_SILENT_ONCE_HEARD = first(
    *("mangle", "FORWARD", "-s", _WEB, *_UDP, "-m", "hashlimit", "--hashlimit-name", "tiers"),
    *("--hashlimit-mode", "srcip,srcport,dstport", "--hashlimit-above", "1/hour", "--hashlimit-burst", "1"),
    *("--hashlimit-htable-max", "100000", "-j", "DROP"),
)

SABOTAGES: dict[str, Sabotage] = {
    "S1-1": Sabotage("source-ip", (_translate(_PLATFORM, "-s", "@own"),), f"own: seen from {_PLATFORM}"),
    "S1-2": Sabotage("source-ip", _around("40.125.161.58", "-s", "@poolonly"), "poolonly: seen from the frontend"),
    "S1-3": Sabotage("source-ip", _around(_PLATFORM, "-s", "@test2vm"), f"test2vm: seen from {_PLATFORM}"),
    "S1-4": Sabotage("source-ip", _around(_PLATFORM, "-s", "@ruleonly"), f"ruleonly: seen from {_PLATFORM}"),
    "S1-6": Sabotage("source-ip", _around(_PLATFORM, "-s", "@unhealthy"), f"unhealthy: seen from {_PLATFORM}"),
    "S1-7": Sabotage("source-ip", (_LEADS_TO_SICK,), "the unhealthy pool answers"),
    # In the internet, whose tables a change of the lab does not touch: every source looks alike from there on.
    "S1-8": Sabotage(
        "source-ip", (_translate("40.125.161.56", "-d", "198.51.100.10", *_TCP),), "seen from 40.125.161.56", "internet"
    ),
    "S2-1": Sabotage(
        "outbound", (first("filter", "FORWARD", "-i", "internet", "-j", "DROP"),), "the answer did not reach the VM"
    ),
    "S2-2": Sabotage("outbound", _around(_PLATFORM, "-s", "@web1"), f"seen from {_PLATFORM}"),
    "S2-3": Sabotage("outbound", _around("191.238.74.148", "-s", "@alone"), "seen from 191.238.74.148"),
    "S2-4": Sabotage("outbound", _around(f"{_PLATFORM}:600-900", "-s", "@alone", *_UDP), "are not 1024-65535"),
    # The kernel makes a port unique for the destination's port and protocol, too.
    "S2-5": Sabotage("snat-exhaustion", (_unasked("-s", "@web1"),), "72 flows were answered instead of 64"),
    "S2-6": Sabotage(
        "snat-exhaustion",
        (
            *_around(f"{_WEB}:3000-3099", "-s", "@web1", "-d", _OTHER, *_TCP),
            *_around(f"{_WEB}:4000-4099", "-s", "@web1", "-d", _OTHER, *_UDP),
        ),
        "0 ports serve both destinations",
    ),
    "S2-7": Sabotage(
        "snat-exhaustion",
        _around(f"{_WEB}:1025-1124", "-s", "@web1", *_TCP),
        "4 flows were answered instead of 0",
    ),
    # The kernel's 64 ports run out as well, but it tells nobody.
    "S2-8": Sabotage("snat-exhaustion", (_unasked("-s", "@web1"),), "0 alerts were raised instead of one"),
    "N-ML-5": Sabotage("snat-exhaustion", (_unasked("-s", "@web1"),), "high usage is not told"),
    "N-ML-2": Sabotage("snat-exhaustion", (_unasked("-s", "@web1"),), "0 alerts were raised instead of one"),
    "S2-9": Sabotage(
        "snat-exhaustion",
        (_timer("tcp_timeout_established", 600),),
        "0 flows were answered instead of 32",
    ),
    "S2-10": Sabotage("source-ip", _around("40.125.161.58", "-s", "@poolonly"), "poolonly: seen from the frontend"),
    "S2-11": Sabotage("outbound", _around(_PLATFORM, "-s", "@web2"), f"seen from {_PLATFORM}"),
    "S2-12": Sabotage("outbound", (_translate("104.43.142.188:1024-2047", "-s", "@own", *_TCP),), "source port "),
    "S2-13": Sabotage(
        "outbound",
        (_translate("104.43.142.189:1024-1535", "-s", "@balanced", *_UDP),),
        "flows did not arrive",
    ),
    "S2-14": Sabotage("outbound", _around("191.238.74.148", "-s", "@alone"), "the answer is 191.238.74.148"),
    "S2-17": Sabotage("outbound", _around(_PLATFORM, "-s", "@many"), f"seen from {_PLATFORM}"),
    "S2-18": Sabotage("snat-exhaustion", _around(f"{_WEB}:1025-1124", "-s", "@web1", *_UDP), "instead of 1024"),
    "S2-19": Sabotage(
        "snat-exhaustion",
        _around(f"{_WEB}:3000-3099", "-s", "@web1", "-d", _OTHER, *_TCP),
        "128 ports were seen for 128 flows",
    ),
    # These two change the lab, and with it the rules of its edge. In the internet, in a table that the lab leaves
    # alone: one port is silent, and every flow is once it has been heard.
    "N-SN-1": Sabotage(
        "tiers",
        (first("mangle", "FORWARD", "-s", _WEB, *_UDP, "--sport", "1030", "-j", "DROP"),),
        "1023 ports with 50 VMs instead of 1024; 511 ports with 51 VMs instead of 512",
        "internet",
    ),
    "N-SN-4": Sabotage("tiers", (_SILENT_ONCE_HEARD,), "0 flows kept their port instead of 512", "internet"),
    # Only before: a lab that is changed has its translations written again.
    "N-SN-5": Sabotage(
        "snat-classic",
        _around(f"{_WEB}:3000-9999", "-s", "@worker_IN_0", *_TCP),
        "before: 1032 flows were answered instead of 1024",
    ),
    "N-SN-2": Sabotage("snat-2017", _around(f"{_WEB}:1025-1124", "-s", "@web1", *_UDP), "1948 flows did not arrive"),
    "N-SN-3": Sabotage(
        "snat-2017", _around(f"{_PLATFORM}:2000-2099", "-s", "@alone", *_UDP), "not 64511 flows from as many ports"
    ),
    "N-SN-6": Sabotage(
        "snat-2019", _around(f"{_PLATFORM}:2000-2099", "-s", "@alone", *_UDP), "100 ports instead of 1024"
    ),
    "N-SN-7": Sabotage(
        _LATER, _around(f"{_WEB}:1024-1123", "-s", "@web1", *_TCP), "72 flows were answered instead of 64"
    ),
    # The kernel shares a port among the ports of one address.
    "N-SN-8": Sabotage(_LATER, (_unasked("-s", "@web1", *_UDP),), "72 flows were answered instead of 64"),
    "N-SN-9": Sabotage(
        _LATER, _around(f"{_WEB}:5000-5009", "-s", "@web1", *_UDP), "10 flows were answered instead of 64"
    ),
    "N-SN-10": Sabotage(
        "snat-2020", _around(f"{_WEB}:2000-4999", "-s", "@web", *_TCP), "s instead of 0.5 s"
    ),
    "N-SN-11": Sabotage(
        _LATER,
        _around(f"{_WEB}:2000-2999 --random-fully", "-s", "@web1", *_TCP),
        "not one port after the other",
    ),
    "N-SN-12": Sabotage(
        "snat-2019",
        _around("65.52.0.1:1024-1123", "-s", "@many", *_UDP),
        "100 flows from 100 ports instead of 2048",
    ),
    "N-SN-13": Sabotage("snat-2019", (_translate(_WEB, "-s", "@balanced"),), f"balanced: seen from {_WEB}"),
    "N-SN-15": Sabotage("source-ip", _around("40.125.161.58", "-s", "@poolonly"), "poolonly: seen from the frontend"),
    "N-SN-18": Sabotage(
        _LATER, (_timer("tcp_timeout_established", 600),), "4 flows are alive without keepalives"
    ),
    "N-SN-19": Sabotage(
        "snat-2020", _around(f"{_WEB}:1024-1099", "-s", "@web", *_UDP), "ports [1024, 1025, 1026, 1027, 1028, 1029, "
    ),
    "LAB-1": Sabotage("outbound", (first("filter", "FORWARD", "-j", "ACCEPT"),), "left untranslated: "),
}  # fmt: skip


def _in(topology: str, place: str, *rule: str, reason: str = "") -> Sabotage:
    """Return a sabotage by one rule, or by another command, at a place that is not the edge of the first network."""
    command = rule if rule[0] == "tc" else ("iptables-legacy", *rule)
    return Sabotage(topology, (command,), reason, place)


_LET = ("-I", "FORWARD", "1")
SABOTAGES |= {
    **dict.fromkeys(("S2-15", "N-NS-1", "N-NS-2", "N-NS-3", "N-NS-4"), _in("nsg", ROUTER, *_LET, "-j", "ACCEPT")),
    "S2-16": _in(
        *("nsg", EDGE, "-t", "nat", "-I", "lb-app/web", "1", "-p", "tcp", "-j", "DNAT", "--to-destination", "@app2:80")
    ),
    "N-NS-5": _in("nsg", ROUTER, *_LET, "-p", "tcp", "--sport", "80", "-j", "DROP"),
    "N-NS-6": _in("nsg", ROUTER, *_LET, "-p", "tcp", "--dport", "3390", "-j", "ACCEPT"),
    "N-NS-8": _in("nsg", ROUTER, *_LET, "-p", "icmp", "-j", "DROP"),
    "N-NS-9": _in("nsg", ROUTER, *_LET, "-d", "168.63.129.16", "-j", "DROP"),
    "N-NS-10": _in("nsg", ROUTER, *_LET, "-p", "tcp", "--dport", "81", "-j", "ACCEPT"),
    "N-NS-11": _in("nsg", ROUTER, *_LET, "-d", "@shut", "-j", "ACCEPT"),
}
# In a gateway: inner packets are lost, the tunnel itself is well. Who is refused need not wait for silence.
_CUT = ("-I", "FORWARD", "1", "-j", "DROP")
_REFUSED = ("-I", "FORWARD", "1", "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
_NO_NAMES = ("-I", "FORWARD", "1", "-p", "udp", "--dport", "53", "-j", "REJECT")
_AS = ("-t", "nat", "-I", "POSTROUTING", "1", "-s", "@vm1", "-j", "SNAT", "--to-source")
SABOTAGES |= {
    **{f"S3-{n}": _in("vnet-to-vnet", "gw.VNet1", *_REFUSED) for n in (2, 6, 13, 18, 19, 22, 23, 24)},
    **{f"N-GW-{n}": _in("vnet-to-vnet", "gw.VNet1", *_REFUSED) for n in (2, 3, 14)},
    **{f"N-GW-{n}": _in("vnet-to-vnet", "gw.VNet1", *_CUT) for n in (8, 13)},
    "S3-12": _in("vnet-to-vnet", "gw.VNet1", *_CUT),
    # The gateways are made anew: what reaches them is altered.
    "S3-21": _in("vnet-to-vnet", "vm1", "-I", "OUTPUT", "1", "-d", "10.2.0.4", *_REFUSED[3:]),
    # A source outside the tunnel's prefixes is not carried; one inside them arrives as somebody else's.
    "S3-1": _in("vnet-to-vnet", "gw.VNet1", *_AS, "10.1.0.99"),
    "S3-16": _in("vnet-to-vnet", "gw.VNet1", *_AS, "192.168.9.9"),
    **{f"N-NC-{n}": _in("vnet-to-vnet", "gw.VNet1", *_REFUSED) for n in (2, 3)},
    "S3-3": _in("multi-site", "gw.Hub", *_REFUSED),
    "S3-7": _in("multi-site", "gw.Hub", *_REFUSED[:3], "-o", "ipsec0", "-d", "172.16.7.0/24", *_REFUSED[3:]),
    "S3-11": _in("multi-site", "gw.Hub", "tc", "qdisc", "del", "dev", "internet", "root"),
    "S3-15": _in("vnet-to-vnet", "gw.VNet1", *_NO_NAMES),
    "S3-17": _in("vnet-to-vnet", "router.VNet2", *_REFUSED),
    # To the gateway a silent site is as good as none; and what the device sends as somebody else is lost.
    "N-GW-7": _in("policy-based", "gw.Static", *_REFUSED, reason="does not reach depot"),
    "N-GW-9": _in(
        *("policy-based", "gw.Dynamic", "-I", "FORWARD", "1", "-s", "192.168.99.99", "-j", "DROP"),
        reason="a source outside the ranges is lost",
    ),
    "N-GW-4": _in("vnet-to-vnet", "gw.VNet1 gw.VNet2", "-t", "mangle", "-F", "FORWARD"),
    "N-GW-5": _in("multi-site", "gw.Hub", *_REFUSED),
    "N-GW-10": _in("multi-site", "gw.Hub", *_REFUSED[:3], "-i", "ipsec0", "-o", "ipsec0", *_REFUSED[3:]),
    "N-DN-1": _in("vnet-to-vnet", "lb.VNet2", "-I", "INPUT", *_NO_NAMES[2:]),
    "N-DN-2": _in("multi-site", "gw.Hub", *_NO_NAMES),
    "N-DN-3": _in("vnet-to-vnet", "lb.VNet2", "-I", "INPUT", *_NO_NAMES[2:]),
}
#: Claims about a refusal: no kernel rule is behind them, but a check of ours.
REFUSALS = {
    "S1-5": ("source-ip", "azure.invariants._rule_probe"),
    "N-IT-3": ("load-balancer", "azure.invariants._rule_limits"),
    "N-MV-3": ("load-balancer", "azure.invariants._rule_targets"),
    "N-NS-7": ("nsg", "azure.invariants._security_groups"),
    "S3-4": ("vnet-to-vnet", "azure.vpn_limits._local_network"),
    "S3-5": ("vnet-to-vnet", "azure.vpn_limits._far_gateway"),
    "S3-8": ("vnet-to-vnet", "azure.vpn_limits._connections"),
    "S3-9": ("vnet-to-vnet", "azure.vpn_limits._connections"),
    "S3-10": ("vnet-to-vnet", "azure.invariants._load_balancer"),
    "S3-14": ("vnet-to-vnet", "azure.vpn_limits.change_violations"),
    "S3-20": ("vnet-to-vnet", "azure.vpn_limits.violations"),
    "N-GW-1": ("vnet-to-vnet", "azure.vpn_limits.violations"),
    "N-GW-6": ("vnet-to-vnet", "azure.vpn_limits.violations"),
    "N-GW-11": ("vnet-to-vnet", "azure.vpn_limits._connections"),
    "N-GW-12": ("vnet-to-vnet", "runtime.show.operation"),
    "N-NC-1": ("vnet-to-vnet", "formats.netcfg.write"),
    "S4-6": ("instance-public-ip", "azure.public_ips.violations"),
    "T-OR-2": ("outbound-rules", "azure.outbound_rules._ports"),
    "T-OR-4": ("outbound-rules", "azure.outbound_rules._ports"),
    "T-OR-11": ("outbound-rules", "azure.outbound_rules._alone_at_frontends"),
    "T-NG-14": ("nat-timers", "azure.nat_gateways._subnet"),
    "T-NG-15": ("nat-timers", "azure.nat_gateways._subnet"),
    "T-OR-12": ("outbound-rules", "azure.outbound_rules._beside_load_balancing_rules"),
    "T-IL-9": ("internal", "azure.internal_balancers._ha_ports"),
    "T-PE-4": ("peerings", "azure.peerings._overlaps"),
    "T-PE-7": ("peerings", "azure.peerings._gateways"),
    "T-PE-14": ("peerings", "azure.peerings._one_each"),
    "T-UR-8": ("routes", "azure.routes._system"),
    "T-UR-10": ("routes", "azure.routes._route"),
    "T-UR-20": ("routes", "azure.routes._of_subnet"),
    "T-UR-21": ("routes", "azure.routes.violations"),
    "N-ML-4": ("snat-exhaustion", "runtime.metrics.families"),
    "T-OR-5": ("outbound-rules", "azure.outbound_rules._ports"),
    "T-OR-8": ("outbound-rules", "azure.outbound_rules._ports"),
    "T-OR-22": ("outbound-rules", "azure.outbound_rules._limits"),
    "N-OR-2": ("outbound-rules", "azure.outbound_rules._idle"),
    "T-IL-12": ("internal", "azure.internal_balancers._one_of_a_type"),
}


def _tiers() -> str:
    """Return `snat-tiers` with so many VMs as show two steps of the table, instead of 1,000."""
    names = [f"vm{number}" for number in range(1, 102)]
    return f"""
name: tiers
profile: 2018-02
internet: {{far: {{address: {_API}}}}}
virtual_networks: {{vnet1: {{address_space: [10.1.0.0/16], subnets: {{pool: 10.1.0.0/20}}}}}}
virtual_machines: {{{", ".join(f"{name}: {{subnet: vnet1/pool}}" for name in names)}}}
load_balancers:
  lb1:
    sku: Standard
    frontend_ip_configurations: {{public: {_WEB}}}
    backend_address_pools: {{pool: [{", ".join(names)}]}}
    probes: {{alive: {{port: 80, interval_in_seconds: 60, number_of_probes: 2}}}}
    load_balancing_rules:
      web: {{frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}}
      datagrams: {{frontend: public, backend_pool: pool, probe: alive, protocol: Udp, frontend_port: 80,
                   backend_port: 80}}
overrides: {{time_scale: 5}}
"""


def test_every_claim_has_a_sabotage():
    files = sorted(Path(__file__).parent.glob("test_sabotage*.py"))
    modules = [importlib.import_module(f"tests.claims.{file.stem}") for file in files]
    played = {claim for module in modules for claim in (*module.SABOTAGES, *getattr(module, "PROGRAMS", ()))}
    assert {claim.id for claim in claims.CATALOGUE} == played | set(REFUSALS)


_BY_TOPOLOGY = sorted((sabotage.topology, claim) for claim, sabotage in SABOTAGES.items())


@pytest.mark.parametrize("claim", [of(*names) for names in _BY_TOPOLOGY])
def test_a_claim_is_contradicted_when_its_rule_is_altered(labs: Labs, claim: str):
    sabotage = SABOTAGES[claim]
    labs.run(sabotage.topology, _tiers() if sabotage.topology == "tiers" else "")
    with labs.altered(acts(sabotage.place, *sabotage.commands)):
        sabotaged = labs.judge(claim)
    assert_noticed(sabotaged, labs.judge(claim), sabotage.reason)


@pytest.mark.parametrize("claim", [of(topology, claim) for claim, (topology, _) in REFUSALS.items()])
def test_a_refusal_is_contradicted_when_its_check_is_taken_away(labs: Labs, claim: str, tmp_path: Path):
    topology, function = REFUSALS[claim]
    labs.run(topology)
    module, _, attribute = function.rpartition(".")
    code = f"import lab.{module}\nlab.{module}.{attribute} = lambda *_: iter(())\n"
    with altered_programs(tmp_path, code) as without_it:
        sabotaged = labs.judge(claim, without_it)
    assert_noticed(sabotaged, labs.judge(claim), "")
