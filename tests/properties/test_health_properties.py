"""What holds for every course of a member's health. Time is invented."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from lab.path.load_balancer import Health

some = settings(max_examples=200, deadline=None, derandomize=True)
results = st.lists(st.sampled_from(["success", "no answer", "refused"]), max_size=30)
counts = st.integers(1, 5)


def course(seen: list[str], count: int) -> list[Health]:
    """Return the states a member goes through, a second apart, from the one before its first probe."""
    states = [Health()]
    for second, result in enumerate(seen, start=1):
        states.append(states[-1].after(result, count, float(second)))
    return states


@some
@given(results, counts)
def test_a_member_never_comes_up_without_a_success(seen: list[str], count: int) -> None:
    states = course(seen, count)
    for result, before, after in zip(seen, states, states[1:], strict=False):
        assert result == "success" or not (after.up and not before.up)


@some
@given(results, counts)
def test_a_success_always_brings_a_member_up(seen: list[str], count: int) -> None:
    assert course([*seen, "success"], count)[-1].up


@some
@given(results, counts)
def test_a_member_is_up_just_as_long_as_fewer_failures_than_the_count_follow_its_last_success(
    seen: list[str], count: int
) -> None:
    since = len(seen) if "success" not in seen else seen[::-1].index("success")
    assert course(seen, count)[-1].up == ("success" in seen and since < count)


@some
@given(results, counts)
def test_since_is_the_second_of_the_last_change(seen: list[str], count: int) -> None:
    states = course(seen, count)
    changes = [
        second for second, (before, after) in enumerate(itertools.pairwise(states), start=1)
        if (before.up, before.judged) != (after.up, after.judged)
    ]  # fmt: skip
    assert states[-1].since_s == (changes[-1] if changes else 0.0)


@some
@given(results, counts)
def test_a_member_is_judged_from_its_first_probe_on(seen: list[str], count: int) -> None:
    assert [state.judged for state in course(seen, count)] == [False, *[True] * len(seen)]
