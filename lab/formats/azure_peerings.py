"""Peerings of the virtual networks of a topology."""

from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, is_true
from lab.formats.azure_resources import Resource, items, shown

#: Each switch of a half in Azure's words and in a topology's, and what is meant where a file does not say.
_SWITCHES = (
    ("allowvirtualnetworkaccess", "allow_virtual_network_access", True),
    ("allowforwardedtraffic", "allow_forwarded_traffic", False),
    ("allowgatewaytransit", "allow_gateway_transit", False),
    ("useremotegateways", "use_remote_gateways", False),
)
_TAKEN = " ".join(
    (
        *(key for key, _, _ in _SWITCHES),
        "remotevirtualnetwork remoteaddressspace remotevirtualnetworkaddressspace peeringstate peeringsynclevel",
        "localaddressspace localvirtualnetworkaddressspace remotebgpcommunities donotverifyremotegateways",
        "peercompletevnets",
    )
)


def peerings(draft: Draft) -> None:
    """Add the halves of peerings with networks that are in the topology, after these."""
    for one in draft.of_type("microsoft.network/virtualnetworks"):
        name = draft.named("vnet", one.key)
        if name is None or name not in draft.data.get("virtual_networks", {}):
            continue
        halves = {}
        for part in items(one.body, "virtualnetworkpeerings"):
            title = f"{one.title}, peering {shown(get(part, 'name'))}"
            if (made := _half(draft, title, part)) is not None:
                key = f"{one.key}/{get(part, 'name')}".lower()
                halves[draft.name(f"peering of {one.key}", key, str(get(part, "name")), title, node=False)] = made
        if halves:
            draft.data["virtual_networks"][name]["peerings"] = halves


def _half(draft: Draft, title: str, part: dict[str, Any]) -> dict[str, Any] | None:
    draft.check(title, "peering", part, _TAKEN)
    if get(part, "peercompletevnets") is False:
        draft.leave(title, "peerCompleteVnets: false", "peerings of some subnets alone are not played")
        return None
    remote: Resource | None = draft.target(title, "remoteVirtualNetwork", get(part, "remotevirtualnetwork"))
    known = draft.named("vnet", remote.key) if remote is not None else None
    if known is None or known not in draft.data.get("virtual_networks", {}):
        draft.leave(title, "the peering", "the other network is not in the topology, and is not reached")
        return None
    switches: dict[str, bool] = {}
    for key, word, usual in _SWITCHES:
        given = usual if get(part, key) is None else is_true(get(part, key))
        switches |= {word: given} if given != usual else {}
    return {"remote_virtual_network": known, **switches}
