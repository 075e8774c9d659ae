"""Random topologies, as the plain data of a file, and the networks they describe.

JSON is YAML, so a topology's text is `json.dumps` of it. All that is drawn here is valid.
"""

import json
from typing import Any

from hypothesis import strategies as st

from lab.azure import profile
from lab.azure.model import Network
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
    if len(topology["virtual_networks"]) == 2:
        draw(_peerings(topology["virtual_networks"]))
    subnets = [f"{v}/{s}" for v, vnet in topology["virtual_networks"].items() for s in vnet["subnets"]]
    machines: dict[str, Any] = {}
    for i in range(draw(st.sampled_from([7, 5, 3, 2, 1, 0]))):
        vm: dict[str, Any] = {"services": draw(_services())}
        if (subnet := draw(st.sampled_from([*subnets, *subnets, None]))) is not None:
            vm["subnet"] = subnet
        if draw(st.integers(0, 3)) == 0 and sum("instance_public_ip" in other for other in machines.values()) < 5:
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
    if draw(st.integers(0, 2)) == 0:
        home = draw(st.sampled_from(sorted(topology["virtual_networks"])))
        inside = [n for n, vm in machines.items() if vm.get("subnet", "").startswith(f"{home}/")]
        balancers["inner"] = draw(_internal_balancer(home, inside))
    topology["load_balancers"] = balancers
    topology |= draw(_cloud_services(machines, balancers))
    if draw(st.booleans()):
        topology = draw(_guarded(topology))
    if draw(st.booleans()):
        topology["overrides"] = {
            "snat_ports_per_vm": draw(st.integers(1, 64511)),
            "time_scale": draw(st.integers(1, 240)),
        }
    topology["profile"] = draw(st.sampled_from(profile.NAMES))
    if not profile.resolve(topology["profile"]).ha_ports:
        for rule in balancers.get("inner", {}).get("load_balancing_rules", {}).values():
            rule |= {"protocol": "Tcp", "frontend_port": 3000, "backend_port": 3000}
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
def _guarded(draw: st.DrawFn, topology: dict[str, Any]) -> dict[str, Any]:
    """Draw security groups on some subnets and VMs of a topology, whose endpoints then have no access list."""
    topology["network_security_groups"] = {f"g{i}": draw(_security_rules()) for i in range(2)}
    for service in topology["cloud_services"].values():
        for endpoint in service["endpoints"]:
            endpoint.pop("acl", None)
    for vnet in topology["virtual_networks"].values():
        for name, prefix in vnet["subnets"].items():
            if draw(st.booleans()):
                vnet["subnets"][name] = {"address_prefix": prefix, "network_security_group": "g0"}
    for vm in topology["virtual_machines"].values():
        if draw(st.booleans()):
            vm["network_security_group"] = draw(st.sampled_from(["g0", "g1"]))
    return topology


@st.composite
def _cloud_services(draw: st.DrawFn, machines: dict[str, Any], balancers: dict[str, Any]) -> dict[str, Any]:
    """Draw a cloud service of VMs that no load balancer has, one of a role, and a reserved address that may be used."""
    taken = {m for lb in balancers.values() for pool in lb["backend_address_pools"].values() for m in pool}
    taken |= {nat["virtual_machine"] for lb in balancers.values() for nat in lb["inbound_nat_rules"].values()}
    homes: dict[str, list[str]] = {}
    for name in sorted(machines.keys() - taken):
        homes.setdefault(machines[name].get("subnet", "").partition("/")[0], []).append(name)
    services: dict[str, Any] = {}
    if homes and draw(st.booleans()):
        vms = homes[draw(st.sampled_from(sorted(homes)))]
        vips: dict[str, Any] = {f"Vip{n}": {} for n in range(1, draw(st.integers(2, 6)))}
        if draw(st.booleans()):
            vips[draw(st.sampled_from(sorted(vips)))] = {"reserved_ip": "kept"}
        if draw(st.booleans()):
            vips["Vip1"] = {"address": "40.9.0.1"}
        services["shop"] = {
            "virtual_machines": vms,
            "virtual_ips": vips,
            "default_virtual_ip": draw(st.sampled_from(sorted(vips))),
            "endpoints": draw(_endpoints(vms, sorted(vips))),
        }
    if draw(st.integers(0, 3)) == 0:
        endpoint = {"name": "E", "role": "Web", "local_port": 80}
        services["paas"] = {"roles": {"Web": draw(st.integers(1, 3))}, "endpoints": [endpoint]}
    reserved = {"kept": {}} if "reserved_ip" in str(services) or draw(st.booleans()) else {}
    return {"cloud_services": services, "reserved_ips": reserved}


