"""Mutations of what is claimed of which member a flow goes to, and what frontends and their rules lead to."""

from tests.mutations import Mutation

_LOAD_BALANCER = "lab/path/load_balancer.py"
_DISTRIBUTION = "lab/path/distribution.py"
_SERVICES = "lab/azure/cloud_services.py"
_WIRING = "lab/path/wiring.py"
_INVARIANTS = "lab/azure/invariants.py"
_MODEL = "lab/azure/model.py"
_FIVE_FIELDS = '"Default": "src,sport,dst,dport,proto"'
_BY_PROTOCOL = 'distribution != "SourceIP" and rule.protocol == "udp"'
_TWO_FIELDS = '"SourceIP": "src,dst"'
_THREE_FIELDS = '"SourceIPProtocol": "src,dst,proto"'
_RULE_TARGET = "target=DestinationNat(str(vm.private_ip_address), rule.backend_port),\n            why=Provenance("
_TIED = "self.targets(r) for r in self.rules())"

MUTATIONS = (
    Mutation(
        "N-DM-1",
        "the source address is one of the fields",
        "load-balancer",
        _DISTRIBUTION,
        _FIVE_FIELDS,
        '"Default": "sport,dst,dport,proto"',
    ),
    Mutation(
        "N-DM-1",
        "the source port is one of the fields",
        "load-balancer",
        _DISTRIBUTION,
        _FIVE_FIELDS,
        '"Default": "src,dst,dport,proto"',
    ),
    Mutation(
        "N-DM-1",
        "the destination address is one of the fields",
        "load-balancer",
        _DISTRIBUTION,
        _FIVE_FIELDS,
        '"Default": "src,sport,dport,proto"',
    ),
    Mutation(
        "N-DM-1",
        "the destination port is one of the fields",
        "load-balancer",
        _DISTRIBUTION,
        _FIVE_FIELDS,
        '"Default": "src,sport,dst,proto"',
    ),
    Mutation(
        "N-DM-1",
        "the protocol is one of the fields",
        "load-balancer",
        _DISTRIBUTION,
        _BY_PROTOCOL,
        'distribution == "SourceIPProtocol" and rule.protocol == "udp"',
    ),
    Mutation(
        "N-DM-2",
        "SourceIP picks by the source address",
        "load-balancer",
        _DISTRIBUTION,
        _TWO_FIELDS,
        '"SourceIP": "dst"',
    ),
    Mutation(
        "N-DM-2",
        "SourceIP picks by the destination address",
        "load-balancer",
        _DISTRIBUTION,
        _TWO_FIELDS,
        '"SourceIP": "src"',
    ),
    Mutation(
        "N-DM-2",
        "SourceIP does not pick by ports",
        "load-balancer",
        _DISTRIBUTION,
        _TWO_FIELDS,
        '"SourceIP": "src,sport,dst"',
    ),
    Mutation(
        "N-DM-2",
        "SourceIPProtocol picks by the source address",
        "load-balancer",
        _DISTRIBUTION,
        _THREE_FIELDS,
        '"SourceIPProtocol": "dst,proto"',
    ),
    Mutation(
        "N-DM-2",
        "SourceIPProtocol picks by the destination address",
        "load-balancer",
        _DISTRIBUTION,
        _THREE_FIELDS,
        '"SourceIPProtocol": "src,proto"',
    ),
    Mutation(
        "N-DM-2",
        "SourceIPProtocol does not pick by ports",
        "load-balancer",
        _DISTRIBUTION,
        _THREE_FIELDS,
        '"SourceIPProtocol": "src,sport,dst,proto"',
    ),
    Mutation(
        "N-DM-2",
        "SourceIPProtocol picks by the protocol",
        "load-balancer",
        _DISTRIBUTION,
        _BY_PROTOCOL,
        'distribution == "Default" and rule.protocol == "udp"',
    ),
    Mutation(
        "N-DM-2",
        "the distribution is the set's, not a member's",
        "multivip",
        _MODEL,
        'return msgspec.structs.replace(self, name="", virtual_machine="", acl=())',
        ('return msgspec.structs.replace(self, name="", virtual_machine="", acl=(), load_distribution="Default")'),
    ),
    Mutation(
        "N-DM-3",
        "with SourceIP the protocol makes no difference",
        "load-balancer",
        _DISTRIBUTION,
        'by_protocol = distribution != "SourceIP" and rule.protocol == "udp"',
        'by_protocol = rule.protocol == "udp"',
    ),
    Mutation(
        "N-DM-4",
        "the members that are left share all flows",
        "load-balancer",
        _DISTRIBUTION,
        "return HashMark(_HASHED[distribution], count,",
        "return HashMark(_HASHED[distribution], 1 if count == 2 else count,",
    ),
    Mutation(
        "N-DM-4",
        "the same pool distributes the same flows alike",
        "load-balancer",
        _DISTRIBUTION,
        "_UDP_SEED if by_protocol else _HASH_SEED)",
        '_UDP_SEED if by_protocol else __import__("time").time_ns() & 0xFFFFFF)',
    ),
    Mutation(
        "N-DM-4",
        "clients behind one address count as one",
        "load-balancer",
        _DISTRIBUTION,
        _TWO_FIELDS,
        '"SourceIP": "src,sport,dst"',
    ),
    Mutation(
        "N-DM-5",
        "the fields are those of the document, in their order",
        "multivip",
        "lab/cmdlets/endpoints.py",
        '        "InternalLoadBalancerName": "",\n',
        "",
    ),
    Mutation(
        "N-DM-5",
        "the set is shown",
        "multivip",
        "lab/cmdlets/endpoints.py",
        '"LBSetName": endpoint.load_balanced_set or ""',
        '"LBSetName": ""',
    ),
    Mutation(
        "N-DM-5",
        "the ports are shown",
        "multivip",
        "lab/cmdlets/endpoints.py",
        '"LocalPort": endpoint.local_port',
        '"LocalPort": endpoint.public_port',
    ),
    Mutation(
        "N-DM-5",
        "the VIP is shown",
        "multivip",
        "lab/cmdlets/endpoints.py",
        'str(vip.address) if vip and vip.address else ""',
        'vip.name if vip else ""',
    ),
    Mutation(
        "N-DM-5",
        "the probe is shown",
        "multivip",
        "lab/cmdlets/endpoints.py",
        'probe.interval_s if probe else ""',
        'probe.timeout_s if probe else ""',
    ),
    Mutation(
        "N-DM-5",
        "the idle timeout is shown",
        "multivip",
        "lab/cmdlets/endpoints.py",
        '"IdleTimeoutInMinutes": endpoint.idle_timeout_min',
        '"IdleTimeoutInMinutes": ""',
    ),
    Mutation(
        "N-DM-5",
        "the distribution is shown",
        "multivip",
        "lab/cmdlets/endpoints.py",
        "distributions[endpoint.load_distribution]",
        "endpoint.load_distribution",
    ),
    Mutation(
        "N-DM-5",
        "a port that is not named is free",
        "multivip",
        _SERVICES,
        "return next(port for port in range(_FIRST_DYNAMIC_PORT, 65536) if port not in taken)",
        "return _FIRST_DYNAMIC_PORT if taken else _FIRST_DYNAMIC_PORT",
    ),
    Mutation(
        "N-DM-6",
        "VMs see the client's own address",
        "load-balancer",
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
        "N-DM-6",
        "each rule's VMs answer",
        "load-balancer",
        _LOAD_BALANCER,
        _RULE_TARGET,
        ("target=DestinationNat(str(vm.private_ip_address), rule.backend_port + 20000),\n            why=Provenance("),
    ),
    Mutation(
        "N-MV-1",
        "the address is part of a frontend",
        "load-balancer",
        _LOAD_BALANCER,
        (
            'destination=f"{lb.frontend(rule.frontend).address}/32",\n'
            "        protocol=rule.protocol,\n"
            "        destination_ports=PortRange(rule.frontend_port, rule.frontend_port),\n"
            "        target=Jump(chain),"
        ),
        (
            "protocol=rule.protocol,\n"
            "        destination_ports=PortRange(rule.frontend_port, rule.frontend_port),\n"
            "        target=Jump(chain),"
        ),
    ),
    Mutation(
        "N-MV-1",
        "the port is part of a frontend",
        "load-balancer",
        _LOAD_BALANCER,
        ("destination_ports=PortRange(rule.frontend_port, rule.frontend_port),\n        target=Jump(chain),"),
        ("destination_ports=PortRange(rule.frontend_port, rule.frontend_port + 9000),\n        target=Jump(chain),"),
    ),
    Mutation(
        "N-MV-1",
        "the protocol is part of a frontend",
        "load-balancer",
        _LOAD_BALANCER,
        "            for rule in lb.load_balancing_rules:\n",
        (
            "            rules = lb.load_balancing_rules\n"
            "            taken = {(r.frontend, r.frontend_port, r.protocol) for r in rules}\n"
            '            twin = __import__("msgspec").structs.replace\n'
            '            rules += tuple(twin(r, protocol=p, name=r.name + p) for r in rules for p in ("tcp", "udp") '
            "if (r.frontend, r.frontend_port, p) not in taken)\n"
            "            for rule in rules:\n"
        ),
    ),
    Mutation(
        "N-MV-1",
        "a rule leads to its address and port of a VM",
        "load-balancer",
        _LOAD_BALANCER,
        _RULE_TARGET,
        ("target=DestinationNat(str(vm.private_ip_address), rule.frontend_port),\n            why=Provenance("),
    ),
    Mutation(
        "N-MV-2",
        "one port of two frontends leads to two ports of a VM",
        "load-balancer",
        _LOAD_BALANCER,
        _RULE_TARGET,
        ("target=DestinationNat(str(vm.private_ip_address), rule.frontend_port),\n            why=Provenance("),
    ),
    Mutation(
        "N-MV-3",
        "two rules to one port of a VM are refused",
        "load-balancer",
        _INVARIANTS,
        'if other != (lb.name, f"{section}.{rule.name}"):',
        "if False:",
    ),
    Mutation(
        "N-MV-4",
        "the destination stays the frontend's",
        "load-balancer",
        _LOAD_BALANCER,
        "if not rule.floating_ip and not lb.is_private(rule):",
        "if rule.name:",
    ),
    Mutation(
        "N-MV-4",
        "a VM with the address answers",
        "load-balancer",
        _WIRING,
        "for address in vm.loopback_addresses:",
        "for address in vm.loopback_addresses[1:]:",
    ),
    Mutation(
        "N-MV-4",
        "a VM without the address is silent",
        "load-balancer",
        _WIRING,
        "yield from _loopback(vm)",
        (
            "yield from _loopback(vm)\n"
            "        for one in sorted({str(f.address) for lb in network.load_balancers_of(vnet) for f in "
            "lb.addressed()} - {*map(str, vm.loopback_addresses)}):\n"
            '            yield Address(place=vm.name, interface="lo", address=one, why=why)\n'
            "            yield from service_items(vm.name, vm.name, IPv4Address(one), vm.services)"
        ),
    ),
    Mutation(
        "N-MV-5",
        "what is sent from the frontend's address does not leave",
        "load-balancer",
        _WIRING,
        '        yield Address(place=vm.name, interface="lo", address=str(address), why=why)\n',
        (
            '        yield Address(place=vm.name, interface="lo", address=str(address), why=why)\n'
            "        from lab.plan import Rule, SourceNat\n"
            '        yield Rule(place=vm.name, table="nat", chain="POSTROUTING", source=f"{address}/32", '
            "target=SourceNat(str(vm.private_ip_address)), why=why)\n"
        ),
    ),
    Mutation(
        "N-MV-5",
        "what is sent from the VM's own address leaves",
        "load-balancer",
        "lab/path/outbound_snat.py",
        (
            "    for protocol in _PROTOCOLS:\n"
            "        yield Rule(\n"
            "            place=wiring.load_balancer(vnet),\n"
            '            table="filter",'
        ),
        (
            '    for protocol in ("tcp",):\n'
            "        yield Rule(\n"
            "            place=wiring.load_balancer(vnet),\n"
            '            table="filter",'
        ),
    ),
    Mutation(
        "N-MV-6",
        "without a rule a dynamic frontend has no address",
        "load-balancer",
        _MODEL,
        "return not frontend.dynamic or inward or outward",
        "return True",
    ),
    Mutation(
        "N-MV-6",
        "a load-balancing rule gives it one",
        "load-balancer",
        _MODEL,
        _TIED,
        "self.targets(r) for r in self.inbound_nat_rules)",
    ),
    Mutation(
        "N-MV-6",
        "an inbound NAT rule gives it one",
        "load-balancer",
        _MODEL,
        _TIED,
        "self.targets(r) for r in self.load_balancing_rules)",
    ),
    Mutation(
        "N-MV-6",
        "a VIP without endpoints has no address",
        "multivip",
        _SERVICES,
        "used = is_allocated and (is_programmed(service, vip) or bool(service.endpoints_of(vip.name)))",
        "used = is_allocated",
    ),
    Mutation(
        "N-DM-5",
        "a default probe asks every 15 seconds",
        "multivip",
        _MODEL,
        "    interval_s: int = 15\n",
        "    interval_s: int = 20\n",
    ),
    Mutation(
        "N-DM-5",
        "a default probe waits 31 seconds",
        "multivip",
        _MODEL,
        "    timeout_s: int = 31\n",
        "    timeout_s: int = 30\n",
    ),
)
