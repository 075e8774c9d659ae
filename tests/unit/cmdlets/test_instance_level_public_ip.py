"""Every listing of Instance level public IP, 2016-02-10, as it stands there, and what the document prints after it."""

import re

import pytest

from lab.azure.model import Network
from lab.cmdlets import runner
from lab.powershell.syntax import ScriptError
from tests.unit.cmdlets.pure import PureLab

CREATE = """\
New-AzureService -ServiceName FTPService -Location "Central US"

$image = Get-AzureVMImage|?{$_.ImageName -like "*RightImage-Windows-2012R2-x64*"} `
New-AzureVMConfig -Name FTPInstance -InstanceSize Small -ImageName $image.ImageName `
| Add-AzureProvisioningConfig -Windows -AdminUsername adminuser -Password MyP@ssw0rd!! `
| Set-AzurePublicIP -PublicIPName ftpip | New-AzureVM -ServiceName FTPService -Location "Central US"
"""
SHOW = "Get-AzureVM -Name FTPInstance -ServiceName FTPService\n"
REMOVE = "Get-AzureVM -ServiceName FTPService -Name FTPInstance | Remove-AzurePublicIP | Update-AzureVM\n"
SET = (
    "Get-AzureVM -ServiceName FTPService -Name FTPInstance | Set-AzurePublicIP -PublicIPName ftpip2 | Update-AzureVM\n"
)
#: The document's output, but for what is the lab's own: addresses, the service's name in DNS (the document's is of
#: another service), and the operation's number.
EXPECTED = r"""DeploymentName              : FTPService
Name                        : FTPInstance
Label                       :
VM                          : Microsoft.WindowsAzure.Commands.ServiceManagement.Model.PersistentVM
InstanceStatus              : ReadyRole
IpAddress                   : 100\.\d+\.\d+\.\d+
InstanceStateDetails        :
PowerState                  : Started
InstanceErrorCode           :
InstanceFaultDomain         : 0
InstanceName                : FTPInstance
InstanceUpgradeDomain       : 0
InstanceSize                : Small
HostName                    : FTPInstance
AvailabilitySetName         :
DNSName                     : http://ftpservice.cloudapp.net/
Status                      : ReadyRole
GuestAgentStatus            : Microsoft.WindowsAzure.Commands.ServiceManagement.Model.GuestAgentStatus
ResourceExtensionStatusList : {Microsoft.Compute.BGInfo}
PublicIPAddress             :( ADDRESS)?
PublicIPName                :( NAME)?
NetworkInterfaces           : {}
ServiceName                 : FTPService
OperationDescription        : Get-AzureVM
OperationId                 : [0-9a-f]{32}
OperationStatus             : OK"""


def shown(lab: PureLab) -> tuple[str, str]:
    """Return the public address and its name from what Get-AzureVM prints, the rest of which is as in the document."""
    pattern = EXPECTED.replace("( ADDRESS)?", r"(?: (?P<address>[\d.]+))?").replace("( NAME)?", r"(?: (?P<name>\w+))?")
    found = re.fullmatch(pattern, lab.play(SHOW))
    assert found is not None, lab.play(SHOW)
    return found["address"] or "", found["name"] or ""


def own(network: Network) -> str:
    vm = network.vm("FTPInstance")
    assert vm is not None
    return str(vm.instance_public_ip.address) if vm.instance_public_ip else ""


@pytest.fixture
def lab() -> PureLab:
    return PureLab("name: ftp\ninternet: {client: {address: 198.51.100.10}}\n")


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("fence", ["", "```"], ids=["plain", "fenced"])
def test_the_whole_document_in_its_order(lab: PureLab, ends: str, fence: str) -> None:
    def play(listing: str) -> str:
        around = f"{fence}powershell\n{listing}{fence}\n" if fence else listing
        return lab.play(around.replace("\n", ends))

    made = play(CREATE)
    assert [line.split()[0] for line in made.splitlines() if line.endswith("Succeeded")] == [
        "New-AzureService",
        "New-AzureVM",
    ]
    assert shown(lab) == (own(lab.made), "ftpip")
    assert own(lab.made)
    assert "Update-AzureVM" in play(REMOVE)
    assert shown(lab) == ("", "")
    assert "Update-AzureVM" in play(SET)
    assert shown(lab) == (own(lab.made), "ftpip2")
    service = lab.made.cloud_service("FTPService")
    assert service is not None
    assert (service.location, service.virtual_machines, service.endpoints) == ("Central US", ("FTPInstance",), ())
    assert lab.operations == [
        "service create FTPService",
        "vm create FTPService FTPInstance, public-ip set FTPInstance ftpip",
        "public-ip remove FTPInstance",
        "public-ip set FTPInstance ftpip2",
    ]


def test_the_stray_backtick_is_told_of_and_the_later_revisions_listing_is_the_same(lab: PureLab) -> None:
    lab.play(CREATE)
    (note,) = lab.notes
    place = CREATE.splitlines()[2].index("`") + 1
    assert str(note).startswith(f"s.ps1:3:{place}: the backtick makes New-AzureVMConfig a value of Where-Object, ")
    other = PureLab("name: ftp\ninternet: {client: {address: 198.51.100.10}}\n")
    other.play(CREATE.replace('*"} `\n', '*"}\n'))
    assert other.notes == ()
    assert other.made == lab.made


def test_the_password_is_nowhere(lab: PureLab) -> None:
    printed = lab.play(CREATE + SHOW)
    for text in (printed, str(lab.made), *lab.operations, *map(str, lab.notes)):
        assert "MyP@ssw0rd" not in text


