"""What NAT gateways and subnets may say of the way out, and what is refused with the codes of Azure's own.

By nat-gateway-resource.md (2022-02-25 and 2023-07-10). The code about Basic resources is the one that users were shown
(hashicorp/terraform-provider-azurerm#18570, 2022-09-29).
"""

from collections.abc import Iterator

from lab.azure.model import GATEWAY_SUBNET, NatGateway, Network, Subnet, VirtualNetwork
from lab.errors import Problem

#: Addresses that a gateway has at most, and the prefixes that it takes.
MOST, LONGEST, SHORTEST = 16, 28, 31
_SOURCE = "nat-gateway-resource.md (2023-07-10)"
_BASIC = "SubnetWithNatGatewayAndBasicSkuResourceNotAllowed"


def violations(network: Network) -> Iterator[Problem]:
    """Yield what NAT gateways, and the subnets that name them, must not be."""
    for gateway in network.nat_gateways:
        path = ("nat_gateways", gateway.name)
        if not network.profile.nat_gateways:
            yield Problem(
                path=path,
                found=f"profile {network.profile.name}",
                must=f"NAT gateways are played from 2022-02 on ({network.profile.sources['nat_gateways']})",
                advice="choose a later profile, such as 2022-03, or leave it out",
            )
        yield from _gateway(network, path, gateway)
    homes: dict[str, str] = {}
    for vnet in network.virtual_networks:
        for subnet in vnet.subnets:
            if subnet.default_outbound_access is False and not network.profile.private_subnets:
                yield Problem(
                    path=("virtual_networks", vnet.name, "subnets", subnet.name, "default_outbound_access"),
                    found=f"false in profile {network.profile.name}",
                    must=f"there are private subnets from 2025-12 on ({network.profile.sources['private_subnets']})",
                    advice="choose a later profile, such as 2026-07, or leave it out",
                )
            if subnet.nat_gateway is not None:
                home = homes.setdefault(subnet.nat_gateway, vnet.name)
                yield from _subnet(network, vnet, subnet, home)


def _gateway(network: Network, path: tuple[str, ...], gateway: NatGateway) -> Iterator[Problem]:
    low, high = network.profile.nat_idle_min
    if not low <= gateway.idle_timeout_min <= high:
        yield Problem(
            path=(*path, "idle_timeout_in_minutes"),
            found=f"{gateway.idle_timeout_min}",
            must=f"an idle timeout is {low} to {high} minutes ({network.profile.sources['nat_idle_min']})",
            advice=f"use a value from {low} to {high}",
        )
    wrong = [
        (index, prefix)
        for index, prefix in enumerate(gateway.public_ip_prefixes)
        if not LONGEST <= prefix.prefixlen <= SHORTEST
    ]
    for index, prefix in wrong:
        yield Problem(
            path=(*path, "public_ip_prefixes", str(index)),
            found=f"{prefix}",
            must=f"a NAT gateway takes prefixes from /{LONGEST} to /{SHORTEST} ({_SOURCE})",
            advice="use a longer prefix, or single addresses"
            if prefix.prefixlen < LONGEST
            else "give it as an address",
        )
    if not wrong and len(gateway.addresses) > MOST:
        yield Problem(
            path=path,
            found=f"{len(gateway.addresses)} addresses",
            must=f"a NAT gateway has at most {MOST} addresses, those of its prefixes included ({_SOURCE})",
            advice="use fewer, or another NAT gateway for some of the subnets",
        )


def _subnet(network: Network, vnet: VirtualNetwork, subnet: Subnet, home: str) -> Iterator[Problem]:
    path = ("virtual_networks", vnet.name, "subnets", subnet.name, "nat_gateway")
    name = subnet.nat_gateway
    if subnet.name == GATEWAY_SUBNET:
        yield Problem(
            path=path,
            found=f'"{name}" on "{GATEWAY_SUBNET}"',
            must=f"a NAT gateway is not used with a gateway subnet ({_SOURCE})",
            advice="remove it",
        )
    if home != vnet.name:
        yield Problem(
            path=path,
            found=f'"{name}" is attached to subnets of "{home}"',
            must=f"the subnets of a NAT gateway are in one virtual network ({_SOURCE})",
            advice="make a NAT gateway for each virtual network",
        )
    here = {vm.name: vm for vm in network.vms_of(vnet) if any(i.subnet == subnet.name for i in vm.network_interfaces)}
    basic = [
        f"the Basic public IP of {v.name}" for v in here.values() if (ip := v.instance_public_ip) and ip.sku == "Basic"
    ]
    basic += [
        f"the Basic load balancer of {vm}, {lb.name}"
        for lb in network.balancers
        if lb.sku == "Basic"
        for vm in sorted(lb.virtual_machines() & here.keys())
    ]
    if basic:
        yield Problem(
            path=path,
            found=basic[0] + (f" and {len(basic) - 1} more" if len(basic) > 1 else ""),
            must=f"a subnet with a NAT gateway has no Basic load balancer or public IP ({_SOURCE}): {_BASIC}",
            advice="give them sku: Standard, or move the VM to another subnet",
        )
