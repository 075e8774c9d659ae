"""A file of the right shape becomes a ``Network``: names are resolved and addresses allocated."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from itertools import chain
from typing import TypeAlias, TypeVar

import msgspec

from lab.azure import allocation, cloud_services, model, profile
from lab.azure.addresses import Ranges
from lab.errors import Problem, did_you_mean
from lab.flow import Transport
from lab.topology import internal, programs
from lab.topology.shape import (
    ANY_ADDRESS,
    ANY_PORT,
    AclRule,
    CloudService,
    Endpoint,
    LoadBalancer,
    LocalNetwork,
    NetworkInterface,
    PrivateFrontend,
    SecurityRule,
    Topology,
    VirtualIp,
    VirtualMachine,
)
from lab.topology.text import Position

#: A VM and the name of one of its network interfaces; "" is the only interface of a VM that lists none.
_Interface: TypeAlias = tuple[str, str]


#: What the protocol of a rule names.
_PROTOCOLS: dict[str, tuple[Transport, ...]] = {"Tcp": ("tcp",), "Udp": ("udp",), "All": ("tcp", "udp")}


class Builder:
    """Turns a valid shape into a ``Network``, collecting the names that lead nowhere.

    What was cut out of the file is in ``cut``: a name that leads there has its problem already.
    """

    def __init__(
        self, raw: Topology, cut: frozenset[str], time_scale: int | None, kept: Mapping[str, IPv4Address]
    ) -> None:
        self.problems: list[Problem] = []
        self.connected: list[int] = []  # where the file has each connection of the network
        self.raw = raw.model_copy(update={"virtual_machines": self._machines(raw)})
        self.kept = kept
        self.exhausted = False  # more public addresses are wanted than there are
        self._next: dict[bool, Iterator[IPv4Address]] = {}  # the free addresses, descending or not
        self.cut = cut
        self.time_scale = time_scale

    def _dangling(self, path: Position, what: str, name: str, known: Iterable[str]) -> bool:
        names = list(known)
        if name in names:
            return False
        if name not in self.cut:
            self.problems.append(
                Problem(
                    path=path,
                    found=f'no {what} "{name}"',
                    must=f"it must name a {what} of this file",
                    advice=did_you_mean(name, names),
                )
            )
        return True

    def _machines(self, raw: Topology) -> dict[str, VirtualMachine]:
        """Return the VMs of the file, and the instances of its roles."""
        found = dict(raw.virtual_machines)
        for service, described in raw.cloud_services.items():
            for name, role in described.roles.items():
                for number in range(role.instances):
                    instance = model.Role(name=name, instances=role.instances).instance(number)
                    if instance in found:
                        self.problems.append(
                            Problem(
                                path=("cloud_services", service, "roles", name),
                                found=f'"{instance}" is the name of another VM',
                                must="the instances of a role are VMs, and names of VMs are unique in the lab",
                                advice="rename the role",
                            )
                        )
                    # Its values are read already, and would not be read again.
                    found[instance] = VirtualMachine.model_construct(
                        subnet=role.subnet, services=role.services, instance_public_ip=role.instance_public_ip
                    )
        return found

    def in_file(self, problem: Problem) -> Problem:
        """Return what is wrong with the network that was made at its place in the file."""
        match problem.path:
            case ("connections", index, *rest):
                return msgspec.structs.replace(
                    problem, path=("connections", str(self.connected[int(index)]), *map(str, rest))
                )
        return problem

    def network(self) -> model.Network:
        """Return the network; what leads nowhere is left out of it, and in ``problems``."""
        raw = self.raw
        self.problems += programs.problems(raw.expect, self.cut)
        # The order of allocation is fixed: load balancers, VMs, virtual networks, each by name.
        self.taken = self._given_public_addresses()
        load_balancers = tuple(self._load_balancer(n, raw.load_balancers[n]) for n in _ordered(raw.load_balancers))
        nat_gateways = self._nat_gateways()
        own = self._instance_public_ips()
        networks = self._virtual_networks()
        vms = self._virtual_machines(networks, own)
        load_balancers = tuple(internal.placed(raw, lb, self.frontends) for lb in load_balancers)
        gateways = self._vpn_gateways()
        sites = self._local_networks({g.virtual_network: g.address for g in gateways})
        reserved = self._reserved_ips()
        overrides = model.Overrides(
            snat_ports_per_vm=raw.overrides.snat_ports_per_vm,
            nat_gateway_ports=raw.overrides.nat_gateway_ports,
            time_scale=self.time_scale or raw.overrides.time_scale,
        )
        made = model.Network(
            name=raw.name,
            profile=profile.resolve(raw.profile),
            internet=tuple(
                model.InternetHost(
                    name=n,
                    address=raw.internet[n].address,
                    services=programs.servers(raw.internet[n].services),
                    programs=programs.programs(raw.internet[n].services),
                )
                for n in _ordered(raw.internet)
            ),
            virtual_networks=networks,
            virtual_machines=vms,
            load_balancers=load_balancers,
            nat_gateways=nat_gateways,
            vpn_gateways=gateways,
            local_networks=sites,
            connections=self._connections({site.name for site in sites}),
            network_security_groups=tuple(
                model.SecurityGroup(name=n, rules=tuple(security_rule(rule) for rule in raw.network_security_groups[n]))
                for n in _ordered(raw.network_security_groups)
            ),
            overrides=overrides,
            expectations=programs.expectations(raw.expect),
            reserved_ips=reserved,
        )
        services = tuple(self._cloud_service(n, made) for n in _ordered(raw.cloud_services))
        return msgspec.structs.replace(made, cloud_services=services)

    def _given_public_addresses(self) -> set[IPv4Address]:
        raw = self.raw
        given = {h.address for h in raw.internet.values()}
        frontends = [a for lb in raw.load_balancers.values() for a in lb.frontend_ip_configurations.values()]
        given |= {a for a in frontends if isinstance(a, IPv4Address)}
        given |= {a for g in raw.nat_gateways.values() for a in g.public_ip_addresses if a}
        given |= {a for g in raw.nat_gateways.values() for p in g.public_ip_prefixes if p.prefixlen >= 28 for a in p}
        given |= {g.address for g in raw.vpn_gateways.values() if g.address}
        given |= {s.vpn_gateway_address for s in raw.local_networks.values() if s.vpn_gateway_address}
        given |= {r.address for r in raw.reserved_ips.values() if r.address}
        given |= {v.address for s in raw.cloud_services.values() for v in s.virtual_ips.values() if v.address}
        own = [vm.instance_public_ip for vm in raw.virtual_machines.values() if vm.instance_public_ip]
        return given | {ip.address for ip in own if ip.address}

    def _public(self, path: str, given: IPv4Address | None, *, descending: bool = False) -> IPv4Address:
        """Return a public address: the one given, else the one it had, else the next that is free."""
        if given is not None:
            return given
        had = self.kept.get(path)
        if had is None or had in self.taken or had in self.private:
            # Not what another part of the network had, if there is enough.
            had = next(self._free(descending), None)
            if had is None:
                return self._exhausted(path)
        self.taken.add(had)
        return had

    def _free(self, descending: bool) -> Iterator[IPv4Address]:
        """Return what yields the next free address, not what another part had if there is enough: one for all calls."""
        if descending not in self._next:
            others = frozenset(self.kept.values())

            def free() -> Iterator[IPv4Address]:
                return allocation.candidates(self.taken, self.private, descending=descending)

            self._next[descending] = chain((a for a in free() if a not in others), (a for a in free() if a in others))
        return self._next[descending]

    @functools.cached_property
    def private(self) -> Ranges:
        """The ranges inside of which no address is public."""
        spaces = [vnet.address_space for vnet in self.raw.virtual_networks.values()]
        spaces += [site.address_space for site in self.raw.local_networks.values()]
        return Ranges(prefix for space in spaces for prefix in space)

    def _exhausted(self, path: str) -> IPv4Address:
        if not self.exhausted:
            self.exhausted = True
            found, must = allocation.exhausted().split("; ")
            self.problems.append(
                Problem(
                    path=tuple(path.split(".")),
                    found=found,
                    must=must,
                    advice="give it one: an address of your choice",
                )
            )
        return model.PUBLIC_RESOLVER

    def _instance_public_ips(self) -> dict[str, model.InstancePublicIp]:
        found = {}
        for name in _ordered(self.raw.virtual_machines):
            raw = self.raw.virtual_machines[name].instance_public_ip
            if raw is not None:
                address = self._public(f"virtual_machines.{name}.instance_public_ip.address", raw.address)
                found[name] = model.InstancePublicIp(
                    name=raw.name,
                    address=address,
                    domain_name_label=raw.domain_name_label,
                    idle_timeout_min=raw.idle_timeout_in_minutes,
                    sku=raw.sku,
                )
        return found

    def _private(
        self, subnet: model.Subnet, wanted: Mapping[_Interface, IPv4Address | None]
    ) -> tuple[dict[_Interface, IPv4Address], tuple[_Interface, ...]]:
        """Give each interface in a subnet its address: the one it asks for, else the one it had, else the lowest free.

        VMs are served by name, so the same file always gives the same addresses. Returns the addresses
        by interface, and the interfaces for which the subnet has none left.
        """
        given = {interface: address for interface, address in wanted.items() if address is not None}
        taken = set(given.values())
        without = [i for i in sorted(wanted, key=lambda i: (*map(model.natural, i),)) if i not in given]
        for interface in without:
            had = self.kept.get(".".join(internal.address_path(interface)))
            low = int(subnet.address_prefix.network_address) + model.RESERVED_AT_START
            high = int(subnet.address_prefix.broadcast_address)
            if had is not None and had not in taken and low <= int(had) < high:
                given[interface] = had
                taken.add(had)
        free = (address for address in subnet.usable() if address not in taken)
        left_over = []
        for interface in (interface for interface in without if interface not in given):
            address = next(free, None)
            if address is None:
                left_over.append(interface)
            else:
                given[interface] = address
        return given, tuple(left_over)

    def _virtual_networks(self) -> tuple[model.VirtualNetwork, ...]:
        found = [
            model.VirtualNetwork(
                name=name,
                location=raw.location,
                subscription=raw.subscription,
                address_space=raw.address_space,
                subnets=tuple(
                    model.Subnet(
                        name=n,
                        address_prefix=raw.subnets[n].address_prefix,
                        network_security_group=self._group(
                            ("virtual_networks", name, "subnets", n), raw.subnets[n].network_security_group
                        ),
                        nat_gateway=self._nat_gateway(
                            ("virtual_networks", name, "subnets", n), raw.subnets[n].nat_gateway
                        ),
                        default_outbound_access=raw.subnets[n].default_outbound_access,
                    )
                    for n in _ordered(raw.subnets)
                ),
                default_outbound_address=self._default(name),
                dns_servers=raw.dns_servers,
                peerings=self._peerings(name),
            )
            for name, raw in ((n, self.raw.virtual_networks[n]) for n in _ordered(self.raw.virtual_networks))
        ]
        if any(vm.subnet is None and not vm.network_interfaces for vm in self.raw.virtual_machines.values()):
            found.append(model.platform_network(self._default(model.PLATFORM_NETWORK)))
        return tuple(found)

    def _peerings(self, network: str) -> tuple[model.Peering, ...]:
        """Return the halves of peerings that a virtual network has, without those that lead nowhere."""
        raw = self.raw.virtual_networks
        path = ("virtual_networks", network, "peerings")
        return tuple(
            model.Peering(name=n, **described.model_dump())
            for n, described in ((n, raw[network].peerings[n]) for n in _ordered(raw[network].peerings))
            if not self._dangling(
                (*path, n, "remote_virtual_network"), "virtual network", described.remote_virtual_network, raw
            )
        )

    def _group(self, path: Position, name: str | None) -> str | None:
        """Return the name of a security group that is there."""
        groups = self.raw.network_security_groups
        where = (*path, "network_security_group")
        return None if name is None or self._dangling(where, "network security group", name, groups) else name

    def _nat_gateway(self, path: Position, name: str | None) -> str | None:
        """Return the name of a NAT gateway that is there."""
        known = self.raw.nat_gateways
        where = (*path, "nat_gateway")
        return None if name is None or self._dangling(where, "NAT gateway", name, known) else name

    def _nat_gateways(self) -> tuple[model.NatGateway, ...]:
        return tuple(
            model.NatGateway(
                name=name,
                public_ip_addresses=tuple(
                    self._public(f"nat_gateways.{name}.public_ip_addresses.{index}", address)
                    for index, address in enumerate(raw.public_ip_addresses)
                ),
                public_ip_prefixes=raw.public_ip_prefixes,
                idle_timeout_min=raw.idle_timeout_in_minutes,
            )
            for name, raw in ((n, self.raw.nat_gateways[n]) for n in _ordered(self.raw.nat_gateways))
        )

    def _default(self, network: str) -> IPv4Address:
        return self._public(f"virtual_networks.{network}.default_outbound_address", None, descending=True)

    def _virtual_machines(
        self, networks: tuple[model.VirtualNetwork, ...], own: Mapping[str, model.InstancePublicIp]
    ) -> tuple[model.VirtualMachine, ...]:
        subnets = {f"{n.name}/{s.name}": (n, s) for n in networks for s in n.subnets}
        known = [s for s in subnets if not s.startswith(model.PLATFORM_NETWORK + "/")]
        interfaces = {name: self._interfaces(name) for name in _ordered(self.raw.virtual_machines)}
        home: dict[_Interface, str] = {}
        for name, raw_interfaces in interfaces.items():
            for nic, raw in raw_interfaces.items():
                if raw.subnet in subnets:
                    home[name, nic] = raw.subnet
                elif not {raw.subnet, raw.subnet.split("/")[0], raw.subnet.split("/")[1]} & self.cut:
                    self._dangling((*model.interface_path(name, nic), "subnet"), "subnet", raw.subnet, known)
        addresses: dict[_Interface, IPv4Address] = {}
        for reference, (_, subnet) in subnets.items():
            wanted = {
                (name, nic): interfaces[name][nic].private_ip_address
                for (name, nic), ref in home.items()
                if ref == reference
            }
            given, left_over = self._private(subnet, wanted | internal.wanted(self.raw, reference))
            addresses |= given
            self.problems += [
                Problem(
                    path=(*internal.address_path(interface)[:-1], "subnet"),
                    found=f'subnet "{reference}" ({subnet.address_prefix}) has no address left',
                    must=f"it has {max(0, subnet.address_prefix.num_addresses - 5)} for VMs",
                    advice="choose a larger subnet",
                )
                for interface in left_over
            ]
        self.frontends = internal.given(addresses)
        self.problems += internal.dangling(self.raw, known, self.cut)
        made = []
        for name, raw_interfaces in interfaces.items():
            raw_vm = self.raw.virtual_machines[name]
            if not all((name, nic) in addresses for nic in raw_interfaces):
                continue
            primary, *others = [
                model.NetworkInterface(
                    name=nic,
                    subnet=subnets[home[name, nic]][1].name,
                    private_ip_address=addresses[name, nic],
                    network_security_group=self._group(model.interface_path(name, nic), raw.network_security_group),
                )
                for nic, raw in raw_interfaces.items()
            ]
            homes = {nic: subnets[home[name, nic]][0].name for nic in raw_interfaces}
            self._one_network(name, homes)
            made.append(
                model.VirtualMachine(
                    name=name,
                    virtual_network=homes[primary.name],
                    subnet=primary.subnet,
                    private_ip_address=primary.private_ip_address,
                    services=programs.servers(raw_vm.services),
                    programs=programs.programs(raw_vm.services),
                    instance_public_ip=own.get(name),
                    availability_set=raw_vm.availability_set,
                    size=raw_vm.size,
                    network_security_group=primary.network_security_group,
                    primary_interface=primary.name,
                    secondary_interfaces=tuple(others),
                    loopback_addresses=tuple(sorted(raw_vm.loopback_addresses)),
                )
            )
        return tuple(made)

    def _interfaces(self, name: str) -> dict[str, NetworkInterface]:
        """Return a VM's interfaces, the primary one first; the one of a VM that lists none has no name."""
        raw = self.raw.virtual_machines[name]
        path = ("virtual_machines", name)
        if not raw.network_interfaces:
            return {
                "": NetworkInterface.model_construct(
                    subnet=raw.subnet or f"{model.PLATFORM_NETWORK}/{model.PLATFORM_NETWORK}",
                    private_ip_address=raw.private_ip_address,
                    network_security_group=raw.network_security_group,
                )
            }
        for key in ("subnet", "private_ip_address", "network_security_group"):
            if getattr(raw, key) is not None:
                self.problems.append(
                    Problem(
                        path=(*path, key),
                        found=f'"{key}" beside network_interfaces',
                        must="each network interface has its own",
                        advice="move it to the interface that it is for",
                    )
                )
        chosen = [nic for nic in _ordered(raw.network_interfaces) if raw.network_interfaces[nic].primary]
        if len(chosen) > 1:
            self.problems.append(
                Problem(
                    path=(*path, "network_interfaces", chosen[1], "primary"),
                    found=f'"{chosen[0]}" is primary too',
                    must="one network interface is the primary one",
                    advice="leave one of the two",
                )
            )
        first = {nic: raw.network_interfaces[nic] for nic in chosen[:1]}
        return first | {
            nic: raw.network_interfaces[nic] for nic in _ordered(raw.network_interfaces) if nic not in first
        }

    def _one_network(self, vm: str, homes: Mapping[str, str]) -> None:
        first = next(iter(homes.values()))
        for nic, network in homes.items():
            if network != first:
                self.problems.append(
                    Problem(
                        path=("virtual_machines", vm, "network_interfaces", nic, "subnet"),
                        found=f'virtual network "{network}", and the primary interface is in "{first}"',
                        must="the network interfaces of a VM are in one virtual network "
                        "(virtual-networks-multiple-nics.md, 2016-02-02)",
                        advice="choose a subnet of the same virtual network",
                    )
                )

    def _load_balancer(self, name: str, raw: LoadBalancer) -> model.LoadBalancer:
        path = ("load_balancers", name)
        machines = self.raw.virtual_machines
        pools = []
        for pool in _ordered(raw.backend_address_pools):
            members = raw.backend_address_pools[pool]
            where = (*path, "backend_address_pools", pool)
            kept = [
                m for i, m in enumerate(members) if not self._dangling((*where, str(i)), "virtual machine", m, machines)
            ]
            pools.append(model.BackendPool(name=pool, members=tuple(sorted(kept, key=model.natural))))
        return model.LoadBalancer(
            name=name,
            sku=raw.sku,
            frontends=tuple(
                model.Frontend(
                    name=n,
                    address=self._public(f"load_balancers.{name}.frontend_ip_configurations.{n}", described),
                    dynamic=described is None,
                )
                for n in _ordered(raw.frontend_ip_configurations)
                if not isinstance(described := raw.frontend_ip_configurations[n], PrivateFrontend)
            ),
            pools=tuple(pools),
            probes=tuple(
                model.HealthProbe(
                    name=n,
                    protocol=probe.protocol,
                    port=probe.port,
                    request_path=probe.request_path,
                    interval_s=probe.interval_in_seconds,
                    number_of_probes=probe.number_of_probes,
                    threshold=probe.probe_threshold,
                    all_probed_up=probe.no_healthy_backends_behavior == "AllProbedUp",
                )
                for n, probe in ((n, raw.probes[n]) for n in _ordered(raw.probes))
            ),
            load_balancing_rules=tuple(
                rule for n in _ordered(raw.load_balancing_rules) for rule in self._load_balancing_rule(path, raw, n)
            ),
            inbound_nat_rules=tuple(
                nat for n in _ordered(raw.inbound_nat_rules) if (nat := self._inbound_nat_rule(path, raw, n))
            ),
            outbound_rules=tuple(
                out for n in _ordered(raw.outbound_rules) if (out := self._outbound_rule(path, raw, n))
            ),
        )

    def _load_balancing_rule(self, path: Position, lb: LoadBalancer, name: str) -> tuple[model.LoadBalancingRule, ...]:
        """Return a rule, or one for each protocol that it is for; none if it leads nowhere."""
        raw = lb.load_balancing_rules[name]
        where = (*path, "load_balancing_rules", name)
        references: list[tuple[str, str, str, Iterable[str]]] = [
            ("frontend", "frontend", raw.frontend, lb.frontend_ip_configurations),
            ("backend_pool", "backend pool", raw.backend_pool, lb.backend_address_pools),
        ]
        if raw.probe is not None:
            references.append(("probe", "probe", raw.probe, lb.probes))
        if any([self._dangling((*where, key), what, named, known) for key, what, named, known in references]):  # noqa: C419 - all of them are reported
            return ()
        rule = model.LoadBalancingRule(
            name=name,
            frontend=raw.frontend,
            backend_pool=raw.backend_pool,
            probe=raw.probe,
            protocol="tcp",
            frontend_port=raw.frontend_port,
            backend_port=raw.backend_port,
            load_distribution=raw.load_distribution,
            idle_timeout_min=raw.idle_timeout_in_minutes,
            floating_ip=raw.enable_floating_ip,
            tcp_reset=raw.enable_tcp_reset,
            disable_outbound_snat=raw.disable_outbound_snat,
        )
        return tuple(msgspec.structs.replace(rule, protocol=protocol) for protocol in _PROTOCOLS[raw.protocol])

    def _outbound_rule(self, path: Position, lb: LoadBalancer, name: str) -> model.OutboundRule | None:
        raw = lb.outbound_rules[name]
        where = (*path, "outbound_rules", name)
        lost = [self._dangling((*where, "backend_pool"), "backend pool", raw.backend_pool, lb.backend_address_pools)]
        for index, frontend in enumerate(raw.frontends):
            position = (*where, "frontends", str(index))
            lost.append(self._dangling(position, "frontend", frontend, lb.frontend_ip_configurations))
        if any(lost):
            return None
        return model.OutboundRule(
            name=name,
            frontends=tuple(sorted(set(raw.frontends), key=model.natural)),
            backend_pool=raw.backend_pool,
            protocols=_PROTOCOLS[raw.protocol],
            ports=raw.allocated_outbound_ports,
            idle_timeout_min=raw.idle_timeout_in_minutes,
            tcp_reset=raw.enable_tcp_reset,
        )

    def _inbound_nat_rule(self, path: Position, lb: LoadBalancer, name: str) -> model.InboundNatRule | None:
        raw = lb.inbound_nat_rules[name]
        where = (*path, "inbound_nat_rules", name)
        lost = [
            self._dangling((*where, "frontend"), "frontend", raw.frontend, lb.frontend_ip_configurations),
            self._dangling(
                (*where, "virtual_machine"), "virtual machine", raw.virtual_machine, self.raw.virtual_machines
            ),
        ]
        if any(lost):
            return None
        return model.InboundNatRule(
            name=name,
            frontend=raw.frontend,
            virtual_machine=raw.virtual_machine,
            protocol="udp" if raw.protocol == "Udp" else "tcp",
            frontend_port=raw.frontend_port,
            backend_port=raw.backend_port,
            idle_timeout_min=raw.idle_timeout_in_minutes,
            floating_ip=raw.enable_floating_ip,
            tcp_reset=raw.enable_tcp_reset,
        )

    def _reserved_ips(self) -> tuple[model.ReservedIp, ...]:
        return tuple(
            model.ReservedIp(
                name=name,
                address=self._public(f"reserved_ips.{name}.address", raw.address),
                location=raw.location,
                label=raw.label,
            )
            for name, raw in ((n, self.raw.reserved_ips[n]) for n in _ordered(self.raw.reserved_ips))
        )

    def _cloud_service(self, name: str, network: model.Network) -> model.CloudService:
        raw, path = self.raw.cloud_services[name], ("cloud_services", name)
        machines = self.raw.virtual_machines
        vms = [
            vm
            for index, vm in enumerate(raw.virtual_machines)
            if not self._dangling((*path, "virtual_machines", str(index)), "virtual machine", vm, machines)
        ]
        roles = tuple(model.Role(name=n, instances=raw.roles[n].instances) for n in _ordered(raw.roles))
        vms += [role.instance(number) for role in roles for number in range(role.instances)]
        virtual_ips = raw.virtual_ips or {"Vip1": VirtualIp()}
        default = raw.default_virtual_ip or _ordered(virtual_ips)[0]
        if self._dangling((*path, "default_virtual_ip"), "VIP", default, virtual_ips):
            default = _ordered(virtual_ips)[0]
        for vip, described in virtual_ips.items():
            where = (*path, "virtual_ips", vip)
            if described.reserved_ip is not None:
                self._dangling((*where, "reserved_ip"), "reserved IP", described.reserved_ip, self.raw.reserved_ips)
            if described.reserved_ip is not None and described.address is not None:
                self.problems.append(
                    Problem(
                        path=(*where, "address"),
                        found=f'{described.address} beside the reserved address "{described.reserved_ip}"',
                        must="a VIP has the address that is reserved for it, or one of its own",
                        advice="remove one of the two",
                    )
                )
        endpoints: list[model.Endpoint] = []
        for index, endpoint in enumerate(raw.endpoints):
            endpoints += self._endpoint((*path, "endpoints", str(index)), raw, endpoint, default, vms, endpoints)
        service = model.CloudService(
            name=name,
            location=raw.location,
            subscription=raw.subscription,
            virtual_machines=tuple(vms),
            roles=roles,
            virtual_ips=tuple(
                model.VirtualIp(name=n, reserved_ip=virtual_ips[n].reserved_ip, planned=virtual_ips[n].address)
                for n in _ordered(virtual_ips)
            ),
            default_virtual_ip=default,
            endpoints=tuple(endpoints),
            redeploying=raw.redeploying,
        )

        def give(_service: model.CloudService, vip: model.VirtualIp) -> IPv4Address:
            return self._public(f"cloud_services.{name}.virtual_ips.{vip.name}", vip.planned)

        return cloud_services.with_addresses(service, network, give)

    def _endpoint(
        self,
        path: Position,
        service: CloudService,
        raw: Endpoint,
        default: str,
        vms: list[str],
        others: list[model.Endpoint],
    ) -> list[model.Endpoint]:
        """Return an endpoint in the model's words, of a role one for each instance; none if it leads nowhere."""
        if (raw.virtual_machine is None) == (raw.role is None):
            self.problems.append(
                Problem(
                    path=path,
                    found="both virtual_machine and role" if raw.role else "neither virtual_machine nor role",
                    must="an endpoint leads to a VM of the service, or to a role",
                    advice="name one of them",
                )
            )
            return []
        virtual_ip = raw.virtual_ip or default
        lost = [self._dangling((*path, "virtual_ip"), "VIP", virtual_ip, service.virtual_ips or [default])]
        if raw.virtual_machine is not None:
            members = [raw.virtual_machine]
            lost.append(self._dangling((*path, "virtual_machine"), "VM of the service", raw.virtual_machine, vms))
        else:
            assert raw.role is not None
            lost.append(self._dangling((*path, "role"), "role of the service", raw.role, service.roles))
            count = service.roles[raw.role].instances if raw.role in service.roles else 0
            members = [model.Role(name=raw.role, instances=count).instance(number) for number in range(count)]
        if any(lost):
            return []
        together = raw.load_balanced_set or (raw.name if raw.role else None)
        if raw.probe is not None and together is None:
            self.problems.append(
                Problem(
                    path=(*path, "probe"),
                    found="a probe of an endpoint that is in no load-balanced set",
                    must="only members of a set are probed (Multiple VIPs, 2015-07-23, load-balanced sets)",
                    advice="name the set: load_balanced_set: NAME, or remove the probe",
                )
            )
        mates = [e for e in others if together is not None and e.load_balanced_set == together]
        listed = {e.public_port for e in service.endpoints if e.public_port is not None}
        public_port = raw.public_port or (
            mates[0].public_port if mates else cloud_services.free_port(others, virtual_ip, raw.protocol, listed)
        )
        return [
            model.Endpoint(
                name=raw.name,
                virtual_machine=member,
                protocol=raw.protocol,
                local_port=raw.local_port,
                public_port=public_port,
                virtual_ip=virtual_ip,
                load_balanced_set=together,
                probe=_endpoint_probe(raw) if together is not None else None,
                idle_timeout_min=raw.idle_timeout_in_minutes,
                load_distribution=DISTRIBUTIONS[raw.load_balancer_distribution],
                direct_server_return=raw.direct_server_return,
                acl=access_rules(raw.acl),
            )
            for member in members
        ]

    def _vpn_gateways(self) -> tuple[model.VpnGateway, ...]:
        return tuple(
            model.VpnGateway(
                virtual_network=name,
                routing=raw.routing,
                sku=raw.sku,
                address=self._public(f"vpn_gateways.{name}.address", raw.address),
                shaped=raw.bandwidth == "documented",
            )
            for name, raw in ((n, self.raw.vpn_gateways[n]) for n in _ordered(self.raw.vpn_gateways))
            if not self._dangling(("vpn_gateways", name), "virtual network", name, self.raw.virtual_networks)
        )

    def _local_networks(self, gateways: Mapping[str, IPv4Address]) -> tuple[model.LocalNetwork, ...]:
        made = (self._local_network(n, self.raw.local_networks[n], gateways) for n in _ordered(self.raw.local_networks))
        return tuple(site for site in made if site is not None)

    def _local_network(
        self, name: str, raw: LocalNetwork, gateways: Mapping[str, IPv4Address]
    ) -> model.LocalNetwork | None:
        path = ("local_networks", name)
        if (raw.vpn_gateway is None) == (raw.vpn_gateway_address is None):
            both = "both vpn_gateway and vpn_gateway_address" if raw.vpn_gateway else "no VPN device address"
            self.problems.append(
                Problem(
                    path=path,
                    found=both,
                    must="a local network has the address of its VPN device: a gateway of this file by name, or an "
                    "address, which may be a placeholder (VNet to VNet connection, 2015-05-15, add a local network)",
                    advice="give vpn_gateway: NETWORK, or vpn_gateway_address: ADDRESS",
                )
            )
            return None
        if raw.vpn_gateway and self._dangling((*path, "vpn_gateway"), "VPN gateway", raw.vpn_gateway, gateways):
            return None
        if raw.vpn_gateway and raw.vpn_device:
            self.problems.append(
                Problem(
                    path=(*path, "vpn_device"),
                    found=f'a VPN device beside vpn_gateway "{raw.vpn_gateway}"',
                    must="the far end is a gateway of the file or a device of the lab",
                    advice="remove one of the two",
                )
            )
            return None
        device = None
        if raw.vpn_device:
            private = raw.vpn_device.private_ip_address or raw.address_space[0].network_address + 4
            device = model.VpnDevice(private_ip_address=private, services=raw.vpn_device.services)
        address = gateways[raw.vpn_gateway] if raw.vpn_gateway else raw.vpn_gateway_address
        assert address is not None
        return model.LocalNetwork(
            name=name,
            address_space=raw.address_space,
            vpn_gateway_address=address,
            vpn_gateway=raw.vpn_gateway,
            vpn_device=device,
        )

    def _connections(self, sites: Iterable[str]) -> tuple[model.Connection, ...]:
        known = set(sites)
        found = []
        for index, raw in enumerate(self.raw.connections):
            path = ("connections", str(index))
            vnets, names = self.raw.virtual_networks, self.raw.local_networks
            lost = [
                self._dangling((*path, "virtual_network"), "virtual network", raw.virtual_network, vnets),
                self._dangling((*path, "local_network"), "local network", raw.local_network, names),
            ]
            if not any(lost) and raw.local_network in known:
                self.connected.append(index)
                found.append(
                    model.Connection(
                        virtual_network=raw.virtual_network,
                        local_network=raw.local_network,
                        shared_key=raw.shared_key,
                    )
                )
        return tuple(found)


