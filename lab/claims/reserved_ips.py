"""Reserved addresses, and how much there may be: virtual-networks-reserved-public-ip.md (2016-02-10)."""

from collections.abc import Iterator, Sequence
from typing import Any

from lab.claims.claim import Claim, Trial
from lab.claims.classic import (
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
from lab.claims.documents import far_client, far_host
from lab.claims.judging import judge_by, send, sources
from lab.claims.tunnels import fits
from lab.experiment import SILENCE_S, Checked, Experiment, Run
from lab.model import CloudService, InternetHost, Network, VirtualIp
from lab.verdict import Judgement

_RESERVED = "virtual-networks-reserved-public-ip.md (2016-02-10)"
_LIMITS = "virtual-network-ip-addresses-overview-classic.md (2016-02-11)"
_NEW = "addressOfATrial"
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


_NO_VIP = """\
name: own
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
reserved_ips: {kept: {address: 192.0.2.1}}
virtual_machines: {vm: {subnet: v/s, instance_public_ip: {name: ip, address: 192.0.2.1}}}
"""


def _ri_1(network: Network) -> Iterator[Trial]:
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
            command("reserved-ip", "create", _NEW, "--address", "192.0.2.7"),
            command("reserved-ip", "associate", kept, vms[0]),
        )

        def check(observations: Sequence[Any], one: Reached = one, count: int = len(vms)) -> tuple[str, str]:
            stopped, gone, started = observations[:count], observations[count], observations[count + 1 : -4]
            names, answers, chosen, owned = observations[-4:]
            observed = (
                f"{one.address} without VMs: {first(gone).outcome}; then {', '.join(names.addresses) or 'no address'}: "
                f"{first(answers).node or first(answers).outcome}; choosing: exit {chosen.status}; for a VM: exit "
                f"{owned.status}"
            )
            wrong = failed_command(*stopped, *started)
            wrong = wrong or ("it answers without VMs" if first(gone).outcome != "timeout" else "")
            if not wrong and names.addresses != (one.address,):
                wrong = f"the address became {', '.join(names.addresses) or 'none'}"
            wrong = wrong or one.wrong(answers) or let(chosen, "choosing the address", "the address cannot be chosen")
            return observed, wrong or let(owned, "a reserved address for a VM", "never a VM's own")

        expected = f"{one.address} before and after; neither chosen nor given to a VM"
        yield Trial(
            "N-RI-1", f"{kept} of {service.name}", expected, (operated(network, *experiments),), judge_by(check)
        )
        yield fits("N-RI-1", _NO_VIP, "a reserved address as a VM's own", "192.0.2.1 is also the address of")


def _printed(done: Checked) -> list[dict[str, str]]:
    """Return the objects that a listing prints in the form of lists."""
    found: list[dict[str, str]] = []
    for block in done.said.split("\n\n"):
        pairs = [line.split(":", 1) for line in block.splitlines() if ":" in line]
        found.append({key.strip(): value.strip() for key, value in pairs})
    return found


def _ri_2(network: Network) -> Iterator[Trial]:
    for one in _web(network, is_reserved=True)[:1]:
        kept = _default(one.service).reserved_ip
        listing = Run(words=("replay", "{lab}", "{file}"), text="Get-AzureReservedIP\n", suffix=".ps1")

        def check(observations: Sequence[Any], one: Reached = one, kept: str | None = kept) -> tuple[str, str]:
            made, done = observations
            found = {fields.get("ReservedIPName", ""): fields for fields in _printed(done)}
            used, spare = found.get(kept or "", {}), found.get(_NEW, {})
            observed = "; ".join(f"{name}: InUse {fields.get('InUse')}" for name, fields in found.items())
            wrong = failed_command(made, done)
            if not wrong and tuple(used) != _FIELDS:
                wrong = f"it has the fields {', '.join(used) or 'none'}"
            wanted = {"Address": one.address, "State": "Created", "InUse": "True", "ServiceName": one.service.name}
            wrong = wrong or next((f"its {k} is {used[k]}" for k, v in wanted.items() if used[k] != v), "")
            unused = (spare.get("State"), spare.get("InUse"), spare.get("ServiceName"))
            return observed, wrong or (f"a new one shows {unused}" if unused != ("Created", "False", "") else "")

        stage = operated(network, command("reserved-ip", "create", _NEW), listing)
        expected = f"{', '.join(_FIELDS)}; Created, and InUse if a service has it"
        yield Trial("N-RI-2", f"{kept} of {one.service.name}", expected, (stage,), judge_by(check))


def _ri_3(network: Network) -> Iterator[Trial]:
    client, far = far_client(network), far_host(network)
    for one in _web(network, is_reserved=False)[:1]:
        vm = one.vms[0]
        if client is None or far is None:
            continue
        yield _converted(network, one, client, (send(network, vm, far, count=4),))


