"""Virtual networks, VMs with their interfaces, and network security groups of a topology."""

import re
from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, address, is_true, prefixes, whole, word
from lab.formats.azure_resources import Resource, items, known_text, reference, shown

_TAGS = ("VirtualNetwork", "AzureLoadBalancer", "Internet")


def networks(draft: Draft) -> None:
    """Add the virtual networks with their subnets."""
    for one in draft.of_type("microsoft.network/virtualnetworks"):
        space = get(get(one.body, "addressspace"), "addressprefixes")
        ranges = prefixes(space if isinstance(space, list) else [])
        draft.check(one.title, "virtual network", one.body, "addressspace dhcpoptions subnets virtualnetworkpeerings")
        if not ranges:
            draft.leave(one.title, "the virtual network", "its address space is not known as IPv4", way_out=True)
            continue
        if len(ranges) != len(space):
            draft.leave(one.title, "addressSpace", "a range that is not known as IPv4 is not played")
        name = draft.name("vnet", one.key, one.name, one.title, node=False)
        made: dict[str, Any] = {}
        if re.fullmatch(r"[A-Za-z0-9 ]{2,40}", known_text(get(one.body, "location"))):
            made["location"] = get(one.body, "location")
        made["address_space"] = ranges
        subnets: dict[str, Any] = {}
        for subnet in items(one.body, "subnets"):
            _subnet(draft, one, subnet, subnets)
        if subnets:
            made["subnets"] = subnets
        servers = get(get(one.body, "dhcpoptions"), "dnsservers")
        known = [found for server in (servers if isinstance(servers, list) else []) if (found := address(server))]
        if known:
            made["dns_servers"] = known
        draft.put("virtual_networks", name, made, one)


def _subnet(draft: Draft, network: Resource, subnet: dict[str, Any], subnets: dict[str, Any]) -> None:
    title = f"{network.title}, subnet {shown(get(subnet, 'name'))}"
    several = get(subnet, "addressprefixes")
    values = [get(subnet, "addressprefix"), *(several if isinstance(several, list) else [])]
    ranges = prefixes(values)
    many = "addressprefixes" if len(ranges) == 1 else ""
    taken = f"addressprefix networksecuritygroup natgateway defaultoutboundaccess {many}"
    draft.check(title, "subnet", subnet, taken)
    if not ranges:
        draft.leave(title, "the subnet", "its range is not known as IPv4", way_out=True)
        return
    key = reference(subnet)
    name = draft.name(f"subnet of {network.key}", key, str(get(subnet, "name")), title, node=False)
    group = draft.target(title, "networkSecurityGroup", get(subnet, "networksecuritygroup"))
    chosen = draft.named("group", group.key) if group is not None else None
    # What a template does not say is allowed: it is of an API version before private subnets were the default.
    made = {"address_prefix": ranges[0], "default_outbound_access": get(subnet, "defaultoutboundaccess") is not False}
    gateway = draft.target(title, "natGateway", get(subnet, "natgateway"), way_out=True)
    leaves_by = draft.named("nat", gateway.key) if gateway is not None else None
    made |= {"network_security_group": chosen} if chosen else {}
    subnets[name] = made | ({"nat_gateway": leaves_by} if leaves_by else {})
    draft.subnets[key] = f"{draft.name('vnet', network.key, network.name, title, node=False)}/{name}"


def groups(draft: Draft) -> None:
    """Add the network security groups; their names come first, as subnets and interfaces name them."""
    for one in draft.of_type("microsoft.network/networksecuritygroups"):
        name = draft.name("group", one.key, one.name, one.title, node=False)
        draft.check(one.title, "security group", one.body, "securityrules")
        rules = [made for rule in items(one.body, "securityrules") if (made := _rule(draft, one, rule))]
        rules.sort(key=lambda rule: (rule["direction"], rule["priority"], rule["name"].lower()))
        draft.put("network_security_groups", name, rules, one)


