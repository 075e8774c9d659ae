"""Reserved addresses, and how much there may be: virtual-networks-reserved-public-ip.md (2016-02-10)."""

from collections.abc import Iterator
from functools import partial

import msgspec

from lab.azure.model import CloudService, InternetHost, Network, VirtualIp
from lab.verify.claims.claim import Finding, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import (
    Reached,
    alone,
    command,
    failed_command,
    fetch,
    first,
    let,
    of_machines,
    operated,
    printed,
    reached,
    resolve,
    show,
    vips,
)
from lab.verify.claims.kit.judges import judge_by, of_type, send, sources
from lab.verify.claims.kit.oracle import far_client, far_host
from lab.verify.claims.kit.tunnels import fits
from lab.verify.experiment import SILENCE_S, Answers, Arrivals, Checked, Experiment, Names, Observation, Run

_RESERVED = "virtual-networks-reserved-public-ip.md (2016-02-10)"
_LIMITS = "virtual-network-ip-addresses-overview-classic.md (2016-02-11)"
_NEW = "addressOfATrial"
_CREATE = ("reserved-ip", "create", _NEW)
_MOST_VIPS = 5
#: What Get-AzureReservedIP prints, in this order.
_FIELDS = (
    *("ReservedIPName", "Address", "Id", "Label", "Location", "State", "InUse", "ServiceName", "DeploymentName"),
    *("OperationDescription", "OperationId", "OperationStatus"),
)


def _default(service: CloudService) -> VirtualIp:
    return next(vip for vip in service.virtual_ips if vip.name == service.default_virtual_ip)


def _web(network: Network, *, is_reserved: bool) -> list[Reached]:
    """Return the endpoints at port 80 of services with one VIP, whose address is reserved or is not."""
    return [
        one
        for one in alone(reached(network))
        if (one.kind, one.endpoint.public_port, len(one.service.virtual_ips)) == ("http", 80, 1)
        and (_default(one.service).reserved_ip is not None) == is_reserved
    ]


@claim(
    "N-RI-1",
    _RESERVED,
    "A reserved address is a VIP's, never a VM's own; it survives that VMs are deallocated, and cannot be chosen.",
    facts=("a reserved address outlives deallocation", "it cannot be chosen", "it is never a VM's own"),
)
def reserved_address_survives_deallocation(network: Network) -> Iterator[Trial]:
    client = far_client(network)
    for one in _web(network, is_reserved=True)[:1]:
        service, kept = one.service, _default(one.service).reserved_ip
        if client is None or kept is None:
            continue
        vms = service.virtual_machines
        experiments: tuple[Experiment, ...] = (
            *(command("vm", "deallocate", vm) for vm in vms),
            one.ask(client.name, timeout_s=SILENCE_S),
            *(command("vm", "start", vm) for vm in vms),
            resolve(client.name, service),
            one.ask(client.name),
            command(*_CREATE, "--address", "192.0.2.7"),
            command("reserved-ip", "associate", kept, vms[0]),
        )

        expected = f"{one.address} before and after; neither chosen nor given to a VM"
        yield Trial(
            f"{kept} of {service.name}",
            expected,
            (operated(*experiments),),
            judge_by(partial(_kept_and_not_chosen, one=one)),
        )


def _kept_and_not_chosen(*observations: Observation, one: Reached) -> Finding:
    *powered, chosen, owned = of_type(observations, Checked)
    (gone, answers), (names,) = of_type(observations, Answers), of_type(observations, Names)
    observed = (
        f"{one.address} without VMs: {first(gone).outcome}; then {', '.join(names.addresses) or 'no address'}: "
        f"{first(answers).node or first(answers).outcome}; choosing: exit {chosen.status}; for a VM: exit "
        f"{owned.status}"
    )
    wrong = failed_command(*powered)
    wrong = wrong or ("it answers without VMs" if first(gone).outcome != "timeout" else "")
    if not wrong and names.addresses != (one.address,):
        wrong = f"the address became {', '.join(names.addresses) or 'none'}"
    wrong = wrong or one.wrong(answers) or let(chosen, "choosing the address", "the address cannot be chosen")
    return Finding(observed, wrong or let(owned, "a reserved address for a VM", "never a VM's own"))


