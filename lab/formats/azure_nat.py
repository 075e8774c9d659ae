"""NAT gateways of a topology, with the addresses that they leave by."""

from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, address, prefixes, whole
from lab.formats.azure_resources import Resource, items, known_text, shown

_LONGEST, _SHORTEST = 28, 31  # of the prefixes that a NAT gateway takes
_TAKEN = "publicipaddresses publicipprefixes idletimeoutinminutes subnets sku"


def nat_gateways(draft: Draft) -> None:
    """Add the NAT gateways; their names come first, as subnets name them."""
    for one in draft.of_type("microsoft.network/natgateways"):
        draft.check(one.title, "NAT gateway", one.body, _TAKEN)
        sku = known_text(get(get(one.body, "sku"), "name")).lower()
        if sku not in ("", "standard"):
            draft.leave(one.title, f"sku {shown(sku)}", "only Standard is played, and it is not there", way_out=True)
            continue
        addresses = [_address(draft, one, part) for part in items(one.body, "publicipaddresses")]
        given, allocated = _prefixes(draft, one)
        addresses += [None] * allocated
        if not addresses and not given:
            draft.leave(one.title, "the NAT gateway", "it has no address that is known", way_out=True)
            continue
        made: dict[str, Any] = {"public_ip_addresses": addresses} if addresses else {}
        made |= {"public_ip_prefixes": given} if given else {}
        minutes = whole(get(one.body, "idletimeoutinminutes"), 5, 120)
        if minutes:
            made["idle_timeout_in_minutes"] = minutes
        draft.put("nat_gateways", draft.name("nat", one.key, one.name, one.title, node=False), made, one)


def _address(draft: Draft, one: Resource, part: dict[str, Any]) -> str | None:
    """Return an address of a gateway; None: one is allocated."""
    ip = draft.target(one.title, "publicIPAddress", part)
    if ip is None:
        return None
    draft.part_of(one, ip)
    draft.check(ip.title, "public IP", ip.body, "natgateway")
    return address(get(ip.body, "ipaddress"))


def _prefixes(draft: Draft, one: Resource) -> tuple[list[str], int]:
    """Return the prefixes that are known, and how many addresses those have that Azure has yet to choose."""
    given: list[str] = []
    allocated = 0
    for part in items(one.body, "publicipprefixes"):
        source = draft.target(one.title, "publicIPPrefix", part, way_out=True)
        if source is None:
            continue
        draft.part_of(one, source)
        known = prefixes([get(source.body, "ipprefix")])
        length = whole(get(source.body, "prefixlength"), _LONGEST, _SHORTEST)
        if known:
            given += known
        elif length:
            allocated += 1 << (32 - length)
            draft.leave(
                source.title, "the prefix", "single addresses stand for it until Azure has chosen", warning=False
            )
        else:
            draft.leave(source.title, "the prefix", "neither its range nor its length is known", way_out=True)
    return given, allocated
