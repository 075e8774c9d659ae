"""A network becomes an Azure Resource Manager template; what such a template cannot hold is told.

Names, addresses and rules are those of the network. Addresses of public IPs are written as `az group export` writes
them: Azure chooses its own. No secret is written: passwords and keys are parameters without a value.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from lab.azure.model import (
    PLATFORM_NETWORK,
    InstancePublicIp,
    NatGateway,
    NetworkInterface,
    SecurityGroup,
    SecurityRule,
    VirtualMachine,
    VirtualNetwork,
)
from lab.azure.model import Network as Topology
from lab.formats import azure_template_balancers, azure_template_gateways
from lab.formats.azure_template_lack import lacks
from lab.formats.azure_template_parts import Body, Parts

SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
_IMAGE = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"}
_PASSWORD = {"type": "securestring", "metadata": {"description": "Of every VM."}}
_USER = {"type": "string", "defaultValue": "azureuser"}
_SIZE = {"type": "string", "defaultValue": "Standard_B1s", "metadata": {"description": "Of VMs without a size."}}


class Exported(msgspec.Struct, frozen=True):
    """The text of a template, and a line for each thing of the network that is not in it."""

    text: str
    left: tuple[str, ...]


def exported(network: Topology) -> Exported:
    """Return the template of a network: the same text for the same network."""
    parts = Parts(network)
    for group in network.network_security_groups:
        _group(parts, group)
    for gateway in network.nat_gateways:
        _nat_gateway(parts, gateway)
    for vnet in network.virtual_networks:
        if vnet.name != PLATFORM_NETWORK:
            _virtual_network(parts, vnet)
    for vnet in network.virtual_networks:
        _peerings(parts, vnet)
    for balancer in network.load_balancers:
        azure_template_balancers.add(parts, balancer)
    _availability_sets(parts)
    for vm in network.virtual_machines:
        if vm.virtual_network != PLATFORM_NETWORK:
            _machine(parts, vm)
    azure_template_gateways.add(parts)
    template: Body = {
        "$schema": SCHEMA,
        "contentVersion": "1.0.0.0",
        "metadata": {"lab": {"name": network.name, "profile": network.profile.name}},
    }
    if parts.parameters:
        template["parameters"] = parts.parameters
    template["resources"] = parts.resources
    return Exported(json.dumps(template, indent=2) + "\n", (*parts.left, *lacks(network)))


# --- networks ---------------------------------------------------------------------------------


def _virtual_network(parts: Parts, vnet: VirtualNetwork) -> None:
    depends: list[str] = []
    subnets = []
    for subnet in vnet.subnets:
        body: Body = {"addressPrefix": str(subnet.address_prefix)}
        for key, kind, named in (
            ("networkSecurityGroup", "networkSecurityGroups", subnet.network_security_group),
            ("natGateway", "natGateways", subnet.nat_gateway),
        ):
            if named is not None:
                reference = parts.reference(kind, named)
                body[key] = {"id": reference}
                depends.append(reference)
        given = subnet.default_outbound_access
        body["defaultOutboundAccess"] = parts.network.profile.default_outbound_access if given is None else given
        subnets.append({"name": parts.child("subnets", vnet.name, subnet.name), "properties": body})
    properties: Body = {"addressSpace": {"addressPrefixes": [str(prefix) for prefix in vnet.address_space]}}
    if vnet.dns_servers:
        properties["dhcpOptions"] = {"dnsServers": [str(server) for server in vnet.dns_servers]}
    properties["subnets"] = subnets
    parts.add("virtualNetworks", vnet.name, vnet.location, properties, depends)


def _peerings(parts: Parts, vnet: VirtualNetwork) -> None:
    """Add the halves of a network, which wait for both networks."""
    for peering in vnet.peerings:
        own, remote = (parts.reference("virtualNetworks", name) for name in (vnet.name, peering.remote_virtual_network))
        properties = {
            "remoteVirtualNetwork": {"id": remote},
            "allowVirtualNetworkAccess": peering.allow_virtual_network_access,
            "allowForwardedTraffic": peering.allow_forwarded_traffic,
            "allowGatewayTransit": peering.allow_gateway_transit,
            "useRemoteGateways": peering.use_remote_gateways,
        }
        name = parts.child("virtualNetworkPeerings", vnet.name, peering.name)
        parts.add_child("virtualNetworks", "virtualNetworkPeerings", vnet.name, name, properties, [own, remote])


def _nat_gateway(parts: Parts, gateway: NatGateway) -> None:
    location = parts.location_where(lambda subnet: subnet.nat_gateway == gateway.name)
    addresses = [
        parts.public_ip(f"{gateway.name}-{number}", location, address=address)
        for number, address in enumerate(gateway.public_ip_addresses, start=1)
    ]
    ranges = []
    for number, prefix in enumerate(gateway.public_ip_prefixes, start=1):
        name = f"{gateway.name}-prefix-{number}"
        properties = {"prefixLength": prefix.prefixlen, "publicIPAddressVersion": "IPv4", "ipPrefix": str(prefix)}
        parts.add("publicIPPrefixes", name, location, properties, sku="Standard")
        ranges.append(parts.reference("publicIPPrefixes", name))
    properties = {"idleTimeoutInMinutes": gateway.idle_timeout_min}
    properties |= {"publicIpAddresses": [{"id": one} for one in addresses]} if addresses else {}
    properties |= {"publicIpPrefixes": [{"id": one} for one in ranges]} if ranges else {}
    parts.add("natGateways", gateway.name, location, properties, [*addresses, *ranges], sku="Standard")


def _group(parts: Parts, group: SecurityGroup) -> None:
    def used(where: Any) -> bool:
        return bool(where.network_security_group == group.name)

    homes = [v.virtual_network for v in parts.network.virtual_machines if any(map(used, v.network_interfaces))]
    location = parts.location_where(used, homes)
    rules = [
        {"name": parts.child("securityRules", group.name, rule.name), "properties": _rule(rule)} for rule in group.rules
    ]
    parts.add("networkSecurityGroups", group.name, location, {"securityRules": rules})


def _rule(rule: SecurityRule) -> Body:
    made: Body = {
        "priority": rule.priority,
        "direction": rule.direction,
        "access": rule.access,
        "protocol": rule.protocol,
    }
    for end, addresses, ports in (
        ("source", rule.sources, rule.source_ports),
        ("destination", rule.destinations, rule.destination_ports),
    ):
        made |= _one_or_several(f"{end}AddressPrefix", "es", addresses)
        made |= _one_or_several(f"{end}PortRange", "s", [str(ports_) for ports_ in ports])
    return made


def _one_or_several(key: str, plural: str, values: Sequence[str]) -> Body:
    if len(values) > 1:
        return {key + plural: list(values)}
    return {key: values[0] if values else "*"}


# --- machines ---------------------------------------------------------------------------------


def _availability_sets(parts: Parts) -> None:
    found: dict[str, str] = {}
    for vm in parts.network.virtual_machines:
        if vm.availability_set is not None and vm.virtual_network != PLATFORM_NETWORK:
            found.setdefault(vm.availability_set, parts.location(vm.virtual_network))
    for name, location in found.items():
        properties = {"platformFaultDomainCount": 2, "platformUpdateDomainCount": 5}
        parts.add("availabilitySets", name, location, properties, sku="Aligned")


def _machine(parts: Parts, vm: VirtualMachine) -> None:
    location = parts.location(vm.virtual_network)
    several = vm.network_interfaces if vm.secondary_interfaces else ()
    listed = []
    for number, interface in enumerate(vm.network_interfaces):
        name = f"{vm.name}-{interface.name}" if several else f"{vm.name}-nic"
        reference = _interface(parts, vm, interface, name, is_primary=number == 0)
        listed.append({"id": reference, "properties": {"primary": number == 0}} if several else {"id": reference})
    depends = [str(one["id"]) for one in listed]
    properties: Body = {}
    if vm.availability_set is not None:
        depends.append(parts.reference("availabilitySets", vm.availability_set))
        properties["availabilitySet"] = {"id": depends[-1]}
    parts.parameters.setdefault("adminUsername", _USER)
    parts.parameters.setdefault("adminPassword", _PASSWORD)
    sized = vm.size.startswith("Standard_")
    if not sized:
        parts.parameters.setdefault("vmSize", _SIZE)
    properties |= {
        "hardwareProfile": {"vmSize": vm.size if sized else "[parameters('vmSize')]"},
        "osProfile": {
            "computerName": re.sub(r"[^A-Za-z0-9-]", "-", vm.name).strip("-"),
            "adminUsername": "[parameters('adminUsername')]",
            "adminPassword": "[parameters('adminPassword')]",
        },
        "storageProfile": {"imageReference": _IMAGE, "osDisk": {"createOption": "FromImage"}},
        "networkProfile": {"networkInterfaces": listed},
    }
    parts.add("virtualMachines", vm.name, location, properties, depends)


def _interface(parts: Parts, vm: VirtualMachine, interface: NetworkInterface, name: str, *, is_primary: bool) -> str:
    """Add an interface of a VM; of its load balancers and public IP the primary one is a part."""
    subnet = parts.child_reference("virtualNetworks", "subnets", vm.virtual_network, interface.subnet)
    depends = [parts.reference("virtualNetworks", vm.virtual_network)]
    configuration: Body = {
        "privateIPAllocationMethod": "Static",
        "privateIPAddress": str(interface.private_ip_address),
        "subnet": {"id": subnet},
    }
    if is_primary:
        depends += _public_ip(parts, vm, configuration)
        depends += _memberships(parts, vm, configuration)
    properties: Body = {"ipConfigurations": [{"name": "ipconfig1", "properties": configuration}]}
    if interface.network_security_group is not None:
        depends.append(parts.reference("networkSecurityGroups", interface.network_security_group))
        properties["networkSecurityGroup"] = {"id": depends[-1]}
    parts.add("networkInterfaces", name, parts.location(vm.virtual_network), properties, depends)
    return parts.reference("networkInterfaces", name)


def _public_ip(parts: Parts, vm: VirtualMachine, configuration: Body) -> Iterator[str]:
    ip: InstancePublicIp | None = vm.instance_public_ip
    if ip is None:
        return
    reference = parts.public_ip(
        ip.name,
        parts.location(vm.virtual_network),
        address=ip.address,
        sku=ip.sku,
        minutes=ip.idle_timeout_min,
        label=ip.domain_name_label,
    )
    configuration["publicIPAddress"] = {"id": reference}
    yield reference


def _memberships(parts: Parts, vm: VirtualMachine, configuration: Body) -> Iterator[str]:
    """Make an interface a member of pools, and the target of NAT rules."""
    for lb in parts.network.load_balancers:
        kinds = (
            ("backendAddressPools", "loadBalancerBackendAddressPools", [p for p in lb.pools if vm.name in p.members]),
            (
                "inboundNatRules",
                "loadBalancerInboundNatRules",
                [r for r in lb.inbound_nat_rules if r.virtual_machine == vm.name],
            ),
        )
        for kind, key, found in kinds:
            for one in found:
                reference = parts.child_reference("loadBalancers", kind, lb.name, one.name)
                configuration.setdefault(key, []).append({"id": reference})
        if any(found for _, _, found in kinds):
            yield parts.reference("loadBalancers", lb.name)
