"""Mutations of what is claimed of route tables and appliances."""

from tests.mutations import Mutation

_PATH, _ROUTES, _PEERING = "lab/path/route_table.py", "lab/azure/routes.py", "lab/path/peering.py"
_HERE = "routes"

_TO_APPLIANCE = "    wire = to(target.name) if target is not None and forwards(target) else None\n"
_LED = '        if not (led and route.source == "Default" and route.next_hop_type == "None")\n'
_LOST = "        lost=hop is not None and appliance(network, vnet, hop) is None,\n"
_INSIDE = (
    "    inside = any(route.prefix.subnet_of(p) for p in (*vnet.address_space, *peerings.reached(network, vnet)))\n"
)
_RULE = "                yield RoutingRule(place=here, in_interface=wire, table=table, priority=_PRIORITY, why=why)\n"


def _of_path(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _PATH, old, new)


def _rule(claim: str, fact: str, old: str, new: str) -> Mutation:
    return Mutation(claim, fact, _HERE, _ROUTES, old, new)


MUTATIONS = (
    _of_path("T-UR-4", "the shorter route leads on", _TO_APPLIANCE, "    wire = None\n"),
    _of_path(
        "T-UR-4",
        "the longer one decides where it matches",
        '        case "None" | "VirtualAppliance":\n            pass\n',
        '        case "None" | "VirtualAppliance":\n            back = True\n',
    ),
    _rule(
        "T-UR-8",
        "the system route is Invalid",
        '        "state": route.state,\n',
        '        "state": "Active" if route.source == "Default" else route.state,\n',
    ),
    _rule(
        "T-UR-8",
        "the user's is Active",
        'return "Active" if self.active and not self.lost else "Invalid"',
        'return "Active" if self.active and not self.next_hop else "Invalid"',
    ),
    _rule(
        "T-UR-8",
        "others keep theirs",
        "    own = table(network, subnet)\n",
        "    own = table(network, subnet) or next(iter(network.route_tables[-1:]), None)\n",
    ),
    _rule("T-UR-8", "no route to nowhere is left", _LED, "        if not (led and not led)\n"),
    Mutation(
        "T-UR-10",
        "other kinds are refused",
        _HERE,
        "lab/topology/shape.py",
        '        Literal["VirtualAppliance", "VirtualNetworkGateway", "VnetLocal", "Internet", "None"],\n'
        '        _any_case("VirtualAppliance"',
        '        Literal["VirtualAppliance", "VirtualNetworkGateway", "VnetLocal", "Internet", "None",\n'
        '        "VirtualNetworkPeering"], _any_case("VirtualAppliance"',
    ),
    _rule(
        "T-UR-10",
        "an appliance has an address",
        'if (hop is None) == (route.next_hop_type == "VirtualAppliance"):',
        'if hop is not None and route.next_hop_type != "VirtualAppliance":',
    ),
    _rule(
        "T-UR-10",
        "any other kind has none",
        'if (hop is None) == (route.next_hop_type == "VirtualAppliance"):',
        'if hop is None and route.next_hop_type == "VirtualAppliance":',
    ),
    _of_path("T-UR-12", "with it packets pass", _TO_APPLIANCE, "    wire = None\n"),
    _of_path(
        "T-UR-12",
        "without it they are lost",
        '        case "VirtualAppliance" if target is not None and target.virtual_network == vnet.name:\n',
        '        case "VirtualAppliance" if target is not None and not target.enable_ip_forwarding:\n'
        "            interface, via = to(wiring.load_balancer(vnet)), wiring.LOAD_BALANCER_SIDE\n"
        '        case "VirtualAppliance" if target is not None and target.virtual_network == vnet.name:\n',
    ),
    _rule("T-UR-12", "so they are where no VM has the address", _LOST, ""),
    _of_path(
        "T-UR-14",
        "by the appliance it has the appliance's address",
        _RULE,
        _RULE.replace("yield", "if vm.name != 'app1':\n                    yield"),
    ),
    _of_path(
        "T-UR-14",
        "by a route to Internet its own network's",
        _INSIDE,
        f"{_INSIDE}    if route.source == 'User' and route.next_hop_type == 'Internet':\n"
        "        interface = to('router.hub')\n"
        "        return Route(place=here, destination=str(route.prefix), interface=interface, table=table, why=why)\n",
    ),
    _of_path(
        "T-UR-15",
        "its own address is not answered",
        _RULE,
        _RULE.replace("yield", "if vm.name != 'own1':\n                    yield"),
    ),
    _rule(
        "T-UR-20",
        "without one it is refused",
        'if route.next_hop_type == "VirtualNetworkGateway" and network.gateway(vnet.name) is None and not lent:',
        'if route.next_hop_type == "VirtualNetworkGateway" and network.gateway(vnet.name) is 0:',
    ),
    Mutation(
        "T-UR-21",
        "a second table is refused",
        _HERE,
        "lab/topology/shape.py",
        "def _one_table(value: object) -> object:\n    if isinstance(value, list):\n",
        "def _one_table(value: object) -> object:\n    if isinstance(value, list):\n        return value[0]\n",
    ),
    _rule("T-UR-21", "and the 401st route", "if len(one.routes) > _MOST:", "if len(one.routes) > 9 * _MOST:"),
    Mutation(
        "T-PE-6",
        "with it spokes meet in an appliance of the hub",
        _HERE,
        _PEERING,
        "    if link.own.allow_forwarded_traffic:\n        return\n",
        "",
    ),
    Mutation(
        "T-PE-6",
        "without it they do not",
        _HERE,
        _PEERING,
        "    if link.own.allow_forwarded_traffic:\n        return\n",
        "    return\n",
    ),
)
