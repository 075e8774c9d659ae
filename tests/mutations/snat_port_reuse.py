"""Mutations of what is claimed of one public port for flows to two destinations."""

from tests.mutations import Mutation

_PROFILE = "lab/azure/profile.py"
_OF_TCP = '"destination", _OUTBOUND_2018_02 + ": one port per flow'
_OF_UDP = '"udp_reuse": Cell("destination address", _OUTBOUND_2020_10'

MUTATIONS = (
    Mutation(
        "N-SN-21",
        "a TCP port serves two destinations at once",
        "outbound-rules",
        _PROFILE,
        _OF_TCP,
        _OF_TCP.replace('"destination"', '"nothing"'),
    ),
    Mutation(
        "N-SN-21",
        "a UDP port serves two destinations at once",
        "outbound-rules",
        _PROFILE,
        _OF_UDP,
        _OF_UDP.replace('"destination address"', '"nothing"'),
    ),
)
