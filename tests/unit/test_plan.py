"""lab/plan.py: names, order, text, difference and JSON of plans."""

import msgspec
import pytest

from lab import plan
from lab.flow import PortRange
from lab.plan import (
    Address,
    Backend,
    Backends,
    ClampSegments,
    CtTarget,
    DestinationNat,
    DnsRecord,
    DropFragments,
    FlowMark,
    HashMark,
    HealthCheck,
    IdleReset,
    IkeDaemon,
    Item,
    Jump,
    Namespace,
    Plan,
    Policy,
    Program,
    Provenance,
    Queue,
    RateLimit,
    Resolver,
    Route,
    RoutingRule,
    Rule,
    Server,
    SetMark,
    SnatPolicy,
    SnatPool,
    SnatRange,
    SourceNat,
    Sysctl,
    Terminal,
    Timeout,
    Tunnel,
    VethPair,
    difference,
)

_WHY = Provenance("rule", "entity", "source")


def rule(number: int, *, place: str = "lb", chain: str = "POSTROUTING") -> Rule:
    return Rule(
        place=place, why=_WHY, table="nat", chain=chain, source=f"10.0.0.{number}/32", target=Terminal("ACCEPT")
    )


def made(*items: Item) -> Plan:
    return plan.make("a", items)


CHECK = HealthCheck(
    place="lb", why=_WHY, load_balancer="lb1", probe="alive", node="web", protocol="Http", source="168.63.129.16",
    address="10.0.0.4", port=80, request_path="/ok", interval_s=2.5, timeout_s=31.0, failures=2,
    successes=3, wrong_answer_counts=False,
)  # fmt: skip

POLICY = SnatPolicy(
    place="lb", why=_WHY, router="router", tcp_reuse="destination", udp_reuse="nothing", per_protocol=True,
    order="lowest", sequential=True, fin_close="either", fin_s=4.0, rst_s=0.25, idle_s=240.0, alert_s=300.0,
    blocks=(SnatRange("1.1.1.1", 80, 87), SnatRange("1.1.1.2", 1024, 1031)), resources=(("1.1.1.1", "/LB"),),
)  # fmt: skip

POLICY_TEXT = (
    "SNAT ports, lowest first, one address after the other, unique for tcp destination, udp nothing, each protocol "
    "its own; back after either FIN 4 s, RST 0.25 s, idle 240 s, without 1.1.1.1:80-87 1.1.1.2:1024-1031"
)

TUNNEL = Tunnel(
    place="lb", why=_WHY, name="s", peer="10.0.0.2", version=2, ike=("a", "b"), ike_lifetime_s=100, esp=("c",),
    esp_lifetime_s=50, local=("10.1.0.0/16",), transit=("10.3.0.0/16",), remote=("10.2.0.0/16",), connect=False,
)  # fmt: skip

_SAID_OF_TUNNEL = (
    "tunnel s IKEv2 to 10.0.0.2: 10.1.0.0/16(,10.3.0.0/16) to 10.2.0.0/16, 0.0.0.0/0===0.0.0.0/0; a b 100 s; c 50 s; "
    "disconnected"
)

