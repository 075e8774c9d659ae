"""How members are probed, and by how many results they turn.

Restated from load-balancer-custom-probe-overview.md and its successors.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from lab.azure.model import (
    Network,
)
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import listed, sets
from lab.verify.claims.kit.endpoint_files import service_file, set_member
from lab.verify.claims.kit.judges import judge_by, refused
from lab.verify.claims.kit.nsg_oracle import PROBES, before
from lab.verify.claims.kit.oracle import (
    scaled,
)
from lab.verify.claims.kit.probed_pools import (
    answers_well,
    healthy_pools,
    hear_probes,
    not_controlled,
    not_down,
    not_up,
    one_of_each_probe,
    pools,
    probe_interval_s,
    serves,
    told_health,
    turning_trial,
    unprobed,
)
from lab.verify.claims.kit.tunnels import fits
from lab.verify.experiment import (
    Checked,
    CheckFile,
    Health,
    Heard,
    Members,
)

_PROBES = "load-balancer-custom-probe-overview.md"
_2016, _2018, _2023 = f"{_PROBES} (2016-10-24)", f"{_PROBES} (2018-09-04)", f"{_PROBES} (2023-10-10)"


@claim(
    "N-HP-1",
    f"{_2016}; {_2023}",
    "Every probe comes from 168.63.129.16; no virtual network may contain that address.",
    facts=("probes come from 168.63.129.16", "no virtual network contains that address"),
)
def probes_come_from_one_address(network: Network) -> Iterator[Trial]:
    for pool in one_of_each_probe(healthy_pools(network)):
        vm = pool.members[0]

        stage = Stage((hear_probes(network, pool, vm, 3),))
        yield Trial(f"{pool} of {vm.name}", f"probes from {PROBES} alone", (stage,), judge_by(_from_the_platform_alone))
        if pool == one_of_each_probe(healthy_pools(network))[0]:
            yield refused(_COVERED, "a virtual network with that address", f"overlaps {PROBES}")


def _from_the_platform_alone(heard: Heard) -> Finding:
    found = sorted({knock.source for knock in heard.knocks})
    observed = f"{len(heard.knocks)} probes from {', '.join(found) or 'nowhere'}"
    others = [source for source in found if source != PROBES]
    if others:
        return Finding(observed, f"probes come from {', '.join(others)}")
    return not_controlled(heard) or Finding(observed, unprobed(heard))


_COVERED = """\
name: covered
virtual_networks: {v: {address_space: [168.63.0.0/16], subnets: {s: 168.63.0.0/24}}}
"""


def _default_interval(network: Network, default_s: int) -> Iterator[Trial]:
    """Yield that a probe whose file names no interval comes as often as the document says."""
    wanted_s = scaled(network, default_s)
    for pool in pools(network):
        vm = pool.members[0]
        alone = [p for p in pools(network) if vm in p.members and p.probe.port == pool.probe.port]
        asked_s = min(probe_interval_s(network, p.probe) for p in alone)
        if pool.probe.interval_s is not None or asked_s != default_s or len(alone) != 1:
            continue  # several probes of one port are not told apart

        stage = Stage((hear_probes(network, pool, vm, 6),))
        expected = f"a probe every {wanted_s:g} s, {default_s} s of the document"
        yield Trial(
            f"{pool} of {vm.name}, interval", expected, (stage,), judge_by(partial(_probed_every, wanted_s=wanted_s))
        )
        return


def _probed_every(heard: Heard, *, wanted_s: float) -> Finding:
    times = [knock.began for knock in heard.knocks if knock.source == PROBES]
    if len(times) < 3:
        observed = f"{len(times)} probes"
        return not_controlled(heard) or Finding(observed, "probes did not come again and again")
    # The one in the middle: a busy machine may send one late, and the next one in time.
    gap_s = sorted(after - before for before, after in pairwise(times))[(len(times) - 1) // 2]
    observed = f"{len(times)} probes, one in {gap_s:.2f} s"
    right = wanted_s / 1.5 < gap_s < wanted_s * 1.5
    return Finding(observed, "" if right else f"probes come every {gap_s:.2f} s instead of {wanted_s:g} s")


def _http_timeout(network: Network, timeout_s: int) -> Iterator[Trial]:
    """Yield that an HTTP probe which is not answered is given up when the document says."""
    wanted_s = scaled(network, timeout_s)
    for pool in pools(network):
        vm = pool.members[0]
        sharing = [p for p in pools(network) if vm in p.members and p.probe.port == pool.probe.port]
        silent = pool.probe.protocol == "Http" and pool.probe.request_path == "/silence"
        if not silent or len(sharing) != 1 or not serves(vm, pool.probe.port, "http"):
            continue

        stage = Stage((hear_probes(network, pool, vm, 3),))
        expected = f"given up after {wanted_s:.2f} s, {timeout_s} s of the document"
        yield Trial(
            f"{pool} of {vm.name}, timeout", expected, (stage,), judge_by(partial(_waited_for, wanted_s=wanted_s))
        )
        return


def _waited_for(heard: Heard, *, wanted_s: float) -> Finding:
    times = sorted(k.ended - k.began for k in heard.knocks if k.ended is not None)
    if not times:
        return not_controlled(heard) or Finding("no probe ended", "probes that nobody answers are not given up")
    middle_s = times[len(times) // 2]
    right = wanted_s / 1.25 < middle_s < wanted_s * 1.5
    observed = f"{len(times)} probes given up after {middle_s:.2f} s"
    return Finding(observed, "" if right else f"{observed} instead of {wanted_s:.2f} s")


def _statuses(network: Network) -> Iterator[Trial]:
    """Yield that an answer of 200 makes a member healthy, and no other."""
    found = [p for p in pools(network) if p.probe.protocol == "Http" and serves(p.members[0], p.probe.port, "http")]
    well = [p.key(p.members[0]) for p in found if answers_well(p, p.members[0])]
    badly = [p.key(p.members[0]) for p in found if not answers_well(p, p.members[0])]
    if not well or not badly:
        return

    expected = f"up: {', '.join(well)}; down: {', '.join(badly)}"
    stage = Stage((Health(up=tuple(well), down=tuple(badly)),))
    yield Trial("answers over HTTP", expected, (stage,), judge_by(partial(_up_by_200_alone, well=well, badly=badly)))


def _up_by_200_alone(known: Members, *, well: list[str], badly: list[str]) -> Finding:
    return Finding(told_health(known, [*well, *badly]), not_up(known, well) or not_down(known, badly))


_OVER_TLS = """\
name: tls
load_balancers:
  lb: {frontend_ip_configurations: {f: 192.0.2.1}, probes: {p: {protocol: Https, port: 443}}}
