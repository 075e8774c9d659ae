"""lab/azure/ike.py: what gateways of each revision propose."""

import pytest

from lab.azure import ike


@pytest.mark.parametrize(
    ("profile", "first", "seconds"),
    [
        ("seeds", "aes256-sha1", (10800, 3600)),
        ("2016-06", "aes256-sha1", (10800, 3600)),
        ("2017-05b", "aes256gcm16", (28800, 27000)),
        ("2018-12", "aes256gcm16", (28800, 27000)),
        ("2010-01", "aes256-sha1", (10800, 3600)),
    ],
)
def test_a_dynamic_gateway_does_as_its_revision_says(profile: str, first: str, seconds: tuple[int, int]) -> None:
    suite = ike.suite(profile, dynamic=True)
    assert (suite.version, suite.esp[0], (suite.ike_lifetime_s, suite.esp_lifetime_s)) == (2, first, seconds)
    assert suite.ike[0] == "aes256-sha1-modp1024"


@pytest.mark.parametrize("profile", ["seeds", "2018-12"])
def test_a_static_gateway_is_the_same_in_all(profile: str) -> None:
    suite = ike.suite(profile, dynamic=False)
    assert (suite.version, suite.ike_lifetime_s, suite.esp_lifetime_s) == (1, 28800, 3600)


def test_the_rows_are_in_their_order_and_name_their_source() -> None:
    months = [month for month, _ in ike.TABLE]
    assert months == sorted(months)
    assert all("about-vpn-devices.md (20" in suite.source for _, suite in ike.TABLE)
