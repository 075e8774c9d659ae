"""Mutations of what is claimed of access lists of endpoints, and reserved addresses."""

from tests.mutations import Mutation
from tests.mutations.seed_001 import LINKED, NOT_LINKED

_LOAD_BALANCER = "lab/path/load_balancer.py"
_SERVICES = "lab/azure/cloud_services.py"
_WIRING = "lab/path/wiring.py"
_ACCESS = "lab/path/cloud_service.py"
_PROFILE = "lab/azure/profile.py"
_PERMITTING = 'if any(rule.action == "permit" for rule in rules):'
_MOST_VIPS = "MAX_VIRTUAL_IPS = 5"
_OWN_ADDRESS = 'made = PublicIp(own, public.get("domainNameLabel"), timeout)'

MUTATIONS = (
    Mutation(
        "N-AC-1",
        "the lowest order decides",
        "multivip",
        _SERVICES,
        "key=lambda rule: rule.order))",
        "key=lambda rule: -rule.order))",
    ),
    Mutation(
        "N-AC-1", "an endpoint has up to 50 rules", "multivip", _SERVICES, "MAX_ACL_RULES = 50", "MAX_ACL_RULES = 51"
    ),
    Mutation("N-AC-2", "a rule that permits denies all others", "multivip", _ACCESS, _PERMITTING, "if False:"),
    Mutation("N-AC-2", "rules that only deny permit all others", "multivip", _ACCESS, _PERMITTING, "if rules:"),
    Mutation(
        "N-AC-2",
        "without a list everybody may",
        "multivip",
        _ACCESS,
        "        rules = cloud_services.access_list(service, endpoint)\n",
        (
            "        from ipaddress import IPv4Network\n"
            '        denying = AclRule(order=1, action="deny", remote_subnet=IPv4Network("0.0.0.0/0"))\n'
            "        rules = cloud_services.access_list(service, endpoint) or (denying,)\n"
        ),
    ),
    Mutation(
        "N-AC-3",
        "nothing comes to a new VM by itself",
        "multivip",
        "lab/operations/cloud_service.py",
        "virtual_machines=(*owner.virtual_machines, self.name),",
        (
            "virtual_machines=(*owner.virtual_machines, self.name),\n"
            "            endpoints=(*owner.endpoints, msgspec.structs.replace(owner.endpoints[0], "
            'name="rdp", virtual_machine=self.name, local_port=3389, public_port=3389)),'
        ),
    ),
    Mutation(
        "N-AC-3",
        "what it sends is let out",
        "multivip",
        "lab/path/outbound_snat.py",
        ('in_interface=to(wiring.router(vnet)),\n            protocol=protocol,\n            ctstate="NEW",'),
        (
            "in_interface=to(wiring.router(vnet)),\n"
            '            source="10.1.0.4/32",\n'
            "            protocol=protocol,\n"
            '            ctstate="NEW",'
        ),
    ),
    Mutation(
        "N-AC-3",
        "an endpoint leads to it",
        "multivip",
        _LOAD_BALANCER,
        "vm = vms[rule.virtual_machine]",
        "vm = vms[min(r.virtual_machine for r in lb.inbound_nat_rules)]",
    ),
    Mutation(
        "N-AC-4",
        "the list of one member is that of all",
        "multivip",
        _SERVICES,
        "found = next((mate.acl for mate in mates if mate.acl), ())",
        "found = mates[-1].acl",
    ),
    Mutation(
        "N-AC-4",
        "what is denied does not come to a VM",
        "multivip",
        _ACCESS,
        'Terminal("RETURN" if rule.action == "permit" else "DROP")',
        'Terminal("RETURN" if rule.action == "permit" or rule.remote_subnet.prefixlen > 8 else "DROP")',
    ),
    Mutation(
        "N-AC-5",
        "a public port leads to a private port",
        "multivip",
        _LOAD_BALANCER,
        ("target=DestinationNat(str(vm.private_ip_address), rule.backend_port),\n            why=why,"),
        ("target=DestinationNat(str(vm.private_ip_address), rule.frontend_port),\n            why=why,"),
    ),
    Mutation(
        "N-AC-5",
        "an endpoint is for TCP or for UDP",
        "multivip",
        _LOAD_BALANCER,
        "    for rule in lb.inbound_nat_rules:\n",
        (
            '    both = [__import__("msgspec").structs.replace(r, protocol=p) for r in lb.inbound_nat_rules '
            'for p in ("tcp", "udp")]\n'
            "    for rule in both:\n"
        ),
    ),
    Mutation(
        "N-AC-5",
        "another network needs an endpoint too",
        "multivip",
        _WIRING,
        "    yield from forwarder(inside, why, checks_source=True, loosely=loosely)\n",
        (
            "    yield from forwarder(inside, why, checks_source=True, loosely=loosely)\n"
            "    for space in map(str, vnet.address_space):\n"
            "        yield Route(place=INTERNET, destination=space, interface=to(edge), via=EDGE_SIDE, "
            "why=why)\n"
            '        yield Rule(place=edge, table="filter", chain="FORWARD", in_interface=to(INTERNET), '
            'destination=space, target=Terminal("ACCEPT"), why=why)\n'
        ),
    ),
    Mutation(
        "N-RI-1",
        "a reserved address outlives deallocation",
        "multivip",
        _SERVICES,
        (
            "released = vip.address if vip.address is not None and reserved is None else vip.released\n"
            "            return msgspec.structs.replace(vip, address=None, released=released)\n"
            "        if reserved is not None:"
        ),
        (
            "released = vip.address or vip.released\n"
            "            return msgspec.structs.replace(vip, address=None, released=released)\n"
            "        if reserved is not None and vip.released is None:"
        ),
    ),
    Mutation(
        "N-RI-1",
        "it cannot be chosen",
        "multivip",
        "lab/cli/service.py",
        ("    if address is not None:\n        raise UsageError("),
        ("    if address is not None and not name:\n        raise UsageError("),
    ),
    Mutation(
        "N-RI-1",
        "it is never a VM's own",
        "multivip",
        "lab/operations/reserved_ip.py",
        "if network.cloud_service(name) is None and network.vm(name) is not None:",
        "if not name:",
    ),
    Mutation(
        "N-RI-2", "Address is shown", "multivip", _SERVICES, '"Address": str(reserved.address),', '"Address": "",'
    ),
    Mutation("N-RI-2", "State is shown", "multivip", _SERVICES, '"State": "Created",', '"State": "Reserved",'),
    Mutation("N-RI-2", "InUse is shown", "multivip", "lab/cmdlets/services.py", '"InUse": is_used,', '"InUse": True,'),
    Mutation("N-RI-2", "ServiceName is shown", "multivip", _SERVICES, '"ServiceName": name,', '"ServiceName": "",'),
    Mutation(
        "N-RI-2",
        "the fields are those of the document, in their order",
        "multivip",
        _SERVICES,
        '"DeploymentName": name,\n',
        "",
    ),
    Mutation(
        "N-RI-3",
        "the address of a live service is reserved in place",
        "multivip",
        "lab/operations/reserved_ip.py",
        "            address = virtual_ip.address\n",
        "            address = free_address(network)\n",
    ),
    Mutation(
        "N-RI-3",
        "taken from the service, the address is another's no more",
        "multivip",
        "lab/operations/reserved_ip.py",
        "msgspec.structs.replace(virtual_ip, reserved_ip=None, address=None)",
        "virtual_ip",
    ),
    Mutation(
        "N-RI-3",
        "given back, it is the service's again",
        "multivip",
        "lab/operations/reserved_ip.py",
        "return lookup.with_service(network, _with_vip(service, given))",
        "return lookup.with_service(network, _with_vip(service, msgspec.structs.replace(given, reserved_ip=None)))",
    ),
    Mutation(
        "N-RI-3",
        "what leaves has it",
        "multivip",
        "lab/azure/outbound.py",
        LINKED,
        NOT_LINKED,
    ),
    Mutation("N-RI-4", "a service has at most 5 VIPs", "multivip", _SERVICES, _MOST_VIPS, "MAX_VIRTUAL_IPS = 6"),
    Mutation("N-RI-4", "a service has 5 VIPs", "multivip", _SERVICES, _MOST_VIPS, "MAX_VIRTUAL_IPS = 4"),
    Mutation(
        "N-RI-4",
        "a subscription has at most 20 reserved addresses in 2016",
        "multivip",
        _PROFILE,
        '"reserved_ips_max": Cell(20,',
        '"reserved_ips_max": Cell(21,',
    ),
    Mutation(
        "N-RI-4",
        "a service has at most one reserved address",
        "multivip",
        _SERVICES,
        "    if service.roles and len(reserved) > 1:\n",
        "    if False:\n",
    ),
    Mutation(
        "N-CS-1",
        "the network is the service's",
        "multivip",
        "lab/formats/cscfg.py",
        "if configuration.virtual_network is not None and not _is_network(configuration.virtual_network, home):",
        "if False:",
    ),
    Mutation(
        "N-CS-1",
        "the subnet is the role's",
        "multivip",
        "lab/formats/cscfg.py",
        "if role.subnets and role.name in subnets and role.subnets != (subnets[role.name],):",
        "if False:",
    ),
    Mutation(
        "N-CS-1",
        "the reserved address is the service's",
        "multivip",
        "lab/formats/cscfg.py",
        "if configuration.reserved_ip is not None and configuration.reserved_ip != reserved:",
        "if False:",
    ),
    Mutation(
        "N-CS-1",
        "each instance is given the public IP",
        "multivip",
        "lab/operations/cscfg.py",
        "wanted = {role.name: role.public_ip for role in self.configuration.roles}",
        "wanted = {role.name: None for role in self.configuration.roles}",
    ),
    Mutation(
        "N-CS-1",
        "its timeout is taken",
        "multivip",
        "lab/formats/cscfg.py",
        _OWN_ADDRESS,
        'made = PublicIp(own, public.get("domainNameLabel"))',
    ),
    Mutation(
        "N-CS-1",
        "its label is taken",
        "multivip",
        "lab/formats/cscfg.py",
        _OWN_ADDRESS,
        "made = PublicIp(own, None, timeout)",
    ),
    Mutation(
        "N-CS-1",
        "what is not played is refused",
        "multivip",
        "lab/formats/cscfg.py",
        '_REFUSED = ("AccessControls", "EndpointAcls", "Dns", "LoadBalancers")',
        '_REFUSED = ("AccessControls", "EndpointAcls", "LoadBalancers")',
    ),
    Mutation(
        "N-CS-1",
        "the network is written",
        "multivip",
        "lab/formats/cscfg.py",
        '_element(body, "VirtualNetworkSite", name=home)',
        '_element(body, "VirtualNetworkSite")',
    ),
)
