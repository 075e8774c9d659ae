"""Cloud services as claims see them: their endpoints, the lab's own commands, and what these print."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from lab.azure.model import AclRule, CloudService, Endpoint, InternetHost, Network, VirtualIp, VirtualMachine
from lab.verify.claims.claim import Stage
from lab.verify.experiment import (
    ANSWER_S,
    Answer,
    Answers,
    Ask,
    Checked,
    Experiment,
    Flow,
    Lookup,
    Protocol,
    Run,
    Sweep,
    Watch,
)

Kind = Literal["http", "https", "tcp", "udp"]
_KINDS: tuple[Kind, ...] = ("https", "http", "tcp", "udp")
#: Port of a VIP that is nobody's.
UNUSED = 4321


# --- what a file has --------------------------------------------------------------------------


class Reached(msgspec.Struct, frozen=True):
    """An endpoint, or a load-balanced set, at a VIP that has an address, with VMs that say whom they saw."""

    service: CloudService
    endpoint: Endpoint
    address: str
    vms: tuple[VirtualMachine, ...]
    kind: Kind

    def ask(self, client: str, count: int = 1, timeout_s: float = ANSWER_S) -> Ask:
        """Return conversations with it."""
        port = self.endpoint.public_port
        return Ask(client=client, address=self.address, port=port, kind=self.kind, count=count, timeout_s=timeout_s)

    def flow(self, host: InternetHost, *, awaited: bool = True) -> Flow:
        """Return the first packet of a flow to it, which may arrive at its VMs."""
        port = self.endpoint.public_port
        return flow(host, self.address, self.endpoint.protocol, port, self.vms, awaited=awaited)

    def rules(self) -> tuple[AclRule, ...]:
        """Return its access list; that of one member is that of the set."""
        mates = self.service.load_balanced_sets().get(self.endpoint.load_balanced_set or "", (self.endpoint,))
        return next((mate.acl for mate in mates if mate.acl), ())

    def key(self, vm: str) -> str:
        """Return a member of a set as it is told of."""
        return f"{self.service.name}/{self.endpoint.load_balanced_set}/{vm}"

    def wrong(self, answers: Answers) -> str:
        """Return what contradicts that its VMs answered at its private port, "" if nothing does."""
        for answer in answers.answers:
            if answer.outcome != "answered":
                return f"{self}: {answer.outcome}"
            if answer.node not in {vm.name for vm in self.vms}:
                return f"{self} was answered by {answer.node}"
            if answer.server_port != self.endpoint.local_port:
                return f"{self} ended at port {answer.server_port} instead of {self.endpoint.local_port}"
        return ""

    def __str__(self) -> str:
        return f"{self.endpoint.virtual_ip}:{self.endpoint.public_port}"


def of_machines(network: Network) -> list[CloudService]:
    """Return the services of virtual machines of which none has an address of its own."""
    own = {vm.name for vm in network.virtual_machines if vm.instance_public_ip}
    return [
        service
        for service in network.cloud_services
        if service.virtual_machines and not service.roles and own.isdisjoint(service.virtual_machines)
    ]


def reached(network: Network) -> list[Reached]:
    """Return the endpoints and sets that anybody may use, each set once."""
    grouped = {(n.name, s.name) for n in network.virtual_networks for s in n.subnets if s.network_security_group}
    return [
        one
        for one in listed(network)
        if not one.rules()
        and not any(vm.network_security_group or (vm.virtual_network, vm.subnet) in grouped for vm in one.vms)
    ]


def listed(network: Network) -> list[Reached]:
    """Return the endpoints and sets of all services of virtual machines, each set once."""
    vms = {vm.name: vm for vm in network.virtual_machines}
    found: dict[tuple[str, str], Reached] = {}
    for service in of_machines(network):
        sets = service.load_balanced_sets()
        for endpoint in service.endpoints:
            vip = service.virtual_ip(endpoint.virtual_ip)
            mates = sets.get(endpoint.load_balanced_set or "", (endpoint,))
            members = tuple(vms[mate.virtual_machine] for mate in mates)
            kinds = [kind for vm in members if (kind := _kind(vm, endpoint))]
            if vip is not None and vip.address is not None and kinds:
                name = endpoint.load_balanced_set or f"{endpoint.virtual_machine}/{endpoint.name}"
                found.setdefault((service.name, name), Reached(service, endpoint, str(vip.address), members, kinds[0]))
    return list(found.values())


def _kind(vm: VirtualMachine, endpoint: Endpoint) -> Kind | None:
    at = {s.kind for s in vm.services if (s.port, s.protocol) == (endpoint.local_port, endpoint.protocol)}
    return next((kind for kind in _KINDS if kind in at), None)


def alone(found: Iterable[Reached]) -> list[Reached]:
    """Return those that are no sets."""
    return [one for one in found if one.endpoint.load_balanced_set is None]


def sets(found: Iterable[Reached]) -> list[Reached]:
    """Return those that are sets of several VMs."""
    return [one for one in found if one.endpoint.load_balanced_set is not None and len(one.vms) > 1]


def vips_beside(service: CloudService) -> list[VirtualIp]:
    """Return the VIPs of a service that its name does not lead to."""
    return [vip for vip in service.virtual_ips if vip.name != service.default_virtual_ip]


def without_endpoints(network: Network, service: CloudService, vip: VirtualIp) -> Network:
    """Return the network in which no endpoint uses a VIP, which has no address then (Multiple VIPs, 2015-07-23)."""
    changed = msgspec.structs.replace(
        service,
        endpoints=tuple(e for e in service.endpoints if e.virtual_ip != vip.name),
        virtual_ips=tuple(msgspec.structs.replace(v, address=None) if v is vip else v for v in service.virtual_ips),
    )
    services = tuple(changed if s is service else s for s in network.cloud_services)
    return msgspec.structs.replace(network, cloud_services=services)


# --- what is done -----------------------------------------------------------------------------


def operated(*experiments: Experiment, network: Network | None = None) -> Stage:
    """Return a stage in which the lab's own commands change the lab."""
    return Stage(experiments, network, operates=True)


