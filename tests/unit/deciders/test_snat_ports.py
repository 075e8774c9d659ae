"""lab/deciders/snat_ports.py: which port each flow takes, and when it comes back. Time is invented."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from lab.deciders.snat_ports import Alert, DestinationUsage, Grant, Ports, Usage
from lab.flow import TCP, UDP, Flow, PortReuse
from lab.plan import Provenance, SnatPolicy, SnatPool, SnatRange

_WHY = Provenance("test", "test")
FRONTEND, SECOND = "40.1.1.1", "40.1.1.2"
NUMBER, SECOND_NUMBER = int(IPv4Address(FRONTEND)), int(IPv4Address(SECOND))
FAR, OTHER = "198.51.100.20", "198.51.100.30"
K = 10
EVERY: list[PortReuse] = ["destination address", "destination", "nothing"]


def policy(**changes: Any) -> SnatPolicy:
    """Return a policy of one scope for each destination, lowest first, with no time after an end."""
    values: dict[str, Any] = {
        "tcp_reuse": "destination", "udp_reuse": "destination", "per_protocol": True, "order": "lowest",
        "sequential": False, "fin_close": "both", "fin_s": 0.0, "rst_s": 0.0, "idle_s": 240.0, "alert_s": 300.0,
        "blocks": (), "resources": (),
    }  # fmt: skip
    return SnatPolicy(place="lb", router="router", why=_WHY, **{**values, **changes})


def share(first: int, last: int, address: str = FRONTEND) -> SnatRange:
    return SnatRange(address, first, last)


def pool(vm: int, *ranges: SnatRange) -> SnatPool:
    return SnatPool(place="lb", why=_WHY, node=f"vm{vm}", source=f"10.1.0.{vm}", ranges=ranges)


def one(ports: int = K, **changes: Any) -> Ports:
    """Return the ports of one VM, vm1, which are 1024 and those that follow."""
    return Ports(policy(**changes), [pool(1, share(1024, 1023 + ports))])


def flow(number: int, to: str = FAR, port: int = 80, *, vm: int = 1, protocol: int = TCP) -> Flow:
    """Return the flow of a VM's private port 40000 + number."""
    return Flow(protocol, int(IPv4Address(f"10.1.0.{vm}")), 40000 + number, int(IPv4Address(to)), port)


def udp(number: int, to: str = FAR, port: int = 80) -> Flow:
    return flow(number, to, port, protocol=UDP)


def given(ports: Ports, asked: Flow, now_s: float = 0.0) -> int | None:
    """Return the port a flow is given, None if it is refused."""
    grant = ports.decide(asked, now_s)
    return None if grant is None else grant.port


def fill(ports: Ports, count: int, to: str = FAR, port: int = 80, **which: int) -> list[int | None]:
    return [given(ports, flow(number, to, port, **which)) for number in range(count)]


def used(ports: Ports, protocol: str = "tcp", node: str = "vm1", address: str = FRONTEND) -> Usage:
    (found,) = (u for u in ports.usage() if (u.protocol, u.node, u.address) == (protocol, node, address))
    return found


def assert_empty(ports: Ports) -> None:
    """Fail if anything of a flow is left behind."""
    left = (ports._scopes, ports._held, ports._sockets, ports._cooling, ports._refused)
    assert [len(part) for part in left] == [0, 0, 0, 0, 0]
    assert [(account.flows, account.ports) for account in ports._accounts.values() if account.flows] == []
    assert [account.ports for account in ports._accounts.values() if account.ports] == []


# --- how many ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["lowest", "random"])
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("reuse", EVERY)
def test_a_scope_has_exactly_as_many_flows_as_ports(reuse: PortReuse, protocol: int, order: str) -> None:
    ports = one(tcp_reuse=reuse, udp_reuse=reuse, order=order)
    found = fill(ports, K + 2, protocol=protocol)
    assert sorted(port for port in found if port is not None) == list(range(1024, 1024 + K))
    assert found[K:] == [None, None]


@pytest.mark.parametrize(
    ("reuse", "same_address", "other_address"),
    # S2-5, S2-6, N-SN-7, N-SN-8: how many more flows fit to another port of one address, and to another address.
    [("destination address", 0, K), ("destination", K, K), ("nothing", 0, 0)],
)
def test_what_must_differ_for_a_port_to_be_used_once_more(
    reuse: PortReuse, same_address: int, other_address: int
) -> None:
    ports = one(tcp_reuse=reuse)
    assert None not in fill(ports, K)
    for wanted, to, port in ((same_address, FAR, 443), (other_address, OTHER, 80)):
        found = [given(ports, flow(100 + number, to, port)) for number in range(K + 1)]
        assert len([p for p in found if p is not None]) == wanted


def test_flows_to_two_destinations_have_equal_ports() -> None:
    ports = one()
    assert fill(ports, K) == fill(ports, K, port=443) == fill(ports, K, to=OTHER) == list(range(1024, 1024 + K))