#: One item of each kind, in the order of `plan.KINDS`, with its text.
ITEMS: list[tuple[Item, str]] = [
    (Namespace(place="lb", why=_WHY, role="load balancer"), "namespace (load balancer)"),
    (Sysctl(place="lb", why=_WHY, key="net.ipv4.ip_forward", value=1), "sysctl net.ipv4.ip_forward = 1"),
    (VethPair(place="lb", why=_WHY, interface="vm", peer_place="vm", peer_interface="eth0"), "wire vm --- eth0 in vm"),
    (Address(place="lb", why=_WHY, interface="lo", address="10.0.0.1"), "address 10.0.0.1/32 on lo"),
    (Route(place="lb", why=_WHY, destination="0.0.0.0/0", interface="eth0", via="10.0.0.1"),
     "route 0.0.0.0/0 via 10.0.0.1 dev eth0"),
    (RoutingRule(place="lb", why=_WHY, mark=0x8000000, mask=0xFFFFFFF, table=9),
     "routing rule fwmark 0x8000000/0xfffffff table 9"),
    (Timeout(place="lb", why=_WHY, name="10", seconds=600, nominal_s=600),
     "timeout 10: TCP flows may be idle for 600 s"),
    (Policy(place="lb", why=_WHY, table="filter", chain="FORWARD", verdict="DROP"), "-t filter -P FORWARD DROP"),
    (rule(1), "-t nat -A POSTROUTING -s 10.0.0.1/32 -j ACCEPT"),
    (Server(place="lb", why=_WHY, node="web", kind="http", address="10.0.0.4", port=80, protocol="tcp"),
     "http server as web on 10.0.0.4:80/tcp"),
    (Program(place="web", why=_WHY, name="api", command=("serve", "a b"), port=8080, protocol="tcp",
             environment=(("TOKEN", "hidden"),), folder="/", ready_port=8080, ready_s=10.0, restarts=True),
     "program api on 8080/tcp: serve 'a b'"),
    (DnsRecord(place="lb", why=_WHY, name="web", address="10.0.0.4"), "name web A 10.0.0.4"),
    (Resolver(place="lb", why=_WHY, servers=("10.0.0.1", "10.0.0.2")), "resolv.conf 10.0.0.1 10.0.0.2"),
    (CHECK, ("probe lb1/alive/web: Http 10.0.0.4:80/ok every 2.5 s, waits 31 s; down after 2 or a wrong answer, "
             "back after 3")),
    (Backends(place="lb", why=_WHY, address="1.1.1.1", port=81, protocol="tcp", ends_tcp=True, resource="/LB", log_s=60,
              members=(Backend("web", "10.0.0.4", "lb1/alive/web"), Backend("bare", "10.0.0.5", ""))),
     "backends of 1.1.1.1:81/tcp: web (lb1/alive/web) bare (always up); all down: end TCP flows; logged every 60 s"),
    (POLICY, POLICY_TEXT),
    (SnatPool(place="lb", why=_WHY, node="web", source="10.0.0.4",
              ranges=(SnatRange("1.1.1.1", 1024, 2047), SnatRange("1.1.1.2", 1024, 1535))),
     "SNAT ports of 10.0.0.4: 1.1.1.1:1024-2047 1.1.1.2:1024-1535"),
    (IdleReset(place="lb", why=_WHY, address="1.1.1.1", port=80, idle_s=240, inside=("10.0.0.0/8",),
               inner_interface="router", outer_interface="internet"),
     "TCP reset of flows to 1.1.1.1:80 that are idle for 240 s"),
    (RateLimit(place="lb", why=_WHY, interface="internet", mbit_s=100), "shape internet to 100 Mbit/s"),
    (DropFragments(place="lb", why=_WHY, sources=("10.1.0.0/16",), exempt=("10.1.0.4/32",)),
     "drop fragments from 10.1.0.0/16, but for 10.1.0.4/32"),
    (IkeDaemon(place="lb", why=_WHY, kind="VPN device", address="10.0.0.1", ready_at=0.0),
     "charon (VPN device) on 10.0.0.1"),
    (TUNNEL, _SAID_OF_TUNNEL),
]  # fmt: skip


@pytest.mark.parametrize(("item", "text"), ITEMS, ids=[type(item).__name__ for item, _ in ITEMS])
def test_an_item_is_said_in_the_kernels_words(item: Item, text: str) -> None:
    assert str(item) == text


def test_every_kind_of_item_is_made_in_an_order_and_tried_here() -> None:
    assert [type(item) for item, _ in ITEMS] == list(plan.KINDS)


def test_a_route_may_lead_nowhere_or_straight_out() -> None:
    assert str(Route(place="x", why=_WHY, destination="1.2.3.4/32")) == "route 1.2.3.4/32 blackhole"
    assert str(Route(place="x", why=_WHY, destination="1.2.3.4/32", interface="a")) == "route 1.2.3.4/32 dev a"
    own = Route(place="x", why=_WHY, destination="1.2.3.4/32", interface="a", table=9)
    assert str(own) == "route 1.2.3.4/32 dev a table 9"


def test_a_rule_is_said_as_iptables_would_have_it() -> None:
    full = Rule(
        place="lb", why=_WHY, table="nat", chain="c", source="1.1.1.1/32", destination="2.2.2.2/32", protocol="tcp",
        in_interface="i", out_interface="o", destination_ports=PortRange(80, 80), ctstate="NEW",
        ctstatus="!CONFIRMED", mark=2, target=Jump("d"),
    )  # fmt: skip
    wanted = "-t nat -A c -s 1.1.1.1/32 -d 2.2.2.2/32 -i i -o o -p tcp --dport 80 --ctstate NEW "
    assert str(full) == wanted + "! --ctstatus CONFIRMED --mark 2 -j d"


def test_a_policy_without_extras_says_none() -> None:
    plain = msgspec.structs.replace(POLICY, order="random", sequential=False, per_protocol=False, blocks=(), fin_s=0.0)
    wanted = "SNAT ports, random first, unique for tcp destination, udp nothing; "
    assert str(plain) == wanted + "back after either FIN 0 s, RST 0.25 s, idle 240 s"


