"""A topology in the making: what each part came from, how it is named, and what is left out."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lab.azure import model, places
from lab.azure.addresses import is_address
from lab.formats.azure_left_out import LeftOut, of_properties
from lab.formats.azure_resources import Resource, known_text, reference, shown

#: Where a part of the topology is.
Path = tuple[str, ...]


class Draft:
    """What the parts of an import share."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self.resources = list(resources)
        self.by_id = {one.key: one for one in resources}
        self.data: dict[str, Any] = {}
        self.owners: dict[Path, Resource] = {}
        self.parts: dict[str, list[Resource]] = {}
        self.left: list[LeftOut] = []
        #: Subnets as VMs name them, and VMs by the ids of their interfaces.
        self.subnets: dict[str, str] = {}
        self.members: dict[str, str] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._taken: dict[str, set[str]] = {}

    def of_type(self, *types: str) -> list[Resource]:
        """Return the resources of some types, by name, whatever their order in the files."""
        found = [one for one in self.resources if one.type in types]
        return sorted(found, key=lambda one: (model.natural(one.name.lower()), one.key))

    def leave(self, place: str, found: str, effect: str, *, warning: bool = True, way_out: bool = False) -> None:
        """Tell what is left out."""
        line = LeftOut(place=place, found=found, effect=effect, warning=warning, way_out=way_out)
        if line not in self.left:
            self.left.append(line)

    def check(self, where: str, what: str, body: dict[str, Any], taken: str = "") -> None:
        """Tell the properties that are left out."""
        for line in of_properties(where, what, body, taken):
            if line not in self.left:
                self.left.append(line)

    def put(self, section: str, name: str, value: Any, source: Resource) -> None:
        """Add a part to the topology."""
        self.data.setdefault(section, {})[name] = value
        self.owners[section, name] = source

    def part_of(self, owner: Resource, part: Resource) -> None:
        """Remember that a resource is a part of what another one becomes."""
        known = self.parts.setdefault(owner.key, [])
        if part not in known:
            known.append(part)

    def sources(self) -> dict[Path, tuple[str, ...]]:
        """Return the ids that each part of the topology came from."""
        return {path: tuple(shown(part.id) for part in self._all_of(one)) for path, one in self.owners.items()}

    def represented(self) -> set[str]:
        """Return the keys of the resources that are in the topology."""
        return {part.key for one in self.owners.values() for part in self._all_of(one)}

    def _all_of(self, one: Resource) -> list[Resource]:
        found = [one]
        for part in found:
            found += [below for below in self.parts.get(part.key, ()) if below not in found]
        return found

    def name(self, space: str, key: str, wanted: str, where: str, *, node: bool = True) -> str:
        """Return the name that something has in the topology: its own, if the vocabulary can hold it."""
        if (space, key) in self._names:
            return self._names[space, key]
        last = wanted.rpartition("/")[2]
        plain = re.sub(r"[^A-Za-z0-9._-]" if node else r"[^A-Za-z0-9._ -]", "-", last)
        if node:
            plain = re.sub(r"[._-]{2,}", "-", plain).strip("._-") or "unnamed"
            plain = plain if plain[0].isalpha() else f"n-{plain}"
            plain = plain[:60].rstrip("._-")
        else:
            plain = plain.lstrip("._ -").rstrip(" ") or "unnamed"
            plain = plain[:78].rstrip(" ")
        taken = self._taken.setdefault(space, set())
        made, number = plain, 1
        while made.lower() in taken or (space == "node" and _reserved(made)):
            number += 1
            made = f"{plain}-{number}"
        taken.add(made.lower())
        self._names[space, key] = made
        if made != last:
            effect = f'it is "{made}" in the topology, whose names have fewer letters, or which has that name already'
            self.leave(where, f'the name "{shown(last)}"', effect, warning=False)
        return made

    def named(self, space: str, key: str) -> str | None:
        """Return the name of something that is in the topology."""
        return self._names.get((space, key))

    def target(self, where: str, what: str, value: object, *, way_out: bool = False) -> Resource | None:
        """Return the resource that a property refers to; tell of one that is in no file."""
        key = reference(value)
        if not key:
            return None
        one = self.by_id.get(key)
        if one is None:
            self.leave(where, f"{what} {shown(key)}", "it is in none of the files; give its file too", way_out=way_out)
        return one


def _reserved(name: str) -> bool:
    return name.lower() in places.taken(()) or not model.is_reachable_name(name)


def address(value: object) -> str | None:
    """Return a value if it is an IPv4 address."""
    text = known_text(value)
    return str(IPv4Address(text)) if text and is_address(text) else None


def prefixes(values: Iterable[object]) -> list[str]:
    """Return those of some values that are IPv4 ranges, as they are written."""
    found = []
    for value in values:
        text = known_text(value)
        if re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text):
            try:
                found.append(str(IPv4Network(text)))
            except ValueError:
                continue
    return found


def whole(value: object, first: int = 0, last: int = 65535) -> int | None:
    """Return a value if it is a whole number of a range, be it written as text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and first <= value <= last else None


def is_true(value: object) -> bool:
    """Tell whether a value is true, be it written as text."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def word(value: object, *known: str) -> str | None:
    """Return which of some words a value is, whatever its case."""
    text = known_text(value).lower()
    return next((one for one in known if one.lower() == text), None)
