"""Instance-level public IPs as they are managed: made, shown, removed and added; their idle timeouts."""

import re
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import msgspec

from lab.azure.model import CloudService, InstancePublicIp, InternetHost, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import command, failed_command, inside, operated, printed, replay, things
from lab.verify.claims.kit.judges import arrived, judge_by, send, wrong_source
from lab.verify.claims.kit.oracle import WayOut, far_client, far_host, way_out
from lab.verify.claims.kit.tunnels import fits
from lab.verify.claims.own_addresses import (
    PUBLIC_IP_2016,
    Instance,
    answered,
    changed_back,
    file_of,
    is_own,
    lookups,
    machines,
    plain,
    show,
    shown,
    with_own,
    without_own,
)
from lab.verify.experiment import (
    Arrivals,
    Checked,
    Goal,
    HoldFlows,
    Lookup,
    Names,
    Occupied,
    Open,
    Pause,
    Returned,
    Run,
    Send,
    Step,
    Talk,
    Watch,
)

_LATER = "virtual-networks-instance-level-public-ip.md (2018-08-03)"
_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
#: Where VMs without a virtual network are numbered (the document's listing: 100.74.118.91).
_STANDALONE = IPv4Network("100.64.0.0/10")
_FLOWS = 8
_SERVICE, _VM = "FTPService", "FTPInstance"
#: The document's listings, as they stand there.
CREATE = """\
New-AzureService -ServiceName FTPService -Location "Central US"

$image = Get-AzureVMImage|?{$_.ImageName -like "*RightImage-Windows-2012R2-x64*"} `
New-AzureVMConfig -Name FTPInstance -InstanceSize Small -ImageName $image.ImageName `
| Add-AzureProvisioningConfig -Windows -AdminUsername adminuser -Password MyP@ssw0rd!! `
| Set-AzurePublicIP -PublicIPName ftpip | New-AzureVM -ServiceName FTPService -Location "Central US"
"""
SHOW = "Get-AzureVM -Name FTPInstance -ServiceName FTPService"
#: A service has a VIP once an endpoint uses it.
_ENDPOINT = (
    "Get-AzureVM -ServiceName FTPService -Name FTPInstance | Add-AzureEndpoint -Name ftp -Protocol tcp -LocalPort 21 "
    "-PublicPort 21 | Update-AzureVM"
)
_ADDRESS = r"\d+\.\d+\.\d+\.\d+"
_MODEL = "Microsoft.WindowsAzure.Commands.ServiceManagement.Model."
#: What the document prints of a VM, field by field, but for what is each machine's own.
FIELDS = {
    "DeploymentName": "FTPService",
    "Name": "FTPInstance",
    "Label": "",
    "VM": re.escape(f"{_MODEL}PersistentVM"),
    "InstanceStatus": "ReadyRole",
    "IpAddress": _ADDRESS,
    "InstanceStateDetails": "",
    "PowerState": "Started",
    "InstanceErrorCode": "",
    "InstanceFaultDomain": "0",
    "InstanceName": "FTPInstance",
    "InstanceUpgradeDomain": "0",
    "InstanceSize": "Small",
    "HostName": "FTPInstance",
    "AvailabilitySetName": "",
    "DNSName": re.escape("http://ftpservice.cloudapp.net/"),
    "Status": "ReadyRole",
    "GuestAgentStatus": re.escape(f"{_MODEL}GuestAgentStatus"),
    "ResourceExtensionStatusList": re.escape("{Microsoft.Compute.BGInfo}"),
    "PublicIPAddress": _ADDRESS,
    "PublicIPName": "ftpip",
    "NetworkInterfaces": re.escape("{}"),
    "ServiceName": "FTPService",
    "OperationDescription": "Get-AzureVM",
    "OperationId": "[0-9a-f]{32}",
    "OperationStatus": "OK",
}


# --- S4-9 to S4-12: managed -------------------------------------------------------------------


# --- S4-9 and S4-10: the document's listings ---------------------------------------------------


def _made_here(network: Network) -> Network | None:
    """Return the network without the service and the VM that the listings make; None if it has neither."""
    service = network.cloud_service(_SERVICE)
    if service is None or _VM not in service.virtual_machines:
        return None
    return msgspec.structs.replace(
        network,
        virtual_machines=tuple(v for v in network.virtual_machines if v.name not in service.virtual_machines),
        cloud_services=tuple(s for s in network.cloud_services if s.name != _SERVICE),
        expectations=(),
    )


