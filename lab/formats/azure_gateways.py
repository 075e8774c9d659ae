"""VPN gateways, local networks and connections of a topology."""

from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, address, prefixes, word
from lab.formats.azure_resources import Resource, items, reference, shown

_SKUS = ("Basic", "Standard", "HighPerformance")


def gateways(draft: Draft) -> None:
    """Add the VPN gateways, the sites, and the tunnels between them."""
    homes: dict[str, str] = {}
    for one in draft.of_type("microsoft.network/virtualnetworkgateways"):
        home = _gateway(draft, one)
        if home:
            homes[one.key] = home
    for one in draft.of_type("microsoft.network/localnetworkgateways"):
        _site(draft, one)
    connections: list[dict[str, Any]] = []
    for one in draft.of_type("microsoft.network/connections"):
        made = _connection(draft, one, homes)
        if made and made not in connections:
            connections.append(made)
            draft.owners["connections", str(len(connections) - 1)] = one
    if connections:
        draft.data["connections"] = connections


def _gateway(draft: Draft, one: Resource) -> str | None:
    """Add a gateway; return the virtual network that it belongs to."""
    configurations = items(one.body, "ipconfigurations")
    draft.check(one.title, "VPN gateway", one.body, "ipconfigurations gatewaytype vpntype")
    if not word(get(one.body, "gatewaytype"), "Vpn"):
        effect = "only VPN gateways are played; routes that it announces are not there"
        draft.leave(one.title, f"gatewayType {shown(get(one.body, 'gatewaytype'))}", effect, way_out=True)
        return None
    home = None
    made: dict[str, Any] = {}
    for part in configurations[:1]:
        home = draft.subnets.get(reference(get(part, "subnet")), "").partition("/")[0] or None
        ip = draft.target(one.title, "publicIPAddress", get(part, "publicipaddress"))
        if ip is not None:
            draft.part_of(one, ip)
            made["address"] = address(get(ip.body, "ipaddress"))
    for part in configurations[1:]:
        draft.leave(one.title, f"ipConfiguration {shown(get(part, 'name'))}", "one tunnel end of two is played")
        ip = draft.by_id.get(reference(get(part, "publicipaddress")))
        if ip is not None:
            draft.part_of(one, ip)
    if home is None or home in draft.data.get("vpn_gateways", {}):
        draft.leave(one.title, "the gateway", "its virtual network is not in the topology, or has one", way_out=True)
        return None
    routing = "static" if word(get(one.body, "vpntype"), "PolicyBased") else "dynamic"
    wanted = get(get(one.body, "sku"), "name")
    sku = word(wanted, *_SKUS)
    if sku is None and wanted is not None:
        draft.leave(one.title, f"sku {shown(wanted)}", "it is played as Standard", warning=False)
    sku = "Basic" if routing == "static" else sku or "Standard"
    own = {"address": made["address"]} if made.get("address") else {}
    draft.put("vpn_gateways", home, {"routing": routing, "sku": sku, **own}, one)
    return home


def _site(draft: Draft, one: Resource) -> None:
    draft.check(one.title, "local network", one.body, "localnetworkaddressspace gatewayipaddress")
    space = get(get(one.body, "localnetworkaddressspace"), "addressprefixes")
    ranges = prefixes(space if isinstance(space, list) else [])
    device = address(get(one.body, "gatewayipaddress"))
    if not ranges or device is None:
        effect = "its address space, or the address of its device, is not known as IPv4"
        draft.leave(one.title, "the local network", effect)
        return
    if len(ranges) != len(space):
        draft.leave(one.title, "localNetworkAddressSpace", "a range that is not known as IPv4 is not there")
    name = draft.name("site", one.key, one.name, one.title, node=False)
    draft.put("local_networks", name, {"address_space": ranges, "vpn_gateway_address": device}, one)


def _connection(draft: Draft, one: Resource, homes: dict[str, str]) -> dict[str, Any] | None:
    taken = "virtualnetworkgateway1 virtualnetworkgateway2 localnetworkgateway2 connectiontype"
    draft.check(one.title, "connection", one.body, taken)
    home = homes.get(reference(get(one.body, "virtualnetworkgateway1")))
    site = draft.named("site", reference(get(one.body, "localnetworkgateway2")))
    other = homes.get(reference(get(one.body, "virtualnetworkgateway2")))
    if home is not None and other is not None:
        site = draft.name("site", f"network {other}", f"{other}-site", one.title, node=False)
        space = draft.data["virtual_networks"][other]["address_space"]
        known = draft.data.setdefault("local_networks", {})
        known.setdefault(site, {"address_space": list(space), "vpn_gateway": other})
    if home is None or site is None:
        draft.leave(one.title, "the connection", "one of its two ends is not in the topology")
        return None
    return {"virtual_network": home, "local_network": site}
