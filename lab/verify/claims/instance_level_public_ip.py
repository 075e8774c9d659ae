"""Instance level public IP (2016-02-10): instance-level public IPs of VMs and role instances.

What later revisions say of them.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import IPv4Network

from lab.azure.model import InternetHost, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import arrived, judge_by, of_type, refused, send, wrong_source
from lab.verify.claims.kit.oracle import (
    WayOut,
    drops_fragments,
    far_client,
    far_host,
    of_kind,
    one_of_each,
    open_to_all,
    rules_to,
    way_out,
)
from lab.verify.claims.kit.tunnels import fits
from lab.verify.claims.own_addresses import (
    PUBLIC_IP_2016,
    Instance,
    answered,
    answered_by,
    changed_back,
    command,
    file_of,
    inbound,
    instances,
    is_own,
    lookups,
    machines,
    plain,
    show,
    shown,
    web,
    with_own,
)
from lab.verify.experiment import (
    Answers,
    Arrivals,
    Checked,
    Experiment,
    Lookup,
    Names,
    Observation,
    Protocol,
    Returned,
    Run,
    Send,
    Transfer,
    Transferred,
)

_LATER = "virtual-networks-instance-level-public-ip.md (2018-08-03)"
_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
_OUTBOUND_2018_07 = "load-balancer-outbound-connections.md (2018-07)"
_OUTBOUND_2022_03 = "load-balancer-outbound-connections.md (2022-03-01)"
_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp", "esp")
#: Where VMs without a virtual network are numbered (the seed's listing: 100.74.118.91).
_STANDALONE = IPv4Network("100.64.0.0/10")
_FTP, _FTP_DATA = 21, 20  # RFC 959
_FLOWS = 8


# --- S4-1 to S4-3: what an address is, and its names ------------------------------------------


@claim(
    "S4-1",
    f"{PUBLIC_IP_2016}, overview",
    "An instance-level public IP is a VM's or role instance's own, beside the VIP of its cloud service: both work.",
    facts=(
        "the address leads to its VM",
        "the VIP works beside it",
    ),
)
def own_address_beside_the_vip(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for instance in with_own(network):
        port = instance.listens("http")
        public = instance.endpoint(port) if port else None
        if client is None or port is None or public is None:
            continue
        shared = rules_to(network, instance.vm)  # a load-balanced set: other members answer too

        vip = web(client, instance.vip, public)
        expected = f"answers at {instance.vip}:{public} and at {instance.own}:{port}"
        stage = Stage((vip, web(client, instance.own, port), vip))
        yield Trial(
            instance.vm.name,
            expected,
            (stage,),
            judge_by(partial(_both_addresses_work, instance=instance, shared=bool(shared))),
        )


def _both_addresses_work(*observations: Answers, instance: Instance, shared: bool) -> Finding:
    observed, contradiction = [], ""
    for where, answers in zip((instance.vip, instance.own, instance.vip), observations, strict=True):
        wrong = answered_by(answers, instance.vm.name)
        if shared and where == instance.vip and wrong.startswith("answered by"):
            wrong = ""
        observed.append(f"{where}: {wrong or 'answered'}")
        contradiction = contradiction or (wrong and f"{where}: {wrong}")
    if instance.own == instance.vip:
        contradiction = "the address is the VIP"
    return Finding("; ".join(observed), contradiction)


@claim(
    "S4-2",
    PUBLIC_IP_2016,
    "With its own address a VM receives traffic on any port, without endpoints.",
    facts=(
        "UDP on any port",
        "TCP on any port",
        "ICMP",
        "ESP",
        "the VIP leads nowhere without an endpoint",
    ),
)
def own_address_opens_every_port(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for instance in with_own(network)[:2]:
        if client is None:
            continue

        sends = [inbound(client, instance.vm, instance.own, protocol) for protocol in _PROTOCOLS]
        sends.append(inbound(client, instance.vm, instance.vip, "tcp", lost=_FLOWS))
        expected = "TCP, UDP, ICMP and ESP arrive on ports that have no endpoint; the VIP is silent there"
        yield Trial(
            instance.vm.name,
            expected,
            (Stage(tuple(sends)),),
            judge_by(partial(_any_port_reached, instance=instance, client=client)),
        )


def _any_port_reached(*observations: Arrivals, instance: Instance, client: InternetHost) -> Finding:
    *own, vip = observations
    observed = "; ".join(f"{p}: {arrived(a)}" for p, a in zip(_PROTOCOLS, own, strict=True))
    observed += f"; to the VIP: {arrived(vip)}"
    for protocol, arrivals in zip(_PROTOCOLS, own, strict=True):
        if len(arrivals.seen[-1]) < arrivals.sent:
            return Finding(observed, f"{protocol}: {arrivals.sent - len(arrivals.seen[-1])} flows did not arrive")
        wrong = [s for s in arrivals.seen[-1] if s.source != str(client.address)]
        if wrong:
            return Finding(observed, f"{protocol}: the VM sees {wrong[0].source}")
    if len(vip.seen[0]) < vip.sent:
        return Finding(observed, doubt="what was sent to the VIP did not come as far as the edge")
    return Finding(observed, f"the VIP leads to {instance.vm.name} without an endpoint" if vip.seen[-1] else "")


@claim(
    "S4-3",
    f"{PUBLIC_IP_2016}, overview",
    "A service's name leads to its VIP, and an A record of each instance to its own address: ROLE_IN_0.SERVICE.",
    facts=(
        "a service's name leads to its VIP",
        "an instance's name leads to its address",
    ),
)
def each_instance_has_a_record(network: Network) -> Iterator[Trial]:
    found = with_own(network)
    names = {f"{i.service.name}.cloudapp.net": i.vip for i in found}
    for instance in found:
        for role in instance.service.roles:
            for number in range(role.instances):
                if f"{role.name}_IN_{number}" == instance.vm.name:
                    names[f"{role.name}_IN_{number}.{instance.service.name}.cloudapp.net"] = instance.own
        if not instance.service.roles:
            names[f"{instance.vm.name}.{instance.service.name}.cloudapp.net"] = instance.own
    yield from lookups(network, names, "names of services and instances")


# --- S4-4 to S4-6: limits ---------------------------------------------------------------------


def _stays(network: Network, vm: VirtualMachine, before: Sequence[Run], words: str, expected: str) -> Iterator[Trial]:
    """Yield a trial that the last of some commands is refused with these words, and the VM's way out is as it was."""
    far = far_host(network)
    if far is None:
        return
    way = way_out(network, vm)

    stages = changed_back(network, *before, send(network, vm, far, "udp", _FLOWS))
    yield Trial(
        f"{vm.name} of a running lab",
        expected,
        stages,
        judge_by(partial(_refused_and_as_before, words=words, network=network, way=way)),
    )


