"""Differences between two networks, confirmed by packets: each is looked at in both, while these run."""

from collections.abc import Mapping, Sequence

import msgspec

from lab.azure.model import LoadBalancer, Network, VirtualMachine, listeners
from lab.azure.model import Service as ServerOf
from lab.azure.security_groups import Groups
from lab.errors import InconclusiveError
from lab.predict import explain, forecast, matrix, observed, whatif
from lab.predict.forecast import Service
from lab.predict.outbound import Outbound
from lab.verify.probe import Prober

#: What is sent where a difference is one of all services.
_ANY = Service("tcp", 80)


class Proof(msgspec.Struct, frozen=True):
    """What packets said of one side of a difference."""

    confirmed: bool
    says: str


def answering(network: Network) -> Network:
    """Return a network in which something answers every probe, as differences take all pool members to be up.

    A VM without a server on a probe's port is given one; what a probe asks by HTTP is asked at the root.
    """
    kinds: dict[str, dict[int, str]] = {}
    for lb in network.balancers:
        probes = {probe.name: probe for probe in lb.probes}
        for rule in lb.load_balancing_rules:
            if rule.probe in probes:
                probe = probes[rule.probe]
                for name in lb.targets(rule):
                    kinds.setdefault(name, {}).setdefault(probe.port, probe.protocol)
    vms = tuple(_with_servers(vm, kinds.get(vm.name, {})) for vm in network.virtual_machines)
    balancers = tuple(_asking_the_root(lb) for lb in network.load_balancers)
    return msgspec.structs.replace(network, virtual_machines=vms, load_balancers=balancers)


def _with_servers(vm: VirtualMachine, wanted: Mapping[int, str]) -> VirtualMachine:
    """Return a VM in which a server listens on each port that is probed."""
    there = {(server.protocol, server.port) for server in listeners(vm)}
    more = (
        ServerOf(kind="http" if protocol == "Http" else "tcp", port=port, protocol="tcp")
        for port, protocol in wanted.items()
        if ("tcp", port) not in there
    )
    return msgspec.structs.replace(vm, services=(*vm.services, *more))


def _asking_the_root(lb: LoadBalancer) -> LoadBalancer:
    return msgspec.structs.replace(
        lb, probes=tuple(msgspec.structs.replace(p, request_path="/" if p.request_path else "") for p in lb.probes)
    )


def prove(
    network: Network, changes: Sequence[whatif.Change], down: frozenset[str], prober: Prober, *, is_after: bool
) -> tuple[Proof | None, ...]:
    """Send the flows of each difference in the running lab of one side; None: no packet tells anything about it."""
    reached = iter(_reachability(network, changes, down, prober, is_after=is_after))
    outbound = Outbound(network)
    return tuple(
        next(reached)
        if change.what == "reachability"
        else _way_out(network, change.sender, outbound, prober)
        if change.what in ("source address", "SNAT ports")
        else None
        for change in changes
    )


def _reachability(
    network: Network, changes: Sequence[whatif.Change], down: frozenset[str], prober: Prober, *, is_after: bool
) -> list[Proof]:
    """Send all flows of differences in reachability at once, and tell of each difference whether its flows agree."""
    groups, addresses = Groups(network), whatif.frontends(network)
    wanted = [change for change in changes if change.what == "reachability"]
    predicted = [
        [
            forecast.forecast(
                network, change.sender, addresses.get(change.to, change.to), service, down=down, groups=groups
            )
            for service in change.services
        ]
        for change in wanted
    ]
    outcomes = iter(matrix.seen(network, [one for of_it in predicted for one in of_it], prober))
    found = []
    for change, of_it in zip(wanted, predicted, strict=True):
        said = (change.after if is_after else change.before).value
        seen = [next(outcomes) for _ in of_it]
        other = [str(p.service) for p in of_it if whatif.WORDS[p.access] != said]
        differs = [f"{o.predicted.service} {o.seen}" for o in seen if o.differs]
        if other:
            found.append(
                Proof(confirmed=False, says=f"not {said} with the pool members that are down: {', '.join(other)}")
            )
        else:
            found.append(Proof(confirmed=not differs, says=f"seen: {', '.join(differs) or 'as predicted'}"))
    return found


def _way_out(network: Network, vm: str, outbound: Outbound, prober: Prober) -> Proof | None:
    """Send a flow of a VM to an outside host, if there is one that it reaches, and look at it at each hop."""
    flows = (explain.explain(network, vm, host.name, _ANY, outbound=outbound) for host in network.internet)
    found = next((flow for flow in flows if flow.predicted.access == "Allow"), None)
    if found is None:
        return None
    try:
        compared = observed.send(network, found, prober)
    except InconclusiveError as error:
        return Proof(confirmed=False, says=str(error))
    return Proof(confirmed=not compared.blamed, says=compared.blamed or f"seen: {compared.hops[-1].seen}")