def _web_server(network: Network) -> InternetHost | None:
    """Return an outside host whose web server says from which address it is asked."""
    return next((h for h in network.internet if any((s.kind, s.port) == ("http", 80) for s in h.services)), None)


def _seen(vm: str, far: InternetHost) -> Run:
    """Let a VM ask an outside host's web server."""
    return inside(vm, "curl", "-sS", "-m", "5", f"http://{far.address}/")


@claim(
    "S4-9",
    f"{PUBLIC_IP_2016}, during VM creation",
    "A VM can be made with one, by a name.",
    facts=(
        "the listing gives it an address",
        "the address has the name that was asked for",
        "the service's location",
        "its size",
        "its name leads to the address",
    ),
)
def vm_is_made_with_one(network: Network) -> Iterator[Trial]:
    before, far, client = _made_here(network), _web_server(network), far_client(network)
    if before is None or far is None or client is None:
        return

    stage = operated(
        replay(CREATE),
        replay(SHOW),
        _seen(_VM, far),
        Lookup(client=client.name, name=f"{_VM}.{_SERVICE}.cloudapp.net"),
        command("service", "show", _SERVICE, "-o", "json"),
        network=before,
    )
    expected = "made by the listing, a small VM in Central US, seen from ftpip, to which its name leads"
    yield Trial(_VM, expected, (stage,), judge_by(_made_with_one))


def _made_with_one(created: Checked, got: Checked, seen: Checked, names: Names, service: Checked) -> Finding:
    fields, source = _last(got), (printed(seen) or {}).get("client_address")
    where = (printed(service) or {}).get("location")
    observed = (
        f"{fields.get('PublicIPName')} {fields.get('PublicIPAddress')}, {fields.get('InstanceSize')}, in {where}; "
        f"seen from {source}; its name is {', '.join(names.addresses) or 'not known'}"
    )
    if wrong := failed_command(created, got):
        return Finding(observed, wrong)
    wanted = {"ServiceName": _SERVICE, "InstanceName": _VM, "InstanceSize": "Small", "PublicIPName": "ftpip"}
    wrong = next((f"{k} is {fields.get(k)}" for k, value in wanted.items() if fields.get(k) != value), "")
    done = [row.split()[0] for row in created.said.splitlines() if row.endswith("Succeeded")]
    if done != ["New-AzureService", "New-AzureVM"]:
        wrong = wrong or f"the listing printed {created.said[:200]}"
    wrong = wrong or (f"the service is in {where}" if where != "Central US" else "")
    if not wrong and (not source or source != fields.get("PublicIPAddress")):
        wrong = "it is not seen from the address that is shown"
    return Finding(observed, wrong or ("" if names.addresses == (source,) else "its name does not lead there"))


@claim(
    "S4-10",
    f"{PUBLIC_IP_2016}, retrieve",
    "What is shown of a VM has its address and name, beside the private one and the service's name.",
    facts=(
        "all 26 fields",
        "in the document's order",
        "the instance's state",
        "the VM's private address",
        "its public address",
        "the name of its public address",
        "the service's name",
        "how the operation ended",
        "a private address of 100.64.0.0/10",
    ),
)
def vm_shows_address_and_name(network: Network) -> Iterator[Trial]:
    before, far, client = _made_here(network), _web_server(network), far_client(network)
    if before is None or far is None or client is None:
        return

    stage = operated(
        replay(CREATE, _ENDPOINT),
        replay(SHOW),
        _seen(_VM, far),
        inside(_VM, "ip", "-o", "-4", "address"),
        Lookup(client=client.name, name=f"{_SERVICE.lower()}.cloudapp.net"),
        network=before,
    )
    expected = f"the document's {len(FIELDS)} fields in their order, and the addresses that the VM has and is seen from"
    yield Trial(_VM, expected, (stage,), judge_by(_address_and_name_shown))


