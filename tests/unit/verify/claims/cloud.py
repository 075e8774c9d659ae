"""A lab of cloud services without a kernel: commands make another network of one, and packets go as it says."""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from itertools import cycle
from unittest import mock
from zlib import crc32

from lab.azure.cloud_services import access_list, host_name, permits
from lab.azure.model import CloudService, Endpoint, Network, VirtualMachine
from lab.azure.outbound import links
from lab.cli import cli, execution
from lab.errors import LabError, TopologyError
from lab.kernel import apply
from lab.operations.base import Operation, changed
from lab.runtime import operate
from lab.topology import parse
from lab.verify import experiment as ex
from tests.unit.cmdlets.pure import PureLab

_EMPTY = "name: a\n"


class Pure:
    """A lab that behaves as the documents say, whatever its own commands make of it."""

    def __init__(self, network: Network) -> None:
        self.base = network
        self.forget()

    def forget(self) -> None:
        """Be as a lab that has just come up."""
        self.now = self.base
        self._stage: Network | None = None

    def do(self, what: ex.Experiment, stage: Network | None) -> ex.Observation:  # noqa: PLR0911 - one for each kind
        if stage is not self._stage:
            self.now, self._stage = stage or self.base, stage
        match what:
            case ex.Ask():
                return ex.Answers(answers=tuple(self._answers(what)))
            case ex.Sweep():
                return ex.Swept(passages=tuple(map(self._passage, what.flows)), deaf=())
            case ex.Track():
                vm, endpoint = self._led(what.send.private, what.send.destination, "tcp", what.send.port or 0)[0]
                entry = ex.Entry(5, what.send.private, 5, str(vm.private_ip_address), endpoint.local_port)
                return ex.Tracked(before=(), after=(entry,), arrivals=_arrivals(what.send, ""))
            case ex.Send():
                return _arrivals(what, self._source(what.sender))
            case ex.Lookup():
                return self._names(what)
            case ex.Health():
                return self._members()
            case ex.HoldFlows():
                return ex.Occupied(steps=tuple(self._held(what)))
            case ex.CheckFile():
                try:
                    parse(what.text, "f")
                except TopologyError as error:
                    return ex.Checked(status=2, said=str(error))
                return ex.Checked(status=0, said="f: ok")
            case ex.Run():
                return self._run(what)
        raise AssertionError(what)

    # --- packets ------------------------------------------------------------------------------

    def _endpoints(self) -> Iterator[tuple[CloudService, Endpoint, str]]:
        for service in self.now.cloud_services:
            for endpoint in service.endpoints:
                vip = service.virtual_ip(endpoint.virtual_ip)
                if vip is not None and vip.address is not None:
                    yield service, endpoint, str(vip.address)

    def _led(self, client: str, address: str, protocol: str, port: int) -> list[tuple[VirtualMachine, Endpoint]]:
        """Return the VMs that a flow may be led to; of a set, those whose probe is answered."""
        found = []
        for service, endpoint, at in self._endpoints():
            vm = self.now.vm(endpoint.virtual_machine)
            asked = (endpoint.protocol, endpoint.public_port, at) == (protocol, port, address)
            let = asked and permits(access_list(service, endpoint), IPv4Address(client))
            if vm is not None and let and vm.power_state == "Started" and _healthy(vm, endpoint):
                found.append((vm, endpoint))
        return found

    def _source(self, node: str) -> str:
        vm, host = self.now.vm(node), self.now.host(node)
        if host is not None:
            return str(host.address)
        assert vm is not None
        return str(links(self.now, vm.name)[0][1].address)

    def _answers(self, what: ex.Ask) -> Iterator[ex.Answer]:
        protocol = "udp" if what.kind == "udp" else "tcp"
        source = self._source(what.client)
        led = self._led(source, what.address, protocol, what.port)
        if not led:
            yield from [ex.Answer("timeout")] * what.count
            return
        for (vm, endpoint), _ in zip(cycle(led), range(what.count), strict=False):
            own = str(vm.private_ip_address)
            at = what.address if endpoint.direct_server_return else own
            subject = f"{vm.name}:{endpoint.local_port}" if what.kind == "https" else ""
            yield ex.Answer("answered", vm.name, source, 5, at, endpoint.local_port, subject, subject)

    def _passage(self, flow: ex.Flow) -> ex.FlowResult:
        led = self._led(flow.private, flow.destination, flow.protocol, flow.port)
        if not led:
            known = any(at == flow.destination for _, _, at in self._endpoints())
            edge = next((watch.name for watch in flow.ends if watch.kind == "edge"), "")
            return ex.FlowResult(True, edge if known else "")
        by_port = led[0][1].load_distribution == "Default"
        key = f"{flow.private} {flow.source_port if by_port else ''}"
        vm, endpoint = led[crc32(key.encode()) % len(led)]
        ends = {watch.name for watch in flow.ends}
        if vm.name not in ends:
            return ex.FlowResult(True, next((w.name for w in flow.ends if w.kind == "edge"), ""))
        return ex.FlowResult(True, vm.name, f"{vm.private_ip_address}:{endpoint.local_port}")

    def _names(self, what: ex.Lookup) -> ex.Names:
        for service in self.now.cloud_services:
            vip = service.virtual_ip(service.default_virtual_ip)
            if host_name(service) == what.name and vip is not None and vip.address is not None:
                return ex.Names(addresses=(str(vip.address),), said="")
        return ex.Names(addresses=(), said="NXDOMAIN")

    def _members(self) -> ex.Members:
        up, down = [], {}
        for service, endpoint, _ in self._endpoints():
            vm = self.now.vm(endpoint.virtual_machine)
            key = f"{service.name}/{endpoint.load_balanced_set}/{endpoint.virtual_machine}"
            if vm is not None and endpoint.probe is not None and _healthy(vm, endpoint):
                up.append(key)
            elif endpoint.probe is not None:
                down[key] = "connection refused"
        return ex.Members(up=tuple(up), down=down)

    def _held(self, what: ex.HoldFlows) -> Iterator[ex.Happened]:
        """Hold flows to endpoints, each for as long as its endpoint says."""
        now, flows = 0.0, dict[int, list[float]]()
        for step in what.steps:
            if isinstance(step, ex.Pause):
                now += step.seconds
                yield ex.Happened()
                continue
            if isinstance(step, ex.Open):
                goal = step.goals[0]
                ((_, endpoint),) = self._led("192.0.2.9", goal.address, "tcp", goal.port)
                idle = endpoint.idle_timeout_min * 60 / self.now.overrides.time_scale
                new = range(len(flows), len(flows) + step.count)
                flows |= {port: [now, idle] for port in new}
                yield ex.Happened(answered=step.count, seen=tuple(ex.Source("192.0.2.9", port) for port in new))
                continue
            alive = [port for port, (used, idle) in flows.items() if now < used + idle]
            flows |= {port: [now, flows[port][1]] for port in alive}
            dead = len(flows) - len(alive)
            seen = tuple(ex.Source("192.0.2.9", port) for port in alive)
            yield ex.Happened(answered=len(alive), silent=dead, seen=seen)

    # --- commands -----------------------------------------------------------------------------

    def _run(self, what: ex.Run) -> ex.Checked:
        if what.words[0] == "exec":
            return self._inside(what.words[2], what.words[4:])
        if what.words[0] == "replay":
            lab = PureLab(_EMPTY)
            lab.made = self.now
            said = lab.play(what.text)
            self.now = lab.made
            return ex.Checked(status=0, said=said)
        with tempfile.NamedTemporaryFile("w", suffix=what.suffix) as file:
            file.write(what.text)
            file.flush()
            return self._command([word.format(lab=self.now.name, file=file.name) for word in what.words])

    def _command(self, words: Sequence[str]) -> ex.Checked:
        def perform(_lab: str, operation: Operation, _say: object) -> apply.Outcome:
            self.now = changed(self.now, operation)
            return apply.Outcome(built=False, changed=1)

        out, err, status = io.StringIO(), io.StringIO(), 0
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            stack.enter_context(mock.patch.object(operate, "perform", perform))
            stack.enter_context(mock.patch.object(operate, "network_of", side_effect=lambda _lab: self.now))
            stack.enter_context(mock.patch.object(execution, "need_root", return_value=None))
            try:
                cli.main(args=list(words), prog_name="lab", standalone_mode=False)
            except LabError as error:
                status = error.exit_code
                err.write(str(error))
        return ex.Checked(status=status, said=(out.getvalue() + err.getvalue()).strip())

    def _inside(self, node: str, words: Sequence[str]) -> ex.Checked:
        if words[:4] == ("ip", "-o", "-4", "addr"):
            vm = self.now.vm(node)
            assert vm is not None
            return ex.Checked(status=0, said=f"2: eth0    inet {vm.private_ip_address}/32 scope global eth0")
        if words == ("ip", "route"):
            found = sorted({at for _, _, at in self._endpoints()})
            return ex.Checked(status=0, said="\n".join(f"{at} via 169.254.2.2 dev lb.vnet1 onlink" for at in found))
        host = words[-1].removeprefix("http://").rstrip("/")
        service = next((s for s in self.now.cloud_services if host_name(s) == host), None)
        if service is None:
            there = next(h.name for h in self.now.internet if str(h.address) == host)
            return ex.Checked(status=0, said=json.dumps({"node": there}))
        vip = service.virtual_ip(service.default_virtual_ip)
        assert vip is not None
        led = self._led("198.51.100.10", str(vip.address), "tcp", 80)
        return (
            ex.Checked(status=0, said=json.dumps({"node": led[0][0].name})) if led else ex.Checked(status=28, said="")
        )


def _healthy(vm: VirtualMachine, endpoint: Endpoint) -> bool:
    probe = endpoint.probe
    return probe is None or any((s.port, s.protocol) == (probe.port, "tcp") for s in vm.services)


def _arrivals(what: ex.Send, source: str) -> ex.Arrivals:
    seen = tuple(ex.Seen(n, source, 2000 + n, what.destination, 80) for n in range(what.count))
    return ex.Arrivals(
        sent=what.count,
        source_ports=tuple(range(2000, 2000 + what.count)),
        control=True,
        seen=(seen,) * len(what.watches),
        strays=(),
        seconds=0.1,
    )
