"""Mutations of what the documents state of idle timeouts."""

from tests.mutations import Mutation

_HERE = "load-balancer"
_RULE = "lab/path/idle_timeout.py"
_RESET = "lab/deciders/idle_reset.py"
_SHAPE = "lab/topology/shape.py"
_PROFILE = "lab/azure/profile.py"
_NOMINAL = "    nominal_s = rule.idle_timeout_min * 60\n"
_DEFAULT = (
    "idle_timeout_in_minutes: Positive = 4\n    enable_floating_ip: bool = False\n    enable_tcp_reset: bool = False\n"
)
#: What follows it, of a load-balancing rule and of an inbound NAT rule.
_OF_BALANCING, _OF_NAT = "    disable_outbound_snat", "\n\nclass LoadBalancer("
_OF_ROLES = (
    "    if owner.roles:\n"
    "        refuse(\n"
    "            operation,\n"
    '            ("cloud_services", owner.name, "endpoints"),'
)
_LOW = '"rule_idle_min": Cell((4, 30),'
_LATER = '"rule_idle_min": Cell((4, 100),'
_LIMITS = "    if not low <= rule.idle_timeout_min <= high:"
_ENDPOINT = "if not 4 <= endpoint.idle_timeout_min <= 30:"
_TOLD = "return Reset(*client, known.by_client, known.by_server), Reset(*server, known.by_server, known.by_client)"

MUTATIONS = (
    Mutation(
        "N-IT-1",
        "4 minutes where the rule names none",
        _HERE,
        _SHAPE,
        _DEFAULT + _OF_BALANCING,
        _DEFAULT.replace("4\n", "5\n", 1) + _OF_BALANCING,
    ),
    Mutation(
        "N-IT-1",
        "4 minutes where the rule names none",
        _HERE,
        _SHAPE,
        _DEFAULT + _OF_NAT,
        _DEFAULT.replace("4\n", "5\n", 1) + _OF_NAT,
    ),
    Mutation(
        "N-IT-1",
        "as long as the rule says",
        _HERE,
        _RULE,
        _NOMINAL,
        "    nominal_s = min(rule.idle_timeout_min, 5) * 60\n",
    ),
    Mutation("N-IT-1", "no longer", _HERE, _RULE, _NOMINAL, _NOMINAL.replace("60", "120")),
    Mutation(
        "N-IT-1",
        "in silence",
        _HERE,
        _RULE,
        _NOMINAL,
        _NOMINAL + '    rule = __import__("msgspec").structs.replace(rule, tcp_reset=True)\n',
    ),
    Mutation(
        "N-IT-1",
        "of an endpoint, 4 to 30 minutes",
        "multivip",
        "lab/azure/cloud_services.py",
        _ENDPOINT,
        _ENDPOINT.replace("30", "31"),
    ),
    Mutation(
        "N-IT-1",
        "of an endpoint, 4 to 30 minutes",
        "multivip",
        "lab/azure/cloud_services.py",
        _ENDPOINT,
        _ENDPOINT.replace("30", "29"),
    ),
    Mutation(
        "N-IT-1",
        "of an endpoint, 4 to 30 minutes",
        "multivip",
        "lab/azure/cloud_services.py",
        _ENDPOINT,
        _ENDPOINT.replace("4", "3"),
    ),
    Mutation(
        "N-IT-1",
        "of a set's members, the same",
        "multivip",
        "lab/azure/cloud_services.py",
        "different = [KEYS.get(f, f) for f in here.__struct_fields__ if getattr(here, f) != getattr(there, f)]",
        'fields = [f for f in here.__struct_fields__ if f != "idle_timeout_min"]\n'
        "            different = [KEYS.get(f, f) for f in fields if getattr(here, f) != getattr(there, f)]",
    ),
    Mutation(
        "N-IT-2",
        "a change in place is refused",
        "multivip",
        "lab/operations/lookup.py",
        _OF_ROLES,
        _OF_ROLES.replace("owner.roles", "False"),
    ),
    Mutation("N-IT-3", "4 minutes at least", _HERE, _PROFILE, _LOW, _LOW.replace("4", "3")),
    Mutation("N-IT-3", "30 minutes at most", _HERE, _PROFILE, _LOW, _LOW.replace("30", "31")),
    Mutation("N-IT-3", "100 minutes from 2025-02-12 on", _HERE, _PROFILE, _LATER, _LATER.replace("100", "101")),
    Mutation(
        "N-IT-3",
        "of both kinds of rules",
        _HERE,
        "lab/azure/invariants.py",
        _LIMITS,
        _LIMITS.replace("if not", "if isinstance(rule, InboundNatRule) and not"),
    ),
    Mutation("N-IT-4", "both ends are sent a reset", _HERE, _RESET, _TOLD, _TOLD.partition(", Reset(*server")[0] + ","),
    Mutation(
        "N-IT-4", "both ends are sent a reset", _HERE, _RESET, _TOLD, "return (R" + _TOLD.partition(", R")[2] + ",)"
    ),
    Mutation(
        "N-IT-4",
        "when the flow times out",
        _HERE,
        _RULE,
        _NOMINAL,
        "    nominal_s = (rule.idle_timeout_min + 20) * 60\n",
    ),
    Mutation(
        "N-IT-4",
        "they believe it",
        _HERE,
        _RESET,
        _TOLD,
        _TOLD.replace("known.by_client, known", "known.by_client + 1, known"),
    ),
    Mutation(
        "N-IT-4",
        "half-closed flows and UDP end in silence",
        _HERE,
        "lab/agent/idle_reset.py",
        "over = timed_out and state == flows.TCP_ESTABLISHED",
        "over = timed_out",
    ),
)
