"""What the documents say of a topology, worked out from the text of its file alone.

Nothing of ``lab`` is imported: this is a third reading of the documents, beside the rules and the claims. It knows the
part of the vocabulary that ``drawing.py`` draws. Sources, by title and date:

- Outbound connections, 2017-05-31: which address a VM is seen with
- Source IP of outbound flows, 2018-12-11: which rules bind a VM to a frontend
- Multiple VIPs, 2015-07-23: endpoints; access control lists of endpoints, 2014
- What is a network security group, 2016-02-11: priorities, tags, default rules
- Load balancer standard overview, 2017-09-28, and outbound rules, 2018-09-24: Standard
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import yaml

HOST = "168.63.129.16"  # where probes come from, and what AzureLoadBalancer means
DEFAULT = "default"  # an address of the platform's choice


@dataclass(frozen=True)
class Way:
    """How a flow leaves: the addresses that it may be seen with, and whether its port stays as it is."""

    addresses: frozenset[str]
    port_kept: bool = False


@dataclass(frozen=True)
class Expected:
    """What becomes of a flow: who may answer it; whether silence is possible; what the answerer sees of the client.

    ``answerers`` empty: silence. ``seen`` None: the client's own address.
    """

    answerers: frozenset[str] = frozenset()
    silent: bool = True
    seen: Way | None = None


SILENCE = Expected()


@dataclass
class Front:
    """A public address and port that lead to VMs."""

    address: str
    port: int
    protocol: str
    members: dict[str, int]  # each with its own port
    probe: int | None = None
    acl: list[dict[str, str]] = field(default_factory=list)


class Oracle:
    """The answers for one file."""

    def __init__(self, text: str) -> None:
        self.data: dict[str, Any] = yaml.safe_load(text)
        self.vms: dict[str, dict[str, Any]] = self.data.get("virtual_machines", {})
        self.hosts: dict[str, dict[str, Any]] = self.data.get("internet", {})
        self.groups: dict[str, list[dict[str, Any]]] = self.data.get("network_security_groups", {})
        self.fronts = [*self._of_balancers(), *self._of_services()]

    # --- the file ---------------------------------------------------------------------------------

    def address(self, vm: str) -> str:
        """Return a VM's private address."""
        return str(self.vms[vm]["private_ip_address"])

    def listens(self, node: str) -> set[tuple[str, int]]:
        """Return the protocols and ports that a node serves."""
        services = (self.vms.get(node) or self.hosts[node]).get("services", [])
        pairs = (service.split(":") for service in services)
        return {("udp" if kind == "udp" else "tcp", int(port)) for kind, port in pairs}

    def own(self, vm: str) -> str | None:
        """Return a VM's instance-level public IP."""
        found = self.vms[vm].get("instance_public_ip")
        return None if found is None else str(found["address"])

    def _of_balancers(self) -> list[Front]:
        fronts = []
        for lb in self.data.get("load_balancers", {}).values():
            addresses = lb["frontend_ip_configurations"]
            for rule in lb.get("load_balancing_rules", {}).values():
                members = dict.fromkeys(lb["backend_address_pools"][rule["backend_pool"]], rule["backend_port"])
                probe = lb["probes"][rule["probe"]]["port"]
                fronts.append(
                    Front(
                        addresses[rule["frontend"]],
                        rule["frontend_port"],
                        rule["protocol"].lower(),
                        members,
                        probe,
                    )
                )
            for rule in lb.get("inbound_nat_rules", {}).values():
                member = {rule["virtual_machine"]: rule["backend_port"]}
                fronts.append(
                    Front(addresses[rule["frontend"]], rule["frontend_port"], rule["protocol"].lower(), member)
                )
        return fronts

    def _of_services(self) -> list[Front]:
        fronts: dict[Any, Front] = {}
        for service in self.data.get("cloud_services", {}).values():
            for endpoint in service["endpoints"]:
                vip = service["virtual_ips"][endpoint["virtual_ip"]]
                if not vip or "address" not in vip:
                    continue
                key = (vip["address"], endpoint["public_port"], endpoint["protocol"])
                probe = endpoint["local_port"] if endpoint.get("probe") == "default" else None
                front = fronts.setdefault(key, Front(*key, {}, probe, endpoint.get("acl", [])))
                front.members[endpoint["virtual_machine"]] = endpoint["local_port"]
        return list(fronts.values())

    def standard(self) -> dict[str, dict[str, Any]]:
        """Return the Standard load balancers."""
        return {n: lb for n, lb in self.data.get("load_balancers", {}).items() if lb.get("sku") == "Standard"}

    # --- network security groups --------------------------------------------------------------------

    def _groups_of(self, vm: str) -> list[str]:
        network, _, subnet = self.vms[vm]["subnet"].partition("/")
        found = self.data["virtual_networks"][network]["subnets"][subnet]
        of_subnet = found.get("network_security_group") if isinstance(found, dict) else None
        return [group for group in (of_subnet, self.vms[vm].get("network_security_group")) if group]

    def _space(self, vm: str) -> list[IPv4Network]:
        network = self.vms[vm]["subnet"].partition("/")[0]
        return [IPv4Network(prefix) for prefix in self.data["virtual_networks"][network]["address_space"]]

    def passes(self, vm: str, direction: str, protocol: str, source: str, destination: str, port: int) -> bool:
        """Tell whether a VM's groups let a flow begin; ``port``: that of the destination, as the VM sees it."""
        groups = self._groups_of(vm)
        if not groups and direction == "Inbound" and self._closed(vm):
            return source == HOST or self._within(vm, source)
        return all(self._allows(vm, group, direction, protocol, source, destination, port) for group in groups)

    def _closed(self, vm: str) -> bool:
        """Tell whether a VM is closed without a group: it belongs to a Standard load balancer."""
        return any(vm in self._members(lb) for lb in self.standard().values())

    @staticmethod
    def _members(lb: dict[str, Any]) -> set[str]:
        pooled = {vm for pool in lb["backend_address_pools"].values() for vm in pool}
        return pooled | {rule["virtual_machine"] for rule in lb.get("inbound_nat_rules", {}).values()}

    def _within(self, vm: str, address: str) -> bool:
        return any(IPv4Address(address) in prefix for prefix in self._space(vm))

    def _allows(
        self, vm: str, group: str, direction: str, protocol: str, source: str, destination: str, port: int
    ) -> bool:
        for rule in sorted(self.groups[group], key=lambda r: r["priority"]):
            if (
                rule["direction"] == direction
                and rule["protocol"] in ("*", protocol.capitalize())
                and self._is(vm, rule.get("source_address_prefix", "*"), source)
                and self._is(vm, rule.get("destination_address_prefix", "*"), destination)
                and _in_range(rule.get("destination_port_range", "*"), port)
            ):
                return bool(rule["access"] == "Allow")
        if self._within(vm, source) and self._within(vm, destination):
            return True  # 65000
        return source == HOST if direction == "Inbound" else self._is(vm, "Internet", destination)  # 65001, 65500

    def _is(self, vm: str, prefix: str, address: str) -> bool:
        if prefix == "*":
            return True
        if prefix == "AzureLoadBalancer":
            return address == HOST
        if prefix == "VirtualNetwork":
            return self._within(vm, address)
        if prefix == "Internet":
            return address != HOST and not self._within(vm, address)
        return IPv4Address(address) in IPv4Network(prefix)

    # --- the way out ----------------------------------------------------------------------------------

    def way(self, vm: str, protocol: str) -> Way | None:
        """Return how flows of a VM leave its network, None if they do not."""
        own = self.own(vm)
        if own is not None:
            return Way(frozenset({own}), port_kept=True)
        if protocol == "icmp":
            return None  # load balancers translate TCP and UDP only
        linked: set[str] = set()
        for name, lb in self.data.get("load_balancers", {}).items():
            linked |= self._linked(lb, vm, protocol if name in self.standard() else None)
        for front in self._of_services():
            if vm in front.members:
                linked.add(front.address)
        if linked:
            return Way(frozenset(linked))
        return None if self._without_default(vm) else Way(frozenset({DEFAULT}))

    def _linked(self, lb: dict[str, Any], vm: str, only: str | None) -> set[str]:
        """Return the frontends of a load balancer that its rules bind a VM to; ``only``: those of a protocol."""
        found = set()
        for rule in lb.get("load_balancing_rules", {}).values():
            if vm in lb["backend_address_pools"][rule["backend_pool"]] and only in (None, rule["protocol"].lower()):
                found.add(lb["frontend_ip_configurations"][rule["frontend"]])
        for rule in lb.get("inbound_nat_rules", {}).values() if only is None else ():
            if rule["virtual_machine"] == vm:
                found.add(lb["frontend_ip_configurations"][rule["frontend"]])
        return found

    def _without_default(self, vm: str) -> bool:
        """Tell whether a Standard load balancer takes the default address away: from 2019-05 on by membership alone."""
        for lb in self.standard().values():
            ruled = {
                member
                for rule in lb.get("load_balancing_rules", {}).values()
                for member in lb["backend_address_pools"][rule["backend_pool"]]
            } | {rule["virtual_machine"] for rule in lb.get("inbound_nat_rules", {}).values()}
            if vm in (self._members(lb) if self.data["profile"] >= "2019-05" and self._dated() else ruled):
                return True
        return False

    def _dated(self) -> bool:
        return self.data["profile"] != "seeds"

    # --- flows ------------------------------------------------------------------------------------------

    def outbound(self, vm: str, protocol: str, host: str, port: int) -> Expected:
        """Return what becomes of a flow from a VM to an outside host."""
        address = str(self.hosts[host]["address"])
        way = self.way(vm, protocol)
        if way is None or not self.passes(vm, "Outbound", protocol, self.address(vm), address, port):
            return SILENCE
        return Expected(frozenset({host}), silent=False, seen=way)

    def inner(self, vm: str, protocol: str, other: str, port: int) -> Expected:
        """Return what becomes of a flow from a VM to the private address of another of its network."""
        ends = (self.address(vm), self.address(other), port)
        if not self.passes(vm, "Outbound", protocol, *ends) or not self.passes(other, "Inbound", protocol, *ends):
            return SILENCE
        return Expected(frozenset({other}), silent=False)

    def inbound(self, source: str, address: str, protocol: str, port: int) -> Expected:
        """Return what becomes of a flow from an outside address to a public one."""
        for vm in self.vms:
            if self.own(vm) == address:
                fine = (protocol, port) in self.listens(vm) or protocol == "icmp"
                if fine and self.passes(vm, "Inbound", protocol, source, self.address(vm), port):
                    return Expected(frozenset({vm}), silent=False)
                return SILENCE
        for front in self.fronts:
            if (front.address, front.port, front.protocol) == (address, port, protocol):
                return self._behind(front, source)
        return SILENCE

    def _behind(self, front: Front, source: str) -> Expected:
        if not self._admits(front.acl, source):
            return SILENCE
        healthy = {vm: port for vm, port in front.members.items() if self.up(vm, front.probe)}
        open_ = {
            vm
            for vm, port in healthy.items()
            if self.passes(vm, "Inbound", front.protocol, source, self.address(vm), port)
        }
        return Expected(frozenset(open_), silent=not open_ or len(open_) < len(healthy))

    def up(self, vm: str, probe: int | None) -> bool:
        """Tell whether a member receives new flows: its probe, if there is one, is let in and answered."""
        if probe is None:
            return True
        let_in = self.passes(vm, "Inbound", "tcp", HOST, self.address(vm), probe)
        return let_in and ("tcp", probe) in self.listens(vm)

    @staticmethod
    def _admits(acl: list[dict[str, str]], source: str) -> bool:
        for rule in sorted(acl, key=lambda r: int(r["order"])):
            if IPv4Address(source) in IPv4Network(rule["remote_subnet"]):
                return rule["action"] == "permit"
        return not any(rule["action"] == "permit" for rule in acl)

    def hairpin(self, vm: str, protocol: str, address: str, port: int) -> Expected:
        """Return what becomes of a flow from a VM to a public address of its own network."""
        way = self.way(vm, protocol)
        if way is None or not self.passes(vm, "Outbound", protocol, self.address(vm), address, port):
            return SILENCE
        # Whichever default address it is, it is outside of every prefix that is drawn.
        source = "192.0.2.254" if way.addresses == {DEFAULT} else min(way.addresses)
        found = self.inbound(source, address, protocol, port)
        return Expected(found.answerers, found.silent, way) if found.answerers else SILENCE


def _in_range(text: object, port: int) -> bool:
    if str(text) == "*":
        return True
    first, _, last = str(text).partition("-")
    return int(first) <= port <= int(last or first)