def _rule(draft: Draft, group: Resource, rule: dict[str, Any]) -> dict[str, Any] | None:
    title = f"{group.title}, rule {shown(get(rule, 'name'))}"
    direction = word(get(rule, "direction"), "Inbound", "Outbound")
    access = word(get(rule, "access"), "Allow", "Deny")
    protocol = word(get(rule, "protocol"), "*", "Tcp", "Udp", "Icmp")
    priority = whole(get(rule, "priority"), 1)
    out = direction != "Inbound"
    if direction is None or access is None or protocol is None or priority is None:
        draft.leave(title, "the rule", "its direction, access, protocol or priority has no word", way_out=out)
        return None
    key = f"{group.key}/{get(rule, 'name')}"
    made: dict[str, Any] = {
        "name": draft.name(f"rule of {group.key}", key.lower(), str(get(rule, "name")), title, node=False),
        "priority": priority,
        "direction": direction,
        "access": access,
        "protocol": protocol,
    }
    taken = "priority direction access protocol"
    for end in ("source", "destination"):
        if get(rule, f"{end}applicationsecuritygroups"):
            draft.leave(title, f"{end}ApplicationSecurityGroups", "the rule is not there", way_out=out)
            return None
        for what, read in (("addressprefix", _rule_address), ("portrange", _rule_ports)):
            plural = "es" if what == "addressprefix" else "s"
            one, several = get(rule, f"{end}{what}"), get(rule, f"{end}{what}{plural}")
            values = several if isinstance(several, list) and several else [one if one not in (None, "") else "*"]
            known = [found for value in values if (found := read(value)) is not None]
            taken += f" {end}{what} {end}{what}{plural} {end}applicationsecuritygroups"
            if len(known) != len(values):
                draft.leave(title, f"{end} {what}", "no word for some of it; the rule matches less", way_out=out)
            if not known:
                return None
            if "*" not in known:
                key_ = f"{end}_{'address_prefix' if what == 'addressprefix' else 'port_range'}"
                made[key_ if len(known) == 1 else key_ + plural] = known[0] if len(known) == 1 else known
    draft.check(title, "security rule", rule, taken)
    return made


def _rule_address(value: object) -> str | None:
    text = known_text(value)
    if text.lower() in ("*", "any", "0.0.0.0/0"):
        return "*"
    return word(text, *_TAGS) or address(text) or next(iter(prefixes([text])), None)


def _rule_ports(value: object) -> str | int | None:
    text = str(value) if isinstance(value, int | str) else ""
    if text.strip().lower() in ("*", "any"):
        return "*"
    match = re.fullmatch(r"\s*([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?\s*", text)
    if not match or int(match[1]) > int(match[2] or match[1]) or int(match[2] or match[1]) > 65535:
        return None
    return f"{int(match[1])}-{int(match[2])}" if match[2] else int(match[1])


def machines(draft: Draft, *, probes: bool) -> None:
    """Add the VMs; where interfaces without one are to be played, they have a VM of their own."""
    owners: set[str] = set()
    for one in draft.of_type("microsoft.compute/virtualmachines"):
        listed = items(get(one.body, "networkprofile"), "networkinterfaces")
        draft.check(one.title, "virtual machine", one.body)
        found = [(nic, draft.target(one.title, "network interface", nic, way_out=True)) for nic in listed]
        known = [(nic, resource) for nic, resource in found if resource is not None]
        owners |= {resource.key for _, resource in known}
        if not known:
            effect = "none of its network interfaces is in the files; give their file too"
            draft.leave(one.title, "the VM", effect, way_out=True)
            continue
        known.sort(key=lambda pair: not is_true(get(pair[0], "primary")))
        _machine(draft, one, [resource for _, resource in known])
    for nic in draft.of_type("microsoft.network/networkinterfaces"):
        if nic.key in owners:
            continue
        if probes:
            draft.leave(nic.title, "an interface without a VM", "a VM stands in for it", warning=False)
            _machine(draft, nic, [nic])
        else:
            draft.leave(nic.title, "an interface without a VM", "it is not there; --probes gives it a VM")


def _machine(draft: Draft, one: Resource, nics: list[Resource]) -> None:
    """Add a VM with its interfaces, the primary one first."""
    configured = [(nic, _configuration(draft, nic)) for nic in nics]
    made = [(nic, part, _interface(draft, nic, part)) for nic, part in configured]
    homes = [home for _, _, home in made if home is not None]
    if made[0][2] is None or not homes:
        draft.leave(one.title, "the VM", "the subnet of its interface is not in the topology", way_out=True)
        return
    name = draft.name("node", one.key, one.name, one.title)
    vm: dict[str, Any] = dict(made[0][2])
    alone = len({home["subnet"] for home in homes}) < len(homes) or any(_is_member(part) for _, part, _ in made)
    if len(homes) > 1 and not alone:
        listed = {}
        for index, (nic, _, home) in enumerate(made):
            if home is not None:
                key = draft.name(f"interface of {one.key}", nic.key, nic.name, nic.title)
                listed[key] = {**home, "primary": True} if index == 0 else home
        vm = {"network_interfaces": listed}
    elif len(made) > 1:
        for nic, part, _ in made[1:]:
            effect = "the VM has its first interface only, as members of load balancers and of one subnet have one"
            draft.leave(nic.title, "the interface", effect, way_out=_is_member(part))
    _own_address(draft, name, vm, made[0][1], made[0][0])
    _details(draft, one, vm)
    for nic, _, home in made if len(homes) > 1 and not alone else made[:1]:
        if home is not None and nic is not one:
            draft.part_of(one, nic)
    draft.put("virtual_machines", name, vm, one)
    draft.members[made[0][0].key] = name