def _address_and_name_shown(created: Checked, got: Checked, seen: Checked, inner: Checked, named: Names) -> Finding:
    fields, source = _last(got), (printed(seen) or {}).get("client_address")
    observed = f"{len(fields)} fields; IpAddress {fields.get('IpAddress')}, PublicIPAddress {source}"
    wrong = failed_command(created, got) or _unlike_listing(fields)
    if not wrong and f" {fields['IpAddress']}/" not in inner.said:
        wrong = f"the VM has other addresses: {inner.said[-160:]}"
    if not wrong and source != fields["PublicIPAddress"]:
        wrong = "the address shown is not the one that is seen"
    if not wrong and (len(named.addresses) != 1 or source in named.addresses):
        wrong = f"DNSName leads to {', '.join(named.addresses) or 'nothing'}, not to a VIP"
    return Finding(observed, wrong)


def _unlike_listing(fields: dict[str, str]) -> str:
    """Return how fields differ from those that the document prints, "" if they do not."""
    if list(fields) != list(FIELDS):
        return f"the fields are {', '.join(fields)}"
    wrong = next((f"{k} is {fields[k]!r}" for k, like in FIELDS.items() if not re.fullmatch(like, fields[k])), "")
    if not wrong and IPv4Address(fields["IpAddress"]) not in _STANDALONE:
        return f"{fields['IpAddress']} is not in {_STANDALONE}"
    return wrong


def _last(done: Checked) -> dict[str, str]:
    """Return the last object that a listing printed."""
    return next(reversed(things(done)), {})


# --- S4-11 and S4-12: removed and added --------------------------------------------------------


def _update(vm: VirtualMachine, service: CloudService, change: str) -> Run:
    """Return the document's line that changes a VM's address, and the one that shows it."""
    get = f"Get-AzureVM -ServiceName {service.name} -Name {vm.name}"
    return replay(f"{get} | {change} | Update-AzureVM", get)


@claim(
    "S4-11",
    f"{PUBLIC_IP_2016}, remove",
    "It can be removed: it is blank then, leads nowhere, and the VM leaves as one without it.",
    facts=(
        "the listing removes it",
        "it is blank then",
        "it leads nowhere, and the VM leaves as one without",
    ),
)
def address_can_be_removed(network: Network) -> Iterator[Trial]:
    far, client = far_host(network), far_client(network)
    for instance in machines(network)[:1]:
        if far is None or client is None:
            continue
        without = instance.without(network)
        way = way_out(without, without_own(instance.vm))
        # Its address leads nowhere, so a control packet would not come as far as the edge: the flows themselves must
        # be seen to leave the client.
        gone = Send(
            sender=client.name,
            private=str(client.address),
            destination=instance.own,
            protocol="udp",
            count=_FLOWS,
            watches=(Watch("host wire", client.name), Watch("node", instance.vm.name)),
            untranslated=True,
            controlled=False,
            lost=_FLOWS,
        )

        stages = changed_back(
            network,
            send(network, instance.vm, far, "udp", _FLOWS),
            _update(instance.vm, instance.service, "Remove-AzurePublicIP"),
            gone,
            send(without, instance.vm, far, "udp", _FLOWS),
        )
        expected = f"{instance.own} is blank and silent; new flows come from {way}"
        yield Trial(
            instance.vm.name,
            expected,
            stages,
            judge_by(partial(_blank_and_unreachable, instance=instance, without=without, way=way, network=network)),
        )


def _blank_and_unreachable(
    before: Arrivals,
    removed: Checked,
    inbound: Arrivals,
    out: Arrivals,
    *,
    instance: Instance,
    without: Network,
    way: WayOut,
    network: Network,
) -> Finding:
    fields = _last(removed)
    blank = not fields.get("PublicIPAddress") and not fields.get("PublicIPName")
    observed = (
        f"before: {arrived(before)}; removed: exit {removed.status}, {'blank' if blank else fields}; "
        f"to {instance.own}: {arrived(inbound)}; out: {arrived(out)}"
    )
    if wrong := wrong_source(network, way_out(network, instance.vm), before):
        return Finding(observed, f"before: {wrong}")
    if removed.status or not fields or not blank:
        return Finding(observed, removed.said if removed.status else "it is still shown")
    if len(inbound.seen[0]) < inbound.sent:
        return Finding(observed, doubt="the client's flows were not seen to leave it")
    if inbound.seen[-1]:
        return Finding(observed, f"{instance.own} still leads to {instance.vm.name}")
    return Finding(observed, wrong_source(without, way, out))


