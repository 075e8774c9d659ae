"""A cloud service's name leads to its default VIP, and an access list says who may use an endpoint.

Owns the name ``SERVICE.cloudapp.net``, and the question whether a new flow may come to an endpoint that has an access
list. It is asked at the edge, before the destination is translated: there a flow has the VIP and the public port that
the list is for, and the client's own address. What is denied never comes near the VM. A VM of the endpoint's own
virtual network is asked about by the address that it has there.

The endpoints themselves are rules of the load balancer that the service is (``CloudService.load_balancer``).
"""

from collections.abc import Iterator

from lab.azure import cloud_services
from lab.azure.model import AclRule, CloudService, Endpoint, Network, VirtualNetwork
from lab.flow import PortRange
from lab.path import wiring
from lab.plan import CHAIN_MAX, Item, Jump, Provenance, Rule, Terminal, short

_NAME = "Multiple VIPs, 2015-07-23: IsDnsProgrammed"
_LIST = "virtual-networks-acl.md (2016-03-15)"
_EVERYBODY = 0  # length of the prefix that all addresses are in


def items(network: Network, _down: frozenset[str]) -> Iterator[Item]:
    """Yield the names and access lists of all cloud services."""
    for vnet in network.virtual_networks:
        here = {lb.name for lb in network.load_balancers_of(vnet)}
        for service in network.cloud_services:
            if service.name in here:
                yield from _name(network, service)
                yield from _access_lists(vnet, service)


def _name(network: Network, service: CloudService) -> Iterator[Item]:
    default = service.virtual_ip(service.default_virtual_ip)
    if default is None or default.address is None:
        return
    why = Provenance("cloud_service", f"name of {service.name}", _NAME)
    yield from wiring.public_name(network, cloud_services.host_name(service), default.address, why)


def _access_lists(vnet: VirtualNetwork, service: CloudService) -> Iterator[Item]:
    """Yield a chain for each endpoint, or load-balanced set, that has an access list."""
    done: set[str] = set()
    for endpoint in service.endpoints:
        virtual_ip = service.virtual_ip(endpoint.virtual_ip)
        rules = cloud_services.access_list(service, endpoint)
        name = f"{service.name}/{_called(endpoint)}"
        if virtual_ip is None or virtual_ip.address is None or not rules or name in done:
            continue
        done.add(name)
        chain = short(f"acl/{name}", CHAIN_MAX)
        yield Rule(
            place=wiring.load_balancer(vnet),
            table="mangle",
            chain="PREROUTING",
            destination=f"{virtual_ip.address}/32",
            protocol=endpoint.protocol,
            destination_ports=PortRange(endpoint.public_port, endpoint.public_port),
            ctstate="NEW",
            target=Jump(chain),
            why=Provenance("cloud_service", f"access list of {name}", _LIST),
        )
        yield from _access_list(vnet, name, chain, rules)


def _called(endpoint: Endpoint) -> str:
    """Return what the rule of an endpoint is called in the service's load balancer."""
    return endpoint.load_balanced_set or f"{endpoint.virtual_machine}/{endpoint.name}"


def _access_list(vnet: VirtualNetwork, name: str, chain: str, rules: tuple[AclRule, ...]) -> Iterator[Item]:
    """Yield the rules of a list, lowest order first; a source that none names is denied if any rule permits another."""
    for rule in rules:
        yield Rule(
            place=wiring.load_balancer(vnet),
            table="mangle",
            chain=chain,
            source=str(rule.remote_subnet) if rule.remote_subnet.prefixlen != _EVERYBODY else None,
            target=Terminal("RETURN" if rule.action == "permit" else "DROP"),
            why=Provenance("cloud_service", f"{name}, {rule.order}: {rule.action} {rule.remote_subnet}", _LIST),
        )
    if any(rule.action == "permit" for rule in rules):
        yield Rule(
            place=wiring.load_balancer(vnet),
            table="mangle",
            chain=chain,
            target=Terminal("DROP"),
            why=Provenance("cloud_service", f"{name}: all others, since a source is permitted", _LIST),
        )
