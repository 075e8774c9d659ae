"""Public addresses: whatever is done to a lab, in whichever order, each has one owner."""

from collections import Counter
from ipaddress import IPv4Address, IPv4Network

from hypothesis import example, given
from hypothesis import strategies as st

from lab.azure.model import Network, Subnet
from lab.errors import LabError
from lab.formats.netcfg import Configuration, Site, Vnet
from lab.operations.base import Operation, changed
from lab.operations.cloud_service import AddService, AddVirtualMachine
from lab.operations.endpoint import AddEndpoint, RemoveEndpoint
from lab.operations.netcfg import ImportConfiguration
from lab.operations.power import SetPower
from lab.operations.public_ip import RemovePublicIp, SetPublicIp
from lab.operations.reserved_ip import AssociateIp, DisassociateIp, ReleaseIp, ReserveIp
from lab.operations.virtual_ip import AddVirtualIp, RemoveVirtualIp
from lab.operations.vpn import AddLocalNetwork, AddNetwork, CreateGateway, DeleteGateway, SetLocalNetwork
from lab.topology import parse

#: A site's device has one of the first addresses that the platform would give, and so has a VIP that is not used yet.
START = """
name: a
virtual_networks:
  v1: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24, GatewaySubnet: 10.1.255.0/27}}
virtual_machines: {a: {subnet: v1/s}, b: {subnet: v1/s, instance_public_ip: {name: own}}, alone: {}}
cloud_services:
  s:
    virtual_machines: [a, b]
    virtual_ips: {Vip1: {}, Vip2: {address: 203.0.113.4}, Vip3: {reserved_ip: kept}}
reserved_ips: {kept: {}, spare: {}}
local_networks: {site: {address_space: [10.9.0.0/16], vpn_gateway_address: 203.0.113.3}}
"""
_VMS, _VIPS, _KEPT, _NETWORKS = (
    ("a", "b", "n1"),
    ("Vip1", "Vip2", "Vip3", "Vip4"),
    ("kept", "spare"),
    ("v1", "v2", "v3"),
)
#: What a user may type for a device: among it what the platform would give next.
_DEVICES = tuple(
    IPv4Address(text) for text in ("203.0.113.1", "203.0.113.5", "203.0.113.6", "192.0.2.252", "131.1.1.1")
)
_SPACES = {name: (IPv4Network(f"10.{n}.0.0/16"),) for n, name in enumerate(_NETWORKS, 1)}


def _configuration(names: tuple[str, ...], device: IPv4Address) -> ImportConfiguration:
    vnets = tuple(
        Vnet(name, "China North", None, _SPACES[name], (("s", IPv4Network(f"10.{name[1]}.0.0/24")),
             ("GatewaySubnet", IPv4Network(f"10.{name[1]}.255.0/27"))), (), ())
        for name in names
    )  # fmt: skip
    return ImportConfiguration(Configuration((), (Site("site", (IPv4Network("10.9.0.0/16"),), device),), vnets), "f")


def _endpoint(vm: str, port: int, vip: str) -> AddEndpoint:
    return AddEndpoint(virtual_machine=vm, name=f"e{port}", local_port=port, virtual_ip=vip)


def _operations() -> st.SearchStrategy[Operation]:
    vm, vip, kept, network, device = map(st.sampled_from, (_VMS, _VIPS, _KEPT, _NETWORKS, _DEVICES))
    port, services = st.integers(80, 83), st.sampled_from(("s", "t"))
    return st.one_of(
        st.builds(AddVirtualIp, services, vip),
        st.builds(RemoveVirtualIp, services, vip),
        st.builds(_endpoint, vm, port, vip),
        st.builds(lambda v, p: RemoveEndpoint(v, f"e{p}"), vm, port),
        st.builds(lambda v: SetPublicIp(v, "own"), vm),
        st.builds(RemovePublicIp, vm),
        st.builds(SetPower, vm, st.sampled_from(("Started", "Stopped", "Deallocated"))),
        st.builds(lambda k, s, v: ReserveIp(name=k, location="China North", service=s, virtual_ip=v), kept,
                  st.none() | services, vip),
        st.builds(ReleaseIp, kept),
        st.builds(AssociateIp, kept, services, vip),
        st.builds(DisassociateIp, kept, services),
        st.builds(lambda n: AddNetwork(n, "China North", _SPACES[n], (
            Subnet(name="GatewaySubnet", address_prefix=IPv4Network(f"10.{n[1]}.255.0/27")),)), network),
        st.builds(lambda n, d: AddLocalNetwork(n, (IPv4Network("10.8.0.0/16"),), d), st.just("other"), device),
        st.builds(lambda d: SetLocalNetwork("site", address=d), device),
        st.builds(lambda n: CreateGateway(n, "dynamic", "Standard", 0.0), network),
        st.builds(DeleteGateway, network),
        st.builds(_configuration, st.sampled_from((("v1",), ("v1", "v2"), _NETWORKS)), device),
        st.just(AddService(name="t", location="China North")),
        st.builds(lambda s: AddVirtualMachine(service=s, name="n1", subnet="v1/s", public_ip="own"), services),
    )  # fmt: skip


def _owners(network: Network) -> dict[str, IPv4Address]:
    found = {".".join(path): address for address, path in network.public_addresses()}
    return found | {f"default of {vnet.name}": vnet.default_outbound_address for vnet in network.virtual_networks}


#: What a review found: three VIPs in use, the second of which was given the address of the site's device.
_THREE_VIPS = [
    step
    for n in (4, 5)
    for step in (AddVirtualIp("s", f"Vip{n}"), _endpoint("a", n, f"Vip{n}"))
]  # fmt: skip


@given(st.lists(_operations(), max_size=25))
@example(_THREE_VIPS)
@example([CreateGateway("v1", "dynamic", "Standard", 0.0), DeleteGateway("v1"), *_THREE_VIPS])
@example([SetLocalNetwork("site", address=_DEVICES[3]), AddNetwork("v2", "China North", _SPACES["v2"])])
def test_no_public_address_is_given_twice_through_any_operations(operations: list[Operation]) -> None:
    network = parse(START, "f")
    for operation in operations:
        before = network
        try:
            network = changed(before, operation)
        except LabError:
            continue
        owners = _owners(network)
        twice = {address for address, count in Counter(owners.values()).items() if count > 1}
        assert not twice, (str(operation), {owner: a for owner, a in owners.items() if a in twice})
        # What is given out now belonged to nothing before, and to no device that the user has named.
        had = _owners(before)
        given = {owner: address for owner, address in owners.items() if owner not in had}
        named = {site.vpn_gateway_address for site in before.local_networks} | set(before.released)
        assert not named & set(given.values()), (str(operation), given)
        assert not (network.private_ranges() and any(a in p for a in owners.values() for p in network.private_ranges()))


@given(st.integers(2, 6), st.sampled_from(["203.0.113.0/24", "203.0.113.0/25", "192.0.2.128/25"]))
def test_no_address_is_given_out_of_a_range_that_is_private_in_the_file(vms: int, space: str) -> None:
    machines = ", ".join(f"m{n}: {{instance_public_ip: {{name: i}}}}" for n in range(min(vms, 5)))
    network = parse(
        f"name: a\nvirtual_networks: {{v: {{address_space: ['{space}']}}}}\nvirtual_machines: {{{machines}}}", "f"
    )
    assert not [a for a in _owners(network).values() if a in IPv4Network(space)]