@claim(
    "S4-12",
    f"{PUBLIC_IP_2016}, add to an existing VM",
    "It can be added to a VM that is there.",
    facts=(
        "the listing gives a VM that is there an address",
        "by its name",
        "it leaves by the address",
        "everybody reaches it there",
    ),
)
def address_can_be_added(network: Network) -> Iterator[Trial]:
    if not machines(network):
        return
    for vm in [vm for vm in plain(network) if network.service_of(vm.name)][:1]:
        flow, service = answered(network, vm), network.service_of(vm.name)
        if flow is None or service is None:
            continue

        given = _update(vm, service, "Set-AzurePublicIP -PublicIPName ftpip2")
        stages = changed_back(network, given, flow)
        expected = "ftpip2 is shown; the VM is seen from its address, and reached there by anybody"
        yield Trial(vm.name, expected, stages, judge_by(_added))


def _added(given: Checked, back: Returned) -> Finding:
    fields = _last(given)
    name, address = fields.get("PublicIPName"), fields.get("PublicIPAddress")
    observed = f"exit {given.status}; {name} {address}; seen from {back.source or 'nowhere'}"
    if given.status or name != "ftpip2":
        return Finding(observed, given.said if given.status else "it is not shown with ftpip2")
    return Finding(observed, is_own(back, fields))


@claim(
    "N-IL-1",
    f"{_LATER}; {_IDLE}",
    "The address is dynamic; its idle timeout is 4 to 30 minutes; a label makes the name LABEL.NUMBER.SERVICE.",
    facts=(
        "a VM that was deallocated gets another address",
        "a timeout is 4 minutes at least",
        "a timeout is 30 minutes at most",
        "flows live for as long as it says",
        "and no longer",
        "the cmdlet sets it",
        "a label counts the instances of a role",
        "the fields of the document",
    ),
)
def address_is_dynamic_and_has_a_label(network: Network) -> Iterator[Trial]:
    names = {}
    for instance in with_own(network):
        own = instance.vm.instance_public_ip
        if own is None or own.domain_name_label is None:
            continue
        numbers = {f"{r.name}_IN_{n}": n for r in instance.service.roles for n in range(r.instances)}
        number = numbers.get(instance.vm.name, 0)
        names[f"{own.domain_name_label}.{number}.{instance.service.name}.cloudapp.net"] = instance.own
    if not names or not machines(network):
        return
    yield from lookups(network, names, "names of labels")
    refused_with = ("minutes: 3; an idle timeout is 4 to 30 minutes", "minutes: 31; an idle timeout is 4 to 30 minutes")
    for first, last, words in ((4, 30, ()), (3, 31, refused_with)):
        vms = (
            f"vm{minutes}: {{subnet: v/s, instance_public_ip: {{name: a, idle_timeout_in_minutes: {minutes}}}}}"
            for minutes in (first, last)
        )
        yield fits(file_of(", ".join(vms)), f"idle timeouts of {first} and {last} minutes", *words)
    if (far := _web_server(network)) is not None:
        yield _fields(network, machines(network)[-1], far)
    yield from _idle(network)


def _fields(network: Network, instance: Instance, far: InternetHost) -> Trial:
    """Return a trial that the platform chooses another address each time, and which fields are shown."""
    vm, own = instance.vm.name, instance.vm.instance_public_ip
    assert own is not None
    label = own.domain_name_label or ""
    outside = _seen(vm, far)

    power = [command("vm", action, vm) for action in ("deallocate", "start")]
    stages = changed_back(network, show(vm), power[0], show(vm), power[1], show(vm), outside)
    expected = "the fields of the document; no address while it is deallocated, and another one then"
    return Trial(
        vm,
        expected,
        stages,
        judge_by(partial(_label_and_timeout_shown, instance=instance, own=own, label=label, vm=vm)),
    )


