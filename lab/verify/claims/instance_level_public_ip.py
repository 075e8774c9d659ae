"""Seed 004 (2016-02-10): instance-level public IPs of VMs and role instances; what later revisions say of them."""

import json
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec

from lab.azure.model import CloudService, InternetHost, Network, VirtualMachine
from lab.verify.claims.claim import Claim, Stage, Trial
from lab.verify.claims.kit.judges import arrived, judge_by, refused, send, sources, wrong_source
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
from lab.verify.experiment import (
    Answers,
    Arrivals,
    Ask,
    Checked,
    Experiment,
    Lookup,
    Names,
    Protocol,
    Return,
    Returned,
    Run,
    Send,
    Transfer,
    Transferred,
    Watch,
)
from lab.verify.verdict import Judgement

_SEED_004 = "seed 004 (2016-02-10)"
_LATER = "virtual-networks-instance-level-public-ip.md (2018-08-03)"
_IDLE = "load-balancer-tcp-idle-timeout.md (2016-10-24)"
_OUTBOUND_2018_07 = "load-balancer-outbound-connections.md (2018-07)"
_OUTBOUND_2022_03 = "load-balancer-outbound-connections.md (2022-03-01)"
_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "icmp", "esp")
#: Where VMs without a virtual network are numbered (the seed's listing: 100.74.118.91).
_STANDALONE = IPv4Network("100.64.0.0/10")
_FTP, _FTP_DATA = 21, 20  # RFC 959
_FLOWS = 8


class _Instance(msgspec.Struct, frozen=True):
    """A VM or role instance of a cloud service, and the addresses that the documents give it."""

    vm: VirtualMachine
    service: CloudService
    own: str  # its instance-level public IP; empty: none
    vip: str  # the service's default VIP

    def listens(self, kind: str) -> int | None:
        """Return the port of one of its services."""
        return next((s.port for s in self.vm.services if s.kind == kind), None)

    def endpoint(self, port: int) -> int | None:
        """Return the public port of the default VIP that leads to a port of it."""
        found = (
            e.public_port
            for e in self.service.endpoints_of(self.service.default_virtual_ip)
            if (e.virtual_machine, e.local_port, e.protocol) == (self.vm.name, port, "tcp")
        )
        return next(found, None)

    def without(self, network: Network) -> Network:
        """Return the network in which it has no address of its own."""
        vms = (_without_own(v) if v.name == self.vm.name else v for v in network.virtual_machines)
        return msgspec.structs.replace(network, virtual_machines=tuple(vms))


def _without_own(vm: VirtualMachine) -> VirtualMachine:
    return msgspec.structs.replace(vm, instance_public_ip=None)


def _instances(network: Network) -> list[_Instance]:
    found = []
    for vm in network.virtual_machines:
        service = network.service_of(vm.name)
        vip = None if service is None else service.virtual_ip(service.default_virtual_ip)
        if service is not None and vip is not None and vip.address is not None:
            own = str(vm.instance_public_ip.address) if vm.instance_public_ip else ""
            found.append(_Instance(vm, service, own, str(vip.address)))
    return found


def _with_own(network: Network) -> list[_Instance]:
    return [i for i in _instances(network) if i.own]


def _machines(network: Network) -> list[_Instance]:
    """Return the virtual machines with an address of their own that commands may change: of no role."""
    return [i for i in _with_own(network) if not i.service.roles]


def _plain(network: Network) -> list[VirtualMachine]:
    """Return the VMs that a command may give an address: one interface, none yet, of no role."""
    of_roles = {vm for service in network.cloud_services if service.roles for vm in service.virtual_machines}
    return [
        vm
        for vm in network.virtual_machines
        if not vm.instance_public_ip and not vm.secondary_interfaces and vm.name not in of_roles
    ]


def _changed_back(network: Network, *experiments: Experiment) -> tuple[Stage, Stage]:
    """Return experiments that change the lab as it stands, and what changes it back: a network of its own."""
    return Stage(experiments), Stage((), msgspec.structs.replace(network))


def _command(*words: str) -> Run:
    return Run(words=("public-ip", *words, "--lab", "{lab}"))


