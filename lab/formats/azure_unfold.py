"""Children go into their parents, scale sets and pools of NAT rules unfold, before a topology is made."""

from typing import Any

from lab.formats.arm import get
from lab.formats.azure_draft import Draft, whole
from lab.formats.azure_resources import Resource, items, known_text, reference

#: Where a child stands in its parent.
_CHILDREN = {
    "microsoft.network/virtualnetworks/subnets": "subnets",
    "microsoft.network/virtualnetworks/virtualnetworkpeerings": "virtualnetworkpeerings",
    "microsoft.network/networksecuritygroups/securityrules": "securityrules",
    "microsoft.network/loadbalancers/backendaddresspools": "backendaddresspools",
    "microsoft.network/loadbalancers/inboundnatrules": "inboundnatrules",
    "microsoft.network/routetables/routes": "routes",
}
#: More instances of one scale set than the platform allows.
_MAX = 1000


def prepare(draft: Draft) -> None:
    """Change the resources of a draft so that each VM, interface and rule is one."""
    for one in list(draft.resources):
        key = _CHILDREN.get(one.type)
        if key is not None:
            _into_parent(draft, one, key)
    for one in draft.of_type("microsoft.network/virtualnetworks"):
        for subnet in items(one.body, "subnets"):
            subnet["id"] = f"{one.id}/subnets/{known_text(get(subnet, 'name'))}"
    for one in draft.of_type("microsoft.compute/virtualmachinescalesets"):
        _scale_set(draft, one)


def _into_parent(draft: Draft, child: Resource, key: str) -> None:
    parent = draft.by_id.get(child.key.rsplit("/", 2)[0])
    if parent is None:
        effect = "its parent is in none of the files; give its file too"
        draft.leave(child.title, child.type.rpartition("/")[2], effect)
    else:
        body = {**child.body, "name": child.name.rpartition("/")[2]}
        listed = parent.body.get(key)
        same = [one for one in items(parent.body, key) if str(get(one, "name")).lower() == body["name"].lower()]
        if same:
            same[0].update(body)
        else:
            parent.body[key] = [*(listed if isinstance(listed, list) else []), body]
        draft.part_of(parent, child)


def _scale_set(draft: Draft, one: Resource) -> None:
    """Add a VM and its interfaces for each instance."""
    number = whole(get(get(one.body, "sku"), "capacity"), 0, _MAX)
    profile = get(one.body, "virtualmachineprofile")
    configurations = items(get(profile, "networkprofile"), "networkinterfaceconfigurations")
    if number is None or not configurations:
        draft.leave(one.title, "its instances", "their number, or their interfaces, are not known", way_out=True)
        return
    draft.leave(one.title, "a scale set", f"it is {number} VMs in the topology; it does not scale", warning=False)
    for index in range(number):
        nics = []
        for place, configuration in enumerate(configurations):
            id_ = f"{one.id}/virtualMachines/{index}/networkInterfaces/{place}"
            nics.append({"id": id_, "primary": get(configuration, "primary") is True})
            addresses = [_without_pools(draft, part, index) for part in items(configuration, "ipconfigurations")]
            body = {**configuration, "ipconfigurations": addresses}
            name = f"{one.name}_{index}-{place}"
            _add(draft, Resource(id_, "microsoft.network/networkinterfaces", name, one.place, body))
        size = {"vmsize": get(get(one.body, "sku"), "name")}
        vm = {"networkprofile": {"networkinterfaces": nics}, "hardwareprofile": size}
        id_ = f"{one.id}/virtualMachines/{index}"
        made = Resource(id_, "microsoft.compute/virtualmachines", f"{one.name}_{index}", one.place, vm)
        _add(draft, made)
        draft.part_of(made, one)


def _add(draft: Draft, one: Resource) -> None:
    draft.resources.append(one)
    draft.by_id[one.key] = one


def _without_pools(draft: Draft, configuration: dict[str, Any], index: int) -> dict[str, Any]:
    """Return an IP configuration whose pools of NAT rules have become one rule each."""
    made = dict(configuration)
    rules = list(items(made, "loadbalancerinboundnatrules"))
    for pool in items(made, "loadbalancerinboundnatpools"):
        key = reference(pool)
        balancer = draft.by_id.get(key.rsplit("/", 2)[0])
        for one in items(balancer.body, "inboundnatpools") if balancer is not None else ():
            first, last = (whole(get(one, f"frontendportrange{end}"), 1) for end in ("start", "end"))
            name = f"{known_text(get(one, 'name'))}.{index}"
            if balancer is None or known_text(get(one, "name")).lower() != key.rpartition("/")[2]:
                continue
            if first is None or last is None or first + index > last:
                draft.leave(balancer.title, f"inbound NAT pool, instance {index}", "it has no port left for it")
                continue
            rule = {**one, "name": name, "frontendport": first + index}
            for gone in ("frontendportrangestart", "frontendportrangeend", "id"):
                rule.pop(gone, None)
            balancer.body["inboundnatrules"] = [*items(balancer.body, "inboundnatrules"), rule]
            rules.append({"id": f"{balancer.id}/inboundNatRules/{name}"})
    made.pop("loadbalancerinboundnatpools", None)
    made["loadbalancerinboundnatrules"] = rules
    return made
