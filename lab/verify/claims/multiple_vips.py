"""Multiple VIPs (2015-07-23): several VIPs of one cloud service."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec

from lab.azure.model import CloudService, Network, VirtualIp
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import (
    UNUSED,
    Reached,
    addresses,
    alone,
    command,
    failed_command,
    fetch,
    first,
    flow,
    inside,
    let,
    name_of,
    nodes,
    of_machines,
    operated,
    pairs,
    printed,
    reached,
    resolve,
    sets,
    show,
    silent,
    vips,
    vips_beside,
    without_endpoints,
)
from lab.verify.claims.kit.judges import judge_by, of_type
from lab.verify.claims.kit.oracle import far_client
from lab.verify.claims.kit.tunnels import fits
from lab.verify.claims.load_balancers import CHANCE, sample, unheard
from lab.verify.experiment import (
    SILENCE_S,
    Answers,
    Checked,
    Experiment,
    Health,
    Members,
    Names,
    Observation,
    Run,
    Send,
    Sweep,
    Swept,
    Track,
    Tracked,
    Watch,
)

_VIPS_2015 = "Multiple VIPs (2015-07-23)"
#: Most VIPs of a service (virtual-network-ip-addresses-overview-classic.md, 2016-02-11).
_MOST = 5
_NEW = "VipOfATrial"
_GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_AT_LEAST = 200  # connections to a set
_HOW_TO = f"{_VIPS_2015}, how to"


def _several(network: Network) -> list[CloudService]:
    """Return the services of virtual machines with more than one VIP."""
    return [service for service in of_machines(network) if len(service.virtual_ips) > 1]


def _extensible(network: Network) -> list[CloudService]:
    """Return those of them that may have one VIP more."""
    return [service for service in _several(network) if len(service.virtual_ips) < _MOST]


def _doubted(swept: Swept, observed: str, wrong: str) -> Finding:
    """Return what was observed and what contradicts it, unless the silence of a sweep tells nothing."""
    doubt = "" if wrong else unheard([swept])
    return Finding(observed, wrong, doubt)


def _came(swept: Swept) -> str:
    """Return what contradicts that nothing arrived, "" if nothing does."""
    ends = sorted({passage.end for passage in swept.passages if passage.end})
    return f"flows that no endpoint takes arrived at {', '.join(ends)}" if ends else ""


# --- what a VIP is ----------------------------------------------------------------------------


@claim(
    "S0-1",
    f"{_VIPS_2015}, introduction",
    "A VIP belongs to the load balancer and to no VM; every VM of the service can be reached through one VIP.",
    facts=(
        "no VM has the VIP's address",
        "each VM answers through the VIP",
        "a port without an endpoint is silent",
    ),
)
def one_vip_leads_to_every_vm(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for service in of_machines(network):
        for address in sorted({one.address for one in reached(network) if one.service is service}):
            by_vm = {one.vms[0].name: one for one in alone(reached(network)) if one.address == address}
            if client is None or len(by_vm) < 2:
                continue
            vms = [one.vms[0] for one in by_vm.values()]
            used = {(e.protocol, e.public_port) for e in service.endpoints if e.virtual_ip == _vip(by_vm)}
            ports = {UNUSED, *(one.endpoint.local_port for one in by_vm.values())}
            unused = sorted(port for port in ports if ("tcp", port) not in used)
            nothing = silent(*(flow(client, address, "tcp", port, vms) for port in unused))
            looks = tuple(inside(vm.name, "ip", "-o", "-4", "addr") for vm in vms)
            asks = tuple(one.ask(client.name) for one in by_vm.values())

            expected = (
                f"no VM has {address}; {' and '.join(by_vm)} answer through it; "
                f"silence at {', '.join(map(str, unused))}/tcp"
            )
            stage = Stage((*looks, *asks, nothing))
            yield Trial(
                f"{service.name} at {address}",
                expected,
                (stage,),
                judge_by(partial(_every_vm_answers, by_vm=by_vm, address=address)),
            )


def _every_vm_answers(*observations: Observation, by_vm: dict[str, Reached], address: str) -> Finding:
    owned, answers = of_type(observations, Checked), of_type(observations, Answers)
    (swept,) = of_type(observations, Swept)
    seen = ", ".join(f"{one}: {'/'.join(nodes(a))}" for one, a in zip(by_vm.values(), answers, strict=True))
    observed = f"{seen}; {sum(bool(p.end) for p in swept.passages)} flows to other ports arrived"
    wrong = failed_command(*owned)
    has = [vm for vm, done in zip(by_vm, owned, strict=True) if f" {address}/" in done.said]
    wrong = wrong or (f"{', '.join(has)} has the VIP's address itself" if has else "")
    wrong = wrong or next(filter(None, (one.wrong(a) for one, a in zip(by_vm.values(), answers, strict=True))), "")
    return _doubted(swept, observed, wrong or _came(swept))


def _vip(found: dict[str, Reached]) -> str:
    return next(iter(found.values())).endpoint.virtual_ip


_PORT_TWICE = """\
name: twice
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {vm: {subnet: v/s}}
cloud_services:
  shop:
    virtual_machines: [vm]
    virtual_ips: {A: {}, B: {}}
    endpoints:
      - {name: a, virtual_machine: vm, local_port: 8443, public_port: 443, virtual_ip: A}
      - {name: b, virtual_machine: vm, local_port: 8444, public_port: 443, virtual_ip: A}
      - {name: c, virtual_machine: vm, local_port: 8443, public_port: 443, virtual_ip: B}