def _refused_and_as_before(*observations: Observation, words: str, network: Network, way: WayOut) -> Finding:
    done, (arrivals,) = of_type(observations, Checked), of_type(observations, Arrivals)
    last = done[-1]
    observed = f"exit {last.status}: {last.said[:200]}; then {arrived(arrivals)}"
    failed = [one for one in done[:-1] if one.status != 0]
    if failed:
        return Finding(observed, f"exit {failed[0].status}: {failed[0].said}")
    if last.status != 2 or words not in last.said:
        return Finding(observed, "it was not refused")
    return Finding(observed, wrong_source(network, way, arrivals))


@claim(
    "S4-4",
    f"{PUBLIC_IP_2016}, Note",
    "A VM or role instance has one such address at most.",
    facts=(
        "a file with two for one VM",
        "a second one of a VM that runs",
    ),
)
def one_address_at_most(network: Network) -> Iterator[Trial]:
    for instance in machines(network)[:1]:
        yield refused(
            file_of("vm: {subnet: v/s, instance_public_ip: [{name: a}, {name: b}]}"),
            "two addresses of one VM",
            "at most one",
        )
        second = command("set", instance.vm.name, "second")
        yield from _stays(network, instance.vm, [second], "at most one", "refused, and the first works")


def _most(network: Network) -> int:
    """Return how many addresses a subscription may have: 5, and 500 by the limits of 2022-12."""
    return 500 if network.profile.name == "2026-07" else 5


