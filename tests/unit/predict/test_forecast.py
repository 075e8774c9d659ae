"""lab/predict/forecast.py and lab/predict/matrix.py: what becomes of a flow, and where it is watched."""

from pathlib import Path

import pytest

from lab import topology
from lab.azure.model import Network
from lab.predict import forecast, matrix
from lab.predict.forecast import Service
from lab.verify import experiment as ex
from tests import worlds

HTTP = Service("tcp", 80)


def becomes(network: Network, sender: str, to: str, service: Service = HTTP, **more: object) -> tuple[str, str | None]:
    found = forecast.forecast(network, sender, to, service, **more)  # type: ignore[arg-type]
    return found.access, found.decision.rule if found.decision else None


@pytest.mark.parametrize(
    ("sender", "to", "service", "wanted"),
    [
        ("client", "web", HTTP, ("Allow", "allow-http")),
        ("client", "104.43.142.188", Service("tcp", 81), ("Deny", "DenyAllInbound")),
        ("web", "client", HTTP, ("Deny", "no-internet")),
        ("db", "web", Service("icmp"), ("Allow", "AllowVnetInBound")),
        ("web", "db", Service("tcp", 1433), ("Allow", "AllowVnetOutBound")),
        ("db", "client", HTTP, ("Allow", None)),
        ("db", "client", Service("icmp"), ("NoWay", None)),
        ("client", "db", HTTP, ("NoWay", None)),
        ("db", "10.1.1.99", HTTP, ("NoWay", None)),
        ("db", "203.0.113.99", HTTP, ("NoWay", None)),
        ("web", "168.63.129.16", Service("udp", 53), ("Allow", None)),
    ],
)
def test_a_flow_is_followed_to_the_rule_that_decides(
    sender: str, to: str, service: Service, wanted: tuple[str, str | None]
) -> None:
    assert becomes(worlds.guarded(), sender, to, service) == wanted


def test_a_load_balancers_port_is_that_of_the_vm_behind_it() -> None:
    network = worlds.nat_rule_only("Standard")
    assert becomes(network, "client", "40.1.1.1", Service("tcp", 50001)) == ("Deny", "DenyAllInbound")
    assert becomes(network, "client", "40.1.1.1", Service("tcp", 22)) == ("NoWay", None)
    assert becomes(worlds.nat_rule_only(), "client", "40.1.1.1", Service("tcp", 50001)) == ("Allow", None)


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ("{order: 1, action: permit, remote_subnet: 198.51.100.30/32}", ["Allow", "NoWay", "NoWay", "NoWay"]),
        ("{order: 1, action: deny, remote_subnet: 198.51.100.0/24}", ["NoWay", "NoWay", "Allow", "Allow"]),
        # A VM of the same network is asked about by its own address, one of another by what it is seen with.
        ("{order: 1, action: permit, remote_subnet: 10.1.0.0/16}", ["NoWay", "NoWay", "Allow", "NoWay"]),
        ("{order: 1, action: permit, remote_subnet: 192.0.2.253/32}", ["NoWay", "NoWay", "NoWay", "Allow"]),
        ("", ["Allow", "Allow", "Allow", "Allow"]),
    ],
)
def test_an_access_list_says_who_may_use_an_endpoint(rules: str, wanted: list[str]) -> None:
    network = worlds.network(
        "internet: {client: {address: 198.51.100.30}, far: {address: 198.51.100.20}}\n"
        "virtual_networks:\n  v1: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}\n"
        "  v2: {address_space: [10.2.0.0/16], subnets: {s: 10.2.0.0/24}}\n"
        "virtual_machines: {web: {subnet: v1/s}, near: {subnet: v1/s}, outside: {subnet: v2/s}}\n"
        "cloud_services: {shop: {virtual_machines: [web], virtual_ips: {V: {address: 40.1.1.1}}, endpoints: "
        f"[{{name: e, virtual_machine: web, local_port: 8080, public_port: 80, acl: [{rules}]}}]}}}}\n"
    )
    senders = ("client", "far", "near", "outside")
    assert [becomes(network, sender, "40.1.1.1")[0] for sender in senders] == wanted
    denied = [s for s, access in zip(senders, wanted, strict=True) if access == "NoWay"]
    ways = [forecast.forecast(network, sender, "40.1.1.1", HTTP).ways for sender in denied]
    assert {way.obstacle for found in ways for way in found} <= {"the access list of 40.1.1.1, 80/tcp, denies it"}


