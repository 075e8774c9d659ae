"""What private frontends of load balancers may be, and HA-ports rules.

By components.md (2020-06-04), load-balancer-ha-ports-overview.md (2023-05-03), load-balancer-tcp-reset.md (2020-10-07)
and load-balancer-common-deployment-errors.md (2024-06-26), whose codes are told.
"""

from collections import Counter
from collections.abc import Iterator

from lab.azure.model import (
    GATEWAY_SUBNET,
    Frontend,
    InboundNatRule,
    LoadBalancer,
    LoadBalancingRule,
    Network,
    VirtualNetwork,
)
from lab.errors import Problem

_INTERNAL = "components.md (2020-06-04)"
_HA_PORTS = "load-balancer-ha-ports-overview.md (2023-05-03)"
_ERRORS = "load-balancer-common-deployment-errors.md (2024-06-26)"


def violations(network: Network) -> Iterator[Problem]:
    """Yield what internal load balancers of a network must not be."""
    vnets = {vnet.name: vnet for vnet in network.virtual_networks}
    for lb in network.load_balancers:
        path = ("load_balancers", lb.name)
        private = [frontend for frontend in lb.frontends if frontend.private]
        for frontend in private:
            yield from _frontend((*path, "frontend_ip_configurations", frontend.name), vnets, frontend, private[0])
        if private:
            yield from _members(network, path, lb, private[0])
            yield from _outbound_rules(path, lb)
        yield from _zero_ports(path, lb)
        yield from _ha_ports(network, path, lb)
        yield from _resets(path, lb)
    yield from _one_of_a_type(network)


def _frontend(
    path: tuple[str, ...], vnets: dict[str, VirtualNetwork], frontend: Frontend, first: Frontend
) -> Iterator[Problem]:
    subnet = next(s for s in vnets[frontend.virtual_network].subnets if s.name == frontend.subnet)
    usable = range(int(next(subnet.usable(), subnet.gateway)), int(subnet.address_prefix.broadcast_address))
    if subnet.name == GATEWAY_SUBNET:
        yield Problem(
            path=(*path, "subnet"),
            found=f'a frontend in "{GATEWAY_SUBNET}"',
            must="the gateway subnet holds gateways only",
            advice="choose another subnet",
        )
    elif int(frontend.address) not in usable:
        yield Problem(
            path=(*path, "private_ip_address"),
            found=f'{frontend.address} is none of the addresses that subnet "{subnet.name}" '
            f"({subnet.address_prefix}) gives",
            must=f"a private frontend has an address of its subnet, without the five that Azure keeps ({_INTERNAL})",
            advice="choose another address, or leave it out to have one allocated",
        )
    if frontend.virtual_network != first.virtual_network:
        yield Problem(
            path=(*path, "subnet"),
            found=f'virtual network "{frontend.virtual_network}", and frontend "{first.name}" is in '
            f'"{first.virtual_network}"',
            must=f"the private frontends of a load balancer are in one virtual network ({_INTERNAL})",
            advice="choose a subnet of the same virtual network",
        )


def _members(network: Network, path: tuple[str, ...], lb: LoadBalancer, frontend: Frontend) -> Iterator[Problem]:
    home = {vm.name: vm.virtual_network for vm in network.virtual_machines}
    for pool in lb.pools:
        for member in pool.members:
            if home[member] != frontend.virtual_network:
                yield Problem(
                    path=(*path, "backend_address_pools", pool.name),
                    found=f'"{member}" of virtual network "{home[member]}"',
                    must=f"the members of an internal load balancer are in the network of its frontends, here "
                    f'"{frontend.virtual_network}" ({_INTERNAL})',
                    advice="choose VMs of that network, or a subnet of theirs for the frontend",
                )


