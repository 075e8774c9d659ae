"""VMs and role instances with addresses of their own, as claims see them; and what is tried with them."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from lab.azure.model import CloudService, InternetHost, Network, VirtualMachine
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import judge_by, send
from lab.verify.claims.kit.oracle import far_client, far_host
from lab.verify.experiment import (
    Answers,
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
    Watch,
)

PUBLIC_IP_2016 = "Instance level public IP (2016-02-10)"
_FLOWS = 8


class Instance(msgspec.Struct, frozen=True):
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
        vms = (without_own(v) if v.name == self.vm.name else v for v in network.virtual_machines)
        return msgspec.structs.replace(network, virtual_machines=tuple(vms))


def without_own(vm: VirtualMachine) -> VirtualMachine:
    """Return a VM without its own address."""
    return msgspec.structs.replace(vm, instance_public_ip=None)


def instances(network: Network) -> list[Instance]:
    """Return the VMs and role instances of cloud services."""
    found = []
    for vm in network.virtual_machines:
        service = network.service_of(vm.name)
        vip = None if service is None else service.virtual_ip(service.default_virtual_ip)
        if service is not None and vip is not None and vip.address is not None:
            own = str(vm.instance_public_ip.address) if vm.instance_public_ip else ""
            found.append(Instance(vm, service, own, str(vip.address)))
    return found


def with_own(network: Network) -> list[Instance]:
    """Return those with an address of their own."""
    return [i for i in instances(network) if i.own]


def machines(network: Network) -> list[Instance]:
    """Return the virtual machines with an address of their own that commands may change: of no role."""
    return [i for i in with_own(network) if not i.service.roles]


def plain(network: Network) -> list[VirtualMachine]:
    """Return the VMs that a command may give an address: one interface, none yet, of no role."""
    of_roles = {vm for service in network.cloud_services if service.roles for vm in service.virtual_machines}
    return [
        vm
        for vm in network.virtual_machines
        if not vm.instance_public_ip and not vm.secondary_interfaces and vm.name not in of_roles
    ]


def changed_back(network: Network, *experiments: Experiment) -> tuple[Stage, Stage]:
    """Return experiments that change the lab as it stands, and what changes it back: a network of its own."""
    return Stage(experiments), Stage((), msgspec.structs.replace(network))


def command(verb: str, *words: str) -> Run:
    """Run `lab public-ip` on the lab."""
    return Run(words=("public-ip", verb, "{lab}", *words))


def show(vm: str) -> Run:
    """Ask for what is shown of a VM's own address."""
    return Run(words=("public-ip", "show", "{lab}", vm, "-o", "json"))


def shown(done: Checked) -> dict[str, Any]:
    """Return the fields that `lab public-ip show` printed of one VM; nothing if it did not."""
    try:
        (fields,) = json.loads(done.said)["public_ips"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(fields)


def inbound(client: InternetHost, vm: VirtualMachine, address: str, protocol: Protocol, **more: Any) -> Send:
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


def web(client: InternetHost, address: str, port: int, **more: Any) -> Ask:
    """Ask a web server from outside."""
    return Ask(client=client.name, address=address, port=port, kind="http", **more)


def answered_by(answers: Answers, node: str) -> str:
    """Return what contradicts that a node answered, "" if nothing does."""
    for answer in answers.answers:
        if answer.outcome != "answered":
            return f"no answer ({answer.outcome})"
        if answer.node != node:
            return f"answered by {answer.node}"
    return ""


def lookups(network: Network, names: dict[str, str], what: str) -> Iterator[Trial]:
    """Yield a trial that names lead to addresses, for an outside host and for a VM."""
    client, vms = far_client(network), [i.vm.name for i in instances(network)]
    if client is None or not names or not vms:
        return
    askers = (client.name, vms[0])

    expected = "; ".join(f"{name} is {address}" for name, address in names.items())
    stage = Stage(tuple(Lookup(client=asker, name=name) for name in names for asker in askers))
    yield Trial(what, expected, (stage,), judge_by(partial(_names_lead_to, names=names, askers=askers)))


def _names_lead_to(*observations: Names, names: dict[str, str], askers: tuple[str, str]) -> Finding:
    observed, contradiction = [], ""
    asked = [(asker, name) for name in names for asker in askers]
    for (asker, name), found in zip(asked, observations, strict=True):
        answer: Names = found
        said = ", ".join(answer.addresses) or "no answer"
        observed.append(f"{name}: {said}")
        if answer.addresses != (names[name],):
            contradiction = contradiction or f"{name} is {said} to {asker}"
    return Finding("; ".join(dict.fromkeys(observed)), contradiction)


def file_of(vms: str) -> str:
    """Return a topology with some VMs."""
    return f"""\
name: own
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/22, t: 10.0.4.0/24}}}}}}
virtual_machines: {{{vms}}}
"""


def is_own(back: Returned, fields: dict[str, Any]) -> str:
    """Return what contradicts that a flow left by the address shown, and that everybody reaches the VM there."""
    if not back.source or back.source != fields.get("PublicIPAddress"):
        return f"seen from {back.source or 'nowhere'}, and {fields.get('PublicIPAddress') or 'no address'} is shown"
    return "" if back.answered and back.intruded else f"{back.source} does not lead to the VM"


def answered(network: Network, vm: VirtualMachine) -> Return | None:
    """Ask for a flow out, an answer, and a stranger's packet to the address that it was seen from."""
    far, stranger = far_host(network), far_client(network)
    if far is None or stranger is None or far == stranger:
        return None
    opened = send(network, vm, far, "udp", 1)
    return Return(send=opened, far=far.name, stranger=stranger.name, stranger_address=str(stranger.address))
