"""Network configuration files, as the documents write them."""

from lab.azure.model import PLATFORM_NETWORK, Network
from lab.verify.experiment import Run

_XMLNS = "http://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration"
_IMPORT = Run(words=("import", "netcfg", "{lab}", "{file}"), suffix=".xml")


def file_of(network: Network, without: str = "", place: str = 'Location="{}"') -> str:
    """Return the file of a network, written by hand; the virtual network ``without`` is connected to nothing."""
    sites = "".join(
        f'<LocalNetworkSite name="{site.name}"><AddressSpace>'
        + "".join(f"<AddressPrefix>{prefix}</AddressPrefix>" for prefix in site.address_space)
        + f"</AddressSpace><VPNGatewayAddress>{site.vpn_gateway_address}</VPNGatewayAddress></LocalNetworkSite>"
        for site in network.local_networks
    )
    servers = {address: f"d{address}" for vnet in network.virtual_networks for address in vnet.dns_servers}
    defined = "".join(f'<DnsServer name="{name}" IPAddress="{address}"/>' for address, name in servers.items())
    vnets = ""
    for vnet in (v for v in network.virtual_networks if v.name != PLATFORM_NETWORK):
        references = "".join(
            f'<LocalNetworkSiteRef name="{site.name}"><Connection type="IPsec"/></LocalNetworkSiteRef>'
            for site in network.sites_of(vnet.name)
            if vnet.name != without
        )
        subnets = "".join(
            f'<Subnet name="{s.name}"><AddressPrefix>{s.address_prefix}</AddressPrefix></Subnet>' for s in vnet.subnets
        )
        vnets += (
            f'<VirtualNetworkSite name="{vnet.name}" {place.format(vnet.location)}><AddressSpace>'
            + "".join(f"<AddressPrefix>{prefix}</AddressPrefix>" for prefix in vnet.address_space)
            + f"</AddressSpace><Subnets>{subnets}</Subnets><DnsServersRef>"
            + "".join(f'<DnsServerRef name="{servers[address]}"/>' for address in vnet.dns_servers)
            + f"</DnsServersRef><Gateway><ConnectionsToLocalNetwork>{references}</ConnectionsToLocalNetwork></Gateway>"
            "</VirtualNetworkSite>"
        )
    return (
        f'<NetworkConfiguration xmlns="{_XMLNS}"><VirtualNetworkConfiguration>'
        f"<Dns><DnsServers>{defined}</DnsServers></Dns><LocalNetworkSites>{sites}</LocalNetworkSites><VirtualNetworkSites>{vnets}</VirtualNetworkSites>"
        "</VirtualNetworkConfiguration></NetworkConfiguration>"
    )


def imported(text: str) -> Run:
    """Give a configuration file to the lab."""
    return Run(words=_IMPORT.words, text=text, suffix=_IMPORT.suffix)
