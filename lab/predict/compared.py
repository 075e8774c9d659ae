"""What Azure itself said of a network, beside what the documents say of it and what the wire of a lab shows."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec

from lab.azure import peerings
from lab.azure.model import Direction, InternetHost, Network, SecurityRule, VirtualMachine
from lab.azure.security_groups import Effective, Groups, Packet
from lab.formats import azure_answers
from lab.formats.azure_answers import Answer, Asked, Kind, Route, Rule
from lab.formats.azure_resources import shown
from lab.predict import forecast
from lab.predict.explain import INTERNET, Explanation, explain
from lab.predict.forecast import Protocol, Service
from lab.predict.observed import Comparison

#: What Azure routes to nowhere unless a virtual network has it (virtual-networks-udr-overview.md).
_NOWHERE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_NONE = "none"


class UnknownEndError(Exception):
    """An answer does not say what it is about; the text is the option that says it."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that Azure said: what the documents say of it, and the wire; "" where no packet was sent."""

    kind: Kind
    vm: str
    what: str
    azure: str
    document: str
    lab: str = ""
    differs: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says, line by line, what was not compared, and the flow that shows it on the wire."""

    rows: tuple[Row, ...]
    skipped: tuple[str, ...] = ()
    flow: Explanation | None = None


def compare(
    network: Network,
    answer: Answer,
    given: Asked,
    ids: Mapping[str, str],
    *,
    down: frozenset[str] = frozenset(),
    broken: Mapping[frozenset[str], str] | None = None,
) -> Found:
    """Line an answer up with the documents.

    ``given``: what the user says of the question, where the answer does not. ``ids``: VMs by ids of Azure.

    Raises:
        UnknownEndError: neither says what was asked.

    """
    return _Compared(network, answer, given, ids, down, broken or {}).found()


def on_the_wire(found: Found, seen: Comparison) -> Found:
    """Return what was found with what the wire shows of its flow."""
    assert found.flow is not None
    reached = [
        one.seen
        for hop, one in zip(found.flow.hops, seen.hops, strict=True)
        if hop.type == "Destination" and one.seen not in ("", "nothing")
    ]
    said = f"arrived: {reached[0]}" if reached else "did not arrive"
    rows = tuple(
        msgspec.structs.replace(row, lab=said, differs=row.differs or bool(seen.blamed))
        if row.what.startswith(("connection", "flow"))
        else row
        for row in found.rows
    )
    return msgspec.structs.replace(found, rows=rows)


def ids_of(text: str) -> dict[str, str]:
    """Return the VMs of a topology's text by the ids that `lab import azure` wrote above them, in small letters."""
    found: dict[str, str] = {}
    section = ""
    above: list[str] = []
    for line in text.splitlines():
        if line[:1].isalpha():
            section, above = line.partition(":")[0], []
        elif line.startswith("  # /"):
            above.append(line[4:].strip().lower())
        elif line.startswith("  ") and line[2:3] not in (" ", "#", "-"):
            if section == "virtual_machines":
                found |= dict.fromkeys(above, line[2:].partition(":")[0].strip("\"'"))
            above = []
    return found


