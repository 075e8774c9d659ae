"""Peerings of virtual networks of a topology: one half in each network."""

from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, is_true, word
from lab.formats.azure_resources import Resource, items, reference, shown

#: Switches, and what each is where nothing is said.
_SWITCHES = {
    "allow_virtual_network_access": True,
    "allow_forwarded_traffic": False,
    "allow_gateway_transit": False,
    "use_remote_gateways": False,
}
_APART = "the two networks do not reach each other"


def peerings(draft: Draft) -> None:
    """Add the halves that each virtual network of the topology has; all networks have their names by then."""
    for one in draft.of_type("microsoft.network/virtualnetworks"):
        name = draft.named("vnet", one.key)
        vnet = draft.data.get("virtual_networks", {}).get(name)
        made = {}
        for part in items(one.body, "virtualnetworkpeerings"):
            title = f"{one.title}, peering {shown(get(part, 'name'))}"
            if vnet is None:
                draft.leave(title, "the peering", "its virtual network is not in the topology")
            elif half := _half(draft, title, part):
                made[_name(draft, one, part, title)] = half
        if made and vnet is not None:
            vnet["peerings"] = made


def _name(draft: Draft, network: Resource, part: dict[str, Any], title: str) -> str:
    own = str(get(part, "name"))
    return draft.name(f"peering of {network.key}", own.lower(), own, title, node=False)


def _half(draft: Draft, title: str, part: dict[str, Any]) -> dict[str, Any] | None:
    """Return one half, if its other network is in the topology."""
    taken = "remotevirtualnetwork allowvirtualnetworkaccess allowforwardedtraffic allowgatewaytransit useremotegateways"
    draft.check(title, "peering", part, f"{taken} peercompletevnets")
    if get(part, "peercompletevnets") is False:
        draft.leave(title, "peerCompleteVnets", "whole networks are peered, not subnets of them")
    if word(get(part, "peeringstate"), "Disconnected"):
        draft.leave(title, "a half that is disconnected", f"it is not there: {_APART}", warning=False)
        return None
    remote = reference(get(part, "remotevirtualnetwork"))
    name = draft.named("vnet", remote)
    if name is None or name not in draft.data.get("virtual_networks", {}):
        draft.leave(title, f"remoteVirtualNetwork {shown(remote)}", f"it is not in the topology: {_APART}")
        return None
    made: dict[str, Any] = {"remote_virtual_network": name}
    for key, unsaid in _SWITCHES.items():
        given = get(part, key.replace("_", ""))
        value = unsaid if given is None else is_true(given)
        if value != unsaid:
            made[key] = value
    return made