"""


@claim(
    "S0-2",
    f"{_VIPS_2015}, figure 1",
    "VIPs of one service may use one public port, 443 for sites with certificates of their own, each leading to a "
    "private port of its own.",
    facts=(
        "each VIP's port leads to its own private port",
        "each site has a certificate of its own",
        "a port of a VIP has one endpoint",
        "a port of a VM is the target of one endpoint",
    ),
)
def two_vips_share_a_public_port(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    found = [pair for pair in pairs(alone(reached(network))) if pair[0].kind == "https"]
    for one, other in found:
        if client is None:
            continue
        both = (one, other)
        tracks = tuple(
            Track(
                send=Send(
                    sender=client.name,
                    private=str(client.address),
                    destination=site.address,
                    port=site.endpoint.public_port,
                    watches=(Watch("node", site.vms[0].name, site.vms[0].virtual_network),),
                    controlled=False,
                    untranslated=True,
                ),
                network=site.vms[0].virtual_network,
            )
            for site in both
        )

        expected = "; ".join(f"{site}: {_certificate(site)}" for site in both)
        stage = Stage((*(site.ask(client.name) for site in both), *tracks))
        yield Trial(
            f"{one} and {other} of {one.service.name}",
            expected,
            (stage,),
            judge_by(partial(_each_at_its_private_port, both=both)),
        )
    if found:
        words = ("443/tcp of A is used by", "vm:8443/tcp is also the target of")
        yield fits(_PORT_TWICE, "one port of a VIP, and one of a VM, for two endpoints", *words)


def _each_at_its_private_port(*observations: Observation, both: tuple[Reached, Reached]) -> Finding:
    asked, tracked = of_type(observations, Answers), of_type(observations, Tracked)
    answers = [first(a) for a in asked]
    observed = "; ".join(
        f"{site}: certificate of {a.subject or 'nobody'} ({a.fingerprint[:12]}), tracked "
        f"{', '.join(f'{e.far_address}:{e.far_port}' for e in t.after) or 'nothing'}"
        for site, a, t in zip(both, answers, tracked, strict=True)
    )
    for site, whole, a, t in zip(both, asked, answers, tracked, strict=True):
        wrong = _other_site(site, a.subject, t) or site.wrong(whole)
        if wrong:
            return Finding(observed, wrong)
    alike = answers[0].fingerprint == answers[1].fingerprint
    return Finding(observed, "both VIPs show one certificate" if alike else "")


def _certificate(site: Reached) -> str:
    return f"{site.vms[0].name}:{site.endpoint.local_port}"


def _other_site(site: Reached, subject: str, tracked: Tracked) -> str:
    """Return what contradicts that a site is the one behind its VIP, "" if nothing does."""
    if subject != _certificate(site):
        return f"{site} shows the certificate of {subject or 'nobody'} instead of {_certificate(site)}"
    ends = {(entry.far_address, entry.far_port) for entry in tracked.after}
    wanted = (str(site.vms[0].private_ip_address), site.endpoint.local_port)
    return "" if ends == {wanted} else f"a flow to {site} is tracked to {sorted(ends) or 'nobody'}"


@claim(
    "S0-3",
    f"{_VIPS_2015}, first note",
    "Several SQL AlwaysOn listeners may be on one set of VMs.",
    facts=("each listener leads to its own port", "a listener leads to the VM that answers its probe"),
)
def several_listeners_on_one_set_of_vms(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one, other in pairs(sets(reached(network))):
        both = (one, other)
        if client is None or {vm.name for vm in one.vms} != {vm.name for vm in other.vms}:
            continue

        port = one.endpoint.public_port
        expected = f"two listeners on port {port}, each with its own end at {' or '.join(v.name for v in one.vms)}"
        stage = Stage((Health(), *(listener.ask(client.name, 4) for listener in both)))
        yield Trial(
            f"{one} and {other} of {one.service.name}",
            expected,
            (stage,),
            judge_by(partial(_listeners_answer, both=both)),
        )


def _listeners_answer(members: Members, *answers: Answers, both: tuple[Reached, Reached]) -> Finding:
    observed = "; ".join(
        f"{listener}: {'/'.join(nodes(a))} at {first(a).server_address}:{first(a).server_port}"
        for listener, a in zip(both, answers, strict=True)
    )
    for listener, a in zip(both, answers, strict=True):
        down = [node for node in nodes(a) if listener.key(node) not in members.up]
        wrong = listener.wrong(a) or (f"{listener} was answered by {down[0]}, which is down" if down else "")
        if wrong:
            return Finding(observed, wrong)
    ends = [{(a.node, a.server_address, a.server_port) for a in found.answers} for found in answers]
    return Finding(observed, "both listeners end at one" if ends[0] & ends[1] else "")


def _alike(network: Network) -> Iterator[tuple[Reached, Reached]]:
    """Yield a service whose default VIP has a reserved address, and one whose has not, both asked over HTTP at 80."""
    usual = [
        one
        for one in alone(reached(network))
        if (one.kind, one.endpoint.public_port, one.endpoint.virtual_ip) == ("http", 80, one.service.default_virtual_ip)
    ]
    kept = [one for one in usual if _default(one.service).reserved_ip is not None]
    dynamic = [one for one in usual if _default(one.service).reserved_ip is None and len(one.service.virtual_ips) == 1]
    if kept and dynamic:
        yield kept[0], dynamic[0]


def _default(service: CloudService) -> VirtualIp:
    return next(vip for vip in service.virtual_ips if vip.name == service.default_virtual_ip)


@claim(
    "S0-4",
    f"{_VIPS_2015}, introduction",
    "The address of a VIP is dynamic and may change over time; a reserved one does not.",
    facts=(
        "a reserved address is the same after deallocation",
        "a dynamic address is another one after deallocation",
        "without VMs a service has no address",
    ),
)
def dynamic_address_of_a_vip_may_change(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for kept, dynamic in _alike(network):
        if client is None:
            continue
        both = (kept, dynamic)
        vms = [vm for one in both for vm in one.service.virtual_machines]
        experiments: tuple[Experiment, ...] = (
            *(command("vm", "deallocate", vm) for vm in vms),
            *(resolve(client.name, one.service) for one in both),
            *(one.ask(client.name, timeout_s=SILENCE_S) for one in both),
            *(command("vm", "start", vm) for vm in vms),
            *(resolve(client.name, one.service) for one in both),
            kept.ask(client.name),
            fetch(client.name, dynamic.service),
        )

        expected = (
            f"{kept.service.name} at {kept.address} before and after, {dynamic.service.name} at another address than "
            f"{dynamic.address}"
        )
        subject = f"{kept.service.name} and {dynamic.service.name} deallocated and started"
        yield Trial(
            subject,
            expected,
            (operated(*experiments),),
            judge_by(partial(_another_address_afterwards, both=both)),
        )


def _another_address_afterwards(*observations: Observation, both: tuple[Reached, Reached]) -> Finding:
    *powered, fetched = of_type(observations, Checked)
    (*names, _, _), (_, _, *after) = of_type(observations, Names), of_type(observations, Names)
    *silence, answers = of_type(observations, Answers)
    found = [", ".join(name.addresses) or "blank" for name in after]
    observed = "; ".join(
        f"{one.service.name}: {one.address}, then {', '.join(gone.addresses) or 'blank'}, then {address}"
        for one, gone, address in zip(both, names, found, strict=True)
    )
    wrong = failed_command(*powered)
    for one, gone, asked, address in zip(both, names, silence, found, strict=False):
        wrong = wrong or (f"the name of {one.service.name} still leads somewhere" if gone.addresses else "")
        wrong = wrong or (f"{one.address} answers without VMs" if first(asked).outcome != "timeout" else "")
        wrong = wrong or (f"{one.service.name} has no address" if address == "blank" else "")
    if not wrong and found[0] != both[0].address:
        wrong = f"the reserved address became {found[0]}"
    if not wrong and found[1] == both[1].address:
        wrong = f"the dynamic address is {found[1]} again"
    return Finding(observed, wrong or both[0].wrong(answers) or _unserved(both[1], fetched))


def _unserved(one: Reached, done: Checked) -> str:
    """Return what contradicts that a service's name leads to its VM, "" if nothing does."""
    node = (printed(done) or {}).get("node", "nobody")
    wanted = one.vms[0].name
    return "" if node == wanted else f"{name_of(one.service)} is answered by {node} instead of {wanted}"


