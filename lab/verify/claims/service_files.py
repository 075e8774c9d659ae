"""Service configuration files: schema-cscfg-networkconfiguration.md (2023-02-21)."""

from collections.abc import Iterator
from functools import partial

from lab.azure.model import PLATFORM_NETWORK, CloudService, Network, Role
from lab.verify.claims.claim import Finding, Trial, claim
from lab.verify.claims.kit.cloud_service_kit import command, failed_command, let, operated
from lab.verify.claims.kit.judges import judge_by
from lab.verify.experiment import Checked, Run

_SCHEMA = "schema-cscfg-networkconfiguration.md (2023-02-21)"
_PUBLIC_IP = '<PublicIP name="ipOfATrial" domainNameLabel="label-of-a-trial" idleTimeoutInMinutes="15" />'
_ELSEWHERE = "NameOfATrial"
_MOST = 5  # instance-level public IPs of a subscription (virtual-networks-instance-level-public-ip.md, 2016-02-10)


def _file(
    service: CloudService, network: str, subnet: str, more: str = "", *, public_ip: str = _PUBLIC_IP, reserved: str = ""
) -> str:
    role = service.roles[0]
    return f"""\
<?xml version="1.0" encoding="utf-8"?>
<ServiceConfiguration serviceName="{service.name}"
    xmlns="http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceConfiguration">
  <Role name="{role.name}"><Instances count="{role.instances}" /></Role>
  <NetworkConfiguration>
    {more}
    <VirtualNetworkSite name="{network}" />
    <AddressAssignments>
      <InstanceAddress roleName="{role.name}">
        <Subnets><Subnet name="{subnet}" /></Subnets>
        <PublicIPs>{public_ip}</PublicIPs>
      </InstanceAddress>
      {reserved}
    </AddressAssignments>
  </NetworkConfiguration>
</ServiceConfiguration>
"""


def _import(text: str) -> Run:
    return Run(words=("import", "cscfg", "{lab}", "{file}"), text=text, suffix=".cscfg")


def _wrong(service: CloudService, network: str, subnet: str) -> list[tuple[str, str, str]]:
    """Return files that do not fit the service: what is wrong with each, its text, and what must be said of it."""
    reserved = f'<ReservedIPs><ReservedIP name="{_ELSEWHERE}" /></ReservedIPs>'
    named = f'"{_ELSEWHERE}", and the topology has'
    unplayed = "the lab takes only addresses of role instances from such a file"
    return [
        ("another network", _file(service, _ELSEWHERE, subnet), f"VirtualNetworkSite {named} {network}"),
        ("another subnet", _file(service, network, _ELSEWHERE), f"Subnets {named} {subnet}"),
        (
            "a reserved address of its own",
            _file(service, network, subnet, reserved=reserved),
            f"ReservedIP {named} none",
        ),
        *(
            (f"{part}", _file(service, network, subnet, f"<{part} />"), unplayed)
            for part in ("AccessControls", "EndpointAcls", "Dns")
        ),
    ]


@claim(
    "N-CS-1",
    _SCHEMA,
    "A service configuration file names the service's one network, its roles' subnets and public IPs, and the "
    "reserved address of the service.",
    facts=(
        "the network is the service's",
        "the subnet is the role's",
        "the reserved address is the service's",
        "each instance is given the public IP",
        "its timeout is taken",
        "its label is taken",
        "what is not played is refused",
        "the network is written",
    ),
)
def configuration_names_one_network(network: Network) -> Iterator[Trial]:
    for service in [service for service in network.cloud_services if len(service.roles) == 1]:
        role: Role = service.roles[0]
        vm = network.vm(role.instance(0))
        if vm is None or vm.virtual_network == PLATFORM_NETWORK or vm.instance_public_ip is not None:
            continue
        if role.instances > _MOST:
            continue
        home, subnet = vm.virtual_network, vm.subnet
        wrong_files = _wrong(service, home, subnet)
        stage = operated(
            *(_import(text) for _, text, _ in wrong_files),
            command("public-ip", "show"),
            _import(_file(service, home, subnet)),
            command("public-ip", "show"),
            Run(words=("export", "cscfg", "{lab}", "--service", service.name)),
        )

        what = "the service's one network, its role's subnet and a public IP are taken, and written again"
        expected = f"{what}; refused: {', '.join(what for what, _, _ in wrong_files)}"
        yield Trial(
            service.name,
            expected,
            (stage,),
            judge_by(partial(_brought_up_or_refused, wrong_files=wrong_files, home=home, subnet=subnet)),
        )
        return


def _brought_up_or_refused(
    *observations: Checked, wrong_files: list[tuple[str, str, str]], home: str, subnet: str
) -> Finding:
    *refused, before, taken, after, written = observations
    observed = f"exit {', '.join(str(one.status) for one in refused)}; then exit {taken.status}"
    for (what, _, words), done in zip(wrong_files, refused, strict=True):
        if wrong := let(done, what, words):
            return Finding(observed, wrong)
    wrong = failed_command(before, taken, after, written)
    if not wrong and "ipOfATrial" in before.said:
        wrong = "a file that was refused has given an address"
    if not wrong and "ipOfATrial" not in after.said:
        wrong = "the file has given no address"
    parts = (f'<VirtualNetworkSite name="{home}" />', f'<Subnet name="{subnet}" />', _PUBLIC_IP)
    lost = [part for part in parts if not wrong and part not in written.said]
    return Finding(observed, wrong or (f"what is written has no {lost[0]}" if lost else ""))


CLAIMS = (configuration_names_one_network,)
