"""A Terraform plan, as ``terraform show -json PLAN`` prints it, becomes a state: what is new has stand-ins for its ids.

A plan does not know the ids of what it will make. Its configuration says which resource each of them comes from, so
they are joined by these references: through counts and keys, variables and outputs of modules. What cannot be followed,
such as local values, which a plan does not hold, is unknown.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from lab.formats.arm import Unknown

Values = dict[str, Any]
_ROOT = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups"
#: What each type is to Azure.
_AZURE = {
    "azurerm_application_gateway": "Microsoft.Network/applicationGateways",
    "azurerm_application_security_group": "Microsoft.Network/applicationSecurityGroups",
    "azurerm_bastion_host": "Microsoft.Network/bastionHosts",
    "azurerm_express_route_circuit": "Microsoft.Network/expressRouteCircuits",
    "azurerm_firewall": "Microsoft.Network/azureFirewalls",
    "azurerm_linux_virtual_machine_scale_set": "Microsoft.Compute/virtualMachineScaleSets",
    "azurerm_orchestrated_virtual_machine_scale_set": "Microsoft.Compute/virtualMachineScaleSets",
    "azurerm_private_endpoint": "Microsoft.Network/privateEndpoints",
    "azurerm_windows_virtual_machine_scale_set": "Microsoft.Compute/virtualMachineScaleSets",
    "azurerm_availability_set": "Microsoft.Compute/availabilitySets",
    "azurerm_lb": "Microsoft.Network/loadBalancers",
    "azurerm_linux_virtual_machine": "Microsoft.Compute/virtualMachines",
    "azurerm_local_network_gateway": "Microsoft.Network/localNetworkGateways",
    "azurerm_nat_gateway": "Microsoft.Network/natGateways",
    "azurerm_network_interface": "Microsoft.Network/networkInterfaces",
    "azurerm_network_security_group": "Microsoft.Network/networkSecurityGroups",
    "azurerm_public_ip": "Microsoft.Network/publicIPAddresses",
    "azurerm_public_ip_prefix": "Microsoft.Network/publicIPPrefixes",
    "azurerm_route_table": "Microsoft.Network/routeTables",
    "azurerm_virtual_machine": "Microsoft.Compute/virtualMachines",
    "azurerm_virtual_network": "Microsoft.Network/virtualNetworks",
    "azurerm_virtual_network_gateway": "Microsoft.Network/virtualNetworkGateways",
    "azurerm_virtual_network_gateway_connection": "Microsoft.Network/connections",
    "azurerm_windows_virtual_machine": "Microsoft.Compute/virtualMachines",
}
#: Parts of others: the key that names the parent, the parent's type, and where they stand there.
_PARTS = {
    "azurerm_subnet": ("virtual_network_name", "azurerm_virtual_network", "subnets"),
    "azurerm_network_security_rule": (
        "network_security_group_name",
        "azurerm_network_security_group",
        "securityRules",
    ),
    "azurerm_route": ("route_table_name", "azurerm_route_table", "routes"),
    "azurerm_virtual_network_peering": (
        "virtual_network_name",
        "azurerm_virtual_network",
        "virtualNetworkPeerings",
    ),
    "azurerm_lb_nat_pool": ("loadbalancer_id", "azurerm_lb", "inboundNatPools"),
    "azurerm_lb_backend_address_pool": ("loadbalancer_id", "azurerm_lb", "backendAddressPools"),
    "azurerm_lb_probe": ("loadbalancer_id", "azurerm_lb", "probes"),
    "azurerm_lb_rule": ("loadbalancer_id", "azurerm_lb", "loadBalancingRules"),
    "azurerm_lb_nat_rule": ("loadbalancer_id", "azurerm_lb", "inboundNatRules"),
    "azurerm_lb_outbound_rule": ("loadbalancer_id", "azurerm_lb", "outboundRules"),
}
#: What a key names: a reference may lead past other resources.
_WANTED = {
    "backend_address_pool_id": "azurerm_lb_backend_address_pool",
    "backend_address_pool_ids": "azurerm_lb_backend_address_pool",
    "load_balancer_backend_address_pool_ids": "azurerm_lb_backend_address_pool",
    "load_balancer_inbound_nat_rules_ids": "azurerm_lb_nat_pool",
    "loadbalancer_id": "azurerm_lb",
    "nat_gateway_id": "azurerm_nat_gateway",
    "nat_rule_id": "azurerm_lb_nat_rule",
    "network_interface_id": "azurerm_network_interface",
    "network_interface_ids": "azurerm_network_interface",
    "network_security_group_id": "azurerm_network_security_group",
    "network_security_group_name": "azurerm_network_security_group",
    "probe_id": "azurerm_lb_probe",
    "public_ip_address_id": "azurerm_public_ip",
    "public_ip_prefix_id": "azurerm_public_ip_prefix",
    "remote_virtual_network_id": "azurerm_virtual_network",
    "route_table_name": "azurerm_route_table",
    "subnet_id": "azurerm_subnet",
    "virtual_network_gateway_id": "azurerm_virtual_network_gateway",
    "virtual_network_name": "azurerm_virtual_network",
}
#: Keys of blocks that say where an interface or a frontend is: unknown ones of dynamic blocks are told.
_PLACES = ("subnet_id", "public_ip_address_id")
_DEPTH = 20  # of modules within modules, and of values that come from other values
_MOST = 100_000  # references that are followed
#: An instance, as addresses write it.
_INDEX = r"\[(?:[0-9]+|\"[^\"]*\")\]"
_REFERENCE = re.compile(rf"(?:(data)\.)?([a-z0-9_]+\.[A-Za-z0-9_-]+)({_INDEX})?(.*)", re.DOTALL)


class _Resource(msgspec.Struct):
    """A resource of a plan, on its way into a state."""

    address: str
    module: str  # the address of the instance of its module, "" of the root
    type: str
    name: str
    index: str  # as it stands in addresses: "", [0], ["web"]
    values: Values
    data: Values


def is_plan(data: object) -> bool:
    """Tell whether a value is a plan."""
    return isinstance(data, dict) and isinstance(data.get("planned_values"), dict)


def state_of(plan: Values) -> Values:
    """Return the state that a plan leads to."""
    found = _Plan(plan)
    found.join()
    return {"values": {"root_module": {"resources": [one.data | {"values": one.values} for one in found.resources]}}}


class _Plan:
    def __init__(self, plan: Values) -> None:
        self.plan = plan
        self.resources = [_resource(module, one) for module, one in _all(plan["planned_values"].get("root_module"))]
        self.by_name: dict[tuple[str, str], list[_Resource]] = {}
        for one in self.resources:
            self.by_name.setdefault((one.module, f"{one.type}.{one.name}"), []).append(one)
        self.followed = 0
        self._modules: dict[str, Values] = {}

    def join(self) -> None:
        """Give each resource an id, and put ids where the configuration refers to resources."""
        for one in self.resources:
            if one.type in _AZURE and not _text(one.values.get("id")):
                one.values["id"] = f"{self._group(one)}/providers/{_AZURE[one.type]}/{self._named(one)}"
        for one in self.resources:
            if one.type in _PARTS and not _text(one.values.get("id")):
                parent = self._parent(one)
                if parent:
                    one.values["id"] = f"{parent}/{_PARTS[one.type][2]}/{self._named(one)}"
        for one in self.resources:
            self._fill(one, one.values, self._expressions(one))
        for change in _list(self.plan.get("resource_changes")):
            unknown = _dict(_dict(change.get("change")).get("after_unknown"))
            for one in self.resources:
                if one.address == change.get("address"):
                    _tell_places(one.values, unknown)

    def _group(self, one: _Resource) -> str:
        return f"{_ROOT}/{_text(one.values.get('resource_group_name')) or 'plan'}"

    def _named(self, one: _Resource) -> str:
        """Return the name of a resource: of one that is known after the plan only, that of the configuration."""
        name = _text(one.values.get("name"))
        if not name:
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", one.name + one.index).strip("-")
            one.values["name"] = name
        return name.replace("/", "-")

    def _parent(self, one: _Resource) -> str:
        """Return the id of what a resource is a part of."""
        key, kind, _ = _PARTS[one.type]
        given = _text(one.values.get(key))
        if given and key.endswith("_id"):
            return given
        if given:
            group = _text(one.values.get("resource_group_name")).lower()
            for other in self.resources:
                here = _text(other.values.get("resource_group_name")).lower() in ("", group)
                if other.type == kind and here and _text(other.values.get("name")).lower() == given.lower():
                    return _text(other.values.get("id"))
            return f"{self._group(one)}/providers/{_AZURE[kind]}/{given}"
        found = self._ids(one, self._expressions(one).get(key), key)
        return found[0] if found else ""

    # --- the configuration ---------------------------------------------------------------------

    def _module(self, address: str) -> Values:
        """Return the configuration of a module, by the address of an instance of it."""
        plain = re.sub(_INDEX, "", address)
        if plain not in self._modules:
            here = _dict(_dict(self.plan.get("configuration")).get("root_module"))
            for name in re.findall(r"module\.([^.]+)", plain)[:_DEPTH]:
                here = _dict(_dict(_dict(here.get("module_calls")).get(name)).get("module"))
            self._modules[plain] = here
        return self._modules[plain]

    def _expressions(self, one: _Resource) -> Values:
        for found in _list(self._module(one.module).get("resources")):
            if (found.get("type"), found.get("name")) == (one.type, one.name) and found.get("mode") != "data":
                return _dict(found.get("expressions"))
        return {}

    def _fill(self, one: _Resource, values: Values, expressions: Values, depth: int = 0) -> None:
        """Put ids where values are not known and the configuration says what they come from."""
        for key, said in expressions.items():
            blocks, there = _list(said), _list(values.get(key))
            if isinstance(said, list) and depth < _DEPTH:
                for block, value in zip(blocks, there, strict=False):
                    self._fill(one, value, block, depth + 1)
            elif isinstance(said, dict) and "references" not in said and "constant_value" not in said:
                for value in there[:1]:
                    self._fill(one, value, said, depth + 1)
            elif not key.endswith(("_id", "_ids")) or values.get(key) not in (None, [], ""):
                continue
            elif isinstance(said, dict) and _strings(said.get("references")):
                single = key.endswith("_id")
                ids: list[Any] = [*self._ids(one, said, key)]
                ids = ids or [
                    Unknown(f"it comes from {', '.join(_strings(said['references'])[:3])}, and is made later")
                ]
                values[key] = ids[0] if single else ids

    def _ids(self, one: _Resource, said: object, key: str) -> list[str]:
        """Return the ids of the resources that an expression refers to; of a key for one, none unless it is one."""
        wanted, single = _WANTED.get(key), not key.endswith("_ids")
        found = [
            each for each in self._follow(one.module, one.index, said, "", 0) if wanted is None or each.type == wanted
        ]
        ids = list(dict.fromkeys(_text(each.values.get("id")) for each in found if _text(each.values.get("id"))))
        if single and len(ids) > 1:
            # Of several instances, that of the same number or key.
            ids = list(
                dict.fromkeys(_text(each.values["id"]) for each in found if each.index == one.index and one.index)
            )
        return ids if not single or len(ids) == 1 else []

    def _follow(self, module: str, index: str, said: object, part: str, depth: int) -> Iterator[_Resource]:
        """Yield the resources that an expression of a module refers to; ``part``: the instance that is asked for."""
        references = _strings(_dict(said).get("references"))
        self.followed += 1
        if depth > _DEPTH or self.followed > _MOST:
            return
        #: Each reference comes with its beginnings behind it.
        for number, text in enumerate(references):
            if any(longer.startswith((f"{text}.", f"{text}[")) for longer in references[:number]):
                continue
            head, _, rest = text.partition(".")
            if head == "var":
                yield from self._variable(module, index, rest, part, depth)
            elif head == "module":
                yield from self._output(module, index, text, part, depth)
            elif matched := _REFERENCE.fullmatch(text):
                own = matched[3] or part
                found = self.by_name.get((module, matched[2]), []) if not matched[1] else []
                yield from (each for each in found if not own or each.index == own or len(found) == 1)

    def _variable(self, module: str, index: str, name: str, part: str, depth: int) -> Iterator[_Resource]:
        """Yield what a variable of a module comes from: the call of the module, in the module above."""
        above, own = _split(module)
        call = re.match(r"module\.([^.\[]+)(\[.*\])?$", own)
        if call:
            calls = _dict(self._module(above).get("module_calls"))
            plain, _, rest = re.sub(r"[.\[].*", "", name), "", name
            given = _dict(_dict(calls.get(call[1])).get("expressions")).get(plain)
            wanted = re.search(_INDEX, rest)
            yield from self._follow(above, call[2] or index, given, wanted[0] if wanted else part, depth + 1)

    def _output(self, module: str, index: str, text: str, part: str, depth: int) -> Iterator[_Resource]:
        """Yield what an output of a module below comes from; where a reference ends before it, what any comes from."""
        matched = re.match(rf"module\.([^.\[]+)({_INDEX})?(?:\.([A-Za-z0-9_-]+)(.*))?", text, re.DOTALL)
        if not matched:
            return
        below = ".".join(filter(None, (module, f"module.{matched[1]}{matched[2] or ''}")))
        instances = {one.module for one in self.resources}
        if below not in instances and below + index in instances:
            below += index
        elif below not in instances:
            below = next((one for one in sorted(instances) if re.sub(rf"{_INDEX}$", "", one) == below), below)
        outputs = _dict(self._module(below).get("outputs"))
        wanted = re.search(_INDEX, matched[4] or "")
        for name in [matched[3]] if matched[3] else sorted(outputs):
            said = _dict(outputs.get(name)).get("expression")
            yield from self._follow(below, index, said, wanted[0] if wanted else part, depth + 1)


def _split(module: str) -> tuple[str, str]:
    """Return the address of the module above, and the last part of an address."""
    matched = re.fullmatch(rf"(?:(.*)\.)?(module\.[^.\[]+(?:{_INDEX})?)", module, re.DOTALL)
    return (matched[1] or "", matched[2]) if matched else ("", "")


def _tell_places(values: Values, unknown: Values) -> None:
    """Note where a block is, if it is not known, and no reference said it."""
    for key, blocks in unknown.items():
        for block, value in zip(_list(blocks), _list(values.get(key)), strict=False):
            for place in _PLACES:
                if block.get(place) is True and value.get(place) in (None, ""):
                    value[place] = Unknown("it is made later, and the plan does not say what it comes from")


def _all(root: object) -> Iterator[tuple[str, Values]]:
    stack = [("", root)]
    while stack:
        address, here = stack.pop()
        module = _dict(here)
        for one in _list(module.get("resources")):
            if one.get("mode") != "data":
                yield address, one
        stack += [(_text(below.get("address")), below) for below in reversed(_list(module.get("child_modules")))]


def _resource(module: str, one: Values) -> _Resource:
    index = one.get("index")
    number = isinstance(index, int) and not isinstance(index, bool)
    return _Resource(
        address=_text(one.get("address")),
        module=module,
        type=_text(one.get("type")),
        name=_text(one.get("name")),
        index=f"[{index}]" if number else f'["{index}"]' if isinstance(index, str) else "",
        values=_copied(_dict(one.get("values"))),
        data=one,
    )


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: object) -> Values:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Values]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
