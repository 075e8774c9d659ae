"""What crosses a tunnel, seen at both of its ends and on the wires between, and what its gateways say of it."""

import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from lab.errors import InconclusiveError
from lab.verify import experiment as ex
from lab.verify.probe import commands, packets
from lab.verify.probe.packets import Capture, Numbers, inside

#: A tunnel is attempted again within 4 s of its peer's being right, and given up after 3 s of silence; a busy machine
#: takes longer, and a late end costs a caller that does not wait nothing.
_SETTLED_S = 30.0
_DRAINED_S = 9.0
_COUNTED_S = 6.0  # counters are read twice a second
_QUIET_S, _QUIET_PACKETS = 0.1, 20
#: What TCP repeats after a conversation comes sooner than this after the packet before it.
_SILENT_S, _SILENT_WITHIN_S = 0.5, 10.0
_PAYLOAD = bytes(1360)  # in packets of 1,388 bytes, which a tunnel takes whole
_ATTEMPTS = 6
ESP_PORT = 4500
#: Of ``struct tcp_info``: the byte of the options that both sides take, the lowest bit of which is timestamps.
_INFO_OPTIONS, _INFO_BYTES, _TIMESTAMPS = 5, 8, 12
_CARRYING = ("esp", f"udp {ESP_PORT}")
_IP_UDP = 20 + 8
_KINDS = {50: "esp", 1: "icmp", 6: "tcp"}
_UDP = 8  # bytes of its header
_NON_ESP = bytes(4)  # before a message of IKE on port 4500 (RFC 3948)


def cross(lab: str, what: ex.TunnelFlows, numbers: Numbers) -> ex.Crossed:
    """Send flows, and note every packet that leaves a gateway meanwhile.

    If no flow is to arrive, nothing is sent before the wires are quiet: ESP of earlier conversations is not theirs.
    """
    capture = Capture(lab, [ex.Watch("gateway wire", network) for network in what.networks])
    try:
        if what.send.lost == what.send.count:
            until_quiet(lambda: [packet for _, packet in capture.read()])
        arrivals = packets.send(lab, what.send, numbers)
        found: Counter[tuple[str, str, str, str]] = Counter()
        inner = socket.inet_aton(what.send.private) + socket.inet_aton(what.send.destination)
        for number, packet in capture.read():
            source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
            kind = f"{_kind(packet)}{' in clear' if inner in packet else ''}"
            found[what.networks[number], kind, source, destination] += 1
    finally:
        capture.close()
    outer = tuple(ex.Outer(*key, count) for key, count in sorted(found.items()))
    return ex.Crossed(arrivals=arrivals, outer=outer)


def until_quiet(read: Callable[[], list[bytes]], *, silent_s: float = _SILENT_S) -> None:
    """Read packets until none of ESP has come for a while.

    Raises:
        InconclusiveError: they did not stop.

    """
    end = time.monotonic() + _SILENT_WITHIN_S
    since = time.monotonic()
    while (now := time.monotonic()) < since + silent_s:
        if now >= end:
            problem = "the wires of the gateways: ESP of other flows does not stop; they must be quiet before a trial"
            raise InconclusiveError(f"{problem}; judge the claim again")
        if any(_kind(packet) in _CARRYING for packet in read()):
            since = time.monotonic()
        time.sleep(0.02)


def _kind(packet: bytes) -> str:
    if packet[9] != 17:
        return _KINDS.get(packet[9], f"protocol {packet[9]}")
    start = (packet[0] & 15) * 4
    port, payload = int.from_bytes(packet[start + 2 : start + 4], "big"), packet[start + _UDP :]
    if port == ESP_PORT and payload[:4] == _NON_ESP:
        return "ike 4500"
    return "keepalive" if port == ESP_PORT and len(payload) == 1 else f"udp {port}"


def gateway(lab: str, what: ex.Tunnels) -> ex.Gateway:
    """Run ``lab gateway show`` until it says what is wanted, or for as long as a tunnel may take."""

    def settled(shown: dict[str, Any]) -> bool:
        states = [c["ConnectivityState"] for c in shown["Connections"]]
        tried = all(c["Reason"] not in ("not tried yet", "the tunnel is down") for c in shown["Connections"])
        if not what.wanted:
            return "Connecting" not in states
        # A gateway that has just been built knows no connection yet.
        return bool(states) and all(s == what.wanted for s in states) and tried

    passed: list[ex.Passed] = []

    def look() -> dict[str, Any]:
        shown = _show(lab, what.network)
        if not passed or (passed[-1].status, passed[-1].address) != (shown["Status"], shown["VipAddress"]):
            passed.append(ex.Passed(shown["Status"], shown["VipAddress"], time.time()))
        return shown

    began = time.monotonic()
    shown = _wait(look, settled, _SETTLED_S + 2 * what.silence_s)
    return ex.Gateway(
        passed=tuple(passed),
        kind=shown["GatewayType"],
        sku=shown["GatewaySKU"],
        state=shown["State"],
        status=shown["Status"],
        address=shown["VipAddress"],
        fields=tuple(shown["Connections"][0]) if shown["Connections"] else (),
        connections=tuple(
            ex.Connection(
                site=c["LocalNetworkSiteName"],
                state=c["ConnectivityState"],
                reason=c["Reason"],
                message=c.get("LastEventMessage", ""),
                event=c.get("LastEventID", 0),
                version=c["IkeVersion"],
                local=tuple(c["LocalSelectors"]),
                remote=tuple(c["RemoteSelectors"]),
                ike=c["IkeAlgorithms"],
                esp=c["EspAlgorithms"],
                ike_rekey_s=c["IkeRekeySeconds"],
                esp_life_s=c["EspLifetimeSeconds"],
                established=c.get("LastConnectionEstablished", ""),
            )
            for c in shown["Connections"]
        ),
        waited_s=time.monotonic() - began,
    )


