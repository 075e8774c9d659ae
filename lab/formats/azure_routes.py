"""Route tables of a topology."""

from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, address, is_true, prefixes, word
from lab.formats.azure_resources import items, shown

_KINDS = ("VirtualAppliance", "VirtualNetworkGateway", "VnetLocal", "Internet", "None")


def route_tables(draft: Draft) -> None:
    """Add the route tables; their names come first, as subnets name them."""
    for one in draft.of_type("microsoft.network/routetables"):
        draft.check(one.title, "route table", one.body, "routes disablebgproutepropagation subnets")
        name = draft.name("routes", one.key, one.name, one.title, node=False)
        made: dict[str, Any] = {}
        if is_true(get(one.body, "disablebgproutepropagation")):
            made["disable_bgp_route_propagation"] = True
        routes = {}
        for part in items(one.body, "routes"):
            title = f"{one.title}, route {shown(get(part, 'name'))}"
            if (route := _route(draft, title, part)) is not None:
                key = f"{one.key}/{get(part, 'name')}".lower()
                routes[draft.name(f"route of {one.key}", key, str(get(part, "name")), title, node=False)] = route
        made["routes"] = routes
        draft.put("route_tables", name, made, one)


def _route(draft: Draft, title: str, part: dict[str, Any]) -> dict[str, Any] | None:
    draft.check(title, "route", part, "addressprefix nexthoptype nexthopipaddress hasbgpoverride")
    ranges, kind = prefixes([get(part, "addressprefix")]), word(get(part, "nexthoptype"), *_KINDS)
    hop = address(get(part, "nexthopipaddress"))
    if not ranges or kind is None or (kind == "VirtualAppliance") != (hop is not None):
        effect = "its prefix or next hop has no word: flows that it matches go another way"
        draft.leave(title, "the route", effect, way_out=True)
        return None
    return {"address_prefix": ranges[0], "next_hop_type": kind, **({"next_hop_ip_address": hop} if hop else {})}
