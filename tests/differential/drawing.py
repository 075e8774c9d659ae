"""Random topologies as the plain data of a file, and random changes of them, each from a number."""

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import yaml

Data = dict[str, Any]
PROFILES = ("seeds", "seeds", "2018-12", "2019-05")
TIME_SCALE = 30
_SUBNETS = {"a": "10.1.0.0/24", "b": "10.1.1.0/24", "c": "10.1.2.0/24"}


def text_of(data: Data) -> str:
    """Return a topology as the text of a file."""
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120)


def draw(seed: int, name: str = "differ", *, rich: bool = False) -> Data:
    """Return the topology of a number; ``rich``: a larger one, in which little is shut off by chance."""
    random = Random(seed)
    data: Data = {
        "name": name,
        "profile": random.choice(PROFILES),
        "internet": {
            "h0": {"address": "198.51.100.10", "services": ["tcp:7000", "udp:7000"]},
            "h1": {"address": "175.1.0.77", "services": ["tcp:7000", "udp:7001"]},
        },
        "virtual_networks": {
            "v": {
                "address_space": ["10.1.0.0/16"],
                "subnets": {"a": "10.1.0.0/24", "b": "10.1.1.0/24", "c": "10.1.2.0/24"},
            }
        },
        "virtual_machines": {},
        "overrides": {"time_scale": TIME_SCALE},
    }
    machines: Data = data["virtual_machines"]
    for number in range(random.randint(8, 10) if rich else random.randint(3, 6)):
        subnet = random.choice("ab")
        machines[f"m{number}"] = {
            "subnet": f"v/{subnet}",
            "private_ip_address": f"10.1.{'ab'.index(subnet)}.{10 + number}",
            "services": ["tcp:80", "udp:80", "tcp:8080", "tcp:8081", "tcp:82"],
        }
    free = list(machines)
    # One VM is open to all by an address of its own, so that every other one has a public address to reach inside.
    machines["z"] = {
        "subnet": "v/c",
        "private_ip_address": "10.1.2.9",
        "services": ["tcp:80", "udp:80", "tcp:8081"],
        "instance_public_ip": {"name": "ip-z", "address": "104.43.142.9"},
    }
    random.shuffle(free)
    for name_ in free[: random.choice((0, 1, 1, 2))]:
        machines[name_]["instance_public_ip"] = {"name": f"ip-{name_}", "address": f"104.43.142.{10 + int(name_[1:])}"}
    random.shuffle(free)
    balancers = {}
    for number in range(2 if rich else random.choice((0, 1, 1, 2))):
        members = [free.pop() for _ in range(min(len(free), random.randint(1, 3)))]
        if members:
            balancers[f"lb{number}"] = _balancer(random, number, members, rich=rich)
    if balancers:
        data["load_balancers"] = balancers
    if free and (rich or random.random() < 0.7):
        members = free[: random.randint(1, 3)]
        data["cloud_services"] = {"svc": _service(random, members)}
    if random.random() < (0.5 if rich else 0.6):
        _guard(random, data, 0.2 if rich else 0.5)
    return data


def _balancer(random: Random, number: int, members: list[str], *, rich: bool) -> Data:
    sku = random.choice(("Basic", "Basic", "Standard"))
    lb: Data = {
        "sku": sku,
        "frontend_ip_configurations": {f"f{i}": f"40.1.{number}.{i + 1}" for i in range(random.randint(1, 2))},
        "backend_address_pools": {"pool": sorted(members)},
        "probes": {"alive": {"port": 80, "interval_in_seconds": 15}, "dead": {"port": 79, "interval_in_seconds": 15}},
        "load_balancing_rules": {},
        "inbound_nat_rules": {},
    }
    fronts = list(lb["frontend_ip_configurations"])
    for rule, protocol, port in (("tcp80", "Tcp", 80), ("udp80", "Udp", 80), ("tcp81", "Tcp", 8080)):
        if rich or random.random() < 0.55:
            lb["load_balancing_rules"][rule] = {
                "frontend": random.choice(fronts),
                "backend_pool": "pool",
                "probe": "alive" if rich else random.choice(("alive", "alive", "alive", "dead")),
                "protocol": protocol,
                "frontend_port": port if port == 80 else 81,
                "backend_port": port,
            }
    if random.random() < 0.4:
        lb["inbound_nat_rules"]["in"] = {
            "frontend": random.choice(fronts),
            "virtual_machine": random.choice(members),
            "protocol": "Tcp",
            "frontend_port": 50001,
            "backend_port": 8081,
        }
    return lb


