"""Mutations of what Configure a VNet to VNet connection (2015-05-15) states: networks joined by their gateways."""

from tests.mutations import Mutation

PAIR, MANY, BOTH = "vnet-to-vnet", "multi-site", "policy-based"
GATEWAY, TUNNEL, LIMITS = "lab/path/vpn_gateway.py", "lab/deciders/tunnel.py", "lab/azure/vpn_limits.py"
DAEMONS, _CHARON, IKE, SHOW = "lab/agent/gateways.py", "lab/kernel/charon.py", "lab/azure/ike.py", "lab/runtime/show.py"
OPERATIONS, WIRING = "lab/operations/vpn.py", "lab/path/wiring.py"

#: Places of the product that several mutations alter.
_PASSES = "    yield from _passes(here, router, why)\n    yield from wiring.mute(here)\n"
_LED = "                    destination=str(prefix),\n                    interface=to(place(vnet.name))"
#: ESP of dynamic gateways, and what follows it up to the revision.
ESP_2016 = (
    '            ("aes256-sha1", "aes128-sha1", "3des-sha1"),\n            3600,\n'
    '            f"{_DEVICES} (2016-06-29), route'
)
#: A local network without an address gets a placeholder.
ADDRESSED = "        if (raw.vpn_gateway is None) == (raw.vpn_gateway_address is None):"
PLACED = (
    "        if raw.vpn_gateway is None and raw.vpn_gateway_address is None:\n"
    '            raw = raw.model_copy(update={"vpn_gateway_address": IPv4Address("5.4.3.2")})\n'
    f"{ADDRESSED}"
)
_RECORD = "        yield DnsRecord(place=edge, name=vm.name, address=address, why=why)"
EVERYWHERE = (
    "        for home in network.virtual_networks:\n"
    "            yield DnsRecord(place=load_balancer(home), name=vm.name, address=address, why=why)"
)
INSIDE = "for one, other in ((to(router), INNER), (INNER, to(router)), (INNER, INNER)):"
_OF_NETWORK = "        if connection.virtual_network != vnet.name:\n            continue"
_FAR = "    peer = network.vnet(far.virtual_network)\n    told"
_AGREE = "    return own <= set(facing.remote) <= own | set(tunnel.transit)"
#: Ranges of a network and its local networks, by their position: `i` is held against `b`, which is before it.
_OVERLAPS = "for b in overlaps.before(i) if b < first):"
_REDUNDANT = (
    '            yield Problem(\n                path=path,\n                found=f\'"{vnet.name}" has a tunnel to'
)
_TOO_MANY = "    for index, connection in mine[most:]:"
_PEER = "            peer=str(site.vpn_gateway_address),\n            local=own,"


def _passes(more: str) -> str:
    """Return the rules of a gateway with some more."""
    return f"{_PASSES}    {more}\n"


def _of_network(condition: str) -> str:
    """Return the loop over a gateway's connections that also leaves out some."""
    return _OF_NETWORK.replace("!= vnet.name:", f"!= vnet.name or {condition}:")


def _refused(condition: str) -> str:
    """Return the check of a tunnel between networks that refuses more than the document does."""
    problem = 'yield Problem(path=path, found="it", must="be otherwise", advice="change it")'
    return _FAR.replace("    told", f"    if peer and {condition}:\n        {problem}\n    told")


_SITE = "network.local_network(connection.local_network)"
_NETWORKS_OF = "for m in mine if"