def _converted(network: Network, one: Reached, client: InternetHost, sent: tuple[Experiment, ...]) -> Trial:
    service = one.service
    named = ("reserved-ip", "create", _NEW, "--location", service.location, "--service", service.name)
    experiments: tuple[Experiment, ...] = (
        *(command(*named), show(service), one.ask(client.name), *sent),
        *(
            command("reserved-ip", "disassociate", _NEW, service.name),
            show(service),
            fetch(client.name, service),
            *sent,
        ),
        *(command("reserved-ip", "associate", _NEW, service.name), show(service), one.ask(client.name), *sent),
        command("reserved-ip", "list", "-o", "json"),
    )

    def check(observations: Sequence[Any]) -> tuple[str, str] | Judgement:
        (made, shown, answers, out), (taken, bare, fetched, apart), (given, again, back, home) = (
            observations[at : at + 4] for at in (0, 4, 8)
        )
        vip = _default(service).name
        seen = [vips(done).get(vip, {}) for done in (shown, bare, again)]
        told = [f"{v.get('Address')} ({v.get('ReservedIPName') or 'dynamic'})" for v in seen]
        left = ", ".join(sources(out)), ", ".join(sources(apart)), ", ".join(sources(home))
        observed = "; ".join(f"{t}, seen from {source or 'nowhere'}" for t, source in zip(told, left, strict=True))
        wrong = failed_command(made, taken, given, fetched)
        if not wrong and (seen[0]["Address"], seen[0]["ReservedIPName"]) != (one.address, _NEW):
            wrong = f"the VIP became {told[0]} when {one.address} was reserved"
        wrong = wrong or one.wrong(answers)
        wrong = wrong or (f"seen from {left[0]} instead of {one.address}" if left[0] != one.address else "")
        if not wrong and (seen[1]["Address"] == one.address or seen[1]["ReservedIPName"]):
            wrong = f"without its reserved address the VIP is {told[1]}"
        wrong = wrong or (f"seen from {left[1]} without it" if left[1] != seen[1]["Address"] else "")
        node = (printed(fetched) or {}).get("node")
        wrong = wrong or (f"{node} answers without it" if node != one.vms[0].name else "")
        wrong = wrong or ("" if seen[2]["Address"] == one.address else f"given back, the VIP is {told[2]}")
        wrong = wrong or one.wrong(back)
        return observed, wrong or (f"seen from {left[2]} again" if left[2] != one.address else "")

    expected = f"{one.address} reserved in place, in and out; another without it; {one.address} again"
    return Trial("N-RI-3", service.name, expected, (operated(network, *experiments),), judge_by(check))


def _beyond() -> str:
    six = ", ".join(f"V{n}: {{}}" for n in range(6))
    reserved = ", ".join(f"r{n}: {{}}" for n in range(21))
    return f"""\
name: beyond
profile: seeds
cloud_services:
  a: {{virtual_ips: {{{six}}}}}
  b: {{virtual_ips: {{V1: {{reserved_ip: r1}}, V2: {{reserved_ip: r2}}}}}}
reserved_ips: {{{reserved}}}
"""


def _ri_4(network: Network) -> Iterator[Trial]:
    services = [s for s in of_machines(network) if len(s.virtual_ips) > 1]
    for service in services[:1]:
        room = 5 - len(service.virtual_ips)
        adding = [command("vip", "add", service.name, f"Trial{n}") for n in range(room + 1)]

        def check(observations: Sequence[Any]) -> tuple[str, str]:
            *added, beyond, shown = observations
            observed = f"{len(vips(shown))} VIPs; one more: exit {beyond.status}: {beyond.said[:160]}"
            wrong = failed_command(*added) or let(beyond, "a sixth VIP", "a service has at most 5 VIPs")
            return observed, wrong or ("" if len(vips(shown)) == 5 else "there are not five VIPs")

        stage = operated(network, *adding, show(service))
        yield Trial("N-RI-4", f"VIPs of {service.name}", "five, and no sixth", (stage,), judge_by(check))
        words = (
            "6 VIPs; a service has at most 5 VIPs",
            "21 reserved addresses; a subscription has at most 20",
            "2 reserved addresses in one service; a deployment has at most one",
        )
        yield fits("N-RI-4", _beyond(), "a sixth VIP, a 21st reserved address, a second one of a service", *words)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "N-RI-1",
        "A reserved address is a VIP's, never a VM's own; it survives that VMs are deallocated, and cannot be chosen.",
        _RESERVED,
        _ri_1,
    ),
    Claim(
        "N-RI-2", "A reserved address shows its state, and whether and by which service it is used.", _RESERVED, _ri_2
    ),
    Claim(
        "N-RI-3",
        "The address that a service has can be reserved as it is; it can be taken from the service and given back, and "
        "what leaves has it.",
        _RESERVED,
        _ri_3,
    ),
    Claim(
        "N-RI-4",
        "A service has at most five VIPs and one reserved address, a subscription 20 reserved addresses in 2016.",
        _LIMITS,
        _ri_4,
    ),
)
