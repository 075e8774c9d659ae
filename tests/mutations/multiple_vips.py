"""Mutations of what is claimed of several VIPs of one cloud service (2015-07-23)."""

from tests.mutations import Mutation

_LOAD_BALANCER = "lab/path/load_balancer.py"
_DISTRIBUTION = "lab/path/distribution.py"
_SERVICES = "lab/azure/cloud_services.py"
_WIRING = "lab/path/wiring.py"
_ACCESS = "lab/path/cloud_service.py"
_ENDPOINT_TARGET = "target=DestinationNat(str(vm.private_ip_address), rule.backend_port),\n            why=why,"
_RULE_TARGET = "target=DestinationNat(str(vm.private_ip_address), rule.backend_port),\n            why=Provenance("
_HEALTHY = 'return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down)'
_USED = "used = is_allocated and (is_programmed(service, vip) or bool(service.endpoints_of(vip.name)))"
_PROGRAMMED = '"True" if is_programmed(service, virtual_ip) else "",'
_BILLED = "return not is_programmed(service, virtual_ip) and bool(service.endpoints_of(virtual_ip.name))"

MUTATIONS = (
    Mutation(
        "S0-1",
        "no VM has the VIP's address",
        "multivip",
        _WIRING,
        "yield from _loopback(vm)",
        (
            "yield from _loopback(vm)\n"
            "        addresses = {str(f.address) for lb in network.load_balancers_of(vnet) for f in "
            "lb.addressed()}\n"
            "        addresses -= {*map(str, vm.loopback_addresses)}\n"
            '        yield from (Address(place=vm.name, interface="lo", address=one, why=why) for one in '
            "sorted(addresses))"
        ),
    ),
    Mutation(
        "S0-1",
        "each VM answers through the VIP",
        "multivip",
        _LOAD_BALANCER,
        "vm = vms[rule.virtual_machine]",
        "vm = vms[min(r.virtual_machine for r in lb.inbound_nat_rules)]",
    ),
    Mutation(
        "S0-1",
        "a port without an endpoint is silent",
        "multivip",
        _LOAD_BALANCER,
        ("destination_ports=PortRange(rule.frontend_port, rule.frontend_port),\n            target=DestinationNat("),
        (
            "destination_ports=PortRange(rule.frontend_port, rule.frontend_port + 4000),\n"
            "            target=DestinationNat("
        ),
    ),
    Mutation(
        "S0-2",
        "each VIP's port leads to its own private port",
        "multivip",
        _LOAD_BALANCER,
        _ENDPOINT_TARGET,
        (
            "target=DestinationNat(str(vm.private_ip_address), lb.inbound_nat_rules[0].backend_port),\n"
            "            why=why,"
        ),
    ),
    Mutation(
        "S0-2",
        "each site has a certificate of its own",
        "multivip",
        "lab/agent/servers.py",
        'subject = f"{node[:_NODE_IN_SUBJECT]}:{port}"',
        'subject = f"{node[:_NODE_IN_SUBJECT]}"',
    ),
    Mutation(
        "S0-2",
        "a port of a VIP has one endpoint",
        "multivip",
        _SERVICES,
        "if other is not endpoint and (",
        "if False and (",
    ),
    Mutation(
        "S0-2",
        "a port of a VM is the target of one endpoint",
        "multivip",
        _SERVICES,
        "if same is not endpoint:",
        "if False:",
    ),
    Mutation(
        "S0-3",
        "each listener leads to its own port",
        "multivip",
        _LOAD_BALANCER,
        _RULE_TARGET,
        (
            "target=DestinationNat(str(vm.private_ip_address), lb.load_balancing_rules[0].backend_port),\n"
            "            why=Provenance("
        ),
    ),
    Mutation(
        "S0-3",
        "a listener leads to the VM that answers its probe",
        "multivip",
        _DISTRIBUTION,
        _HEALTHY,
        "return tuple(there)",
    ),
    Mutation(
        "S0-4",
        "a reserved address is the same after deallocation",
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
        "S0-4",
        "a dynamic address is another one after deallocation",
        "multivip",
        _SERVICES,
        "held = network.taken_addresses(planned=False) | given | {vip.released}",
        "held = network.taken_addresses(planned=False) | given",
    ),
    Mutation(
        "S0-4",
        "without VMs a service has no address",
        "multivip",
        _SERVICES,
        _USED,
        "used = (is_programmed(service, vip) or bool(service.endpoints_of(vip.name)))",
    ),
    Mutation(
        "S0-5",
        "a service with roles has one VIP",
        "multivip",
        _SERVICES,
        "if service.roles and len(service.virtual_ips) > 1:",
        "if False:",
    ),
    Mutation(
        "S0-6",
        "PowerShell adds a VIP",
        "multivip",
        "lab/cmdlets/services.py",
        'desk.perform(AddVirtualIp(service_named(desk, given).name, given.text("VirtualIPName")))',
        "service_named(desk, given)",
    ),
    Mutation(
        "S0-6",
        "PowerShell lists the VIPs",
        "multivip",
        "lab/cmdlets/services.py",
        "[_shown_vip(service, vip) for vip in service.virtual_ips]",
        "[_shown_vip(service, vip) for vip in service.virtual_ips[:1]]",
    ),
    Mutation(
        "S0-6",
        "PowerShell removes a VIP",
        "multivip",
        "lab/cmdlets/services.py",
        "desk.perform(RemoveVirtualIp(service.name, _vip(service, given)))",
        "_vip(service, given)",
    ),
    Mutation(
        "S0-6",
        "a service configuration file cannot have VIPs",
        "multivip",
        "lab/formats/cscfg.py",
        '"AddressAssignments": Part((), {"InstanceAddress": None, "ReservedIPs": 1}),',
        '"AddressAssignments": Part((), {"InstanceAddress": None, "ReservedIPs": 1, "VirtualIPs": None}),\n'
        '    "VirtualIPs": Part(None, {"VirtualIP": None}),\n    "VirtualIP": Part(None, {}),',
    ),
    Mutation(
        "S0-7",
        "the operation is described",
        "multivip",
        "lab/cli/output.py",
        '"OperationDescription": description',
        '"OperationDescription": "Operation"',
    ),
    Mutation(
        "S0-7",
        "the operation has an id",
        "multivip",
        "lab/cli/output.py",
        '"OperationId": str(uuid4())',
        '"OperationId": "1"',
    ),
    Mutation(
        "S0-7",
        "the operation has a status",
        "multivip",
        "lab/cli/output.py",
        '"OperationStatus": "Succeeded"',
        '"OperationStatus": "OK"',
    ),
    Mutation("S0-8", "a VIP that was added has no address", "multivip", _SERVICES, _USED, "used = is_allocated"),
    Mutation("S0-8", "no name leads to it", "multivip", _SERVICES, _PROGRAMMED, '"True",'),
    Mutation(
        "S0-9",
        "a VIP with endpoints is not removed",
        "multivip",
        "lab/operations/virtual_ip.py",
        "if endpoints := service.endpoints_of(virtual_ip.name):",
        "if (endpoints := service.endpoints_of(virtual_ip.name)) and not self.name:",
    ),
    Mutation(
        "S0-9",
        "a VIP without endpoints is removed",
        "multivip",
        "lab/operations/virtual_ip.py",
        "kept = tuple(v for v in service.virtual_ips if v is not virtual_ip)",
        "kept = service.virtual_ips",
    ),
    Mutation(
        "S0-10",
        "Address is shown as documented",
        "multivip",
        _SERVICES,
        '"Address": str(virtual_ip.address or ""),',
        '"Address": str(virtual_ip.address or "None"),',
    ),
    Mutation(
        "S0-10",
        "IsDnsProgrammed is shown as documented",
        "multivip",
        _SERVICES,
        _PROGRAMMED,
        "str(is_programmed(service, virtual_ip)),",
    ),
    Mutation(
        "S0-10",
        "Name is shown as documented",
        "multivip",
        _SERVICES,
        '"Name": virtual_ip.name,',
        '"Name": virtual_ip.name.lower(),',
    ),
    Mutation(
        "S0-10", "ReservedIPName is shown as documented", "multivip", _SERVICES, 'virtual_ip.reserved_ip or "",', '"",'
    ),
    Mutation(
        "S0-10", "ExtensionData is shown as documented", "multivip", _SERVICES, '        "ExtensionData": "",\n', ""
    ),
    Mutation(
        "S0-11",
        "the service's name leads to the default VIP",
        "multivip",
        _ACCESS,
        "default = service.virtual_ip(service.default_virtual_ip)",
        "default = max((v for v in service.virtual_ips if v.address), key=lambda v: v.name)",
    ),
    Mutation("S0-12", "an additional VIP with an endpoint is billed", "multivip", _SERVICES, _BILLED, "return False"),
    Mutation(
        "S0-12",
        "an additional VIP without an endpoint is not billed",
        "multivip",
        _SERVICES,
        _BILLED,
        "return not is_programmed(service, virtual_ip)",
    ),
    Mutation(
        "S0-12",
        "the default VIP is not billed",
        "multivip",
        _SERVICES,
        _BILLED,
        "return bool(service.endpoints_of(virtual_ip.name))",
    ),
    Mutation(
        "S0-13",
        "the public port leads to the private port of the VM",
        "multivip",
        _LOAD_BALANCER,
        _ENDPOINT_TARGET,
        ("target=DestinationNat(str(vm.private_ip_address), rule.frontend_port),\n            why=why,"),
    ),
    Mutation(
        "S0-13",
        "the endpoint gives the VIP its address",
        "multivip",
        "lab/operations/endpoint.py",
        "made = (*service.endpoints, self._made(service))",
        (
            "made = (*service.endpoints, msgspec.structs.replace(self._made(service), "
            "virtual_ip=service.default_virtual_ip))"
        ),
    ),
    Mutation(
        "S0-13",
        "the endpoint takes its own protocol only",
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
        "S0-13",
        "no other VIP changes",
        "multivip",
        _SERVICES,
        "services = tuple(with_addresses(service, network, give) for service in network.cloud_services)",
        (
            "services = tuple(with_addresses(msgspec.structs.replace(s, "
            "virtual_ips=tuple(msgspec.structs.replace(v, address=None) for v in s.virtual_ips)), network, "
            "give) for s in network.cloud_services)"
        ),
    ),
    Mutation(
        "S0-13",
        "an unknown VIP is refused",
        "multivip",
        "lab/operations/endpoint.py",
        (
            "if self.virtual_ip is not None:\n"
            "            lookup.virtual_ip(self, service, self.virtual_ip)\n"
            "        path"
        ),
        "path",
    ),
    Mutation(
        "S0-14",
        "connections come to each VM of the set",
        "multivip",
        _DISTRIBUTION,
        _HEALTHY,
        ('return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down)[:1]'),
    ),
    Mutation(
        "S0-14",
        "they come to the set's private port",
        "multivip",
        _LOAD_BALANCER,
        _RULE_TARGET,
        ("target=DestinationNat(str(vm.private_ip_address), rule.frontend_port),\n            why=Provenance("),
    ),
    Mutation(
        "S0-14",
        "members of a set are alike",
        "multivip",
        _SERVICES,
        "            if different:",
        "            if False:",
    ),
    Mutation(
        "S0-14",
        "an endpoint's name is unique at its VM",
        "multivip",
        _SERVICES,
        "if (endpoint.virtual_machine, endpoint.name) in names:",
        "if False:",
    ),
    Mutation(
        "S0-15",
        "the set answers at the other VIP",
        "multivip",
        "lab/operations/endpoint.py",
        (
            'given = _given(self, "virtual_ip", "protocol", "local_port", "public_port", "idle_timeout_min")\n'
            '        given |= _given(self, "load_distribution", "direct_server_return", "acl")'
        ),
        (
            'given = _given(self, "protocol", "local_port", "public_port", "idle_timeout_min")\n'
            '        given |= _given(self, "load_distribution", "direct_server_return", "acl")'
        ),
    ),
    Mutation(
        "S0-15",
        "the set is at one VIP at a time",
        "multivip",
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
)
