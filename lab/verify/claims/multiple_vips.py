"""Several VIPs of a cloud service (2015-07-23): what leads to which VM, and what their addresses do."""

import re
from collections.abc import Iterator
from functools import partial

from lab.azure.model import Network
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import (
    UNUSED,
    Reached,
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
)
from lab.verify.claims.kit.judges import judge_by, of_type
from lab.verify.claims.kit.oracle import far_client
from lab.verify.claims.kit.tunnels import fits
from lab.verify.claims.kit.vips import NEW_VIP, VIPS_2015, came_anyway, default_vip, doubted, with_room_for_a_vip
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
    Swept,
    Track,
    Tracked,
    Watch,
)


@claim(
    "S0-1",
    f"{VIPS_2015}, introduction",
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
    return doubted(swept, observed, wrong or came_anyway(swept))


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
    f"{VIPS_2015}, figure 1",
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
    f"{VIPS_2015}, first note",
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
    kept = [one for one in usual if default_vip(one.service).reserved_ip is not None]
    dynamic = [
        one for one in usual if default_vip(one.service).reserved_ip is None and len(one.service.virtual_ips) == 1
    ]
    if kept and dynamic:
        yield kept[0], dynamic[0]


@claim(
    "S0-4",
    f"{VIPS_2015}, introduction",
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


_MACHINES_ONLY = "services of virtual machines only (Multiple VIPs, 2015-07-23"


@claim(
    "S0-5",
    f"{VIPS_2015}, limitations",
    "Several VIPs are for services of virtual machines only, not for roles.",
    facts=("a service with roles has one VIP",),
)
def several_vips_for_virtual_machines_only(network: Network) -> Iterator[Trial]:
    for service in [s for s in network.cloud_services if s.roles][:1]:
        stage = operated(command("vip", "add", service.name, NEW_VIP))
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
    f"{VIPS_2015}, limitations",
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
    for service in with_room_for_a_vip(network)[:1]:
        names = [vip.name for vip in service.virtual_ips]
        listing = f"(Get-AzureDeployment -ServiceName {service.name}).VirtualIPs\n"
        adding, removing = (
            f"{verb}-AzureVirtualIP -VirtualIPName {NEW_VIP} -ServiceName {service.name}" for verb in ("Add", "Remove")
        )
        scripts = (listing, f"{adding}\n{listing}", f"{removing} -Force\n{listing}")
        file = _BY_FILE.format(service=service.name, vip=NEW_VIP)
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
    for found, wanted in zip(listed, (names, [*names, NEW_VIP], names), strict=True):
        wrong = wrong or ("" if found == wanted else f"VIPs are listed as {', '.join(found) or 'none'}")
    wrong = wrong or let(imported, "a VIP of a service configuration file", 'unknown element "VirtualIPs"')
    return Finding(observed, wrong or ("" if [*vips(shown)] == names else "the file has changed the VIPs"))


CLAIMS = (
    one_vip_leads_to_every_vm,
    two_vips_share_a_public_port,
    several_listeners_on_one_set_of_vms,
    dynamic_address_of_a_vip_may_change,
    several_vips_for_virtual_machines_only,
    commands_manage_several_vips,
)
