"""The process that does the experiments; scapy is imported in it and in no other."""

import os
import signal
import sys
import time

import msgspec

from lab.kernel import warm
from lab.verify import experiment as ex
from lab.verify.probe import commands, packets, tunnels
from lab.verify.probe.clients import ask, check_file, counted, health, login, lookup, probe_log, run
from lab.verify.probe.connection_capture import Captures, hear, listen
from lab.verify.probe.execution import execute
from lab.verify.probe.held_flows import forget, occupy
from lab.verify.probe.idle_flows import leave
from lab.verify.probe.packets import Numbers, send
from lab.verify.probe.persistent_flows import Kept, keep, resume
from lab.verify.probe.sweep import sweep
from lab.verify.probe.tracking import come_back, track
from lab.verify.probe.transfers import transfer


def perform(  # noqa: C901, PLR0911, PLR0912 - one for each kind
    lab: str, what: ex.Experiment, numbers: Numbers, kept: Kept, captures: Captures
) -> ex.Observation:
    """Do one experiment; ``kept`` and ``captures`` hold what one leaves to another."""
    match what:
        case ex.Send():
            arrivals = send(lab, what, numbers)
            for watch in what.watches:
                if what.forgotten and watch.kind == "public wire":
                    forget(lab, watch.name, what.private)
            return arrivals
        case ex.Sweep():
            return sweep(lab, what, numbers)
        case ex.Ask():
            return ask(lab, what)
        case ex.Login():
            return login(lab, what)
        case ex.Lookup():
            return lookup(lab, what)
        case ex.Track():
            return track(lab, what, numbers)
        case ex.Return():
            return come_back(lab, what, numbers)
        case ex.Transfer():
            return transfer(lab, what)
        case ex.HoldFlows():
            return occupy(lab, what)
        case ex.IdleFlows():
            return leave(lab, what)
        case ex.Health():
            return health(lab, what)
        case ex.OpenFlows():
            return keep(lab, what, kept)
        case ex.ReuseFlows():
            return resume(lab, what, kept)
        case ex.Listen():
            return listen(lab, what, captures)
        case ex.CaptureConnections():
            return hear(lab, what, captures, numbers)
        case ex.ProbeLog():
            return probe_log(lab, what)
        case ex.Counted():
            return counted(lab)
        case ex.CheckFile():
            return check_file(what)
        case ex.TunnelFlows():
            return tunnels.cross(lab, what, numbers)
        case ex.Tunnels():
            return tunnels.gateway(lab, what)
        case ex.Meter():
            return tunnels.meter(lab, what, numbers)
        case ex.Flood():
            return tunnels.flood(lab, what)
        case ex.Segments():
            return tunnels.segments(lab, what)
        case ex.Run():
            return run(lab, what)
        case ex.Execute():
            return execute(lab, what)


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
