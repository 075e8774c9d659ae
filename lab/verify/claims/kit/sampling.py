"""How many flows tell by their number: what chance may do, and how seldom."""

import math

#: A run may contradict a claim by chance once in a thousand million; so many of its trials share that.
_FALSE_ALARM, _STATISTICAL_TRIALS = 1e-9, 20
CHANCE = _FALSE_ALARM / _STATISTICAL_TRIALS


def sample(members: int) -> int:
    """Return how many flows, picked evenly, miss none of the members but once in a long time, as ``bounds`` has it."""
    # Each member is missed with (1 - 1/members) ** flows; the other half of the chance is that it gets too many.
    return math.ceil(math.log(CHANCE / members / 2) / math.log(1 - 1 / members))


def bounds(flows: int, members: int) -> tuple[int, int]:
    """Return how few and how many of the flows one member gets, but once in a long time (binomial, exact)."""
    part, allowed = 1 / members, CHANCE / members / 2
    weights = [math.comb(flows, k) * part**k * (1 - part) ** (flows - k) for k in range(flows + 1)]
    low, below = 0, weights[0]
    while below <= allowed:
        low += 1
        below += weights[low]
    high, above = flows, weights[flows]
    while above <= allowed:
        high -= 1
        above += weights[high]
    return low, high
