"""What is asked of many ranges at once is what each pair of them would answer."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from lab.azure.addresses import Overlaps, Points, Ranges, crossing

_SPACE = 1 << 12  # small, so that ranges meet


def _range(number: int, length: int) -> IPv4Network:
    return IPv4Network((number >> (32 - length) << (32 - length), length))


ranges = st.builds(_range, st.integers(0, _SPACE - 1), st.integers(20, 32))
addresses = st.integers(0, _SPACE - 1).map(IPv4Address)
many = st.lists(ranges, max_size=12)


@given(many)
def test_each_range_is_held_against_those_before_it(found: list[IPv4Network]):
    overlaps = Overlaps(found)
    for index, one in enumerate(found):
        assert list(overlaps.before(index)) == [i for i in range(index) if found[i].overlaps(one)]


@given(many, many)
def test_ranges_that_cross_are_all_pairs_that_overlap(ours: list[IPv4Network], theirs: list[IPv4Network]):
    assert list(crossing(ours, theirs)) == [(one, other) for one in ours for other in theirs if one.overlaps(other)]


@given(many, ranges, addresses)
def test_one_range_or_address_is_looked_for_in_many(found: list[IPv4Network], other: IPv4Network, address: IPv4Address):
    looked = Ranges(found)
    assert (address in looked) == any(address in one for one in found)
    assert looked.cover(other) == any(other.subnet_of(one) for one in found)
    met = looked.overlapping(other)
    assert (met is not None) == any(other.overlaps(one) for one in found)
    assert met is None or met.overlaps(other)


@given(st.lists(addresses, max_size=12), ranges)
def test_addresses_within_a_range_are_found_in_their_order(found: list[IPv4Address], one: IPv4Network):
    points = list(zip(found, range(len(found)), strict=True))
    assert list(Points(points).inside(one)) == [point for point in points if point[0] in one]
