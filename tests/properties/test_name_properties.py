"""Names: none that a user may give collides with one that the lab gives, in any namespace of names."""

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lab import plan
from lab.azure.model import PLATFORM_NETWORK, Network
from lab.compile import compile as compiled
from lab.errors import TopologyError
from lab.plan import IFNAMSIZ, Plan
from lab.topology import parse

#: A topology of everything that has a name; ``{slot}`` stands for each.
_SLOTS = {
    "host": "host", "vnet": "vnet", "subnet": "front", "vm": "vm", "long": "a-virtual-machine-1", "set": "avset",
    "lb": "lb", "frontend": "f",
    "pool": "pool", "probe": "alive", "rule": "web", "nat": "ssh", "service": "shop", "role": "Web",
    "vip": "Vip1", "endpoint": "Remote Desktop", "together": "the set", "ip": "own", "reserved": "kept", "site": "site",
    "device": "branch", "group": "guard", "allow": "allow all", "second": "vnet2",
}  # fmt: skip


def _topology(n: dict[str, str]) -> dict[str, Any]:
    return {
        "name": "lab",
        "internet": {n["host"]: {"address": "198.51.100.10", "services": ["http:80"]}},
        "virtual_networks": {
            n["vnet"]: {
                "address_space": ["10.1.0.0/16"],
                "subnets": {
                    n["subnet"]: {"address_prefix": "10.1.0.0/24", "network_security_group": n["group"]},
                    "GatewaySubnet": "10.1.255.0/27",
                },
            },
            n["second"]: {"address_space": ["10.2.0.0/16"], "subnets": {"s": "10.2.0.0/24"}},
        },
        "virtual_machines": {
            n["vm"]: {"subnet": f"{n['vnet']}/{n['subnet']}", "services": ["dns:53"], "availability_set": n["set"]},
            n["long"]: {"subnet": f"{n['vnet']}/{n['subnet']}", "instance_public_ip": {"name": n["ip"]}},
            "classic": {"subnet": f"{n['second']}/s"},
            "alone": {},
        },
        "load_balancers": {
            n["lb"]: {
                "frontend_ip_configurations": {n["frontend"]: None},
                "backend_address_pools": {n["pool"]: [n["vm"]]},
                "probes": {n["probe"]: {"port": 80}},
                "load_balancing_rules": {
                    n["rule"]: {"frontend": n["frontend"], "backend_pool": n["pool"], "probe": n["probe"],
                                "frontend_port": 80, "backend_port": 80}
                },
                "inbound_nat_rules": {
                    n["nat"]: {"frontend": n["frontend"], "virtual_machine": n["vm"], "frontend_port": 22,
                                "backend_port": 22}
                },
            }
        },
        "cloud_services": {
            n["service"]: {
                "virtual_machines": ["classic"],
                "virtual_ips": {n["vip"]: {"reserved_ip": n["reserved"]}},
                "endpoints": [
                    {"name": n["endpoint"], "virtual_machine": "classic", "local_port": 3389},
                    {"name": "other", "virtual_machine": "classic", "local_port": 81,
                     "load_balanced_set": n["together"]},
                ],
            },
            "paas": {"roles": {n["role"]: 2}, "endpoints": [{"name": "E", "role": n["role"], "local_port": 80}]},
        },
        "reserved_ips": {n["reserved"]: {}},
        "network_security_groups": {
            n["group"]: [{"name": n["allow"], "priority": 100, "direction": "Inbound", "access": "Allow"}]
        },
        "vpn_gateways": {n["vnet"]: {"routing": "dynamic"}},
        "local_networks": {
            n["site"]: {"address_space": ["10.8.0.0/16"], "vpn_gateway_address": "131.1.1.1"},
            n["device"]: {"address_space": ["10.9.0.0/16"], "vpn_gateway_address": "131.1.1.2", "vpn_device": {}},
        },
        "connections": [{"virtual_network": n["vnet"], "local_network": n["device"], "shared_key": "k"}],
    }  # fmt: skip


def _parsed(slots: dict[str, str]) -> Network:
    return parse(json.dumps(_topology(slots)), "f")


def _names(made: Plan) -> set[str]:
    """Return every name that a plan has: of namespaces, interfaces, chains, in DNS, and of tunnels."""
    found = {"lo", "eth0", "eth1", "ipsec0", "INPUT", "PREROUTING", PLATFORM_NETWORK, "localhost", "a.localhost", "x~1"}
    for item in made.items:
        for field in ("place", "interface", "peer_interface", "chain", "name", "node", "in_interface", "target"):
            value = getattr(item, field, None)
            value = getattr(value, "chain", value)
            found |= {value} if isinstance(value, str) and value else set()
    return found


_INTERNAL = sorted(_names(compiled(_parsed(_SLOTS))) | {"platform", "internet", "all", "default", "sit0"})


def _check(made: Plan) -> None:
    places = Counter(item.place for item in made.items if isinstance(item, plan.Namespace))
    assert max(places.values()) == 1
    ends = Counter(
        end
        for item in made.items
        if isinstance(item, plan.VethPair)
        for end in ((item.place, item.interface), (item.peer_place, item.peer_interface))
    )
    assert max(ends.values()) == 1, [end for end, count in ends.items() if count > 1]
    for _, interface in ends:
        assert len(interface) <= IFNAMSIZ
        assert not any(c.isspace() or c in "/:" for c in interface)
        assert interface != "lo"
    records: dict[tuple[str, str], set[str]] = {}
    for item in made.items:
        if isinstance(item, plan.DnsRecord):
            records.setdefault((item.place, item.name.lower()), set()).add(item.address)
    assert not [key for key, addresses in records.items() if len(addresses) > 1]
    # What is called like a chain of the kernel's own would be one.
    assert all(c.isspace() is False for item in made.items if isinstance(item, plan.Rule) for c in item.chain)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(_SLOTS)), st.sampled_from(_INTERNAL), st.booleans())
def test_a_name_of_the_labs_own_is_refused_or_harmless_wherever_a_user_gives_it(
    slot: str, name: str, upper: bool
) -> None:
    given_name = name.upper() if upper else name
    try:
        network = _parsed({**_SLOTS, slot: given_name})
    except TopologyError as refused:
        error = str(refused)
    else:
        _check(compiled(network))
        return
    assert given_name in error


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab-", min_size=1, max_size=24).map("v".__add__), min_size=2, max_size=8, unique=True))
def test_long_names_of_vms_and_networks_have_interfaces_of_their_own(names: list[str]) -> None:
    networks = {
        n: {"address_space": [f"10.{i}.0.0/16"], "subnets": {"s": f"10.{i}.0.0/24"}} for i, n in enumerate(names)
    }
    vms = {f"vm-{n}": {"subnet": f"{n}/s"} for n in names} | {f"x{n}": {"subnet": f"{names[0]}/s"} for n in names}
    topology = {"name": "lab", "virtual_networks": networks, "virtual_machines": vms}
    _check(compiled(parse(json.dumps(topology), "f")))


def test_the_names_that_are_tried_are_the_labs_own() -> None:
    for name in ("router.vnet", "lb.vnet", "gw.vnet", f"router.{PLATFORM_NETWORK}", "internet", "shop.cloudapp.net"):
        assert name in _INTERNAL