def _label_and_timeout_shown(
    first: Checked,
    stopped: Checked,
    between: Checked,
    started: Checked,
    after: Checked,
    seen: Checked,
    *,
    instance: Instance,
    own: InstancePublicIp,
    label: str,
    vm: str,
) -> Finding:
    had, without, fields = shown(first), shown(between), shown(after)
    source = (printed(seen) or {}).get("client_address")
    observed = f"{had.get('PublicIPAddress')}; {without.get('PublicIPAddress')!r}; {fields}; seen from {source}"
    if wrong := failed_command(stopped, started):
        return Finding(observed, wrong)
    wanted = {"PublicIPAddress": instance.own, "PublicIPName": own.name, "PublicIPDomainNameLabel": label}
    wrong = next((f"{key} is not as it must be" for key, value in wanted.items() if had.get(key) != value), "")
    names = [f"{vm}.{instance.service.name}.cloudapp.net"]
    names += [f"{label}.0.{instance.service.name}.cloudapp.net"] if label else []
    if wrong or had.get("PublicIPFqdns") != names:
        return Finding(observed, wrong or f"PublicIPFqdns is {had.get('PublicIPFqdns')}")
    if without.get("PublicIPAddress") != "" or without.get("PublicIPName") != own.name:
        return Finding(observed, "a deallocated VM is shown otherwise than with the name alone")
    if fields.get("PublicIPAddress") in ("", None, instance.own):
        return Finding(observed, "its address is not another one after it was deallocated")
    return Finding(observed, "" if source == fields["PublicIPAddress"] else "it is not seen from its new address")


_QUICK, _LONG_MIN, _SHORT_MIN, _HELD = 240, 20, 4, 4


def _idle(network: Network) -> Iterator[Trial]:
    """Yield that TCP flows from outside live for as long as an address's idle timeout, and no longer."""
    client = far_client(network)
    held = [i for i in machines(network) if i.listens("tcp") and i.vm.instance_public_ip is not None]
    short = next((i for i in held if (own := i.vm.instance_public_ip) and own.idle_timeout_min == _SHORT_MIN), None)
    long = next((i for i in held if i is not short), None)
    if client is None or short is None or long is None or long.vm.instance_public_ip is None:
        return
    quick = msgspec.structs.replace(network, overrides=msgspec.structs.replace(network.overrides, time_scale=_QUICK))
    name = long.vm.instance_public_ip.name
    change = f"Set-AzurePublicIP -PublicIPName {name} -IdleTimeoutInMinutes {_LONG_MIN}"
    opens = tuple(Open(goals=(Goal(i.own, i.listens("tcp") or 0, "tcp"),), count=_HELD) for i in (long, short))
    # The kernel forgets the short ones after 1 s, and the long ones after 5 s.
    brief, length = (60 * minutes / _QUICK for minutes in (_SHORT_MIN, _LONG_MIN))
    steps: tuple[Step, ...] = (
        *opens,
        Pause(seconds=brief + 0.7),
        Talk(lost=_HELD),
        Pause(seconds=length + 0.6),
        Talk(lost=2 * _HELD),
    )
    flows = HoldFlows(client=client.name, private=str(client.address), network="", steps=steps)

    stage = operated(_update(long.vm, long.service, change), show(long.vm.name), flows, network=quick)
    expected = f"flows live for {_SHORT_MIN} minutes ({brief:g} s), or {_LONG_MIN} ({length:g} s), and no longer"
    yield Trial(
        f"{short.vm.name} and {long.vm.name}",
        expected,
        (stage,),
        judge_by(partial(_ended_when_idle, brief=brief, length=length)),
    )


def _ended_when_idle(given: Checked, done: Checked, occupied: Occupied, *, brief: float, length: float) -> Finding:
    first, second, _, then, _, after = occupied.steps
    lasting, ended = ({s.port for s in step.seen} for step in (first, second))
    alive = {s.port for s in then.seen}
    observed = (
        f"of {first.answered} and {second.answered} flows {len(alive & lasting)} and {len(alive & ended)} were "
        f"alive after {brief + 0.7:g} s, and {after.answered} after {length + 0.6:g} s more"
    )
    if wrong := failed_command(given):
        return Finding(observed, wrong)
    if shown(done).get("IdleTimeoutInMinutes") != _LONG_MIN:
        return Finding(observed, f"{_LONG_MIN} minutes are not shown")
    if (first.answered, second.answered) != (_HELD, _HELD):
        return Finding(observed, "flows were not answered when they were opened")
    if alive & ended:
        return Finding(observed, f"{len(alive & ended)} flows outlived {_SHORT_MIN} minutes")
    if lasting - alive:
        return Finding(observed, f"{len(lasting - alive)} flows did not live for {_LONG_MIN} minutes")
    return Finding(observed, f"{after.answered} flows outlived {_LONG_MIN} minutes" if after.answered else "")


CLAIMS = (
    vm_is_made_with_one,
    vm_shows_address_and_name,
    address_can_be_removed,
    address_can_be_added,
    address_is_dynamic_and_has_a_label,
)
