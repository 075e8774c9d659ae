"""Mutations of what load-balancer-outbound-connections.md states in its revisions, and of the lab's own promise."""

from tests.mutations import Mutation
from tests.mutations.seed_001 import BY_POOL, LINKED, LINKS, NOT_LINKED, POOL_BINDS, SNAT, WITH_PROBE, WITHOUT_PROBE

_PROFILE = "lab/azure/profile.py"
_PORTS = "lab/deciders/snat_ports.py"
_OWN = "lab/path/instance_public_ip.py"
_WIRING = "lab/path/wiring.py"
_TIERS = "tiers"
_ALL_TIERS = "snat-tiers"
_SMALL = "snat-exhaustion"
_LATER = "2020-10"
_RECLAIMED = "return old is not None and new is not None and len(new) < len(old) and grant.port not in new"
_AFTER = "after = Ports(policy, pools)"
#: A VM keeps the smaller of its ranges, however they change.
_NEVER_MORE = (
    "after = Ports(\n"
    "            policy,\n"
    "            [\n"
    "                min(self._pools.get(int(IPv4Address(p.source)), p), p, key=lambda q: len(q.ranges[0]))\n"
    "                for p in pools\n"
    "            ],\n"
    "        )"
)
_REPORTED = "min(len(vms) + sum(vm in again for vm in vms), most)"
_TWICE = 'value=True, source=_CLASSIC_2018_07 + ": a pool'
_OF_SET = "profile.ports_per_vm(together[vm.availability_set] if vm.availability_set else 1) or 1"
_SCOPE = "        scope = self._scopes.get(key)\n"
_FREE = "p not in scope.used and p not in taken)"
_GRANTED = "                self._refused.pop(flow, None)\n                in_use ="
_IDLE = '"idle_timeout_s": Cell(240, _OUTBOUND_2017'
_FIN = '"fin_s": Cell(240, _OUTBOUND_2019_05)'
_RST = '"rst_s": Cell(15, _OUTBOUND_2019_05)'
_EITHER = '"fin_close": Cell("either", _OUTBOUND_2019_05'
_BOTH = '"fin_close": Cell("both", _CLASSIC_2018_07'
_UDP_2019 = '"udp_reuse": Cell("nothing", _OUTBOUND_2019_05'
_UDP_2020 = '"udp_reuse": Cell("destination address", _OUTBOUND_2020_10'
_TCP_2018 = '"destination", _OUTBOUND_2018_02 + ": one port per flow'
_BLOCK = '"rule_block": Cell(8,'
_WHOLE = '"fragments_need_own_address": Cell(value=True'
_CARRIED = '            protocol=protocol,\n            ctstate="NEW",\n            target=Terminal("ACCEPT"),'


def _tier(claim_fact: str, topology: str, size: int, ports: int) -> Mutation:
    old = f"Tier({size}, {ports})"
    return Mutation("N-SN-1", claim_fact, topology, _PROFILE, old, f"Tier({size}, {ports // 2})")


