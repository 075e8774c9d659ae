"""What Azure itself says of a network that runs: routes and rules in force, and the answers of Network Watcher.

Each is told apart by its keys, as the command line prints it. What was asked is in no answer: a file may hold both, as
``{"request": …, "response": …}`` with the request as the REST interface takes it.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from lab.formats.arm import TemplateError, get, read_json
from lab.formats.azure_resources import flattened, items, known_text, reference

Kind = Literal["routes", "rules", "connectivity", "ip flow", "next hop"]
#: The command that prints an answer of each kind.
COMMANDS: dict[Kind, str] = {
    "routes": "az network nic show-effective-route-table",
    "rules": "az network nic list-effective-nsg",
    "connectivity": "az network watcher test-connectivity",
    "ip flow": "az network watcher test-ip-flow",
    "next hop": "az network watcher show-next-hop",
}
MAX_BYTES = 32 * 1024 * 1024
WHAT = "stored answer of Azure"
_MUST = "a file must be the JSON of " + ", ".join(f"`{command}`" for command in COMMANDS.values())


class Route(msgspec.Struct, frozen=True):
    """A route in force."""

    prefixes: tuple[str, ...]
    next_hop: str
    address: str
    source: str


class Rule(msgspec.Struct, frozen=True):
    """A rule in force, as ranges and words that compare; empty: any."""

    name: str
    direction: str
    priority: int
    access: str
    protocol: str
    sources: frozenset[str]
    source_ports: frozenset[str]
    destinations: frozenset[str]
    destination_ports: frozenset[str]


class Group(msgspec.Struct, frozen=True):
    """A security group in force at an interface, or at its subnet."""

    name: str
    on: Literal["subnet", "VM"]
    at: str
    rules: tuple[Rule, ...]


class Asked(msgspec.Struct, frozen=True):
    """What Azure was asked about, as far as it is known: ids in small letters; 0 and "" are what is not."""

    target: str = ""
    #: The private address that it has.
    local: str = ""
    local_port: int = 0
    remote: str = ""
    remote_port: int = 0
    protocol: str = ""
    direction: str = ""


class Answer(msgspec.Struct, frozen=True):
    """An answer of Azure, and what it was asked."""

    kind: Kind
    asked: Asked
    routes: tuple[Route, ...] = ()
    groups: tuple[Group, ...] = ()
    #: The status of a connection, the access of a flow, or the type of a next hop.
    value: str = ""
    #: The rules that stopped a connection, or that decided about a flow.
    rules: tuple[str, ...] = ()
    #: Address of the next hop.
    address: str = ""


def read(text: str, file: str) -> tuple[list[Answer], list[str]]:
    """Return the answers of a file, and what is wrong with it."""
    try:
        data = read_json(text)
    except TemplateError as error:
        return [], [f"{file}: {error}"]
    made: list[Answer] = []
    problems: list[str] = []
    for index, one in enumerate(data if isinstance(data, list) and _pairs(data) else [data]):
        place = f"{file}: [{index}]" if isinstance(data, list) and _pairs(data) else file
        asked = _asked(get(one, "request")) if _pairs([one]) else Asked()
        found = _answer(get(one, "response") if _pairs([one]) else one, asked)
        if found is None:
            problems.append(f"{place}: found JSON of another kind; {_MUST}; store one with `-o json > FILE`")
        else:
            made.append(found)
    return made, problems


def _pairs(data: list[Any]) -> bool:
    return bool(data) and all(get(one, "request") is not None and get(one, "response") is not None for one in data)


def _asked(request: Any) -> Asked:
    body = flattened(request)
    source, destination = get(body, "source"), get(body, "destination")
    target = reference(get(body, "targetnicresourceid")) or reference(get(body, "targetresourceid"))
    remote = get(body, "remoteipaddress") or get(body, "destinationipaddress") or get(destination, "address")
    return Asked(
        target=target or reference(get(source, "resourceid")),
        local=known_text(get(body, "localipaddress") or get(body, "sourceipaddress")),
        local_port=_number(get(body, "localport")),
        remote=known_text(remote) or reference(get(destination, "resourceid")),
        remote_port=_number(get(body, "remoteport")) or _number(get(destination, "port")),
        protocol=known_text(get(body, "protocol")).lower(),
        direction=known_text(get(body, "direction")).capitalize(),
    )


def _number(value: object) -> int:
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0


def _answer(data: Any, asked: Asked) -> Answer | None:
    body = flattened(data)
    listed = body if isinstance(body, list) else get(body, "value")
    parts = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    found: Answer | None = None
    if parts and all("nexthoptype" in one and "addressprefix" in one for one in parts):
        found = Answer("routes", asked, routes=tuple(map(_route, parts)))
    elif parts and all("effectivesecurityrules" in one for one in parts):
        found = Answer("rules", asked, groups=tuple(map(_group, parts)))
    elif isinstance(body, dict) and "connectionstatus" in body:
        found = _connection(body, asked)
    elif isinstance(body, dict) and {"access", "rulename"} <= body.keys():
        rule = plain(known_text(body["rulename"]))
        found = Answer("ip flow", asked, value=known_text(body["access"]), rules=(rule,) if rule else ())
    elif isinstance(body, dict) and "nexthoptype" in body:
        address = known_text(get(body, "nexthopipaddress"))
        found = Answer("next hop", asked, value=known_text(body["nexthoptype"]), address=address)
    return found


def _texts(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    return tuple(text for one in found if (text := known_text(one)))


def _route(one: dict[str, Any]) -> Route:
    active = known_text(get(one, "state")).lower() in ("", "active")
    return Route(
        prefixes=_texts(one["addressprefix"]) if active else (),
        next_hop=known_text(one["nexthoptype"]),
        address=", ".join(_texts(get(one, "nexthopipaddress"))),
        source=known_text(get(one, "source")),
    )


def _group(one: dict[str, Any]) -> Group:
    association = get(one, "association")
    nic, subnet = (reference(get(association, key)) for key in ("networkinterface", "subnet"))
    group = reference(get(one, "networksecuritygroup")).rpartition("/")[2]
    return Group(
        name=group,
        on="VM" if nic else "subnet",
        at=nic or subnet,
        rules=tuple(map(_rule, items(one, "effectivesecurityrules"))),
    )


#: What each version of the command line puts before the name of a rule.
_BEFORE = re.compile(r"^(?:securityRules/|defaultSecurityRules/|UserRule_|DefaultRule_)", re.IGNORECASE)


def plain(name: str) -> str:
    """Return the name of a rule without what tells where it comes from."""
    return _BEFORE.sub("", name)


def _rule(one: dict[str, Any]) -> Rule:
    def ends(key: str, plural: str) -> list[str]:
        several = _texts(get(one, key + plural))
        return list(several or _texts(get(one, key)))

    protocol = known_text(get(one, "protocol")).lower()
    return Rule(
        name=plain(known_text(get(one, "name"))),
        direction=known_text(get(one, "direction")).capitalize(),
        priority=_number(get(one, "priority")),
        access=known_text(get(one, "access")).capitalize(),
        protocol={"all": "*", "6": "tcp", "17": "udp", "1": "icmp"}.get(protocol, protocol),
        sources=addresses(ends("sourceaddressprefix", "es")),
        source_ports=ports(ends("sourceportrange", "s")),
        destinations=addresses(ends("destinationaddressprefix", "es")),
        destination_ports=ports(ends("destinationportrange", "s")),
    )


def addresses(values: list[str]) -> frozenset[str]:
    """Return ranges and tags as they compare: empty for any."""
    found = frozenset(
        f"{value}/32" if re.fullmatch(r"[0-9.]+", value) else value.lower() for value in values if ":" not in value
    )
    return frozenset() if found & {"*", "any", "0.0.0.0/0"} else found


def ports(values: list[str]) -> frozenset[str]:
    """Return ranges of ports as they compare: empty for any."""
    found = frozenset(value if "-" in value or value == "*" else f"{value}-{value}" for value in values)
    return frozenset() if found & {"*", "0-65535"} else found


def _connection(body: dict[str, Any], asked: Asked) -> Answer:
    hops = items(body, "hops")
    first, last = (hops[0], hops[-1]) if hops else ({}, {})
    told = msgspec.structs.replace(
        asked,
        target=asked.target or reference(get(first, "resourceid")),
        local=asked.local or known_text(get(first, "address")),
        remote=asked.remote or known_text(get(last, "address")) or reference(get(last, "resourceid")),
    )
    return Answer(
        "connectivity",
        told,
        value=known_text(body["connectionstatus"]),
        rules=tuple(dict.fromkeys(name for hop in hops for name in _stopped_by(hop))),
    )


def _stopped_by(hop: dict[str, Any]) -> Iterator[str]:
    for issue in items(hop, "issues"):
        for one in items(issue, "context"):
            pairs = {known_text(get(one, "key")).lower(): get(one, "value"), **one}
            name = known_text(pairs.get("rulename"))
            if name and "rule" in known_text(get(issue, "type")).lower():
                yield plain(name)
