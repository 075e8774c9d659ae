"""A service configuration file gives role instances their public IPs (Instance level public IP, 2016-02-10)."""

import msgspec

from lab.azure.allocation import free_address
from lab.azure.model import CloudService, InstancePublicIp, Network, VirtualMachine
from lab.errors import Problem
from lab.formats import cscfg
from lab.formats.cscfg import Configuration, PublicIp
from lab.operations.base import Refused


class ImportServiceConfiguration(msgspec.Struct, frozen=True):
    """A file says of every role whether its instances have addresses of their own; one of the same name stays."""

    configuration: Configuration
    file: str

    def __str__(self) -> str:
        return f"import cscfg {self.file}"

    def after(self, network: Network) -> Network:
        """Return the network with the file's public IPs.

        Raises:
            Refused: the file is for another service, or has other roles, or another number of instances.
            UsageError: there is no address left.

        """
        service = cscfg.service_of(network, self.configuration)
        problems = list(cscfg.problems(network, self.configuration))
        if service is None or problems or (problems := self._scaled(service)):
            raise Refused(self, problems)
        wanted = {role.name: role.public_ip for role in self.configuration.roles}
        for role in service.roles:
            for number in range(role.instances):
                network = _given(network, role.instance(number), wanted[role.name])
        return network

    def _scaled(self, service: CloudService) -> list[Problem]:
        """Return the roles that the file gives another number of instances."""
        now = {role.name: role.instances for role in service.roles}
        return [
            Problem(
                path=("cloud_services", service.name, "roles", role.name),
                found=f"{role.instances} instances, and {now[role.name]} run",
                must="instances of a running lab come and go by its file",
                advice="import into the topology file, and bring that up",
            )
            for role in self.configuration.roles
            if role.instances != now[role.name]
        ]


def _given(network: Network, name: str, wanted: PublicIp | None) -> Network:
    """Return the network in which an instance has the public IP that is wanted, or none."""

    def changed(vm: VirtualMachine) -> VirtualMachine:
        return vm if vm.name != name else msgspec.structs.replace(vm, instance_public_ip=own)

    had = next(vm.instance_public_ip for vm in network.virtual_machines if vm.name == name)
    own = None
    if wanted is not None:
        own = InstancePublicIp(
            name=wanted.name,
            address=had.address if had is not None and had.name == wanted.name else free_address(network),
            domain_name_label=wanted.domain_name_label,
            idle_timeout_min=wanted.idle_timeout_min,
        )
    return msgspec.structs.replace(network, virtual_machines=tuple(map(changed, network.virtual_machines)))