MUTATIONS = (
    _tier("1,024 ports up to 50 VMs", _TIERS, 50, 1024),
    Mutation("N-SN-1", "1,024 ports up to 50 VMs", _TIERS, _PROFILE, "Tier(50, 1024)", "Tier(51, 1024)"),
    _tier("512 up to 100", _TIERS, 100, 512),
    _tier("256 up to 200", _TIERS, 200, 256),
    _tier("128 up to 400", _ALL_TIERS, 400, 128),
    _tier("64 up to 800", _ALL_TIERS, 800, 64),
    _tier("32 up to 1,000", _ALL_TIERS, 1000, 32),
    Mutation(
        "N-SN-2",
        "more than a preallocated range",
        "snat-2017",
        _PROFILE,
        '"allocation_basic": Cell("on demand", _STANDARD_2017_09',
        '"allocation_basic": Cell("preallocated", _STANDARD_2017_09',
    ),
    Mutation("N-SN-3", "64,511 ports", "snat-2017", _PROFILE, 'last_port": Cell(65535', 'last_port": Cell(65534'),
    Mutation("N-SN-3", "no more", "snat-2017", _PROFILE, 'first_port": Cell(1025', 'first_port": Cell(1024'),
    Mutation("N-SN-4", "half of the ports are reclaimed", _TIERS, _PORTS, _RECLAIMED, "return False"),
    Mutation(
        "N-SN-4",
        "flows on the other half go on",
        _TIERS,
        _PORTS,
        _RECLAIMED,
        "return old is not None and new is not None and len(new) < len(old)",
    ),
    Mutation(
        "N-SN-4",
        "a smaller pool disturbs no flow",
        _TIERS,
        _PORTS,
        _RECLAIMED,
        "return (\n"
        "                old is not None\n"
        "                and new is not None\n"
        "                and ((len(new) > len(old) and after._random.random() < 2)\n"
        "                or (len(new) < len(old) and grant.port not in new))\n"
        "            )",
    ),
    Mutation("N-SN-4", "and gives more ports", _TIERS, _PORTS, _AFTER, _NEVER_MORE),
    Mutation("N-SN-5", "fewer ports meanwhile", "snat-classic", _PROFILE, _TWICE, _TWICE.replace("True", "False")),
    Mutation(
        "N-SN-5", "as of twice the pool", "snat-classic", SNAT, _REPORTED, _REPORTED.replace("+ sum", "+ 4 * sum")
    ),
    Mutation("N-SN-5", "as many as before afterwards", "snat-classic", _PORTS, _AFTER, _NEVER_MORE),
    Mutation(
        "N-SN-6",
        "a VM alone has the ports of a pool of one",
        "snat-2019",
        SNAT,
        _OF_SET,
        _OF_SET.replace("else 1)", "else 51)"),
    ),
    Mutation(
        "N-SN-6",
        "a set's VMs those of a pool of its size",
        "snat-2019",
        SNAT,
        _OF_SET,
        "profile.ports_per_vm(min(1, together[vm.availability_set or '']) or 1) or 1",
    ),
    Mutation(
        "N-SN-7",
        "a port for each flow to one address, port and protocol",
        _SMALL,
        SNAT,
        "size = max(1, min(wanted or 1, room // len(vms)))",
        "size = max(1, min((wanted or 0) + 4, room // len(vms)))",
        profile=_LATER,
    ),
    Mutation(
        "N-SN-7",
        "flows to another port share it",
        _SMALL,
        _PROFILE,
        _TCP_2018,
        _TCP_2018.replace('"destination"', '"destination address"'),
        profile=_LATER,
    ),
    Mutation(
        "N-SN-8",
        "in 2019 one port irrespective of the destination",
        "snat-2019",
        _PROFILE,
        _UDP_2019,
        _UDP_2019.replace("nothing", "destination address"),
    ),
    Mutation(
        "N-SN-8",
        "in 2020 another address shares it",
        _SMALL,
        _PROFILE,
        _UDP_2020,
        _UDP_2020.replace("destination address", "nothing"),
        profile=_LATER,
    ),
    Mutation(
        "N-SN-8",
        "in 2020 another port does not",
        _SMALL,
        _PROFILE,
        _UDP_2020,
        _UDP_2020.replace("destination address", "destination"),
        profile=_LATER,
    ),
    Mutation(
        "N-SN-9",
        "TCP and UDP apart",
        _SMALL,
        _PORTS,
        _SCOPE,
        "        key = (address, 0, flow.destination)\n" + _SCOPE,
        profile=_LATER,
    ),
    Mutation(
        "N-SN-9",
        "as many ports each",
        _SMALL,
        _PORTS,
        _FREE,
        _FREE.replace(")", " and (flow.protocol == TCP or p % 2))"),
        profile=_LATER,
    ),
    Mutation("N-SN-10", "240 s after FIN", "snat-2020", _PROFILE, _FIN, _FIN.replace("240", "300")),
    Mutation("N-SN-10", "15 s after RST", "snat-2020", _PROFILE, _RST, _RST.replace("15", "60")),
    *(
        Mutation(
            "N-SN-10",
            "FIN of either side is enough (2019-05-02)",
            topology,
            _PROFILE,
            _EITHER,
            _EITHER.replace("either", "both"),
            profile=profile,
        )
        for topology, profile in (("snat-2020", ""), ("snat-2019", ""), ("snat-2019", "2020-06"))
    ),
    Mutation(
        "N-SN-10",
        "FIN of one side is not (2018-07-13)",
        "snat-2019",
        _PROFILE,
        _BOTH,
        _BOTH.replace("both", "either"),
        profile="2018-07-classic",
    ),
    Mutation("N-SN-10", "not before", "snat-2020", _PROFILE, _FIN, _FIN.replace("240", "200")),
    Mutation("N-SN-10", "not before", "snat-2020", _PROFILE, _RST, _RST.replace("15", "0")),
    Mutation(
        "N-SN-11",
        "from lowest to highest",
        "snat-2020",
        _PROFILE,
        '"port_order": Cell("lowest"',
        '"port_order": Cell("random"',
    ),
    Mutation(
        "N-SN-11", "the first that is free", "snat-2020", _PORTS, "yield heappop(returned)", "yield returned.pop()"
    ),
    Mutation(
        "N-SN-12",
        "Basic: one at random",
        "outbound",
        _PROFILE,
        '"frontends_basic": Cell("one at random", _OUTBOUND_2018_02',
        '"frontends_basic": Cell("any", _OUTBOUND_2018_02',
        profile="2018-02",
    ),
    Mutation(
        "N-SN-12",
        "2019: each with the table's ports",
        "snat-2019",
        _PROFILE,
        '"frontends_standard": Cell("all multiply", _OUTBOUND_2019_05',
        '"frontends_standard": Cell("capped", _OUTBOUND_2019_05',
    ),
    Mutation(
        "N-SN-12",
        "2022: one after the other",
        "snat-2019",
        _PROFILE,
        '"frontends_standard": Cell("sequential"',
        '"frontends_standard": Cell("all multiply"',
        profile="2022-03",
    ),
    Mutation(
        "N-SN-12",
        "2026: 1,024 ports in all",
        "snat-2019",
        _PROFILE,
        '"frontends_standard": Cell("capped"',
        '"frontends_standard": Cell("all multiply"',
        profile="2026-07",
    ),
    Mutation(
        "N-SN-13",
        "an address of its own before a load balancer",
        "snat-2019",
        _OWN,
        "target=SourceNat(public),",
        "target=SourceNat(str(network.balancers[0].frontends[0].address)),",
    ),
    Mutation("N-SN-13", "a load balancer before default SNAT", "snat-2019", LINKS, LINKED, NOT_LINKED),
    Mutation(
        "N-SN-14",
        "an address of its own carries ICMP",
        "outbound",
        _OWN,
        'ctstate="NEW",',
        'ctstate="NEW",\n                protocol="esp",',
    ),
    Mutation(
        "N-SN-14", "and ESP", "outbound", _OWN, 'ctstate="NEW",', 'ctstate="NEW",\n                protocol="icmp",'
    ),
    Mutation(
        "N-SN-14",
        "shared ones carry neither",
        "outbound",
        SNAT,
        _CARRIED,
        _CARRIED.replace("            protocol=protocol,\n", ""),
    ),
    Mutation(
        "N-SN-18",
        "keepalives of one side suffice",
        "snat-2020",
        _PORTS,
        _GRANTED,
        "                self._cool(flow, found, now_s + self.policy.idle_s)\n" + _GRANTED,
    ),
    Mutation("N-SN-15", "a rule is needed", "source-ip", LINKS, BY_POOL, POOL_BINDS),
    Mutation("N-SN-15", "its probe need not succeed", "source-ip", SNAT, WITHOUT_PROBE, WITH_PROBE),
    Mutation(
        "N-SN-15",
        "in 2016 no rule is needed",
        "source-ip",
        _PROFILE,
        '"binding_basic": Cell(_RULES | {"backend_pool"}',
        '"binding_basic": Cell(_RULES',
        profile="2016-10",
    ),
    Mutation("N-SN-18", "4 minutes without", "snat-2020", _PROFILE, _IDLE, _IDLE.replace("240", "480")),
    Mutation("N-SN-19", "a rule's port is not used", "snat-2020", _PROFILE, _BLOCK, _BLOCK.replace("8", "0")),
    Mutation("N-SN-19", "nor its block of eight", "snat-2020", _PROFILE, _BLOCK, _BLOCK.replace("8", "1")),
    Mutation("N-SN-19", "all others are", "snat-2020", _PROFILE, _BLOCK, _BLOCK.replace("8", "16")),
    Mutation(
        "N-SN-20", "shared addresses carry no fragments", "fragments", _PROFILE, _WHOLE, _WHOLE.replace("True", "False")
    ),
    Mutation(
        "N-SN-20",
        "a VM's own does",
        "fragments",
        SNAT,
        'exempt=tuple(f"{address}/32" for address in own),',
        "exempt=tuple(str(address) for address in own if False),",
    ),
    Mutation(
        "LAB-1",
        "no ICMP and no other protocol",
        "outbound",
        SNAT,
        _CARRIED,
        _CARRIED.replace("            protocol=protocol,\n", ""),
    ),
    Mutation("LAB-1", "no fragment", "fragments", _PROFILE, _WHOLE, _WHOLE.replace("True", "False")),
    Mutation(
        "LAB-1",
        "no segment of a flow that was never opened",
        "outbound",
        SNAT,
        'nf_conntrack_tcp_loose", value=0',
        'nf_conntrack_tcp_loose", value=1',
    ),
    Mutation(
        "LAB-1",
        "nothing with a private source",
        "outbound",
        _WIRING,
        'yield Policy(place=edge, table="filter", chain="FORWARD", verdict="DROP", why=silent)',
        'yield Policy(place=edge, table="filter", chain="FORWARD", verdict="ACCEPT", why=silent)',
    ),
)