# --- what may be done -------------------------------------------------------------------------

_MACHINES_ONLY = "services of virtual machines only (Multiple VIPs, 2015-07-23"


@claim(
    "S0-5",
    f"{_VIPS_2015}, limitations",
    "Several VIPs are for services of virtual machines only, not for roles.",
    facts=("a service with roles has one VIP",),
)
def several_vips_for_virtual_machines_only(network: Network) -> Iterator[Trial]:
    for service in [s for s in network.cloud_services if s.roles][:1]:
        stage = operated(command("vip", "add", service.name, _NEW))
        yield Trial(f"a VIP for {service.name}", "refused, exit 2", (stage,), judge_by(_refused_for_roles))


def _refused_for_roles(done: Checked) -> Finding:
    return Finding(
        f"exit {done.status}: {done.said}", let(done, "a second VIP of a service with roles", _MACHINES_ONLY)
    )


_BY_FILE = """\
<?xml version="1.0" encoding="utf-8"?>
<ServiceConfiguration serviceName="{service}"
    xmlns="http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceConfiguration">
  <NetworkConfiguration>
    <AddressAssignments><VirtualIPs><VirtualIP name="{vip}" /></VirtualIPs></AddressAssignments>
  </NetworkConfiguration>
</ServiceConfiguration>
"""