@claim(
    "S4-5",
    f"{PUBLIC_IP_2016}, Note",
    "A subscription has up to 5 of them (500 by the limits of 2022).",
    facts=(
        "a sixth is refused",
        "five are given",
        "500 by the later limits",
    ),
)
def addresses_of_a_subscription(network: Network) -> Iterator[Trial]:
    if not with_own(network):
        return
    most = _most(network)
    vms = ", ".join(f"vm{i}: {{subnet: v/s, instance_public_ip: {{name: a}}}}" for i in range(most + 1))
    yield fits(file_of(vms), f"{most + 1} addresses", f"a subscription has at most {most}")
    left = most - sum(1 for vm in network.virtual_machines if vm.instance_public_ip)
    others = plain(network)
    if 0 <= left < len(others):
        given = [command("set", vm.name, "more") for vm in others[: left + 1]]
        words, expected = f"at most {most}", f"the one after {most} is refused, and its VM leaves as before"
        yield from _stays(network, others[left], given, words, expected)


@claim(
    "S4-6",
    f"{PUBLIC_IP_2016}, Note",
    "A VM with several network interfaces cannot have one.",
    facts=("an address and two interfaces are refused",),
)
def vm_with_two_interfaces_has_none(network: Network) -> Iterator[Trial]:
    for vm in [vm for vm in network.virtual_machines if vm.secondary_interfaces][:1]:
        two, own = "network_interfaces: {a: {subnet: v/s}, b: {subnet: v/t}}", "instance_public_ip: {name: a}"
        must = "a VM with several network interfaces cannot have one"
        yield fits(file_of(f"one: {{subnet: v/s, {own}}}, two: {{{two}}}"), "the one or the other")
        yield fits(file_of(f"vm: {{{two}, {own}}}"), "an address of a VM with two interfaces", must)
        yield from _second_interface(network, vm, must)
        expected = "refused, and its VM leaves as before"
        yield from _stays(network, vm, [command("set", vm.name, "a")], must, expected)


def _second_interface(network: Network, wide: VirtualMachine, must: str) -> Iterator[Trial]:
    """Yield a trial that a VM with an address of its own gets no second interface, and keeps its address."""
    subnets = [f"{wide.virtual_network}/{i.subnet}" for i in wide.network_interfaces]
    vnet = network.virtual_network(wide.virtual_network)
    for instance in machines(network)[:1]:
        own = instance.vm.instance_public_ip
        vm = {
            "network_interfaces": {f"nic{n}": {"subnet": subnet} for n, subnet in enumerate(subnets)},
            "instance_public_ip": {"name": own.name if own else ""},
        }
        parts = {
            "name": network.name,
            "virtual_networks": {
                vnet.name: {
                    "location": vnet.location,
                    "address_space": [str(prefix) for prefix in vnet.address_space],
                    "subnets": {s.name: str(s.address_prefix) for s in vnet.subnets},
                }
            },
            "virtual_machines": {instance.vm.name: vm},
        }
        given = Run(words=("up", "{file}"), text=json.dumps(parts))
        expected = "refused, and it leaves by its own address"
        yield from _stays(network, instance.vm, [given], must, expected)


# --- S4-7 and S4-8: what it is for ------------------------------------------------------------


