"""Load balancers of a topology, public and internal; what the vocabulary lacks of them is told."""

import re
from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, address, is_true, whole, word
from lab.formats.azure_resources import Resource, items, known_text, reference, shown

_PARTS = "frontendipconfigurations backendaddresspools loadbalancingrules probes inboundnatrules outboundrules sku"


def balancers(draft: Draft) -> None:
    """Add the load balancers that have a frontend with an address."""
    seen: dict[str, Resource] = {}
    for one in draft.of_type("microsoft.network/loadbalancers"):
        _Balancer(draft, one, seen).add()


class _Balancer:
    """A load balancer on its way into a topology."""

    def __init__(self, draft: Draft, one: Resource, seen: dict[str, Resource]) -> None:
        self.draft, self.one, self.seen = draft, one, seen
        self.sku = word(get(get(one.body, "sku"), "name"), "Basic", "Standard", "Gateway") or "Basic"
        self.made: dict[str, Any] = {}
        self.names: dict[tuple[str, str], str] = {}

    def where(self, what: str, part: dict[str, Any]) -> str:
        return f"{self.one.title}, {what} {shown(get(part, 'name'))}"

    def named(self, what: str, part: dict[str, Any]) -> str:
        """Return the name of a part in the topology."""
        own = str(get(part, "name"))
        name = self.draft.name(f"{what} of {self.one.key}", own.lower(), own, self.where(what, part))
        self.names[what, own.lower()] = name
        return name

    def known(self, what: str, value: object) -> str | None:
        """Return the name of a part that another part refers to."""
        return self.names.get((what, reference(value).rpartition("/")[2]))

    def add(self) -> None:
        """Add it with all its parts."""
        draft, one = self.draft, self.one
        draft.check(one.title, "load balancer", one.body, f"{_PARTS} inboundnatpools")
        if self.sku == "Gateway":
            draft.leave(one.title, "a gateway load balancer", "flows do not go through it", way_out=True)
            return
        frontends = self._frontends()
        if not frontends:
            effect = "it has no frontend that is played; VMs behind it do not answer at its address"
            standard = self.sku == "Standard"
            if standard:
                effect += ", and those without another way out have none in Azure"
            draft.leave(one.title, "the load balancer", effect, way_out=standard)
            return
        self.made = {"sku": self.sku, "frontend_ip_configurations": frontends}
        self._put("backend_address_pools", self._pools())
        self._put("probes", self._probes())
        self._put("load_balancing_rules", self._rules())
        self._put("inbound_nat_rules", self._nat_rules())
        self._put("outbound_rules", self._outbound_rules())
        draft.put("load_balancers", draft.name("balancer", one.key, one.name, one.title), self.made, one)

    def _put(self, key: str, parts: dict[str, Any]) -> None:
        if parts:
            self.made[key] = parts

    def _frontends(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for part in items(self.one.body, "frontendipconfigurations"):
            where = self.where("frontend", part)
            own = "publicipaddress subnet publicipprefix privateipaddress"
            self.draft.check(where, "frontend", part, own)
            public = reference(get(part, "publicipaddress"))
            own_address, found = self._public(where, public) if public else self._private(where, part)
            if found:
                made[self.named("frontend", part)] = own_address
        return made

    def _private(self, where: str, part: dict[str, Any]) -> tuple[object, bool]:
        """Return a frontend in a subnet, and whether it is played."""
        if word(get(part, "privateipaddressversion"), "IPv6"):
            self.draft.leave(where, "an IPv6 address", "only IPv4 is played, and its rules are not there")
            return None, False
        key = reference(get(part, "subnet"))
        home = self.draft.subnets.get(key)
        if home is None:
            found = f"subnet {shown(key)}" if key else "the frontend"
            prefix = bool(get(part, "publicipprefix"))
            effect = "it is not in the topology, so the frontend and its rules are not there"
            if not key:
                effect = "neither a public IP nor a subnet of it is known, so it is not played, nor are its rules"
            self.draft.leave(where, found, effect, way_out=prefix or self.sku == "Standard")
            return None, False
        own = address(get(part, "privateipaddress"))
        return {"subnet": home} | ({"private_ip_address": own} if own else {}), True

    def _public(self, where: str, public: str) -> tuple[object, bool]:
        """Return the address of a public frontend, and whether it is played; None: one is allocated."""
        ip = self.draft.by_id.get(public)
        if ip is not None:
            self.draft.part_of(self.one, ip)
            self.draft.check(ip.title, "public IP", ip.body)
            if word(get(ip.body, "publicipaddressversion"), "IPv6"):
                self.draft.leave(where, "an IPv6 address", "only IPv4 is played, and its rules are not there")
                return None, False
        else:
            self.draft.leave(where, f"publicIPAddress {shown(public)}", "in none of the files; one is allocated")
        own = address(get(ip.body, "ipaddress")) if ip is not None else None
        if public in self.seen:
            effect = f"{self.seen[public].name} has the address too; it can have one place, so another is allocated"
            self.draft.leave(where, "a public IP that is used twice", effect, way_out=True)
            own = None
        self.seen.setdefault(public, self.one)
        return own, True

    def _members(self, pool: dict[str, Any]) -> list[str]:
        key = f"{self.one.key}/backendaddresspools/{str(get(pool, 'name')).lower()}"
        found = []
        for nic in self.draft.of_type("microsoft.network/networkinterfaces"):
            vm = self.draft.members.get(nic.key)
            parts = items(nic.body, "ipconfigurations")
            listed = [reference(one) for part in parts for one in items(part, "loadbalancerbackendaddresspools")]
            told = [reference(one) for one in items(pool, "backendipconfigurations")]
            if key not in listed and not any(one.startswith(f"{nic.key}/") for one in told):
                continue
            if vm is not None and vm not in found:
                found.append(vm)
            elif vm is None:
                effect = f"its interface {shown(nic.name)} is of no VM of the topology"
                self.draft.leave(self.where("pool", pool), "a member", effect)
        return found

    def _pools(self) -> dict[str, Any]:
        made = {}
        for pool in items(self.one.body, "backendaddresspools"):
            members = self._members(pool)
            by_address = items(pool, "loadbalancerbackendaddresses")
            # Azure lists the members that have an interface among the addresses too.
            self.draft.check(self.where("pool", pool), "pool", pool, "loadbalancerbackendaddresses virtualnetwork")
            made[self.named("pool", pool)] = members
            if by_address and not members:
                text = f"{len(by_address)} backend addresses"
                self.draft.leave(self.where("pool", pool), text, "members by address are not in it", way_out=True)
        return made

    def _probes(self) -> dict[str, Any]:
        made = {}
        for probe in items(self.one.body, "probes"):
            where = self.where("probe", probe)
            protocol = word(get(probe, "protocol"), "Tcp", "Http")
            port = whole(get(probe, "port"), 1)
            if port is None:
                self.draft.leave(where, "the probe", "its port is not known")
                continue
            if protocol is None:
                effect = "it asks by Tcp, as the vocabulary has no Https"
                self.draft.leave(where, f"protocol {shown(get(probe, 'protocol'))}", effect)
            one: dict[str, Any] = {"protocol": protocol or "Tcp", "port": port}
            path = known_text(get(probe, "requestpath"))
            if protocol == "Http" and re.fullmatch(r"/[!-~]+", path):
                one["request_path"] = path
            for key, name, low, high in (
                ("intervalinseconds", "interval_in_seconds", 1, 65535),
                ("numberofprobes", "number_of_probes", 1, 65535),
                ("probethreshold", "probe_threshold", 1, 100),
            ):
                number = whole(get(probe, key), low, high)
                if number is not None:
                    one[name] = number
            down = word(get(probe, "nohealthybackendsbehavior"), "AllProbedUp")
            if down:
                one["no_healthy_backends_behavior"] = down
            made[self.named("probe", probe)] = one
            taken = (
                "protocol port requestpath intervalinseconds numberofprobes probethreshold nohealthybackendsbehavior"
            )
            self.draft.check(where, "probe", probe, taken)
        return made

    def _common(self, rule: dict[str, Any], where: str) -> dict[str, Any] | None:
        """Return what load-balancing rules and NAT rules share."""
        frontend = self.known("frontend", get(rule, "frontendipconfiguration"))
        protocol = word(get(rule, "protocol"), "Tcp", "Udp", "All")
        first = 0 if protocol == "All" else 1
        front, back = (whole(get(rule, f"{end}port"), first) for end in ("frontend", "backend"))
        no_snat = is_true(get(rule, "disableoutboundsnat"))
        if frontend is None:
            self.draft.leave(where, "the rule", "its frontend is not in the topology")
        elif protocol is None or front is None or back is None:
            effect = "the vocabulary has no rule without a protocol of Tcp, Udp or All, and known ports"
            self.draft.leave(where, "the rule", effect, way_out=not no_snat)
        else:
            made = {"frontend": frontend, "protocol": protocol, "frontend_port": front, "backend_port": back}
            return made | self._options(rule)
        return None

    def _options(self, rule: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        minutes = whole(get(rule, "idletimeoutinminutes"), 1)
        if minutes not in (None, 4):
            made["idle_timeout_in_minutes"] = minutes
        for key, name in (("enablefloatingip", "enable_floating_ip"), ("enabletcpreset", "enable_tcp_reset")):
            if is_true(get(rule, key)):
                made[name] = True
        return made

    def _rules(self) -> dict[str, Any]:
        made = {}
        taken = "frontendipconfiguration backendaddresspool probe protocol frontendport backendport enablefloatingip"
        taken += " idletimeoutinminutes enabletcpreset loaddistribution disableoutboundsnat"
        for rule in items(self.one.body, "loadbalancingrules"):
            where = self.where("rule", rule)
            several = items(rule, "backendaddresspools")
            pool = self.known("pool", get(rule, "backendaddresspool") or (several[0] if several else None))
            one = self._common(rule, where)
            if one is not None and pool is None:
                self.draft.leave(where, "the rule", "its pool is not in the topology", way_out=True)
            if one is None or pool is None:
                continue
            self.draft.check(where, "rule", rule, taken)
            one = {"frontend": one.pop("frontend"), "backend_pool": pool, **one}
            if get(rule, "probe"):
                probe = self.known("probe", get(rule, "probe"))
                if probe:
                    one["probe"] = probe
                else:
                    self.draft.leave(where, "probe", "it is not in the topology; the rule has none")
            spread = word(get(rule, "loaddistribution"), "SourceIP", "SourceIPProtocol")
            if spread:
                one["load_distribution"] = spread
            if is_true(get(rule, "disableoutboundsnat")):
                one["disable_outbound_snat"] = True
            if one.get("enable_floating_ip"):
                effect = "inside the guest: give the VMs loopback_addresses, or they do not answer"
                self.draft.leave(where, "floating IP", effect, warning=False)
            made[self.named("rule", rule)] = one
        return made

    def _nat_members(self, rule: dict[str, Any]) -> list[str]:
        key = f"{self.one.key}/inboundnatrules/{str(get(rule, 'name')).lower()}"
        told = reference(get(rule, "backendipconfiguration"))
        found = []
        for nic in self.draft.of_type("microsoft.network/networkinterfaces"):
            parts = items(nic.body, "ipconfigurations")
            listed = [reference(one) for part in parts for one in items(part, "loadbalancerinboundnatrules")]
            vm = self.draft.members.get(nic.key)
            if vm is not None and (key in listed or told.startswith(f"{nic.key}/")):
                found.append(vm)
        return found

    def _nat_rules(self) -> dict[str, Any]:
        made = {}
        taken = "frontendipconfiguration protocol frontendport backendport enablefloatingip idletimeoutinminutes"
        taken += " enabletcpreset backendaddresspool frontendportrangestart frontendportrangeend"
        for rule in items(self.one.body, "inboundnatrules"):
            where = self.where("inbound NAT rule", rule)
            members = self._nat_members(rule)
            start = whole(get(rule, "frontendportrangestart"), 1)
            pool = self.known("pool", get(rule, "backendaddresspool"))
            if pool is not None and start is not None:
                members = self.made["backend_address_pools"][pool]
            if not members:
                self.draft.leave(where, "the rule", "no VM of the topology refers to it")
                continue
            self.draft.check(where, "rule", rule, taken)
            last = whole(get(rule, "frontendportrangeend"), 1)
            if pool is not None and start is not None and last is not None and len(members) > last - start + 1:
                self.draft.leave(
                    where, f"{len(members)} members", f"only {max(0, last - start + 1)} have a port of its range"
                )
                members = members[: max(0, last - start + 1)]
            for index, vm in enumerate(members):
                body = {**rule}
                if pool is not None and start is not None:
                    body |= {"name": f"{get(rule, 'name')}.{index}", "frontendport": start + index}
                one = self._common(body, where)
                if one is not None:
                    one = {"frontend": one.pop("frontend"), "virtual_machine": vm, **one}
                    made[self.named("inbound NAT rule", body)] = one
        return made

    def _outbound_rules(self) -> dict[str, Any]:
        made = {}
        for rule in items(self.one.body, "outboundrules"):
            where = self.where("outbound rule", rule)
            wanted = items(rule, "frontendipconfigurations")
            frontends = [name for one in wanted if (name := self.known("frontend", one))]
            pool = self.known("pool", get(rule, "backendaddresspool"))
            if not frontends or pool is None:
                self.draft.leave(where, "the rule", "its frontends or its pool are not in the topology", way_out=True)
                continue
            if len(frontends) != len(wanted):
                self.draft.leave(where, "a frontend", "it is not in the topology", way_out=True)
            protocol = word(get(rule, "protocol"), "Tcp", "Udp", "All") or "All"
            one: dict[str, Any] = {"frontends": frontends, "backend_pool": pool, "protocol": protocol}
            ports = whole(get(rule, "allocatedoutboundports"), 0)
            if ports:
                one["allocated_outbound_ports"] = ports
            made[self.named("outbound rule", rule)] = one | self._options(rule)
            taken = "frontendipconfigurations backendaddresspool protocol allocatedoutboundports idletimeoutinminutes"
            self.draft.check(where, "rule", rule, f"{taken} enabletcpreset")
        return made