@pytest.mark.parametrize(("per_protocol", "more"), [(True, K), (False, 0)])
def test_tcp_and_udp_share_ports_unless_each_has_its_own(per_protocol: bool, more: int) -> None:
    """N-SN-9: separate from 2019 on. Before, flows to one address take ports whatever their protocol."""
    ports = one(tcp_reuse="destination address", udp_reuse="destination address", per_protocol=per_protocol)
    fill(ports, K)
    assert len([p for p in fill(ports, K + 1, protocol=UDP) if p is not None]) == more


def test_the_protocol_is_part_of_a_destination() -> None:
    """N-SN-7: address, port and protocol, although the ports are not said to be separate."""
    ports = one(per_protocol=False)
    assert fill(ports, K) == fill(ports, K, protocol=UDP) == list(range(1024, 1024 + K))


def test_two_vms_have_their_own_ports() -> None:
    ports = Ports(policy(), [pool(1, share(1024, 1025)), pool(2, share(1026, 1027))])
    assert fill(ports, 3, vm=1) == [1024, 1025, None]
    assert fill(ports, 3, vm=2) == [1026, 1027, None]


def test_vms_that_share_a_range_take_its_ports_as_they_come() -> None:
    ports = Ports(policy(), [pool(1, share(1024, 1027)), pool(2, share(1024, 1027))])
    found = [given(ports, flow(number, vm=1 + number % 2)) for number in range(5)]
    assert found == [1024, 1025, 1026, 1027, None]


def test_a_grant_is_an_address_and_a_port() -> None:
    assert one().decide(flow(1), 0.0) == Grant(NUMBER, 1024)


def test_a_source_that_is_no_vm_of_this_network_is_not_known() -> None:
    ports = one()
    assert (ports.knows(flow(1)), ports.knows(flow(1, vm=2))) == (True, False)
    with pytest.raises(KeyError):
        ports.decide(flow(1, vm=2), 0.0)


@pytest.mark.parametrize("reuse", EVERY)
def test_a_first_packet_that_is_sent_again_has_the_same_port(reuse: PortReuse) -> None:
    ports = one(tcp_reuse=reuse)
    assert [given(ports, flow(1), float(second)) for second in (0, 1, 3)] == [1024, 1024, 1024]
    assert (used(ports).flows, given(ports, flow(2))) == (1, 1025)


# --- which one --------------------------------------------------------------------------------


def test_the_lowest_free_port_is_taken() -> None:
    """N-SN-11: think of a sequence from lowest to highest; the first that is available is taken."""
    ports = one()
    assert fill(ports, 6) == [1024, 1025, 1026, 1027, 1028, 1029]
    for number in (4, 1, 2):
        ports.ended(flow(number), 1024 + number)
    assert [given(ports, flow(number)) for number in (11, 12, 13, 14)] == [1025, 1026, 1028, 1030]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 1000, 1024, 64000])
def test_random_order_comes_to_every_port_of_the_range(size: int) -> None:
    ports = one(size, order="random")
    found = [given(ports, flow(0, port=1)), *(given(ports, flow(number)) for number in range(1, size))]
    found += [given(ports, flow(0)), given(ports, flow(size))]
    assert found[-1] is None
    assert sorted(port for port in found[1:-1] if port is not None) == list(range(1024, 1024 + size))


def test_random_order_is_no_order_and_the_same_every_time() -> None:
    first, second = (fill(one(1000, order="random"), 100) for _ in range(2))
    assert first == second
    assert first != sorted(port for port in first if port is not None)


def test_in_random_order_ports_that_came_back_are_taken_again() -> None:
    ports = one(order="random")
    found = fill(ports, K)
    for number in (2, 5, 7):
        ports.ended(flow(number), found[number] or 0)
    again = [given(ports, flow(100 + number)) for number in range(4)]
    assert again.pop() is None
    assert sorted(map(str, again)) == sorted(str(found[number]) for number in (2, 5, 7))


# --- closed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "hold_s"), [("fin", 240.0), ("rst", 15.0)])
def test_a_closed_flows_port_is_held_for_its_cool_down(how: Any, hold_s: float) -> None:
    """N-SN-10: 240 s after FIN, 15 s after RST."""
    ports = one(1, fin_s=240.0, rst_s=15.0)
    assert given(ports, flow(1)) == 1024
    assert ports.closed(flow(1), how, 100.0) is False
    assert ports.next_due() == 100.0 + hold_s
    assert ports.due(100.0 + hold_s - 1) == []
    assert given(ports, flow(2), 100.0 + hold_s - 1) is None
    assert ports.due(100.0 + hold_s) == [flow(1)]
    assert given(ports, flow(2), 100.0 + hold_s) == 1024
    assert ports.next_due() is None


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_without_a_cool_down_a_port_is_free_at_once_and_the_flow_must_be_forgotten(how: Any) -> None:
    ports = one(1)
    given(ports, flow(1))
    assert ports.closed(flow(1), how, 1.0) is True
    assert ports.next_due() is None
    assert given(ports, flow(2), 1.0) == 1024


