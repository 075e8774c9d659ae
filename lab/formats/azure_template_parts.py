"""What the parts of a template share: names that Azure allows, references, places, and public IPs."""

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import Any

from lab.azure.model import Network, Subnet

Body = dict[str, Any]
_COMPUTE = ("availabilitySets", "virtualMachines")
_VERSIONS = {"Microsoft.Network": "2024-05-01", "Microsoft.Compute": "2024-07-01"}
#: Longest names.
_LONGEST = {"virtualMachines": 64}
#: Where what belongs to no virtual network is.
_ANYWHERE = "West Europe"


class Parts:
    """A template in the making."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.parameters: Body = {}
        self.resources: list[Body] = []
        self.left: list[str] = []
        self._names: dict[tuple[str, str], str] = {}
        self._taken: dict[str, set[str]] = {}
        self._locations = {vnet.name: vnet.location for vnet in network.virtual_networks}

    # --- names ---------------------------------------------------------------------------------

    def name(self, kind: str, wanted: str) -> str:
        """Return the name that Azure allows for a part; of each kind a name is unique, whatever its case."""
        if (kind, wanted) in self._names:
            return self._names[kind, wanted]
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", wanted)[: _LONGEST.get(kind, 80)].rstrip(".-")
        taken = self._taken.setdefault(kind, set())
        made, number = plain, 1
        while made.lower() in taken:
            number += 1
            made = f"{plain}-{number}"
        taken.add(made.lower())
        self._names[kind, wanted] = made
        if made != wanted:
            what = kind.rpartition("/")[2]
            self.left.append(f'{what} "{wanted}": it is "{made}" in the template, as Azure allows or has no other name')
        return made

    def child(self, kind: str, parent: str, wanted: str) -> str:
        """Return the name of a part of a resource: unique in that."""
        return self.name(f"{parent}/{kind}", wanted)

    def reference(self, kind: str, wanted: str) -> str:
        """Return the expression of a resource's id."""
        return f"[resourceId('{_space(kind)}/{kind}', '{self.name(kind, wanted)}')]"

    def child_reference(self, parent_kind: str, kind: str, parent: str, wanted: str) -> str:
        """Return the expression of the id of a part of a resource."""
        names = f"'{self.name(parent_kind, parent)}', '{self.child(kind, parent, wanted)}'"
        return f"[resourceId('{_space(parent_kind)}/{parent_kind}/{kind}', {names})]"

    # --- places --------------------------------------------------------------------------------

    def location(self, vnet: str) -> str:
        """Return where a virtual network is."""
        return self._locations.get(vnet) or _ANYWHERE

    def location_where(self, chosen: Callable[[Subnet], bool], homes: Iterable[str] = ()) -> str:
        """Return the place of the first virtual network with a subnet of some kind, or of one of some networks."""
        found = [v.name for v in self.network.virtual_networks if any(map(chosen, v.subnets))]
        known = [*found, *homes, *(v.name for v in self.network.virtual_networks)]
        return self.location(known[0]) if known else _ANYWHERE

    # --- resources -----------------------------------------------------------------------------

    def add(
        self,
        kind: str,
        wanted: str,
        location: str,
        properties: Body,
        depends: Sequence[str] = (),
        *,
        sku: str = "",
    ) -> None:
        """Add a resource; it waits for those that its properties refer to."""
        space = _space(kind)
        made: Body = {
            "type": f"{space}/{kind}",
            "apiVersion": _VERSIONS[space],
            "name": self.name(kind, wanted),
            "location": location,
        }
        if sku:
            made["sku"] = {"name": sku}
        if depends:
            made["dependsOn"] = list(dict.fromkeys(depends))
        self.resources.append({**made, "properties": properties})

    def add_child(
        self, parent_kind: str, kind: str, parent: str, name: str, properties: Body, depends: Sequence[str]
    ) -> None:
        """Add a part of a resource as a resource of its own."""
        space = _space(parent_kind)
        made: Body = {
            "type": f"{space}/{parent_kind}/{kind}",
            "apiVersion": _VERSIONS[space],
            "name": f"{self.name(parent_kind, parent)}/{name}",
            "dependsOn": list(dict.fromkeys(depends)),
        }
        self.resources.append({**made, "properties": properties})

    def public_ip(
        self,
        wanted: str,
        location: str,
        *,
        address: IPv4Address | None,
        sku: str = "Standard",
        minutes: int = 4,
        label: str | None = None,
    ) -> str:
        """Add a public IP, and return its reference; without an address it is a dynamic one of the Basic SKU."""
        kind = "publicIPAddresses"
        name = wanted
        while (kind, name) in self._names:
            name += "-ip"
        dynamic = address is None and sku == "Basic"
        properties: Body = {"publicIPAllocationMethod": "Dynamic" if dynamic else "Static"}
        if address is not None:
            properties["ipAddress"] = str(address)
        properties |= {"publicIPAddressVersion": "IPv4", "idleTimeoutInMinutes": minutes}
        if label:
            properties["dnsSettings"] = {"domainNameLabel": label}
        self.add(kind, name, location, properties, sku=sku)
        return self.reference(kind, name)


def _space(kind: str) -> str:
    return "Microsoft.Compute" if kind in _COMPUTE else "Microsoft.Network"
