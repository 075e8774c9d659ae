"""What holds for every course of a member's health. Time is invented."""

import itertools

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.deciders.health import Health, Result
from lab.plan import HealthCheck, Provenance

some = settings(max_examples=200, deadline=None, derandomize=True)
results = st.lists(st.sampled_from(["success", "silence", "wrong answer"]), max_size=30)
counts = st.integers(1, 5)
CHECK = HealthCheck(
    place="lb", why=Provenance("", ""), load_balancer="lb", probe="p", node="a", protocol="Http",
    source="168.63.129.16",
    address="10.1.0.4", port=80, request_path="/", interval_s=5, timeout_s=5, failures=1, successes=1,
    wrong_answer_counts=True,
)  # fmt: skip


def course(seen: list[str], failures: int, successes: int = 1) -> list[Health]:
    """Return the states a member goes through, a second apart, from the one before its first probe."""
    check = msgspec.structs.replace(CHECK, failures=failures, successes=successes)
    states = [Health()]
    for second, kind in enumerate(seen, start=1):
        states.append(states[-1].after(Result(kind, kind), check, float(second)))
    return states


@some
@given(results, counts, counts)
def test_a_member_never_comes_up_without_a_success(seen: list[str], failures: int, successes: int) -> None:
    states = course(seen, failures, successes)
    for result, before, after in zip(seen, states, states[1:], strict=False):
        assert result == "success" or not (after.up and not before.up)


@some
@given(results, counts, counts)
def test_enough_successes_in_a_row_always_bring_a_member_up(seen: list[str], failures: int, successes: int) -> None:
    assert course([*seen, *["success"] * successes], failures, successes)[-1].up


@some
@given(results, counts, counts)
def test_a_member_that_goes_down_has_failed_often_enough_in_a_row(
    seen: list[str], failures: int, successes: int
) -> None:
    for index, (before, after) in enumerate(itertools.pairwise(course(seen, failures, successes)), start=1):
        if before.up and not after.up:
            assert "success" not in seen[index - failures : index]


@some
@given(results, counts, counts)
def test_a_member_that_comes_back_has_answered_often_enough_in_a_row(
    seen: list[str], failures: int, successes: int
) -> None:
    been_up = False
    for index, (before, after) in enumerate(itertools.pairwise(course(seen, failures, successes)), start=1):
        if after.up and not before.up and been_up:
            assert set(seen[index - successes : index]) == {"success"}
        been_up = been_up or after.up


@some
@given(results, counts)
def test_where_one_success_suffices_a_member_is_up_just_as_long_as_too_few_failures_follow_the_last(
    seen: list[str], count: int
) -> None:
    since = len(seen) if "success" not in seen else seen[::-1].index("success")
    assert course(seen, count)[-1].up == ("success" in seen and since < count)


@some
@given(results, counts, counts)
def test_since_is_the_second_of_the_last_change(seen: list[str], failures: int, successes: int) -> None:
    states = course(seen, failures, successes)
    changes = [
        second for second, (before, after) in enumerate(itertools.pairwise(states), start=1)
        if (before.up, before.judged) != (after.up, after.judged)
    ]  # fmt: skip
    assert states[-1].since_s == (changes[-1] if changes else 0.0)


@some
@given(results, counts, counts)
def test_a_member_is_judged_from_its_first_probe_on(seen: list[str], failures: int, successes: int) -> None:
    assert [state.judged for state in course(seen, failures, successes)] == [False, *[True] * len(seen)]