def test_a_range_of_snat_ports_has_both_its_ends() -> None:
    ports = SnatRange("1.1.1.1", 1024, 1027)
    assert (len(ports), list(ports.ports())) == (4, [1024, 1025, 1026, 1027])
    assert [port in ports for port in (1023, 1024, 1027, 1028, "1024")] == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (SourceNat("1.1.1.1", "1024-2047"), "-j SNAT --to-source 1.1.1.1:1024-2047"),
        (SourceNat("1.1.1.1"), "-j SNAT --to-source 1.1.1.1"),
        (DestinationNat("1.1.1.1", 80), "-j DNAT --to-destination 1.1.1.1:80"),
        (DestinationNat("1.1.1.1"), "-j DNAT --to-destination 1.1.1.1"),
        (ClampSegments(1350), "--tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1350"),
        (SetMark(4), "-j MARK --or-mark 0x4"),
        (SetMark(4, whole=True), "-j MARK --set-mark 0x4"),
        (FlowMark("save", 15), "-j CONNMARK --save-mark --mask 0xf"),
        (CtTarget("600"), "-j CT --timeout 600 --ctevents helper"),
        (CtTarget(reported=True), "-j CT --ctevents destroy"),
        (HashMark("src", 3, 7), "-j HMARK --hmark-tuple src --hmark-mod 3 --hmark-rnd 7"),
        (Terminal("DROP"), "-j DROP"),
        (Queue(0), "-j NFQUEUE --queue-num 0"),
    ],
)
def test_a_target_is_said_as_iptables_would_have_it(target: plan.Target, text: str) -> None:
    assert str(target) == text


def test_a_why_leads_back_to_a_file_and_fits_a_comment() -> None:
    assert str(_WHY) == "rule: entity (source)"
    assert str(Provenance("rule", "entity")) == "rule: entity"
    assert len(str(Provenance("rule", "e" * 300))) == plan.COMMENT_MAX


def test_names_that_are_too_long_for_the_kernel_are_cut_and_stay_apart() -> None:
    assert plan.interface_to("router.vnet1") == "router.vnet1"
    first, second = plan.interface_to("a-very-long-name-1"), plan.interface_to("a-very-long-name-2")
    assert first != second
    assert len(first) == len(second) == plan.IFNAMSIZ
    assert plan.interface_to("a" * plan.IFNAMSIZ) == "a" * plan.IFNAMSIZ


def test_a_namespace_is_named_after_its_lab_and_place() -> None:
    assert plan.namespace("shop", "lb.vnet1") == "lab.shop.lb.vnet1"


def test_a_plan_is_in_the_order_of_kinds_whatever_the_order_of_its_items() -> None:
    items = [item for item, _ in ITEMS]
    assert made(*reversed(items)).items == tuple(items)


def test_rules_of_one_chain_keep_their_order() -> None:
    assert made(rule(3), rule(1), rule(2)).items == (rule(3), rule(1), rule(2))


def test_a_plan_is_printed_by_place_with_the_why_of_every_item() -> None:
    text = made(*(item for item, _ in ITEMS[:2]), Namespace(place="a", why=_WHY, role="vm")).text()
    wanted = ["a", f"  {'namespace (vm)':<74}  # rule: entity (source)", "lb"]
    wanted += [f"  {text:<74}  # rule: entity (source)" for _, text in ITEMS[:2]]
    assert text.splitlines() == wanted


def test_a_plan_knows_its_places_and_the_tables_of_each() -> None:
    both = made(*(item for item, _ in ITEMS))
    assert both.places() == ("lb",)
    assert both.tables() == {("lb", "filter"): (ITEMS[7][0],), ("lb", "nat"): (ITEMS[8][0],)}


def test_equal_plans_have_no_difference() -> None:
    items = [item for item, _ in ITEMS]
    change = difference(made(*items), made(*reversed(items)))
    assert not change
    assert change.text() == ""


def test_a_difference_is_what_is_gone_and_what_is_new() -> None:
    change = difference(made(rule(1), rule(2)), made(rule(1), rule(3)))
    assert (change.gone, change.new) == ((rule(2),), (rule(3),))
    assert change.text() == f"- lb: {rule(2)}  # {_WHY}\n+ lb: {rule(3)}  # {_WHY}\n"


def test_a_change_of_order_alone_is_a_change_of_the_whole_table() -> None:
    other = rule(9, place="other")
    change = difference(made(rule(1), rule(2), other), made(rule(2), rule(1), other))
    assert (change.gone, change.new) == ((rule(1), rule(2)), (rule(2), rule(1)))


def test_the_order_of_rules_of_different_chains_does_not_count() -> None:
    first, second = rule(1, chain="a"), rule(1, chain="b")
    assert not difference(made(first, second), made(second, first))


@pytest.mark.parametrize(("item", "_text"), ITEMS, ids=[type(item).__name__ for item, _ in ITEMS])
def test_every_kind_of_item_survives_being_written_down(item: Item, _text: str) -> None:
    assert plan.decode(plan.encode(made(item))) == made(item)


def test_what_is_no_plan_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        plan.decode(b'{"lab": "a"}')
