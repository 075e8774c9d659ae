"""The process that does the experiments; scapy is imported in it and in no other."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from lab.kernel import warm
from lab.verify import experiment as ex
from lab.verify.probe import commands, packets, tunnels
from lab.verify.probe.clients import ask, check_file, counted, health, login, lookup, probe_log, run
from lab.verify.probe.connection_capture import Captures, hear, listen
from lab.verify.probe.held_flows import forget, occupy
from lab.verify.probe.idle_flows import leave
from lab.verify.probe.packets import Numbers, send
from lab.verify.probe.persistent_flows import Kept, keep, resume
from lab.verify.probe.sweep import sweep
from lab.verify.probe.tracking import come_back, track
from lab.verify.probe.transfers import transfer


def _sent(lab: str, what: ex.Send, numbers: Numbers) -> ex.Arrivals:
    arrivals = send(lab, what, numbers)
    for watch in what.watches:
        if what.forgotten and watch.kind == "public wire":
            forget(lab, watch.name, what.private)
    return arrivals


#: How each kind of experiment is done that leaves nothing to another; then those that also draw numbers of packets.
_ALONE: dict[type, Callable[[str, Any], ex.Observation]] = {
    ex.Ask: ask,
    ex.Login: login,
    ex.Lookup: lookup,
    ex.Transfer: transfer,
    ex.HoldFlows: occupy,
    ex.IdleFlows: leave,
    ex.Health: health,
    ex.ProbeLog: probe_log,
    ex.Counted: lambda lab, _what: counted(lab),
    ex.CheckFile: lambda _lab, what: check_file(what),
    ex.Tunnels: tunnels.gateway,
    ex.Flood: tunnels.flood,
    ex.Segments: tunnels.segments,
    ex.Run: run,
}
_NUMBERED: dict[type, Callable[[str, Any, Numbers], ex.Observation]] = {
    ex.Send: _sent,
    ex.Sweep: sweep,
    ex.Track: track,
    ex.Return: come_back,
    ex.TunnelFlows: tunnels.cross,
    ex.Meter: tunnels.meter,
}


def perform(lab: str, what: ex.Experiment, numbers: Numbers, kept: Kept, captures: Captures) -> ex.Observation:
    """Do one experiment; ``kept`` and ``captures`` hold what one leaves to another."""
    if alone := _ALONE.get(type(what)):
        return alone(lab, what)
    if numbered := _NUMBERED.get(type(what)):
        return numbered(lab, what, numbers)
    match what:
        case ex.OpenFlows():
            return keep(lab, what, kept)
        case ex.ReuseFlows():
            return resume(lab, what, kept)
        case ex.Listen():
            return listen(lab, what, captures)
        case ex.CaptureConnections():
            return hear(lab, what, captures, numbers)
    raise AssertionError(what)


def main() -> None:
    """Load what experiments need, and fork a prober for each order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks is interrupted, and ends our input
    with commands.load():
        packets.load()  # now, while a lab comes up
        warm.serve("lab.verify.probe", answer)


def answer() -> None:
    """Answer requests until standard input ends."""
    numbers = Numbers(os.getpid() ^ time.time_ns())
    kept: Kept = {}
    captures: Captures = {}
    for line in sys.stdin.buffer:
        request = msgspec.json.decode(line, type=ex.Request)
        observations: list[ex.Observation] = []
        seconds = []
        for what in request.experiments:
            began = time.monotonic()
            try:
                observations.append(perform(request.lab, what, numbers, kept, captures))
            except Exception as error:  # noqa: BLE001 - whatever went wrong with one, the others are asked for too
                observations.append(ex.Failed(reason=f"{type(error).__name__}: {error}"))
            seconds.append(time.monotonic() - began)
        reply = ex.Reply(tuple(observations), tuple(seconds))
        sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