def test_rst_after_fin_shortens_the_cool_down() -> None:
    ports = one(1, fin_s=240.0, rst_s=15.0)
    given(ports, flow(1))
    ports.closed(flow(1), "fin", 0.0)
    ports.closed(flow(1), "rst", 10.0)
    assert ports.due(24.0) == []
    assert used(ports).cooling == 1
    assert ports.due(25.0) == [flow(1)]
    assert ports.due(1000.0) == []
    assert_empty(ports)


def test_rst_without_a_cool_down_ends_that_of_fin() -> None:
    ports = one(1, fin_s=240.0)
    given(ports, flow(1))
    ports.closed(flow(1), "fin", 0.0)
    assert ports.closed(flow(1), "rst", 1.0) is True
    assert given(ports, flow(2), 1.0) == 1024
    assert ports.due(240.0) == []
    assert used(ports).flows == 1


def test_rst_late_in_a_cool_down_does_not_make_it_longer() -> None:
    ports = one(1, fin_s=240.0, rst_s=15.0)
    given(ports, flow(1))
    ports.closed(flow(1), "fin", 0.0)
    ports.closed(flow(1), "rst", 230.0)
    assert ports.due(240.0) == [flow(1)]


def test_the_fin_of_the_other_side_does_not_begin_the_cool_down_anew() -> None:
    """Of either side: it is held from the first one on. Each state of closing is told."""
    ports = one(1, fin_close="either", fin_s=240.0)
    given(ports, flow(1))
    for second in (0.0, 5.0, 6.0):
        ports.closed(flow(1), "fin", second)
    assert ports.due(240.0) == [flow(1)]


def test_a_socket_that_opens_again_while_its_last_flow_cools_down_is_given_another_port() -> None:
    ports = one(2, fin_s=240.0)
    assert given(ports, flow(1), 0.0) == 1024
    ports.closed(flow(1), "fin", 0.0)
    assert given(ports, flow(1), 1.0) == 1025
    assert given(ports, flow(2), 1.0) is None
    # The cool-down of the first goes on without a name, and the second flow is not to be forgotten with it.
    assert ports.due(240.0) == []
    assert given(ports, flow(2), 240.0) == 1024
    assert list(ports.flows()) == [(flow(1), Grant(NUMBER, 1025)), (flow(2), Grant(NUMBER, 1024))]


def test_a_socket_that_opens_again_is_refused_where_its_last_port_was_the_only_one() -> None:
    ports = one(1, fin_s=240.0)
    given(ports, flow(1), 0.0)
    ports.closed(flow(1), "fin", 0.0)
    assert given(ports, flow(1), 1.0) is None
    ports.due(240.0)
    assert given(ports, flow(1), 240.0) == 1024


def test_the_end_of_a_flow_that_had_another_port_is_not_that_of_the_one_that_has_its_socket_now() -> None:
    ports = one(2, fin_s=240.0)
    given(ports, flow(1), 0.0)
    ports.closed(flow(1), "fin", 0.0)
    assert given(ports, flow(1), 1.0) == 1025
    ports.ended(flow(1), 1024)
    assert list(ports.flows()) == [(flow(1), Grant(NUMBER, 1025))]


def test_an_end_within_a_cool_down_does_not_shorten_it() -> None:
    ports = one(1, fin_s=240.0)
    given(ports, flow(1))
    ports.closed(flow(1), "fin", 0.0)
    ports.ended(flow(1), 1024)
    assert given(ports, flow(2), 239.0) is None
    assert ports.due(240.0) == []  # connection tracking has forgotten it already
    assert given(ports, flow(2), 240.0) == 1024


@pytest.mark.parametrize("reuse", EVERY)
def test_a_flow_that_was_idle_for_too_long_gives_its_port_back_at_once(reuse: PortReuse) -> None:
    """S2-9. A cool-down is for flows that are closed."""
    ports = one(1, tcp_reuse=reuse, fin_s=240.0, rst_s=15.0)
    given(ports, flow(1))
    ports.ended(flow(1), 1024)
    assert given(ports, flow(2)) == 1024


def test_ends_of_flows_that_have_no_port_are_nobodys() -> None:
    ports = one(fin_s=240.0)
    ports.ended(flow(1), 1024)
    assert ports.closed(flow(1), "fin", 0.0) is False
    assert_empty(ports)


def test_cool_downs_end_in_the_order_of_their_time() -> None:
    ports = one(fin_s=240.0, rst_s=15.0)
    fill(ports, 3)
    ports.closed(flow(0), "fin", 0.0)
    ports.closed(flow(1), "rst", 0.0)
    ports.closed(flow(2), "rst", 1.0)
    assert ports.next_due() == 15.0
    assert ports.due(300.0) == [flow(1), flow(2), flow(0)]


