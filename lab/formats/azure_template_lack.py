"""What a template cannot hold of a network, one line for each."""

from collections.abc import Iterator

from lab.azure.model import PLATFORM_NETWORK, Network, VirtualMachine


def lacks(network: Network) -> Iterator[str]:
    """Yield a line for each part of a network that is not in its template, and what that changes."""
    for host in network.internet:
        yield f"internet.{host.name}: an outside host, which is no resource of Azure"
    for vm in network.virtual_machines:
        yield from _of_machine(vm)
    yield from _classic(network)
    yield from _tunnels(network)
    if any(lb.sku == "Basic" for lb in network.load_balancers):
        yield "load_balancers: Azure makes no new load balancers and public IPs of the SKU Basic since 2025-09-30"
    for vnet in network.virtual_networks:
        if vnet.subscription != "default":
            yield f"virtual_networks.{vnet.name}.subscription: a template is of the subscription that it is deployed to"
        for peering in vnet.peerings:
            if peering.disconnected:
                yield f"virtual_networks.{vnet.name}.peerings.{peering.name}: disconnected; the template joins it"
    for server in network.dns_servers:
        yield f"dns server {server.name}: the names of DNS servers are of the classic model; addresses are kept"
    if str(network.overrides):
        yield f"overrides: {network.overrides}: a departure from the documents, which Azure does not make"
    for number, one in enumerate(network.expectations):
        yield f"expect.{number}: of {one.sender}: an expectation, which `lab verify` judges"


def _of_machine(vm: VirtualMachine) -> Iterator[str]:
    path = f"virtual_machines.{vm.name}"
    if vm.virtual_network == PLATFORM_NETWORK:
        yield f"{path}: a VM of no virtual network, which is of the classic model"
        return
    if vm.services or vm.programs:
        kinds = [*map(str, vm.services), *(program.name for program in vm.programs)]
        yield f"{path}.services: {', '.join(kinds)}: what a guest runs; the template installs no servers"
    if vm.loopback_addresses:
        addresses = ", ".join(map(str, vm.loopback_addresses))
        yield f"{path}.loopback_addresses: {addresses}: inside the guest; floating IP needs them there"
    if not vm.size.startswith("Standard_"):
        yield f"{path}.size: {vm.size}: the parameter vmSize of the template stands for it"
    if vm.power_state != "Started":
        yield f"{path}: {vm.power_state.lower()}: a VM of a template is started"


def _classic(network: Network) -> Iterator[str]:
    for service in network.cloud_services:
        yield f"cloud_services.{service.name}: with its VIPs and endpoints, of the classic model"
    for reserved in network.reserved_ips:
        yield f"reserved_ips.{reserved.name}: of the classic model"


def _tunnels(network: Network) -> Iterator[str]:
    for gateway in network.vpn_gateways:
        if gateway.shaped:
            yield f"vpn_gateways.{gateway.virtual_network}.bandwidth: Azure's gateway has the bandwidth of its SKU"
    for site in network.local_networks:
        if site.vpn_device is not None:
            yield f"local_networks.{site.name}.vpn_device: the lab's own device, which is outside Azure"
    for connection in network.connections:
        if not connection.connect:
            name = f"{connection.virtual_network} to {connection.local_network}"
            yield f"connections: {name}: disconnected; a connection of a template connects"