def _configuration(draft: Draft, nic: Resource) -> dict[str, Any]:
    """Return the IP configuration of an interface, of several the primary one."""
    draft.check(nic.title, "network interface", nic.body, "ipconfigurations networksecuritygroup")
    configurations = sorted(items(nic.body, "ipconfigurations"), key=lambda part: not is_true(get(part, "primary")))
    for extra in configurations[1:]:
        draft.leave(nic.title, f"ipConfiguration {shown(get(extra, 'name'))}", "an interface has one", way_out=True)
    return configurations[0] if configurations else {}


def _details(draft: Draft, one: Resource, vm: dict[str, Any]) -> None:
    """Give a VM its size and availability set."""
    size = known_text(get(get(one.body, "hardwareprofile"), "vmsize"))
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,62}", size):
        vm["size"] = size
    together = reference(get(one.body, "availabilityset"))
    if together:
        wanted = draft.by_id[together].name if together in draft.by_id else together
        vm["availability_set"] = draft.name("set", together, wanted, one.title, node=False)
        if together in draft.by_id:
            draft.part_of(one, draft.by_id[together])


def _is_member(part: dict[str, Any]) -> bool:
    keys = ("loadbalancerbackendaddresspools", "loadbalancerinboundnatrules", "publicipaddress")
    return any(get(part, key) for key in keys)


def _interface(draft: Draft, nic: Resource, part: dict[str, Any]) -> dict[str, Any] | None:
    """Return an interface, if its subnet is in the topology."""
    title = f"{nic.title}, ipConfiguration {shown(get(part, 'name'))}"
    taken = "subnet privateipaddress publicipaddress publicipaddressconfiguration"
    draft.check(title, "ip configuration", part, f"{taken} loadbalancerbackendaddresspools loadbalancerinboundnatrules")
    key = reference(get(part, "subnet"))
    home = draft.subnets.get(key)
    if home is None:
        if key:
            draft.leave(title, f"subnet {shown(key)}", "it is not in the topology", way_out=True)
        return None
    made: dict[str, Any] = {"subnet": home}
    own = address(get(part, "privateipaddress"))
    if own:
        made["private_ip_address"] = own
    group = draft.target(title, "networkSecurityGroup", get(nic.body, "networksecuritygroup"))
    chosen = draft.named("group", group.key) if group is not None else None
    if chosen:
        made["network_security_group"] = chosen
    return made


def _own_address(draft: Draft, name: str, vm: dict[str, Any], part: dict[str, Any], nic: Resource) -> None:
    """Give a VM the public IP of its interface."""
    wanted = get(part, "publicipaddress")
    if get(part, "publicipaddressconfiguration"):
        wanted = {"name": f"{name}-public", **get(part, "publicipaddressconfiguration")}
        made: dict[str, Any] = {
            "name": draft.name("public", f"{nic.key}/public", wanted["name"], nic.title, node=False)
        }
        vm["instance_public_ip"] = made
        return
    one = draft.target(nic.title, "publicIPAddress", wanted, way_out=True)
    if one is None:
        return
    draft.part_of(nic, one)
    if word(get(one.body, "publicipaddressversion"), "IPv6"):
        draft.leave(one.title, "an IPv6 address", "only IPv4 is played", way_out=True)
        return
    draft.check(one.title, "public IP", one.body)
    made = {"name": draft.name("public", one.key, one.name, one.title, node=False)}
    if found := address(get(one.body, "ipaddress")):
        made["address"] = found
    minutes = whole(get(one.body, "idletimeoutinminutes"), 5, 30)
    if minutes:
        made["idle_timeout_in_minutes"] = minutes
    if word(get(get(one.body, "sku"), "name"), "Standard", "StandardV2"):
        made["sku"] = "Standard"
    vm["instance_public_ip"] = made
