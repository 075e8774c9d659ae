"""What a gateway knows of a tunnel: its state, when it is attempted, why it is down; time is an argument.

A tunnel and what is seen of it:

    Connecting    --it is up-->                        Connected
    Connecting    --the daemon says why it failed-->   NotConnected
    Connected     --it is gone-->                      NotConnected, for what the daemon said last
    NotConnected  --it is up-->                        Connected
    Connected     --idle for too long-->               NotConnected, at rest: the next packet wakes it

One that is down is attempted at growing intervals; one at rest is not. Every change of state is an event.
"""

import math
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import msgspec

from lab.plan import REBUILDS, Tunnel

State = Literal["Connecting", "Connected", "NotConnected"]
#: As the messages of the documents spell the states (Get-AzureVnetConnection).
_SPELT: dict[State, str] = {"Connecting": "Connecting", "Connected": "Connected", "NotConnected": "Not Connected"}
#: Number of the event that a change of state is (Get-AzureVnetConnection shows it for one to Connected).
_EVENT = 23401
#: Seconds between attempts at a tunnel that is down: short at first, since most peers are just starting.
_RETRY_S = (0.5, 1.0, 2.0, 4.0)
#: How old what a daemon said may be to be why a tunnel is gone: it says so, and then takes it down; seconds.
_SAID_S = 1.0
#: The side with the higher address leaves the first attempt to the other for so long: two at once undo each other.
_YIELD_S = 0.4


class Connectivity(msgspec.Struct, frozen=True):
    """What a gateway knows of one tunnel. Times in seconds since the epoch."""

    state: State = "Connecting"
    reason: str = "not tried yet"
    established: float | None = None
    event: int = 0
    message: str = ""
    changed: float = 0.0
    attempts: int = 0
    next_attempt: float = 0.0
    said: str = ""  # what the daemon said last while the tunnel was connected
    said_at: float = 0.0

    def after(self, site: str, state: State, reason: str, now: float) -> "Connectivity":
        """Return what is known after a state was seen."""
        if state == self.state:
            return msgspec.structs.replace(self, reason=reason)
        message = (
            f"The connectivity state for the local network site '{site}' changed from "
            f"{_SPELT[self.state]} to {_SPELT[state]}."
        )
        up = state == "Connected"
        return msgspec.structs.replace(
            self,
            state=state,
            reason=reason,
            established=now if up else self.established,
            event=_EVENT,
            message=message,
            changed=now,
            attempts=0 if up else self.attempts,
            next_attempt=now if up else self.next_attempt,
        )

    def heard(self, site: str, words: str, now: float) -> "Connectivity":
        """Return what is known after the daemon said why something failed.

        A tunnel that is connected stays so until it is seen to be gone: of two attempts at once, one is given up
        when the other has long succeeded.
        """
        if self.state == "Connected":
            return msgspec.structs.replace(self, said=words, said_at=now)
        return self.after(site, "NotConnected", words, now)

    def gone(self, site: str, now: float) -> "Connectivity":
        """Return what is known after a tunnel that was connected was seen to be gone."""
        words = self.said if self.said and now - self.said_at <= _SAID_S else "the tunnel is down"
        return self.after(site, "NotConnected", words, now)

    def attempted(self, now: float) -> "Connectivity":
        """Return what is known after an attempt at the tunnel was begun."""
        wait = _RETRY_S[min(self.attempts, len(_RETRY_S) - 1)]
        return msgspec.structs.replace(self, attempts=self.attempts + 1, next_attempt=now + wait)

    def resting(self, site: str, reason: str, now: float) -> "Connectivity":
        """Return what is known of a tunnel that is down because it carried nothing: it is not attempted."""
        return msgspec.structs.replace(self.after(site, "NotConnected", reason, now), next_attempt=math.inf)

    @property
    def rests(self) -> bool:
        """Whether the tunnel waits for something to carry."""
        return self.state != "Connected" and self.next_attempt == math.inf

    def afresh(self, *, first: bool, now: float) -> "Connectivity":
        """Return what is known when everything may be different now; ``first``: this side makes the first attempt."""
        return msgspec.structs.replace(self, attempts=0, next_attempt=now if first else now + _YIELD_S)


