"""lab/deciders/health.py: who is down, which flows end. Time is invented."""

import msgspec

from lab.deciders.health import Ending, Health, Result, endings
from lab.plan import Backend, Backends, HealthCheck, Provenance

# --- who is down ------------------------------------------------------------------------------

_GOOD = Result("success")
_BAD = Result("silence", "Tcp 10.1.0.4:80: no answer")
_WRONG = Result("wrong answer", "Http 10.1.0.4:80/: status 503")
_SINCE_NO_TIME = Health()


def check(count: int = 2, *, at_once: bool = False) -> HealthCheck:
    return HealthCheck(
        place="lb", why=Provenance("", ""), load_balancer="lb1", probe="p", node="a",
        protocol="Http", source="168.63.129.16",
        address="10.1.0.4", port=80, request_path="/", interval_s=5, timeout_s=5, failures=count, successes=count,
        wrong_answer_counts=not at_once,
    )  # fmt: skip


def after(*results: Result, count: int = 2, at_once: bool = False) -> Health:
    """Return what is known after results at 10, 20, 30 … seconds."""
    state = Health()
    for number, result in enumerate(results, start=1):
        state = state.after(result, check(count, at_once=at_once), 10.0 * number)
    return state


def ups(*results: Result, count: int = 2, at_once: bool = False) -> list[bool]:
    return [after(*results[:n], count=count, at_once=at_once).up for n in range(1, len(results) + 1)]


def test_a_member_is_down_and_not_judged_until_its_first_probe() -> None:
    assert (_SINCE_NO_TIME.up, _SINCE_NO_TIME.judged, _SINCE_NO_TIME.reason) == (False, False, "not probed yet")


def test_the_first_success_brings_a_member_up_at_once() -> None:
    assert after(_GOOD, count=3) == Health(up=True, judged=True, since_s=10.0, reason="answers its probe")


def test_the_first_failure_judges_a_member_as_down() -> None:
    assert after(_BAD) == Health(judged=True, since_s=10.0, reason=_BAD.why)


def test_a_member_that_was_never_up_comes_up_at_its_first_success() -> None:
    """It was not taken out: its server began later than its probes."""
    assert ups(_BAD, _BAD, _BAD, _GOOD) == [False, False, False, True]


def test_a_member_goes_down_after_as_many_failures_in_a_row_as_the_probe_says() -> None:
    assert ups(_GOOD, _BAD, _BAD, _BAD, _BAD, count=3) == [True, True, True, False, False]


def test_a_success_between_failures_counts_them_anew() -> None:
    assert ups(_GOOD, _BAD, _GOOD, _BAD, _BAD) == [True, True, True, True, False]


def test_a_member_that_was_taken_out_comes_back_after_as_many_successes_in_a_row() -> None:
    """N-HP-4: and one that flaps waits longer."""
    out = (_GOOD, _BAD, _BAD)
    assert ups(*out, _GOOD, _GOOD)[3:] == [False, True]
    assert ups(*out, _GOOD, _BAD, _GOOD, _BAD, _GOOD, _GOOD)[3:] == [False] * 5 + [True]
    assert after(*out, _GOOD).reason == "answers again, 1 of 2 times in a row"


def test_one_result_is_enough_where_the_revision_says_so() -> None:
    assert ups(_GOOD, _BAD, _GOOD, _BAD, count=1) == [True, False, True, False]


def test_a_wrong_answer_takes_a_member_out_at_once_or_counts_as_silence_does() -> None:
    """N-HP-2: any answer but 200, or a reset, marks it down immediately since 2018-09."""
    assert ups(_GOOD, _WRONG, count=3, at_once=True) == [True, False]
    assert ups(_GOOD, _WRONG, _WRONG, count=3) == [True, True, True]
    assert ups(_GOOD, _BAD, _BAD, count=3, at_once=True) == [True, True, True]


