"""Every listing of Multiple VIPs, 2015-07-23, as it stands there, and what the document prints after it."""

import re

import pytest

from lab.cmdlets import runner
from lab.operations.base import Operation
from lab.powershell.syntax import ScriptError
from tests.unit.cmdlets.pure import PureLab

_SERVICE = """\
name: multivip
cloud_services:
  myService:
    virtual_machines: [myVM1, myVM2]
    virtual_ips: {Vip1: {address: 191.238.74.148}, Vip2: {address: 191.238.74.13}}
virtual_machines: {myVM1: {}, myVM2: {}}
"""
_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ADD_VIP = "    Add-AzureVirtualIP -VirtualIPName Vip3 -ServiceName myService\n"
REMOVE_VIP = "    Remove-AzureVirtualIP -VirtualIPName Vip3 -ServiceName myService\n"
SHOW = """\
    $deployment = Get-AzureDeployment -ServiceName myService
    $deployment.VirtualIPs
"""
ADD_ENDPOINT = """\
    Get-AzureVM -ServiceName myService -Name myVM1 `
  \t| Add-AzureEndpoint -Name myEndpoint -Protocol tcp -LocalPort 8080 -PublicPort 80 -VirtualIPName Vip2 `
  \t| Update-AzureVM
"""
ADD_SET = """\
    Get-AzureVM -ServiceName myService -Name myVM1 `
  \t| Add-AzureEndpoint -Name myEndpoint -LoadBalancedEndpointSetName myLBSet `
        -Protocol tcp -LocalPort 8181 -PublicPort 81 -VirtualIPName Vip2  -DefaultProbe `
  \t| Update-AzureVM

    Get-AzureVM -ServiceName myService -Name myVM2 `
  \t| Add-AzureEndpoint -Name myEndpoint -LoadBalancedEndpointSetName myLBSet `
        -Protocol tcp -LocalPort 8181 -PublicPort 81 -VirtualIPName Vip2  -DefaultProbe `
  \t| Update-AzureVM
"""
MOVE_SET = "    Set-AzureLoadBalancedEndpoint -ServiceName myService -LBSetName myLBSet -VirtualIPName Vip1\n"
REMOVE_ENDPOINT = "Get-AzureVM myService myVM1 | Remove-AzureEndpoint -Name myEndpoint | Update-AzureVM\n"


def vips(*addresses: str) -> str:
    """Return the document's list of VIPs with these addresses."""
    parts = [
        f"Address         :{f' {address}' if address else ''}\nIsDnsProgrammed :{' True' if number == 1 else ''}\n"
        f"Name            : Vip{number}\nReservedIPName  :\nExtensionData   :"
        for number, address in enumerate(addresses, start=1)
    ]
    return "\n\n".join(parts)


def is_done(text: str, cmdlet: str, count: int = 1) -> bool:
    """Tell whether a text is the document's three columns, so many times."""
    width = max(len(cmdlet), len("OperationDescription"))
    head = f"{'OperationDescription':<{width}} {'OperationId':<36} OperationStatus"
    line = f"{'-' * 20:<{width}} {'-' * 11:<36} {'-' * 15}"
    one = f"{head}\n{line}\n{cmdlet:<{width}} {_GUID} Succeeded"
    return re.fullmatch("\n\n".join([one] * count), text) is not None


@pytest.fixture
def lab() -> PureLab:
    return PureLab(_SERVICE)


