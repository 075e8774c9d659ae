"""A Terraform state, as ``terraform show -json`` prints it, becomes resources in the shape that Azure prints.

Terraform writes an association (a security group on a subnet, an interface in a pool) as a resource of its own, and the
parts of a load balancer too: they go where Azure has them. Of other types only the id is taken.
"""

from collections.abc import Callable, Iterator
from typing import Any

Values = dict[str, Any]
_NAMES = {
    "private_ip_address": "privateIPAddress",
    "public_ip_address_id": "publicIPAddress",
    "ip_forwarding_enabled": "enableIPForwarding",
    "enable_ip_forwarding": "enableIPForwarding",
    "address_prefixes": "addressPrefixes",
    "address_prefix": "addressPrefix",
    "security_group": "networkSecurityGroup",
    "default_outbound_access_enabled": "defaultOutboundAccess",
    "source_address_prefix": "sourceAddressPrefix",
    "floating_ip_enabled": "enableFloatingIP",
    "enable_floating_ip": "enableFloatingIP",
    "tcp_reset_enabled": "enableTcpReset",
    "enable_tcp_reset": "enableTcpReset",
    "interval_in_seconds": "intervalInSeconds",
    "request_path": "requestPath",
    "public_ip_prefix_id": "publicIPPrefix",
    "source_application_security_group_ids": "sourceApplicationSecurityGroups",
    "destination_application_security_group_ids": "destinationApplicationSecurityGroups",
    "frontend_port_start": "frontendPortRangeStart",
    "frontend_port_end": "frontendPortRangeEnd",
    "private_ip_address_allocation": "privateIPAllocationMethod",
}
#: A child of a load balancer, and where it stands there.
_PARTS = {
    "azurerm_lb_backend_address_pool": "backendAddressPools",
    "azurerm_lb_probe": "probes",
    "azurerm_lb_rule": "loadBalancingRules",
    "azurerm_lb_nat_rule": "inboundNatRules",
    "azurerm_lb_nat_pool": "inboundNatPools",
    "azurerm_lb_outbound_rule": "outboundRules",
}
#: An association: the property that names what is changed, what it names, and where that stands there.
_ASSOCIATIONS = {
    "azurerm_subnet_network_security_group_association": ("subnet_id", "network_security_group_id"),
    "azurerm_subnet_nat_gateway_association": ("subnet_id", "nat_gateway_id"),
    "azurerm_subnet_route_table_association": ("subnet_id", "route_table_id"),
    "azurerm_network_interface_security_group_association": ("network_interface_id", "network_security_group_id"),
}
_MEMBERS = {
    "azurerm_network_interface_backend_address_pool_association": (
        "backend_address_pool_id",
        "loadBalancerBackendAddressPools",
    ),
    "azurerm_network_interface_nat_rule_association": ("nat_rule_id", "loadBalancerInboundNatRules"),
}
#: What a NAT gateway leaves by: the property that names it, and where that stands there.
_ADDRESSES = {
    "azurerm_nat_gateway_public_ip_association": ("public_ip_address_id", "publicIpAddresses"),
    "azurerm_nat_gateway_public_ip_prefix_association": ("public_ip_prefix_id", "publicIpPrefixes"),
}
#: What Terraform says beside what Azure does, and what changes no packet.
_OWN = frozenset(
    (
        *("id", "name", "location", "resource_group_name", "timeouts", "tags", "sku", "sku_name", "loadbalancer_id"),
        *("virtual_network_name", "network_security_group_name", "load_balancer_id", "backend_ip_configurations"),
        *("private_link_service_network_policies_enabled", "private_endpoint_network_policies", "delegation"),
        *("private_endpoint_network_policies_enabled", "load_balancer_rules", "frontend_ip_configuration_id"),
        *("enforce_private_link_endpoint_network_policies", "enforce_private_link_service_network_policies"),
    )
)


def is_state(data: object) -> bool:
    """Tell whether a value is a state that was applied, and no plan."""
    return isinstance(data, dict) and isinstance(data.get("values"), dict) and "planned_values" not in data


def resources(data: Values) -> list[Values]:
    """Return the resources of a state."""
    found = [one for one in _all(data["values"].get("root_module")) if one.get("mode") != "data"]
    made: dict[str, Values] = {}
    later: list[Values] = []
    for one in found:
        values = one["values"]
        kind, id_ = str(one.get("type")), values.get("id")
        if any(kind in known for known in (_PARTS, _ASSOCIATIONS, _MEMBERS, _ADDRESSES)):
            later.append(one)
        elif isinstance(id_, str) and "/providers/" in id_.lower():
            made[id_.lower()] = {"id": id_, **_TYPES.get(kind, _nothing)(values)}
        else:
            address = str(one.get("address")).replace("/", "-")
            space = "microsoft.network" if kind in _TYPES else "terraform"
            made[address] = {"type": f"{space}/{kind}", "name": address}
    # Pools and rules first: what is associated with them is known then.
    for one in sorted(later, key=lambda one: one.get("type") not in _PARTS):
        if not _joined(made, str(one.get("type")), one["values"]):
            address = str(one.get("address")).replace("/", "-")
            made[address] = {"type": f"microsoft.network/{one.get('type')}", "name": address}
    return list(made.values())


