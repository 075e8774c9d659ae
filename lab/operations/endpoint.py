"""Endpoints of VMs come, change and go; load-balanced sets change as a whole.

As Add-, Set- and Remove-AzureEndpoint and Set-AzureLoadBalancedEndpoint do, each after its Update-AzureVM (Multiple
VIPs, 2015-07-23).
"""

from typing import Literal, TypeAlias, TypeVar

import msgspec

from lab.azure.cloud_services import KEYS, free_port
from lab.azure.model import AclRule, CloudService, Distribution, Endpoint, EndpointProbe, Network
from lab.flow import Transport
from lab.operations import lookup

#: How a set's members are probed: in a way of its own, as by default, or not at all; the three exclude each other
#: (load-balancer-custom-probe-overview.md, 2016-10-24). Port 0 of a probe is the local port.
Probe: TypeAlias = EndpointProbe | Literal["default", "none"]

_WHOLE_SET = "load-balancer-tcp-idle-timeout.md, 2016-10-24"


class AddEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A VM gets an endpoint, alone or as a member of a load-balanced set.

    Fields left as None take the load-balanced set's values if the set exists; otherwise the defaults: the lowest free
    public port, the default VIP, the default probe.
    """

    virtual_machine: str
    name: str
    local_port: int
    protocol: Transport | None = None
    public_port: int | None = None
    virtual_ip: str | None = None
    load_balanced_set: str | None = None
    probe: Probe | None = None
    idle_timeout_min: int | None = None
    load_distribution: Distribution | None = None
    direct_server_return: bool | None = None
    acl: tuple[AclRule, ...] = ()

    def __str__(self) -> str:
        return f"endpoint add {self.virtual_machine} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the endpoint.

        Raises:
            Refused: there is no such VM or VIP, or one member of a set is told what the set as a whole must be.

        """
        service = lookup.service_of(self, network, self.virtual_machine)
        lookup.endpoints(self, service)
        if self.virtual_ip is not None:
            lookup.virtual_ip(self, service, self.virtual_ip)
        path = ("cloud_services", service.name, "endpoints", self.name)
        lookup.title(self, path)
        if self.load_balanced_set is not None:
            lookup.title(self, (*path, "load_balanced_set", self.load_balanced_set))
        if self.load_balanced_set is None and self.probe not in (None, "none"):
            must = "only members of a load-balanced set are probed (Multiple VIPs, 2015-07-23, load-balanced sets)"
            lookup.refuse(self, path, "a probe of an endpoint that is in no set", must, "name the set, or no probe")
        if self.load_balanced_set is not None and self.idle_timeout_min is not None:
            lookup.refuse(
                self,
                path,
                f"an idle timeout of one member of a set ({self.idle_timeout_min})",
                f"the timeout of a load-balanced set is set on the set ({_WHOLE_SET})",
                f"leave it out, then: lab endpoint set-lb {network.name} {service.name} {self.load_balanced_set}",
            )
        made = (*service.endpoints, self._made(service))
        return lookup.with_service(network, msgspec.structs.replace(service, endpoints=made))

    def _made(self, service: CloudService) -> Endpoint:
        mates = service.load_balanced_sets().get(self.load_balanced_set or "", ())
        virtual_ip = self.virtual_ip or service.default_virtual_ip
        plain = Endpoint(
            name="",
            virtual_machine="",
            protocol="tcp",
            local_port=self.local_port,
            public_port=0,
            virtual_ip=virtual_ip,
            load_balanced_set=self.load_balanced_set,
            probe=None if self.load_balanced_set is None else _probe("default", self.local_port),
        )
        known = mates[0].shared() if mates else plain
        protocol = self.protocol or known.protocol
        port = known.public_port or free_port(service.endpoints, virtual_ip, protocol)
        return msgspec.structs.replace(
            known,
            name=self.name,
            virtual_machine=self.virtual_machine,
            protocol=protocol,
            local_port=self.local_port,
            public_port=port if self.public_port is None else self.public_port,
            virtual_ip=known.virtual_ip if self.virtual_ip is None else self.virtual_ip,
            probe=known.probe if self.probe is None else _probe(self.probe, self.local_port),
            idle_timeout_min=_or(self.idle_timeout_min, known.idle_timeout_min),
            load_distribution=self.load_distribution or known.load_distribution,
            direct_server_return=_or(self.direct_server_return, known.direct_server_return),
            acl=self.acl,
        )


class SetEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint changes; None keeps the current value.

    An access list of one member of a set is that of all (2016-03-15).
    """

    virtual_machine: str
    name: str
    protocol: Transport | None = None
    local_port: int | None = None
    public_port: int | None = None
    virtual_ip: str | None = None
    idle_timeout_min: int | None = None
    load_distribution: Distribution | None = None
    direct_server_return: bool | None = None
    acl: tuple[AclRule, ...] | None = None

    def __str__(self) -> str:
        return f"endpoint set {self.virtual_machine} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network with the endpoint changed.

        Raises:
            Refused: there is no such VM, endpoint or VIP, or it is the set that must be changed.

        """
        service = lookup.service_of(self, network, self.virtual_machine)
        lookup.endpoints(self, service)
        old = lookup.endpoint(self, service, self.virtual_machine, self.name)
        if self.virtual_ip is not None:
            lookup.virtual_ip(self, service, self.virtual_ip)
        given = _given(self, "protocol", "local_port", "public_port", "virtual_ip", "idle_timeout_min")
        given |= _given(self, "load_distribution", "direct_server_return")
        if old.load_balanced_set is not None and given:
            keys = ", ".join(KEYS.get(field, field) for field in given)
            lookup.refuse(
                self,
                ("cloud_services", service.name, "endpoints", old.name),
                f'{keys} of one member of the set "{old.load_balanced_set}"',
                f"members of a load-balanced set are alike, and changed as a whole ({_WHOLE_SET})",
                f"change the set: lab endpoint set-lb {network.name} {service.name} {old.load_balanced_set}",
            )
        new = msgspec.structs.replace(old, **given)
        made = tuple(new if e is old else e for e in service.endpoints)
        if self.acl is not None:
            together = service.load_balanced_sets().get(old.load_balanced_set or "", (old,))
            names = {(e.virtual_machine, e.name) for e in together}
            made = tuple(
                msgspec.structs.replace(e, acl=self.acl) if (e.virtual_machine, e.name) in names else e for e in made
            )
        return lookup.with_service(network, msgspec.structs.replace(service, endpoints=made))


class RemoveEndpoint(msgspec.Struct, frozen=True):
    """A VM loses an endpoint; a VIP that loses its last one loses its address."""

    virtual_machine: str
    name: str

    def __str__(self) -> str:
        return f"endpoint remove {self.virtual_machine} {self.name}"

    def after(self, network: Network) -> Network:
        """Return the network without the endpoint.

        Raises:
            Refused: there is no such VM or endpoint.

        """
        service = lookup.service_of(self, network, self.virtual_machine)
        lookup.endpoints(self, service)
        old = lookup.endpoint(self, service, self.virtual_machine, self.name)
        kept = tuple(e for e in service.endpoints if e is not old)
        return lookup.with_service(network, msgspec.structs.replace(service, endpoints=kept))


class SetLoadBalancedSet(msgspec.Struct, frozen=True, kw_only=True):
    """A load-balanced set changes as a whole, or moves to another VIP; None keeps the current value.

    As Set-AzureLoadBalancedEndpoint does (Multiple VIPs, 2015-07-23; load-balancer-tcp-idle-timeout.md, 2016-10-24).
    """

    service: str
    load_balanced_set: str
    virtual_ip: str | None = None
    protocol: Transport | None = None
    local_port: int | None = None
    public_port: int | None = None
    probe: Probe | None = None
    idle_timeout_min: int | None = None
    load_distribution: Distribution | None = None
    direct_server_return: bool | None = None
    acl: tuple[AclRule, ...] | None = None

    def __str__(self) -> str:
        others = ("protocol", "local_port", "public_port", "probe", "idle_timeout_min", "load_distribution", "acl")
        if self.virtual_ip is not None and not _given(self, *others, "direct_server_return"):
            return f"endpoint move {self.service} {self.load_balanced_set} {self.virtual_ip}"
        return f"endpoint set-lb {self.service} {self.load_balanced_set}"

    def after(self, network: Network) -> Network:
        """Return the network with the set changed.

        Raises:
            Refused: there is no such service, set or VIP.

        """
        service = lookup.service(self, network, self.service)
        lookup.endpoints(self, service)
        members = lookup.load_balanced_set(self, service, self.load_balanced_set)
        if self.virtual_ip is not None:
            lookup.virtual_ip(self, service, self.virtual_ip)
        given = _given(self, "virtual_ip", "protocol", "local_port", "public_port", "idle_timeout_min")
        given |= _given(self, "load_distribution", "direct_server_return", "acl")
        first = members[0]
        port = first.local_port if self.local_port is None else self.local_port
        if self.probe is not None:
            given["probe"] = _probe(self.probe, port)
        elif first.probe == _probe("default", first.local_port):
            # The default probe is of the local port, whichever that is.
            given["probe"] = _probe("default", port)
        made = tuple(
            msgspec.structs.replace(e, **given) if e.load_balanced_set == self.load_balanced_set else e
            for e in service.endpoints
        )
        return lookup.with_service(network, msgspec.structs.replace(service, endpoints=made))


def _probe(probe: Probe, local_port: int) -> EndpointProbe | None:
    """Return how a set is probed that is asked for so: by default, TCP on the local port."""
    match probe:
        case "none":
            return None
        case "default":
            return EndpointProbe(protocol="Tcp", port=local_port)
        case described:
            return msgspec.structs.replace(described, port=described.port or local_port)


def _given(operation: SetEndpoint | SetLoadBalancedSet, *fields: str) -> dict[str, object]:
    """Return what an operation was given, of some of its fields."""
    values = {field: getattr(operation, field) for field in fields}
    return {field: value for field, value in values.items() if value is not None}


_T = TypeVar("_T")


def _or(value: _T | None, other: _T) -> _T:
    return other if value is None else value
