"""The NetworkConfiguration file: read whole or not at all, written, and read again."""

from pathlib import Path

import pytest

from lab.azure.model import Network
from lab.errors import TopologyError
from lab.formats import netcfg
from lab.operations.base import Refused, changed
from lab.operations.netcfg import ImportConfiguration
from lab.topology import load, parse

_HEAD = f'<NetworkConfiguration xmlns="{netcfg.NAMESPACE}"><VirtualNetworkConfiguration>'
_TAIL = "</VirtualNetworkConfiguration></NetworkConfiguration>"
#: The sample of the documents (prev-versions jj157100).
SAMPLE = f"""<?xml version="1.0" encoding="utf-8"?>
{_HEAD}
<Dns><DnsServers><DnsServer name="DNS1" IPAddress="10.1.0.1"/></DnsServers></Dns>
<LocalNetworkSites>
  <LocalNetworkSite name="Site1"><AddressSpace><AddressPrefix>10.0.0.0/16</AddressPrefix>
    <AddressPrefix>10.1.0.0/16</AddressPrefix></AddressSpace>
    <VPNGatewayAddress>131.2.3.4</VPNGatewayAddress></LocalNetworkSite>
  <LocalNetworkSite name="Site2"><AddressSpace><AddressPrefix>10.2.0.0/16</AddressPrefix>
    <AddressPrefix>10.3.0.0/16</AddressPrefix></AddressSpace>
    <VPNGatewayAddress>131.4.5.6</VPNGatewayAddress></LocalNetworkSite>
</LocalNetworkSites>
<VirtualNetworkSites>
  <VirtualNetworkSite name="VNet1" Location="China North">
    <AddressSpace><AddressPrefix>10.20.0.0/16</AddressPrefix><AddressPrefix>10.21.0.0/16</AddressPrefix></AddressSpace>
    <Subnets><Subnet name="FE"><AddressPrefix>10.20.0.0/24</AddressPrefix></Subnet>
      <Subnet name="BE"><AddressPrefix>10.20.1.0/24</AddressPrefix></Subnet>
      <Subnet name="GatewaySubnet"><AddressPrefix>10.20.2.0/29</AddressPrefix></Subnet></Subnets>
    <DnsServersRef><DnsServerRef name="DNS1"/></DnsServersRef>
    <Gateway><ConnectionsToLocalNetwork>
      <LocalNetworkSiteRef name="Site1"><Connection type="IPsec"/></LocalNetworkSiteRef>
      <LocalNetworkSiteRef name="Site2"><Connection type="IPsec"/></LocalNetworkSiteRef>
    </ConnectionsToLocalNetwork></Gateway>
  </VirtualNetworkSite>
</VirtualNetworkSites>
{_TAIL}
"""
EMPTY = parse("name: a\n", "f")


def imported(text: str, network: Network = EMPTY) -> Network:
    return changed(network, ImportConfiguration(netcfg.read(text, "f"), "f"))


def test_the_documents_sample_becomes_a_network() -> None:
    made = imported(SAMPLE)
    (vnet,) = made.virtual_networks
    assert [str(p) for p in vnet.address_space] == ["10.20.0.0/16", "10.21.0.0/16"]
    assert [s.name for s in vnet.subnets] == ["BE", "FE", "GatewaySubnet"]
    assert [str(a) for a in vnet.dns_servers] == ["10.1.0.1"]
    sites = {s.name: (str(s.vpn_gateway_address), [str(p) for p in s.address_space]) for s in made.local_networks}
    assert sites["Site1"] == ("131.2.3.4", ["10.0.0.0/16", "10.1.0.0/16"])
    assert [(c.virtual_network, c.local_network) for c in made.connections] == [("VNet1", "Site1"), ("VNet1", "Site2")]


def test_what_is_written_is_read_as_the_same_network() -> None:
    made = imported(SAMPLE)
    assert imported(netcfg.write(made), made) == made
    assert netcfg.write(imported(netcfg.write(made))) == netcfg.write(made)


