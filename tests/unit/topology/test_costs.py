"""What a file costs to check grows as the file does: twice the file, hardly more than twice the work.

Work is counted in calls of functions, so that a busy machine changes nothing. 25,000 characters are read in less than
a second of processor time on a slow machine.
"""

import sys
from collections.abc import Callable, Iterable

import pytest

from lab import topology
from lab.errors import TopologyError

_SIZE = 12_000  # characters of the smaller file
_MOST = 3.0  # times the work for twice the size; with pairs it is 4
_CALLS = 5_000_000  # of the larger file


def prefixes(count: int) -> list[str]:
    return [f"10.{n >> 8}.{n & 255}.0/28" for n in range(count)]


def block(head: str, lines: Iterable[str]) -> str:
    return f"name: cost\n{head}\n" + "".join(f"  {line}\n" for line in lines)


_PLACE = "virtual_networks:\n  v: {address_space: [10.0.0.0/8], subnets: {f: 10.0.0.0/9}}\n"
_POOL = f"""{_PLACE}virtual_machines: {{m: {{subnet: v/f, services: [http:80]}}}}
load_balancers:
  lb:
    frontend_ip_configurations: {{p: 40.1.2.3}}
    backend_address_pools: {{q: [m]}}
    probes: {{a: {{port: 80}}}}
"""
_GATEWAY = (
    "virtual_networks:\n  v: {address_space: [172.16.0.0/16], subnets: {GatewaySubnet: 172.16.255.0/27}}\n"
    "vpn_gateways: {v: {routing: dynamic, sku: HighPerformance}}\n"
)


def _tunnels(count: int) -> str:
    spaces = prefixes(count)
    sites = [(n, spaces[n::9]) for n in range(9)]
    return (
        block(
            f"{_GATEWAY}local_networks:",
            (f"l{n}: {{address_space: [{', '.join(s)}], vpn_gateway_address: 131.1.1.{n}}}" for n, s in sites),
        )
        + "connections:\n"
        + "".join(f"  - {{virtual_network: v, local_network: l{n}, shared_key: k}}\n" for n, _ in sites)
    )


def _rules(count: int, more: str) -> str:
    rules = (f"r{n}: {{frontend: p, backend_pool: q, probe: a, frontend_port: {n + 1}, {more}}}" for n in range(count))
    return block(f"{_POOL}    load_balancing_rules:", (f"    {rule}" for rule in rules))


