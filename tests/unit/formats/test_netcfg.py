"""The NetworkConfiguration file: read whole or not at all, written, and read again."""

import re
from pathlib import Path

import pytest

from lab.azure.model import Network
from lab.cli.arguments import read_text
from lab.errors import TopologyError, UsageError
from lab.formats import netcfg
from lab.operations.base import Refused, changed
from lab.operations.netcfg import ImportConfiguration
from lab.runtime import replay
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
        ("<AddressPrefix>10.2.0.0/16</AddressPrefix>", "<AddresPrefix>10.2.0.0/16</AddresPrefix>",
         'f: AddressSpace, line 8: unknown element "AddresPrefix"; it may have AddressPrefix; did you mean'),
        ("<Gateway>", "<Gatewey/><Gateway>", 'unknown element "Gatewey"; it may have AddressSpace, Subnets'),
        ('name="DNS1" IP', 'name="DNS1" Adress="1" IP', 'DnsServer, line 3: unknown attribute "Adress"; it may'),
        ('<Subnet name="FE">', '<Subnet name="FE"><AddressPrefix>10.20.7.0/24</AddressPrefix>',
         "Subnet, line 15: 2 AddressPrefix; it has at most 1; keep one"),
        ("<Subnets>", "<Subnets/><Subnets>", "VirtualNetworkSite, line 15: 2 Subnets; it has at most 1; keep one"),
        ('Subnet name="BE"', 'Subnet name="fe"', "Subnet fe: a second one of that name; names are given once"),
        ('Subnet name="BE"', "Subnet", "Subnet: no name; it must have one; add it"),
        ('<DnsServerRef name="DNS1"/>', '<DnsServerRef name="DNS1"/><DnsServerRef name="DNS1"/>',
         'a second DnsServerRef "DNS1"; each is referred to once; remove one'),
        ('name="VNet1"', f'name="{"v" * 250}"', f'VirtualNetworkSite: "{"v" * 80}"; a name begins with'),
        ('name="VNet1"', 'name="a/b"', 'VirtualNetworkSite: "a/b"; a name begins with a letter or digit'),
        ('name="VNet1"', 'name="../x"', 'VirtualNetworkSite: "../x"; a name begins with'),
        ('name="VNet1"', 'name=" "', 'VirtualNetworkSite: " "; a name begins with'),
        ('name="VNet1"', 'name="a&#10;b"', "a name begins with a letter or digit"),
        ('Subnet name="BE"', 'Subnet name="a/b"', 'Subnet: "a/b"; a name begins with'),
        ('DnsServer name="DNS1"', 'DnsServer name="a/b"', 'DnsServer: "a/b"; a name begins with'),
        ('LocalNetworkSite name="Site2"', 'LocalNetworkSite name="../x"', 'LocalNetworkSite: "../x"; a name begins'),
        ('Location="China North"', 'Location=""', 'Location ""; a name begins with'),
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
        'vpn_gateways.VNet2: "VNet2" is not in the file; a gateway keeps its subnet, and its network',
        "the location of a virtual network cannot be changed",
    ):
        assert words in said


def test_a_network_may_be_called_as_the_portal_calls_one_of_a_resource_group() -> None:
    made = imported(SAMPLE.replace('"VNet1"', '"Group RG vnet"'))
    assert [v.name for v in made.virtual_networks] == ["Group RG vnet"]
    assert imported(netcfg.write(made), made) == made


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8", "utf-8-sig"])
def test_a_file_is_read_as_powershell_writes_it(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "NetworkConfig.xml"
    file.write_bytes(SAMPLE.replace("utf-8", encoding).encode(encoding))
    assert netcfg.read(read_text(file, netcfg.MAX_BYTES, "network configuration"), "f") == netcfg.read(SAMPLE, "f")
    assert replay.read(file) == SAMPLE.replace("utf-8", encoding)


def test_a_file_that_is_cut_in_the_middle_of_a_character_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "NetworkConfig.xml"
    file.write_bytes(SAMPLE.encode("utf-16")[:-1])
    with pytest.raises(UsageError, match="a network configuration is a text file"):
        read_text(file, netcfg.MAX_BYTES, "network configuration")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('<Subnet name="front"><AddressPrefix>10.1.0.0/24', '<Subnet name="front"><AddressPrefix>10.1.0.0/25',
         '"VNet1/front" is 10.1.0.0/25 in the file, and 10.1.0.0/24 in the lab; a VM keeps its subnet as it is'),
        ('"GatewaySubnet"><AddressPrefix>10.1.255.0/27', '"GatewaySubnet"><AddressPrefix>10.1.255.32/27',
         '/GatewaySubnet" is 10.1.255.32/27 in the file, and 10.1.255.0/27 in the lab; a gateway keeps its subnet as'),
        ('"GatewaySubnet"><AddressPrefix>10.1.255.0/27', '"other"><AddressPrefix>10.1.255.0/27',
         'vpn_gateways.VNet1: "VNet1/GatewaySubnet" is not in the file; a gateway keeps its subnet'),
        ('<Subnet name="front">', '<Subnet name="back">', '"VNet1/front" is not in the file; a VM keeps its subnet'),
    ],
)  # fmt: skip
def test_a_subnet_in_use_is_neither_changed_nor_removed(old: str, new: str, words: str) -> None:
    network = load(Path(__file__).parents[3] / "topologies" / "vnet-to-vnet.lab.yaml")
    text = re.sub(r">\s+<", "><", netcfg.write(network))
    assert old in text
    with pytest.raises(Refused) as caught:
        imported(text.replace(old, new, 1), network)
    assert words in str(caught.value)


def test_the_subnet_of_a_secondary_interface_is_in_use_too() -> None:
    nics = "{a: {subnet: v/one}, b: {subnet: v/two}}"
    network = parse(
        "name: a\nvirtual_networks: {v: {address_space: [10.1.0.0/16], "
        "subnets: {one: 10.1.1.0/24, two: 10.1.2.0/24}}}\n"
        f"virtual_machines: {{vm: {{network_interfaces: {nics}}}}}",
        "f",
    )
    text = netcfg.write(network).replace("10.1.2.0/24", "10.1.3.0/24")
    with pytest.raises(Refused, match=r"virtual_machines\.vm\.network_interfaces\.b: "):
        imported(text, network)


def test_groups_of_subnets_stay_since_a_file_does_not_hold_them() -> None:
    network = load(Path(__file__).parents[3] / "topologies" / "nsg.lab.yaml")
    assert any(s.network_security_group for v in network.virtual_networks for s in v.subnets)
    assert imported(netcfg.write(network), network).virtual_networks == network.virtual_networks
