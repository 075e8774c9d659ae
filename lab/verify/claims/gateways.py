"""What gateways are: tunnels of each SKU, keys, encryption, and their subnet."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import Network
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import judge_by
from lab.verify.claims.kit.tunnel_files import file_with
from lab.verify.claims.kit.tunnels import (
    Pair,
    alone,
    between_networks,
    fits,
    pairs,
    works,
)
from lab.verify.experiment import (
    Gateway,
    Segments,
    SegmentSize,
)

_FAQ = "vpn-gateway-vpn-faq.md (2016-03-10)"
_DEVICES_2016 = "vpn-gateway-about-vpn-devices.md (2016-06-29)"
_DEVICES_2016_12 = "vpn-gateway-about-vpn-devices.md (2016-12-12)"
_DEVICES_2017 = "vpn-gateway-about-vpn-devices.md (2017-01)"
#: AES-256 and SHA-1, as the daemon calls them.
_CBC = "AES_CBC 256 HMAC_SHA1"
_SKU_TABLE = "vpn-gateway-table-gwtype-legacy-aggtput-include.md (2016-03)"


@claim(
    "N-GW-1",
    _SKU_TABLE,
    "A gateway has 10 tunnels, HighPerformance 30, and 1 if it is policy-based, which Basic alone is.",
    facts=(
        "HighPerformance has 30 tunnels",
        "and no more",
        "Standard has 10",
        "Basic has 10",
        "a policy-based gateway has one",
        "Basic alone is policy-based",
    ),
)
def tunnels_of_each_sku(network: Network) -> Iterator[Trial]:
    if alone(network):
        yield fits(file_with(30, sku="HighPerformance"), "30 tunnels of a HighPerformance gateway")
        yield fits(file_with(31, sku="HighPerformance"), "a 31st tunnel", "at most 30")
        yield fits(file_with(11), "an 11th tunnel of a Standard gateway", "at most 10")
        yield fits(file_with(11, sku="Basic"), "an 11th tunnel of a Basic gateway", "at most 10")
        yield fits(file_with(2, sku="Basic", routing="static"), "a second policy-based tunnel", "at most 1 ")
        yield fits(file_with(1, routing="static"), "a Standard policy-based gateway", "only a Basic gateway")


@claim(
    "N-GW-2",
    _FAQ,
    "Static routing is IKEv1, dynamic routing IKEv2; keys are 1 to 128 letters and digits.",
    facts=(
        "dynamic routing is IKEv2",
        "static routing is IKEv1",
        "a key has 128 characters at most",
        "and one at least",
        "letters and digits alone",
    ),
)
def static_speaks_ikev1_and_dynamic_ikev2(network: Network) -> Iterator[Trial]:
    for kind, version in (("dynamic", 2), ("static", 1)):
        for pair in pairs(network):
            gateway = network.gateway(pair.network)
            if gateway is None or gateway.routing != kind:
                continue

            yield works(
                pair,
                f"{kind} routing speaks IKEv{version}",
                partial(_speaks_another_version, pair=pair, version=version),
            )
            break
    if alone(network):
        yield fits(file_with(1, key="k" * 128), "a key of 128 characters")
        yield fits(file_with(1, key="k" * 129), "a key of 129 characters", "1 to 128 letters and digits")
        empty = file_with(1, key="k").replace('"k"', '""')
        yield fits(empty, "an empty key", "1 to 128 letters and digits")
        yield fits(file_with(1, key="not-one"), "a key with a dash", "1 to 128 letters and digits")


def _speaks_another_version(shown: Gateway, *, pair: Pair, version: int) -> str:
    found = next(c for c in shown.connections if c.site == pair.site.name)
    return "" if found.version == version else f"it speaks IKEv{found.version}"


def _encrypted(network: Network, *, ike: str, ike_s: int, esp: str, esp_s: int) -> Iterator[Trial]:
    """Yield that a tunnel of a dynamic gateway is encrypted in one way, and renewed before its time; seconds."""
    scale = network.overrides.time_scale
    for pair in between_networks(network)[:1]:
        yield works(
            pair,
            f"IKE {ike}, group 2, within {ike_s} s; ESP {esp}, {esp_s} s",
            partial(_encrypted_otherwise, pair=pair, ike=ike, esp=esp, ike_s=ike_s, scale=scale, esp_s=esp_s),
        )


def _encrypted_otherwise(shown: Gateway, *, pair: Pair, ike: str, esp: str, ike_s: int, scale: int, esp_s: int) -> str:
    found = next(c for c in shown.connections if c.site == pair.site.name)
    if not found.ike.startswith(ike) or "MODP_1024" not in found.ike:
        return f"IKE uses {found.ike}"
    if not found.esp.startswith(esp):
        return f"ESP uses {found.esp}"
    if not 0.75 * ike_s / scale <= found.ike_rekey_s <= ike_s / scale:
        return f"IKE is renewed after {found.ike_rekey_s} s"
    if abs(found.esp_life_s - esp_s / scale) > 2:
        return f"ESP ends after {found.esp_life_s} s"
    return ""


@claim(
    "N-GW-3",
    _DEVICES_2016,
    "Dynamic gateways encrypt with AES-256 and SHA-1, group 2; 10,800 s and 3,600 s.",
    facts=(
        "IKE is AES-256, SHA-1, group 2",
        "for 10,800 s",
        "ESP is AES-256, SHA-1",
        "for 3,600 s",
    ),
)
def dynamic_gateways_encrypt_with_cbc(network: Network) -> Iterator[Trial]:
    if network.profile.name == "seeds" or network.profile.name < "2017":
        yield from _encrypted(network, ike=_CBC, ike_s=10800, esp=_CBC, esp_s=3600)


@claim(
    "N-GW-4",
    _DEVICES_2016_12,
    "TCP segments through a tunnel are clamped to 1,350 bytes.",
    facts=(
        "segments are clamped to 1,350 bytes",
        "and no smaller",
    ),
)
def segments_are_clamped(network: Network) -> Iterator[Trial]:
    for pair in between_networks(network)[:2]:
        # Whatever the two ends would agree on between themselves is larger.
        connect = Segments(client=pair.near.node, address=str(pair.far.address), port=80)

        yield Trial(pair.near.node, "segments of 1,350 bytes", (Stage((connect,)),), judge_by(_clamped))


def _clamped(seen: SegmentSize) -> Finding:
    observed = f"segments of {seen.size} bytes" if seen.size else "no connection"
    return Finding(observed, "" if seen.size == 1350 else "they are not clamped to 1350 bytes")


@claim(
    "N-GW-5",
    _DEVICES_2017,
    "From 2017 on dynamic gateways prefer AES-256-GCM; 28,800 s and 27,000 s.",
    facts=(
        "IKE is AES-256, SHA-1, group 2",
        "for 28,800 s",
        "ESP is AES-256-GCM",
        "for 27,000 s",
    ),
)
def dynamic_gateways_prefer_gcm(network: Network) -> Iterator[Trial]:
    if network.profile.name != "seeds" and network.profile.name >= "2017":
        yield from _encrypted(network, ike=_CBC, ike_s=28800, esp="AES_GCM_16 256", esp_s=27000)


@claim(
    "N-GW-6",
    _FAQ,
    "A gateway subnet is called GatewaySubnet, is /29 or larger, and has no VM in it.",
    facts=(
        "its name",
        "it is /29 or larger",
        "no VM is in it",
    ),
)
def gateway_subnet_has_a_name_and_size(network: Network) -> Iterator[Trial]:
    if alone(network):
        named = file_with(1, subnets="Gateway: 10.20.2.0/29")
        yield fits(named, "a gateway subnet of another name", 'has no subnet "GatewaySubnet"')
        yield fits(file_with(1, subnets="GatewaySubnet: 10.20.2.0/30"), "a gateway subnet /30", "is /29 or larger")
        inside = file_with(1, more="virtual_machines: {vm: {subnet: v/GatewaySubnet}}")
        yield fits(inside, "a VM in the gateway subnet", "holds gateways only, no VM")


CLAIMS = (
    tunnels_of_each_sku,
    static_speaks_ikev1_and_dynamic_ikev2,
    dynamic_gateways_encrypt_with_cbc,
    segments_are_clamped,
    dynamic_gateways_prefer_gcm,
    gateway_subnet_has_a_name_and_size,
)
