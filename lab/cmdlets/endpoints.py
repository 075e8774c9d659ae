"""Endpoints of VMs, load-balanced sets, and access lists."""

from collections.abc import Iterable
from typing import Any

import msgspec

from lab.azure.model import AclAction, AclRule, CloudService, Distribution, Endpoint, EndpointProbe
from lab.cmdlets.pending_vm import VM, Draft, draft_of, must_exist, passed_on, service_named
from lab.cmdlets.session import MODEL, CmdletSession, meant
from lab.errors import UsageError
from lab.operations.endpoint import AddEndpoint, Probe, RemoveEndpoint, SetEndpoint, SetLoadBalancedSet
from lab.powershell.binding import Cmdlet, Given, Parameter
from lab.powershell.values import Thing, Value

_ACL = f"{MODEL}NetworkAclObject"
#: How distributions are called (load-balancer-distribution-mode.md, 2016-10-24).
_DISTRIBUTIONS: dict[str, Distribution] = {
    "none": "Default", "sourceIP": "SourceIP", "sourceIPProtocol": "SourceIPProtocol",
}  # fmt: skip
_ACTIONS: dict[str, AclAction] = {"permit": "permit", "deny": "deny"}


def shown(service: CloudService, endpoint: Endpoint) -> dict[str, Any]:
    """Return what Get-AzureEndpoint shows (load-balancer-distribution-mode.md, 2016-10-24)."""
    vip = service.virtual_ip(endpoint.virtual_ip)
    probe = endpoint.probe
    distributions = {value: name for name, value in _DISTRIBUTIONS.items()}
    return {
        "LBSetName": endpoint.load_balanced_set or "",
        "LocalPort": endpoint.local_port,
        "Name": endpoint.name,
        "Port": endpoint.public_port,
        "Protocol": endpoint.protocol,
        "Vip": str(vip.address) if vip and vip.address else "",
        "ProbePath": probe.path if probe and probe.protocol == "Http" else "",
        "ProbePort": probe.port if probe else "",
        "ProbeProtocol": probe.protocol.lower() if probe else "",
        "ProbeIntervalInSeconds": probe.interval_s if probe else "",
        "ProbeTimeoutInSeconds": probe.timeout_s if probe else "",
        "EnableDirectServerReturn": endpoint.direct_server_return,
        "Acl": [f"{rule.order} {rule.action} {rule.remote_subnet}" for rule in endpoint.acl],
        "InternalLoadBalancerName": "",
        "IdleTimeoutInMinutes": endpoint.idle_timeout_min,
        "LoadBalancerDistribution": distributions[endpoint.load_distribution],
    }