def _all(module: object) -> Iterator[Values]:
    stack = [module]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            for one in _list(here.get("resources")):
                if isinstance(one.get("values"), dict):
                    yield one
            stack += _list(here.get("child_modules"))


def _list(value: object) -> list[Values]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _joined(made: dict[str, Values], kind: str, values: Values) -> bool:
    """Put what is a part of a resource, or an association, where Azure has it; tell whether that was found."""
    if kind in _PARTS:
        owner = made.get(str(values.get("loadbalancer_id")).lower())
        if owner is not None:
            owner[_PARTS[kind]] = [*_list(owner.get(_PARTS[kind])), _part(values)]
    elif kind in _ASSOCIATIONS:
        target, value = _ASSOCIATIONS[kind]
        owner = made.get(str(values.get(target)).lower())
        if owner is not None:
            owner[_named(value)] = {"id": values.get(value)}
    elif kind in _ADDRESSES:
        value, where = _ADDRESSES[kind]
        owner = made.get(str(values.get("nat_gateway_id")).lower())
        if owner is not None:
            owner[where] = [*_list(owner.get(where)), {"id": values.get(value)}]
    else:
        key, where = _MEMBERS[kind]
        owner = made.get(str(values.get("network_interface_id")).lower())
        wanted = values.get("ip_configuration_name")
        configurations = _list((owner or {}).get("ipConfigurations"))
        chosen = [one for one in configurations if one.get("name") == wanted]
        for one in chosen[:1]:
            one[where] = [*_list(one.get(where)), {"id": values.get(key)}]
        return bool(chosen)
    return owner is not None


def _named(key: str) -> str:
    """Return Azure's spelling of a key of Terraform's."""
    first, *rest = key.removesuffix("_id").split("_")
    return _NAMES.get(key, first + "".join(part.capitalize() for part in rest))


def _plain(values: Values) -> Values:
    """Return values with Azure's keys; a reference is an object with an id."""
    made: Values = {}
    for key, value in values.items():
        if key not in _OWN and value not in (None, "", []):
            made[_named(key)] = {"id": value} if key.endswith("_id") else value
    return made


def _nothing(_values: Values) -> Values:
    return {}


def _part(values: Values) -> Values:
    """Return a part of a load balancer."""
    made = _plain(values)
    pools = made.pop("backendAddressPoolIds", [])
    if isinstance(pools, list) and pools:
        made["backendAddressPools"] = [{"id": pool} for pool in pools]
    frontend = made.pop("frontendIpConfigurationName", None)
    if frontend is not None:
        made["frontendIPConfiguration"] = {"id": frontend}
    several = made.pop("frontendIpConfiguration", None)
    if several is not None:
        made["frontendIPConfigurations"] = [{"id": one.get("name")} for one in _list(several)]
    return {"name": values.get("name"), "id": values.get("id"), **made}


def _network(values: Values) -> Values:
    subnets = [
        {"name": one.get("name"), **_plain(one), **_reference("networkSecurityGroup", one.get("security_group"))}
        for one in _list(values.get("subnet"))
    ]
    return {
        "location": values.get("location"),
        "addressSpace": {"addressPrefixes": values.get("address_space")},
        "dhcpOptions": {"dnsServers": values.get("dns_servers")},
        "subnets": subnets,
        "flowTimeoutInMinutes": values.get("flow_timeout_in_minutes"),
    }


def _reference(key: str, id_: object) -> Values:
    return {key: {"id": id_}} if id_ else {}


def _interface(values: Values) -> Values:
    body = {key: values.get(key) for key in ("ip_forwarding_enabled", "enable_ip_forwarding") if values.get(key)}
    configurations = [{"name": one.get("name"), **_plain(one)} for one in _list(values.get("ip_configuration"))]
    servers = {"dnsSettings": {"dnsServers": values.get("dns_servers")}} if values.get("dns_servers") else {}
    return {**_plain(body), "ipConfigurations": configurations, **servers}


def _machine(values: Values) -> Values:
    listed = values.get("network_interface_ids")
    ids = listed if isinstance(listed, list) else []
    first = values.get("primary_network_interface_id") or next(iter(ids), None)
    return {
        "hardwareProfile": {"vmSize": values.get("size") or values.get("vm_size")},
        "networkProfile": {"networkInterfaces": [{"id": id_, "primary": id_ == first} for id_ in ids]},
        **_reference("availabilitySet", values.get("availability_set_id")),
    }


def _balancer(values: Values) -> Values:
    frontends = [{"name": one.get("name"), **_plain(one)} for one in _list(values.get("frontend_ip_configuration"))]
    return {"sku": {"name": values.get("sku")}, "frontendIPConfigurations": frontends}


def _public_ip(values: Values) -> Values:
    version = values.get("ip_version")
    return {
        "sku": {"name": values.get("sku")},
        "ipAddress": values.get("ip_address"),
        "idleTimeoutInMinutes": values.get("idle_timeout_in_minutes"),
        "publicIPAddressVersion": version,
        **_reference("publicIPPrefix", values.get("public_ip_prefix_id")),
    }