def _show(vm: str) -> Run:
    return Run(words=("public-ip", "show", vm, "--lab", "{lab}", "-o", "json"))


def _shown(done: Checked) -> dict[str, Any]:
    """Return the fields that `lab public-ip show` printed of one VM; nothing if it did not."""
    try:
        (fields,) = json.loads(done.said)["public_ips"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(fields)


def _inbound(client: InternetHost, vm: VirtualMachine, address: str, protocol: Protocol, **more: Any) -> Send:
    """Ask for flows from outside to an address, watched as they come in at the edge and where they must arrive."""
    return Send(
        sender=client.name,
        private=str(client.address),
        destination=address,
        protocol=protocol,
        count=_FLOWS,
        watches=(Watch("edge", vm.virtual_network), Watch("node", vm.name)),
        untranslated=True,
        **more,
    )


def _web(client: InternetHost, address: str, port: int, **more: Any) -> Ask:
    return Ask(client=client.name, address=address, port=port, kind="http", **more)


def _answered_by(answers: Answers, node: str) -> str:
    """Return what contradicts that a node answered, "" if nothing does."""
    for answer in answers.answers:
        if answer.outcome != "answered":
            return f"no answer ({answer.outcome})"
        if answer.node != node:
            return f"answered by {answer.node}"
    return ""


# --- S4-1 to S4-3: what an address is, and its names ------------------------------------------


def _s4_1(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for instance in _with_own(network):
        port = instance.listens("http")
        public = instance.endpoint(port) if port else None
        if client is None or port is None or public is None:
            continue
        shared = rules_to(network, instance.vm)  # a load-balanced set: other members answer too

        def check(
            observations: Sequence[Any], instance: _Instance = instance, shared: bool = bool(shared)
        ) -> tuple[str, str]:
            observed, contradiction = [], ""
            for where, answers in zip((instance.vip, instance.own, instance.vip), observations, strict=True):
                wrong = _answered_by(answers, instance.vm.name)
                if shared and where == instance.vip and wrong.startswith("answered by"):
                    wrong = ""
                observed.append(f"{where}: {wrong or 'answered'}")
                contradiction = contradiction or (wrong and f"{where}: {wrong}")
            if instance.own == instance.vip:
                contradiction = "the address is the VIP"
            return "; ".join(observed), contradiction

        vip = _web(client, instance.vip, public)
        expected = f"answers at {instance.vip}:{public} and at {instance.own}:{port}"
        stage = Stage((vip, _web(client, instance.own, port), vip))
        yield Trial("S4-1", instance.vm.name, expected, (stage,), judge_by(check))


def _s4_2(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for instance in _with_own(network)[:2]:
        if client is None:
            continue

        def check(observations: Sequence[Any], instance: _Instance = instance) -> tuple[str, str] | Judgement:
            *own, vip = observations
            observed = "; ".join(f"{p}: {arrived(a)}" for p, a in zip(_PROTOCOLS, own, strict=True))
            observed += f"; to the VIP: {arrived(vip)}"
            for protocol, arrivals in zip(_PROTOCOLS, own, strict=True):
                if len(arrivals.seen[-1]) < arrivals.sent:
                    return observed, f"{protocol}: {arrivals.sent - len(arrivals.seen[-1])} flows did not arrive"
                wrong = [s for s in arrivals.seen[-1] if s.source != str(client.address)]
                if wrong:
                    return observed, f"{protocol}: the VM sees {wrong[0].source}"
            if len(vip.seen[0]) < vip.sent:
                return Judgement("INCONCLUSIVE", observed, "what was sent to the VIP did not come as far as the edge")
            return observed, f"the VIP leads to {instance.vm.name} without an endpoint" if vip.seen[-1] else ""

        sends = [_inbound(client, instance.vm, instance.own, protocol) for protocol in _PROTOCOLS]
        sends.append(_inbound(client, instance.vm, instance.vip, "tcp", lost=_FLOWS))
        expected = "TCP, UDP, ICMP and ESP arrive on ports that have no endpoint; the VIP is silent there"
        yield Trial("S4-2", instance.vm.name, expected, (Stage(tuple(sends)),), judge_by(check))


def _lookups(claim: str, network: Network, names: dict[str, str], what: str) -> Iterator[Trial]:
    """Yield a trial that names lead to addresses, for an outside host and for a VM."""
    client, vms = far_client(network), [i.vm.name for i in _instances(network)]
    if client is None or not names or not vms:
        return
    askers = (client.name, vms[0])

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        observed, contradiction = [], ""
        asked = [(asker, name) for name in names for asker in askers]
        for (asker, name), found in zip(asked, observations, strict=True):
            answer: Names = found
            said = ", ".join(answer.addresses) or "no answer"
            observed.append(f"{name}: {said}")
            if answer.addresses != (names[name],):
                contradiction = contradiction or f"{name} is {said} to {asker}"
        return "; ".join(dict.fromkeys(observed)), contradiction

    expected = "; ".join(f"{name} is {address}" for name, address in names.items())
    stage = Stage(tuple(Lookup(client=asker, name=name) for name in names for asker in askers))
    yield Trial(claim, what, expected, (stage,), judge_by(check))


def _s4_3(network: Network) -> Iterator[Trial]:
    found = _with_own(network)
    names = {f"{i.service.name}.cloudapp.net": i.vip for i in found}
    for instance in found:
        for role in instance.service.roles:
            for number in range(role.instances):
                if f"{role.name}_IN_{number}" == instance.vm.name:
                    names[f"{role.name}_IN_{number}.{instance.service.name}.cloudapp.net"] = instance.own
        if not instance.service.roles:
            names[f"{instance.vm.name}.{instance.service.name}.cloudapp.net"] = instance.own
    yield from _lookups("S4-3", network, names, "names of services and instances")


# --- S4-4 to S4-6: limits ---------------------------------------------------------------------


def _stays(
    claim: str, network: Network, vm: VirtualMachine, before: Sequence[Run], words: str, expected: str
) -> Iterator[Trial]:
    """Yield a trial that the last of some commands is refused with these words, and the VM's way out is as it was."""
    far = far_host(network)
    if far is None:
        return
    way = way_out(network, vm)

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        *done, arrivals = observations
        last: Checked = done[-1]
        observed = f"exit {last.status}: {last.said[:200]}; then {arrived(arrivals)}"
        failed = [one for one in done[:-1] if one.status != 0]
        if failed:
            return observed, f"exit {failed[0].status}: {failed[0].said}"
        if last.status != 2 or words not in last.said:
            return observed, "it was not refused"
        return observed, wrong_source(network, way, arrivals)

    stages = _changed_back(network, *before, send(network, vm, far, "udp", _FLOWS))
    yield Trial(claim, f"{vm.name} of a running lab", expected, stages, judge_by(check))


def _file(vms: str) -> str:
    return f"""\
name: own
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/22, t: 10.0.4.0/24}}}}}}
virtual_machines: {{{vms}}}
"""


def _s4_4(network: Network) -> Iterator[Trial]:
    for instance in _machines(network)[:1]:
        yield refused(
            "S4-4",
            _file("vm: {subnet: v/s, instance_public_ip: [{name: a}, {name: b}]}"),
            "two addresses of one VM",
            "at most one",
        )
        second = _command("set", instance.vm.name, "second")
        yield from _stays("S4-4", network, instance.vm, [second], "at most one", "refused, and the first works")


def _most(network: Network) -> int:
    """Return how many addresses a subscription may have: 5, and 500 by the limits of 2022-12."""
    return 500 if network.profile.name == "2026-07" else 5


def _s4_5(network: Network) -> Iterator[Trial]:
    if not _with_own(network):
        return
    most = _most(network)
    vms = ", ".join(f"vm{i}: {{subnet: v/s, instance_public_ip: {{name: a}}}}" for i in range(most + 1))
    yield fits("S4-5", _file(vms), f"{most + 1} addresses", f"a subscription has at most {most}")
    left = most - sum(1 for vm in network.virtual_machines if vm.instance_public_ip)
    plain = _plain(network)
    if 0 <= left < len(plain):
        given = [_command("set", vm.name, "more") for vm in plain[: left + 1]]
        words, expected = f"at most {most}", f"the one after {most} is refused, and its VM leaves as before"
        yield from _stays("S4-5", network, plain[left], given, words, expected)


def _s4_6(network: Network) -> Iterator[Trial]:
    for vm in [vm for vm in network.virtual_machines if vm.secondary_interfaces][:1]:
        two = "network_interfaces: {a: {subnet: v/s}, b: {subnet: v/t}}"
        must = "a VM with several network interfaces cannot have one"
        text = _file(f"vm: {{{two}, instance_public_ip: {{name: a}}}}")
        yield fits("S4-6", text, "an address of a VM with two interfaces, or a second interface beside one", must)
        expected = "refused, and its VM leaves as before"
        yield from _stays("S4-6", network, vm, [_command("set", vm.name, "a")], must, expected)


# --- S4-7 and S4-8: what it is for ------------------------------------------------------------


def _s4_7(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for instance in _instances(network):
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


def _transfers(client: InternetHost, instance: _Instance) -> Trial:
    def check(observations: Sequence[Any]) -> tuple[str, str]:
        active, passive = observations
        observed = _begun(active, passive)
        for mode, one in (("active", active), ("passive", passive)):
            if f'"{instance.vm.name}"' not in one.got:
                return observed, f"the {mode} transfer failed: {one.said[-160:]}"
        wanted = (instance.own, _FTP_DATA, str(client.address))
        if [(d.source, d.source_port, d.destination) for d in active.data] != [wanted]:
            return observed, f"the server's data connection is not from {instance.own}:{_FTP_DATA}"
        if [(d.source, d.destination) for d in passive.data] != [(str(client.address), instance.own)]:
            return observed, f"the client's data connection is not to {instance.own}"
        return observed, ""

    expected = f"active: data from {instance.own}:{_FTP_DATA}; passive: data to {instance.own}; the file, both times"
    return Trial("S4-7", instance.vm.name, expected, (_both(client, instance.own, 5.0),), judge_by(check))


def _no_transfers(client: InternetHost, instance: _Instance) -> Trial:
    def check(observations: Sequence[Any]) -> tuple[str, str] | Judgement:
        active, passive = observations
        observed = _begun(active, passive)
        if not active.control or not passive.control:
            return Judgement("INCONCLUSIVE", observed, f"no client spoke to the server: {active.said[-160:]}")
        if active.got or passive.got:
            return observed, "a transfer succeeded without an address of the VM's own"
        if not active.data or not passive.data:
            return Judgement("INCONCLUSIVE", observed, "no data connection was tried")
        kept = [d for d in active.data if d.source_port == _FTP_DATA]
        return observed, f"the data connection is from port {_FTP_DATA}" if kept else ""

    expected = f"active: data not from port {_FTP_DATA}, so the client refuses it; passive: nobody answers"
    stage = _both(client, instance.vip, 1.5)
    return Trial("S4-7", f"{instance.vm.name}, by its endpoint alone", expected, (stage,), judge_by(check))


def _s4_8(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    by_service: dict[str, list[_Instance]] = {}
    for instance in _with_own(network):
        by_service.setdefault(instance.service.name, []).append(instance)
    for found in by_service.values():
        if far is None or len(found) < 2:
            continue

        def check(observations: Sequence[Any], found: list[_Instance] = found) -> tuple[str, str]:
            observed = "; ".join(f"{i.vm.name}: {arrived(a)}" for i, a in zip(found, observations, strict=True))
            for instance, arrivals in zip(found, observations, strict=True):
                if wrong := wrong_source(network, WayOut("own", frozenset({instance.own})), arrivals):
                    return observed, f"{instance.vm.name}: {wrong}"
            return observed, ""

        expected = ", ".join(f"{i.vm.name} from {i.own}" for i in found)
        stage = Stage(tuple(send(network, i.vm, far, "tcp") for i in found))
        yield Trial("S4-8", f"VMs of {found[0].service.name}", expected, (stage,), judge_by(check))


# --- S4-9 to S4-12: managed -------------------------------------------------------------------


def _s4_9(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for instance in _machines(network)[:1]:
        own = instance.vm.instance_public_ip
        if far is None or own is None:
            continue

        def check(observations: Sequence[Any], instance: _Instance = instance, name: str = own.name) -> tuple[str, str]:
            done, arrivals = observations
            fields = _shown(done)
            observed = f"{fields.get('PublicIPName')} {fields.get('PublicIPAddress')}; {arrived(arrivals)}"
            if (fields.get("ServiceName"), fields.get("PublicIPName")) != (instance.service.name, name):
                return observed, f"the VM is not shown with {name}"
            return observed, wrong_source(network, way_out(network, instance.vm), arrivals)

        stage = Stage((_show(instance.vm.name), send(network, instance.vm, far, "tcp", _FLOWS)))
        yield Trial("S4-9", instance.vm.name, f"made with {own.name}, and seen from it", (stage,), judge_by(check))


def _s4_10(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    for instance in _machines(network)[:1]:
        alone = not any(
            vnet.name == instance.vm.virtual_network and vnet.address_space != (_STANDALONE,)
            for vnet in network.virtual_networks
        )
        if far is None or not alone:
            continue

        def check(observations: Sequence[Any], instance: _Instance = instance) -> tuple[str, str]:
            done, node, names, arrivals = observations
            fields = _shown(done)
            try:
                private = IPv4Address(json.loads(node.said)["address"])
            except (ValueError, KeyError):
                return f"exit {node.status}: {node.said[:160]}", "`lab show` has no address of the VM"
            address, name = fields.get("PublicIPAddress"), fields.get("PublicIPName")
            observed = f"IpAddress {private}, PublicIPAddress {address}, PublicIPName {name}; {arrived(arrivals)}"
            if private not in _STANDALONE:
                return observed, f"{private} is not in {_STANDALONE}"
            if names.addresses != (instance.vip,):
                return observed, f"DNSName leads to {', '.join(names.addresses) or 'nothing'}"
            if sources(arrivals) != [address]:
                return observed, "the address shown is not the one that is seen"
            return observed, ""

        experiments: tuple[Experiment, ...] = (
            _show(instance.vm.name),
            Run(words=("show", "{lab}", instance.vm.name, "-o", "json")),
            Lookup(client=far.name, name=f"{instance.service.name}.cloudapp.net"),
            send(network, instance.vm, far, "udp", _FLOWS),
        )
        expected = "the address and name that work, a private address of 100.64.0.0/10, the service's name"
        yield Trial("S4-10", instance.vm.name, expected, (Stage(experiments),), judge_by(check))


def _s4_11(network: Network) -> Iterator[Trial]:
    far, client = far_host(network), far_client(network)
    for instance in _machines(network)[:1]:
        if far is None or client is None:
            continue
        without = instance.without(network)
        way = way_out(without, _without_own(instance.vm))
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

        def check(
            observations: Sequence[Any], instance: _Instance = instance, without: Network = without, way: WayOut = way
        ) -> tuple[str, str] | Judgement:
            before, removed, done, inbound, out = observations
            fields = _shown(done)
            blank = not fields.get("PublicIPAddress") and not fields.get("PublicIPName")
            observed = (
                f"before: {arrived(before)}; removed: exit {removed.status}, {'blank' if blank else fields}; "
                f"to {instance.own}: {arrived(inbound)}; out: {arrived(out)}"
            )
            if wrong := wrong_source(network, way_out(network, instance.vm), before):
                return observed, f"before: {wrong}"
            if removed.status or not fields or not blank:
                return observed, removed.said if removed.status else "it is still shown"
            if len(inbound.seen[0]) < inbound.sent:
                return Judgement("INCONCLUSIVE", observed, "the client's flows were not seen to leave it")
            if inbound.seen[-1]:
                return observed, f"{instance.own} still leads to {instance.vm.name}"
            return observed, wrong_source(without, way, out)

        stages = _changed_back(
            network,
            send(network, instance.vm, far, "udp", _FLOWS),
            _command("remove", instance.vm.name),
            _show(instance.vm.name),
            gone,
            send(without, instance.vm, far, "udp", _FLOWS),
        )
        expected = f"{instance.own} is blank and silent; new flows come from {way}"
        yield Trial("S4-11", instance.vm.name, expected, stages, judge_by(check))


def _is_own(back: Returned, fields: dict[str, Any]) -> str:
    """Return what contradicts that a flow left by the address shown, and that everybody reaches the VM there."""
    if not back.source or back.source != fields.get("PublicIPAddress"):
        return f"seen from {back.source or 'nowhere'}, and {fields.get('PublicIPAddress') or 'no address'} is shown"
    return "" if back.answered and back.intruded else f"{back.source} does not lead to the VM"


def _return(network: Network, vm: VirtualMachine) -> Return | None:
    """Ask for a flow out, an answer, and a stranger's packet to the address that it was seen from."""
    far, stranger = far_host(network), far_client(network)
    if far is None or stranger is None or far == stranger:
        return None
    opened = send(network, vm, far, "udp", 1)
    return Return(send=opened, far=far.name, stranger=stranger.name, stranger_address=str(stranger.address))


def _s4_12(network: Network) -> Iterator[Trial]:
    if not _machines(network):
        return
    for vm in [vm for vm in _plain(network) if network.service_of(vm.name)][:1]:
        flow = _return(network, vm)
        if flow is None:
            continue

        def check(observations: Sequence[Any]) -> tuple[str, str]:
            given, done, back = observations
            fields = _shown(done)
            name, address = fields.get("PublicIPName"), fields.get("PublicIPAddress")
            observed = f"exit {given.status}; {name} {address}; seen from {back.source or 'nowhere'}"
            if given.status or name != "ftpip2":
                return observed, given.said if given.status else "it is not shown with ftpip2"
            return observed, _is_own(back, fields)

        stages = _changed_back(network, _command("set", vm.name, "ftpip2"), _show(vm.name), flow)
        expected = "ftpip2 is shown; the VM is seen from its address, and reached there by anybody"
        yield Trial("S4-12", vm.name, expected, stages, judge_by(check))


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
    return Run(words=("import", "cscfg", "{file}", "--into", "{lab}"), text=text, suffix=".cscfg")


def _s4_13(network: Network) -> Iterator[Trial]:
    vm, client = network.vm("WebRole1_IN_0"), far_client(network)
    service = None if vm is None else network.service_of(vm.name)
    flow = None if vm is None else _return(network, vm)
    if vm is None or client is None or service is None or service.name != "ILPIPSample" or flow is None:
        return
    names = [f"{label}.ILPIPSample.cloudapp.net" for label in ("MyPublicIP.0", "WebRole1_IN_0")]

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        *wrong, none, taken, done, first, second, back, written = observations
        fields = _shown(done)
        observed = (
            f"{'; '.join(f'exit {w.status}' for w in wrong)}; then exit {taken.status}: "
            f"{fields.get('PublicIPName')} {fields.get('PublicIPAddress')}; seen from {back.source or 'nowhere'}"
        )
        for (_, words), one in zip(_WRONG, wrong, strict=True):
            if one.status != 2 or any(word not in one.said for word in words):
                return observed, f"a file with this was not refused: {', '.join(words)}: {one.said[:160]}"
        if _shown(none).get("PublicIPAddress"):
            return observed, "a file that was refused has changed something"
        if taken.status or fields.get("PublicIPName") != "MyPublicIP":
            return observed, taken.said if taken.status else "it is not shown with MyPublicIP"
        for name, found in zip(names, (first, second), strict=True):
            if found.addresses != (fields.get("PublicIPAddress"),):
                return observed, f"{name} is {', '.join(found.addresses) or 'not known'}"
        if _PUBLIC_IP not in written.said:
            return observed, "the file that is written has no such PublicIP"
        return observed, _is_own(back, fields)

    experiments: tuple[Experiment, ...] = (
        *(_import(text) for text, _ in _WRONG),
        _show(vm.name),
        _import(_SAMPLE),
        _show(vm.name),
        *(Lookup(client=client.name, name=name) for name in names),
        flow,
        Run(words=("export", "cscfg", "{lab}", "--service", service.name)),
    )
    expected = "wrong files are refused; the sample gives the instance MyPublicIP, its names and its way out"
    yield Trial("S4-13", vm.name, expected, _changed_back(network, *experiments), judge_by(check))


# --- what later revisions say -----------------------------------------------------------------


def _n_il_1(network: Network) -> Iterator[Trial]:
    names = {}
    for instance in _with_own(network):
        own = instance.vm.instance_public_ip
        if own is None or own.domain_name_label is None:
            continue
        numbers = {f"{r.name}_IN_{n}": n for r in instance.service.roles for n in range(r.instances)}
        number = numbers.get(instance.vm.name, 0)
        names[f"{own.domain_name_label}.{number}.{instance.service.name}.cloudapp.net"] = instance.own
    if not names or not _machines(network):
        return
    yield from _lookups("N-IL-1", network, names, "names of labels")
    refused_with = ("minutes: 3; an idle timeout is 4 to 30 minutes", "minutes: 31; an idle timeout is 4 to 30 minutes")
    for first, last, words in ((4, 30, ()), (3, 31, refused_with)):
        vms = (
            f"vm{minutes}: {{subnet: v/s, instance_public_ip: {{name: a, idle_timeout_in_minutes: {minutes}}}}}"
            for minutes in (first, last)
        )
        yield fits("N-IL-1", _file(", ".join(vms)), f"idle timeouts of {first} and {last} minutes", *words)
    yield _fields(network, _machines(network)[-1])


def _fields(network: Network, instance: _Instance) -> Trial:
    """Return a trial that nobody chooses the address, that the timeout can be set, and which fields are shown."""
    vm, own = instance.vm.name, instance.vm.instance_public_ip
    assert own is not None
    wanted = {
        "PublicIPAddress": instance.own,
        "PublicIPName": own.name,
        "PublicIPDomainNameLabel": own.domain_name_label or "",
    }

    def check(observations: Sequence[Any]) -> tuple[str, str]:
        chosen, given, done = observations
        fields = _shown(done)
        observed = f"choosing: exit {chosen.status}; 20 minutes: exit {given.status}; {fields}"
        if chosen.status != 2:
            return observed, "the address can be chosen"
        if given.status or fields.get("IdleTimeoutInMinutes") != 20:
            return observed, given.said if given.status else "the timeout is not 20 minutes"
        wrong = [key for key, value in wanted.items() if fields.get(key) != value]
        if wrong or not isinstance(fields.get("PublicIPFqdns"), list):
            return observed, f"{wrong[0] if wrong else 'PublicIPFqdns'} is not as it must be"
        return observed, ""

    stages = _changed_back(
        network,
        _command("set", vm, own.name, "--address", "203.0.113.200"),
        _command("set", vm, own.name, "--idle-timeout-in-minutes", "20"),
        _show(vm),
    )
    expected = "no address is chosen, 20 minutes are taken, and the fields of the document are shown"
    return Trial("N-IL-1", vm, expected, stages, judge_by(check))


def _n_sn_14(network: Network) -> Iterator[Trial]:
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
            sends += [_inbound(client, vm, address, protocol) for protocol in ("icmp", "esp")]
        yield Trial(
            "N-SN-14",
            vm.name,
            f"ICMP and ESP {'pass both ways' if is_open else 'leave'}"
            if own
            else "UDP leaves; of ICMP and ESP nothing leaves the virtual network",
            (Stage(tuple(sends)),),
            judge_by(_carries(network, vm, passes=own)),
        )


def _carries(
    network: Network, vm: VirtualMachine, *, passes: bool
) -> Callable[[Sequence[Any]], tuple[str, str] | Judgement]:
    """Return a check that all protocols pass, or none but the first, which is the control of the others."""
    labels = ("udp out", "icmp out", "esp out", "icmp in", "esp in")

    def check(observations: Sequence[Any]) -> tuple[str, str] | Judgement:
        observed = "; ".join(f"{label}: {arrived(a)}" for label, a in zip(labels, observations, strict=False))
        plain, *others = observations
        if not plain.seen[-1]:
            return Judgement("INCONCLUSIVE", observed, "UDP did not arrive either")
        for label, arrivals in zip(labels[1:], others, strict=False):
            if passes and len(arrivals.seen[-1]) < arrivals.sent:
                return observed, f"{label}: {arrivals.sent - len(arrivals.seen[-1])} flows did not arrive"
            if passes and "out" in label and (wrong := wrong_source(network, way_out(network, vm), arrivals)):
                return observed, f"{label}: {wrong}"
            if not passes and arrivals.seen[0]:
                return observed, f"{label}: it left the virtual network"
        return observed, ""

    return check


def _n_sn_20(network: Network) -> Iterator[Trial]:
    far = far_host(network)
    if far is None or not drops_fragments(network) or not of_kind(network, "own"):
        return
    for vm in network.virtual_machines:
        if way_out(network, vm, "udp").kind == "none":
            continue
        own = vm.instance_public_ip is not None
        sends = (send(network, vm, far, "udp", 2), send(network, vm, far, "udp", 2, form="large", lost=0 if own else 2))

        def check(observations: Sequence[Any], vm: VirtualMachine = vm, own: bool = own) -> tuple[str, str] | Judgement:
            small, large = observations
            observed = f"whole: {arrived(small)}; 3,000 bytes: {arrived(large)}"
            if len(small.seen[-1]) < small.sent:
                return Judgement("INCONCLUSIVE", observed, "what is whole did not arrive either")
            if own:
                return observed, wrong_source(network, way_out(network, vm), large)
            return observed, "fragments left the virtual network" if _any(large) else ""

        expected = "3,000 bytes arrive" if own else "a whole datagram arrives, and nothing of one in fragments leaves"
        yield Trial("N-SN-20", vm.name, expected, (Stage(sends),), judge_by(check))


def _any(arrivals: Arrivals) -> bool:
    return any(arrivals.seen)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "S4-1",
        "An instance-level public IP is a VM's or role instance's own, beside the VIP of its cloud service: both work.",
        f"{_SEED_004}, overview",
        _s4_1,
    ),
    Claim("S4-2", "With its own address a VM receives traffic on any port, without endpoints.", _SEED_004, _s4_2),
    Claim(
        "S4-3",
        "A service's name leads to its VIP, and an A record of each instance to its own address: ROLE_IN_0.SERVICE.",
        f"{_SEED_004}, overview",
        _s4_3,
    ),
    Claim("S4-4", "A VM or role instance has one such address at most.", f"{_SEED_004}, Note", _s4_4),
    Claim("S4-5", "A subscription has up to 5 of them (500 by the limits of 2022).", f"{_SEED_004}, Note", _s4_5),
    Claim("S4-6", "A VM with several network interfaces cannot have one.", f"{_SEED_004}, Note", _s4_6),
    Claim("S4-7", "Active FTP works with it, as any port is open.", f"{_SEED_004}, Why would I request one", _s4_7),
    Claim(
        "S4-8",
        "Outbound traffic has it for its source, which tells the VM apart from all others.",
        f"{_SEED_004}, Why would I request one",
        _s4_8,
    ),
    Claim("S4-9", "A VM can be made with one, by a name.", f"{_SEED_004}, during VM creation", _s4_9),
    Claim(
        "S4-10",
        "What is shown of a VM has its address and name, beside the private one and the service's name.",
        f"{_SEED_004}, retrieve",
        _s4_10,
    ),
    Claim(
        "S4-11",
        "It can be removed: it is blank then, leads nowhere, and the VM leaves as one without it.",
        f"{_SEED_004}, remove",
        _s4_11,
    ),
    Claim("S4-12", "It can be added to a VM that is there.", f"{_SEED_004}, add to an existing VM", _s4_12),
    Claim(
        "S4-13",
        "Role instances get theirs from the service configuration file.",
        f"{_SEED_004}, role instance",
        _s4_13,
    ),
    Claim(
        "N-IL-1",
        "The address is dynamic; its idle timeout is 4 to 30 minutes; a label makes the name LABEL.NUMBER.SERVICE.",
        f"{_LATER}; {_IDLE}",
        _n_il_1,
    ),
    Claim(
        "N-SN-14",
        "A VM's own address carries TCP, UDP, ICMP and ESP, one to one; shared addresses carry TCP and UDP only.",
        _OUTBOUND_2018_07,
        _n_sn_14,
    ),
    Claim(
        "N-SN-20",
        "Fragments are dropped unless they leave by the VM's own address.",
        _OUTBOUND_2022_03,
        _n_sn_20,
        ("2022-03", "2026-07"),
    ),
)