def _outbound_rules(path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    for rule in lb.outbound_rules:
        for name in (name for name in rule.frontends if lb.frontend(name).private):
            yield Problem(
                path=(*path, "outbound_rules", rule.name, "frontends"),
                found=f'"{name}" has a private address',
                must="flows to the internet leave by public frontends (outbound-rules.md, 2026-01-08)",
                advice="name a public frontend",
            )


def _zero_ports(path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    """Yield ports that do not go with a rule's protocol: 0 is for All, and All is for 0.

    A rule of a file for all protocols is two of the model's, one for each.
    """
    both = Counter(rule.name for rule in lb.load_balancing_rules)
    for rule in (rule for rule in lb.load_balancing_rules if rule.protocol == "tcp" or both[rule.name] == 1):
        for key, port in (("frontend_port", rule.frontend_port), ("backend_port", rule.backend_port)):
            if (port == 0) != (both[rule.name] == 2):
                all_ports = both[rule.name] == 2
                yield Problem(
                    path=(*path, "load_balancing_rules", rule.name, key),
                    found=f"{port} with protocol: {'All' if all_ports else rule.protocol.capitalize()}",
                    must=f"an HA-ports rule has protocol: All and both ports 0, any other one neither ({_HA_PORTS})",
                    advice="use 0" if all_ports else "choose a port, or protocol: All",
                )


def _is_ha(rule: LoadBalancingRule | InboundNatRule) -> bool:
    return isinstance(rule, LoadBalancingRule) and rule.ports is None


def _ha_ports(network: Network, path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    """Yield HA-ports rules where there can be none, and what cannot be beside one."""
    profile = network.profile
    found = [rule for rule in lb.load_balancing_rules if _is_ha(rule) and rule.protocol == "tcp"]
    for rule in found:
        where = (*path, "load_balancing_rules", rule.name)
        if not profile.ha_ports:
            yield Problem(
                path=where,
                found=f"an HA-ports rule in the revision {profile.name}",
                must=f"HA ports are known from revision 2017-09 on ({profile.sources['ha_ports']})",
                advice="choose a later profile, or give the rule a port",
            )
        if lb.sku != "Standard" or not lb.is_private(rule):
            kind = "a private frontend" if lb.is_private(rule) else "a public frontend"
            yield Problem(
                path=where,
                found=f"an HA-ports rule at {kind} of a {lb.sku} load balancer",
                must=f"only an internal Standard load balancer has HA ports ({_HA_PORTS})",
                advice="give the rule a port, or the load balancer sku: Standard and a private frontend",
            )
        others = [r for r in lb.rules() if (r.name, type(r)) != (rule.name, type(rule))]
        near = [r for r in others if r.frontend == rule.frontend]
        if not rule.floating_ip and others:
            beside = f'"{others[0].name}" beside it'
        elif rule.floating_ip and any(not r.floating_ip for r in near):
            beside = f'"{next(r.name for r in near if not r.floating_ip)}" at the same frontend without floating IP'
        elif any(_is_ha(r) for r in near):
            beside = f'"{next(r.name for r in near if _is_ha(r))}" at the same frontend'
        else:
            continue
        yield Problem(
            path=where,
            found=beside,
            must="an HA-ports rule without floating IP is the only rule of its load balancer; with it there is one for "
            f"each frontend, and others there have floating IP too ({_HA_PORTS})",
            advice="remove one of the two, or use enable_floating_ip",
        )


def _resets(path: tuple[str, ...], lb: LoadBalancer) -> Iterator[Problem]:
    for section, rules in (
        ("load_balancing_rules", lb.load_balancing_rules),
        ("inbound_nat_rules", lb.inbound_nat_rules),
    ):
        for rule in rules:
            if rule.tcp_reset and lb.is_private(rule) and not _is_ha(rule):
                yield Problem(
                    path=(*path, section, rule.name, "enable_tcp_reset"),
                    found="TCP reset at a private frontend",
                    must="the lab lets idle flows of private frontends end in silence, as the documents have it by "
                    "default",
                    advice="leave it out",
                )


def _one_of_a_type(network: Network) -> Iterator[Problem]:
    """Yield VMs behind a second internal load balancer."""
    first: dict[str, str] = {}
    for lb in network.load_balancers:
        if not any(frontend.private for frontend in lb.frontends):
            continue
        for pool in lb.pools:
            for member in pool.members:
                other = first.setdefault(member, lb.name)
                if other != lb.name:
                    yield Problem(
                        path=("load_balancers", lb.name, "backend_address_pools", pool.name),
                        found=f'"{member}" is behind "{other}" as well',
                        must="a VM is behind one internal load balancer "
                        f"({_ERRORS}): AnotherInternalLoadBalancerExists",
                        advice="give one of the two load balancers another frontend and rule instead",
                    )