class _Compared:
    def __init__(
        self,
        network: Network,
        answer: Answer,
        given: Asked,
        ids: Mapping[str, str],
        down: frozenset[str],
        broken: Mapping[frozenset[str], str],
    ) -> None:
        self.network = network
        self.answer = answer
        self.ids = ids
        self.down = down
        self.broken = broken
        own = msgspec.structs.asdict(answer.asked)
        asked: dict[str, Any] = {key: own[key] or value for key, value in msgspec.structs.asdict(given).items()}
        asked["target"] = given.target or own["target"]
        self.asked = Asked(**asked)

    def found(self) -> Found:
        """Line the answer up."""
        kinds = {
            "routes": self.routes,
            "rules": self.rules,
            "connectivity": self.connection,
            "ip flow": self.flow,
            "next hop": self.next_hop,
        }
        return kinds[self.answer.kind]()

    def row(self, vm: str, what: str, azure: str, document: str, *, differs: bool) -> Row:
        return Row(
            kind=self.answer.kind, vm=vm, what=shown(what), azure=shown(azure), document=document, differs=differs
        )

    # --- what it is about ----------------------------------------------------------------------

    def named(self, target: str) -> VirtualMachine | None:
        """Return the VM that an id, an address or a name is about."""
        key = target.lower().partition("/ipconfigurations/")[0]
        last = key.rpartition("/")[2]
        for vm in self.network.virtual_machines:
            own = {
                vm.name.lower(),
                f"{vm.name}-nic".lower(),
                *(i.name.lower() for i in vm.network_interfaces if i.name),
            }
            own |= {f"{vm.name}-{i.name}".lower() for i in vm.network_interfaces}
            if self.ids.get(key) == vm.name or (key not in self.ids and last in own):
                return vm
            if any(str(i.private_ip_address) == target for i in vm.network_interfaces):
                return vm
        return None

    def vm(self) -> VirtualMachine:
        """Return the VM that the answer is about."""
        asked = (self.asked.target, self.asked.local)
        found = next((vm for one in asked if one and (vm := self.named(one)) is not None), None)
        if found is None:
            raise UnknownEndError("--vm")
        return found

    def remote(self) -> str:
        """Return the other end: a node of the topology, or an address."""
        target = self.asked.remote
        if not target:
            raise UnknownEndError("--remote")
        node = self.named(target) if "/" in target else None
        if node is not None:
            return node.name
        if self.network.vm(target) or self.network.host(target):
            return target
        try:
            return str(IPv4Address(target))
        except ValueError:
            raise UnknownEndError("--remote") from None

    def address(self) -> IPv4Address:
        """Return the address of the other end, as the VM reaches it."""
        found = forecast.address_of(self.network, self.vm().name, self.remote())
        if found is None:
            raise UnknownEndError("--remote")
        return found

    def protocol(self) -> Protocol:
        return "udp" if self.asked.protocol == "udp" else "icmp" if self.asked.protocol == "icmp" else "tcp"

    # --- routes --------------------------------------------------------------------------------

    def document_routes(self, vm: VirtualMachine) -> dict[IPv4Network, str]:
        """Return the system routes of a VM."""
        vnet = self.network.virtual_network(vm.virtual_network)
        found = dict.fromkeys(vnet.address_space, "VnetLocal")
        for link in peerings.links(self.network, vnet):
            found |= {space: "VNetPeering" for space in link.remote.address_space if space not in found}
        found |= {
            space: "VirtualNetworkGateway" for space in peerings.reached(self.network, vnet) if space not in found
        }
        return {**found, IPv4Network("0.0.0.0/0"): "Internet"}

    def routes(self) -> Found:
        vm = self.vm()
        document = self.document_routes(vm)
        rows: list[Row] = []
        nowhere = []
        azure: dict[IPv4Network, Route] = {}
        for route in self.answer.routes:
            azure |= {IPv4Network(prefix): route for prefix in route.prefixes if _is_prefix(prefix)}
        for prefix, route in azure.items():
            said = _longest(document, prefix)
            if (route.source, route.next_hop) == ("Default", "None") and not self.has_node(prefix):
                nowhere.append(str(prefix))
                continue
            words = f"{route.next_hop} {route.address}".strip()
            rows.append(self.row(vm.name, f"route {prefix}", words, said, differs=_hop(route.next_hop) != said))
        known = {prefix: _hop(route.next_hop) for prefix, route in azure.items()}
        for prefix, said in document.items():
            if prefix not in azure:
                theirs = _longest(known, prefix)
                rows.append(self.row(vm.name, f"route {prefix}", theirs, said, differs=theirs != said))
        skipped = (f"{vm.name}: Azure's own routes to nowhere: {', '.join(nowhere)}",) if nowhere else ()
        return Found(rows=tuple(rows), skipped=skipped)

    def has_node(self, prefix: IPv4Network) -> bool:
        """Tell whether a node of the topology has an address of a prefix, and no route of a smaller one leads there."""
        vms = (i.private_ip_address for vm in self.network.virtual_machines for i in vm.network_interfaces)
        own = [space for vnet in self.network.virtual_networks for space in vnet.address_space]
        outside = [*vms, *(host.address for host in self.network.internet)]
        return any(a in prefix and not any(a in s and s.prefixlen > prefix.prefixlen for s in own) for a in outside)

    def next_hop(self) -> Found:
        vm, address = self.vm(), self.address()
        said = _longest(self.document_routes(vm), IPv4Network(f"{address}/32"))
        if said == "Internet" and any(address in space for space in _NOWHERE):
            said = "None"
        azure = f"{self.answer.value} {self.answer.address}".strip()
        differs = _hop(self.answer.value).lower() != said.lower()
        return Found(rows=(self.row(vm.name, f"next hop to {address}", azure, said, differs=differs),))

    # --- security groups -----------------------------------------------------------------------

    def rules(self) -> Found:
        rows: list[Row] = []
        for group in self.answer.groups:
            try:
                vm = self.vm()
            except UnknownEndError:
                vm = self.at(group)
            mine = [e for e in Groups(self.network).effective(vm) if e.on == group.on and not self.secondary(vm, e)]
            if not mine:
                what = f"security group at the {group.on}"
                rows.append(self.row(vm.name, what, group.name or "one", _NONE, differs=True))
                continue
            rows += self.group_rows(vm, group, mine)
        return Found(rows=tuple(rows))

    def secondary(self, vm: VirtualMachine, effective: Effective) -> bool:
        """Tell whether a rule is of an interface beside the primary one."""
        return effective.interface != vm.network_interfaces[0].name

    def at(self, group: azure_answers.Group) -> VirtualMachine:
        """Return a VM that a group of Azure's is in force at: by its interface, or any of its subnet."""
        found = self.named(group.at) if group.on == "VM" else None
        if found is None and group.on == "subnet" and "/subnets/" in group.at:
            vnet, _, subnet = group.at.rpartition("/virtualnetworks/")[2].partition("/subnets/")
            found = next(
                (
                    vm
                    for vm in self.network.virtual_machines
                    if (vm.virtual_network.lower(), vm.subnet.lower()) == (vnet, subnet)
                ),
                None,
            )
        if found is None:
            raise UnknownEndError("--vm")
        return found

    def group_rows(self, vm: VirtualMachine, group: azure_answers.Group, mine: list[Effective]) -> Iterator[Row]:
        document: dict[tuple[str, int], Rule] = {(e.direction, e.rule.priority): _plain(e.rule) for e in mine}
        azure = {(rule.direction, rule.priority): rule for rule in group.rules}
        own = mine[0].group
        name = own if group.name.lower() in ("", own.lower()) else group.name
        for key in sorted({*document, *azure}):
            theirs, ours = azure.get(key), document.get(key)
            same = theirs is not None and ours is not None and _facts(theirs) == _facts(ours)
            called = next(rule.name for rule in (theirs, ours) if rule is not None)
            what = f"rule {called} of {name}, {key[0]} {key[1]}"
            words = (_words(theirs) if theirs else _NONE, _words(ours) if ours else _NONE)
            yield self.row(vm.name, what, *words, differs=not same)

    # --- flows ---------------------------------------------------------------------------------

    def explained(self, sender: str, to: str, service: Service) -> Explanation:
        """Explain a flow; an address that the topology does not know is one of the internet."""
        network, target = self.network, to
        if network.vm(to) is None and network.host(to) is None:
            address = IPv4Address(to)
            public = {found for found, _ in network.public_addresses()}
            private = any(address in space for space in (*network.private_ranges(), *_NOWHERE))
            if address not in public and not private:
                target = INTERNET
                host = InternetHost(name=INTERNET, address=address)
                network = msgspec.structs.replace(network, internet=(*network.internet, host))
        return explain(network, sender, target, service, down=self.down, broken=self.broken)

    def connection(self) -> Found:
        vm, to = self.vm(), self.remote()
        service = Service(self.protocol(), self.asked.remote_port or 80)
        flow = self.explained(vm.name, to, service)
        said = flow.connection
        azure = {"connected": "Reachable", "disconnected": "Unreachable"}.get(
            self.answer.value.lower(), self.answer.value.capitalize()
        )
        vague = {said, azure} & {"Unknown", "Degraded"}
        what = f"connection to {to}, {service}"
        rows = [self.row(vm.name, what, azure, said, differs=said != azure and not vague)]
        last = flow.predicted.decision
        denied = last.rule if last is not None and last.access == "Deny" else ""
        if self.answer.rules or denied:
            same = denied.lower() in {rule.lower() for rule in self.answer.rules}
            theirs = ", ".join(self.answer.rules) or _NONE
            rows.append(self.row(vm.name, f"{what}: stopped by", theirs, denied or _NONE, differs=not same))
        return Found(rows=tuple(rows), flow=flow)

    def flow(self) -> Found:
        vm, address, protocol = self.vm(), self.address(), self.protocol()
        direction: Direction = "Inbound" if self.asked.direction == "Inbound" else "Outbound"
        local, remote = self.asked.local_port, self.asked.remote_port
        inbound = direction == "Inbound"
        if protocol != "icmp" and not (local if inbound else remote):
            raise UnknownEndError("--local-port" if inbound else "--remote ADDRESS:PORT")
        ends = (vm.private_ip_address, local or forecast.EPHEMERAL.first), (address, remote or forecast.EPHEMERAL.first)
        source, destination = reversed(ends) if inbound else ends
        packet = Packet(
            protocol=protocol,
            source=source[0],
            source_port=source[1],
            destination=destination[0],
            destination_port=destination[1],
        )
        decisions = Groups(self.network).decisions(vm, direction, packet)
        said = next((d.access for d in decisions if d.access == "Deny"), "Allow")
        words = ", ".join(d.rule for d in decisions if d.access == said) or "no security group is asked"
        theirs = ", ".join(self.answer.rules)
        by_another = bool(decisions and theirs) and theirs.lower() not in {d.rule.lower() for d in decisions}
        differs = said.lower() != self.answer.value.lower() or by_another
        text = f"{source[0]}:{source[1]} -> {destination[0]}:{destination[1]} {protocol}"
        azure = f"{self.answer.value}: {theirs}" if theirs else self.answer.value
        row = self.row(vm.name, f"flow {direction}, {text}", azure, f"{said}: {words}", differs=differs)
        node = next((h.name for h in self.network.internet if h.address == address), "")
        near = (
            v
            for v in self.network.virtual_machines
            if any(i.private_ip_address == address for i in v.network_interfaces)
        )
        node = node or next((v.name for v in near), "")
        if not node:
            return Found(rows=(row,))
        pair = (node, vm.name) if inbound else (vm.name, node)
        service = Service(protocol, 0 if protocol == "icmp" else destination[1])
        return Found(rows=(row,), flow=explain(self.network, *pair, service, down=self.down, broken=self.broken))


