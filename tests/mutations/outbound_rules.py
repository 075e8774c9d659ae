"""Mutations of what is claimed of outbound rules, and of what a Standard SKU changes."""

from tests.mutations import Mutation
from tests.mutations.seed_001 import LINKS, SNAT

_PROFILE = "lab/azure/profile.py"
_RULES = "lab/azure/outbound_rules.py"
_HERE, _STANDARD = "outbound-rules", "standard"

_COUNTS = 'return sku == "Standard" and self.standard_protocols == "named"'
_THEIRS = "theirs = owners.union(vm for lb in standard for vm in lb.virtual_machines())"
_SETS = "return frozenset(theirs | {vm.name for vm in network.virtual_machines if vm.availability_set in sets})"
_BY_BALANCING = (
    '        "binding_standard": Cell(\n'
    '            frozenset[Binding]({"load_balancing_rule"}),\n'
    '            _RULES_2018_09 + ": only inbound'
)
_MEMBERS = "for vm in lb.pool(out.backend_pool).members if protocol in (None, *out.protocols) else ():"
_USED = "named.setdefault(vm, set()).update(out.frontends)"
_GIVEN = "blocks, over = divmod(rule.ports // _BLOCK, len(rule.frontends))"
_SHARED = "shared = [(f, seen[f, p]) for f in rule.frontends for p in rule.protocols if (f, p) in seen]"
_QUIET = "if isinstance(rule, LoadBalancingRule) and rule.disable_outbound_snat:"
_TAKEN = "(lb.frontend(rule.frontend).address, rule.frontend_port // size * size)"
_IDLE = "lab/path/outbound_idle.py"
_TOLD = "        if rule.tcp_reset:"
_LEFT = "return BLOCK * ((PER_ADDRESS * len(rule.frontends) - size * len(blocks)) // members // BLOCK)"
_TOO_MANY = "    elif rule.ports > (left := available(profile, lb, rule)):"
_TABLE = "    if wanted is None and (size := profile.ports_per_vm(_reported(network, vms))) is not None:"
_REUSE = "\n        ".join(
    f"{key}=profile.{cell},"
    for key, cell in (("tcp_reuse", "tcp_reuse"), ("udp_reuse", "udp_reuse"), ("per_protocol", "port_per_protocol"))
)
_ALLOWED = 'protocol=protocol,\n            ctstate="NEW",\n            target=Terminal("ACCEPT"),'
_MOST = "        if count > _MOST:"
_BOUNDS = "    if not low <= rule.idle_timeout_min <= high:"


def _of(protocols: str) -> str:
    """Return the VMs that an outbound rule is for, if it is for other protocols."""
    return _MEMBERS.replace("*out.protocols", protocols)


