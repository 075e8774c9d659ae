"""How a running lab differs from its plan: what was taken away or altered by hand, and what was put beside it.

The kernel is read, not the record. VMs, hosts and sites are their users': there only what the plan has is held against
the kernel. In places of the lab's own, addresses, routes and packet-filter rules that no plan has differ, too.
Interfaces of others are left alone everywhere, and a gateway's routes are its daemon's.
"""

import errno
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lab.errors import KernelError
from lab.kernel import fragments, netns, reading, tables, timeouts
from lab.plan import (
    Address,
    DropFragments,
    Foreign,
    Item,
    Namespace,
    Plan,
    Policy,
    Provenance,
    RateLimit,
    Route,
    RoutingRule,
    Rule,
    Sysctl,
    Table,
    Timeout,
    VethPair,
    namespace,
)

_NOT_OURS = Provenance("kernel", "not of this lab")
#: Places in which addresses, routes and routing rules that no plan has are not the lab's.
_OWN = ("router", "load balancer", "nat gateway", "internet")
#: Places whose packet filter is their users'.
_OF_USERS = ("vm", "host")
#: What of a plan is read back; the agent sees to the rest.
READ = (Namespace, Sysctl, VethPair, Address, Route, RoutingRule, Timeout, Policy, Rule, RateLimit, DropFragments)
_GONE = (0, errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL)


class Extra(msgspec.Struct, frozen=True):
    """What a place has that no plan has; how it is taken away, or in which table it goes with the others' writing."""

    what: Foreign
    undo: reading.Undo | None = None
    table: Table | None = None


class Drift(msgspec.Struct, frozen=True):
    """How the kernel differs from a plan."""

    missing: tuple[Item, ...] = ()
    extra: tuple[Extra, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra)

    def __len__(self) -> int:
        return len(self.missing) + len(self.extra)

    def lines(self) -> tuple[str, ...]:
        """Say what differs: ``-`` is missing, ``+`` is there and should not be."""
        lost = {item.place for item in self.missing if isinstance(item, Namespace)}
        gone = [i for i in self.missing if isinstance(i, Namespace) or i.place not in lost]
        return (
            *(f"- {item.place}: {item}  # {item.why}" for item in gone),
            *(f"+ {extra.what.place}: {extra.what}" for extra in self.extra),
        )

    def seen(self, made: Plan) -> Plan:
        """Return what the kernel has of a plan."""
        missing = set(self.missing)
        return Plan(made.lab, tuple(item for item in made.items if item not in missing))

    @property
    def beside(self) -> tuple[Foreign, ...]:
        """What the kernel has that is of no plan."""
        return tuple(extra.what for extra in self.extra)


def find(made: Plan) -> Drift:
    """Return how the kernel differs from a plan. Needs root.

    Raises:
        KernelError: something cannot be read.

    """
    return netns.in_child(_find, made)


def _find(made: Plan) -> Drift:
    netns.prepare()
    by_place: dict[str, list[Item]] = {}
    for item in made.items:
        if isinstance(item, READ):
            by_place.setdefault(item.place, []).append(item)
    missing: list[Item] = []
    extra: list[Extra] = []
    seen: dict[str, reading.Seen] = {}
    for place in made.of(Namespace):
        items = by_place[place.place]
        if not _is_ours(namespace(made.lab, place.place)):
            missing += items
            continue
        seen[place.place] = here = reading.see_here()
        lacks, more = _Place(place, here, items).differences()
        missing += lacks
        extra += more
    _wires(made, seen, missing, extra)
    return Drift(tuple(missing), tuple(extra))


def _is_ours(name: str) -> bool:
    """Enter a namespace; tell whether it is there and has the mark of a lab's: IPv6 off."""
    if not netns.exists(name):
        return False
    netns.enter(name)
    try:
        return Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").read_text().strip() == "1"
    except FileNotFoundError:
        return True


def _wires(made: Plan, seen: dict[str, reading.Seen], missing: list[Item], extra: list[Extra]) -> None:
    """Find wires that are not whole; what is left of one goes, so that it can be made anew."""
    lost = set(missing)
    for wire in made.of(VethPair):
        ends = [(wire.place, wire.interface), (wire.peer_place, wire.peer_interface)]
        links = [seen[place].links.get(name) if place in seen else None for place, name in ends]
        near, far = links
        joined = near is not None and far is not None and near.peer == far.number and far.peer == near.number
        if joined and near is not None and far is not None and near.up and far.up:
            continue
        if wire not in lost:
            missing.append(wire)
        for (place, name), link in zip(ends, links, strict=True):
            if link is not None:
                why = "is down" if joined and not link.up else "is not joined as it should be" if not joined else ""
                if why or not joined:
                    what = Foreign(place=place, why=_NOT_OURS, text=f"interface {name}, which {why}")
                    extra.append(Extra(what, seen[place].without(name)))