def _service(random: Random, members: list[str]) -> Data:
    vips = {"Vip1": {"address": "191.238.74.148"}, "Vip2": {"address": "191.238.74.13"}}
    endpoints = []
    for vm in members:
        for vip, port, local in (("Vip1", 1000, 8080), ("Vip2", 2000, 8081)):
            if random.random() < 0.6:
                endpoints.append(_endpoint(random, f"e{port}", vm, port + int(vm[1:]), local, vip))
    if len(members) > 1 and random.random() < 0.6:
        vip = random.choice(list(vips))
        acl = _acl(random)
        for vm in members:
            one: Data = {"name": "set", "load_balanced_set": "set", "virtual_machine": vm, "protocol": "tcp"}
            one |= {"local_port": 80, "public_port": 80, "virtual_ip": vip, "probe": "default"}
            endpoints.append(one | ({"acl": acl} if acl else {}))
    used = {endpoint["virtual_ip"] for endpoint in endpoints}
    return {
        "virtual_machines": sorted(members),
        "virtual_ips": {vip: vips[vip] for vip in vips if vip in used or vip == "Vip1"},
        "endpoints": endpoints,
    }


def _endpoint(random: Random, name: str, vm: str, public: int, local: int, vip: str) -> Data:
    endpoint: Data = {"name": name, "virtual_machine": vm, "protocol": "tcp", "local_port": local}
    acl = _acl(random)
    return endpoint | {"public_port": public, "virtual_ip": vip} | ({"acl": acl} if acl else {})


def _acl(random: Random) -> list[Data]:
    if random.random() < 0.6:
        return []
    nets = ["198.51.100.0/24", "175.1.0.0/24", "175.0.0.0/8", "65.0.0.0/8"]
    return [
        {"order": 100 * (i + 1), "action": random.choice(("permit", "deny")), "remote_subnet": net}
        for i, net in enumerate(random.sample(nets, random.randint(1, 2)))
    ]


def _guard(random: Random, data: Data, often: float) -> None:
    """Draw security groups; endpoints then have no access list, since a VM has one or the other."""
    for service in data.get("cloud_services", {}).values():
        for endpoint in service["endpoints"]:
            endpoint.pop("acl", None)
    data["network_security_groups"] = {f"g{i}": _rules(random) for i in range(2)}
    for name, prefix in data["virtual_networks"]["v"]["subnets"].items():
        if name != "c" and random.random() < often:
            data["virtual_networks"]["v"]["subnets"][name] = {
                "address_prefix": prefix,
                "network_security_group": random.choice(("g0", "g1")),
            }
    for name, vm in data["virtual_machines"].items():
        if name != "z" and random.random() < often:
            vm["network_security_group"] = random.choice(("g0", "g1"))


def _rules(random: Random) -> list[Data]:
    priorities = random.sample(range(110, 1000, 10), 5)
    return [_rule(random, f"r{i}", priority) for i, priority in enumerate(priorities[: random.randint(1, 5)])]


def _rule(random: Random, name: str, priority: int) -> Data:
    inbound = random.random() < 0.6
    outside = ["*", "Internet", "198.51.100.0/24", "175.1.0.77/32", "VirtualNetwork", "10.1.1.0/24"]
    own = ["*", "*", "VirtualNetwork", "10.1.0.0/24"]
    source, destination = (outside, own) if inbound else (own, outside)
    return {
        "name": name,
        "priority": priority,
        "direction": "Inbound" if inbound else "Outbound",
        "access": random.choice(("Allow", "Deny")),
        "protocol": random.choice(("*", "Tcp", "Tcp", "Udp")),
        "source_address_prefix": random.choice(source),
        "destination_address_prefix": random.choice(destination),
        "destination_port_range": random.choice(("*", 80, "80-8080", 8081) if inbound else ("*", 7000, "7000-7001")),
    }


# --- changes ------------------------------------------------------------------------------------------

#: A command of `lab` without the lab's name in its second place, and the file as it would be after it.
Change = tuple[list[str], Data]


def change(seed: int, data: Data) -> Change | None:
    """Return a command that changes the lab of a topology, and the topology after it; None if none fits."""
    random = Random(seed * 7919 + 1)
    after = copy.deepcopy(data)
    kinds: list[Callable[[Random, Data], list[str] | None]] = [_group, _take_ip, _drop_endpoint, _add_endpoint]
    random.shuffle(kinds)
    for kind in kinds:
        command = kind(random, after)
        if command is not None:
            return command, after
    return None


