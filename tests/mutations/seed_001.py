"""Mutations of what the document of 2018-12-11 states: which source address the far side sees."""

from tests.mutations import Mutation

SNAT = "lab/path/outbound_snat.py"
LINKS = "lab/azure/outbound.py"
#: What of a load balancer's rules ties a VM to a frontend.
_BINDS = "if kind in binding and ("
LINKED = "found.setdefault(vm, []).extend((lb, frontend) for frontend in addressed if frontend.name in names)"
NOT_LINKED = "found.setdefault(vm, [])"
DEFAULT = "profile, address = network.profile, str(vnet.default_outbound_address)"
BY_POOL, POOL_BINDS = 'if "backend_pool" in binding:', "if True:"
#: Frontends of another load balancer, whichever a VM is linked to.
_ANOTHERS = (
    "last = network.balancers[-1]\n"
    "            found.setdefault(vm, []).extend((last, frontend) for frontend in last.addressed() if names)"
)
AS_FRONTEND = "profile, address = network.profile, str(network.balancers[0].frontends[0].address)"
WITHOUT_PROBE = 'vms = [vm for vm in everyone if vm.name in given and vm.power_state != "Deallocated"]'
#: What a VM whose probe fails loses.
WITH_PROBE = WITHOUT_PROBE.replace(
    '"Deallocated"]', '"Deallocated" and not any(key.endswith(f"/{vm.name}") for key in _down)]'
)
_UP = 'return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down)'
ON_DEMAND = "return {vm.name: (SnatRange(address, first, last),) for vm in vms}"
#: Another address for VMs of pools without a rule.
KEPT_APART = (
    "kept = {vm for lb in network.balancers for pool in lb.pools for vm in pool.members}\n        "
    'return {vm.name: (SnatRange("192.0.2.99" if vm.name in kept else address, first, last),) for vm in vms}'
)
_ALLOCATOR = "lab/agent/snat.py"


def _but(kind: str, needs: str = "False") -> str:
    """Return what ties a VM to a frontend if rules of a kind need something else for it."""
    return f'if kind in binding and (kind != "{kind}" or {needs}) and ('


MUTATIONS = (
    Mutation(
        "S1-1",
        "a VM with an address of its own is seen from it",
        "source-ip",
        "lab/path/instance_public_ip.py",
        "target=SourceNat(public),",
        "target=SourceNat(str(vnet.default_outbound_address)),",
    ),
    Mutation("S1-1", "a load-balanced VM is seen from the frontend", "source-ip", LINKS, LINKED, NOT_LINKED),
    Mutation("S1-1", "a standalone VM is seen from the platform's address", "source-ip", SNAT, DEFAULT, AS_FRONTEND),
    Mutation("S1-2", "a pool alone does not bind", "source-ip", LINKS, BY_POOL, POOL_BINDS),
    Mutation(
        "S1-2",
        "the source is that of a standalone VM",
        "source-ip",
        SNAT,
        ON_DEMAND,
        KEPT_APART,
    ),
    Mutation(
        "S1-2",
        "what admits the frontend alone rejects its flows",
        "source-ip",
        "lab/azure/security_groups.py",
        'rule(65500, direction="Inbound", access="Deny")',
        'rule(65500, direction="Inbound", access="Allow")',
    ),
    Mutation("S1-2", "and admits them once a rule binds it", "source-ip", LINKS, _BINDS, _but("inbound_nat_rule")),
    Mutation("S1-3", "an inbound NAT rule binds its VM", "source-ip", LINKS, _BINDS, _but("inbound_nat_rule")),
    Mutation(
        "S1-3",
        "it needs no probe and no load-balancing rule",
        "source-ip",
        LINKS,
        _BINDS,
        _but("inbound_nat_rule", "lb.probes"),
    ),
    Mutation("S1-3", "the source is the rule's frontend", "source-ip", LINKS, LINKED, _ANOTHERS),
    Mutation("S1-4", "a load-balancing rule binds its pool", "source-ip", LINKS, _BINDS, _but("load_balancing_rule")),
    Mutation(
        "S1-4",
        "it needs no inbound NAT rule",
        "source-ip",
        LINKS,
        _BINDS,
        _but("load_balancing_rule", "lb.inbound_nat_rules"),
    ),
    Mutation("S1-4", "the source is the rule's frontend", "source-ip", LINKS, LINKED, _ANOTHERS),
    Mutation(
        "S1-5",
        "a rule without a probe is refused",
        "source-ip",
        "lab/azure/profile.py",
        '"probe_required": Cell(True, _SOURCE_IP_2018',
        '"probe_required": Cell(False, _SOURCE_IP_2018',
    ),
    Mutation(
        "S1-5",
        "a rule whose probe is not defined is refused",
        "source-ip",
        "lab/topology/build.py",
        'references.append(("probe", "probe", raw.probe, lb.probes))',
        "pass",
    ),
    Mutation(
        "S1-6",
        "a member whose probe fails is down",
        "source-ip",
        "lab/deciders/health.py",
        'return self._success(check, now_s) if result.kind == "success" else self._failure(result, check, now_s)',
        "return self._success(check, now_s)",
    ),
    Mutation(
        "S1-6",
        "it is seen from the frontend all the same",
        "source-ip",
        SNAT,
        WITHOUT_PROBE,
        WITH_PROBE,
    ),
    Mutation(
        "S1-7",
        "flows to a member that is down are not forwarded",
        "source-ip",
        "lab/path/distribution.py",
        _UP,
        "return tuple(there)",
    ),
    Mutation(
        "S1-7",
        "flows to a healthy member are forwarded",
        "source-ip",
        "lab/path/distribution.py",
        _UP,
        "return tuple(vm for vm in there if probe is None)",
    ),
    Mutation("S1-8", "an inbound NAT rule binds", "source-ip", LINKS, _BINDS, _but("inbound_nat_rule")),
    Mutation("S1-8", "a load-balancing rule binds", "source-ip", LINKS, _BINDS, _but("load_balancing_rule")),
    Mutation("S1-8", "without a rule the platform's default applies", "source-ip", SNAT, DEFAULT, AS_FRONTEND),
    Mutation(
        "S1-8",
        "a rule that is added or removed changes what new flows are seen from",
        "source-ip",
        _ALLOCATOR,
        "self.ports, lost = self.ports.changed(policy, pools)",
        "lost: list[flows.Flow] = []",
    ),
)
