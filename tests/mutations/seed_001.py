"""Mutations of what the document of 2018-12-11 states: which source address the far side sees."""

from tests.mutations import Mutation

_SNAT = "lab/path/outbound_snat.py"
_BY_RULE = "names |= {r.frontend for r in lb.load_balancing_rules if vm in lb.pool(r.backend_pool).members}"
_BY_NAT_RULE = "names |= {r.frontend for r in lb.inbound_nat_rules if r.virtual_machine == vm}"
_LINKED = "found += [(lb, frontend) for frontend in lb.addressed() if frontend.name in names]"
_DEFAULT = "profile, address = network.profile, str(vnet.default_outbound_address)"
_UNLINKED = "names: set[str] = set()"
_POOL_BINDS = "names = {f.name for f in lb.frontends if any(vm in pool.members for pool in lb.pools)}"
#: Frontends of another load balancer, whichever a VM is linked to.
_ANOTHERS = "found += [(lb, frontend) for frontend in network.balancers[-1].addressed() if names]"
_AS_FRONTEND = "profile, address = network.profile, str(network.balancers[0].frontends[0].address)"
_THERE = 'vms = [vm for vm in everyone if vm.name in given and vm.power_state != "Deallocated"]'
_UP = 'return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down)'
_ALLOCATOR = "lab/agent/snat.py"

MUTATIONS = (
    Mutation(
        "S1-1",
        "a VM with an address of its own is seen from it",
        "source-ip",
        "lab/path/instance_public_ip.py",
        "target=SourceNat(public),",
        "target=SourceNat(str(vnet.default_outbound_address)),",
    ),
    Mutation("S1-1", "a load-balanced VM is seen from the frontend", "source-ip", _SNAT, _LINKED, "found += []"),
    Mutation("S1-1", "a standalone VM is seen from the platform's address", "source-ip", _SNAT, _DEFAULT, _AS_FRONTEND),
    Mutation("S1-2", "a pool alone does not bind", "source-ip", _SNAT, _UNLINKED, _POOL_BINDS),
    Mutation(
        "S1-2",
        "the source is that of a standalone VM",
        "source-ip",
        _SNAT,
        "return {vm.name: (SnatRange(address, first, last),) for vm in vms}",
        "kept = {vm for lb in network.balancers for pool in lb.pools for vm in pool.members}\n        "
        'return {vm.name: (SnatRange("192.0.2.99" if vm.name in kept else address, first, last),) for vm in vms}',
    ),
    Mutation("S1-3", "an inbound NAT rule binds its VM", "source-ip", _SNAT, _BY_NAT_RULE, "names |= set()"),
    Mutation(
        "S1-3",
        "it needs no probe and no load-balancing rule",
        "source-ip",
        _SNAT,
        _BY_NAT_RULE,
        _BY_NAT_RULE.replace("== vm}", "== vm and lb.probes}"),
    ),
    Mutation("S1-3", "the source is the rule's frontend", "source-ip", _SNAT, _LINKED, _ANOTHERS),
    Mutation("S1-4", "a load-balancing rule binds its pool", "source-ip", _SNAT, _BY_RULE, "names |= set()"),
    Mutation(
        "S1-4",
        "it needs no inbound NAT rule",
        "source-ip",
        _SNAT,
        _BY_RULE,
        _BY_RULE.replace(".members}", ".members and lb.inbound_nat_rules}"),
    ),
    Mutation("S1-4", "the source is the rule's frontend", "source-ip", _SNAT, _LINKED, _ANOTHERS),
    Mutation(
        "S1-5",
        "a rule without a probe is refused",
        "source-ip",
        "lab/azure/profile.py",
        '"probe_required": Cell(True, _SEED_001',
        '"probe_required": Cell(False, _SEED_001',
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
        "lab/path/health_probe.py",
        'return self._success(check, now_s) if result.kind == "success" else self._failure(result, check, now_s)',
        "return self._success(check, now_s)",
    ),
    Mutation(
        "S1-6",
        "it is seen from the frontend all the same",
        "source-ip",
        _SNAT,
        _THERE,
        _THERE.replace('"Deallocated"]', '"Deallocated" and not any(key.endswith(f"/{vm.name}") for key in _down)]'),
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
    Mutation("S1-8", "an inbound NAT rule binds", "source-ip", _SNAT, _BY_NAT_RULE, "names |= set()"),
    Mutation("S1-8", "a load-balancing rule binds", "source-ip", _SNAT, _BY_RULE, "names |= set()"),
    Mutation("S1-8", "without a rule the platform's default applies", "source-ip", _SNAT, _DEFAULT, _AS_FRONTEND),
    Mutation(
        "S1-8",
        "a rule that is added or removed changes what new flows are seen from",
        "source-ip",
        _ALLOCATOR,
        "self.ports, lost = self.ports.changed(policy, pools)",
        "lost: list[flows.Flow] = []",
    ),
)
