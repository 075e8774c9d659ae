"""``lab endpoint``: public ports of VIPs, and the load-balanced sets that they are members of."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lab.cli.arguments import services_named
from lab.cli.execution import operates
from lab.cli.options import lab_or_file_argument, output_option
from lab.cli.output import print_json, print_table
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.azure.model import AclRule, Distribution, Endpoint
    from lab.flow import Transport
    from lab.operations.base import Operation
    from lab.operations.endpoint import Probe

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group("endpoint")
def endpoint_group() -> None:
    """Add, change, move, remove and list endpoints: public ports of VIPs that lead to VMs.

    A change holds until `lab up FILE`. Flows that live are kept, as long as their VIP has its address.

    \b
    Example:
      sudo lab endpoint add multivip myVM1 myEndpoint --protocol tcp --local-port 8080 \\
          --public-port 80 --virtual-ip Vip2
      sudo lab endpoint move multivip myService myLBSet Vip1
    """


_PORT = click.IntRange(1, 65535)
_protocol_option = click.option("--protocol", type=click.Choice(["tcp", "udp"]), help="Transport.")
_public_port_option = click.option("--public-port", type=_PORT, metavar="PORT", help="The port of the VIP.")
_virtual_ip_option = click.option("--virtual-ip", metavar="VIP", help="The VIP that has the public port.")
_PROBE = (
    "--probe-protocol",
    "--probe-port",
    "--probe-path",
    "--probe-interval-in-seconds",
    "--probe-timeout-in-seconds",
)


def _idle_option(command: _Command) -> _Command:
    help_text = "How long an idle flow is kept: 4 to 30."
    return click.option("--idle-timeout-in-minutes", "idle", type=int, metavar="N", help=help_text)(command)


def _traffic_options(command: _Command) -> _Command:
    """Add what an endpoint alone and a set as a whole may be told of their flows."""
    options = (
        click.option(
            "--load-balancer-distribution",
            "distribution",
            type=click.Choice(["none", "sourceIP", "sourceIPProtocol"]),
            help="What of a flow picks the VM.",
        ),
        click.option(
            "--direct-server-return/--no-direct-server-return", default=None, help="The VM has the VIP's address."
        ),
        click.option(
            "--acl",
            "acl",
            multiple=True,
            metavar="RULE",
            help='An access rule such as "100 permit 65.0.0.0/8 office"; may be repeated.',
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _probe_options(command: _Command) -> _Command:
    """Add the ways to say how a set is probed, of which one may be used."""
    options = (
        click.option("--default-probe", is_flag=True, help="Probe the members of the set by TCP at their local port."),
        click.option("--no-probe", is_flag=True, help="Do not probe the members of the set."),
        click.option("--probe-protocol", type=click.Choice(["tcp", "http"]), help="How to probe the members."),
        click.option(
            "--probe-port", type=_PORT, metavar="PORT", help="Where to probe them.  [default: the local port]"
        ),
        click.option("--probe-path", metavar="PATH", help="What an HTTP probe asks for.  [default: /]"),
        click.option(
            "--probe-interval-in-seconds", type=click.IntRange(1), metavar="N", help="How often.  [default: 15]"
        ),
        click.option(
            "--probe-timeout-in-seconds", type=click.IntRange(1), metavar="N", help="Until it is down.  [default: 31]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@endpoint_group.command("add")
@operates("Update-AzureVM")
@click.argument("vm")
@click.argument("endpoint")
@click.option("--local-port", type=_PORT, required=True, metavar="PORT", help="The port of the VM.")
@_protocol_option
@_public_port_option
@_virtual_ip_option
@click.option("--load-balanced-set", metavar="SET", help="The set that it is a member of.")
@_probe_options
@_idle_option
@_traffic_options
def endpoint_add(
    vm: str,
    endpoint: str,
    local_port: int,
    protocol: "Transport | None",
    public_port: int | None,
    virtual_ip: str | None,
    load_balanced_set: str | None,
    idle: int | None,
    distribution: str | None,
    direct_server_return: bool | None,
    acl: tuple[str, ...],
    **probe: Any,
) -> "Operation":
    """Give a VM an endpoint, as Add-AzureEndpoint and Update-AzureVM do. Needs root.

    Left out: TCP, a public port that is free, the default VIP; a member of a set that is there is as the set is. A VIP
    has an address as soon as it has an endpoint.

    \b
    Example:
      sudo lab endpoint add multivip myVM1 myEndpoint --protocol tcp --local-port 8080 \\
          --public-port 80 --virtual-ip Vip2
      sudo lab endpoint add multivip myVM1 myEndpoint2 --load-balanced-set myLBSet --protocol tcp \\
          --local-port 8181 --public-port 81 --virtual-ip Vip2 --default-probe
    """
    from lab.operations.endpoint import AddEndpoint

    return AddEndpoint(
        virtual_machine=vm,
        name=endpoint,
        local_port=local_port,
        protocol=protocol,
        public_port=public_port,
        virtual_ip=virtual_ip,
        load_balanced_set=load_balanced_set,
        probe=_probe(probe),
        idle_timeout_min=idle,
        load_distribution=_distribution(distribution),
        direct_server_return=direct_server_return,
        acl=_acl(acl),
    )


@endpoint_group.command("set")
@operates("Update-AzureVM")
@click.argument("vm")
@click.argument("endpoint")
@click.option("--local-port", type=_PORT, metavar="PORT", help="The port of the VM.")
@_protocol_option
@_public_port_option
@_virtual_ip_option
@_idle_option
@_traffic_options
@click.option("--no-acl", is_flag=True, help="Take its access rules away.")
def endpoint_set(
    vm: str,
    endpoint: str,
    local_port: int | None,
    protocol: "Transport | None",
    public_port: int | None,
    virtual_ip: str | None,
    idle: int | None,
    distribution: str | None,
    direct_server_return: bool | None,
    acl: tuple[str, ...],
    no_acl: bool,
) -> "Operation":
    """Change an endpoint, as Set-AzureEndpoint and Update-AzureVM do; what is left out stays. Needs root.

    Of a member of a load-balanced set only the access rules can be changed so, and they are those of all members.

    \b
    Example:
      sudo lab endpoint set multivip myVM1 myEndpoint --idle-timeout-in-minutes 15
      sudo lab endpoint set multivip myVM1 myEndpoint --acl "100 deny 175.1.0.1/24" --acl "200 permit 175.0.0.0/8"
    """
    from lab.operations.endpoint import SetEndpoint

    return SetEndpoint(
        virtual_machine=vm,
        name=endpoint,
        protocol=protocol,
        local_port=local_port,
        public_port=public_port,
        virtual_ip=virtual_ip,
        idle_timeout_min=idle,
        load_distribution=_distribution(distribution),
        direct_server_return=direct_server_return,
        acl=_changed_acl(acl, no_acl=no_acl),
    )


@endpoint_group.command("remove")
@operates("Update-AzureVM")
@click.argument("vm")
@click.argument("endpoint")
def endpoint_remove(vm: str, endpoint: str) -> "Operation":
    """Take an endpoint from a VM; a VIP that loses its last one loses its address, but for the default one. Needs root.

    \b
    Example:
      sudo lab endpoint remove multivip myVM1 myEndpoint
    """
    from lab.operations.endpoint import RemoveEndpoint

    return RemoveEndpoint(vm, endpoint)


@endpoint_group.command("move")
@operates("Set-AzureLoadBalancedEndpoint")
@click.argument("service")
@click.argument("load_balanced_set", metavar="SET")
@click.argument("vip")
def endpoint_move(service: str, load_balanced_set: str, vip: str) -> "Operation":
    """Move a load-balanced set to another VIP of its service, as Set-AzureLoadBalancedEndpoint does. Needs root.

    \b
    Example:
      sudo lab endpoint move multivip myService myLBSet Vip1
    """
    from lab.operations.endpoint import SetLoadBalancedSet

    return SetLoadBalancedSet(service=service, load_balanced_set=load_balanced_set, virtual_ip=vip)


@endpoint_group.command("set-lb")
@operates("Set-AzureLoadBalancedEndpoint")
@click.argument("service")
@click.argument("load_balanced_set", metavar="SET")
@click.option("--local-port", type=_PORT, metavar="PORT", help="The port of the VMs.")
@_protocol_option
@_public_port_option
@_virtual_ip_option
@_probe_options
@_idle_option
@_traffic_options
@click.option("--no-acl", is_flag=True, help="Take its access rules away.")
def endpoint_set_lb(
    service: str,
    load_balanced_set: str,
    local_port: int | None,
    protocol: "Transport | None",
    public_port: int | None,
    virtual_ip: str | None,
    idle: int | None,
    distribution: str | None,
    direct_server_return: bool | None,
    acl: tuple[str, ...],
    no_acl: bool,
    **probe: Any,
) -> "Operation":
    """Change a load-balanced set as a whole, as Set-AzureLoadBalancedEndpoint does; what is left out stays. Needs root.

    \b
    Example:
      sudo lab endpoint set-lb multivip myService myLBSet --idle-timeout-in-minutes 15
      sudo lab endpoint set-lb multivip myService myLBSet --load-balancer-distribution sourceIP
    """
    from lab.operations.endpoint import SetLoadBalancedSet

    return SetLoadBalancedSet(
        service=service,
        load_balanced_set=load_balanced_set,
        virtual_ip=virtual_ip,
        protocol=protocol,
        local_port=local_port,
        public_port=public_port,
        probe=_probe(probe),
        idle_timeout_min=idle,
        load_distribution=_distribution(distribution),
        direct_server_return=direct_server_return,
        acl=_changed_acl(acl, no_acl=no_acl),
    )


@endpoint_group.command("list")
@lab_or_file_argument
@click.argument("service", required=False)
@output_option
def endpoint_list(service: str | None, name: str, output: str) -> None:
    """List endpoints: what each VIP's public ports lead to. Of a lab, needs root.

    \b
    Example:
      sudo lab endpoint list multivip
      lab endpoint list multivip.lab.yaml myService -o json
    """
    found = [(s.name, e) for s in services_named(name, service) for e in s.endpoints]
    if output == "json":
        print_json({"endpoints": [{"service": s, "endpoint": e} for s, e in found]})
        return
    head = ("SERVICE", "VM", "ENDPOINT", "PROTOCOL", "VIP", "PUBLIC", "LOCAL", "SET", "PROBE", "IDLE", "ACCESS")
    rows = [
        (
            s,
            e.virtual_machine,
            e.name,
            e.protocol,
            e.virtual_ip,
            str(e.public_port),
            str(e.local_port),
            e.load_balanced_set or "-",
            _probe_cell(e),
            f"{e.idle_timeout_min} min",
            ", ".join(f"{rule.order} {rule.action} {rule.remote_subnet}" for rule in e.acl) or "all",
        )
        for s, e in found
    ]
    print_table(head, rows, empty="no endpoint")


def _probe_cell(endpoint: "Endpoint") -> str:
    probe = endpoint.probe
    if probe is None:
        return "-"
    path = probe.path if probe.protocol == "Http" else ""
    return f"{probe.protocol} {probe.port}{path}, {probe.interval_s} s of {probe.timeout_s} s"


def _probe(given: dict[str, Any]) -> "Probe | None":
    """Read how a set is to be probed; None: nothing was said.

    Raises:
        UsageError: more than one way was, or the path would never be asked for.

    """
    from lab.azure.model import EndpointProbe

    own = {option: given[option.removeprefix("--").replace("-", "_")] for option in _PROBE}
    ways = [
        option for option in ("--default-probe", "--no-probe") if given[option.removeprefix("--").replace("-", "_")]
    ]
    described = [option for option, value in own.items() if value is not None]
    if len(ways) + bool(described) > 1:
        raise UsageError(
            f"{', '.join([*ways, *described])}: a default probe, no probe and a probe of its own exclude each other "
            "(load-balancer-custom-probe-overview.md, 2016-10-24); choose one of them"
        )
    if ways:
        return "default" if ways == ["--default-probe"] else "none"
    if not described:
        return None
    path = own["--probe-path"] or "/"
    if not path.startswith("/"):
        raise UsageError(f'--probe-path "{path}"; a request path begins with "/"; correct it')
    if own["--probe-path"] is not None and own["--probe-protocol"] != "http":
        must = "only an HTTP probe asks for a path"
        raise UsageError(f'--probe-path "{path}" of a TCP probe; {must}; leave it out, or use --probe-protocol http')
    plain = EndpointProbe(protocol="Tcp", port=own["--probe-port"] or 0)
    return EndpointProbe(
        protocol="Http" if own["--probe-protocol"] == "http" else "Tcp",
        port=plain.port,
        path=path,
        interval_s=own["--probe-interval-in-seconds"] or plain.interval_s,
        timeout_s=own["--probe-timeout-in-seconds"] or plain.timeout_s,
    )


def _distribution(text: str | None) -> "Distribution | None":
    from lab.topology import DISTRIBUTIONS

    return None if text is None else DISTRIBUTIONS[text]


def _changed_acl(texts: Sequence[str], *, no_acl: bool) -> "tuple[AclRule, ...] | None":
    """Read access rules that take the place of others; None: they stay.

    Raises:
        UsageError: one is no rule, or there should be both some and none.

    """
    if texts and no_acl:
        raise UsageError("--acl and --no-acl: an endpoint has access rules or none; choose one of the two")
    return _acl(texts) if texts or no_acl else None


def _acl(texts: Sequence[str]) -> "tuple[AclRule, ...]":
    """Read access rules: ORDER, permit or deny, a prefix, and what else is the description.

    Raises:
        UsageError: one is none.

    """
    from lab.azure.addresses import read_whole
    from lab.topology import parse_acl_rule

    rules, problems = [], []
    for text in texts:
        order, action, subnet, description = (*text.split(maxsplit=3), "", "", "", "")[:4]
        number: object = order if (read := read_whole(order)) is None else read
        values = {"order": number, "action": action, "remote_subnet": subnet, "description": description}
        try:
            rules.append(parse_acl_rule(values))
        except UsageError as error:
            problems += [f'--acl "{text}": {line}' for line in str(error).splitlines()]
    if problems:
        raise UsageError("\n".join(problems))
    return tuple(sorted(rules, key=lambda rule: rule.order))


COMMANDS: tuple[click.Command, ...] = (endpoint_group,)