def _show(lab: str, network: str) -> dict[str, Any]:
    shown: dict[str, Any] = commands.lab_json("gateway", "show", lab, network)["gateways"][0]
    return shown


def _wait(look: Callable[[], Any], enough: Callable[[Any], bool], deadline_s: float) -> Any:
    """Look until it is enough; return what was seen last."""
    end = time.monotonic() + deadline_s
    while not enough(seen := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


def meter(lab: str, what: ex.Meter, numbers: Numbers) -> ex.Metered:
    """Send flows, and compare the counters of both gateways before and after."""

    def counters() -> tuple[int, int]:
        return (
            _counter(lab, what.network, what.site, "EgressBytesTransferred"),
            _counter(lab, what.far_network, what.far_site, "IngressBytesTransferred"),
        )

    before = counters()
    # Counters are read now and then: those of earlier flows must be in before ours are sent.
    before = _still(counters, before)
    packets.send(lab, what.send, numbers)
    sent = what.send.count * (_IP_UDP + 16)
    after = _wait(counters, lambda now: all(n - b >= sent for n, b in zip(now, before, strict=True)), _COUNTED_S)
    after = _still(counters, after)
    return ex.Metered(sent=sent, egress=after[0] - before[0], ingress=after[1] - before[1])


def _still(counters: Callable[[], tuple[int, int]], first: tuple[int, int]) -> tuple[int, int]:
    """Return counters that have not changed for longer than the agent takes to read them."""
    last, since, end = first, time.monotonic(), time.monotonic() + _COUNTED_S
    while time.monotonic() - since < 1.0 and time.monotonic() < end:
        time.sleep(0.1)
        now = counters()
        if now != last:
            last, since = now, time.monotonic()
    return last


def _counter(lab: str, network: str, site: str, field: str) -> int:
    connections = _show(lab, network)["Connections"]
    return int(next(c[field] for c in connections if c["LocalNetworkSiteName"] == site))


def flood(lab: str, what: ex.Flood) -> ex.Flooded:
    """Flood a gateway, again if this machine was too busy; the best attempt counts."""
    best = _flood(lab, what)
    for _ in range(_ATTEMPTS - 1):
        if best.offered >= what.offered and sum(best.rates.values()) >= what.carried:
            break
        other = _flood(lab, what)
        if (sum(other.rates.values()), other.offered) > (sum(best.rates.values()), best.offered):
            best = other
    return best


def _flood(lab: str, what: ex.Flood) -> ex.Flooded:
    """Send datagrams in turn to all destinations, as fast as it goes, and count what leaves the gateway."""
    with inside(lab, what.client):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    capture = Capture(lab, [ex.Watch("gateway wire", what.network)])
    found: Counter[str] = Counter()
    sent = 0
    began = time.monotonic()
    try:
        while (now := time.monotonic()) < began + what.seconds:
            for _ in range(32):
                for address in what.addresses:
                    sender.sendto(_PAYLOAD, (address, 9))
                    sent += 1
            for _, packet in capture.read():
                found[socket.inet_ntoa(packet[16:20])] += len(packet)
        seconds = now - began
        _drain(capture)
    finally:
        sender.close()
        capture.close()
    offered = sent * (len(_PAYLOAD) + _IP_UDP) * 8 / seconds
    return ex.Flooded(offered=offered, rates={address: count * 8 / seconds for address, count in found.items()})


def _drain(capture: Capture) -> None:
    """Wait until a wire carries no more than what keeps tunnels alive: what is queued would delay all that follows."""
    end = time.monotonic() + _DRAINED_S
    while time.monotonic() < end:
        time.sleep(_QUIET_S)
        if sum(1 for _ in capture.read()) < _QUIET_PACKETS:
            return


def segments(lab: str, what: ex.Segments) -> ex.SegmentSize:
    """Connect, and read what both sides agreed on."""
    with inside(lab, what.client):
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with opened:
        opened.settimeout(ex.ANSWER_S)
        try:
            opened.connect((what.address, what.port))
        except TimeoutError:
            return ex.SegmentSize(size=0)
        size = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        # The kernel counts timestamps, where both sides send them, to the header and not to the segment.
        options = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)[_INFO_OPTIONS]
        return ex.SegmentSize(size=size + (_TIMESTAMPS if options & 1 else 0))