def test_a_port_that_somebody_unknown_has_is_left_alone_for_an_idle_timeout() -> None:
    ports = one(2, idle_s=240.0)
    assert given(ports, flow(1)) == 1024
    ports.lose(flow(1), 0.0)
    assert [given(ports, flow(number), 1.0) for number in (1, 2)] == [1025, None]
    assert ports.due(239.0) == []
    assert given(ports, flow(2), 239.0) is None
    assert ports.due(240.0) == []
    assert given(ports, flow(2), 240.0) == 1024


# --- one port for a private socket ------------------------------------------------------------


def test_a_private_socket_keeps_its_port_to_all_destinations() -> None:
    """N-SN-8: port-restricted cone."""
    ports = one(udp_reuse="nothing")
    found = [given(ports, udp(1, to, port)) for to in (FAR, OTHER) for port in (1, 2)]
    assert found == [1024] * 4
    assert given(ports, udp(2)) == 1025
    assert used(ports, "udp").flows == 2


def test_a_private_socket_gives_its_port_back_with_its_last_flow() -> None:
    ports = one(1, udp_reuse="nothing")
    fill_in = [udp(1, FAR, 1), udp(1, FAR, 2), udp(1, OTHER, 1)]
    for asked in fill_in:
        given(ports, asked)
    for asked in fill_in[:2]:
        ports.ended(asked, 1024)
        assert given(ports, udp(2)) is None
    ports.ended(fill_in[2], 1024)
    assert given(ports, udp(2)) == 1024


def test_of_several_flows_of_a_private_socket_none_closes_the_others() -> None:
    ports = one(1, tcp_reuse="nothing")
    given(ports, flow(1, FAR, 1))
    given(ports, flow(1, FAR, 2))
    assert ports.closed(flow(1, FAR, 1), "rst", 0.0) is False
    ports.ended(flow(1, FAR, 1), 1024)
    assert ports.closed(flow(1, FAR, 2), "rst", 0.0) is True
    assert_empty(ports)


def test_a_private_socket_that_cools_down_is_given_another_port() -> None:
    ports = one(2, tcp_reuse="nothing", fin_s=240.0)
    given(ports, flow(1, FAR, 1))
    ports.closed(flow(1, FAR, 1), "fin", 0.0)
    assert given(ports, flow(1, FAR, 2), 1.0) == 1025
    assert ports.due(240.0) == [flow(1, FAR, 1)]
    assert given(ports, flow(1, FAR, 3), 240.0) == 1025
    assert given(ports, flow(2), 240.0) == 1024


def test_a_private_socket_keeps_its_frontend() -> None:
    ports = Ports(policy(udp_reuse="nothing"), [pool(1, share(1024, 1033), share(1024, 1033, SECOND))])
    grants = {ports.decide(udp(1, OTHER, port), 0.0) for port in range(1, 50)}
    assert len(grants) == 1


# --- several frontends ------------------------------------------------------------------------


def two(**changes: Any) -> Ports:
    return Ports(policy(**changes), [pool(1, share(1024, 1023 + K), share(1024, 1023 + K, SECOND))])


def test_one_frontend_after_the_other_is_used() -> None:
    """N-SN-12, 2022-03-01: one at a time, until its ports are used."""
    ports = two(sequential=True)
    grants = [ports.decide(flow(number), 0.0) for number in range(2 * K + 1)]
    assert grants == [
        *(Grant(NUMBER, port) for port in range(1024, 1024 + K)),
        *(Grant(SECOND_NUMBER, port) for port in range(1024, 1024 + K)),
        None,
    ]
    ports.ended(flow(3), 1027)
    assert ports.decide(flow(99), 0.0) == Grant(NUMBER, 1027)