@st.composite
def _endpoints(draw: st.DrawFn, vms: list[str], vips: list[str]) -> list[dict[str, Any]]:
    """Draw endpoints and load-balanced sets; no two have a port of a VIP or of a VM."""
    found = []
    for port in range(2000, 2000 + draw(st.integers(0, 4))):
        common: dict[str, Any] = {
            "name": f"e{port}",
            "protocol": draw(st.sampled_from(["tcp", "udp"])),
            "local_port": port,
            "public_port": port,
            "virtual_ip": draw(st.sampled_from(vips)),
            "load_balancer_distribution": draw(st.sampled_from(["none", "sourceIP", "sourceIPProtocol"])),
            "idle_timeout_in_minutes": draw(st.integers(4, 30)),
        }
        if draw(st.booleans()):
            found.append({**common, "virtual_machine": draw(st.sampled_from(vms)), "acl": draw(_access_rules())})
        else:
            common |= {
                "load_balanced_set": f"s{port}",
                "probe": draw(st.sampled_from(["default", "none", {"port": 9}])),
            }
            members = draw(st.lists(st.sampled_from(vms), min_size=1, unique=True))
            found += [{**common, "virtual_machine": member} for member in members]
    return found


@st.composite
def _access_rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    orders = draw(st.lists(st.integers(0, 1000), max_size=3, unique=True))
    subnets = st.sampled_from(["0.0.0.0/0", "65.0.0.0/8", "175.1.0.1/24", "198.51.100.10/32"])
    actions = st.sampled_from(["permit", "deny"])
    return [{"order": order, "action": draw(actions), "remote_subnet": draw(subnets)} for order in orders]


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
def _peerings(draw: st.DrawFn, vnets: dict[str, Any]) -> None:
    """Give two networks both halves of a peering, or one, or none."""
    for near, far in (("vnet0", "vnet1"), ("vnet1", "vnet0")):
        if draw(st.booleans()):
            kinds = ("virtual_network_access", "forwarded_traffic")
            switches = {f"allow_{what}": draw(st.booleans()) for what in kinds}
            vnets[near]["peerings"] = {f"to-{far}": {"remote_virtual_network": far, **switches}}


@st.composite
def _internal_balancer(draw: st.DrawFn, home: str, inside: list[str]) -> dict[str, Any]:
    """Draw a load balancer with a private frontend, and a rule for one port or all of them."""
    sku = draw(st.sampled_from(["Basic", "Standard"]))
    all_ports = sku == "Standard" and draw(st.booleans())
    rule = {
        "frontend": "private",
        "backend_pool": "pool",
        "probe": "alive",
        "protocol": "All" if all_ports else draw(st.sampled_from(["Tcp", "Udp"])),
        "frontend_port": 0 if all_ports else 3000,
        "backend_port": 0 if all_ports else 3000,
        "enable_floating_ip": draw(st.booleans()),
    }
    return {
        "sku": sku,
        "frontend_ip_configurations": {"private": {"subnet": f"{home}/s1"}},
        "backend_address_pools": {"pool": draw(st.lists(st.sampled_from(inside), unique=True)) if inside else []},
        "probes": {"alive": {"port": 80, "interval_in_seconds": 5}},
        "load_balancing_rules": {"r": rule} if draw(st.booleans()) else {},
        "inbound_nat_rules": {},
    }


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
            "destination_address_prefixes": draw(st.lists(address, min_size=1, max_size=2)),
            "destination_port_ranges": draw(st.lists(ports, min_size=1, max_size=2)),
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
