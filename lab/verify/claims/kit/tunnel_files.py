"""Topology texts with gateways and their tunnels."""

TUNNELS_2015 = "VNet to VNet connection (2015-05-15)"
#: An image by the name that the classic gallery had for it.
IMAGE = "b39f27a8b8c64d52b05eac6a62ebad85__Ubuntu-14_04_2_LTS-amd64-server-20150706-en-us-30GB"


def vnet_of(octet: int, more: str = "") -> str:
    """Return a virtual network of a number."""
    subnets = f"{{s: 10.{octet}.0.0/24, GatewaySubnet: 10.{octet}.255.0/29}}"
    return f"{{address_space: [10.{octet}.0.0/16], subnets: {subnets}{more}}}"


def two(sites: str, connections: str, *, first: str = "dynamic", second: str = "dynamic") -> str:
    """Return a topology with two networks and their gateways."""
    return f"""\
name: refused
virtual_networks: {{v1: {vnet_of(1)}, v2: {vnet_of(2)}}}
vpn_gateways: {{v1: {{routing: {first}, sku: Basic}}, v2: {{routing: {second}, sku: Basic}}}}
local_networks: {{{sites}}}
connections: [{connections}]
"""


TO_2 = "s2: {address_space: [10.2.0.0/16], vpn_gateway: v2}"
C2 = "{virtual_network: v1, local_network: s2, shared_key: A1b2C3D4}"
_SITES = """\
name: sites
virtual_networks: {{v: {{address_space: [10.20.0.0/16], subnets: {{{subnets}}}}}}}
vpn_gateways: {{v: {{routing: {routing}, sku: {sku}}}}}
local_networks: {{{sites}}}
connections: [{connections}]
{more}
"""


def file_with(
    count: int, *, sku: str = "Standard", routing: str = "dynamic", key: str = "", space: str = "", **more: str
) -> str:
    """Return a topology with one gateway and so many sites; ``space`` for all of them, or one for each."""
    sites = (
        f"s{i}: {{address_space: [{space or f'172.16.{i}.0/24'}], vpn_gateway_address: 131.2.3.{i + 1}}}"
        for i in range(count)
    )
    keyed = f', shared_key: "{key}"' if key else ""
    return _SITES.format(
        subnets=more.get("subnets", "GatewaySubnet: 10.20.2.0/29"),
        routing=routing,
        sku=sku,
        sites=", ".join(sites),
        connections=", ".join(f"{{virtual_network: v, local_network: s{i}{keyed}}}" for i in range(count)),
        more=more.get("more", ""),
    )