def test_an_endpoint_leads_to_its_vm_and_a_port_without_one_nowhere() -> None:
    network = worlds.classic()
    assert becomes(network, "client", "40.1.1.1") == ("Allow", None)
    assert becomes(network, "client", "40.1.1.2") == ("NoWay", None)
    assert becomes(network, "client", "40.1.1.2", Service("tcp", 81)) == ("Allow", None)
    assert becomes(network, "client", "40.1.1.1", Service("udp", 80)) == ("NoWay", None)


def test_a_member_that_is_down_is_no_way() -> None:
    network = worlds.load_balanced(1)
    assert becomes(network, "client", "40.1.1.1") == ("Allow", None)
    assert becomes(network, "client", "40.1.1.1", down=frozenset({"lb1/alive/web1"})) == ("NoWay", None)


FLOATING = """
internet: {client: {address: 198.51.100.30}}
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines:
  sql1: {subnet: v/s, loopback_addresses: [40.1.1.4]}
  sql2: {subnet: v/s, loopback_addresses: [40.1.1.4]}
  web: {subnet: v/s}
load_balancers:
  lb:
    frontend_ip_configurations: {owned: 40.1.1.4, unknown: 40.1.1.5, plain: 40.1.1.6}
    backend_address_pools: {sql: [sql1, sql2]}
    probes: {alive: {protocol: Tcp, port: 1433}}
    load_balancing_rules:
      owned: {frontend: owned, backend_pool: sql, probe: alive, frontend_port: 1433, backend_port: 1433,
              enable_floating_ip: true}
      unknown: {frontend: unknown, backend_pool: sql, probe: alive, frontend_port: 1433, backend_port: 1433,
                enable_floating_ip: true}
    inbound_nat_rules: {plain: {frontend: plain, virtual_machine: sql2, frontend_port: 1433, backend_port: 1434}}
"""


def test_a_flow_to_an_address_on_the_loopback_stays_in_its_vm() -> None:
    network = worlds.network(FLOATING)
    found = forecast.forecast(network, "sql1", "40.1.1.4", Service("tcp", 81))
    assert (found.source, found.access, {way.end for way in found.ways}) == (found.destination, "Allow", {"sql1"})
    assert becomes(network, "web", "40.1.1.4", Service("tcp", 81)) == ("NoWay", None)
    pairs = {(f.sender, f.to) for f in matrix.predictions(network, (Service("tcp", 1433),), frozenset())}
    assert {sender for sender, to in pairs if to == "40.1.1.4"} == {"web", "client"}
    assert {sender for sender, to in pairs if to == "40.1.1.5"} == {"sql1", "sql2", "web", "client"}


def test_a_guest_takes_nothing_from_an_address_that_it_has_itself() -> None:
    network = worlds.network(FLOATING)
    floats = forecast.forecast(network, "sql1", "40.1.1.5", Service("tcp", 1433))
    assert floats.access == "NoWay"
    assert {(way.end, way.obstacle) for way in floats.ways} == {
        (None, f"{vm} is to have {address} itself, so nothing from there is led to it")
        for vm in ("sql1", "sql2")
        for address in ("40.1.1.4", "40.1.1.5")
    }
    assert becomes(network, "web", "40.1.1.5", Service("tcp", 1433)) == ("Allow", None)
    # Without floating IP it comes to the guest, which drops it if the frontend that the flow takes is its own.
    translates = forecast.forecast(network, "sql1", "40.1.1.6", Service("tcp", 1433))
    said = "sql2 has 40.1.1.4 on a loopback interface and drops what comes from there"
    assert (translates.access, [way.obstacle for way in translates.ways]) == ("Allow", [said, ""])


