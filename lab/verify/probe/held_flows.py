"""Flows that are held by real sockets, to see how many there can be at once, and how long they live."""

import contextlib
import socket
import struct
import time
from ipaddress import IPv4Address

import msgspec

from lab.errors import LabError
from lab.kernel import flows, netns
from lab.runtime.load import Client, Result, Target
from lab.verify import experiment as ex
from lab.verify.probe import commands
from lab.verify.probe.far_side import CLOSE, KEEP, FarSide
from lab.verify.probe.packets import inside

#: How long a flow that must be answered is waited for, and how long one that must not be is listened to after all
#: others were. Within a lab an answer takes milliseconds, but a far side that has not heard of the end of a flow
#: answers the next one from the same port only when its first packet is sent again, after a second.
_ANSWER_S, _SILENCE_S = 10.0, 1.6
_TRY_S = 0.8  # after which a flow is given up for another one; before the kernel sends its first packet again


def occupy(lab: str, what: ex.HoldFlows) -> ex.Occupied:
    """Hold flows as the steps say."""
    if what.network:
        _settle(lab, what)
    netns.prepare()

    def opener(kind: int) -> socket.socket:
        with inside(lab, what.client):
            return socket.socket(socket.AF_INET, kind)

    client = Client(opener)
    half_closed: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        if what.far_side:
            stack.enter_context(FarSide(lab, what.far_side, what.far_port))
        stack.callback(_end, half_closed)
        stack.callback(client.close)
        start, happened = time.monotonic(), []
        for step in what.steps:
            began = time.monotonic() - start
            if isinstance(step, ex.End) and step.side != "both":
                half_closed += _close_one_side(client, step)
                happened.append(ex.Happened(began=began))
            else:
                happened.append(msgspec.structs.replace(_step(lab, what, client, step, start), began=began))
        return ex.Occupied(steps=tuple(happened))


def _close_one_side(client: Client, step: ex.End) -> list[socket.socket]:
    """Close one side of the flows that were opened first, and return them; the other side stays open."""
    ended, client.flows = client.flows[: step.count], client.flows[step.count :]
    for flow in ended:
        flow.socket.send(KEEP if step.side == "VM" else CLOSE)
        if step.side == "VM":
            flow.socket.shutdown(socket.SHUT_WR)
    return [flow.socket for flow in ended]


def _end(half_closed: list[socket.socket]) -> None:
    for opened in half_closed:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opened.close()


def _step(lab: str, what: ex.HoldFlows, client: Client, step: ex.Step, start: float) -> ex.Happened:
    match step:
        case ex.Open():
            return _happened(_open(client, step), start)
        case ex.Talk(first=first, lost=lost):
            said = client.talk(timeout_s=_ANSWER_S, first=first, lost=lost, silence_s=_SILENCE_S)
            return _happened(said, start)
        case ex.End(count=count, how=how):
            client.end(count, how)
            return ex.Happened()
        case ex.Pause(seconds=seconds):
            time.sleep(seconds)
            return ex.Happened()
        case ex.ShowPorts():
            shown = commands.lab_json("ports", lab, what.client)["ports"]
            return ex.Happened(used=tuple(msgspec.convert(used, ex.Used) for used in shown))
        case ex.ShowEvents():
            return ex.Happened(records=tuple(commands.lab_json("events", lab)["records"]))


def _open(client: Client, step: ex.Open) -> list[Result]:
    targets = [Target(goal.address, goal.port, goal.kind) for goal in step.goals]
    if not step.within_s:
        return client.open(
            targets,
            step.count,
            timeout_s=_ANSWER_S,
            keepalive_s=step.keepalive_s,
            awaited=step.count - step.lost,
            silence_s=_SILENCE_S,
        )
    end = time.monotonic() + step.within_s
    opened: list[Result] = []
    while True:
        left = step.count - len(opened)
        tried = client.open(targets, left, timeout_s=_TRY_S, keepalive_s=step.keepalive_s)
        opened += [result for result in tried if result.outcome == "answered"]
        if len(opened) == step.count or time.monotonic() > end:
            return opened + [result for result in tried if result.outcome != "answered"]


def _happened(results: list[Result], start: float) -> ex.Happened:
    outcomes = [result.outcome for result in results]
    return ex.Happened(
        answered=outcomes.count("answered"),
        refused=outcomes.count("refused"),
        silent=outcomes.count("timeout"),
        seen=tuple(ex.Source(r.address, r.port) for r in results if r.outcome == "answered"),
        moments=tuple(r.began + r.seconds - start for r in results if r.outcome == "answered"),
    )


def _settle(lab: str, what: ex.HoldFlows) -> None:
    """Make the load balancer forget the node's flows, and wait until none of its ports is in use."""
    forget(lab, f"nat.{what.gateway}" if what.gateway else f"lb.{what.network}", what.private)
    end = time.monotonic() + what.settle_s
    # Of all VMs: one that takes no SNAT ports has none in use, whatever a claim expects of it.
    while left := sum(u["flows"] for u in commands.lab_json("ports", lab)["ports"] if u["node"] == what.client):
        if time.monotonic() > end:
            raise LabError(f"{left} ports of {what.client} are still in use after {what.settle_s:g} s")
        time.sleep(0.05)


def forget_to(lab: str, network: str, goals: set[tuple[str, int]]) -> None:
    """Make a virtual network's load balancer, and its router, forget flows to addresses and ports."""
    known = {(int(IPv4Address(address)), port) for address, port in goals}
    for place in (f"lb.{network}", f"router.{network}"):
        with inside(lab, place):
            table = flows.Table(closing_from=flows.TCP_TIME_WAIT)
        try:
            entries = table.entries()
            table.forget(e.flow for e in entries if (e.flow.destination, e.flow.destination_port) in known)
        finally:
            table.close()


def forget(lab: str, place: str, private: str) -> None:
    """Make a load balancer, or a NAT gateway, forget the flows of a node."""
    with inside(lab, place):
        table = flows.Table(closing_from=flows.TCP_TIME_WAIT)
    try:
        own = int(IPv4Address(private))
        table.forget(entry.flow for entry in table.entries() if entry.flow.source == own)
    finally:
        table.close()