@pytest.fixture(params=["\n", "\r\n"], ids=["LF", "CRLF"])
def ends(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_whole_document_in_its_order(lab: PureLab, ends: str) -> None:
    def play(listing: str) -> str:
        return lab.play(listing.replace("\n", ends))

    assert is_done(play(ADD_VIP), "Add-AzureVirtualIP")
    assert play(SHOW) == vips("191.238.74.148", "", "")
    assert is_done(play(REMOVE_VIP), "Remove-AzureVirtualIP")
    assert play(SHOW) == vips("191.238.74.148", "")
    play(ADD_VIP)
    assert is_done(play(ADD_ENDPOINT), "Update-AzureVM")
    assert play(SHOW) == vips("191.238.74.148", "191.238.74.13", "")
    # The document gives the same name to another endpoint of the same VM.
    assert is_done(play(REMOVE_ENDPOINT), "Update-AzureVM")
    assert is_done(play(ADD_SET), "Update-AzureVM", 2)
    assert is_done(play(MOVE_SET), "Set-AzureLoadBalancedEndpoint")
    assert play(SHOW) == vips("191.238.74.148", "", "")
    (service,) = lab.made.cloud_services
    assert [(e.virtual_machine, e.virtual_ip, e.public_port, e.local_port) for e in service.endpoints] == [
        ("myVM1", "Vip1", 81, 8181),
        ("myVM2", "Vip1", 81, 8181),
    ]
    assert lab.operations == [
        "vip add myService Vip3",
        "vip remove myService Vip3",
        "vip add myService Vip3",
        "endpoint add myVM1 myEndpoint",
        "endpoint remove myVM1 myEndpoint",
        "endpoint add myVM1 myEndpoint",
        "endpoint add myVM2 myEndpoint",
        "endpoint move myService myLBSet Vip1",
    ]


def test_it_is_one_script_too(lab: PureLab) -> None:
    parts = list(lab.outputs(ADD_VIP + SHOW + ADD_ENDPOINT + SHOW + REMOVE_ENDPOINT + ADD_SET + MOVE_SET + SHOW))
    assert parts[1] == vips("191.238.74.148", "", "")
    assert parts[3] == vips("191.238.74.148", "191.238.74.13", "")
    assert parts[-1] == vips("191.238.74.148", "", "")


def test_property_of_parentheses(lab: PureLab) -> None:
    assert lab.play("(Get-AzureDeployment -ServiceName myService).VirtualIPs") == vips("191.238.74.148", "")
    assert lab.play("(get-azuredeployment MYSERVICE).virtualips.address").splitlines() == ["191.238.74.148"]


def test_nothing_is_applied_before_update(lab: PureLab) -> None:
    before = lab.made
    lab.play(ADD_ENDPOINT.replace(" `\n  \t| Update-AzureVM", ""))
    assert (lab.made, lab.operations) == (before, [])


def test_a_variable_holds_what_is_asked_for_until_update(lab: PureLab) -> None:
    lab.play("$vm = Get-AzureVM myService myVM1; $vm | Add-AzureEndpoint e tcp 8080 -VirtualIPName Vip2")
    assert lab.operations == []
    printed = lab.play(
        "$vm = Get-AzureVM myService myVM1\n"
        "$vm | Add-AzureEndpoint e tcp 8080 -PublicPort 80 | Add-AzureEndpoint f udp 53\n"
        "($vm | Get-AzureEndpoint).Name\n"
        "Update-AzureVM -ServiceName myService -Name myVM1 -VM $vm.VM\n"
    )
    assert "\n\ne\nf\n\n" in printed
    assert lab.operations == ["endpoint add myVM1 e, endpoint add myVM1 f"]


def test_the_second_endpoint_of_the_same_name_is_refused_and_the_first_kept(lab: PureLab) -> None:
    with pytest.raises(runner.Stopped) as stopped:
        lab.play(ADD_VIP + ADD_ENDPOINT + ADD_SET)
    assert str(stopped.value).startswith("s.ps1:8:6: Update-AzureVM: endpoint add myVM1 myEndpoint: ")
    assert 'a second endpoint "myEndpoint" of myVM1' in str(stopped.value)
    assert str(stopped.value).endswith(
        "\ndone before it, and kept: vip add myService Vip3; endpoint add myVM1 myEndpoint"
    )
    (service,) = lab.made.cloud_services
    assert [e.local_port for e in service.endpoints] == [8080]


def test_an_interrupt_says_what_was_done_before_it(lab: PureLab, monkeypatch: pytest.MonkeyPatch) -> None:
    once = lab.perform

    def interrupted_at_the_second(operation: Operation) -> None:
        if lab.operations:
            raise KeyboardInterrupt
        once(operation)

    monkeypatch.setattr(lab, "perform", interrupted_at_the_second)
    with pytest.raises(runner.Stopped) as stopped:
        lab.play(ADD_VIP + ADD_ENDPOINT)
    assert str(stopped.value) == "interrupted\ndone before it, and kept: vip add myService Vip3"
    assert stopped.value.exit_code == 130


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("Remove-AzureVirtualIP -VirtualIPName Vip2 -ServiceName myService", "only while no endpoint is associated"),
        ("Remove-AzureVirtualIP -VirtualIPName Vip1 -ServiceName myService", "the default VIP"),
        ("Add-AzureVirtualIP -VirtualIPName Vip2 -ServiceName myService", "is there already"),
        ("Add-AzureVirtualIP -VirtualIPName Vip9 -ServiceName myservces", 'did you mean "myService"?'),
        ("Get-AzureVM -ServiceName myService -Name myVM3", 'no virtual machine of myService "myVM3"'),
        (ADD_ENDPOINT.replace("Vip2", "Vip9").replace("myEndpoint", "e"), 'no VIP "Vip9"'),
        (REMOVE_ENDPOINT.replace("myEndpoint", "other"), 'no endpoint "other" of myVM1'),
        (MOVE_SET, 'no load-balanced set "myLBSet"'),
        (ADD_SET.replace("myEndpoint", "e").replace("-DefaultProbe", "-DefaultProbe -Idle 9"), "set on the set"),
    ],
)
def test_what_is_refused_changes_nothing(lab: PureLab, script: str, said: str) -> None:
    lab.play(ADD_ENDPOINT)
    before = lab.made
    with pytest.raises(runner.Stopped) as stopped:
        lab.play(script)
    assert said in str(stopped.value)
    assert str(stopped.value).endswith("\nnothing was changed")
    assert lab.made == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("-LBSetName s", "no -DefaultProbe or -NoProbe; Add-AzureEndpoint must have -DefaultProbe or -NoProbe; add it"),
        ("-LBSetName s -DefaultProbe -NoProbe", "-LBSetName and -DefaultProbe and -NoProbe together"),
        ("-DefaultProbe", "no -LBSetName"),
        ("-LBSetName s -ProbePort 80", "no -ProbeProtocol"),
        ("-IdleTimeoutInMinutes 3", '"3"; -IdleTimeoutInMinutes must be a whole number from 4 to 30'),
        ("-IdleTimeoutInMinutes 31", '"31"; -IdleTimeoutInMinutes must be a whole number from 4 to 30'),
        ("-PublicPort 65536", '"65536"; -PublicPort must be a whole number from 1 to 65535'),
        ("-LoadBalancerDistribution random", '"random"; -LoadBalancerDistribution must be one of none, sourceIP'),
    ],
)
def test_parameters_that_do_not_go_together(lab: PureLab, more: str, said: str) -> None:
    script = f"Get-AzureVM myService myVM1 | Add-AzureEndpoint e tcp 80 {more} | Update-AzureVM"
    with pytest.raises((ScriptError, runner.Stopped)) as stopped:
        lab.play(script)
    assert said in str(stopped.value)
    assert lab.operations == []
