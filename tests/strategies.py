"""Random topologies, as the plain data of a file, and the networks they describe.

JSON is YAML, so a topology's text is `json.dumps` of it. All that is drawn here is valid.
"""

import json
from typing import Any

from hypothesis import strategies as st

from lab import profile
from lab.model import Network
from lab.topology import parse

_KINDS = ("http", "https", "tcp", "udp", "dns", "ssh")


def text_of(topology: dict[str, Any]) -> str:
    """Return a topology as the text of a file."""
    return json.dumps(topology)


@st.composite
def topologies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the plain data of a valid topology file."""
    topology: dict[str, Any] = {"name": draw(st.from_regex(r"[a-z][a-z0-9-]{0,19}", fullmatch=True))}
    topology["internet"] = {
        f"host{i}": {"address": f"198.51.100.{i + 1}", "services": draw(_services())}
        for i in range(draw(st.integers(0, 3)))
    }
    topology["virtual_networks"] = {
        f"vnet{i}": {
            "address_space": [f"10.{i}.0.0/16"],
            "subnets": {f"s{j}": f"10.{i}.{j}.0/{draw(st.sampled_from([24, 26, 28]))}" for j in range(2)},
        }
        for i in range(draw(st.sampled_from([1, 1, 2])))
    }
    subnets = [f"{v}/{s}" for v, vnet in topology["virtual_networks"].items() for s in vnet["subnets"]]
    machines: dict[str, Any] = {}
    for i in range(draw(st.sampled_from([7, 5, 3, 2, 1, 0]))):
        vm: dict[str, Any] = {"services": draw(_services())}
        if (subnet := draw(st.sampled_from([*subnets, *subnets, None]))) is not None:
            vm["subnet"] = subnet
        if draw(st.integers(0, 3)) == 0:
            vm["instance_public_ip"] = {"name": f"ip{i}"}
            if draw(st.booleans()):
                vm["instance_public_ip"]["address"] = f"104.43.142.{i + 1}"
        machines[f"vm{i}"] = vm
    topology["virtual_machines"] = machines
    balancers: dict[str, Any] = {}
    for i in range(draw(st.sampled_from([1, 2, 0]))):
        home = draw(st.sampled_from(sorted(topology["virtual_networks"])))
        inside = [n for n, vm in machines.items() if vm.get("subnet", "").startswith(f"{home}/")]
        balancers[("lb", "lb-x")[i]] = draw(_load_balancer(i, inside))
    topology["load_balancers"] = balancers
    if draw(st.booleans()):
        topology["network_security_groups"] = {f"g{i}": draw(_security_rules()) for i in range(2)}
        for vnet in topology["virtual_networks"].values():
            for name, prefix in vnet["subnets"].items():
                if draw(st.booleans()):
                    vnet["subnets"][name] = {"address_prefix": prefix, "network_security_group": "g0"}
        for vm in machines.values():
            if draw(st.booleans()):
                vm["network_security_group"] = draw(st.sampled_from(["g0", "g1"]))
    if draw(st.booleans()):
        topology["overrides"] = {
            "snat_ports_per_vm": draw(st.integers(1, 64511)),
            "time_scale": draw(st.integers(1, 240)),
        }
    topology["profile"] = draw(st.sampled_from(profile.NAMES))
    return topology


def networks() -> st.SearchStrategy[Network]:
    """Draw a valid network."""
    return topologies().map(lambda topology: parse(text_of(topology), "drawn.lab.yaml"))


@st.composite
def shuffled(draw: st.DrawFn, value: Any) -> Any:
    """Draw the same data with the keys of every mapping in another order; lists stay as they are."""
    if isinstance(value, dict):
        return {key: draw(shuffled(value[key])) for key in draw(st.permutations(list(value)))}
    return [draw(shuffled(item)) for item in value] if isinstance(value, list) else value


@st.composite
def _services(draw: st.DrawFn) -> list[str]:
    ports = draw(st.lists(st.integers(1, 65535), max_size=3, unique=True))
    return [f"{draw(st.sampled_from(_KINDS))}:{port}" for port in ports]


@st.composite
def _load_balancer(draw: st.DrawFn, number: int, inside: list[str]) -> dict[str, Any]:
    frontends = {f"f{i}": f"40.{number}.0.{i + 1}" for i in range(draw(st.integers(1, 3)))}
    # Whole pools are as likely as parts of them: what VMs share only shows where there are several.
    some_vms = st.just(inside) | st.lists(st.sampled_from(inside), unique=True) if inside else st.just(inside)
    balancer: dict[str, Any] = {
        "sku": draw(st.sampled_from(["Basic", "Standard"])),
        "frontend_ip_configurations": frontends,
        "backend_address_pools": {f"pool{i}": draw(some_vms) for i in range(2)},
        "probes": {"alive": {"protocol": draw(st.sampled_from(["Tcp", "Http"])), "port": 80, "interval_in_seconds": 5}},
    }
    # Each rule has a port of its own, so that no two are for one frontend port or one port of a VM, in any balancer.
    port = 1000 + 100 * number
    rules: dict[str, Any] = {"load_balancing_rules": {}, "inbound_nat_rules": {}}
    for i in range(draw(st.sampled_from([2, 3, 1, 0]))):
        port += 1
        common = {
            "frontend": draw(st.sampled_from(sorted(frontends))),
            "protocol": draw(st.sampled_from(["Tcp", "Udp"])),
            "frontend_port": port,
            "backend_port": port,
            "enable_floating_ip": draw(st.booleans()),
            "enable_tcp_reset": balancer["sku"] == "Standard" and draw(st.booleans()),
            "idle_timeout_in_minutes": draw(st.sampled_from([4, 10, 30])),
        }
        if inside and draw(st.booleans()):
            rules["inbound_nat_rules"][f"nat{i}"] = {**common, "virtual_machine": draw(st.sampled_from(inside))}
        else:
            pool = draw(st.sampled_from(sorted(balancer["backend_address_pools"])))
            spread = draw(st.sampled_from(["Default", "SourceIP", "SourceIPProtocol"]))
            rules["load_balancing_rules"][draw(st.sampled_from(["", "x-"])) + f"r{i}"] = {
                **common, "backend_pool": pool, "probe": "alive", "load_distribution": spread,
            }  # fmt: skip
    return {**balancer, **rules}


@st.composite
def _security_rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    address = st.sampled_from(
        ["*", "INTERNET", "VirtualNetwork", "AzureLoadBalancer", "10.0.0.0/24", "198.51.100.0/24"]
    )
    ports = st.sampled_from(["*", 80, "1-1023", "8080-65535"])
    return [
        {
            "name": f"r{i}",
            "priority": 100 + i,
            "direction": draw(st.sampled_from(["Inbound", "Outbound"])),
            "access": draw(st.sampled_from(["Allow", "Deny"])),
            "protocol": draw(st.sampled_from(["*", "Tcp", "UDP"])),
            "source_address_prefix": draw(address),
            "destination_address_prefixes": draw(st.lists(address, max_size=2)),
            "destination_port_ranges": draw(st.lists(ports, max_size=2)),
        }
        for i in range(draw(st.integers(0, 3)))
    ]


#: What may stand anywhere in a file that somebody is still writing.
garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a topology of which a few parts are replaced by anything, or are missing."""
    topology = draw(topologies())
    for _ in range(draw(st.integers(1, 3))):
        here: Any = topology
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(here[key], dict | list) and draw(st.integers(0, 3)):
                here = here[key]
                continue
            if draw(st.booleans()):
                here[key] = draw(garbage)
            else:
                del here[key]
            break
    return topology