#: Distributions as the classic cmdlets spell them (load-balancer-distribution-mode.md, 2016-10-24).
DISTRIBUTIONS: dict[str, model.Distribution] = {
    "none": "Default",
    "sourceIP": "SourceIP",
    "sourceIPProtocol": "SourceIPProtocol",
}


def _endpoint_probe(raw: Endpoint) -> model.EndpointProbe | None:
    """Return how a member of a set is probed: by default, TCP on the local port.

    Of a role's instances, by default, their guest agents are asked, which say yes while the instance runs
    (load-balancer-custom-probe-overview.md, 2016-10-24).
    """
    match raw.probe:
        case "none":
            return None
        case None if raw.role is not None:
            return None
        case None | "default":
            return model.EndpointProbe(protocol="Tcp", port=raw.local_port)
        case probe:
            return model.EndpointProbe(
                protocol="Http" if probe.protocol == "http" else "Tcp",
                port=probe.port or raw.local_port,
                path=probe.path,
                interval_s=probe.interval_in_seconds,
                timeout_s=probe.timeout_in_seconds,
            )


def access_rules(raw: Iterable[AclRule]) -> tuple[model.AclRule, ...]:
    """Return the access rules of an endpoint in the model's words, the one that decides first."""
    return tuple(access_rule(rule) for rule in sorted(raw, key=lambda rule: rule.order))