@claim(
    "S0-6",
    f"{_VIPS_2015}, limitations",
    "Several VIPs are managed by commands only.",
    facts=(
        "PowerShell adds a VIP",
        "PowerShell lists the VIPs",
        "PowerShell removes a VIP",
        "a service configuration file cannot have VIPs",
    ),
)
def commands_manage_several_vips(network: Network) -> Iterator[Trial]:
    """Yield that PowerShell adds, lists and removes VIPs, and that the service's file, the only other way, does not."""
    for service in _extensible(network)[:1]:
        names = [vip.name for vip in service.virtual_ips]
        listing = f"(Get-AzureDeployment -ServiceName {service.name}).VirtualIPs\n"
        adding, removing = (
            f"{verb}-AzureVirtualIP -VirtualIPName {_NEW} -ServiceName {service.name}" for verb in ("Add", "Remove")
        )
        scripts = (listing, f"{adding}\n{listing}", f"{removing} -Force\n{listing}")
        file = _BY_FILE.format(service=service.name, vip=_NEW)
        stage = operated(
            *(Run(words=("replay", "{lab}", "{file}"), text=script, suffix=".ps1") for script in scripts),
            Run(words=("import", "cscfg", "{lab}", "{file}"), text=file, suffix=".cscfg"),
            show(service),
        )

        expected = f"PowerShell lists {', '.join(names)}, adds one and removes it; no service configuration file does"
        yield Trial(f"VIPs of {service.name}", expected, (stage,), judge_by(partial(_managed_by_commands, names=names)))


def _managed_by_commands(*observations: Checked, names: list[str]) -> Finding:
    *replayed, imported, shown = observations
    listed = [re.findall(r"^Name\s*: (\S+)", done.said, re.MULTILINE) for done in replayed]
    observed = f"{'; then '.join(', '.join(found) or 'none' for found in listed)}; exit {imported.status}"
    wrong = failed_command(*replayed, shown)
    for found, wanted in zip(listed, (names, [*names, _NEW], names), strict=True):
        wrong = wrong or ("" if found == wanted else f"VIPs are listed as {', '.join(found) or 'none'}")
    wrong = wrong or let(imported, "a VIP of a service configuration file", 'unknown element "VirtualIPs"')
    return Finding(observed, wrong or ("" if [*vips(shown)] == names else "the file has changed the VIPs"))


@claim(
    "S0-7",
    f"{_HOW_TO} add",
    "Add-AzureVirtualIP answers with the description, the id and the status of the operation.",
    facts=("the operation is described", "the operation has an id", "the operation has a status"),
)
def adding_a_vip_answers_with_its_operation(network: Network) -> Iterator[Trial]:
    for service in _extensible(network)[:1]:
        stage = operated(command("vip", "add", service.name, _NEW))
        expected = "Add-AzureVirtualIP, an id and Succeeded in three columns"
        yield Trial(f"a VIP for {service.name}", expected, (stage,), judge_by(_operation_answered))


def _operation_answered(added: Checked) -> Finding:
    lines = [line.split() for line in added.said.splitlines()]
    head = ["OperationDescription", "OperationId", "OperationStatus"]
    row: list[str] = next((after for line, after in pairwise(lines) if line == head), [])
    wrong = failed_command(added)
    if not wrong and len(row) != 3:
        wrong = f"the columns are not {', '.join(head)}"
    if not wrong and (row[0], row[2]) != ("Add-AzureVirtualIP", "Succeeded"):
        wrong = f"the operation is {row[0]}, {row[2]}"
    if not wrong and not re.fullmatch(_GUID, row[1]):
        wrong = f"{row[1]} is no operation's id"
    return Finding(" ".join(row) or added.said[:200], wrong)