@pytest.mark.parametrize("name", ["vnet-to-vnet", "multi-site"])
def test_a_bundled_topology_goes_out_and_comes_back_as_it_was_but_for_names_of_servers(name: str) -> None:
    network = load(Path(__file__).parents[3] / "topologies" / f"{name}.lab.yaml")
    again = imported(netcfg.write(network), network)
    assert again.connections == network.connections
    assert again.local_networks == network.local_networks
    assert again.virtual_networks == network.virtual_networks
    assert "A1b2C3D4" not in netcfg.write(network)


def test_an_affinity_group_takes_the_place_of_a_location() -> None:
    grouped = SAMPLE.replace('Location="China North"', 'AffinityGroup="ag1"')
    assert 'AffinityGroup="ag1"' in netcfg.write(imported(grouped))


def test_the_published_template_with_its_empty_reference_is_read() -> None:
    closed = SAMPLE.replace(
        '<LocalNetworkSiteRef name="Site1"><Connection type="IPsec"/></LocalNetworkSiteRef>',
        '<LocalNetworkSiteRef name="Site1"/>',
    )
    assert len(imported(closed).connections) == 2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('Location="China North"', 'Location="x" AffinityGroup="y"', "Location and AffinityGroup; it has one"),
        (' Location="China North"', "", "neither Location nor AffinityGroup"),
        ('DnsServerRef name="DNS1"', 'DnsServerRef name="DNS2"', 'no DnsServer "DNS2"; it must be'),
        ('SiteRef name="Site2"', 'SiteRef name="Site3"', 'no LocalNetworkSite "Site3"; it must be defined'),
        ('Site name="Site2"', 'Site name="site1"', "a second one of that name; names are given once"),
        ('type="IPsec"', 'type="Dedicated"', 'Connection type "Dedicated"; tunnels are IPsec'),
        ("131.4.5.6", "", 'VPNGatewayAddress: ""; it must have an IPv4 address; a placeholder will do'),
        ("10.2.0.0/16", "10.2.0.1/16", '"10.2.0.1/16"; has host bits set; the prefix is 10.2.0.0/16'),
        ("<Gateway>",
         "<Gateway><VPNClientAddressPool><AddressPrefix>10.9.0.0/24</AddressPrefix></VPNClientAddressPool>",
         "point-to-site is not played"),
        ("</NetworkConfiguration>", "", "no element found; a network configuration is plain XML; correct it"),
        ("2011/07", "2012/07", "the root is NetworkConfiguration of"),
        ('<?xml version="1.0" encoding="utf-8"?>', '<!DOCTYPE x [<!ENTITY e "e">]>',
         ("f:1: a document type definition (<!DOCTYPE x …>); a network configuration is plain XML, which defines no "
          "types or entities and reads no other file; remove it")),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_in_words(old: str, new: str, words: str) -> None:
    assert old in SAMPLE
    with pytest.raises(TopologyError) as caught:
        netcfg.read(SAMPLE.replace(old, new, 1), "f")
    assert words in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(TopologyError) as caught:
        netcfg.read(SAMPLE.replace("131.4.5.6", "").replace('type="IPsec"', 'type="Dedicated"'), "f")
    assert len(caught.value.lines) == 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("10.2.0.0/16", "10.0.0.0/8", 'overlaps 10.20.0.0/16 of "VNet1"'),
        ("10.2.0.0/16", "10.1.0.0/24", 'overlaps 10.1.0.0/16 of "Site1"'),
        ("10.20.1.0/24", "10.30.1.0/24", "a subnet must lie within its virtual network"),
    ],
)
def test_what_networks_may_not_be_a_file_may_not_ask_for(old: str, new: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        imported(SAMPLE.replace(old, new))
    assert words in str(caught.value)


def test_a_file_may_take_no_network_from_under_a_vm_or_gateway_and_move_none() -> None:
    network = load(Path(__file__).parents[3] / "topologies" / "vnet-to-vnet.lab.yaml")
    with pytest.raises(Refused) as caught:
        imported(SAMPLE.replace('"VNet1" Location="China North"', '"VNet1" Location="elsewhere"'), network)
    said = str(caught.value)
    for words in (
        'virtual_machines.vm1: "VNet1/front" is not in the file; a VM keeps its subnet',
        'vpn_gateways.VNet2: "VNet2" is not in the file; a gateway keeps its network',
        "the location of a virtual network cannot be changed",
    ):
        assert words in said