def command(*words: str) -> Run:
    """Run a command, of two words and its arguments, on the lab."""
    return Run(words=(*words[:2], "{lab}", *words[2:]))


def inside(node: str, *words: str) -> Run:
    """Run a command inside a node."""
    return Run(words=("exec", "{lab}", node, "--", *words))


def show(service: CloudService) -> Run:
    """Ask for all of a service."""
    return command("service", "show", service.name, "-o", "json")


def name_of(service: CloudService) -> str:
    """Return the name that leads to a service."""
    return f"{service.name}.cloudapp.net"


def fetch(client: str, service: CloudService) -> Run:
    """Let curl ask a service by its name."""
    return inside(client, "curl", "-sS", "-m", "3", f"http://{name_of(service)}/")


def resolve(client: str, service: CloudService) -> Lookup:
    """Let nslookup ask for the address of a service."""
    return Lookup(client=client, name=name_of(service))


def flow(
    host: InternetHost,
    address: str,
    protocol: Protocol,
    port: int,
    vms: Sequence[VirtualMachine],
    *,
    awaited: bool = True,
) -> Flow:
    """Return the first packet of a flow from outside that may arrive at some VMs of one network."""
    home = vms[0].virtual_network
    return Flow(
        sender=host.name,
        private=str(host.address),
        destination=address,
        protocol=protocol,
        port=port,
        passes=(Watch("edge", home),),
        ends=tuple(Watch("node", vm.name, vm.virtual_network) for vm in vms),
        awaited=awaited,
    )


def silent(*flows: Flow) -> Sweep:
    """Send flows that must arrive nowhere."""
    return Sweep(flows=tuple(msgspec.structs.replace(one, awaited=False) for one in flows))


def replay(*listing: str) -> Run:
    """Run a document's listing against the lab."""
    return Run(words=("replay", "{lab}", "{file}"), text="\n".join(listing) + "\n", suffix=".ps1")


# --- what is said -----------------------------------------------------------------------------


def things(done: Checked) -> list[dict[str, str]]:
    """Return the objects that cmdlets printed as lists: a line for each field, and an empty one between objects."""
    blocks = [block.strip("\n").splitlines() for block in re.split(r"\n\s*\n", done.said)]
    parted = [[re.split(r"\s+:(?: |$)", line, maxsplit=1) for line in lines] for lines in blocks]
    return [{key.strip(): value.strip() for key, value in rows} for rows in parted if all(len(r) == 2 for r in rows)]


def printed(done: Checked) -> Any:
    """Return what a command printed as JSON; None if it failed, or printed none."""
    if done.status:
        return None
    try:
        return json.JSONDecoder().raw_decode(done.said)[0]
    except json.JSONDecodeError:
        return None


def vips(done: Checked) -> dict[str, dict[str, Any]]:
    """Return the VIPs that ``show`` prints, by name; none if it failed."""
    found = printed(done) or {}
    return {vip["Name"]: vip for vip in found.get("virtual_ips", ())}


def addresses(shown: dict[str, dict[str, Any]]) -> str:
    """Say the VIPs and their addresses."""
    return ", ".join(f"{name} {vip['Address'] or 'blank'}" for name, vip in shown.items()) or "no VIP"


def failed_command(*done: Checked) -> str:
    """Return what contradicts that commands were done, "" if nothing does."""
    return next((f"exit {one.status}: {one.said[:200]}" for one in done if one.status), "")


def let(done: Checked, what: str, *words: str) -> str:
    """Return what contradicts that a command was refused with these words, "" if nothing does."""
    refused = done.status == 2 and all(word in done.said for word in words)
    return "" if refused else f"{what} was not refused: exit {done.status}: {done.said[:200]}"


def nodes(answers: Answers) -> list[str]:
    """Return who answered."""
    return sorted({answer.node or answer.outcome for answer in answers.answers})


def first(answers: Answers) -> Answer:
    """Return the first conversation."""
    return answers.answers[0]


def hosts(network: Network) -> list[InternetHost]:
    """Return the outside hosts that are no name servers."""
    return [host for host in network.internet if not any(s.kind == "dns" for s in host.services)]


def pairs(found: Sequence[Reached]) -> Iterator[tuple[Reached, Reached]]:
    """Yield endpoints of one service that have one public port at two VIPs."""
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            same = (one.service.name, one.endpoint.protocol, one.endpoint.public_port)
            if same == (other.service.name, other.endpoint.protocol, other.endpoint.public_port):
                yield one, other