@claim(
    "S0-8",
    f"{_HOW_TO} retrieve",
    "A VIP that was added has a name, and no address.",
    facts=("a VIP that was added has no address", "no name leads to it"),
)
def added_vip_has_no_address(network: Network) -> Iterator[Trial]:
    for service in _extensible(network)[:1]:
        # All that the file has a way to; the platform's own addresses among them.
        known = {str(address) for address, _ in network.public_addresses()}
        known |= {str(vnet.default_outbound_address) for vnet in network.virtual_networks}

        routes = inside("internet", "ip", "route")
        stage = operated(command("vip", "add", service.name, _NEW), show(service), routes)
        expected = "Address and IsDnsProgrammed blank; nothing leads to it"
        yield Trial(
            f"a VIP for {service.name}", expected, (stage,), judge_by(partial(_named_without_address, known=known))
        )


def _named_without_address(added: Checked, shown: Checked, routes: Checked, *, known: set[str]) -> Finding:
    vip = vips(shown).get(_NEW, {})
    said = {key: vip.get(key) for key in ("Address", "IsDnsProgrammed")}
    ways = set(re.findall(r"^(\S+) via \S+ dev lb\.", routes.said, re.MULTILINE))
    observed = f"{said}; {len(ways)} addresses lead to load balancers"
    wrong = failed_command(added, shown, routes)
    wrong = wrong or ("" if vip else "the VIP is not there")
    wrong = wrong or (f"its address is {vip['Address']}" if vip.get("Address") else "")
    wrong = wrong or ("its name is programmed" if vip.get("IsDnsProgrammed") else "")
    wrong = wrong or ("no address leads to any load balancer" if not ways else "")
    return Finding(observed, wrong or (f"{min(ways - known)} leads somewhere" if ways - known else ""))