"""


@claim(
    "N-HP-2",
    f"{_2016}; {_2018}",
    "HTTP: 200 is healthy, and nothing else is; any other answer, a reset, or silence past the timeout is a "
    "failure. A Basic load balancer has no HTTPS probe.",
    facts=(
        "a status of 200 is healthy",
        "another status is not",
        "an answer is awaited for 31 seconds",
        "the default interval is 15 seconds",
        "another answer marks a member down at once since 2018-09",
        "another answer counts as a failure in 2016",
        "there is no HTTPS probe of a Basic load balancer",
    ),
)
def http_probe_needs_a_200(network: Network) -> Iterator[Trial]:
    trials = [
        *_statuses(network),
        *_http_timeout(network, 31 if before(network, "2023-10") else 30),
    ]
    yield from trials
    if before(network, "2023-10"):
        yield from _default_interval(network, 15)
    for pool in [p for p in healthy_pools(network) if p.probe.protocol == "Http"][:1]:
        at_once = not before(network, "2018-09")
        yield turning_trial(network, pool, 1 if at_once else pool.probe.number_of_probes, None)
    if trials:
        yield refused(_OVER_TLS, "a probe over HTTPS of a Basic load balancer", "Https")


@claim(
    "N-HP-6",
    _2023,
    "Since 2023 the default interval is 5 seconds, the HTTP timeout 30, and some ports are refused to HTTP probes.",
    facts=(
        "the default interval is 5 seconds since 2023",
        "the HTTP timeout is 30 seconds since 2023",
        "HTTP probes of some ports are refused",
        "TCP probes of these ports are not",
    ),
)
def defaults_since_2023(network: Network) -> Iterator[Trial]:
    if before(network, "2023-10"):
        return
    yield from _default_interval(network, 5)
    yield from _http_timeout(network, 30)
    if pools(network):
        yield _refused_ports(network)


_NO_HTTP = (19, 21, 25, 70, 110, 119, 143, 220, 993)


def _refused_ports(network: Network) -> Trial:
    def text(protocol: str) -> str:
        probes = ", ".join(f"p{port}: {{protocol: {protocol}, port: {port}}}" for port in _NO_HTTP)
        head = f"name: ports\nprofile: {network.profile.name}\n"
        return f"{head}load_balancers: {{lb: {{frontend_ip_configurations: {{f: 192.0.2.1}}, probes: {{{probes}}}}}}}\n"

    files = (CheckFile(text=text("Http")), CheckFile(text=text("Tcp")))
    expected = f"HTTP probes of {', '.join(map(str, _NO_HTTP))} refused, TCP probes not"
    return Trial("ports of HTTP probes", expected, (Stage(files),), judge_by(_ports_refused))


def _ports_refused(over_http: Checked, over_tcp: Checked) -> Finding:
    let = [str(port) for port in _NO_HTTP if over_http.status != 2 or f"p{port}.port" not in over_http.said]
    observed = f"HTTP: exit {over_http.status}; TCP: exit {over_tcp.status}"
    if let:
        return Finding(observed, f"an HTTP probe of port {', '.join(let)} was not refused")
    return Finding(observed, "" if over_tcp.status == 0 else f"a TCP probe was refused: {over_tcp.said}")


@claim(
    "N-HP-3",
    f"{_2018}",
    "TCP: a probe opens a connection with three packets and closes it with four; intervals and counts have minima, "
    "and a product in 2018.",
    facts=(
        "a probe closes its connection with a FIN",
        "the shortest interval is 5 seconds",
        "the smallest count is 2",
        "interval times count is at most 120 seconds in 2018",
    ),
)
def tcp_probe_opens_and_closes(network: Network) -> Iterator[Trial]:
    for pool in [p for p in healthy_pools(network) if p.probe.protocol == "Tcp"][:1]:
        vm = pool.members[0]

        stage = Stage((hear_probes(network, pool, vm, 3),))
        expected = "each probe opens a connection and closes it, FIN and ACK of both sides"
        yield Trial(f"{pool} of {vm.name}", expected, (stage,), judge_by(_opened_and_closed))
        for values, words in _limits(network):
            text = _LIMITS.format(profile=network.profile.name, values=values)
            yield refused(text, f"a probe with {values}", words)


def _opened_and_closed(heard: Heard) -> Finding:
    whole = [k for k in heard.knocks[:-1] if k.answer == "open"]  # the last one may not be over
    resets = [k for k in whole if k.how == "reset"]
    closed = [k for k in whole if k.closed and k.how == "fin"]
    observed = f"{len(heard.knocks)} probes, {len(closed)} opened and closed by both sides"
    if resets:
        return Finding(observed, f"{len(resets)} probes end with a reset")
    if not whole or len(closed) < len(whole):
        return not_controlled(heard) or Finding(observed, "probes are not opened and closed by both sides")
    return Finding(observed)


_LIMITS = """\
name: limits
profile: {profile}
load_balancers: {{lb: {{frontend_ip_configurations: {{f: 192.0.2.1}}, probes: {{p: {{port: 80, {values}}}}}}}}}
"""


def _limits(network: Network) -> Iterator[tuple[str, str]]:
    yield "interval_in_seconds: 4", "the shortest interval is 5 s"
    yield "number_of_probes: 1", "the smallest count is 2"
    if not before(network, "2018-09") and before(network, "2023-10"):
        yield "interval_in_seconds: 61", "interval times count is at most 120 s"


@claim(
    "N-HP-4",
    f"{_2016}; {_2023}",
    "A member goes down, and one that was taken out comes back, by as many results in a row as its probe says; "
    "by one since 2023.",
    facts=(
        "so many failures in a row take a member out",
        "so many successes in a row bring it back",
        "one failure takes it out since 2023",
        "one success brings it back since 2023",
        "members of a set have one probe",
    ),
)
def member_turns_by_results_in_a_row(network: Network) -> Iterator[Trial]:
    for pool in [p for p in healthy_pools(network) if p.probe.protocol == "Tcp"][:1]:
        needed = pool.probe.number_of_probes if before(network, "2023-10") else 1
        yield turning_trial(network, pool, needed, needed)
    if sets(listed(network)):
        text = service_file(
            set_member("a", ", probe: {port: 80}"), set_member("b", ", probe: {port: 80, interval_in_seconds: 5}")
        )
        yield fits(text, "members of a set with other probes", '"e" of b differs from "e" of a in probe')


CLAIMS = (
    probes_come_from_one_address,
    http_probe_needs_a_200,
    tcp_probe_opens_and_closes,
    member_turns_by_results_in_a_row,
    defaults_since_2023,
)