def access_rule(raw: AclRule) -> model.AclRule:
    """Return an access rule in the model's words."""
    return model.AclRule(
        order=raw.order, action=raw.action, remote_subnet=raw.remote_subnet, description=raw.description
    )


def security_rule(raw: SecurityRule) -> model.SecurityRule:
    """Return a security rule in the model's words."""
    return model.SecurityRule(
        name=raw.name,
        priority=raw.priority,
        direction=raw.direction,
        access=raw.access,
        protocol=raw.protocol,
        sources=_given(ANY_ADDRESS, raw.source_address_prefix, *raw.source_address_prefixes),
        source_ports=_given(ANY_PORT, raw.source_port_range, *raw.source_port_ranges),
        destinations=_given(ANY_ADDRESS, raw.destination_address_prefix, *raw.destination_address_prefixes),
        destination_ports=_given(ANY_PORT, raw.destination_port_range, *raw.destination_port_ranges),
    )


_T = TypeVar("_T")


def _given(any_of_them: _T, *values: _T | None) -> tuple[_T, ...]:
    """Return what was given, once each; nothing if any of it is all there is."""
    given = tuple(dict.fromkeys(value for value in values if value is not None))
    return () if any_of_them in given else given


def _ordered(names: Mapping[str, object]) -> list[str]:
    return sorted(names, key=model.natural)