SHAPES: dict[str, Callable[[int], str]] = {
    "ranges of one network": lambda n: block(
        "virtual_networks:", [f"v: {{address_space: [{', '.join(prefixes(n))}]}}"]
    ),
    "subnets": lambda n: block(
        "virtual_networks:\n  v:\n    address_space: [10.0.0.0/8]\n    subnets:",
        (f"    s{i}: {p}" for i, p in enumerate(prefixes(n))),
    ),
    "networks": lambda n: block(
        "virtual_networks:", (f"v{i}: {{address_space: [{p}]}}" for i, p in enumerate(prefixes(n)))
    ),
    "gateways": lambda n: (
        block(
            "virtual_networks:",
            (f"v{i}: {{address_space: [{p}], subnets: {{GatewaySubnet: {p}}}}}" for i, p in enumerate(prefixes(n))),
        )
        + "vpn_gateways:\n"
        + "".join(f"  v{i}: {{routing: dynamic}}\n" for i in range(n))
    ),
    "tunnels": _tunnels,
    "hosts": lambda n: block("internet:", (f"h{i}: {{address: 198.18.{i >> 8}.{i & 255}}}" for i in range(1, n))),
    "machines": lambda n: block(f"{_PLACE}virtual_machines:", (f"m{i}: {{subnet: v/f}}" for i in range(n))),
    "machines of a service": lambda n: block(
        f"{_PLACE}virtual_machines: {{{', '.join(f'm{i}: {{subnet: v/f}}' for i in range(n))}}}\ncloud_services:",
        [f"s: {{virtual_machines: [{', '.join(f'm{i}' for i in range(n))}]}}"],
    ),
    "load balancing rules": lambda n: _rules(n, "backend_port: 80"),
    "rules with floating IP": lambda n: _rules(n, f"backend_port: {n + 1}, enable_floating_ip: true"),
    "NAT rules": lambda n: block(
        f"{_POOL}    inbound_nat_rules:",
        (
            f"    r{i}: {{frontend: p, virtual_machine: m, frontend_port: {i + 1}, backend_port: {i + 1}}}"
            for i in range(n)
        ),
    ),
    "pools": lambda n: block(
        f"{_PLACE}virtual_machines: {{m: {{subnet: v/f}}}}\nload_balancers:\n  lb:\n"
        "    frontend_ip_configurations: {p: 40.1.2.3}\n    backend_address_pools:",
        (f"    q{i}: [m]" for i in range(n)),
    ),
    "load balancers": lambda n: block(
        f"{_PLACE}virtual_machines: {{m: {{subnet: v/f}}}}\nload_balancers:",
        (
            f"lb{i}: {{frontend_ip_configurations: {{p: 40.1.{i >> 8}.{i & 255}}}, backend_address_pools: {{q: [m]}}}}"
            for i in range(n)
        ),
    ),
    "security rules": lambda n: block(
        f"{_PLACE}network_security_groups:\n  g:",
        (f"  - {{name: r{i}, priority: {100 + i}, direction: Inbound, access: Allow}}" for i in range(n)),
    ),
    "endpoints": lambda n: block(
        "virtual_machines: {m: {}}\ncloud_services:\n  s:\n    virtual_machines: [m]\n    endpoints:",
        (
            f"  - {{name: e{i}, virtual_machine: m, protocol: tcp, local_port: {i + 1}, public_port: {i + 1}}}"
            for i in range(n)
        ),
    ),
    "VIPs": lambda n: block(
        "virtual_machines: {m: {}}\ncloud_services:\n  s:\n    virtual_machines: [m]\n    virtual_ips:",
        (f"    v{i}: {{}}" for i in range(n)),
    ),
    "services": lambda n: block("cloud_services:", (f"s{i}: {{}}" for i in range(n))),
    "reserved addresses": lambda n: block("reserved_ips:", (f"r{i}: {{}}" for i in range(n))),
    "expectations": lambda n: block(
        f"{_PLACE}virtual_machines: {{m: {{subnet: v/f}}, k: {{subnet: v/f}}}}\nexpect:",
        ("- {from: m, to: 'k:80/tcp', answered_by: [k]}" for _ in range(n)),
    ),
    "unknown keys": lambda n: "name: cost\n" + "".join(f"virtual_machin{i}: 1\n" for i in range(n)),
    "unknown members": lambda n: (
        block(f"{_PLACE}virtual_machines:", (f"m{i}: {{subnet: v/f}}" for i in range(n // 2)))
        + "load_balancers:\n  lb:\n    frontend_ip_configurations: {p: 40.1.2.3}\n"
        + f"    backend_address_pools: {{q: [{', '.join(f'q{i}' for i in range(n // 2))}]}}\n"
    ),
    "long names": lambda n: "name: cost\n" + "".join(f"virtual_machin{'e' * 200}{i}: 1\n" for i in range(n)),
    "a long name": lambda n: f"name: cost\nprofile: '{'9' * n}'\n",
    "nested lists": lambda n: f"name: cost\nx-1: {'[' * n}{']' * n}\n",
    "repeated keys": lambda n: "name: cost\n" + "internet: {}\n" * n,
    "merged keys": lambda n: (
        "name: cost\nx-0: &a0 {k0: 1}\n" + "".join(f"x-{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}\n" for i in range(1, n))
    ),
}


def of_size(shape: Callable[[int], str], size: int) -> str:
    """Return the largest file of a shape that is not larger than this."""
    low, high = 1, size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(shape(middle)) <= size else (low, middle)
    return shape(low)


def calls(text: str) -> int:
    """Count the calls of functions that checking a file takes."""
    count = 0

    def seen(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        topology.parse(text, "f")
    except TopologyError:
        pass
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", SHAPES)
def test_twice_the_file_is_hardly_more_than_twice_the_work(name: str):
    small, large = (calls(of_size(SHAPES[name], size)) for size in (_SIZE, 2 * _SIZE))
    assert large <= max(_MOST * small, 20_000)
    assert large <= _CALLS