def test_since_is_when_the_state_was_entered_not_when_it_was_last_seen() -> None:
    assert after(_GOOD, _GOOD, _GOOD).since_s == 10.0
    assert after(_GOOD, _BAD, _BAD, _BAD).since_s == 30.0
    assert after(_BAD, _BAD, _BAD).since_s == 10.0
    assert after(_GOOD, _BAD, _BAD, _GOOD).since_s == 30.0
    assert after(_GOOD, _BAD, _BAD, _GOOD, _GOOD).since_s == 50.0


def test_a_member_that_is_failing_keeps_its_last_reason() -> None:
    assert after(_GOOD, Result("silence", "first"), Result("silence", "second")).reason == "second"


# --- what ends --------------------------------------------------------------------------------


def pool(protocol: str, *names: str, ends_tcp: bool = True) -> Backends:
    return Backends(
        place="lb.v", why=Provenance("", ""), address="40.1.1.1", port=81, protocol=protocol,
        ends_tcp=ends_tcp, resource="",
        log_s=0, members=tuple(Backend(n, f"10.1.0.{i}", f"lb/p/{n}") for i, n in enumerate(names, start=4)),
    )  # fmt: skip


def ended(item: Backends, before: dict[str, bool], after: dict[str, bool]) -> list[Ending]:
    first, second = ({f"lb/p/{name}": up for name, up in states.items()} for states in (before, after))
    return list(endings([item], first, second))


_BOTH, _ONE, _NONE = {"a": True, "b": True}, {"a": False, "b": True}, {"a": False, "b": False}
_ALL_TCP = Ending("lb.v", "tcp", "40.1.1.1", 81)


def test_tcp_flows_of_a_member_that_goes_down_go_on() -> None:
    """N-HP-9."""
    assert ended(pool("tcp", "a", "b"), _BOTH, _ONE) == []


def test_udp_flows_of_a_member_that_goes_down_end_there() -> None:
    assert ended(pool("udp", "a", "b"), _BOTH, _ONE) == [Ending("lb.v", "udp", "40.1.1.1", 81, "10.1.0.4")]


def test_with_floating_ip_they_are_told_by_their_mark_at_the_router() -> None:
    item = pool("udp", "a", "b")
    members = tuple(msgspec.structs.replace(m, mark=n) for n, m in enumerate(item.members, start=7))
    item = msgspec.structs.replace(item, members=members, marked_at="router.v")
    assert ended(item, _BOTH, _ONE) == [Ending("router.v", "udp", "40.1.1.1", 81, mark=7)]


def test_with_the_last_member_all_tcp_flows_end_where_the_load_balancer_ends_them() -> None:
    """N-HP-10: also those of members that went down before."""
    assert ended(pool("tcp", "a", "b"), _ONE, _NONE) == [_ALL_TCP]
    assert ended(pool("tcp", "a", "b"), _BOTH, _NONE) == [_ALL_TCP]
    assert ended(pool("tcp", "a", "b", ends_tcp=False), _ONE, _NONE) == []


def test_with_the_last_member_udp_flows_end_everywhere() -> None:
    found = ended(pool("udp", "a", "b", ends_tcp=False), _BOTH, _NONE)
    assert [ending.member for ending in found] == ["10.1.0.4", "10.1.0.5"]


def test_what_stays_down_ends_nothing_again() -> None:
    for protocol in ("tcp", "udp"):
        assert ended(pool(protocol, "a", "b"), _NONE, _NONE) == []
        assert ended(pool(protocol, "a", "b"), _NONE, _BOTH) == []


def test_a_member_that_is_not_judged_yet_is_not_down() -> None:
    """An agent that has just begun knows nothing, and ends nothing."""
    assert ended(pool("tcp", "a", "b"), {}, {"a": False}) == []
    assert ended(pool("tcp", "a", "b"), {"a": False}, _NONE) == [_ALL_TCP]


def test_members_without_a_probe_are_never_down() -> None:
    item = msgspec.structs.replace(pool("tcp", "a"), members=(Backend("a", "10.1.0.4", ""),))
    assert ended(item, _BOTH, _NONE) == []
