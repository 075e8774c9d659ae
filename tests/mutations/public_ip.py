"""Mutations of what Instance level public IP (Classic) overview (2016-02-10) states, and its later revision."""

from tests.mutations import Mutation

_TOPOLOGY = "instance-public-ip"
_PATH, _ADDRESSES, _OPERATION = (
    "lab/path/instance_public_ip.py",
    "lab/azure/public_ips.py",
    "lab/operations/public_ip.py",
)
_MACHINES, _CSCFG, _SERVICE = "lab/cmdlets/machines.py", "lab/formats/cscfg.py", "lab/path/cloud_service.py"

_INTO = "                target=DestinationNat(private),"
_INTO_RULE = '                destination=f"{public}/32",\n                target=DestinationNat(private),'
_OUT = "        target=SourceNat(public),"
_WHY = '            why = Provenance("instance_public_ip", vm.name, _SOURCE)\n            public, private'
_NAMES = '    return (f"{vm}.{cloud_services.host_name(service)}", *labelled)'
_DEFAULT = "SourceNat(str(vnet.default_outbound_address))"


def _only(protocol: str) -> str:
    """Return the rule of an address that takes one protocol alone."""
    return _INTO_RULE.replace(
        "                target", f'                protocol="{protocol}",\n                target'
    )


def _into(claim: str, fact: str, new: str) -> Mutation:
    return Mutation(claim, fact, _TOPOLOGY, _PATH, _INTO, new)


def _out(claim: str, fact: str, new: str) -> Mutation:
    return Mutation(claim, fact, _TOPOLOGY, _PATH, _OUT, f"        target={new},")


def _shown(fact: str, old: str, new: str) -> Mutation:
    """Return a mutation of what Get-AzureVM shows."""
    return Mutation("S4-10", fact, _TOPOLOGY, _MACHINES, old, new)


#: The default VIP of a VM's service leads to the VM, whatever the port.
_VIP_TOO = (
    "            of_vm = network.service_of(vm.name)\n"
    "            for vip in of_vm.virtual_ips if of_vm else ():\n"
    '                found = {"place": edge, "table": "nat", "chain": "PREROUTING"}\n'
    '                yield Rule(**found, destination=f"{vip.address}/32", '
    "target=DestinationNat(str(vm.private_ip_address)),\n"
    '                           why=Provenance("instance_public_ip", vm.name, _SOURCE))\n'
)

#: A VM without an address of its own has the default VIP of its service for one.
_LED_TO = "            yield from wiring.public_address(vnet, vm.instance_public_ip.address, why)\n"
_NONE = (
    "            if vm.instance_public_ip is None:\n                continue\n"
    '            why = Provenance("instance_public_ip", vm.name, _SOURCE)\n'
    "            public, private = str(vm.instance_public_ip.address), str(vm.private_ip_address)\n"
    f"{_LED_TO}"
)
_VIP_FOR_ITS_OWN = (
    "            of_vm = network.service_of(vm.name)\n"
    "            if vm.instance_public_ip is None and of_vm and not of_vm.roles:\n"
    "                from msgspec.structs import replace\n\n"
    "                from lab.azure.model import InstancePublicIp\n\n"
    '                own = InstancePublicIp(name="vip", address=of_vm.virtual_ips[0].address)\n'
    "                vm = replace(vm, instance_public_ip=own)\n"
    + _NONE.replace(_LED_TO, f'            if vm.instance_public_ip.name != "vip":\n    {_LED_TO}')
)


def _dropped(protocol: str) -> str:
    """Return the beginning of a VM's rules, with one that drops a protocol."""
    return (
        '            why = Provenance("instance_public_ip", vm.name, _SOURCE)\n'
        '            yield Rule(place=edge, table="mangle", chain="PREROUTING", '
        f'destination=f"{{vm.instance_public_ip.address}}/32", protocol="{protocol}",\n'
        '                       target=Terminal("DROP"), why=why)\n'
        "            public, private"
    )