@pytest.mark.parametrize(
    ("sender", "to", "service", "kinds"),
    [
        ("far", "40.1.1.1", Service("tcp", 80), {"http"}),  # a rule, to 8080
        ("far", "40.1.1.1", Service("tcp", 8080), set()),
        ("far", "104.43.142.9", Service("tcp", 9000), {"tcp"}),  # a public IP
        ("far", "own", Service("tcp", 9000), {"tcp"}),
        ("web", "own", Service("tcp", 9000), {"tcp"}),
        ("web", "own", Service("udp", 9000), set()),
        ("web", "far", Service("tcp", 443), {"https"}),
    ],
)
def test_the_server_of_a_flow_is_told_by_the_port_that_a_rule_leads_it_to(
    sender: str, to: str, service: Service, kinds: set[str]
) -> None:
    network = worlds.network(
        "internet: {far: {address: 198.51.100.20, services: [https:443]}}\n"
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
        "virtual_machines:\n  web: {subnet: v/s, services: [http:8080, tcp:80]}\n"
        "  own: {subnet: v/s, services: [tcp:9000], instance_public_ip: {name: o, address: 104.43.142.9}}\n"
        "cloud_services: {shop: {virtual_machines: [web], virtual_ips: {V: {address: 40.1.1.1}}, endpoints: "
        "[{name: e, virtual_machine: web, local_port: 8080, public_port: 80}]}}\n"
    )
    assert forecast.kinds(network, forecast.forecast(network, sender, to, service), frozenset()) == kinds


def test_a_guest_without_the_address_of_floating_ip_is_named_and_what_groups_say_is_still_said() -> None:
    """N-MV-4: the destination is the frontend's up to the guest, which must have that address itself."""
    text = """
internet: {client: {address: 198.51.100.30}}
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {sql1: {subnet: v/s}, sql2: {subnet: v/s, loopback_addresses: [40.1.1.1]}}
network_security_groups: {g: []}
load_balancers:
  lb:
    sku: Basic
    frontend_ip_configurations: {f: 40.1.1.1, g: 40.1.1.2}
    backend_address_pools: {both: [sql1, sql2]}
    probes: {p: {protocol: Tcp, port: 80}}
    load_balancing_rules:
      floats:
        {frontend: f, backend_pool: both, probe: p, frontend_port: 80, backend_port: 80, enable_floating_ip: true}
      translates: {frontend: g, backend_pool: both, probe: p, frontend_port: 80, backend_port: 80}
"""
    network = worlds.network(text)
    said = "sql1 does not have 40.1.1.1 on a loopback interface and does not answer"
    floats = forecast.forecast(network, "client", "40.1.1.1", HTTP)
    assert floats.access == "Allow"
    assert [(way.end, way.access, way.obstacle) for way in floats.ways] == [
        ("sql1", "Allow", said),
        ("sql2", "Allow", ""),
    ]
    translates = forecast.forecast(network, "client", "40.1.1.2", HTTP)
    assert {way.obstacle for way in translates.ways} == {""}
    guarded = text.replace("{sql1: {subnet: v/s}", "{sql1: {subnet: v/s, network_security_group: g}")
    denied = forecast.forecast(worlds.network(guarded), "client", "40.1.1.1", HTTP)
    assert [(way.access, way.obstacle) for way in denied.ways] == [("Deny", ""), ("Allow", "")]


def test_what_hangs_on_a_port_that_is_not_known_depends() -> None:
    text = """
internet: {client: {address: 198.51.100.30}}
virtual_networks:
  v: {address_space: [10.1.0.0/16], subnets: {s: {address_prefix: 10.1.0.0/24, network_security_group: g}}}
virtual_machines: {a: {subnet: v/s}, b: {subnet: v/s}}
network_security_groups:
  g: [{name: low, priority: 100, direction: Inbound, access: Deny, protocol: Tcp, source_port_range: 1024-40000}]
"""
    network = worlds.network(text)
    assert becomes(network, "a", "b")[0] == "Depends"
    assert becomes(network, "a", "b", source_port=40000) == ("Deny", "low")
    assert becomes(network, "a", "b", source_port=40001) == ("Allow", "AllowVnetInBound")


def test_a_node_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="nobody"):
        forecast.forecast(worlds.guarded(), "web", "nobody", HTTP)
    with pytest.raises(KeyError, match="none"):
        forecast.forecast(worlds.guarded(), "none", "web", HTTP)


def test_a_flow_is_watched_where_it_is_decided_and_wherever_it_may_arrive() -> None:
    network = worlds.guarded()
    flow = forecast.flow_of(network, forecast.forecast(network, "client", "web", Service("tcp", 81)))
    assert flow.passes == (ex.Watch("host wire", "client"), ex.Watch("router", "v"))
    assert flow.ends == (ex.Watch("node", "web", "v"),)
    assert (flow.destination, flow.awaited) == ("104.43.142.188", False)
    inside = forecast.flow_of(network, forecast.forecast(network, "db", "web", HTTP))
    assert (inside.passes, inside.awaited) == ((ex.Watch("VM wire", "db", "v"),), True)


