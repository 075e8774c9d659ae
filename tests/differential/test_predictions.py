"""The oracle is held against what ``lab outbound`` and ``lab explain`` predict, on hundreds of files; no root."""

from collections.abc import Iterator

import pytest

from lab import topology
from lab.azure.model import Network
from lab.path import health_probe
from lab.plan import HealthCheck
from lab.predict import forecast
from lab.predict.forecast import Service
from lab.predict.outbound import Outbound
from tests.differential import drawing
from tests.differential.oracle import DEFAULT, Expected, Oracle

#: A file of each number, with what a command and an edit make of it: some 900 files.
SEEDS = range(300)


def files(seed: int) -> Iterator[str]:
    data = drawing.draw(seed)
    yield drawing.text_of(data)
    changed = drawing.change(seed, data)
    yield drawing.text_of(changed[1] if changed else data)
    yield drawing.text_of(drawing.edited(seed, data))


@pytest.mark.parametrize("tens", range(0, SEEDS.stop, 10))
def test_ways_out_and_outcomes_are_as_the_documents_say(tens: int):
    for seed in range(tens, tens + 10):
        for text in files(seed):
            network = topology.parse(text, f"{seed}.lab.yaml")
            oracle = Oracle(text)
            assert differences(network, oracle) == [], f"seed {seed}\n{text}"


def differences(network: Network, oracle: Oracle) -> list[str]:
    """Return what is predicted otherwise than by the oracle."""
    found = []
    ways = Outbound(network)
    checks = [item for item in health_probe.items(network, frozenset()) if isinstance(item, HealthCheck)]
    down = frozenset(check.key for check in checks if not oracle.up(check.node, check.port))
    for vm in network.virtual_machines:
        way = ways.of(vm)
        for protocol in ("tcp", "udp"):
            said = None if way.kind == "none" else frozenset(str(s.address) for s in way.of(protocol)) or None
            wanted = oracle.way(vm.name, protocol)
            if wanted is not None and wanted.addresses == {DEFAULT}:
                agree = way.kind == "default outbound"
            else:
                # Of several addresses any is a candidate: a lab may use one, or all.
                agree = said is None if wanted is None else said is not None and said <= wanted.addresses
            if not agree:
                found.append(f"{vm.name} {protocol}: {way.kind} {said}, not {wanted}")
        for host in network.internet:
            for protocol, port in (("tcp", 7000), ("udp", host.services[1].port)):
                expected = oracle.outbound(vm.name, protocol, host.name, port)
                outcome = forecast.forecast(network, vm.name, host.name, Service(protocol, port), down=down)  # type: ignore[arg-type]
                found += differs(f"{vm.name} to {host.name}:{port}/{protocol}", outcome.ways, expected)
    for host in network.internet:
        for address, protocol, port in targets(oracle):
            expected = oracle.inbound(str(host.address), address, protocol, port)
            service = Service(protocol, port)  # type: ignore[arg-type]
            outcome = forecast.forecast(network, host.name, address, service, down=down)
            found += differs(f"{host.name} to {address}:{port}/{protocol}", outcome.ways, expected)
    return found


def targets(oracle: Oracle) -> list[tuple[str, str, int]]:
    """Return the public addresses and ports that lead to a VM, and some that do not."""
    found = [(front.address, front.protocol, front.port) for front in oracle.fronts]
    found += [(address, "udp" if protocol == "tcp" else "tcp", port) for address, protocol, port in found]
    found += [(own, protocol, 80) for vm in oracle.vms if (own := oracle.own(vm)) for protocol in ("tcp", "udp")]
    return sorted(set(found))


def differs(flow: str, ways: tuple[forecast.Way, ...], expected: Expected) -> list[str]:
    """Say how what is predicted of a flow differs from what the oracle says."""
    ends = frozenset(way.end for way in ways if way.access == "Allow" and way.end is not None)
    silent = any(way.access != "Allow" for way in ways) or not ways
    if (ends, silent) == (expected.answerers, expected.silent):
        return []
    return [
        f"{flow}: predicted {sorted(ends)} silent {silent}; documents {sorted(expected.answerers)} {expected.silent}"
    ]
