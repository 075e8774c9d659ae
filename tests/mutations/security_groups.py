"""Mutations of what is claimed of network security groups."""

from tests.mutations import Mutation

_LOAD_BALANCER = "lab/path/load_balancer.py"
_DISTRIBUTION = "lab/path/distribution.py"
_SERVICES = "lab/azure/cloud_services.py"
_HEALTH = "lab/deciders/health.py"
_FILTER = "lab/path/security_group.py"
_GROUPS = "lab/azure/security_groups.py"
_INVARIANTS = "lab/azure/invariants.py"
_PROFILE = "lab/azure/profile.py"
_LOGS = "lab/agent/logs.py"
_SHARED_1 = (
    "for subnet, group in _subnets(vnet, asked):\n"
    '        why = Provenance("security_group", f"{group} on subnet {subnet.name}, outbound", _GROUPS)'
)
_INSIDE = "return (*vnet.address_space, *sorted(connected))"
_BEGUN = 'yield _forward(place, begun, Terminal("ACCEPT"), ctstatus="CONFIRMED")'

MUTATIONS = (
    Mutation(
        "S2-15",
        "a group forbids all outbound flows",
        "nsg",
        _FILTER,
        _SHARED_1,
        (
            "for subnet, group in ():\n"
            '        why = Provenance("security_group", f"{group} on subnet {subnet.name}, outbound", _GROUPS)'
        ),
    ),
    Mutation(
        "S2-15",
        "a group forbids some destinations, and no others",
        "nsg",
        _FILTER,
        "destination=_prefix(destination),",
        "",
    ),
    Mutation(
        "S2-16",
        "a group that blocks the probe takes the VM down",
        "nsg",
        _PROFILE,
        '"nsg_filters_platform": Cell(\n            value=True,',
        '"nsg_filters_platform": Cell(\n            value=False,',
    ),
    Mutation(
        "S2-16",
        "a VM that is down is sent no new flow",
        "nsg",
        _DISTRIBUTION,
        'return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down)',
        "return tuple(there)",
    ),
    Mutation(
        "S2-16",
        "dipDownCount is one more",
        "health-probes",
        _LOGS,
        '"dipDownCount": len(down)',
        '"dipDownCount": min(0, len(down))',
    ),
    Mutation(
        "S2-16",
        "established flows go on",
        "health-probes",
        _HEALTH,
        ('if item.protocol == "udp":\n            yield from'),
        ("if newly:\n            yield from"),
    ),
    Mutation(
        "N-NS-1",
        "the virtual network is let in by default",
        "nsg",
        _GROUPS,
        'rule(65000, direction="Inbound", access="Allow", sources=_VNET, destinations=_VNET)',
        'rule(65000, direction="Inbound", access="Deny", sources=_VNET, destinations=_VNET)',
    ),
    Mutation(
        "N-NS-1",
        "probes are let in by default",
        "nsg",
        _GROUPS,
        'rule(65001, direction="Inbound", access="Allow", sources=("AzureLoadBalancer",))',
        'rule(65001, direction="Inbound", access="Deny", sources=("AzureLoadBalancer",))',
    ),
    Mutation(
        "N-NS-1",
        "the virtual network is let out by default",
        "nsg",
        _GROUPS,
        'rule(65000, direction="Outbound", access="Allow", sources=_VNET, destinations=_VNET)',
        'rule(65000, direction="Outbound", access="Deny", sources=_VNET, destinations=_VNET)',
    ),
    Mutation(
        "N-NS-1",
        "the internet is let out by default",
        "nsg",
        _GROUPS,
        'rule(65001, direction="Outbound", access="Allow", destinations=("Internet",))',
        'rule(65001, direction="Outbound", access="Deny", destinations=("Internet",))',
    ),
    Mutation(
        "N-NS-1",
        "nothing else is let in by default",
        "nsg",
        _GROUPS,
        'rule(65500, direction="Inbound", access="Deny")',
        'rule(65500, direction="Inbound", access="Allow")',
    ),
    Mutation(
        "N-NS-1",
        "the default rules have the names of the revision",
        "nsg",
        _PROFILE,
        '"AllowVnetInBound", "AllowAzureLoadBalancerInBound"',
        '"AllowVNetInBound", "AllowAzureLoadBalancerInBound"',
    ),
    Mutation(
        "N-NS-1",
        "default rules cannot be removed",
        "nsg",
        "lab/operations/security_rule.py",
        "if len(kept) == len(group.rules):",
        "if not group.name:",
    ),
    Mutation(
        "N-NS-1",
        "the refusal of their removal says why",
        "nsg",
        "lab/operations/security_rule.py",
        ("default = next((rule.name for rule in defaults(network.profile) if rule.name.lower() == named), None)"),
        "default = None",
    ),
    Mutation(
        "N-NS-2",
        "VirtualNetwork is the network's own space",
        "nsg",
        _GROUPS,
        _INSIDE,
        "return tuple(sorted(connected))",
    ),
    Mutation(
        "N-NS-2",
        "VirtualNetwork is connected networks too",
        "vnet-to-vnet",
        _GROUPS,
        _INSIDE,
        "return tuple(vnet.address_space)",
    ),
    Mutation(
        "N-NS-2",
        "VirtualNetwork is connected local sites too",
        "policy-based",
        _GROUPS,
        "for site in network.local_networks if site.name in sites for",
        "for site in network.local_networks if site.name in sites and site.vpn_gateway for",
    ),
    Mutation(
        "N-NS-2",
        "AzureLoadBalancer is where probes come from",
        "nsg",
        _FILTER,
        "        return _PLATFORM\n",
        '        return "168.63.129.17/32"\n',
    ),
    Mutation(
        "N-NS-2",
        "Internet is all that is outside",
        "nsg",
        _FILTER,
        '"Internet": (0, NOT_FROM_INTERNET)}',
        '"Internet": (NOT_FROM_INTERNET, NOT_FROM_INTERNET)}',
    ),
    Mutation(
        "N-NS-2",
        "Internet is nothing that is inside",
        "vnet-to-vnet",
        _FILTER,
        '"Internet": (0, TO_VNET)}',
        '"Internet": (0, 0)}',
    ),
    Mutation(
        "N-NS-3",
        "the lowest priority decides",
        "nsg",
        _GROUPS,
        "key=lambda rule: (rule.direction, rule.priority)",
        "key=lambda rule: (rule.direction, rule.priority > 64999, -rule.priority)",
    ),
    Mutation(
        "N-NS-3",
        "a priority is used once in a direction",
        "nsg",
        _INVARIANTS,
        ('        if other != rule.name:\n            yield Problem(\n                path=(*where, "priority"),'),
        ('        if False:\n            yield Problem(\n                path=(*where, "priority"),'),
    ),
    Mutation(
        "N-NS-4",
        "the subnet's group must allow a flow into a VM",
        "nsg",
        _FILTER,
        (
            '        why = Provenance("security_group", f"{group} on subnet {subnet.name}, inbound", _GROUPS)\n'
            "        yield _forward("
        ),
        (
            '        why = Provenance("security_group", f"{group} on subnet {subnet.name}, inbound", _GROUPS)\n'
            '        yield from () if any(f.on == "VM" for found in asked.values() for f in found) else ()\n'
            "        continue\n"
            "        yield _forward("
        ),
    ),
    Mutation(
        "N-NS-4",
        "the VM's group must allow a flow into it",
        "nsg",
        _FILTER,
        '            if f.on != "subnet":\n',
        '            if f.on == "SKU":\n',
    ),
    Mutation(
        "N-NS-4",
        "the VM's group must allow a flow out of it",
        "nsg",
        _FILTER,
        '            if f.on == "VM":\n',
        '            if f.on == "none":\n',
    ),
    Mutation(
        "N-NS-4",
        "the subnet's group must allow a flow out of a VM",
        "nsg",
        _FILTER,
        _SHARED_1,
        (
            "for subnet, group in ():\n"
            '        why = Provenance("security_group", f"{group} on subnet {subnet.name}, outbound", _GROUPS)'
        ),
    ),
    Mutation("N-NS-5", "answers need no rule", "nsg", _FILTER, _BEGUN, "yield from ()"),
    Mutation(
        "N-NS-5",
        "a rule that comes later does not cut a flow",
        "nsg",
        _FILTER,
        _BEGUN,
        'yield _forward(place, begun, Terminal("ACCEPT"), protocol="tcp", ctstatus="CONFIRMED")',
    ),
    Mutation(
        "N-NS-5",
        "a rule that comes later holds for new flows",
        "nsg",
        _FILTER,
        _BEGUN,
        'yield _forward(place, begun, Terminal("ACCEPT"))',
    ),
    Mutation(
        "N-NS-6",
        "a rule names the port at the VM",
        "nsg",
        _FILTER,
        "destination_ports = security_groups.merged_ports(rule.destination_ports) or (None,)",
        (
            "destination_ports = tuple({50001: None, 50002: None, 3389: type(p)(50001, 50001), 3390: "
            "type(p)(50002, 50002)}.get(p.first, p) or type(p)(p.first - 50001 + 3389, p.first - 50001 + "
            "3389) for p in security_groups.merged_ports(rule.destination_ports)) or (None,)"
        ),
    ),
    Mutation(
        "N-NS-6",
        "a rule names the client's own address",
        "nsg",
        _LOAD_BALANCER,
        "            yield from _inbound_nat_rules(network, vnet, lb, vms)\n",
        (
            "            yield from _inbound_nat_rules(network, vnet, lb, vms)\n"
            '            hidden = __import__("lab.plan", '
            'fromlist=["SourceNat"]).SourceNat(str(lb.frontends[0].address))\n'
            "            for vm in sorted(lb.virtual_machines()):\n"
            '                to = f"{vms[vm].private_ip_address}/32"\n'
            '                yield Rule(place=wiring.load_balancer(vnet), table="nat", chain="POSTROUTING", '
            "destination=to, target=hidden, why=why)\n"
        ),
    ),
    Mutation(
        "N-NS-7",
        "a group has so many rules",
        "nsg",
        _PROFILE,
        '"nsg_max_rules": Cell(1000,',
        '"nsg_max_rules": Cell(1001,',
    ),
    Mutation(
        "N-NS-7",
        "a region has so many groups",
        "nsg",
        _PROFILE,
        '"nsg_max_groups": Cell(100,',
        '"nsg_max_groups": Cell(101,',
    ),
    Mutation(
        "N-NS-7",
        "a VM has one group",
        "nsg",
        "lab/topology/shape.py",
        ("    if isinstance(value, list):\n        limit"),
        (
            "    if isinstance(value, list) and value:\n"
            "        return value[0]\n"
            "    if isinstance(value, list):\n"
            "        limit"
        ),
    ),
    Mutation(
        "N-NS-7",
        "the gateway subnet has no group",
        "nsg",
        _INVARIANTS,
        "if subnet.name == GATEWAY_SUBNET and subnet.network_security_group is not None:",
        "if False:",
    ),
    Mutation(
        "N-NS-7",
        "a VM has a group or an access list",
        "nsg",
        _SERVICES,
        "if vm and group and access_list(service, endpoint):",
        "if False:",
    ),
    Mutation(
        "N-NS-8",
        "a rule for TCP does not touch ICMP",
        "nsg",
        _FILTER,
        ('        case "Tcp":\n            return ("tcp",)'),
        ('        case "Tcp":\n            return (None,) if not has_ports else ("tcp",)'),
    ),
    Mutation(
        "N-NS-8",
        "a rule for * does",
        "nsg",
        _FILTER,
        'return ("tcp", "udp") if has_ports else (None,)',
        'return ("tcp", "udp")',
    ),
    Mutation(
        "N-NS-8",
        "ICMP is allowed inside by default",
        "nsg",
        _FILTER,
        '    tags = Provenance("security_group", f"what the addresses',
        (
            '    yield _forward(place, begun, Terminal("DROP"), protocol="icmp")\n'
            '    tags = Provenance("security_group", f"what the addresses'
        ),
    ),
    Mutation(
        "N-NS-8",
        "no rule is for ICMP alone before 2025",
        "nsg",
        _PROFILE,
        '"nsg_protocols": Cell(frozenset[SecurityProtocol]({"*", "Tcp", "Udp"})',
        '"nsg_protocols": Cell(frozenset[SecurityProtocol]({"*", "Tcp", "Udp", "Icmp"})',
    ),
    Mutation(
        "N-NS-9",
        "168.63.129.16 answers names whatever groups deny",
        "nsg",
        _FILTER,
        'yield _forward(place, asks, Terminal("ACCEPT"), destination=_PLATFORM)',
        'yield _forward(place, asks, Terminal("DROP"), destination=_PLATFORM, protocol="udp")',
    ),
    Mutation("N-NS-10", "HTTP comes in, and no other port", "nsg", _FILTER, "destination_ports=ours,", ""),
    Mutation("N-NS-10", "RDP comes in from the subnet alone", "nsg", _FILTER, "source=_prefix(source),", ""),
    Mutation(
        "N-NS-10",
        "nothing goes to the internet",
        "nsg",
        _FILTER,
        'Terminal("RETURN" if rule.access == "Allow" else "DROP")',
        'Terminal("RETURN" if rule.access == "Allow" or rule.direction == "Outbound" else "DROP")',
    ),
    Mutation(
        "N-NS-11",
        "without a group a Standard load balancer's VM is closed",
        "nsg",
        _PROFILE,
        '"nsg_required_standard": Cell(True,',
        '"nsg_required_standard": Cell(False,',
    ),
    Mutation(
        "N-NS-11",
        "a group opens it",
        "nsg",
        _GROUPS,
        'if not found and direction == "Inbound" and interface',
        'if direction == "Inbound" and interface',
    ),
)