def _printed(done: Checked) -> list[dict[str, str]]:
    """Return the objects that a listing prints in the form of lists."""
    found: list[dict[str, str]] = []
    for block in done.said.split("\n\n"):
        pairs = [line.split(":", 1) for line in block.splitlines() if ":" in line]
        found.append({key.strip(): value.strip() for key, value in pairs})
    return found


@claim(
    "N-RI-2",
    _RESERVED,
    "A reserved address shows its state, and whether and by which service it is used.",
    facts=(
        "Address is shown",
        "State is shown",
        "InUse is shown",
        "ServiceName is shown",
        "the fields are those of the document, in their order",
    ),
)
def reserved_address_shows_its_use(network: Network) -> Iterator[Trial]:
    for one in _web(network, is_reserved=True)[:1]:
        kept = _default(one.service).reserved_ip
        listing = Run(words=("replay", "{lab}", "{file}"), text="Get-AzureReservedIP\n", suffix=".ps1")

        stage = operated(command(*_CREATE), listing)
        expected = f"{', '.join(_FIELDS)}; Created, and InUse if a service has it"
        yield Trial(
            f"{kept} of {one.service.name}", expected, (stage,), judge_by(partial(_use_shown, one=one, kept=kept))
        )


def _use_shown(made: Checked, done: Checked, *, one: Reached, kept: str | None) -> Finding:
    found = {fields.get("ReservedIPName", ""): fields for fields in _printed(done)}
    used, spare = found.get(kept or "", {}), found.get(_NEW, {})
    observed = "; ".join(f"{name}: InUse {fields.get('InUse')}" for name, fields in found.items())
    wrong = failed_command(made, done)
    if not wrong and tuple(used) != _FIELDS:
        wrong = f"it has the fields {', '.join(used) or 'none'}"
    wanted = {"Address": one.address, "State": "Created", "InUse": "True", "ServiceName": one.service.name}
    wrong = wrong or next((f"its {k} is {used[k]}" for k, v in wanted.items() if used[k] != v), "")
    unused = (spare.get("State"), spare.get("InUse"), spare.get("ServiceName"))
    return Finding(observed, wrong or (f"a new one shows {unused}" if unused != ("Created", "False", "") else ""))


@claim(
    "N-RI-3",
    _RESERVED,
    "The address that a service has can be reserved as it is; it can be taken from the service and given back, and "
    "what leaves has it.",
    facts=(
        "the address of a live service is reserved in place",
        "taken from the service, the address is another's no more",
        "given back, it is the service's again",
        "what leaves has it",
    ),
)
def address_can_be_reserved_as_it_is(network: Network) -> Iterator[Trial]:
    client, far = far_client(network), far_host(network)
    for one in _web(network, is_reserved=False)[:1]:
        vm = one.vms[0]
        if client is None or far is None:
            continue
        yield _converted(one, client, (send(network, vm, far, count=4),))


def _converted(one: Reached, client: InternetHost, sent: tuple[Experiment, ...]) -> Trial:
    service = one.service
    named = command(*_CREATE, "--location", service.location, "--service", service.name)
    experiments: tuple[Experiment, ...] = (
        *(named, resolve(client.name, service), one.ask(client.name), *sent),
        *(command("reserved-ip", "disassociate", _NEW, service.name), resolve(client.name, service)),
        *(fetch(client.name, service), *sent),
        *(command("reserved-ip", "associate", _NEW, service.name), resolve(client.name, service)),
        *(one.ask(client.name), *sent),
    )

    expected = f"{one.address} reserved in place, in and out; another without it; {one.address} again"
    return Trial(
        service.name, expected, (operated(*experiments),), judge_by(partial(_reserved_taken_and_given_back, one=one))
    )