MUTATIONS = (
    _into("S4-1", "the address leads to its VM", '                target=DestinationNat("10.255.255.1"),'),
    Mutation(
        "S4-1",
        "the VIP works beside it",
        _TOPOLOGY,
        "lab/azure/cloud_services.py",
        "    is_allocated = any(vm.power_state",
        "    is_allocated = not any(v.instance_public_ip for v in _machines(network, service)) and any(vm.power_state",
    ),
    Mutation("S4-2", "UDP on any port", _TOPOLOGY, _PATH, _INTO_RULE, _only("tcp")),
    Mutation("S4-2", "TCP on any port", _TOPOLOGY, _PATH, _INTO_RULE, _only("udp")),
    Mutation("S4-2", "ICMP", _TOPOLOGY, _PATH, _WHY, _dropped("icmp")),
    Mutation("S4-2", "ESP", _TOPOLOGY, _PATH, _WHY, _dropped("esp")),
    Mutation("S4-2", "the VIP leads nowhere without an endpoint", _TOPOLOGY, _PATH, _WHY, f"{_VIP_TOO}{_WHY}"),
    Mutation(
        "S4-3",
        "a service's name leads to its VIP",
        _TOPOLOGY,
        _SERVICE,
        "cloud_services.host_name(service), default.address, why)",
        'cloud_services.host_name(service), type(default.address)("192.0.2.77"), why)',
    ),
    Mutation(
        "S4-3",
        "an instance's name leads to its address",
        _TOPOLOGY,
        _ADDRESSES,
        _NAMES,
        _NAMES.replace("{vm}.", "{vm.replace('_IN_', '-')}."),
    ),
    Mutation(
        "S4-4",
        "a file with two for one VM",
        _TOPOLOGY,
        "lab/topology/shape.py",
        '    if isinstance(value, list):\n        found = f"{len(value)} instance-level',
        "    if isinstance(value, list) and len(value) < 3:\n        return value[0]\n"
        '    if isinstance(value, list):\n        found = f"{len(value)} instance-level',
    ),
    Mutation(
        "S4-4",
        "a second one of a VM that runs",
        _TOPOLOGY,
        _OPERATION,
        "        if own is not None and own.name != self.name:",
        "        if False:",
    ),
    Mutation(
        "S4-5",
        "a sixth is refused",
        _TOPOLOGY,
        "lab/azure/profile.py",
        '"public_ips_max": Cell(5, ',
        '"public_ips_max": Cell(6, ',
    ),
    Mutation(
        "S4-5",
        "five are given",
        _TOPOLOGY,
        "lab/azure/profile.py",
        '"public_ips_max": Cell(5, ',
        '"public_ips_max": Cell(4, ',
    ),
    Mutation(
        "S4-5",
        "500 by the later limits",
        _TOPOLOGY,
        "lab/azure/profile.py",
        '"public_ips_max": Cell(500, _ADDRESSES_2022_12)',
        '"public_ips_max": Cell(501, _ADDRESSES_2022_12)',
        "2026-07",
    ),
    Mutation(
        "S4-6",
        "an address and two interfaces are refused",
        _TOPOLOGY,
        _ADDRESSES,
        "        if vm.secondary_interfaces:",
        "        if len(vm.secondary_interfaces) > 1:",
    ),
    Mutation(
        "S4-7",
        "the server's data comes from port 20",
        _TOPOLOGY,
        "lab/agent/ftp.py",
        "port = self.cmd_channel.socket.getsockname()[1] - 1",
        "port = self.cmd_channel.socket.getsockname()[1] + 1",
    ),
    Mutation(
        "S4-7",
        "passive data ports are open",
        _TOPOLOGY,
        _PATH,
        _INTO_RULE,
        _INTO_RULE.replace(
            "                target",
            '                protocol="tcp",\n'
            '                destination_ports=__import__("lab.flow").flow.PortRange(21, 21),\n'
            "                target",
        ),
    ),
    Mutation("S4-7", "without an address there is no active transfer", _TOPOLOGY, _PATH, _NONE, _VIP_FOR_ITS_OWN),
    _out("S4-8", "its flows are seen from its address", _DEFAULT),
    _out(
        "S4-8",
        "each VM from one of its own",
        "SourceNat(str(next(v for v in network.virtual_machines if v.instance_public_ip).instance_public_ip.address))",
    ),
    Mutation(
        "S4-9",
        "the listing gives it an address",
        _TOPOLOGY,
        _MACHINES,
        "    desk.perform(Together((*first, made, *draft.asked)))",
        "    desk.perform(Together((*first, made)))",
    ),
    Mutation(
        "S4-9",
        "the address has the name that was asked for",
        _TOPOLOGY,
        _MACHINES,
        'SetPublicIp(draft.name, given.text("PublicIPName"), label, timeout)',
        'SetPublicIp(draft.name, "pip", label, timeout)',
    ),
    Mutation(
        "S4-9",
        "the service's location",
        _TOPOLOGY,
        "lab/cmdlets/services.py",
        'AddService(name=given.text("ServiceName"), location=given.text("Location"))',
        'AddService(name=given.text("ServiceName"), location="East US")',
    ),
    Mutation(
        "S4-9",
        "its size",
        _TOPOLOGY,
        _MACHINES,
        '    draft = Draft(given.text("Name"), size=given.text("InstanceSize"))',
        '    draft = Draft(given.text("Name"), size="Medium")',
    ),
    Mutation("S4-9", "its name leads to the address", _TOPOLOGY, _ADDRESSES, _NAMES, "    return labelled"),
    _shown("all 26 fields", '        "InstanceFaultDomain": place % _FAULT_DOMAINS,\n', ""),
    _shown(
        "in the document's order",
        '        "Label": "",\n        "VM": Thing(kind=PERSISTENT_VM, '
        'properties={"RoleName": vm.name, "RoleSize": draft.size}, inside=draft),',
        '        "VM": Thing(kind=PERSISTENT_VM, '
        'properties={"RoleName": vm.name, "RoleSize": draft.size}, inside=draft),'
        '\n        "Label": "",',
    ),
    _shown("the instance's state", '    "Started": ("ReadyRole", "Started"),', '    "Started": ("Ready", "Started"),'),
    _shown("the VM's private address", "else str(vm.private_ip_address),", "else str(vm.private_ip_address + 1),"),
    _shown(
        "its public address",
        '"PublicIPAddress": str(own.address) if own else "",',
        '"PublicIPAddress": str(own.address + 1) if own else "",',
    ),
    _shown(
        "the name of its public address",
        '"PublicIPName": own.name if own else "",',
        '"PublicIPName": vm.name if own else "",',
    ),
    _shown(
        "the service's name",
        'f"http://{cloud_services.host_name(service).lower()}/",',
        'f"http://{vm.name.lower()}.cloudapp.net/",',
    ),
    _shown(
        "how the operation ended",
        '    operation = desk.operation("Get-AzureVM", "OK", dashes=False)',
        '    operation = desk.operation("Get-AzureVM", dashes=False)',
    ),
    Mutation(
        "S4-10",
        "a private address of 100.64.0.0/10",
        _TOPOLOGY,
        "lab/operations/cloud_service.py",
        "            private_ip_address=address,\n            services=self.services,",
        "            private_ip_address=address + (1 << 24),\n            services=self.services,",
    ),
    Mutation(
        "S4-11",
        "the listing removes it",
        _TOPOLOGY,
        _MACHINES,
        "    draft.ask(desk, RemovePublicIp(draft.name))\n",
        "",
    ),
    Mutation(
        "S4-11",
        "it is blank then",
        _TOPOLOGY,
        _MACHINES,
        '"PublicIPName": own.name if own else "",',
        '"PublicIPName": own.name if own else "none",',
    ),
    Mutation(
        "S4-11",
        "it leads nowhere, and the VM leaves as one without",
        _TOPOLOGY,
        _OPERATION,
        "        return _with(network, vm, None)",
        "        return network",
    ),
    Mutation(
        "S4-12",
        "the listing gives a VM that is there an address",
        _TOPOLOGY,
        _MACHINES,
        "    draft.ask(desk, SetPublicIp(",
        "    (lambda *_: None)(desk, SetPublicIp(",
    ),
    Mutation(
        "S4-12",
        "by its name",
        _TOPOLOGY,
        _OPERATION,
        "            own = InstancePublicIp(name=self.name, address=free_address(network))",
        '            own = InstancePublicIp(name="pip", address=free_address(network))',
    ),
    _out("S4-12", "it leaves by the address", _DEFAULT),
    _into("S4-12", "everybody reaches it there", '                target=DestinationNat("10.255.255.1"),'),
    Mutation(
        "S4-13",
        "the sample gives the instance its address",
        _TOPOLOGY,
        _CSCFG,
        "            roles[name] = msgspec.structs.replace(roles[name], public_ip=made)",
        "            del made",
    ),
    Mutation(
        "S4-13",
        "its label is a name",
        _TOPOLOGY,
        _CSCFG,
        'PublicIp(own, public.get("domainNameLabel"), timeout)',
        "PublicIp(own, None, timeout)",
    ),
    Mutation(
        "S4-13",
        "an unknown role is refused",
        _TOPOLOGY,
        _CSCFG,
        "        if name not in roles:\n            found",
        "        if name not in roles:\n            return\n        if name not in roles:\n            found",
    ),
    Mutation(
        "S4-13",
        "two addresses of an instance are refused",
        _TOPOLOGY,
        _CSCFG,
        "        if len(listed) > 1:",
        "        if len(listed) > 2:",
    ),
    Mutation(
        "S4-13",
        "an address without a name is refused",
        _TOPOLOGY,
        _CSCFG,
        '            own = self.name(f"{where}: PublicIP", public)',
        '            own = public.get("name", "pip")',
    ),
    Mutation(
        "S4-13",
        "the file is written back",
        _TOPOLOGY,
        _CSCFG,
        '        found["domainNameLabel"] = own.domain_name_label',
        '        found["label"] = own.domain_name_label',
    ),
    Mutation(
        "N-IL-1",
        "a VM that was deallocated gets another address",
        _TOPOLOGY,
        _ADDRESSES,
        "            address = free_address(network, avoid=[vm.released_public_ip.address])",
        "            address = vm.released_public_ip.address",
    ),
    Mutation(
        "N-IL-1",
        "a timeout is 4 minutes at least",
        _TOPOLOGY,
        "lab/azure/profile.py",
        '"public_ip_idle_min": Cell((4, 30),',
        '"public_ip_idle_min": Cell((3, 30),',
    ),
    Mutation(
        "N-IL-1",
        "a timeout is 30 minutes at most",
        _TOPOLOGY,
        "lab/azure/profile.py",
        '"public_ip_idle_min": Cell((4, 30),',
        '"public_ip_idle_min": Cell((4, 31),',
    ),
    Mutation(
        "N-IL-1",
        "flows live for as long as it says",
        _TOPOLOGY,
        _PATH,
        "        by_default = nominal_s == network.profile.idle_timeout_s",
        "        by_default = nominal_s > 0",
    ),
    Mutation(
        "N-IL-1",
        "and no longer",
        _TOPOLOGY,
        _PATH,
        "        nominal_s = own.idle_timeout_min * 60",
        "        nominal_s = own.idle_timeout_min * 600",
    ),
    Mutation(
        "N-IL-1",
        "the cmdlet sets it",
        _TOPOLOGY,
        _MACHINES,
        'SetPublicIp(draft.name, given.text("PublicIPName"), label, timeout)',
        'SetPublicIp(draft.name, given.text("PublicIPName"), label, None)',
    ),
    Mutation(
        "N-IL-1",
        "a label counts the instances of a role",
        _TOPOLOGY,
        _ADDRESSES,
        'f"{label}.{numbers.get(vm, 0)}.{cloud_services.host_name(service)}"',
        'f"{label}.{numbers.get(vm, 0) + 1}.{cloud_services.host_name(service)}"',
    ),
    Mutation(
        "N-IL-1",
        "the fields of the document",
        _TOPOLOGY,
        _ADDRESSES,
        '        "PublicIPFqdns": list(names),',
        '        "Fqdns": list(names),',
    ),
)