def _group(values: Values) -> Values:
    return {"securityRules": [{"name": one.get("name"), **_plain(one)} for one in _list(values.get("security_rule"))]}


def _nat_gateway(values: Values) -> Values:
    listed = {
        where: [{"id": one} for one in found]
        for key, where in (("public_ip_address_ids", "publicIpAddresses"), ("public_ip_prefix_ids", "publicIpPrefixes"))
        if isinstance(found := values.get(key), list)
    }
    sku = {"sku": {"name": values.get("sku_name")}}
    return {**sku, "idleTimeoutInMinutes": values.get("idle_timeout_in_minutes"), **listed}


def _peering(values: Values) -> Values:
    return {
        **_reference("remoteVirtualNetwork", values.get("remote_virtual_network_id")),
        "allowVirtualNetworkAccess": values.get("allow_virtual_network_access"),
        "allowForwardedTraffic": values.get("allow_forwarded_traffic"),
        "allowGatewayTransit": values.get("allow_gateway_transit"),
        "useRemoteGateways": values.get("use_remote_gateways"),
        "peerCompleteVnets": values.get("peer_complete_virtual_networks_enabled"),
    }


def _prefix(values: Values) -> Values:
    return {"prefixLength": values.get("prefix_length"), "ipPrefix": values.get("ip_prefix")}


def _scale_set(values: Values) -> Values:
    """Return a scale set; what Terraform calls its NAT rules are pools of them."""
    interfaces = []
    for one in _list(values.get("network_interface")):
        configurations = []
        for part in _list(one.get("ip_configuration")):
            made = {
                "name": part.get("name"),
                "primary": part.get("primary"),
                **_reference("subnet", part.get("subnet_id")),
            }
            for key, where in (
                ("load_balancer_backend_address_pool_ids", "loadBalancerBackendAddressPools"),
                ("load_balancer_inbound_nat_rules_ids", "loadBalancerInboundNatPools"),
            ):
                ids = part.get(key)
                made |= {where: [{"id": id_} for id_ in ids]} if isinstance(ids, list) and ids else {}
            for public in _list(part.get("public_ip_address"))[:1]:
                made["publicIPAddressConfiguration"] = {"name": public.get("name")}
            configurations.append(made)
        group = _reference("networkSecurityGroup", one.get("network_security_group_id"))
        whole = {"name": one.get("name"), "primary": one.get("primary"), "ipConfigurations": configurations, **group}
        interfaces.append(whole)
    profile = {"networkProfile": {"networkInterfaceConfigurations": interfaces}}
    sku = {"name": values.get("sku") or values.get("sku_name"), "capacity": values.get("instances")}
    return {"sku": sku, "virtualMachineProfile": profile}


def _site(values: Values) -> Values:
    space = {"addressPrefixes": values.get("address_space")}
    return {"localNetworkAddressSpace": space, "gatewayIpAddress": values.get("gateway_address")}


def _gateway(values: Values) -> Values:
    configurations = [{"name": one.get("name"), **_plain(one)} for one in _list(values.get("ip_configuration"))]
    return {
        "sku": {"name": values.get("sku")},
        "gatewayType": values.get("type"),
        "vpnType": values.get("vpn_type"),
        "enableBgp": values.get("bgp_enabled") or values.get("enable_bgp"),
        "activeActive": values.get("active_active"),
        "vpnClientConfiguration": values.get("vpn_client_configuration"),
        "ipConfigurations": configurations,
    }


def _connection(values: Values) -> Values:
    return {
        **_reference("virtualNetworkGateway1", values.get("virtual_network_gateway_id")),
        **_reference("virtualNetworkGateway2", values.get("peer_virtual_network_gateway_id")),
        **_reference("localNetworkGateway2", values.get("local_network_gateway_id")),
        "connectionType": values.get("type"),
        "ipsecPolicies": values.get("ipsec_policy"),
    }


_TYPES: dict[str, Callable[[Values], Values]] = {
    "azurerm_virtual_network": _network,
    "azurerm_subnet": _plain,
    "azurerm_network_interface": _interface,
    "azurerm_linux_virtual_machine": _machine,
    "azurerm_windows_virtual_machine": _machine,
    "azurerm_virtual_machine": _machine,
    "azurerm_public_ip": _public_ip,
    "azurerm_network_security_group": _group,
    "azurerm_network_security_rule": _plain,
    "azurerm_lb": _balancer,
    "azurerm_nat_gateway": _nat_gateway,
    "azurerm_public_ip_prefix": _prefix,
    "azurerm_virtual_network_peering": _peering,
    "azurerm_linux_virtual_machine_scale_set": _scale_set,
    "azurerm_orchestrated_virtual_machine_scale_set": _scale_set,
    "azurerm_windows_virtual_machine_scale_set": _scale_set,
    "azurerm_virtual_network_gateway": _gateway,
    "azurerm_local_network_gateway": _site,
    "azurerm_virtual_network_gateway_connection": _connection,
}