def _reserved_taken_and_given_back(*observations: Observation, one: Reached) -> Finding:
    made, taken, fetched, given = of_type(observations, Checked)
    answers, back = of_type(observations, Answers)
    told = [", ".join(name.addresses) or "nothing" for name in of_type(observations, Names)]
    left = [", ".join(sources(arrivals)) or "nowhere" for arrivals in of_type(observations, Arrivals)]
    observed = "; ".join(f"{t}, seen from {source}" for t, source in zip(told, left, strict=True))
    wrong = failed_command(made, taken, given)
    if not wrong and told[0] != one.address:
        wrong = f"the VIP became {told[0]} when {one.address} was reserved"
    wrong = wrong or one.wrong(answers)
    if not wrong and told[1] == one.address:
        wrong = f"without its reserved address the VIP is {told[1]}"
    node = (printed(fetched) or {}).get("node")
    wrong = wrong or (f"{node} answers without it" if node != one.vms[0].name else "")
    if not wrong and told[2] != one.address:
        wrong = f"given back, the VIP is {told[2]}"
    wrong = wrong or one.wrong(back)
    odd = next((f"seen from {s} instead of {t}" for t, s in zip(told, left, strict=True) if s != t), "")
    return Finding(observed, wrong or odd)


def _beyond() -> str:
    six = ", ".join(f"V{n}: {{}}" for n in range(6))
    reserved = ", ".join(f"r{n}: {{}}" for n in range(21))
    return f"""\
name: beyond
profile: seeds
cloud_services:
  a: {{virtual_ips: {{{six}}}}}
  b: {{roles: {{W: 1}}, virtual_ips: {{V1: {{reserved_ip: r1}}, V2: {{reserved_ip: r2}}}}}}
reserved_ips: {{{reserved}}}
"""


@claim(
    "N-RI-4",
    _LIMITS,
    "A service has at most five VIPs, one with roles one reserved address, a subscription 20 of them in 2016.",
    facts=(
        "a service has at most 5 VIPs",
        "a service has 5 VIPs",
        "a subscription has at most 20 reserved addresses in 2016",
        "a service has at most one reserved address",
    ),
)
def five_vips_of_a_service(network: Network) -> Iterator[Trial]:
    for service in [s for s in of_machines(network) if len(s.virtual_ips) > 1][:1]:
        more = tuple(VirtualIp(name=f"Trial{n}") for n in range(_MOST_VIPS - len(service.virtual_ips)))
        full = msgspec.structs.replace(service, virtual_ips=(*service.virtual_ips, *more))
        services = tuple(full if s is service else s for s in network.cloud_services)

        stage = operated(
            show(service),
            command("vip", "add", service.name, "OneMore"),
            network=msgspec.structs.replace(network, cloud_services=services),
        )
        yield Trial(f"VIPs of {service.name}", "five, and no sixth", (stage,), judge_by(_five_and_no_sixth))
        words = (
            "6 VIPs; a service has at most 5 VIPs",
            "21 reserved addresses; a subscription has at most 20",
            "2 reserved addresses in one service with roles; its deployment has at most one",
        )
        yield fits(_beyond(), "a sixth VIP, a 21st reserved address, a second one of a service with roles", *words)


def _five_and_no_sixth(shown: Checked, beyond: Checked) -> Finding:
    observed = f"{len(vips(shown))} VIPs; one more: exit {beyond.status}: {beyond.said[:160]}"
    wrong = "" if len(vips(shown)) == _MOST_VIPS else "a service has not five VIPs"
    return Finding(observed, wrong or let(beyond, "a sixth VIP", "a service has at most 5 VIPs"))


CLAIMS = (
    reserved_address_survives_deallocation,
    reserved_address_shows_its_use,
    address_can_be_reserved_as_it_is,
    five_vips_of_a_service,
)
