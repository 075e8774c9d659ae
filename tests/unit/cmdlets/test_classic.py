"""Cmdlets that neighbouring documents have: reserved addresses, endpoints in all their fields, access lists, power."""

import re
from ipaddress import IPv4Network

import pytest

from lab.azure.model import EndpointProbe
from lab.cmdlets import runner
from lab.cmdlets.runner import TABLE
from lab.powershell.syntax import ScriptError
from tests.unit.cmdlets.pure import PureLab

_TEXT = """\
name: a
cloud_services:
  svc: {location: Central US, virtual_machines: [one, two], virtual_ips: {Vip1: {}, Vip2: {}}}
  other: {location: Central US, virtual_machines: [three]}
virtual_machines: {one: {}, two: {}, three: {}}
"""


@pytest.fixture
def lab() -> PureLab:
    return PureLab(_TEXT)


def address(lab: PureLab, vip: str = "Vip1") -> str:
    return lab.play(f"(Get-AzureDeployment svc).VirtualIPs | ?{{$_.Name -eq '{vip}'}}").splitlines()[0][18:]


def test_reserved_addresses_as_the_document_has_them(lab: PureLab) -> None:
    lab.play('New-AzureReservedIP -ReservedIPName MyReservedIP -Location "Central US"\n')
    shown = lab.play("Get-AzureReservedIP -ReservedIPName MyReservedIP")
    (reserved,) = lab.made.reserved_ips
    guid = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.fullmatch(
        rf"""ReservedIPName       : MyReservedIP
Address              : {reserved.address}
Id                   : ({guid})
Label                :
Location             : Central US
State                : Created
InUse                : False
ServiceName          :
DeploymentName       :
OperationDescription : Get-AzureReservedIP
OperationId          : {guid}
OperationStatus      : Succeeded""",
        shown,
    )
    identity = shown.splitlines()[2]
    before = address(lab)
    lab.play("Set-AzureReservedIPAssociation -ReservedIPName myreservedip -ServiceName SVC")
    assert address(lab) == str(reserved.address)
    assert lab.play("$r = Get-AzureReservedIP\n$r.InUse, $r.ServiceName, $r.DeploymentName") == "True\nsvc\nsvc"
    assert identity in lab.play("Get-AzureReservedIP")
    with pytest.raises(runner.Stopped, match="cannot be deleted"):
        lab.play("Remove-AzureReservedIP -ReservedIPName MyReservedIP -Force")
    lab.play("Remove-AzureReservedIPAssociation -ReservedIPName MyReservedIP -ServiceName svc -Force")
    assert address(lab) not in (before, str(reserved.address), "")
    lab.play("Get-AzureReservedIP | Remove-AzureReservedIP")
    assert lab.made.reserved_ips == ()
    with pytest.raises(runner.Stopped, match='no reserved IP "MyReservedIP"'):
        lab.play("Get-AzureReservedIP MyReservedIP")


def test_a_live_vip_is_reserved_in_place(lab: PureLab) -> None:
    before = address(lab)
    lab.play("New-AzureReservedIP r -Location 'Central US' -Label mine -ServiceName svc -VirtualIPName vip1")
    assert address(lab) == before
    assert lab.play("(Get-AzureDeployment svc).VirtualIPs.ReservedIPName").splitlines()[0] == "r"
    assert lab.play("(Get-AzureReservedIP r).Label") == "mine"


def test_an_endpoint_in_all_its_fields(lab: PureLab) -> None:
    lab.play(
        "Get-AzureVM svc one | Add-AzureEndpoint -Name web -Protocol TCP -LocalPort 8080 -PublicPort 80 -LBSetName set "
        "-ProbePort 8081 -ProbeProtocol http -ProbePath '/up' -ProbeIntervalInSeconds 10 -ProbeTimeoutInSeconds 25 "
        "-LoadBalancerDistribution sourceIP | Update-AzureVM\n"
        "Get-AzureVM svc two | Add-AzureEndpoint web tcp 8080 -PublicPort 80 -LBSetName SET -ProbePort 8081 "
        "-ProbeProtocol http -ProbePath /up -ProbeInterval 10 -ProbeTimeout 25 -LoadBalancer sourceIP "
        "| Update-AzureVM\n"
        "Set-AzureLoadBalancedEndpoint -ServiceName svc -LBSetName set -IdleTimeoutInMinutes 15 -VirtualIPName vip2\n"
    )
    assert lab.play("Get-AzureVM svc two | Get-AzureEndpoint web") == (
        f"""LBSetName                : set
LocalPort                : 8080
Name                     : web
Port                     : 80
Protocol                 : tcp
Vip                      : {address(lab, "Vip2")}
ProbePath                : /up
ProbePort                : 8081
ProbeProtocol            : http
ProbeIntervalInSeconds   : 10
ProbeTimeoutInSeconds    : 25
EnableDirectServerReturn : False
Acl                      : {{}}
InternalLoadBalancerName :
IdleTimeoutInMinutes     : 15
LoadBalancerDistribution : sourceIP"""
    )
    lab.play(
        "Set-AzureLoadBalancedEndpoint -ServiceName svc -LBSetName set -ProbeProtocolTCP -ProbePort 9 "
        "-LoadBalancerDistribution none -LocalPort 8090"
    )
    (service,) = [s for s in lab.made.cloud_services if s.name == "svc"]
    assert {(e.local_port, e.probe, e.load_distribution, e.idle_timeout_min) for e in service.endpoints} == {
        (8090, EndpointProbe(protocol="Tcp", port=9), "Default", 15)
    }