@pytest.mark.parametrize(
    ("to", "seen", "end", "differs"),
    [
        ("web", "arrived", "web", False),
        ("web", "arrived", "db", True),
        ("web", "lost", "", True),
        ("web", None, "", False),
    ],
)
def test_a_prediction_and_the_wire_differ_or_not(to: str, seen: matrix.Seen | None, end: str, differs: bool) -> None:
    network = worlds.guarded()
    allowed = matrix.Outcome(predicted=forecast.forecast(network, "client", to, HTTP), seen=seen, end=end)
    assert allowed.differs == differs


@pytest.mark.parametrize(("seen", "differs"), [("lost", False), ("astray", True), ("arrived", True)])
def test_a_denial_counts_only_where_it_was_made(seen: matrix.Seen, differs: bool) -> None:
    predicted = forecast.forecast(worlds.guarded(), "client", "web", Service("udp", 80))
    assert matrix.Outcome(predicted=predicted, seen=seen, end="web").differs == differs


def test_the_grid_has_every_pair_that_can_reach_each_other() -> None:
    network = worlds.guarded()
    found = matrix.predictions(network, (HTTP, Service("icmp")), frozenset())
    pairs = [(sender, to, len(row)) for sender, to, row in matrix.rows([matrix.Outcome(predicted=f) for f in found])]
    assert pairs == [
        ("db", "web", 2), ("db", "client", 2), ("db", "far", 2), ("web", "db", 2), ("web", "client", 2),
        ("web", "far", 2), ("client", "web", 2), ("client", "far", 2), ("far", "web", 2), ("far", "client", 2),
    ]  # fmt: skip


def test_services_are_those_of_the_nodes_and_the_rules_and_nobodys() -> None:
    assert [str(service) for service in matrix.services(worlds.guarded())] == [
        "80/tcp", "1433/tcp", "9000/udp", "47/tcp", "47/udp", "icmp",
    ]  # fmt: skip


# --- what groups and tunnels take away --------------------------------------------------------

_PROBED = """\
name: probed
internet: {client: {address: 198.51.100.1}}
virtual_networks:
  v1: {address_space: [10.1.0.0/16], subnets: {s: {address_prefix: 10.1.0.0/24, network_security_group: g}}}
virtual_machines: {web: {subnet: v1/s, services: [http:80]}}
load_balancers:
  lb:
    frontend_ip_configurations: {public: 40.1.2.3}
    backend_address_pools: {pool: [web]}
    probes: {alive: {protocol: Tcp, port: 80}}
    load_balancing_rules:
      http: {frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}
network_security_groups:
  g:
    - {name: web, priority: 100, direction: Inbound, access: Allow, protocol: Tcp, source_address_prefix: Internet,
       destination_port_range: "80"}
    - {name: all, priority: 200, direction: Inbound, access: Deny, protocol: "*"}
"""


def test_a_group_that_denies_the_probe_takes_the_member_down_and_is_named() -> None:
    network = topology.parse(_PROBED, "probed")
    down = forecast.unprobed(network)
    assert {key: decision.rule for key, decision in down.items()} == {"lb/alive/web": "all"}
    found = forecast.forecast(network, "client", "40.1.2.3", forecast.Service("tcp", 80), down=frozenset(down))
    assert found.access == "NoWay"
    assert [way.obstacle for way in found.ways] == [
        "no member behind 40.1.2.3, 80/tcp, is up: all of g denies the probe of web"
    ]


def test_a_group_that_lets_the_probe_pass_takes_no_member_down() -> None:
    assert forecast.unprobed(topology.parse(_PROBED.replace("access: Deny", "access: Allow"), "probed")) == {}


def test_nothing_crosses_a_tunnel_that_is_broken() -> None:
    network = topology.load(Path(__file__).parents[3] / "topologies" / "vnet-to-vnet.lab.yaml")
    one, other = network.connections[0].virtual_network, network.connections[1].virtual_network
    sender, to = (next(v.name for v in network.virtual_machines if v.virtual_network == n) for n in (one, other))
    service = forecast.Service("tcp", 80)
    assert forecast.forecast(network, sender, to, service).access == "Allow"
    found = forecast.forecast(network, sender, to, service, broken={frozenset((one, other)): "the tunnel is down"})
    assert (found.access, [way.obstacle for way in found.ways]) == ("NoWay", ["the tunnel is down"])
