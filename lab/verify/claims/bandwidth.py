"""The bandwidth of a gateway, by Configure a VNet to VNet connection (2015-05-15): all its tunnels share it."""

from collections.abc import Iterator, Sequence
from functools import partial

from lab.azure.model import Network
from lab.verify.claims.claim import Finding, Stage, Trial
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.tunnels import Pair, pairs
from lab.verify.experiment import Flood, Flooded

#: Mbit/s of a gateway, by SKU (vpn-gateway-table-gwtype-legacy-aggtput-include.md).
_CAP = {"Basic": 100, "Standard": 100, "HighPerformance": 200}
#: A bucket's worth may go out at once at the beginning: 5 ms of it, and what was queued.
_MOST = 1.1
#: So much of it must be used by tunnels that are offered more.
_LEAST = 0.75
#: What is offered, and what this machine carries at all, must be so much more than the gateway's bandwidth.
_PLENTY = 1.25
_FLOOD_S = 0.6


def shared(network: Network) -> Iterator[Trial]:
    """Yield that one tunnel alone has all of a gateway's bandwidth, and that two together have no more.

    A gateway that is not shaped shows before and after what this machine can carry: only beside that figure a low
    rate says something of the gateway.
    """
    free = next((p for p in pairs(network) if not _shaped(network, p) and not p.policy_based), None)
    for gateway in network.vpn_gateways:
        found = [p for p in pairs(network) if p.network == gateway.virtual_network][-2:]
        if not gateway.shaped or len(found) < 2 or free is None:
            continue
        cap = _CAP[gateway.sku] * 1e6
        peers = [str(pair.site.vpn_gateway_address) for pair in found]

        floods = (
            _flood(free, carried=_PLENTY * cap),
            _flood(*found[:1], offered=_PLENTY * cap),
            _flood(*found, offered=_PLENTY * cap),
            _flood(free, carried=_PLENTY * cap),
        )
        expected = f"one tunnel alone has {_CAP[gateway.sku]} Mbit/s, and two together no more"
        yield Trial(
            gateway.virtual_network,
            expected,
            (Stage(floods),),
            judge_by(partial(_within_the_bandwidth, cap=cap, peers=peers)),
        )


def _within_the_bandwidth(
    before: Flooded, alone: Flooded, both: Flooded, after: Flooded, *, cap: float, peers: list[str]
) -> Finding:
    carried = min(sum(before.rates.values()), sum(after.rates.values()))
    observed = f"unshaped: {_mbit(carried)} Mbit/s; one tunnel: {_said(alone, peers[:1])}; two: {_said(both, peers)}"
    if wrong := _too_much(alone, peers[:1], cap) or _too_much(both, peers, cap):
        return Finding(observed, wrong)
    if carried < _PLENTY * cap or min(alone.offered, both.offered) < _PLENTY * cap:
        return Finding(observed, doubt=f"this machine has not carried {_mbit(_PLENTY * cap)} Mbit/s")
    return Finding(observed, _too_little(alone, peers[:1], cap) or _too_little(both, peers, cap))


def _shaped(network: Network, pair: Pair) -> bool:
    gateway = network.gateway(pair.network)
    return gateway is not None and gateway.shaped


def _flood(*found: Pair, offered: float = 0.0, carried: float = 0.0) -> Flood:
    """Return a flood into some tunnels of one gateway."""
    return Flood(
        client=found[0].near.node,
        addresses=tuple(str(pair.far.address) for pair in found),
        network=found[0].network,
        seconds=_FLOOD_S,
        offered=offered,
        carried=carried,
    )


def _rates(seen: Flooded, peers: Sequence[str]) -> list[float]:
    return [seen.rates.get(peer, 0.0) for peer in peers]


def _mbit(bits: float) -> str:
    return f"{bits / 1e6:.0f}"


def _said(seen: Flooded, peers: Sequence[str]) -> str:
    return f"{' + '.join(map(_mbit, _rates(seen, peers)))} of {_mbit(seen.offered)} offered"


def _too_much(seen: Flooded, peers: Sequence[str], cap: float) -> str:
    """Return what contradicts that tunnels have no more than the gateway's bandwidth, "" if nothing does."""
    sent = sum(_rates(seen, peers))
    return f"{_mbit(sent)} Mbit/s are more than the gateway's {_mbit(cap)}" if sent > _MOST * cap else ""


def _too_little(seen: Flooded, peers: Sequence[str], cap: float) -> str:
    """Return what contradicts that tunnels have all of the gateway's bandwidth, "" if nothing does."""
    if not all(_rates(seen, peers)):
        return "a tunnel carried nothing"
    sent, what = sum(_rates(seen, peers)), "one tunnel alone has" if len(peers) == 1 else "two tunnels have"
    return f"{what} {_mbit(sent)} of the gateway's {_mbit(cap)} Mbit/s" if sent < _LEAST * cap else ""