def _get_endpoint(desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    must_exist(draft, "Get-AzureEndpoint")
    service = draft.seen(desk.network).service_of(draft.name)
    wanted = given.maybe("Name")
    if service is None:
        return
    for endpoint in service.endpoints:
        if endpoint.virtual_machine == draft.name and wanted in (None, endpoint.name):
            yield Thing(kind=f"{MODEL}InputEndpointContext", properties=shown(service, endpoint))


def _service(desk: CmdletSession, draft: Draft) -> CloudService | None:
    """Return the service of a draft's VM, if it is there: its names are found without regard to case."""
    return draft.seen(desk.network).service_of(draft.name)


def _name(draft: Draft, desk: CmdletSession, given: Given) -> str:
    """Return the name of one of the VM's endpoints."""
    service = _service(desk, draft)
    known = [e.name for e in service.endpoints if e.virtual_machine == draft.name] if service else []
    return meant(given.text("Name"), known)


def _virtual_ip(service: CloudService | None, given: Given) -> str | None:
    name = given.maybe("VirtualIPName")
    return meant(name, [v.name for v in service.virtual_ips]) if name and service else name


def _shared(given: Given) -> dict[str, Any]:
    """Return what is given of an endpoint or set by parameters that several cmdlets have."""
    distribution = given.maybe("LoadBalancerDistribution")
    found = {
        "protocol": given.maybe("Protocol"),
        "local_port": given.whole("LocalPort"),
        "public_port": given.whole("PublicPort"),
        "idle_timeout_min": given.whole("IdleTimeoutInMinutes"),
        "load_distribution": _DISTRIBUTIONS[distribution] if distribution else None,
        "direct_server_return": given.values.get("DirectServerReturn"),
        "acl": _rules(given),
    }
    return {name: value for name, value in found.items() if value is not None}


def _probe(given: Given, protocol: str | None, local_port: int) -> Probe | None:
    """Return how a set's members are probed; None if nothing is said of it."""
    if given.flag("DefaultProbe"):
        return "default"
    if given.flag("NoProbe"):
        return "none"
    if protocol is None:
        return None
    plain = EndpointProbe(protocol="Http" if protocol.lower() == "http" else "Tcp", port=local_port)
    described = {
        "port": given.whole("ProbePort"),
        "path": given.maybe("ProbePath"),
        "interval_s": given.whole("ProbeIntervalInSeconds"),
        "timeout_s": given.whole("ProbeTimeoutInSeconds"),
    }
    return msgspec.structs.replace(plain, **{name: value for name, value in described.items() if value is not None})


def _add_endpoint(desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    service = _service(desk, draft)
    wanted = given.maybe("LBSetName")
    together = meant(wanted, service.load_balanced_sets()) if wanted and service else wanted
    draft.ask(
        desk,
        AddEndpoint(
            virtual_machine=draft.name,
            name=given.text("Name"),
            virtual_ip=_virtual_ip(service, given),
            load_balanced_set=together,
            probe=_probe(given, given.maybe("ProbeProtocol"), given.values["LocalPort"]),
            **_shared(given),
        ),
    )
    return passed_on(given)


def _set_endpoint(desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    must_exist(draft, "Set-AzureEndpoint")
    virtual_ip = _virtual_ip(_service(desk, draft), given)
    name = _name(draft, desk, given)
    draft.ask(desk, SetEndpoint(virtual_machine=draft.name, name=name, virtual_ip=virtual_ip, **_shared(given)))
    return passed_on(given)


def _remove_endpoint(desk: CmdletSession, given: Given) -> Iterable[Value]:
    draft = draft_of(given)
    must_exist(draft, "Remove-AzureEndpoint")
    draft.ask(desk, RemoveEndpoint(draft.name, _name(draft, desk, given)))
    return passed_on(given)


def _set_balanced(desk: CmdletSession, given: Given) -> Iterable[Value]:
    service = service_named(desk, given)
    sets = service.load_balanced_sets()
    name = meant(given.text("LBSetName"), sets)
    protocol = "http" if given.flag("ProbeProtocolHTTP") else ("tcp" if given.flag("ProbeProtocolTCP") else None)
    local_port = given.whole("LocalPort") or (sets[name][0].local_port if name in sets else 0)
    desk.perform(
        SetLoadBalancedSet(
            service=service.name,
            load_balanced_set=name,
            virtual_ip=_virtual_ip(service, given),
            probe=_probe(given, protocol, local_port),
            **_shared(given),
        )
    )
    return [desk.succeeded("Set-AzureLoadBalancedEndpoint")]


# --- access lists (virtual-networks-acl-powershell.md, 2016-03-15) ------------------------------


def _listed(number: int, rule: AclRule) -> Thing:
    return Thing(
        kind=f"{MODEL}NetworkAclRule",
        properties={
            "RuleId": number,
            "Order": rule.order,
            "Action": rule.action.capitalize(),
            "RemoteSubnet": str(rule.remote_subnet),
            "Description": rule.description,
        },
        inside=rule,
    )


def _new_acl(_desk: CmdletSession, _given: Given) -> Iterable[Value]:
    return [Thing(kind=_ACL, properties={}, parts=[])]


def _set_acl(_desk: CmdletSession, given: Given) -> Iterable[Value]:
    parts: list[Thing] = given.values["ACL"].parts
    number = given.whole("RuleId")
    place = next((i for i, part in enumerate(parts) if part.properties["RuleId"] == number), None)
    if number is not None and place is None:
        known = ", ".join(str(part.properties["RuleId"]) for part in parts) or "none"
        raise UsageError(f"no rule {number}; RuleId must be one of the list's; known: {known}")
    if given.flag("RemoveRule"):
        assert place is not None
        del parts[place]
        return []
    action = given.maybe("Action")
    fields: dict[str, Any] = {
        "order": given.whole("Order"),
        "action": _ACTIONS[action] if action else None,
        "remote_subnet": given.values.get("RemoteSubnet"),
        "description": given.maybe("Description"),
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    if place is None:
        new = AclRule(**fields)
        parts.append(_listed(max((part.properties["RuleId"] for part in parts), default=-1) + 1, new))
    else:
        parts[place] = _listed(
            parts[place].properties["RuleId"], msgspec.structs.replace(parts[place].inside, **fields)
        )
    return []


def _rules(given: Given) -> tuple[AclRule, ...] | None:
    """Return the rules of an access list that is given, by their order."""
    if not given.has("ACL"):
        return None
    return tuple(sorted((part.inside for part in given.values["ACL"].parts), key=lambda rule: rule.order))


# --- the table ----------------------------------------------------------------------------------

_PROBED = ("probed",)
_SETS = ("default", "unprobed", *_PROBED)


def _port(name: str, **more: Any) -> Parameter:
    return Parameter(name=name, kind="whole", least=1, most=65535, **more)


def _seconds(name: str, **more: Any) -> Parameter:
    return Parameter(name=name, kind="whole", least=1, most=2**31 - 1, **more)


def _acl(**more: Any) -> Parameter:
    return Parameter(name="ACL", kind="thing", accepts=(_ACL,), **more)


_NAME = Parameter(name="Name", kind="title", required=True, position=0)
_PROTOCOL = Parameter(name="Protocol", accepts=("tcp", "udp"), position=1)
_VIRTUAL_IP = Parameter(name="VirtualIPName")
_OTHERS = (
    Parameter(name="IdleTimeoutInMinutes", kind="whole", least=4, most=30),
    Parameter(name="LoadBalancerDistribution", accepts=tuple(_DISTRIBUTIONS)),
    Parameter(name="DirectServerReturn", kind="truth"),
    _acl(),
)
_RULE = ("add", "set")

CMDLETS: tuple[Cmdlet[CmdletSession], ...] = (
    Cmdlet(
        name="Get-AzureEndpoint",
        parameters=(VM, Parameter(name="Name", position=0)),
        run=_get_endpoint,
    ),
    Cmdlet(
        name="Add-AzureEndpoint",
        parameters=(
            VM,
            _NAME,
            Parameter(name="Protocol", accepts=("tcp", "udp"), required=True, position=1),
            _port("LocalPort", required=True, position=2),
            _port("PublicPort"),
            _VIRTUAL_IP,
            *_OTHERS,
            # Without any of these an endpoint is alone; the ways to probe a set exclude each other.
            Parameter(
                name="LBSetName",
                kind="title",
                aliases=("LoadBalancedEndpointSetName",),
                sets=_SETS,
                required=True,
            ),
            Parameter(name="DefaultProbe", kind="switch", sets=("default",), required=True),
            Parameter(name="NoProbe", kind="switch", sets=("unprobed",), required=True),
            _port("ProbePort", sets=_PROBED, required=True),
            Parameter(name="ProbeProtocol", accepts=("tcp", "http"), sets=_PROBED, required=True),
            Parameter(name="ProbePath", sets=_PROBED),
            _seconds("ProbeIntervalInSeconds", sets=_PROBED),
            _seconds("ProbeTimeoutInSeconds", sets=_PROBED),
        ),
        others=("alone",),
        run=_add_endpoint,
    ),
    Cmdlet(
        name="Set-AzureEndpoint",
        parameters=(
            VM,
            _NAME,
            _PROTOCOL,
            _port("LocalPort", position=2),
            _port("PublicPort"),
            _VIRTUAL_IP,
            *_OTHERS,
        ),
        run=_set_endpoint,
    ),
    Cmdlet(name="Remove-AzureEndpoint", parameters=(VM, _NAME), run=_remove_endpoint),
    Cmdlet(
        name="Set-AzureLoadBalancedEndpoint",
        parameters=(
            Parameter(name="ServiceName", required=True),
            Parameter(name="LBSetName", aliases=("LoadBalancedEndpointSetName",), required=True),
            Parameter(name="Protocol", accepts=("tcp", "udp")),
            _port("LocalPort"),
            _port("PublicPort"),
            _VIRTUAL_IP,
            *_OTHERS,
            Parameter(name="ProbeProtocolTCP", kind="switch", sets=("tcp",), required=True),
            Parameter(name="ProbeProtocolHTTP", kind="switch", sets=("http",), required=True),
            _port("ProbePort", sets=("tcp", "http")),
            Parameter(name="ProbePath", sets=("http",)),
            _seconds("ProbeIntervalInSeconds", sets=("tcp", "http")),
            _seconds("ProbeTimeoutInSeconds", sets=("tcp", "http")),
        ),
        others=("as it was",),
        run=_set_balanced,
    ),
    Cmdlet(name="New-AzureAclConfig", parameters=(), run=_new_acl),
    Cmdlet(
        name="Set-AzureAclConfig",
        parameters=(
            Parameter(name="AddRule", kind="switch", sets=("add",), required=True),
            Parameter(name="SetRule", kind="switch", sets=("set",), required=True),
            Parameter(name="RemoveRule", kind="switch", sets=("remove",), required=True),
            Parameter(name="RuleId", kind="whole", least=0, most=10**6, sets=("set", "remove"), required=True),
            Parameter(name="Order", kind="whole", least=0, most=2**31 - 1, sets=_RULE, required_in=("add",)),
            Parameter(name="Action", accepts=tuple(_ACTIONS), sets=_RULE, required_in=("add",)),
            Parameter(name="RemoteSubnet", kind="prefix", sets=_RULE, required_in=("add",)),
            Parameter(name="Description", sets=_RULE),
            _acl(required=True),
        ),
        run=_set_acl,
    ),
)