MUTATIONS = (
    Mutation(
        "N-SN-16",
        "a Standard one translates the protocols of its rules only",
        _STANDARD,
        _PROFILE,
        _COUNTS,
        "return False",
    ),
    Mutation(
        "N-SN-16",
        "a Basic one translates both",
        _STANDARD,
        _PROFILE,
        _COUNTS,
        'return self.standard_protocols == "named"',
    ),
    Mutation("N-SN-17", "a VM of its pools has no default address", _STANDARD, LINKS, _THEIRS, "theirs = owners"),
    Mutation("N-SN-17", "nor has its availability set", _STANDARD, LINKS, _SETS, "return frozenset(theirs)"),
    Mutation(
        "N-SN-17",
        "other VMs have one",
        _STANDARD,
        LINKS,
        _SETS,
        "return frozenset(vm.name for vm in network.virtual_machines)",
    ),
    Mutation(
        "N-OR-9",
        "inbound NAT rules alone give no frontend",
        _STANDARD,
        _PROFILE,
        _BY_BALANCING,
        _BY_BALANCING.replace('frozenset[Binding]({"load_balancing_rule"})', "_RULES"),
    ),
    Mutation("N-OR-9", "nor a default address", _STANDARD, LINKS, _THEIRS, "theirs = owners"),
    Mutation(
        "T-OR-1", "flows leave by the rule's frontends", _HERE, LINKS, _USED, 'named.setdefault(vm, set()).add("")'
    ),
    Mutation(
        "T-OR-1", "those of all VMs of its pool", _HERE, LINKS, _MEMBERS, _MEMBERS.replace("members", "members[:1]")
    ),
    Mutation(
        "T-OR-1",
        "a Basic load balancer has none",
        _HERE,
        _RULES,
        'elif lb.sku != "Standard":',
        "elif False:",
    ),
    Mutation(
        "T-OR-1",
        "an internal one has none",
        _HERE,
        "lab/azure/internal_balancers.py",
        "            yield from _outbound_rules(path, lb)",
        "            yield from ()",
    ),
    Mutation("T-OR-2", "other numbers are refused", _HERE, _RULES, "if rule.ports % BLOCK:", "if False:"),
    Mutation("T-OR-3", "as many ports as it says", _HERE, SNAT, _GIVEN, _GIVEN.replace("// _BLOCK", "// _BLOCK - 1")),
    Mutation("T-OR-3", "and no more", _HERE, SNAT, _GIVEN, _GIVEN.replace("// _BLOCK", "// _BLOCK + 1")),
    Mutation(
        "T-OR-4",
        "an address has 64,000",
        _HERE,
        _RULES,
        "PER_ADDRESS, BLOCK = 64_000, 8",
        "PER_ADDRESS, BLOCK = 64_512, 8",
    ),
    Mutation(
        "T-OR-4",
        "for all VMs of the pool",
        _HERE,
        _RULES,
        "members = len(lb.pool(rule.backend_pool).members) or 1",
        "members = 1",
    ),
    Mutation("T-OR-4", "less those that rules take", _HERE, _RULES, " - size * len(blocks)) //", ") //"),
    Mutation(
        "T-OR-5",
        "rounded down to eight",
        _HERE,
        _RULES,
        _LEFT,
        _LEFT.replace("BLOCK * (", "(").replace(" // BLOCK)", ")"),
    ),
    Mutation("T-OR-5", "for each VM", _HERE, _RULES, _LEFT, _LEFT.replace("// members // BLOCK", "// BLOCK")),
    Mutation("T-OR-6", "as many as the table says", _HERE, SNAT, _TABLE, f"{_TABLE}\n        size -= 8"),
    Mutation("T-OR-6", "by the size of the pool", _HERE, SNAT, _TABLE, _TABLE.replace("_reported(network, vms)", "1")),
    Mutation("T-OR-8", "a VM too many is refused", _HERE, _RULES, _TOO_MANY, "    elif False:"),
    Mutation("T-OR-9", "several frontends are all used", _HERE, LINKS, _USED, _USED.replace("s)", "s[:1])")),
    Mutation(
        "T-OR-9",
        "several frontends are all used",
        _HERE,
        LINKS,
        _USED,
        _USED.replace("s)", "s[:1])"),
        profile="2026-07",
    ),
    Mutation(
        "T-OR-9",
        "in 2022 one after the other",
        _HERE,
        SNAT,
        'sequential=any(profile.frontends(sku) == "sequential" for sku in skus),',
        "sequential=False,",
    ),
    Mutation("T-OR-11", "two of one protocol are refused", _HERE, _RULES, "        if shared:", "        if False:"),
    Mutation(
        "T-OR-11",
        "a rule of both protocols is one of each",
        _HERE,
        _RULES,
        _SHARED,
        f"{_SHARED} if len(rule.protocols) > 1 else []",
    ),
    Mutation(
        "T-OR-12",
        "a load-balancing rule that translates as well is refused",
        _HERE,
        _RULES,
        "if rule.frontend in rule_of and not rule.disable_outbound_snat:",
        "if False:",
    ),
    Mutation("T-OR-13", "such a rule gives no frontend", _HERE, LINKS, _QUIET, "if False:"),
    Mutation("T-OR-13", "nor is there a default address", _HERE, LINKS, _THEIRS, "theirs = owners"),
    Mutation("T-OR-14", "a rule for TCP translates no UDP", _HERE, LINKS, _MEMBERS, _of('*out.protocols, "udp"')),
    Mutation("T-OR-14", "a rule for UDP translates no TCP", _HERE, LINKS, _MEMBERS, _of('*out.protocols, "tcp"')),
    Mutation("T-OR-14", "a rule for both translates both", _HERE, LINKS, _MEMBERS, _of("*out.protocols[:1]")),
    Mutation(
        "T-OR-14",
        "each protocol has all ports",
        _HERE,
        SNAT,
        _REUSE,
        'tcp_reuse="destination address",\n        udp_reuse="destination address",\n        per_protocol=False,',
    ),
    Mutation("T-OR-14", "no ICMP leaves", _HERE, SNAT, _ALLOWED, _ALLOWED.replace("protocol=protocol,", "")),
    Mutation(
        "T-OR-15",
        "4 minutes where the rule names none",
        _HERE,
        "lab/agent/snat.py",
        "Watch(policy.kernel_s, int(policy.idle_s), others)",
        "Watch(policy.kernel_s, policy.kernel_s, others)",
    ),
    Mutation(
        "T-OR-15",
        "as long as the rule says",
        _HERE,
        _IDLE,
        "nominal_s = rule.idle_timeout_min * 60",
        "nominal_s = min(rule.idle_timeout_min, 8) * 60",
    ),
    Mutation("T-OR-15", "with TCP reset both ends are told", _HERE, _IDLE, _TOLD, "        if False:"),
    Mutation("T-OR-15", "without it they end in silence", _HERE, _IDLE, _TOLD, "        if True:"),
    Mutation("T-OR-15", "other values are refused", _HERE, _RULES, _BOUNDS, "    if False:"),
    Mutation("N-OR-2", "other values are refused", _HERE, _RULES, _BOUNDS, "    if False:"),
    Mutation(
        "T-OR-16",
        "a VM with an address of its own leaves by it",
        _HERE,
        "lab/path/instance_public_ip.py",
        "target=SourceNat(public),",
        "target=SourceNat(str(network.load_balancers[0].frontends[0].address)),",
    ),
    Mutation(
        "T-OR-19",
        "a rule's port takes ports",
        _HERE,
        SNAT,
        "    if not size:\n        return set()",
        "    if size:\n        return set()",
    ),
    Mutation(
        "T-OR-19",
        "rules in one block share it",
        _HERE,
        SNAT,
        _TAKEN,
        _TAKEN.replace("// size * size", "// size * size + size * (rule.frontend_port % 2)"),
    ),
    Mutation("T-OR-20", "nothing leaves before", _HERE, LINKS, _THEIRS, "theirs = owners"),
    Mutation(
        "T-OR-20", "flows leave once the rule is there", _HERE, LINKS, _USED, 'named.setdefault(vm, set()).add("")'
    ),
    Mutation(
        "T-OR-22", "601 outbound rules are refused", _HERE, _RULES, _MOST, _MOST.replace("count", "len(lb.frontends)")
    ),
    Mutation(
        "T-OR-22", "601 frontends are refused", _HERE, _RULES, _MOST, _MOST.replace("count", "len(lb.outbound_rules)")
    ),
    Mutation("T-OR-19", "an aligned block of them", _HERE, SNAT, _TAKEN, _TAKEN.replace(" // size * size", "")),
)