def _group(random: Random, data: Data) -> list[str] | None:
    groups = data.get("network_security_groups")
    if not groups:
        return None
    name = random.choice(sorted(groups))
    if random.random() < 0.5:
        gone = groups[name].pop(random.randrange(len(groups[name])))
        return ["nsg", "rule", "remove", name, gone["name"]]
    rule = _rule(random, "new", 100 + random.randrange(5))
    groups[name].append(rule)
    words = [f"--{option.replace('_', '-')}" for option in ("priority", "direction", "access", "protocol")]
    values = [str(rule[key]) for key in ("priority", "direction", "access", "protocol")]
    command = ["nsg", "rule", "add", name, "new", *(word for pair in zip(words, values, strict=True) for word in pair)]
    command += ["--source", rule["source_address_prefix"], "--destination", rule["destination_address_prefix"]]
    return [*command, "--destination-ports", str(rule["destination_port_range"])]


def _take_ip(random: Random, data: Data) -> list[str] | None:
    having = [n for n, vm in data["virtual_machines"].items() if n != "z" and "instance_public_ip" in vm]
    if not having:
        return None
    vm = random.choice(having)
    del data["virtual_machines"][vm]["instance_public_ip"]
    return ["public-ip", "remove", vm]


def _drop_endpoint(random: Random, data: Data) -> list[str] | None:
    for service in data.get("cloud_services", {}).values():
        single = [e for e in service["endpoints"] if "load_balanced_set" not in e]
        others = {e["virtual_ip"] for e in service["endpoints"]}
        # A VIP that loses its last endpoint loses its address, and a file cannot say that of one with an address.
        single = [e for e in single if sum(o["virtual_ip"] == e["virtual_ip"] for o in service["endpoints"]) > 1]
        if single and others:
            gone = random.choice(single)
            service["endpoints"].remove(gone)
            return ["endpoint", "remove", gone["virtual_machine"], gone["name"]]
    return None


def _add_endpoint(random: Random, data: Data) -> list[str] | None:
    for service in data.get("cloud_services", {}).values():
        vm, vip = random.choice(service["virtual_machines"]), random.choice(sorted(service["virtual_ips"]))
        if any(e["virtual_ip"] == vip for e in service["endpoints"]):
            endpoint: Data = {"name": "late", "virtual_machine": vm, "protocol": "tcp", "local_port": 82}
            service["endpoints"].append(endpoint | {"public_port": 3000, "virtual_ip": vip})
            options = ["--local-port", "82", "--public-port", "3000", "--protocol", "tcp", "--virtual-ip", vip]
            return ["endpoint", "add", vm, "late", *options]
    return None


def edited(seed: int, data: Data) -> Data:
    """Return the topology with a part taken out, such as an edit of the file would."""
    random = Random(seed * 7919 + 2)
    return random.choice(smaller(data) or [data])


def smaller(data: Data) -> list[Data]:
    """Return the topologies that lack one part: what minimising tries, largest parts first."""
    found = [_without(data, section) for section in ("load_balancers", "cloud_services") if section in data]
    if "network_security_groups" in data:
        found.append(_without(data, "network_security_groups"))
        _unguard(found[-1])
    return found + [_without(data, *path) for path in _parts(data)]


def _parts(data: Data) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of parts that a file can do without."""
    for lb, parts in data.get("load_balancers", {}).items():
        for section in ("load_balancing_rules", "inbound_nat_rules"):
            yield from (("load_balancers", lb, section, name) for name in parts[section])
    for service, parts in data.get("cloud_services", {}).items():
        single = (n for n, endpoint in enumerate(parts["endpoints"]) if "load_balanced_set" not in endpoint)
        yield from (("cloud_services", service, "endpoints", number) for number in single)
    for group, rules in data.get("network_security_groups", {}).items():
        yield from (("network_security_groups", group, n) for n in range(len(rules) if len(rules) > 1 else 0))
    for name, vm in data["virtual_machines"].items():
        keys = ("instance_public_ip", "network_security_group") if name != "z" else ()
        yield from (("virtual_machines", name, key) for key in keys if key in vm)


def _without(data: Data, *path: Any) -> Data:
    after = copy.deepcopy(data)
    inner: Any = after
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return after


def _unguard(data: Data) -> None:
    for vm in data["virtual_machines"].values():
        vm.pop("network_security_group", None)
    subnets = data["virtual_networks"]["v"]["subnets"]
    for name, subnet in subnets.items():
        subnets[name] = subnet["address_prefix"] if isinstance(subnet, dict) else subnet
