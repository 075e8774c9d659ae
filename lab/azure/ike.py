"""How gateways encrypt, by revision of the documents: proposals, lifetimes, and the segments that fit.

``TABLE`` has a row for each revision that printed other values, oldest first, in strongSwan's notation. The
documents list groups for perfect forward secrecy in one copy and deny it in another; none is asked for here.
"""

from typing import Literal

import msgspec

#: TCP segments through a tunnel are clamped to this (vpn-gateway-about-vpn-devices.md, 2016-12-12).
MAX_SEGMENT = 1350

Version = Literal[1, 2]


class Suite(msgspec.Struct, frozen=True):
    """What one kind of gateway proposes, first choice first, and how long it keeps a security association; seconds."""

    version: Version
    ike: tuple[str, ...]
    ike_lifetime_s: int
    esp: tuple[str, ...]
    esp_lifetime_s: int
    source: str


_DEVICES = "vpn-gateway-about-vpn-devices.md"
_STATIC = Suite(
    1,
    ("aes256-sha1-modp1024", "aes128-sha1-modp1024", "3des-sha1-modp1024"),
    28800,
    ("aes256-sha1", "aes128-sha1", "3des-sha1"),
    3600,
    f"{_DEVICES} (2016-06-29), policy-based",
)
#: First month of a revision, and what dynamic gateways of it do. What VNet to VNet connection, 2015-05-15 (2015)
#: leaves unsaid is of 2016.
TABLE: tuple[tuple[str, Suite], ...] = (
    (
        "2015-04",
        Suite(
            2,
            ("aes256-sha1-modp1024", "aes256-sha256-modp1024", "3des-sha1-modp1024", "3des-sha256-modp1024"),
            10800,
            ("aes256-sha1", "aes128-sha1", "3des-sha1"),
            3600,
            f"{_DEVICES} (2016-06-29), route-based",
        ),
    ),
    (
        "2017-01",
        Suite(
            2,
            (
                "aes256-sha1-modp1024",
                "aes256-sha256-modp1024",
                "aes128-sha1-modp1024",
                "aes128-sha256-modp1024",
                "3des-sha1-modp1024",
                "3des-sha256-modp1024",
            ),
            28800,
            ("aes256gcm16", "aes256-sha1", "3des-sha1", "aes256-sha256", "aes128-sha1", "3des-sha256"),
            27000,
            f"{_DEVICES} (2017), route-based",
        ),
    ),
)


def suite(profile: str, *, dynamic: bool) -> Suite:
    """Return what gateways do in a revision; the revision ``seeds`` is that of VNet to VNet connection, 2015-05-15.

    The name of every other revision begins with its month, such as 2017-05.
    """
    if not dynamic:
        return _STATIC
    rows = [row for first, row in TABLE if first <= profile[:7]] if profile[:1].isdigit() else []
    return rows[-1] if rows else TABLE[0][1]