def test_an_endpoint_without_a_public_port_gets_a_free_one_and_can_be_changed(lab: PureLab) -> None:
    lab.play("Get-AzureVM svc one | Add-AzureEndpoint ssh tcp 22 -Idle 30 | Update-AzureVM")
    port = lab.play("(Get-AzureVM svc one | Get-AzureEndpoint).Port")
    assert int(port) > 1023
    lab.play("Get-AzureVM svc one | Set-AzureEndpoint -Name SSH -PublicPort 2222 -LocalPort 23 | Update-AzureVM")
    (service,) = [s for s in lab.made.cloud_services if s.name == "svc"]
    assert [(e.public_port, e.local_port, e.idle_timeout_min) for e in service.endpoints] == [(2222, 23, 30)]


def test_access_lists(lab: PureLab) -> None:
    printed = lab.play(
        '$acl1 = New-AzureAclConfig\nSet-AzureAclConfig \u2013AddRule \u2013ACL $acl1 \u2013Order 100 \u2013Action '
        'permit \u2013RemoteSubnet "65.0.0.0/8" \u2013Description "SharePoint ACL config"\n'
        "Set-AzureAclConfig -AddRule -ACL $acl1 -Order 50 -Action deny -RemoteSubnet 175.1.0.1/24\n"
        "Set-AzureAclConfig -AddRule -ACL $acl1 -Order 300 -Action deny -RemoteSubnet 1.0.0.0/8\n"
        "Set-AzureAclConfig -SetRule -ACL $acl1 -RuleId 1 -Order 200 -Description second\n"
        "Set-AzureAclConfig -RemoveRule -ACL $acl1 -RuleId 2\n$acl1\n"
        "Get-AzureVM svc one | Add-AzureEndpoint web tcp 80 -ACL $acl1 | Update-AzureVM\n"
    )  # fmt: skip
    assert printed.split("\n\nOperation")[0] == (
        "RuleId       : 0\nOrder        : 100\nAction       : Permit\nRemoteSubnet : 65.0.0.0/8\n"
        "Description  : SharePoint ACL config\n\n"
        "RuleId       : 1\nOrder        : 200\nAction       : Deny\nRemoteSubnet : 175.1.0.0/24\nDescription  : second"
    )
    (endpoint,) = next(s for s in lab.made.cloud_services if s.name == "svc").endpoints
    assert [(r.order, r.action, r.remote_subnet) for r in endpoint.acl] == [
        (100, "permit", IPv4Network("65.0.0.0/8")),
        (200, "deny", IPv4Network("175.1.0.0/24")),
    ]
    assert "{100 permit 65.0.0.0/8, 200 deny 175.1.0.0/24}" in lab.play("Get-AzureVM svc one | Get-AzureEndpoint")
    lab.play("$none = New-AzureAclConfig; Get-AzureVM svc one | Set-AzureEndpoint web -ACL $none | Update-AzureVM")
    (endpoint,) = next(s for s in lab.made.cloud_services if s.name == "svc").endpoints
    assert endpoint.acl == ()
    with pytest.raises(ScriptError, match="no -Action; Set-AzureAclConfig must have -Action; add it"):
        lab.play("$a = New-AzureAclConfig; Set-AzureAclConfig -AddRule -Order 80 -RemoteSubnet 65.0.0.0/8 -ACL $a")
    with pytest.raises(runner.Stopped, match="no rule 7; RuleId must be one of the list's; known: none"):
        lab.play("$a = New-AzureAclConfig; Set-AzureAclConfig -RemoveRule -RuleId 7 -ACL $a")


def test_power(lab: PureLab) -> None:
    def state() -> str:
        return lab.play("$vm = Get-AzureVM svc one\n$vm.InstanceStatus, $vm.PowerState, $vm.Status, $vm.IpAddress")

    started = state()
    lab.play("Get-AzureVM -ServiceName svc -Name one | Stop-AzureVM -StayProvisioned")
    assert state() == started.replace("ReadyRole", "StoppedVM").replace("Started", "Stopped")
    lab.play("Start-AzureVM -ServiceName svc -Name one")
    assert state() == started
    lab.play("Stop-AzureVM -ServiceName svc -Name one -Force")
    assert state() == "StoppedDeallocated\nStopped\nStoppedDeallocated\n"
    assert lab.play("(Get-AzureDeployment svc).Status") == "Running"
    lab.play("Get-AzureVM svc | Stop-AzureVM")
    assert lab.play("(Get-AzureDeployment svc).Status") == "Suspended"
    assert address(lab) == ""
    lab.play("Get-AzureVM svc | Start-AzureVM")
    assert state() == started
    assert address(lab) != ""


def test_a_service_without_a_vm_has_no_deployment(lab: PureLab) -> None:
    lab.play("New-AzureService -ServiceName empty -Location 'Central US' -Label x")
    with pytest.raises(runner.Stopped, match='"empty": no deployment'):
        lab.play("Get-AzureDeployment -ServiceName empty -Slot Production")


def test_every_cmdlet_can_be_told_by_what_is_required_of_it() -> None:
    """No cmdlet's parameters are such that no command could satisfy them, and every name is its own."""
    for cmdlet in TABLE.cmdlets.values():
        names = [n.lower() for p in cmdlet.parameters for n in (p.name, *p.aliases)]
        assert len(set(names)) == len(names), cmdlet.name
        positions = [p.position for p in cmdlet.parameters if p.position is not None]
        assert sorted(positions) == list(range(len(positions))), cmdlet.name
        known = set(cmdlet.sets())
        assert all({*p.sets, *p.required_in} <= known | {""} for p in cmdlet.parameters), cmdlet.name
