"""When a member of a pool counts as down, and which flows end then; time is an argument.

A member and its results, ``failures`` and ``successes`` being those of its check:

    not judged  --success-->                  up
    not judged  --failure-->                  down, never taken out
    up          --failures in a row, or one
                  wrong answer that suffices-> down, taken out
    down        --success-->                  up, if it was never taken out
    taken out   --successes in a row-->       up

Any other result leaves the state, and is counted: one that agrees with the state counts anew.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from lab.plan import Backend, Backends, HealthCheck


class Result(msgspec.Struct, frozen=True):
    """What came of one probe, and why if it failed."""

    kind: Literal["success", "wrong answer", "silence"]
    why: str = ""


class Health(msgspec.Struct, frozen=True):
    """What is known of one member.

    A member is down until its first probe succeeds. It goes down after ``failures`` failures in a row, or at once by
    a wrong answer where that suffices; once taken out, it comes back after ``successes`` successes in a row, so one
    that flaps waits longer.
    """

    up: bool = False
    judged: bool = False
    taken_out: bool = False
    contrary: int = 0  # results in a row that speak against what is known
    since_s: float = 0.0
    reason: str = "not probed yet"

    def after(self, result: Result, check: HealthCheck, now_s: float) -> "Health":
        """Return the state after one probe; time in seconds."""
        return self._success(check, now_s) if result.kind == "success" else self._failure(result, check, now_s)

    def _success(self, check: HealthCheck, now_s: float) -> "Health":
        contrary = self.contrary + 1
        if self.up:
            since_s = self.since_s
        elif self.taken_out and contrary < check.successes:
            reason = f"answers again, {contrary} of {check.successes} times in a row"
            return msgspec.structs.replace(self, contrary=contrary, reason=reason)
        else:
            since_s = now_s
        return Health(up=True, judged=True, since_s=since_s, reason="answers its probe")

    def _failure(self, result: Result, check: HealthCheck, now_s: float) -> "Health":
        contrary = self.contrary + 1
        enough = contrary >= check.failures or (result.kind == "wrong answer" and not check.wrong_answer_counts)
        if self.up and not enough:
            return msgspec.structs.replace(self, contrary=contrary, reason=result.why)
        since_s = self.since_s if self.judged and not self.up else now_s
        return Health(judged=True, taken_out=self.up or self.taken_out, since_s=since_s, reason=result.why)


# --- what ends --------------------------------------------------------------------------------


class Ending(msgspec.Struct, frozen=True):
    """Flows that end: those to a public address and port that one member has, or all of them.

    A member's flows are told by who answers or, with floating IP, by their mark.
    """

    place: str
    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    member: str | None = None
    mark: int = 0


def endings(backends: Sequence[Backends], before: Mapping[str, bool], after: Mapping[str, bool]) -> Iterator[Ending]:
    """Yield what ends when members come to be as in ``after``: whether each that was judged is up, by its check.

    UDP flows of a member that goes down end there: the next datagram goes to another one, if there is any. Its
    established TCP flows go on, unless all members are down and the load balancer ends them.
    """
    for item in backends:
        down = [m for m in item.members if not after.get(m.check, True)]
        newly = [m for m in down if before.get(m.check, True)]
        if item.protocol == "udp":
            yield from (_of_member(item, member) for member in newly)
        elif newly and len(down) == len(item.members) and item.ends_tcp:
            yield Ending(item.place, "tcp", item.address, item.port)


def _of_member(item: Backends, member: Backend) -> Ending:
    """Return the end of all flows of one member."""
    if item.marked_at:
        return Ending(item.marked_at, item.protocol, item.address, item.port, mark=member.mark)
    return Ending(item.place, item.protocol, item.address, item.port, member.address)