def _hop(azure: str) -> str:
    """Return a type of next hop in the word for it that a route has."""
    words = {"vnetglobalpeering": "VNetPeering", "virtualnetworkpeering": "VNetPeering", "virtualnetwork": "VnetLocal"}
    return words.get(azure.lower(), azure)


def _is_prefix(text: str) -> bool:
    try:
        IPv4Network(text)
    except ValueError:
        return False
    return True


def _longest(routes: Mapping[IPv4Network, str], prefix: IPv4Network) -> str:
    """Return the next hop of the smallest range that has a prefix."""
    found = [(space.prefixlen, following) for space, following in routes.items() if prefix.subnet_of(space)]
    return max(found)[1] if found else _NONE


def _plain(rule: SecurityRule) -> Rule:
    return Rule(
        name=rule.name,
        direction=rule.direction,
        priority=rule.priority,
        access=rule.access,
        protocol=rule.protocol.lower(),
        sources=azure_answers.addresses([*rule.sources]),
        source_ports=azure_answers.ports([str(one) for one in rule.source_ports]),
        destinations=azure_answers.addresses([*rule.destinations]),
        destination_ports=azure_answers.ports([str(one) for one in rule.destination_ports]),
    )


def _facts(rule: Rule) -> tuple[object, ...]:
    """Return what decides; a name does not."""
    return (
        *(rule.access.lower(), rule.protocol),
        *(rule.sources, rule.source_ports, rule.destinations, rule.destination_ports),
    )


def _words(rule: Rule) -> str:
    def ends(addresses: frozenset[str], ports: frozenset[str]) -> str:
        named = ", ".join(sorted(addresses)) or "any"
        plain = sorted(f"{a}" if a == b else f"{a}-{b}" for a, _, b in (port.partition("-") for port in ports))
        return f"{named} port {', '.join(plain)}" if plain else named

    protocol = "any protocol" if rule.protocol == "*" else rule.protocol
    sent, received = ends(rule.sources, rule.source_ports), ends(rule.destinations, rule.destination_ports)
    return f"{rule.access} {protocol}, {sent} -> {received}"