MUTATIONS = (
    Mutation(
        "S3-1",
        "flows arrive with the VM's own address",
        PAIR,
        GATEWAY,
        _PASSES,
        _passes(
            "from lab.plan import SourceNat\n"
            '    yield Rule(place=here, table="nat", chain="POSTROUTING", out_interface=INNER, '
            'target=SourceNat("10.1.0.99"), why=why)'
        ),
    ),
    Mutation("S3-1", "what is for the other network takes the tunnel", PAIR, GATEWAY, INSIDE, "for one, other in ():"),
    Mutation("S3-1", "the gateways speak IKE", PAIR, GATEWAY, "for port in (500, 4500):", "for port in (4500,):"),
    Mutation(
        "S3-1",
        "what is inside is encrypted",
        PAIR,
        IKE,
        ESP_2016,
        ESP_2016.replace('"aes256-sha1", "aes128-sha1", "3des-sha1"', '"null-sha1",'),
    ),
    Mutation("S3-2", "peers may be in one region", PAIR, LIMITS, _FAR, _refused("peer.location == vnet.location")),
    Mutation("S3-2", "peers may be in other regions", PAIR, LIMITS, _FAR, _refused('peer.location == "B"')),
    Mutation(
        "S3-2",
        "peers may be of one subscription",
        PAIR,
        LIMITS,
        _FAR,
        _refused('peer.subscription == vnet.subscription == "x"'),
    ),
    Mutation(
        "S3-2",
        "peers may be of other subscriptions",
        PAIR,
        LIMITS,
        _FAR,
        _refused("peer.subscription != vnet.subscription"),
    ),
    Mutation(
        "S3-3",
        "the gateway has tunnels to networks",
        MANY,
        GATEWAY,
        _OF_NETWORK,
        _of_network(f"({_SITE}.vpn_gateway and len(network.sites_of(vnet.name)) > 5)"),
    ),
    Mutation(
        "S3-3", "the gateway has tunnels to sites", MANY, GATEWAY, _OF_NETWORK, _of_network(f"{_SITE}.vpn_device")
    ),
    Mutation(
        "S3-4",
        "no local network has addresses of VMs outside virtual networks",
        PAIR,
        LIMITS,
        "        if prefix.overlaps(PLATFORM_SPACE):",
        "        if prefix.supernet_of(PLATFORM_SPACE) and prefix != PLATFORM_SPACE:",
    ),
    Mutation(
        "S3-4",
        "a VM outside virtual networks reaches none through a gateway",
        PAIR,
        GATEWAY,
        _PASSES,
        _passes(
            "for prefix in vnet.address_space:\n"
            "        yield Route(place=wiring.INTERNET, destination=str(prefix), interface=to(here), why=why)\n"
            '    yield Rule(place=here, table="filter", chain="FORWARD", in_interface=to(wiring.INTERNET), '
            'target=Terminal("ACCEPT"), why=why)\n'
            # The router lets nothing in from an address that it would answer by another way.
            "    from lab.plan import SourceNat\n"
            '    own = next(s.address_prefix[4] for s in vnet.subnets if s.name == "GatewaySubnet")\n'
            '    yield Rule(place=here, table="nat", chain="POSTROUTING", source="192.0.2.0/24", '
            "target=SourceNat(str(own)), why=why)"
        ),
    ),
    Mutation(
        "S3-5",
        "the near gateway has dynamic routing",
        PAIR,
        LIMITS,
        "for gateway in (network.gateway(vnet.name), far):",
        "for gateway in (far,):",
    ),
    Mutation(
        "S3-5",
        "the far gateway has dynamic routing",
        PAIR,
        LIMITS,
        "for gateway in (network.gateway(vnet.name), far):",
        "for gateway in (network.gateway(vnet.name),):",
    ),
    Mutation(
        "S3-6",
        "a tunnel between networks needs no device",
        PAIR,
        GATEWAY,
        _OF_NETWORK,
        _of_network(f"{_SITE}.vpn_device is None"),
    ),
    Mutation(
        "S3-7",
        "ten tunnels come up",
        MANY,
        GATEWAY,
        "    for connection in network.connections:\n        if connection.virtual_network != vnet.name:",
        "    for connection in [c for c in network.connections if c.virtual_network == vnet.name][:9]:\n"
        "        if connection.virtual_network != vnet.name:",
    ),
    Mutation(
        "S3-7",
        "an eleventh is refused",
        MANY,
        LIMITS,
        '"Standard": (10, _TUNNELS_2015)',
        '"Standard": (11, _TUNNELS_2015)',
    ),
    Mutation(
        "S3-7",
        "tunnels to networks count",
        MANY,
        LIMITS,
        _TOO_MANY,
        _TOO_MANY.replace("mine", f"[m {_NETWORKS_OF} not network.local_network(m[1].local_network).vpn_gateway]"),
    ),
    Mutation(
        "S3-7",
        "tunnels to sites count",
        MANY,
        LIMITS,
        _TOO_MANY,
        _TOO_MANY.replace("mine", f"[m {_NETWORKS_OF} network.local_network(m[1].local_network).vpn_gateway]"),
    ),
    Mutation(
        "S3-8", "equal ranges", PAIR, LIMITS, _OVERLAPS, _OVERLAPS.replace("):", " and spaces[i][1] != spaces[b][1]):")
    ),
    Mutation(
        "S3-8",
        "a range that contains the network's",
        PAIR,
        LIMITS,
        _OVERLAPS,
        _OVERLAPS.replace("):", " and spaces[i][1].prefixlen >= spaces[b][1].prefixlen):"),
    ),
    Mutation(
        "S3-8",
        "a range that the network's contains",
        PAIR,
        LIMITS,
        _OVERLAPS,
        _OVERLAPS.replace("):", " and spaces[i][1].prefixlen <= spaces[b][1].prefixlen):"),
    ),
    Mutation(
        "S3-8",
        "ranges of two local networks of one network",
        PAIR,
        LIMITS,
        _OVERLAPS,
        _OVERLAPS.replace("b < first", "b < len(vnet.address_space)"),
    ),
    Mutation(
        "S3-8",
        "ranges of two connected networks",
        PAIR,
        LIMITS,
        "        if other not in told:",
        "        if False:",
    ),
    Mutation(
        "S3-8",
        "a configuration file with an overlap is rejected",
        PAIR,
        "lab/formats/netcfg.py",
        "        return Configuration(dns, sites, vnets)",
        "        return Configuration(dns, (), tuple(msgspec.structs.replace(v, sites=()) for v in vnets))",
    ),
    Mutation(
        "S3-9",
        "one connection to a local network",
        PAIR,
        LIMITS,
        _REDUNDANT,
        f"            if other.local_network == connection.local_network:\n                continue\n{_REDUNDANT}",
    ),
    Mutation(
        "S3-9",
        "one local network of a peer",
        PAIR,
        LIMITS,
        _REDUNDANT,
        f"            if other.local_network != connection.local_network:\n                continue\n{_REDUNDANT}",
    ),
    Mutation(
        "S3-10",
        "a load balancer's pools",
        PAIR,
        "lab/azure/model.py",
        "        pooled = {member for pool in self.pools for member in pool.members}\n"
        "        return frozenset(pooled | {rule",
        "        pooled = set(self.pools[0].members if self.pools else ())\n        return frozenset(pooled | {rule",
    ),
    Mutation(
        "S3-10",
        "a load balancer's inbound NAT rules",
        PAIR,
        "lab/azure/model.py",
        "        return frozenset(pooled | {rule.virtual_machine for rule in self.inbound_nat_rules})",
        "        return frozenset(pooled)",
    ),
    Mutation(
        "S3-10",
        "a pool's members",
        PAIR,
        "lab/azure/invariants.py",
        "    homes = sorted({vms[name].virtual_network for name in lb.virtual_machines() if name in vms})",
        "    homes = sorted({vms[name].virtual_network for name in sorted(lb.virtual_machines())[:1] if name in vms})",
    ),
    Mutation(
        "S3-10",
        "a cloud service",
        PAIR,
        "lab/azure/cloud_services.py",
        "    homes = sorted({vm.virtual_network for vm in _machines(network, service)})\n    if len(homes) > 1:",
        "    homes = sorted({vm.virtual_network for vm in _machines(network, service)})\n    if len(homes) > 2:",
    ),
    Mutation(
        "S3-11",
        "two tunnels have no more than the bandwidth",
        MANY,
        GATEWAY,
        "    if gateway.shaped:",
        "    if False:",
    ),
    Mutation(
        "S3-11",
        "its SKU's bandwidth",
        MANY,
        GATEWAY,
        '"Basic": 100, "Standard": 100,',
        '"Basic": 100, "Standard": 5,',
    ),
    Mutation(
        "S3-11",
        "one tunnel alone has all of it",
        MANY,
        GATEWAY,
        "mbit_s=_MBIT_S[gateway.sku]",
        "mbit_s=_MBIT_S[gateway.sku] // 2",
    ),
    Mutation(
        "S3-12",
        "all of the other's range is led through the tunnel",
        PAIR,
        GATEWAY,
        _LED,
        _LED.replace("str(prefix)", "str(next(prefix.subnets()))"),
    ),
    Mutation(
        "S3-12",
        "it is defined with just that range",
        PAIR,
        "lab/topology/build.py",
        "            address_space=raw.address_space,\n            vpn_gateway_address=address,",
        "            address_space=tuple(p.supernet() for p in raw.address_space),\n"
        "            vpn_gateway_address=address,",
    ),
    Mutation(
        "S3-13",
        "a connection is listed by the local network's name",
        PAIR,
        SHOW,
        '"LocalNetworkSiteName": site,',
        '"LocalNetworkSiteName": tunnel.peer,',
    ),
    Mutation(
        "S3-13",
        "the configuration file refers to it as to any",
        PAIR,
        "lab/formats/netcfg.py",
        "        connected = network.sites_of(vnet.name)",
        "        connected = [site for site in network.sites_of(vnet.name) if not site.vpn_gateway]",
    ),
    Mutation(
        "S3-13",
        "both networks have it",
        PAIR,
        GATEWAY,
        _OF_NETWORK,
        _of_network("vnet.name == network.connections[0].virtual_network"),
    ),
    Mutation(
        "S3-13",
        "it is shown as one to a site is",
        MANY,
        "lab/cmdlets/vpn.py",
        '        for connection in _reported(desk, given)["Connections"]\n',
        '        for connection in _reported(desk, given)["Connections"]\n'
        '        if connection["VPNDeviceAddress"].startswith("131.")\n',
    ),
    Mutation(
        "S3-14",
        "by a topology",
        PAIR,
        LIMITS,
        "        if old is not None and old.location != vnet.location:",
        "        if False:",
    ),
    Mutation(
        "S3-14",
        "by a configuration file",
        PAIR,
        "lab/operations/netcfg.py",
        "            if old and (old.location, old.affinity_group) != (vnet.location, vnet.affinity_group):",
        "            if False:",
    ),
    Mutation(
        "S3-15",
        "the provided resolver does not know the other network's names",
        PAIR,
        WIRING,
        _RECORD,
        EVERYWHERE,
    ),
    Mutation(
        "S3-15",
        "a server of one's own does",
        PAIR,
        WIRING,
        "    for other in network.virtual_machines:\n        yield DnsRecord(place=vm.name",
        "    for other in network.vms_of(network.virtual_network(vm.virtual_network))[:1]:\n"
        "        yield DnsRecord(place=vm.name",
    ),
    Mutation(
        "S3-15",
        "the network's servers are asked",
        PAIR,
        WIRING,
        "    servers = tuple(str(address) for address in vnet.dns_servers or (PLATFORM_ADDRESS,))",
        "    servers = (str(PLATFORM_ADDRESS),)",
    ),
    Mutation(
        "S3-16",
        "a VM's address is of its network's range",
        PAIR,
        "lab/operations/cloud_service.py",
        "            private_ip_address=address,\n            services=self.services,",
        "            private_ip_address=address + 65536 * 7,\n            services=self.services,",
    ),
    Mutation("S3-17", "its status is Created", PAIR, SHOW, '"Created" if netns', '"Creating" if netns'),
    Mutation(
        "S3-18",
        "a local network has a device address",
        PAIR,
        "lab/topology/build.py",
        ADDRESSED,
        PLACED,
    ),
    Mutation(
        "S3-18",
        "a placeholder will do",
        PAIR,
        LIMITS,
        "        if site.vpn_gateway_address in prefix:",
        '        if site.vpn_gateway_address in prefix or str(site.vpn_gateway_address) == "5.4.3.2":',
    ),
    Mutation(
        "S3-18",
        "with a placeholder there is no tunnel yet",
        PAIR,
        GATEWAY,
        _PEER,
        _PEER.replace(
            "str(site.vpn_gateway_address)",
            "str(next((g.address for g in network.vpn_gateways if g != gateway), site.vpn_gateway_address))",
        ),
    ),
    Mutation(
        "S3-19",
        "a narrower range",
        PAIR,
        TUNNEL,
        _AGREE,
        "    ours = [IPv4Network(one) for one in (*own, *tunnel.transit)]\n"
        "    return all(any(IPv4Network(one).subnet_of(each) for each in ours) for one in facing.remote)",
    ),
    Mutation(
        "S3-19",
        "a wider range",
        PAIR,
        TUNNEL,
        _AGREE,
        "    theirs = [IPv4Network(one) for one in facing.remote]\n"
        "    return all(any(IPv4Network(one).subnet_of(each) for each in theirs) for one in own)",
    ),
    Mutation("S3-19", "another range", PAIR, TUNNEL, _AGREE, "    return True"),
    Mutation(
        "S3-20",
        "a gateway without a gateway subnet is refused",
        PAIR,
        LIMITS,
        "any(s.name == GATEWAY_SUBNET for s in vnet.subnets)",
        "any(s.address_prefix.prefixlen > 24 for s in vnet.subnets)",
    ),
    Mutation("S3-21", "it is built for 15 minutes", PAIR, OPERATIONS, "BUILD_S = 15 * 60", "BUILD_S = 1"),
    Mutation("S3-21", "and no longer", PAIR, OPERATIONS, "BUILD_S = 15 * 60", "BUILD_S = 45 * 60"),
    Mutation(
        "S3-21", "it is Creating at first", PAIR, SHOW, '        return "Creating"', '        return "Connecting"'
    ),
    Mutation(
        "S3-21",
        "it is Connecting then",
        PAIR,
        SHOW,
        '        return "Connecting"\n',
        '        return "NotConnected"\n',
    ),
    Mutation(
        "S3-21",
        "no address before it is built",
        PAIR,
        SHOW,
        '"VipAddress": state.address if built else "",',
        '"VipAddress": state.address or "203.0.113.1",',
    ),
    Mutation(
        "S3-21",
        "an address while it is Connecting",
        PAIR,
        SHOW,
        '"VipAddress": state.address if built else "",',
        '"VipAddress": state.address if status(state, now) != "Connecting" else "",',
    ),
    Mutation(
        "S3-21",
        "two may be built at once",
        PAIR,
        OPERATIONS,
        "        if network.gateway(vnet.name):",
        "        if network.gateway(vnet.name) or any(self.ready_at - g.ready_at < 60 for g in network.vpn_gateways):",
    ),
    Mutation(
        "S3-22",
        "the real address takes the placeholder's place",
        PAIR,
        OPERATIONS,
        "        address = self.address or site.vpn_gateway_address",
        "        address = site.vpn_gateway_address",
    ),
    Mutation(
        "S3-22",
        "addresses that are mixed up never connect",
        PAIR,
        GATEWAY,
        _PEER,
        _PEER.replace(
            "str(site.vpn_gateway_address)",
            "str(next(g.address for g in network.vpn_gateways if g != gateway))"
            "\n            if site.vpn_gateway_address == gateway.address"
            "\n            else str(site.vpn_gateway_address)",
        ),
    ),
    Mutation(
        "S3-23", "keys that differ never connect", PAIR, DAEMONS, '"data": key or _nobodys()', '"data": "everybodys"'
    ),
    Mutation(
        "S3-23",
        "the listing sets the key of a side",
        PAIR,
        "lab/cmdlets/vpn.py",
        'given.text("SharedKey")))',
        'desk.network.connections[0].shared_key or ""))',
    ),
    Mutation(
        "S3-24",
        "the far end answers",
        PAIR,
        GATEWAY,
        INSIDE,
        "for one, other in ((to(router), INNER), (INNER, INNER)):",
    ),
    Mutation(
        "S3-24",
        "it is shown as Connected",
        PAIR,
        DAEMONS,
        '                self._note(name, "Connected", "")',
        '                self._note(name, "Connecting", "")',
    ),
)