@pytest.mark.parametrize(
    "change",
    [
        ("-Password MyP@ssw0rd!!", "-Pasword MyP@ssw0rd!!"),
        ("-Password MyP@ssw0rd!!", "MyP@ssw0rd!!"),
        ("-Password MyP@ssw0rd!!", "-Password MyP@ssw0rd!! MyP@ssw0rd!!"),
        ("MyP@ssw0rd!!", "My$P@ssw0rd!!"),
        ("MyP@ssw0rd!!", "My$ssw0rd!!"),
        ("MyP@ssw0rd!!", "My;P@ssw0rd!!"),
        ("MyP@ssw0rd!!", '"MyP@ssw0rd!!'),
        ("MyP@ssw0rd!!", "MyP@'ssw0rd!!"),
        ("-Windows", "-Windows -Linux"),
        ("-InstanceSize Small", "-InstanceSize 4"),
    ],
)
def test_no_error_quotes_the_password(lab: PureLab, change: tuple[str, str]) -> None:
    with pytest.raises((ScriptError, runner.Stopped)) as stopped:
        lab.play(CREATE.replace(*change))
    cause: BaseException | None = stopped.value
    while cause is not None:
        assert "ssw0rd" not in str(cause)
        cause = cause.__cause__


def test_a_new_vm_may_have_a_subnet_a_reserved_address_endpoints_and_an_availability_set() -> None:
    lab = PureLab(
        "name: a\nvirtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {a: 10.1.0.0/24, b: 10.1.1.0/24}}}\n"
        "reserved_ips: {keep: {address: 191.238.74.20, location: Central US}}\n"
    )
    lab.play(
        "$config = New-AzureVMConfig -Name one -InstanceSize ExtraLarge -ImageName any -AvailabilitySetName set\n"
        "$config | Add-AzureProvisioningConfig -Linux -LinuxUser me -Password 'it is long' | Set-AzureSubnet B\n"
        "Add-AzureEndpoint web tcp 8080 -PublicPort 80 -VM $config\n"
        "New-AzureVM -VMs $config -ServiceName svc -Location 'Central US' -VNetName V -ReservedIPName KEEP\n"
        "New-AzureVMConfig two Small any -Av set | New-AzureVM -ServiceName SVC -VNetName v\n"
    )
    one, two = lab.made.virtual_machines
    assert (one.virtual_network, one.subnet, one.size, one.availability_set) == ("v", "b", "ExtraLarge", "set")
    assert (two.virtual_network, two.subnet, two.size) == ("v", "a", "Small")
    (service,) = lab.made.cloud_services
    assert [(str(v.address), v.reserved_ip) for v in service.virtual_ips] == [("191.238.74.20", "keep")]
    assert [(e.virtual_machine, e.public_port, e.local_port) for e in service.endpoints] == [("one", 80, 8080)]
    assert lab.play("$all = Get-AzureVM -ServiceName svc\n$all.InstanceFaultDomain; $all.InstanceUpgradeDomain") == (
        "0\n1\n\n0\n1"
    )
    assert lab.play("(Get-AzureVM svc one).InstanceSize, (Get-AzureDeployment svc).VNetName") == "ExtraLarge\nv"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("New-AzureVMConfig a Small i | New-AzureVM -ServiceName none", 'no cloud service "none"'),
        (
            "New-AzureVMConfig a Small i | New-AzureVM -ServiceName FTPService -Location here",
            "a service has one location",
        ),
        ("New-AzureVMConfig FTPInstance Small i | New-AzureVM -ServiceName FTPService", "is there already"),
        ("New-AzureVMConfig a Small i | New-AzureVM -ServiceName FTPService -VNetName v", 'no virtual network "v"'),
        ("New-AzureVMConfig a Small i | Set-AzureSubnet s | New-AzureVM -ServiceName FTPService", "add -VNetName"),
        ("New-AzureVMConfig a Small i | Update-AzureVM", "a: a new VM; Update-AzureVM takes one of Get-AzureVM"),
        ("New-AzureVMConfig a Small i | Get-AzureEndpoint", "a: a new VM; Get-AzureEndpoint takes one of Get-AzureVM"),
        ("Get-AzureVM FTPService FTPInstance | New-AzureVM -ServiceName FTPService", "is there already"),
        ("Get-AzureVM FTPService FTPInstance | Set-AzureSubnet s", "a VM keeps its subnet"),
        ("Get-AzureVM FTPService FTPInstance | Set-AzurePublicIP other | Update-AzureVM", "a second instance-level"),
        ("Get-AzureVM FTPService FTPInstance | Update-AzureVM -Name other", "they must agree"),
        (
            "$i = Get-AzureVMImage | ?{$_.ImageName -like 'x'}; New-AzureVMConfig a Small $i.ImageName",
            "nothing; what has",
        ),
        (
            (
                "New-AzureVMConfig a Small i | Add-AzureEndpoint e tcp 80 | Add-AzureEndpoint e tcp 81 "
                "| New-AzureVM -ServiceName another -Location x"
            ),
            'a second endpoint "e" of a',
        ),
        ("New-AzureService ftpservice -Location x", "is there already"),
        ("New-AzureService 4ftp -Location x", "-ServiceName must be a name"),
        ("Get-AzureDeployment FTPServic", 'did you mean "FTPService"?'),
    ],
)
def test_what_is_refused_changes_nothing(lab: PureLab, script: str, said: str) -> None:
    lab.play(CREATE)
    before = lab.made
    with pytest.raises(runner.Stopped) as stopped:
        lab.play(script)
    assert said in str(stopped.value)
    assert str(stopped.value).endswith("\nnothing was changed")
    assert lab.made == before
