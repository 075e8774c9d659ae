"""``lab gateway``, ``network``, ``local-network``: virtual networks' gateways, and what tunnels lead to."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.arguments import read_address, read_name, read_prefixes, read_secret, read_subnet
from lab.cli.execution import need_root, operates, perform, perform_as
from lab.cli.options import lab_argument, output_option, shown_lab_argument
from lab.cli.output import print_gateways, print_json
from lab.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.azure.model import GatewaySku, Routing
    from lab.operations.base import Operation


@click.group("gateway")
def gateway_group() -> None:
    """Look at virtual networks' gateways, and operate them.

    \b
    Example:
      lab gateway show vnet-to-vnet
    """


@gateway_group.command("show")
@shown_lab_argument
@click.argument("network", required=False)
@output_option
def gateway_show(network: str | None, name: str, output: str) -> None:
    """Show gateways: state, address, and each connection with its bytes, its last event and why it is down.

    The state of a gateway is Creating, then Connecting with its address visible, then Connected; Unknown if
    the lab's agent does not run. JSON has the fields of Get-AzureVNetGateway and Get-AzureVnetConnection.

    \b
    Example:
      lab gateway show vnet-to-vnet
      lab gateway show vnet-to-vnet VNet1 -o json
    """
    from lab.runtime import show

    lab = show.describe(name)
    chosen = {place: g for place, g in lab.gateways.items() if place.startswith("gw.")}
    if network is not None:
        known = [place.removeprefix("gw.") for place in chosen]
        if network not in known:
            raise UsageError(f'{lab.name}: no gateway of "{network}" (NotProvisioned); {did_you_mean(network, known)}')
        chosen = {f"gw.{network}": chosen[f"gw.{network}"]}
    if output == "json":
        print_json({"gateways": [show.gateway(place, state, time.time()) for place, state in chosen.items()]})
    elif chosen:
        print_gateways(lab, f"gw.{network}" if network else None)
        for state in chosen.values():
            for tunnel in state.tunnels.values():
                if tunnel.message:
                    click.echo(tunnel.message)
    else:
        click.echo("no gateway (NotProvisioned)")


@gateway_group.command("create")
@lab_argument
@click.argument("network")
@click.option(
    "--routing", type=click.Choice(["dynamic", "static"]), required=True, help="Dynamic is IKEv2, static IKEv1."
)
@click.option(
    "--sku",
    type=click.Choice(["Basic", "Standard", "HighPerformance"]),
    help="Size of the gateway.  [default: Standard; of a static gateway, Basic]",
)
@output_option
def gateway_create(name: str, network: str, routing: "Routing", sku: "GatewaySku | None", output: str) -> None:
    """Create a virtual network's gateway. Needs root.

    For 15 minutes of the lab's time (see --time-scale of `lab up`) its state is Creating, and it shows no address.

    \b
    Example:
      sudo lab gateway create vnet-to-vnet VNet1 --routing dynamic
    """
    from lab.operations.vpn import BUILD_S, CreateGateway
    from lab.runtime import operate

    need_root()
    ready = time.time() + BUILD_S / operate.network_of(name).overrides.time_scale
    size: GatewaySku = sku or ("Basic" if routing == "static" else "Standard")
    perform_as(name, CreateGateway(network, routing, size, ready), "New-AzureVNetGateway", output)
    click.echo(f"{network}: Creating, until {time.strftime('%H:%M:%S', time.localtime(ready))}", err=True)


@gateway_group.command("delete")
@operates("Remove-AzureVNetGateway")
@click.argument("network")
def gateway_delete(network: str) -> "Operation":
    """Delete a virtual network's gateway; its address is released. Needs root.

    \b
    Example:
      sudo lab gateway delete vnet-to-vnet VNet1
    """
    from lab.operations.vpn import DeleteGateway

    return DeleteGateway(network)


@gateway_group.command("connect")
@operates("Set-AzureVNetGateway")
@click.argument("network")
@click.argument("site")
def gateway_connect(network: str, site: str) -> "Operation":
    """Connect a virtual network to a local network. Needs root.

    \b
    Example:
      sudo lab gateway connect vnet-to-vnet VNet1 site-VNet2
    """
    from lab.operations.vpn import Connect

    return Connect(network, site)


@gateway_group.command("disconnect")
@operates("Set-AzureVNetGateway")
@click.argument("network")
@click.argument("site")
def gateway_disconnect(network: str, site: str) -> "Operation":
    """End a tunnel and leave it down; the connection stays defined. Needs root.

    \b
    Example:
      sudo lab gateway disconnect vnet-to-vnet VNet1 site-VNet2
    """
    from lab.operations.vpn import Connect

    return Connect(network, site, connect=False)


@gateway_group.group("key")
def gateway_key() -> None:
    """Set the shared keys of connections.

    \b
    Example:
      sudo lab gateway key set vnet-to-vnet VNet1 site-VNet2 --key A1b2C3D4
    """


class _WithKey(click.Command):
    """A command that takes a key. What stands where it has no argument may be one, and is not repeated."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        expected = self.collect_usage_pieces(ctx)[1:]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            words = f"more arguments than {' '.join(expected)}; a key must not be one of them; give it by --key-file"
            raise click.UsageError(words, ctx) from None


