"""Whether what arrives is answered, and what a flow to a private address may be told: parts of an explanation."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Literal

from lab.azure.model import Network
from lab.predict.forecast import Forecast

#: As connection troubleshoot says it; Degraded: some of the flows are answered, and some are not.
Connection = Literal["Reachable", "Unreachable", "Degraded", "Unknown"]


def connection(predicted: Forecast) -> Connection:
    """Return whether a flow is answered: one that arrives where the guest takes nothing is not."""
    if predicted.access != "Allow":
        return "Unknown" if predicted.access == "Depends" else "Unreachable"
    silent = [bool(way.obstacle) for way in predicted.ways]
    if all(silent):
        return "Unreachable"
    return "Degraded" if any(silent) else "Reachable"


def said(predicted: Forecast) -> str:
    """Return why a flow that no group denies is not answered, or not on every way, as it follows the verdict."""
    obstacles = "; ".join(dict.fromkeys(way.obstacle for way in predicted.ways if way.obstacle))
    if not obstacles or predicted.access == "Deny":
        return ""
    words = {"Degraded": ", and answered in part", "Unreachable": ", and not answered"}
    answered = words.get(connection(predicted), "") if predicted.access == "Allow" else ""
    return f"{answered}: {obstacles}"


def frontend_at(network: Network, home: str, address: IPv4Address) -> str:
    """Return how a private frontend is called: its own name, and that of its load balancer."""
    found = (
        f"{frontend.name} of {lb.name}"
        for lb, frontend in network.private_frontends()
        if (frontend.virtual_network, frontend.address) == (home, address)
    )
    return next(found, f"frontend in {home}")


def changes(network: Network, predicted: Forecast) -> Iterator[str]:
    """Yield what would have a flow to a private frontend answered."""
    there = any(frontend.address == predicted.destination for _, frontend in network.private_frontends())
    itself = any(way.end == predicted.sender and way.obstacle for way in predicted.ways)
    sent_inside = network.vm(predicted.sender) is not None
    if there and itself:
        yield "Serve from other VMs than those that ask: none then is led to itself."
    elif there and sent_inside and predicted.access == "NoWay" and "no rule leads" in predicted.ways[0].obstacle:
        yield f"Add a load-balancing rule or an inbound NAT rule for {predicted.service} at {predicted.destination}."