@claim(
    "S0-9",
    f"{_HOW_TO} remove",
    "A VIP can be removed only if no endpoint is associated with it.",
    facts=("a VIP with endpoints is not removed", "a VIP without endpoints is removed"),
)
def vip_without_endpoint_can_be_removed(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one in [one for one in alone(reached(network)) if _vip_of(one) in vips_beside(one.service)][:1]:
        service, used = one.service, one.endpoint.virtual_ip
        spare = next((vip for vip in service.virtual_ips if not service.endpoints_of(vip.name)), None)
        if client is None or spare is None or spare.name == service.default_virtual_ip:
            continue

        stage = operated(
            command("vip", "remove", service.name, used),
            one.ask(client.name),
            command("vip", "remove", service.name, spare.name),
            show(service),
        )
        expected = f"{used}, which has endpoints, refused, and still answered; {spare.name}, which has none, removed"
        yield Trial(
            f"{used} and {spare.name} of {service.name}",
            expected,
            (stage,),
            judge_by(partial(_removed_only_unused, one=one, spare=spare)),
        )


def _removed_only_unused(
    refused: Checked, answers: Answers, removed: Checked, shown: Checked, *, one: Reached, spare: VirtualIp
) -> Finding:
    left = vips(shown)
    observed = f"exit {refused.status}: {refused.said[:200]}; {one}: {nodes(answers)[0]}; left: {', '.join(left)}"
    wrong = let(refused, f"the removal of {one.endpoint.virtual_ip}", "while no endpoint is associated")
    wrong = wrong or one.wrong(answers) or failed_command(removed, shown)
    wrong = wrong or (f"{spare.name} is still there" if spare.name in left else "")
    return Finding(observed, wrong or ("" if one.endpoint.virtual_ip in left else f"{one.endpoint.virtual_ip} is gone"))


def _vip_of(one: Reached) -> VirtualIp:
    return next(vip for vip in one.service.virtual_ips if vip.name == one.endpoint.virtual_ip)


@claim(
    "S0-10",
    f"{_HOW_TO} retrieve",
    "A service shows of each VIP its Address, IsDnsProgrammed, Name, ReservedIPName and ExtensionData.",
    facts=(
        "Address is shown as documented",
        "IsDnsProgrammed is shown as documented",
        "Name is shown as documented",
        "ReservedIPName is shown as documented",
        "ExtensionData is shown as documented",
    ),
)
def service_shows_fields_of_each_vip(network: Network) -> Iterator[Trial]:
    reserved = [service for service in of_machines(network) if any(vip.reserved_ip for vip in service.virtual_ips)]
    for service in (*_several(network)[:1], *reserved[:1]):
        wanted = "\n\n".join(
            "\n".join(
                line.rstrip()
                for line in (
                    f"Address         : {vip.address or ''}",
                    f"IsDnsProgrammed : {'True' if vip.name == service.default_virtual_ip else ''}",
                    f"Name            : {vip.name}",
                    f"ReservedIPName  : {vip.reserved_ip or ''}",
                    "ExtensionData   :",
                )
            )
            for vip in service.virtual_ips
        )

        stage = Stage((command("service", "show", service.name),))
        yield Trial(
            service.name,
            re.sub(r"\s*\n\s*", "; ", wanted),
            (stage,),
            judge_by(partial(_fields_of_each_vip, wanted=wanted)),
        )


def _fields_of_each_vip(done: Checked, *, wanted: str) -> Finding:
    observed = re.sub(r"\s*\n\s*", "; ", done.said)
    return Finding(observed, failed_command(done) or ("" if done.said == wanted else "it prints something else"))


@claim(
    "S0-11",
    f"{_HOW_TO} retrieve",
    "The default VIP is the one that the service's name leads to.",
    facts=("the service's name leads to the default VIP",),
)
def name_of_a_service_leads_to_its_default_vip(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for service in _several(network):
        others = [str(vip.address) for vip in vips_beside(service) if vip.address is not None]
        default = _default(service)
        if client is None or default.address is None or not others:
            continue
        apart = [vm.name for vm in network.virtual_machines if vm.name not in service.virtual_machines]
        asking = (client.name, service.virtual_machines[0], *apart[-1:])

        expected = f"{default.address}, the address of {default.name}, and not {' or '.join(others)}"
        stage = Stage(tuple(resolve(who, service) for who in asking))
        yield Trial(
            name_of(service),
            expected,
            (stage,),
            judge_by(partial(_name_leads_to_the_default, asking=asking, default=default)),
        )


def _name_leads_to_the_default(*observations: Names, asking: Sequence[str], default: VirtualIp) -> Finding:
    told = [", ".join(name.addresses) or "no answer" for name in observations]
    observed = "; ".join(f"{who}: {what}" for who, what in zip(asking, told, strict=True))
    wrong = [f"{w} is told {t}" for w, t in zip(asking, told, strict=True) if t != str(default.address)]
    return Finding(observed, wrong[0] if wrong else "")


def _fresh(network: Network) -> Iterator[tuple[Network, Reached, VirtualIp]]:
    """Yield a network in which no endpoint uses a VIP that is not the default one, and an endpoint that did."""
    for one in alone(reached(network)):
        vip = _vip_of(one)
        if vip in vips_beside(one.service) and one.kind == "http" and vip.reserved_ip is None:
            yield without_endpoints(network, one.service, vip), one, vip
            return


def _added(one: Reached, vip: str, name: str = "") -> Any:
    """Add an endpoint, as the seed's command does."""
    endpoint = one.endpoint
    return command(
        *("endpoint", "add", endpoint.virtual_machine, name or endpoint.name, "--protocol", endpoint.protocol),
        *("--local-port", str(endpoint.local_port), "--public-port", str(endpoint.public_port), "--virtual-ip", vip),
    )


@claim(
    "S0-12",
    f"{_HOW_TO} retrieve",
    "Additional VIPs are billed once an endpoint is associated with them.",
    facts=(
        "an additional VIP with an endpoint is billed",
        "an additional VIP without an endpoint is not billed",
        "the default VIP is not billed",
    ),
)
def vip_is_billed_once_an_endpoint_uses_it(network: Network) -> Iterator[Trial]:
    for bare, one, vip in _fresh(network):
        stage = operated(show(one.service), _added(one, vip.name), show(one.service), network=bare)
        expected = f"{vip.name} is not billed without an endpoint, and is with one; the default VIP never"
        yield Trial(
            f"{vip.name} of {one.service.name}",
            expected,
            (stage,),
            judge_by(partial(_billed_while_used, one=one, vip=vip)),
        )


def _billed_while_used(*observations: Checked, one: Reached, vip: VirtualIp) -> Finding:
    before, added, after = vips(observations[0]), observations[1], vips(observations[2])
    billed = [sorted(name for name, v in shown.items() if v["billed"]) for shown in (before, after)]
    observed = " / ".join(", ".join(names) or "none" for names in billed)
    wrong = failed_command(*observations)
    used = {e.virtual_ip for e in one.service.endpoints} - {one.service.default_virtual_ip}
    for names, wanted in zip(billed, (used - {vip.name}, used), strict=True):
        if not wrong and set(names) != wanted:
            wrong = f"billed: {', '.join(names) or 'none'} instead of {', '.join(sorted(wanted)) or 'none'}"
    return Finding(f"billed: {observed}", wrong or failed_command(added))


@claim(
    "S0-13",
    f"{_HOW_TO} associate",
    "An endpoint that is associated with a VIP leads a port of it to one of a VM, and gives the VIP its address.",
    facts=(
        "the public port leads to the private port of the VM",
        "the endpoint gives the VIP its address",
        "the endpoint takes its own protocol only",
        "no other VIP changes",
        "an unknown VIP is refused",
    ),
)
def endpoint_gives_its_vip_an_address(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for bare, one, vip in _fresh(network):
        others = [v for v in one.service.virtual_ips if v is not vip]
        if client is None or vip.planned is None:
            continue
        port = one.endpoint.public_port
        astray = [(str(v.address), one.endpoint.protocol) for v in others if v.address is not None]
        astray = [(a, p) for a, p in astray if not _listens(one.service, a, p, port)] + [(one.address, "udp")]
        nothing = silent(*(flow(client, a, p, port, one.vms) for a, p in astray))
        experiments = (
            show(one.service),
            _added(one, "NoSuchVip"),
            _added(one, vip.name),
            show(one.service),
            one.ask(client.name),
            Sweep(flows=(one.flow(client),)),
            nothing,
        )

        expected = (
            f"{vip.name} blank, then {vip.planned}; {port}/{one.endpoint.protocol} leads to {one.vms[0].name}:"
            f"{one.endpoint.local_port}; nothing else does, and no other VIP changes"
        )
        subject = f"{one.endpoint.name} on {vip.name} of {one.service.name}"
        yield Trial(
            subject,
            expected,
            (operated(*experiments, network=bare),),
            judge_by(partial(_given_an_address, one=one, vip=vip, others=others)),
        )


def _given_an_address(
    shown: Checked,
    unknown: Checked,
    added: Checked,
    then: Checked,
    answers: Answers,
    arrived: Swept,
    nothing: Swept,
    *,
    one: Reached,
    vip: VirtualIp,
    others: list[VirtualIp],
) -> Finding:
    before, after = vips(shown), vips(then)
    at = arrived.passages[0].destination
    observed = f"{addresses(before)}; then {addresses(after)}; {one}: {nodes(answers)[0]}, arrived for {at}"
    wrong = failed_command(shown, added, then)
    wrong = wrong or let(unknown, "an endpoint on an unknown VIP", 'no VIP "NoSuchVip"')
    if not wrong and before[vip.name]["Address"]:
        wrong = f"{vip.name} has an address without an endpoint"
    if not wrong and after[vip.name]["Address"] != str(vip.planned):
        wrong = f"{vip.name} has {after[vip.name]['Address'] or 'no address'} instead of {vip.planned}"
    moved = [v.name for v in others if not wrong and before[v.name] != after[v.name]]
    wrong = wrong or (f"{moved[0]} has changed" if moved else "") or one.wrong(answers)
    wanted = f"{one.vms[0].private_ip_address}:{one.endpoint.local_port}"
    if not wrong and at != wanted:
        wrong = f"a flow to {one} arrived for {at or 'nobody'} instead of {wanted}"
    return _doubted(nothing, observed, wrong or _came(nothing))


def _listens(service: CloudService, address: str, protocol: str, port: int) -> bool:
    names = {vip.name for vip in service.virtual_ips if str(vip.address) == address}
    return any(e.virtual_ip in names and (e.protocol, e.public_port) == (protocol, port) for e in service.endpoints)


# --- load-balanced sets -----------------------------------------------------------------------


def _balanced(network: Network) -> list[Reached]:
    """Return the sets whose members are picked by flow, and are all probed where they listen."""
    return [
        one
        for one in sets(reached(network))
        if one.endpoint.load_distribution == "Default"
        and one.endpoint.probe is not None
        and one.endpoint.probe.port == one.endpoint.local_port
        and all(any(s.port == one.endpoint.local_port for s in vm.services) for vm in one.vms)
    ]


_UNLIKE = """\
name: unlike
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {a: {subnet: v/s}, b: {subnet: v/s}}
cloud_services:
  shop:
    virtual_machines: [a, b]
    endpoints:
      - {name: one, virtual_machine: a, local_port: 1, public_port: 81, load_balanced_set: x, probe: {port: 80}}
      - {name: one, virtual_machine: b, local_port: 2, public_port: 81, load_balanced_set: x, probe: {port: 80}}
      - {name: two, virtual_machine: a, local_port: 3, public_port: 83, load_balanced_set: y, probe: default}
      - {name: two, virtual_machine: b, local_port: 3, public_port: 83, load_balanced_set: y, probe: {port: 80}}
      - {name: one, virtual_machine: a, local_port: 4, public_port: 84}
"""


@claim(
    "S0-14",
    f"{_HOW_TO} balance",
    "A load-balanced set spreads what comes to a port of its VIP over one port of several VMs.",
    facts=(
        "connections come to each VM of the set",
        "they come to the set's private port",
        "members of a set are alike",
        "an endpoint's name is unique at its VM",
    ),
)
def set_spreads_what_comes_to_its_vip(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one in _balanced(network)[:1]:
        if client is None:
            continue
        count = max(_AT_LEAST, sample(len(one.vms)))
        flows = Sweep(
            flows=tuple(msgspec.structs.replace(one.flow(client), source_port=30000 + number) for number in range(16))
        )

        expected = (
            f"of {count} connections some to each of {', '.join(vm.name for vm in one.vms)} "
            f"(false alarm {CHANCE:g}), at port {one.endpoint.local_port}; a flow stays where it is"
        )
        stage = Stage((Health(), one.ask(client.name, count), flows, flows))
        subject = f"{one.endpoint.load_balanced_set} of {one.service.name}"
        yield Trial(subject, expected, (stage,), judge_by(partial(_spread_over_the_set, one=one)))
        words = (
            '"one" of b differs from "one" of a in local_port',
            '"two" of b differs from "two" of a in probe',
            'a second endpoint "one" of a',
        )
        yield fits(_UNLIKE, "members that are not alike, and a second endpoint of one name", *words)


def _spread_over_the_set(members: Members, answers: Answers, once: Swept, again: Swept, *, one: Reached) -> Finding:
    shares = {vm.name: sum(a.node == vm.name for a in answers.answers) for vm in one.vms}
    moved = sum(a.end != b.end for a, b in zip(once.passages, again.passages, strict=True))
    observed = f"{', '.join(f'{name} {share}' for name, share in shares.items())}; sent again: {moved} moved"
    down = [vm.name for vm in one.vms if one.key(vm.name) not in members.up]
    if down:
        return Finding(observed, f"the probe of {', '.join(down)} fails: {members.down.get(one.key(down[0]))}")
    idle = [name for name, share in shares.items() if not share]
    wrong = one.wrong(answers) or (f"none of them came to {', '.join(idle)}" if idle else "")
    lost = sum(not p.end for p in once.passages)
    wrong = wrong or (f"{lost} flows did not arrive" if lost else "")
    return Finding(observed, wrong or (f"{moved} flows moved to another VM" if moved else ""))


@claim(
    "S0-15",
    f"{_HOW_TO} balance",
    "A load-balanced set can be moved to another VIP.",
    facts=("the set answers at the other VIP", "the set is at one VIP at a time"),
)
def set_can_be_moved_to_another_vip(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one in _balanced(network)[:1]:
        port, protocol = one.endpoint.public_port, one.endpoint.protocol
        to = next(
            (
                vip
                for vip in one.service.virtual_ips
                if vip.name != one.endpoint.virtual_ip
                and vip.address is not None
                and not _listens(one.service, str(vip.address), protocol, port)
            ),
            None,
        )
        if client is None or to is None or one.endpoint.load_balanced_set is None:
            continue
        moved = msgspec.structs.replace(
            one, address=str(to.address), endpoint=msgspec.structs.replace(one.endpoint, virtual_ip=to.name)
        )
        experiments = (
            Health(),
            one.ask(client.name, 4),
            silent(moved.flow(client)),
            command("endpoint", "move", one.service.name, one.endpoint.load_balanced_set, to.name),
            Health(),
            moved.ask(client.name, 4),
            silent(one.flow(client)),
        )

        expected = f"{port} of {one.endpoint.virtual_ip}, then of {to.name} and no more of the other"
        subject = f"{one.endpoint.load_balanced_set} of {one.service.name}"
        yield Trial(subject, expected, (operated(*experiments),), judge_by(partial(_moved_whole, one=one, moved=moved)))


def _moved_whole(
    _0: Members,
    before: Answers,
    not_yet: Swept,
    done: Checked,
    _4: Members,
    after: Answers,
    no_more: Swept,
    *,
    one: Reached,
    moved: Reached,
) -> Finding:
    observed = f"{one}: {'/'.join(nodes(before))}; then {moved}: {'/'.join(nodes(after))}"
    wrong = failed_command(done) or one.wrong(before) or _came(not_yet) or moved.wrong(after)
    return _doubted(no_more, observed, wrong or _came(no_more))


CLAIMS = (
    one_vip_leads_to_every_vm,
    two_vips_share_a_public_port,
    several_listeners_on_one_set_of_vms,
    dynamic_address_of_a_vip_may_change,
    several_vips_for_virtual_machines_only,
    commands_manage_several_vips,
    adding_a_vip_answers_with_its_operation,
    added_vip_has_no_address,
    vip_without_endpoint_can_be_removed,
    service_shows_fields_of_each_vip,
    name_of_a_service_leads_to_its_default_vip,
    vip_is_billed_once_an_endpoint_uses_it,
    endpoint_gives_its_vip_an_address,
    set_spreads_what_comes_to_its_vip,
    set_can_be_moved_to_another_vip,
)