@gateway_key.command("set", cls=_WithKey)
@lab_argument
@click.argument("network")
@click.argument("site")
@click.option("--key", help="1 to 128 letters and digits; the same on both sides. Other users see it in `ps`.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="File that holds the key and nothing else; - for standard input.",
)
@output_option
def gateway_key_set(network: str, site: str, key: str | None, key_file: Path | None, name: str, output: str) -> None:
    """Set the shared key of a connection. Needs root.

    It prints what Set-AzureVNetGatewayKey does. While a command runs, all users of the machine see its options:
    give a key that must stay secret by --key-file, or in the environment as LAB_GATEWAY_KEY_SET_KEY.

    \b
    Example:
      sudo lab gateway key set vnet-to-vnet VNet1 site-VNet2 --key A1b2C3D4
      echo A1b2C3D4 | sudo lab gateway key set vnet-to-vnet VNet1 site-VNet2 --key-file -
    """
    from uuid import uuid4

    from lab.operations.vpn import SetKey
    from lab.runtime import show

    if (key is None) == (key_file is None):
        found = "neither --key nor --key-file" if key is None else "both --key and --key-file"
        raise UsageError(f"gateway key set: {found}; one of them gives the key; name a file, or - for standard input")
    shared = read_secret(key_file) if key_file is not None else key or ""
    perform(name, SetKey(network, site, shared))
    result = show.operation(str(uuid4()), uuid4().hex)
    if output == "json":
        print_json(result)
        return
    for field, value in result.items():
        click.echo(f"{field:<14} : {value}".rstrip())


@click.group("network")
def network_group() -> None:
    """Add virtual networks and subnets to a running lab.

    \b
    Example:
      sudo lab network add vnet-to-vnet VNet3 --address-space 10.3.0.0/16 --subnet GatewaySubnet=10.3.255.0/27
    """


_space_option = click.option(
    "--address-space", "space", multiple=True, metavar="PREFIX", help="An address range; may be repeated."
)


@network_group.command("add")
@operates("Set-AzureVNetConfig")
@click.argument("network")
@_space_option
@click.option("--location", default="China North", show_default=True, help="Its region, which never changes.")
@click.option("--subnet", "subnets", multiple=True, metavar="NAME=PREFIX", help="A subnet; may be repeated.")
def network_add(network: str, space: tuple[str, ...], location: str, subnets: tuple[str, ...]) -> "Operation":
    """Create a virtual network in a running lab. Needs root.

    \b
    Example:
      sudo lab network add vnet-to-vnet VNet3 --address-space 10.3.0.0/16 --location "China East"
    """
    from lab.operations.vpn import AddNetwork

    made = tuple(read_subnet(*text.partition("=")[::2]) for text in subnets)
    return AddNetwork(read_name(network), location, read_prefixes(space), made)


@network_group.command("subnet")
@operates("Set-AzureVNetConfig")
@click.argument("network")
@click.argument("subnet")
@click.argument("prefix")
def network_subnet(network: str, subnet: str, prefix: str) -> "Operation":
    """Add a subnet to a virtual network of a running lab. Needs root.

    \b
    Example:
      sudo lab network subnet vnet-to-vnet VNet3 GatewaySubnet 10.3.255.0/27
    """
    from lab.operations.vpn import AddSubnet

    return AddSubnet(network, read_subnet(subnet, prefix))


@click.group("local-network")
def local_network_group() -> None:
    """Define local networks of a running lab: what tunnels lead to.

    \b
    Example:
      sudo lab local-network add vnet-to-vnet site-VNet2 --address-space 10.2.0.0/16 --address 5.4.3.2
    """


_address_help = "Address of its VPN device; a placeholder will do until the real one is known."


@local_network_group.command("add")
@operates("Set-AzureVNetConfig")
@click.argument("site")
@_space_option
@click.option("--address", help=_address_help)
def local_network_add(site: str, space: tuple[str, ...], address: str | None) -> "Operation":
    """Define a local network. Needs root.

    \b
    Example:
      sudo lab local-network add vnet-to-vnet site-VNet2 --address-space 10.2.0.0/16 --address 5.4.3.2
    """
    from lab.operations.vpn import AddLocalNetwork

    if address is None:
        raise UsageError(
            f"local-network add {site}: no address of its VPN device; it must have one, which may be a placeholder; "
            "add --address, such as 5.4.3.2, and set the real one when its gateway is built"
        )
    return AddLocalNetwork(read_name(site), read_prefixes(space), read_address(address))


@local_network_group.command("set")
@operates("Set-AzureVNetConfig")
@click.argument("site")
@_space_option
@click.option("--address", help=_address_help)
def local_network_set(site: str, space: tuple[str, ...], address: str | None) -> "Operation":
    """Give a local network other ranges, or the real address of its VPN device. Needs root.

    \b
    Example:
      sudo lab local-network set vnet-to-vnet site-VNet2 --address 203.0.113.2
    """
    from lab.operations.vpn import SetLocalNetwork

    if not space and address is None:
        raise UsageError(
            f"local-network set {site}: neither --address-space nor --address; one of them must change; "
            "add it, such as --address 203.0.113.2"
        )
    return SetLocalNetwork(
        site, read_prefixes(space) if space else None, None if address is None else read_address(address)
    )


COMMANDS: tuple[click.Command, ...] = (gateway_group, network_group, local_network_group)