def begins(tunnel: Tunnel, address: str) -> bool:
    """Tell whether this side of a tunnel makes the first attempt: that with the lower address."""
    return IPv4Address(address) < IPv4Address(tunnel.peer)


def is_idle(tunnel: Tunnel, silent_s: float) -> bool:
    """Tell whether a tunnel that has carried nothing for so many seconds is to be dropped."""
    return 0 < tunnel.idle_s <= silent_s


def was_idle(tunnel: Tunnel, silent_s: float) -> bool:
    """Tell whether a tunnel that is gone was dropped by its peer for silence, whose clock is not quite ours.

    If it was something else, nothing is lost either: what comes next rebuilds it.
    """
    return 0 < tunnel.idle_s <= 2 * silent_s


def idleness(tunnel: Tunnel) -> str:
    """Return why a tunnel that was dropped for silence is down."""
    return f"dropped after {tunnel.idle_s:g} s without a packet; {REBUILDS}"


def impossible(tunnel: Tunnel, address: str, facing: Tunnel | None) -> str:
    """Return why a tunnel must not even be attempted, "" if it may; ``facing`` is the peer's own end of it.

    A range must be the peer's exactly (VNet to VNet connection, 2015-05-15, add a local network). Route-based ends
    negotiate none; of ranges that
    differ, IKE lets policy-based ones settle for what they have in common. Both would call that connected. What
    policy-based ends have nothing of in common is for IKE to refuse.
    """
    if tunnel.peer == address:
        return f"the VPN device address {address} is this gateway's own: addresses are mixed up"
    if facing is None or (_agree(tunnel, facing) and _agree(facing, tunnel)):
        return ""
    if tunnel.version == 1 and not _meet(tunnel, facing):
        return ""
    return (
        f"ranges differ: here it is {_list(tunnel.local)} to {_list(tunnel.remote)}, and at the peer "
        f"{_list(facing.local)} to {_list(facing.remote)}; ranges must be the same on both sides"
    )


def _agree(tunnel: Tunnel, facing: Tunnel) -> bool:
    """Tell whether a side has just the ranges that the other expects: its own, and of those it passes on, any."""
    own = set(tunnel.local)
    return own <= set(facing.remote) <= own | set(tunnel.transit)


def _meet(tunnel: Tunnel, facing: Tunnel) -> bool:
    return all(
        any(IPv4Network(one).overlaps(IPv4Network(other)) for one in ours for other in theirs)
        for ours, theirs in ((tunnel.local, facing.remote), (tunnel.remote, facing.local))
    )


def reason(said: str, tunnel: Tunnel) -> str:
    """Return in words why a tunnel is down, by a line that its daemon said; "" if the line is about nothing."""
    ours = f"{_list(tunnel.local)} and {_list(tunnel.remote)}"
    for sign, words in (
        ("received AUTHENTICATION_FAILED", "AUTHENTICATION_FAILED: the peer refuses our shared key"),
        ("but MAC mismatched", "AUTHENTICATION_FAILED: the peer's shared key is not ours"),
        ("decryption failed", "AUTHENTICATION_FAILED: what the peer says cannot be read with our shared key"),
        ("received TS_UNACCEPTABLE", f"TS_UNACCEPTABLE: the peer does not have {ours} as its own ranges"),
        ("unacceptable", f"TS_UNACCEPTABLE: the peer asks for other ranges than {ours}"),
        ("received NO_PROPOSAL_CHOSEN", "NO_PROPOSAL_CHOSEN: the peer knows no connection from this address"),
        ("giving up after", f"no answer from {tunnel.peer}"),
    ):
        if sign in said:
            return words
    return ""


def _list(prefixes: Sequence[str]) -> str:
    return ", ".join(sorted(prefixes))