@claim(
    "S4-7",
    f"{PUBLIC_IP_2016}, Why would I request one",
    "Active FTP works with it, as any port is open.",
    facts=(
        "the server's data comes from port 20",
        "passive data ports are open",
        "without an address there is no active transfer",
    ),
)
def active_ftp_works(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for instance in instances(network):
        if client is None or instance.listens("ftp") != _FTP:
            continue
        if instance.own:
            yield _transfers(client, instance)
        elif instance.endpoint(_FTP) == _FTP:
            yield _no_transfers(client, instance)


def _both(client: InternetHost, address: str, timeout_s: float) -> Stage:
    active = Transfer(client=client.name, address=address, mode="active", timeout_s=timeout_s)
    return Stage((active, Transfer(client=client.name, address=address, mode="passive", timeout_s=timeout_s)))


def _begun(active: Transferred, passive: Transferred) -> str:
    return "; ".join(
        f"{mode}: data {', '.join(map(str, one.data)) or 'nothing'}, {'got' if one.got else 'failed'}"
        for mode, one in (("active", active), ("passive", passive))
    )


def _transfers(client: InternetHost, instance: Instance) -> Trial:

    expected = f"active: data from {instance.own}:{_FTP_DATA}; passive: data to {instance.own}; the file, both times"
    return Trial(
        instance.vm.name,
        expected,
        (_both(client, instance.own, 5.0),),
        judge_by(partial(_transferred_both_ways, instance=instance, client=client)),
    )


def _transferred_both_ways(
    active: Transferred, passive: Transferred, *, instance: Instance, client: InternetHost
) -> Finding:
    observed = _begun(active, passive)
    for mode, one in (("active", active), ("passive", passive)):
        if f'"{instance.vm.name}"' not in one.got:
            return Finding(observed, f"the {mode} transfer failed: {one.said[-160:]}")
    wanted = (instance.own, _FTP_DATA, str(client.address))
    if [(d.source, d.source_port, d.destination) for d in active.data] != [wanted]:
        return Finding(observed, f"the server's data connection is not from {instance.own}:{_FTP_DATA}")
    if [(d.source, d.destination) for d in passive.data] != [(str(client.address), instance.own)]:
        return Finding(observed, f"the client's data connection is not to {instance.own}")
    return Finding(observed)


def _no_transfers(client: InternetHost, instance: Instance) -> Trial:

    expected = f"active: data not from port {_FTP_DATA}, so the client refuses it; passive: nobody answers"
    stage = _both(client, instance.vip, 1.5)
    return Trial(f"{instance.vm.name}, by its endpoint alone", expected, (stage,), judge_by(_not_transferred))


def _not_transferred(active: Transferred, passive: Transferred) -> Finding:
    observed = _begun(active, passive)
    if not active.control or not passive.control:
        return Finding(observed, doubt=f"no client spoke to the server: {active.said[-160:]}")
    if active.got or passive.got:
        return Finding(observed, "a transfer succeeded without an address of the VM's own")
    if not active.data or not passive.data:
        return Finding(observed, doubt="no data connection was tried")
    kept = [d for d in active.data if d.source_port == _FTP_DATA]
    return Finding(observed, f"the data connection is from port {_FTP_DATA}" if kept else "")


@claim(
    "S4-8",
    f"{PUBLIC_IP_2016}, Why would I request one",
    "Outbound traffic has it for its source, which tells the VM apart from all others.",
    facts=(
        "its flows are seen from its address",
        "each VM from one of its own",
    ),
)
def own_address_is_the_source(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    by_service: dict[str, list[Instance]] = {}
    for instance in with_own(network):
        by_service.setdefault(instance.service.name, []).append(instance)
    for found in by_service.values():
        if far is None or len(found) < 2:
            continue

        expected = ", ".join(f"{i.vm.name} from {i.own}" for i in found)
        stage = Stage(tuple(send(network, i.vm, far, "tcp") for i in found))
        yield Trial(
            f"VMs of {found[0].service.name}",
            expected,
            (stage,),
            judge_by(partial(_each_seen_from_its_own, found=found, network=network)),
        )


def _each_seen_from_its_own(*observations: Arrivals, found: list[Instance], network: Network) -> Finding:
    observed = "; ".join(f"{i.vm.name}: {arrived(a)}" for i, a in zip(found, observations, strict=True))
    for instance, arrivals in zip(found, observations, strict=True):
        if wrong := wrong_source(network, WayOut("own", frozenset({instance.own})), arrivals):
            return Finding(observed, f"{instance.vm.name}: {wrong}")
    return Finding(observed)


# --- S4-13: the service configuration file ----------------------------------------------------

_SAMPLE = """\
    <?xml version="1.0" encoding="utf-8"?>
    <ServiceConfiguration serviceName="ILPIPSample" \
xmlns="http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceConfiguration" osFamily="4" osVersion="*" \
schemaVersion="2014-01.2.3">
      <Role name="WebRole1">
        <Instances count="1" />
          <ConfigurationSettings>
        <Setting name="Microsoft.WindowsAzure.Plugins.Diagnostics.ConnectionString" \
value="UseDevelopmentStorage=true" />
          </ConfigurationSettings>
      </Role>
      <NetworkConfiguration>
        <AddressAssignments>
          <InstanceAddress roleName="WebRole1">
        <PublicIPs>
          <PublicIP name="MyPublicIP" domainNameLabel="MyPublicIP" />
            </PublicIPs>
          </InstanceAddress>
        </AddressAssignments>
      </NetworkConfiguration>
    </ServiceConfiguration>
"""
_PUBLIC_IP = '<PublicIP name="MyPublicIP" domainNameLabel="MyPublicIP" />'
_OTHER_ROLE = '<InstanceAddress roleName="WebRole2"><PublicIPs /></InstanceAddress>'
#: Files that are wrong, and what is said of each.
_WRONG = (
    (
        _SAMPLE.replace(_PUBLIC_IP, "<PublicIP /><PublicIP />").replace(
            "<AddressAssignments>", f"<AddressAssignments>{_OTHER_ROLE}"
        ),
        ('no Role "WebRole2"', "2 PublicIP", "no name"),
    ),
    (_SAMPLE.replace("<ServiceConf", '<!DOCTYPE a [<!ENTITY b "c">]><ServiceConf', 1), ("plain XML",)),
)


def _import(text: str) -> Run:
    return Run(words=("import", "cscfg", "{lab}", "{file}"), text=text, suffix=".cscfg")


@claim(
    "S4-13",
    f"{PUBLIC_IP_2016}, role instance",
    "Role instances get theirs from the service configuration file.",
    facts=(
        "the sample gives the instance its address",
        "its label is a name",
        "an unknown role is refused",
        "two addresses of an instance are refused",
        "an address without a name is refused",
        "the file is written back",
    ),
)
def role_instances_have_theirs_from_the_file(network: Network) -> Iterator[Trial]:
    vm, client = network.vm("WebRole1_IN_0"), far_client(network)
    service = None if vm is None else network.service_of(vm.name)
    flow = None if vm is None else answered(network, vm)
    if vm is None or client is None or service is None or service.name != "ILPIPSample" or flow is None:
        return
    names = [f"{label}.ILPIPSample.cloudapp.net" for label in ("MyPublicIP.0", "WebRole1_IN_0")]

    experiments: tuple[Experiment, ...] = (
        *(_import(text) for text, _ in _WRONG),
        show(vm.name),
        _import(_SAMPLE),
        show(vm.name),
        *(Lookup(client=client.name, name=name) for name in names),
        flow,
        Run(words=("export", "cscfg", "{lab}", "--service", service.name)),
    )
    expected = "wrong files are refused; the sample gives the instance MyPublicIP, its names and its way out"
    yield Trial(
        vm.name,
        expected,
        changed_back(network, *experiments),
        judge_by(partial(_given_and_taken_by_the_file, names=names)),
    )


def _given_and_taken_by_the_file(*observations: Observation, names: list[str]) -> Finding:
    *wrong, none, taken, done, written = of_type(observations, Checked)
    (first, second), (back,) = of_type(observations, Names), of_type(observations, Returned)
    fields = shown(done)
    observed = (
        f"{'; '.join(f'exit {w.status}' for w in wrong)}; then exit {taken.status}: "
        f"{fields.get('PublicIPName')} {fields.get('PublicIPAddress')}; seen from {back.source or 'nowhere'}"
    )
    for (_, words), one in zip(_WRONG, wrong, strict=True):
        if one.status != 2 or any(word not in one.said for word in words):
            return Finding(observed, f"a file with this was not refused: {', '.join(words)}: {one.said[:160]}")
    if shown(none).get("PublicIPAddress"):
        return Finding(observed, "a file that was refused has changed something")
    if taken.status or fields.get("PublicIPName") != "MyPublicIP":
        return Finding(observed, taken.said if taken.status else "it is not shown with MyPublicIP")
    for name, found in zip(names, (first, second), strict=True):
        if found.addresses != (fields.get("PublicIPAddress"),):
            return Finding(observed, f"{name} is {', '.join(found.addresses) or 'not known'}")
    if _PUBLIC_IP not in written.said:
        return Finding(observed, "the file that is written has no such PublicIP")
    return Finding(observed, is_own(back, fields))


# --- what later revisions say -----------------------------------------------------------------


@claim(
    "N-SN-14",
    _OUTBOUND_2018_07,
    "A VM's own address carries TCP, UDP, ICMP and ESP, one to one; shared addresses carry TCP and UDP only.",
    facts=("an address of its own carries ICMP", "and ESP", "shared ones carry neither"),
)
def own_address_carries_all_protocols(network: Network) -> Iterator[Trial]:
    far, client = far_host(network), far_client(network)
    owners = of_kind(network, "own")
    if far is None or client is None or not owners:
        return
    for vm in one_of_each(network):
        own = vm.instance_public_ip is not None
        sends: list[Send] = [
            send(network, vm, far, p, 4, lost=0 if own or p == "udp" else 4) for p in ("udp", "icmp", "esp")
        ]
        is_open = own and vm.name in open_to_all(network)
        if is_open:
            (address,) = way_out(network, vm).addresses
            sends += [inbound(client, vm, address, protocol) for protocol in ("icmp", "esp")]
        yield Trial(
            vm.name,
            f"ICMP and ESP {'pass both ways' if is_open else 'leave'}"
            if own
            else "UDP leaves; of ICMP and ESP nothing leaves the virtual network",
            (Stage(tuple(sends)),),
            judge_by(partial(_protocols_carried, passes=own, network=network, vm=vm)),
        )


def _protocols_carried(
    plain: Arrivals, *others: Arrivals, passes: bool, network: Network, vm: VirtualMachine
) -> Finding:
    """Find that all protocols pass, or none but the first, which is the control of the others."""
    labels = ("udp out", "icmp out", "esp out", "icmp in", "esp in")
    observed = "; ".join(f"{label}: {arrived(a)}" for label, a in zip(labels, (plain, *others), strict=False))
    if not plain.seen[-1]:
        return Finding(observed, doubt="UDP did not arrive either")
    for label, arrivals in zip(labels[1:], others, strict=False):
        if passes and len(arrivals.seen[-1]) < arrivals.sent:
            return Finding(observed, f"{label}: {arrivals.sent - len(arrivals.seen[-1])} flows did not arrive")
        if passes and "out" in label and (wrong := wrong_source(network, way_out(network, vm), arrivals)):
            return Finding(observed, f"{label}: {wrong}")
        if not passes and arrivals.seen[0]:
            return Finding(observed, f"{label}: it left the virtual network")
    return Finding(observed)


@claim(
    "N-SN-20",
    _OUTBOUND_2022_03,
    "Fragments are dropped unless they leave by the VM's own address.",
    profiles=("2022-03", "2026-07"),
    facts=("shared addresses carry no fragments", "a VM's own does"),
)
def fragments_leave_by_own_address_only(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    if far is None or not drops_fragments(network) or not of_kind(network, "own"):
        return
    for vm in network.virtual_machines:
        if way_out(network, vm, "udp").kind == "none":
            continue
        own = vm.instance_public_ip is not None
        sends = (send(network, vm, far, "udp", 2), send(network, vm, far, "udp", 2, form="large", lost=0 if own else 2))

        expected = "3,000 bytes arrive" if own else "a whole datagram arrives, and nothing of one in fragments leaves"
        yield Trial(
            vm.name, expected, (Stage(sends),), judge_by(partial(_fragments_seen, vm=vm, own=own, network=network))
        )


def _fragments_seen(small: Arrivals, large: Arrivals, *, vm: VirtualMachine, own: bool, network: Network) -> Finding:
    observed = f"whole: {arrived(small)}; 3,000 bytes: {arrived(large)}"
    if len(small.seen[-1]) < small.sent:
        return Finding(observed, doubt="what is whole did not arrive either")
    if own:
        return Finding(observed, wrong_source(network, way_out(network, vm), large))
    return Finding(observed, "fragments left the virtual network" if _any(large) else "")


def _any(arrivals: Arrivals) -> bool:
    return any(arrivals.seen)


CLAIMS = (
    own_address_beside_the_vip,
    own_address_opens_every_port,
    each_instance_has_a_record,
    one_address_at_most,
    addresses_of_a_subscription,
    vm_with_two_interfaces_has_none,
    active_ftp_works,
    own_address_is_the_source,
    role_instances_have_theirs_from_the_file,
    own_address_carries_all_protocols,
    fragments_leave_by_own_address_only,
)