class _Place:
    """A place that is there, and what the plan says of it."""

    def __init__(self, place: Namespace, here: reading.Seen, items: list[Item]) -> None:
        self.place, self.here, self.items = place, here, items
        self.missing: list[Item] = []
        self.extra: list[Extra] = []

    def differences(self) -> tuple[list[Item], list[Extra]]:
        """Return what is missing and what is there beside; wires are another's matter."""
        for item in self.items:
            if not self._has(item):
                self.missing.append(item)
        self._tables()
        for rule in reading.BUILT_IN:
            if rule not in self.here.rules:
                self._more(f"no {rule}, which every namespace has", reading.built_in(rule))
        if self.place.role in _OWN:
            self._others()
        self._timeouts()
        self._rates()
        self._fragments()
        return self.missing, self.extra

    def _has(self, item: Item) -> bool:
        if isinstance(item, Sysctl):
            return _value(item.key) in (item.value, None)
        if isinstance(item, Address):
            return reading.Address(item.interface, item.address, 32) in self.here.addresses
        if isinstance(item, Route):
            return _route(item) in self.here.routes
        if isinstance(item, RoutingRule):
            return _rule(item) in self.here.rules
        return True

    def _others(self) -> None:
        interfaces = {"lo", *self._interfaces()}
        addresses = {reading.Address(i.interface, i.address, 32) for i in self._of(Address)}
        for address, undo in self.here.addresses.items():
            loopback = address.interface == "lo" and address.address.startswith("127.")
            if address not in addresses and address.interface in interfaces and not loopback:
                self._more(str(address), undo)
        routes = {_route(i) for i in self._of(Route)}
        rules = {_rule(i) for i in self._of(RoutingRule)} | {*reading.BUILT_IN}
        for route, undo in self.here.routes.items():
            if route not in routes:
                self._more(str(route), undo)
        for rule, undo in self.here.rules.items():
            if rule not in rules:
                self._more(str(rule), undo)

    def _interfaces(self) -> Iterable[str]:
        return {item.interface for item in self.items if isinstance(item, VethPair | Address)} | {
            item.interface for item in self.items if isinstance(item, Route) and item.interface is not None
        }

    def _of(self, kind: type[msgspec.Struct]) -> list:  # type: ignore[type-arg]
        return [item for item in self.items if isinstance(item, kind)]

    def _more(self, text: str, undo: reading.Undo) -> None:
        self.extra.append(Extra(Foreign(place=self.place.place, why=_NOT_OURS, text=text), undo))

    def _tables(self) -> None:
        wanted: dict[Table, tuple[Policy | Rule, ...]] = {}
        for item in self.items:
            if isinstance(item, Policy | Rule):
                wanted[item.table] = (*wanted.get(item.table, ()), item)
        if self.place.role in _OF_USERS and not wanted:
            return
        missing, foreign = tables.differences_here(self.place.place, wanted)
        self.missing += missing
        self.extra += [Extra(what, table=table) for what, table in foreign]

    def _timeouts(self) -> None:
        if wanted := self._of(Timeout):
            there = timeouts.read_here()
            self.missing += [item for item in wanted if there.get(item.name) != item.seconds]

    def _rates(self) -> None:
        if wanted := self._of(RateLimit):
            there = reading.rates_here()
            self.missing += [i for i in wanted if there.get(i.interface) != i.mbit_s * 1_000_000 // 8]

    def _fragments(self) -> None:
        self.missing += [item for item in self._of(DropFragments) if not fragments.is_there(item)]


def _value(key: str) -> int | None:
    """Return a sysctl, None if the kernel has none of that name."""
    try:
        return int(Path("/proc/sys/" + key.replace(".", "/")).read_text().split()[0])
    except FileNotFoundError:
        return None


def _route(item: Route) -> reading.Route:
    kind = "blackhole" if item.interface is None else ""
    return reading.Route(item.destination, item.interface, item.via, item.table, kind, 0)


def _rule(item: RoutingRule) -> reading.Rule:
    anywhere = item.source is None or item.source.endswith("/0")
    return reading.Rule(
        item.priority,
        item.table,
        item.mark,
        item.mask,
        None if anywhere else item.source,
        item.in_interface or None,
        item.specific,
    )


def remove(lab: str, extras: Iterable[Extra]) -> None:
    """Take away what no plan has, but for what is in packet-filter tables.

    Raises:
        KernelError: something stays.

    """
    netns.in_child(_remove, lab, [extra for extra in extras if extra.undo is not None])


def _remove(lab: str, extras: list[Extra]) -> None:
    for extra in extras:
        if extra.undo is None:
            continue
        netns.enter(namespace(lab, extra.what.place))
        code = reading.undo_here(extra.undo)
        if code not in _GONE:
            raise KernelError(
                f"{extra.what.place}: {extra.what}: the kernel answered {errno.errorcode.get(code, code)}; "
                "it is not of this lab and must go; remove it by hand, then run `lab up` again"
            )