def test_any_frontend_is_used_and_all_of_them_until_their_last_port() -> None:
    """Outbound connections, 2017-05-31, Limitations."""
    ports = two()
    grants = [ports.decide(flow(number), 0.0) for number in range(2 * K + 1)]
    assert {grant.address for grant in grants[: K // 2] if grant} == {NUMBER, SECOND_NUMBER}
    assert len({grant for grant in grants if grant}) == 2 * K
    assert grants[-1] is None


def test_which_of_several_frontends_depends_on_the_flow_alone() -> None:
    first = [two().decide(flow(number), 0.0) for number in range(20)]
    again = [two().decide(flow(number), 9.0) for number in range(20)]
    assert first == again


# --- blocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["lowest", "random"])
def test_a_port_that_a_rule_has_taken_is_given_to_nobody(order: str) -> None:
    """N-SN-19."""
    ports = Ports(policy(blocks=(share(1032, 1039),), order=order), [pool(1, share(1024, 1047))])
    found = fill(ports, 17)
    assert sorted(p for p in found if p is not None) == [*range(1024, 1032), *range(1040, 1048)]
    assert found[-1] is None
    assert used(ports).allocated == 16


def test_a_block_takes_ports_of_its_own_address_only() -> None:
    ports = Ports(policy(blocks=(share(1024, 1031, SECOND),)), [pool(1, share(1024, 1031))])
    assert fill(ports, 9)[7:] == [1031, None]
    assert used(ports).allocated == 8


def test_a_vm_all_of_whose_ports_are_taken_by_rules_is_refused() -> None:
    ports = Ports(policy(blocks=(share(1024, 1031),)), [pool(1, share(1026, 1029))])
    assert given(ports, flow(1)) is None
    assert used(ports).allocated == 0
    ports.due(10_000.0)
    assert_empty(ports)


# --- taken over -------------------------------------------------------------------------------


def test_a_flow_that_has_its_port_already_keeps_it() -> None:
    ports = one()
    ports.adopt(flow(1), Grant(NUMBER, 1026))
    assert given(ports, flow(1)) == 1026
    assert [given(ports, flow(number)) for number in (2, 3, 4)] == [1024, 1025, 1027]
    ports.ended(flow(1), 1026)
    assert given(ports, flow(5)) == 1026


@pytest.mark.parametrize("order", ["lowest", "random"])
def test_with_adopted_flows_a_scope_has_exactly_as_many_flows_as_ports(order: str) -> None:
    ports = one(order=order)
    for number in (1, 4, 9):
        ports.adopt(flow(100 + number), Grant(NUMBER, 1024 + number))
    found = fill(ports, K)
    assert sorted(port for port in found if port is not None) == [1024, 1026, 1027, 1029, 1030, 1031, 1032]
    assert found[7:] == [None] * 3


def test_an_adopted_flow_may_be_in_its_cool_down() -> None:
    ports = one(1, fin_s=240.0)
    ports.adopt(flow(1), Grant(NUMBER, 1024), due_s=50.0)
    assert given(ports, flow(2), 49.0) is None
    assert ports.due(50.0) == [flow(1)]
    assert given(ports, flow(2), 50.0) == 1024


def test_an_adopted_port_outside_of_the_vms_range_comes_back_to_whoever_has_the_range() -> None:
    ports = Ports(policy(), [pool(1, share(1024, 1025)), pool(2, share(1026, 1027))])
    ports.adopt(flow(9, vm=1), Grant(NUMBER, 1026))
    assert fill(ports, 2, vm=2) == [1027, None]
    assert fill(ports, 3, vm=1) == [1024, 1025, None]
    assert (used(ports, node="vm1").flows, used(ports, node="vm2").flows) == (3, 1)
    ports.ended(flow(9, vm=1), 1026)
    assert given(ports, flow(1, vm=2)) == 1026
    assert given(ports, flow(2, vm=1)) is None


def test_an_adopted_port_that_is_in_nobodys_range_is_nobodys_when_it_comes_back() -> None:
    ports = one(1)
    ports.adopt(flow(9), Grant(NUMBER, 50000))
    assert fill(ports, 2) == [1024, None]
    ports.ended(flow(9), 50000)
    assert given(ports, flow(1)) is None


def test_an_adopted_port_that_comes_back_is_not_taken_before_lower_ones() -> None:
    ports = Ports(policy(), [pool(1, share(1024, 1029)), pool(2, share(1030, 1031))])
    ports.adopt(flow(1), Grant(NUMBER, 1028))
    ports.adopt(flow(2, vm=2), Grant(NUMBER, 1027))
    assert given(ports, flow(3)) == 1024
    ports.ended(flow(1), 1028)
    ports.ended(flow(2, vm=2), 1027)
    assert [given(ports, flow(number)) for number in range(4, 10)] == [1025, 1026, 1027, 1028, 1029, None]


def test_flows_of_others_and_from_other_addresses_are_not_adopted() -> None:
    ports = one()
    ports.adopt(flow(1, vm=2), Grant(NUMBER, 1024))
    ports.adopt(flow(2), Grant(SECOND_NUMBER, 1024))
    assert list(ports.flows()) == []
    assert_empty(ports)


def test_of_two_flows_that_another_revision_let_share_a_port_the_first_counts() -> None:
    ports = one(tcp_reuse="destination address")
    ports.adopt(flow(1, port=80), Grant(NUMBER, 1024))
    ports.adopt(flow(1, port=443), Grant(NUMBER, 1024))
    ports.adopt(flow(1, port=80), Grant(NUMBER, 1025))
    assert list(ports.flows()) == [(flow(1, port=80), Grant(NUMBER, 1024))]
    assert used(ports).flows == 1


def test_adopted_flows_of_one_private_socket_share_their_port() -> None:
    ports = one(1, udp_reuse="nothing")
    for port in (1, 2):
        ports.adopt(udp(1, FAR, port), Grant(NUMBER, 1024))
    assert used(ports, "udp").flows == 1
    assert given(ports, udp(1, OTHER, 3)) == 1024
    for asked in (udp(1, FAR, 1), udp(1, FAR, 2), udp(1, OTHER, 3)):
        assert given(ports, udp(2)) is None
        ports.ended(asked, 1024)
    assert given(ports, udp(2)) == 1024


# --- changed ----------------------------------------------------------------------------------


def test_a_pool_that_grows_into_the_next_tier_loses_the_flows_of_the_upper_half() -> None:
    """N-SN-4."""
    before = one(8)
    fill(before, 8)
    after, lost = before.changed(policy(), [pool(1, share(1024, 1027)), pool(2, share(1028, 1031))])
    assert lost == [flow(number) for number in (4, 5, 6, 7)]
    assert dict(after.flows()) == {flow(number): Grant(NUMBER, 1024 + number) for number in range(4)}
    assert [given(after, flow(number, vm=2)) for number in range(5)] == [1028, 1029, 1030, 1031, None]


def test_a_pool_that_shrinks_loses_nothing_and_gains_ports() -> None:
    before = one(4)
    fill(before, 4)
    after, lost = before.changed(policy(), [pool(1, share(1024, 1031))])
    assert lost == []
    assert [given(after, flow(number)) for number in range(10)] == [*range(1024, 1032), None, None]


def test_ranges_that_move_lose_nothing() -> None:
    before = Ports(policy(), [pool(1, share(1024, 1027)), pool(2, share(1028, 1031))])
    fill(before, 4, vm=1)
    fill(before, 1, vm=2)
    after, lost = before.changed(policy(), [pool(1, share(1028, 1031)), pool(2, share(1024, 1027))])
    assert lost == []
    assert [given(after, flow(number, vm=1)) for number in range(8)] == [*range(1024, 1028), 1029, 1030, 1031, None]
    # vm2 waits for what vm1 still has of its new range.
    assert given(after, flow(50, vm=2)) is None
    after.ended(flow(2, vm=1), 1026)
    assert given(after, flow(50, vm=2)) == 1026


def test_a_change_keeps_cool_downs() -> None:
    before = one(1, fin_s=240.0)
    given(before, flow(1))
    before.closed(flow(1), "fin", 0.0)
    after, lost = before.changed(policy(fin_s=100.0), [pool(1, share(1024, 1024))])
    assert (lost, after.next_due()) == ([], 240.0)
    assert given(after, flow(2), 239.0) is None
    assert after.due(240.0) == [flow(1)]


def test_a_change_keeps_the_cool_down_of_a_flow_that_is_forgotten_already() -> None:
    before = one(2, fin_s=240.0)
    given(before, flow(1))
    given(before, flow(2))
    for number in (1, 2):
        before.closed(flow(number), "fin", 0.0)
        before.ended(flow(number), 1023 + number)
    after, _ = before.changed(policy(fin_s=240.0), [pool(1, share(1024, 1025))])
    assert (list(after.flows()), used(after).cooling) == ([], 2)
    assert given(after, flow(3), 239.0) is None
    assert after.due(240.0) == []
    assert given(after, flow(3), 240.0) == 1024


def test_a_change_keeps_the_cool_down_of_a_socket_that_was_opened_again() -> None:
    before = one(2, fin_s=240.0)
    given(before, flow(1))
    before.closed(flow(1), "fin", 0.0)
    assert given(before, flow(1), 1.0) == 1025
    after, _ = before.changed(policy(fin_s=240.0), [pool(1, share(1024, 1025))])
    assert list(after.flows()) == [(flow(1), Grant(NUMBER, 1025))]
    assert given(after, flow(2), 239.0) is None
    assert after.due(240.0) == []
    assert given(after, flow(2), 240.0) == 1024


def test_a_change_keeps_the_peak_and_what_was_refused() -> None:
    before = one(2)
    fill(before, 3)
    for number in (0, 1):
        before.ended(flow(number), 1024 + number)
    after, _ = before.changed(policy(), [pool(1, share(1024, 1025))])
    assert (used(after).peak, used(after).refused, used(after).flows) == (2, 1, 0)
    assert used(after).destinations == (DestinationUsage(FAR, 80, 0, 1),)


def test_a_change_does_not_tell_once_more_of_an_episode() -> None:
    before = one(1)
    fill(before, 2)
    assert len(before.alerts()) == 2
    after, _ = before.changed(policy(), [pool(1, share(1024, 1024))])
    assert given(after, flow(2), 10.0) is None
    assert after.alerts() == []


def test_flows_of_a_vm_that_is_gone_are_not_kept_and_not_ended() -> None:
    """Its namespace is gone with it."""
    before = one()
    given(before, flow(1))
    after, lost = before.changed(policy(), [pool(2, share(1024, 1033))])
    assert (list(after.flows()), lost) == ([], [])


# --- refused ----------------------------------------------------------------------------------


def test_a_flow_that_is_refused_counts_once_however_often_it_is_sent() -> None:
    ports = one(1)
    given(ports, flow(1))
    for second in (0.0, 1.0, 3.0):
        assert given(ports, flow(2), second) is None
    given(ports, flow(3), 4.0)
    assert used(ports).refused == 2
    assert used(ports).destinations == (DestinationUsage(FAR, 80, 1, 2),)


def test_a_flow_that_is_given_a_port_at_last_was_refused_and_is_no_longer() -> None:
    """S2-7."""
    ports = one(1)
    given(ports, flow(1))
    assert given(ports, flow(2)) is None
    ports.ended(flow(1), 1024)
    assert given(ports, flow(2)) == 1024
    assert (used(ports).refused, used(ports).destinations) == (1, (DestinationUsage(FAR, 80, 1, 0),))


def test_a_flow_that_was_not_sent_again_for_the_idle_timeout_is_another_flow() -> None:
    ports = one(1, idle_s=240.0)
    given(ports, flow(1))
    given(ports, flow(2), 0.0)
    ports.due(239.0)
    given(ports, flow(2), 239.0)
    assert used(ports).refused == 1
    ports.due(479.0)
    given(ports, flow(2), 480.0)
    assert used(ports).refused == 2


def test_flows_that_have_a_port_are_undisturbed_by_those_that_are_refused() -> None:
    """S2-7."""
    ports = one(2)
    fill(ports, 5)
    assert [given(ports, flow(number)) for number in (0, 1)] == [1024, 1025]


# --- what is told -----------------------------------------------------------------------------


def test_exhausted_ports_are_told_of_once_an_episode() -> None:
    ports = one(1, alert_s=300.0)
    given(ports, flow(1))
    ports.alerts()
    for second in range(0, 1000, 100):
        given(ports, flow(2), float(second))
    assert ports.alerts() == [Alert("exhausted", "vm1", FRONTEND, "tcp", 1, 1)]
    assert ports.alerts() == []


def test_an_episode_is_over_when_nothing_was_refused_for_the_time_of_an_alert() -> None:
    ports = one(1, alert_s=300.0)
    given(ports, flow(1))
    told = []
    for second in (0.0, 299.0, 598.0, 898.0):
        given(ports, flow(2), second)
        told.append([alert.kind for alert in ports.alerts() if alert.kind == "exhausted"])
    assert told == [["exhausted"], [], [], ["exhausted"]]


def test_usage_above_three_quarters_of_a_vms_ports_is_told_of_once() -> None:
    """N-ML-5: more than 75 %."""
    ports = one(8)
    told = []
    for number in range(8):
        given(ports, flow(number))
        told += [(number + 1, alert) for alert in ports.alerts()]
    assert told == [(7, Alert("high usage", "vm1", FRONTEND, "tcp", 7, 8))]


def test_three_quarters_are_of_the_ports_that_rules_leave() -> None:
    ports = Ports(policy(blocks=(share(1024, 1031),)), [pool(1, share(1024, 1039))])
    told = []
    for number in range(8):
        given(ports, flow(number))
        told += [(number + 1, alert) for alert in ports.alerts()]
    assert told == [(7, Alert("high usage", "vm1", FRONTEND, "tcp", 7, 8))]


def test_usage_is_counted_in_one_scope() -> None:
    ports = one(8)
    for number in range(6):
        given(ports, flow(number))
        given(ports, flow(number, to=OTHER))
    assert ports.alerts() == []


def test_each_address_has_its_own_episodes() -> None:
    ports = Ports(policy(), [pool(1, share(1024, 1024)), pool(2, share(1024, 1024, SECOND))])
    for vm in (1, 2):
        fill(ports, 2, vm=vm)
    told = [(alert.kind, alert.address) for alert in ports.alerts()]
    assert told == [
        ("high usage", FRONTEND),
        ("exhausted", FRONTEND),
        ("high usage", SECOND),
        ("exhausted", SECOND),
    ]


# --- what is in use ---------------------------------------------------------------------------


def usage(**values: Any) -> Usage:
    nothing: dict[str, Any] = {
        "node": "vm1", "address": FRONTEND, "protocol": "tcp", "allocated": K, "ports": 0, "flows": 0, "cooling": 0,
        "given": 0, "fullest": 0, "peak": 0, "refused": 0, "destinations": (),
    }  # fmt: skip
    return Usage(**{**nothing, **values})


def test_a_vm_that_uses_nothing_says_so_for_each_address_and_protocol() -> None:
    assert two().usage() == [
        usage(),
        usage(protocol="udp"),
        usage(address=SECOND),
        usage(address=SECOND, protocol="udp"),
    ]


def test_usage_counts_both_readings_of_a_port_in_use() -> None:
    """C-1: pairs of destination and port, or different ports."""
    ports = one()
    fill(ports, 3)
    fill(ports, 2, to=OTHER)
    given(ports, udp(1))
    assert ports.usage() == [
        usage(
            ports=3, flows=5, given=5, fullest=3, peak=3,
            destinations=(DestinationUsage(FAR, 80, 3, 0), DestinationUsage(OTHER, 80, 2, 0)),
        ),
        usage(protocol="udp", ports=1, flows=1, given=1, fullest=1, peak=1,
        destinations=(DestinationUsage(FAR, 80, 1, 0),)),
    ]  # fmt: skip


def test_the_peak_is_the_most_that_the_fullest_ever_was_for_all_who_share_the_ports() -> None:
    shared = policy(tcp_reuse="destination address", per_protocol=False)
    ports = Ports(shared, [pool(vm, share(1024, 1031)) for vm in (1, 2)])
    fill(ports, 3)
    three = [("vm1", "tcp", 3), ("vm1", "udp", 0), ("vm2", "tcp", 0), ("vm2", "udp", 0)]
    assert [(u.node, u.protocol, u.given) for u in ports.usage()] == three
    assert [(u.fullest, u.peak) for u in ports.usage()] == [(3, 3)] * 4
    for number in range(3):
        ports.ended(flow(number), 1024 + number)
    after, _ = ports.changed(shared, [pool(vm, share(1024, 1027)) for vm in (1, 2)])
    for found in (ports, after):
        assert [(u.node, u.protocol, u.given) for u in found.usage()] == three
        assert [(u.fullest, u.peak) for u in found.usage()] == [(0, 3)] * 4


def test_a_port_that_cools_down_is_in_use() -> None:
    ports = one(fin_s=240.0)
    fill(ports, 3)
    ports.closed(flow(0), "fin", 0.0)
    ports.closed(flow(1), "fin", 0.0)
    ports.ended(flow(1), 1025)
    found = used(ports)
    assert (found.ports, found.flows, found.cooling, found.fullest) == (3, 3, 2, 3)
    assert found.destinations == (DestinationUsage(FAR, 80, 2, 0, cooling=1),)  # conntrack has forgotten one
    ports.due(240.0)
    found = used(ports)
    assert (found.ports, found.flows, found.cooling, found.fullest, found.peak) == (1, 1, 0, 1, 3)


def test_destinations_are_in_the_order_of_their_use() -> None:
    ports = one(4)
    fill(ports, 1, port=443)
    fill(ports, 6)
    assert used(ports).destinations == (DestinationUsage(FAR, 80, 4, 2), DestinationUsage(FAR, 443, 1, 0))


@pytest.mark.parametrize("order", ["lowest", "random"])
@pytest.mark.parametrize("reuse", EVERY)
def test_when_all_has_ended_nothing_is_left_behind(reuse: PortReuse, order: str) -> None:
    ports = one(tcp_reuse=reuse, udp_reuse=reuse, order=order, fin_s=240.0, rst_s=15.0)
    for protocol in (TCP, UDP):
        for to in (FAR, OTHER):
            fill(ports, K + 3, to=to, protocol=protocol)
    for at, (asked, grant) in enumerate(list(ports.flows())):
        if asked.protocol == TCP and at % 3:
            ports.closed(asked, "fin" if at % 3 == 1 else "rst", 0.0)
        ports.ended(asked, grant.port)
    ports.due(240.0)
    assert_empty(ports)
    assert [(u.ports, u.flows, u.fullest) for u in ports.usage()] == [(0, 0, 0)] * 2


def test_ports_of_one_protocol_are_given_to_no_flow_of_the_other() -> None:
    of_tcp, of_udp = SnatRange(FRONTEND, 1024, 1024, "tcp"), SnatRange(FRONTEND, 1030, 1030, "udp")
    ports = Ports(policy(), [pool(1, of_tcp, of_udp), pool(2, of_tcp)])
    assert (given(ports, flow(1)), given(ports, flow(2))) == (1024, None)
    assert (given(ports, flow(1, protocol=UDP)), given(ports, flow(2, protocol=UDP))) == (1030, None)
    assert (ports.knows(flow(1, vm=2)), ports.knows(flow(1, vm=2, protocol=UDP))) == (True, False)
    assert [(u.node, u.protocol, u.allocated) for u in ports.usage()] == [
        ("vm1", "tcp", 1), ("vm1", "udp", 1), ("vm2", "tcp", 1),
    ]  # fmt: skip


# --- UDP that was idle ------------------------------------------------------------------------


def test_a_udp_flow_that_was_idle_holds_its_port_where_the_policy_says_so() -> None:
    """nat-gateway-resource.md (2023-07-10): 65 s after it; other destinations have the port meanwhile."""
    ports = one(1, udp_s=65.0)
    assert given(ports, udp(1)) == 1024
    ports.ended(udp(1), 1024, 240.0)
    assert given(ports, udp(2), 304.9) is None
    assert given(ports, udp(3, OTHER), 304.9) == 1024
    assert ports.due(305.0) == []
    assert given(ports, udp(2), 305.0) == 1024


def test_a_tcp_flow_that_was_idle_gives_its_port_back_at_once_there_too() -> None:
    ports = one(1, udp_s=65.0)
    assert given(ports, flow(1)) == 1024
    ports.ended(flow(1), 1024, 240.0)
    assert given(ports, flow(2), 240.0) == 1024
