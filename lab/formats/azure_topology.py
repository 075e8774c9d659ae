"""Resources of Azure become the text of a topology, and a line for each thing that it cannot say."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from lab.azure.model import natural
from lab.formats import azure_unfold
from lab.formats.arm import Unknown
from lab.formats.azure_balancers import balancers
from lab.formats.azure_draft import Draft, Path
from lab.formats.azure_gateways import gateways
from lab.formats.azure_left_out import LeftOut, of_type
from lab.formats.azure_machines import groups, machines, networks
from lab.formats.azure_nat import nat_gateways
from lab.formats.azure_peerings import peerings
from lab.formats.azure_resources import Resource, is_read, shown

_SECTIONS = (
    *("nat_gateways", "virtual_networks", "virtual_machines", "load_balancers", "vpn_gateways", "local_networks"),
    *("connections", "network_security_groups"),
)
#: Types that a topology has words for.
_PLAYED = frozenset(
    (
        *("microsoft.network/virtualnetworks", "microsoft.network/networkinterfaces", "microsoft.network/connections"),
        *("microsoft.network/networksecuritygroups", "microsoft.network/loadbalancers"),
        "microsoft.network/natgateways",
        *("microsoft.network/virtualnetworkgateways", "microsoft.network/localnetworkgateways"),
        "microsoft.network/virtualnetworks/virtualnetworkpeerings",
        *("microsoft.network/virtualnetworks/subnets", "microsoft.network/networksecuritygroups/securityrules"),
        *("microsoft.network/loadbalancers/backendaddresspools", "microsoft.network/loadbalancers/inboundnatrules"),
        *("microsoft.compute/virtualmachines", "microsoft.compute/virtualmachinescalesets"),
    )
)
_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*|[0-9]+(?:\.[0-9]+){3}(?:/[0-9]+)?")
_WORDS = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])


class Imported(msgspec.Struct, frozen=True):
    """The data of a topology, what its parts came from, and what is not in it."""

    data: dict[str, Any]
    sources: dict[Path, tuple[str, ...]]
    left: tuple[LeftOut, ...]


def imported(resources: Sequence[Resource], name: str, profile: str, *, probes: bool = False) -> Imported:
    """Return the topology of some resources."""
    draft = Draft([msgspec.structs.replace(one, body=_copied(one.body)) for one in resources])
    azure_unfold.prepare(draft)
    _unknown(draft)
    groups(draft)
    nat_gateways(draft)
    networks(draft)
    peerings(draft)
    machines(draft, probes=probes)
    balancers(draft)
    gateways(draft)
    _services(draft)
    _rest(draft)
    parts = {key: draft.data[key] for key in _SECTIONS if key in draft.data}
    return Imported({"name": name, "profile": profile, **parts}, draft.sources(), ordered(draft.left))


def _rest(draft: Draft) -> None:
    """Tell each resource that is not in the topology and that no warning tells yet."""
    represented = draft.represented()
    told = {line.place for line in draft.left if line.warning}
    for one in draft.resources:
        if one.key in represented or (one.type in _PLAYED and one.title in told):
            continue
        if one.type == "microsoft.network/publicipaddresses":
            effect = "no VM, load balancer or gateway of the topology has it"
            draft.leave(one.title, "a public IP", effect, warning=False)
        elif one.type in _PLAYED:
            draft.leave(one.title, "left out", "what it belongs to is not in the topology", way_out=True)
        else:
            draft.left.append(of_type(one))


def ordered(left: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """Return lines in the order that they are told in: warnings first, then by place."""
    return tuple(sorted(left, key=lambda line: (not line.warning, natural(line.place), line.found)))


#: Values of a guest, and secrets: no packet changes for them.
_GUEST = frozenset(
    (
        *(
            "osprofile",
            "storageprofile",
            "diagnosticsprofile",
            "extensionprofile",
            "hardwareprofile",
            "securityprofile",
        ),
        *("userdata", "sharedkey", "authorizationkey", "dnssettings", "location", "tags", "zones", "kind", "plan"),
    )
)


def _unknown(draft: Draft) -> None:
    """Tell each value of a resource that is read and that only Azure knows."""
    for one in draft.resources:
        stack: list[tuple[str, Any]] = [("", one.body)]
        while stack and is_read(one.type):
            path, value = stack.pop()
            if isinstance(value, dict):
                # The profile of a scale set has what a VM has.
                machine = path in ("", ".virtualmachineprofile")
                stack += [(f"{path}.{key}", part) for key, part in value.items() if not machine or key not in _GUEST]
            elif isinstance(value, list):
                stack += [(f"{path}[{index}]", part) for index, part in enumerate(value)]
            elif isinstance(value, Unknown) or (isinstance(value, str) and value.startswith("[")):
                why = value.why if isinstance(value, Unknown) else "an expression that is not evaluated"
                draft.leave(one.title, shown(path.lstrip(".")), f"its value is not known: {shown(why)}", way_out=True)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _services(draft: Draft) -> None:
    """Give VMs a service for each port that a rule or a probe leads to: what a guest answers is in no template."""
    wanted: dict[str, set[tuple[str, int]]] = {}
    for balancer in draft.data.get("load_balancers", {}).values():
        pools, probes = (balancer.get(key, {}) for key in ("backend_address_pools", "probes"))
        for rule in balancer.get("load_balancing_rules", {}).values():
            ports = {(rule["protocol"], rule["backend_port"])} if rule["backend_port"] else set()  # 0: all ports
            probe = probes.get(rule.get("probe"))
            if probe:
                ports.add((probe["protocol"], probe["port"]))
            for vm in pools[rule["backend_pool"]]:
                wanted.setdefault(vm, set()).update(ports)
        for rule in balancer.get("inbound_nat_rules", {}).values():
            wanted.setdefault(rule["virtual_machine"], set()).add((rule["protocol"], rule["backend_port"]))
    for vm, ports in wanted.items():
        by_port = {(protocol == "Udp", port): "" for protocol, port in ports}
        asked = {port for protocol, port in ports if protocol == "Http"}
        texts = []
        for udp, port in sorted(by_port, key=lambda one: (one[1], one[0])):
            kind = "udp" if udp else "http" if port in asked or port == 80 else "ssh" if port == 22 else "tcp"
            texts.append(f"{kind}:{port}")
        draft.data["virtual_machines"][vm]["services"] = texts


# --- the text ---


def written(made: Imported, head: Sequence[str] = ()) -> str:
    """Return the text of a topology as a person writes it, with the id that each part came from."""
    lines = [f"# {line}".rstrip() for line in head]
    for key, value in made.data.items():
        if isinstance(value, str):
            lines.append(f"{key}: {_scalar(value)}")
            continue
        lines += ["", f"{key}:"]
        parts = value.items() if isinstance(value, dict) else ((str(i), part) for i, part in enumerate(value))
        for name, part in parts:
            lines += [f"  # {source}" for source in made.sources.get((key, name), ())]
            if isinstance(value, list):
                lines.append(f"  - {_flow(part)}")
            else:
                lines += _block(name, part, 1)
    return "\n".join(lines) + "\n"


def _block(name: str, value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    flow = _flow(value)
    simple = not (isinstance(value, dict) and any(isinstance(part, dict) for part in value.values()))
    simple = simple and not (isinstance(value, list) and any(isinstance(part, dict) for part in value))
    if not value or (simple and len(indent) + len(name) + len(flow) <= _WIDTH):
        yield f"{indent}{_scalar(name)}:{f' {flow}' if value is not None else ''}"
    elif isinstance(value, dict):
        yield f"{indent}{_scalar(name)}:"
        for key, part in value.items():
            yield from _block(key, part, depth + 1)
    elif isinstance(value, list):
        yield f"{indent}{_scalar(name)}:"
        for part in value:
            yield f"{indent}  - {_flow(part)}"
    else:
        yield f"{indent}{_scalar(name)}: {flow}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    text = str(value)
    service = re.fullmatch(r"[a-z]+:[0-9]+|[0-9]+-[0-9]+", text)
    if service or (_PLAIN.fullmatch(text) and text.lower() not in _WORDS):
        return text
    return json.dumps(text)
