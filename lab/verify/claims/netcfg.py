"""The network configuration file of classic networks, by its schema (2015)."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import PLATFORM_NETWORK, Network
from lab.verify.claims.claim import Finding, Stage, Trial, claim
from lab.verify.claims.kit.judges import judge_by, of_type
from lab.verify.claims.kit.tunnels import Pair, alone, changed, connected, states
from lab.verify.experiment import Answers, Checked, Gateway, Observation, Run, Tunnels

_SCHEMA = "Azure Virtual Network configuration schema, jj157100 (2015-07)"
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


@claim(
    "N-NC-1",
    _SCHEMA,
    "A network configuration file has the elements of its schema.",
    facts=(
        "its namespace",
        "local network sites with their addresses",
        "subnets",
        "a reference to each local network, of type IPsec",
    ),
)
def file_has_elements_of_its_schema(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        parts = [
            f'xmlns="{_XMLNS}"',
            f'<LocalNetworkSite name="{pair.site.name}">',
            f"<VPNGatewayAddress>{pair.site.vpn_gateway_address}</VPNGatewayAddress>",
            f'<VirtualNetworkSite name="{pair.network}" Location=',
            '<Subnet name="GatewaySubnet">',
            f'<LocalNetworkSiteRef name="{pair.site.name}">',
            '<Connection type="IPsec" />',
        ]

        stage = Stage((Run(words=("export", "netcfg", "{lab}")),))
        yield Trial(
            "export", "the elements of the schema", (stage,), judge_by(partial(_elements_exported, parts=parts))
        )


def _elements_exported(done: Checked, *, parts: list[str]) -> Finding:
    missing = [part for part in parts if part not in done.said]
    return Finding(f"exit {done.status}, {len(done.said)} characters", f"no {missing[0]}" if missing else "")


@claim(
    "N-NC-2",
    _SCHEMA,
    "Adding a LocalNetworkSiteRef creates a tunnel, and removing it removes the tunnel.",
    facts=(
        "a reference makes a tunnel",
        "without it there is none",
    ),
)
def reference_makes_a_tunnel(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        shown = Tunnels(network=pair.network)

        # A network of its own makes the lab be changed back after the trial.
        change = (imported(file_of(network, without=pair.network)), shown, imported(file_of(network)), shown)
        stages = (Stage((pair.there,)), Stage(change, changed(network)))
        expected = "no tunnel without its LocalNetworkSiteRef, and one with it"
        yield Trial(pair.network, expected, stages, judge_by(partial(_made_and_removed, pair=pair)))


def _made_and_removed(
    before: Answers, removed: Checked, without: Gateway, added: Checked, again: Gateway, *, pair: Pair
) -> Finding:
    observed = f"{_end(removed)}: {_sites(without)}; {_end(added)}: {_sites(again)}"
    if contradiction := pair.reached(before):
        return Finding(observed, contradiction)
    if removed.status or without.connections:
        return Finding(observed, "the tunnel is there without its reference")
    missing = added.status or pair.site.name not in _sites(again)
    return Finding(observed, "the tunnel is not there with its reference" if missing else "")


def _end(done: Checked) -> str:
    return "imported" if done.status == 0 else f"exit {done.status}: {done.said}"


def _sites(gateway: Gateway) -> str:
    return ", ".join(c.site for c in gateway.connections) or "no connection"


@claim(
    "N-NC-3",
    _SCHEMA,
    "A file that is wrong is rejected as a whole, and what runs stays.",
    facts=(
        "Location and AffinityGroup",
        "a reference to what is not defined",
        "a name that is given twice",
        "ranges that overlap",
    ),
)
def wrong_file_is_rejected_whole(network: Network) -> Iterator[Trial]:
    for pair in alone(network)[:1]:
        right = file_of(network)
        own, site = f"<AddressPrefix>{pair.site.address_space[0]}</AddressPrefix></AddressSpace><VPN", pair.site.name
        vnet = network.vnet(pair.network)
        assert vnet is not None
        overlapping = f"<AddressPrefix>{vnet.address_space[0]}</AddressPrefix></AddressSpace><VPN"
        wrong = {
            "Location and AffinityGroup": file_of(network, place='Location="{}" AffinityGroup="a"'),
            f'no LocalNetworkSite "{site}x"': right.replace(f'SiteRef name="{site}"', f'SiteRef name="{site}x"'),
            "a second one of that name": right.replace("<LocalNetworkSites>", f"<LocalNetworkSites>{_twice(right)}"),
            "must not overlap": right.replace(own, overlapping),
        }

        after = (Tunnels(network=pair.network, wanted="Connected"), pair.there)
        stage = Stage((*(imported(text) for text in wrong.values()), *after))
        yield Trial(
            "files that are wrong",
            "refused, and the tunnel as before",
            (stage,),
            judge_by(partial(_rejected_and_as_before, pair=pair, wrong=wrong)),
        )


def _rejected_and_as_before(*observations: Observation, pair: Pair, wrong: dict[str, str]) -> Finding:
    done = of_type(observations, Checked)
    (shown,), (answers,) = of_type(observations, Gateway), of_type(observations, Answers)
    observed = "; ".join(f"exit {d.status}: {d.said[:160]}" for d in done) + f"; then {states(shown)}"
    for words, one in zip(wrong, done, strict=True):
        if one.status != 2 or words not in one.said:
            return Finding(observed, f"a file with this was not refused: {words}")
    return Finding(observed, connected(shown, pair.site.name) or pair.reached(answers))


def _twice(text: str) -> str:
    """Return the first local network site of a file."""
    start, end = text.index("<LocalNetworkSite "), text.index("</LocalNetworkSite>")
    return text[start:end] + "</LocalNetworkSite>"


CLAIMS = (
    file_has_elements_of_its_schema,
    reference_makes_a_tunnel,
    wrong_file_is_rejected_whole,
)
