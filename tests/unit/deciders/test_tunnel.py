"""lab/deciders/tunnel.py: the state of a tunnel. Time is invented."""

import math
from typing import Literal

import pytest

from lab.deciders.tunnel import Connectivity, begins, idleness, impossible, is_idle, reason, was_idle
from lab.plan import Provenance, Tunnel

# --- states -------------------------------------------------------------------------------------


def test_a_change_of_state_is_an_event_with_the_documents_words() -> None:
    up = Connectivity(changed=1.0).after("Site1", "Connected", "", 5.0)
    assert (up.state, up.event, up.established, up.changed) == ("Connected", 23401, 5.0, 5.0)
    assert (
        up.message == "The connectivity state for the local network site 'Site1' changed from Connecting to Connected."
    )
    down = up.after("Site1", "NotConnected", "no answer", 9.0)
    assert down.message.endswith("changed from Connected to Not Connected.")
    assert (down.established, down.changed, down.reason) == (5.0, 9.0, "no answer")


def test_the_same_state_again_is_no_event() -> None:
    up = Connectivity().after("s", "Connected", "", 5.0)
    assert up.after("s", "Connected", "", 9.0) == up


def test_a_tunnel_that_is_connected_stays_so_whatever_is_said_until_it_is_seen_to_be_gone() -> None:
    up = Connectivity().after("s", "Connected", "", 5.0)
    told = up.heard("s", "no answer from 203.0.113.2", 7.0)
    assert (told.state, told.established, told.reason) == ("Connected", 5.0, "")
    assert (told.gone("s", 7.1).state, told.gone("s", 7.1).reason) == ("NotConnected", "no answer from 203.0.113.2")
    assert told.gone("s", 60.0).reason == up.gone("s", 7.1).reason == "the tunnel is down"
    tried = Connectivity().heard("s", "no answer from 203.0.113.2", 7.0)
    assert (tried.state, tried.reason) == ("NotConnected", "no answer from 203.0.113.2")


def test_attempts_come_at_growing_intervals_and_at_once_when_all_may_be_different() -> None:
    known, waits, now = Connectivity(), [], 100.0
    for _ in range(5):
        known = known.attempted(now)
        waits.append(known.next_attempt - now)
    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert known.afresh(first=True, now=now).next_attempt == now
    assert known.afresh(first=False, now=now).next_attempt == pytest.approx(now + 0.4)


def tunnel(
    local: str = "10.1.0.0/16",
    remote: str = "10.2.0.0/16",
    transit: str = "",
    peer: str = "203.0.113.2",
    version: Literal[1, 2] = 2,
    idle_s: float = 0.0,
) -> Tunnel:
    return Tunnel(
        place="gw", why=Provenance("", ""), name="s", peer=peer, version=version, idle_s=idle_s,
        ike=(), ike_lifetime_s=1, esp=(), esp_lifetime_s=1,
        local=tuple(local.split()), remote=tuple(remote.split()), transit=tuple(transit.split()),
    )  # fmt: skip


def test_the_side_with_the_lower_address_begins() -> None:
    assert begins(tunnel(peer="203.0.113.10"), "203.0.113.9")
    assert not begins(tunnel(peer="203.0.113.9"), "203.0.113.10")


BACK = tunnel("10.2.0.0/16", "10.1.0.0/16")


@pytest.mark.parametrize(
    ("ours", "back", "why"),
    [
        (tunnel(), BACK, ""),
        (tunnel(), None, ""),
        (tunnel(remote="10.9.0.0/16"), BACK, "ranges differ"),  # route-based: IKE would take anything
        (tunnel(remote="10.9.0.0/16", version=1), BACK, ""),  # policy-based, nothing in common: IKE refuses
        (tunnel(remote="10.2.0.0/17", version=1), BACK, "ranges differ"),
        (tunnel(remote="10.2.0.0/17"), BACK, "ranges differ"),
        (tunnel(remote="10.2.0.0/15"), BACK, "ranges differ"),
        (tunnel(remote="10.2.0.0/16 10.3.0.0/16"), BACK, "ranges differ"),  # which the peer does not pass on
        (tunnel(remote="10.2.0.0/16 10.3.0.0/16"), tunnel("10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16"), ""),
        (tunnel(), tunnel("10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16"), ""),  # which we do not ask for
        (tunnel(peer="203.0.113.1"), None, "addresses are mixed up"),
    ],
)
def test_ranges_must_be_the_same_on_both_sides(ours: Tunnel, back: Tunnel | None, why: str) -> None:
    found = impossible(ours, "203.0.113.1", back)
    assert why in found if why else not found


def test_route_based_tunnels_take_anything_policy_based_ones_each_pair_of_ranges() -> None:
    anything = (("0.0.0.0/0", "0.0.0.0/0"),)
    assert tunnel("10.1.0.0/16 10.3.0.0/16").selectors == anything
    each = tunnel("10.1.0.0/16 10.3.0.0/16", "10.2.0.0/16 10.4.0.0/16", version=1).selectors
    assert each == tuple((f"10.{ours}.0.0/16", f"10.{theirs}.0.0/16") for ours in (1, 3) for theirs in (2, 4))


def test_only_a_policy_based_tunnel_is_dropped_for_silence_and_it_is_not_attempted_then() -> None:
    kept, dropped = tunnel(), tunnel(version=1, idle_s=5.0)
    assert not is_idle(kept, 1e9)
    assert not was_idle(kept, 1e9)
    assert [is_idle(dropped, s) for s in (4.9, 5.0)] == [False, True]
    assert [was_idle(dropped, s) for s in (2.4, 2.5)] == [False, True]  # its peer's clock may be ahead
    up = Connectivity().after("s", "Connected", "", 5.0)
    down = up.resting("s", idleness(dropped), 10.0)
    assert (down.state, down.rests, down.next_attempt) == ("NotConnected", True, math.inf)
    assert down.reason == "dropped after 5 s without a packet; the next one rebuilds it"
    assert down.message.endswith("changed from Connected to Not Connected.")
    woken = down.afresh(first=True, now=20.0)
    assert (woken.rests, woken.next_attempt) == (False, 20.0)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("received AUTHENTICATION_FAILED notify error", "AUTHENTICATION_FAILED: the peer refuses our shared key"),
        (
            "tried 1 shared key for 'a' - 'b', but MAC mismatched",
            "AUTHENTICATION_FAILED: the peer's shared key is not ours",
        ),
        ("received TS_UNACCEPTABLE notify, no CHILD_SA built", "TS_UNACCEPTABLE: the peer does not have"),
        ("traffic selectors a === b unacceptable", "TS_UNACCEPTABLE: the peer asks for other ranges"),
        ("received NO_PROPOSAL_CHOSEN notify error", "NO_PROPOSAL_CHOSEN: "),
        ("giving up after 3 retransmits", "no answer from 203.0.113.2"),
        ("scheduling rekeying in 13838s", ""),
    ],
)
def test_a_daemons_reason_is_put_in_words(said: str, words: str) -> None:
    found = reason(said, tunnel())
    assert found.startswith(words) if words else not found
