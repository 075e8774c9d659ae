"""`lab service redeploy`: what is done in which order, and what is said of it. No lab runs."""

import os

import pytest
from click.testing import CliRunner

from lab.cli import cli
from lab.kernel import apply
from lab.operations.base import Operation, changed
from lab.runtime import operate
from lab.topology import parse

_TEXT = """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines: {vm1: {subnet: v/s}, vm2: {subnet: v/s}}
cloud_services: {shop: {virtual_machines: [vm1, vm2]}}
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("profile: 2018-07-classic\n", "0 s is 0 s; 2 VMs, counted twice for SNAT ports"),
        ("profile: 2019-05\n", "0 s is 0 s; 2 VMs, counted once in profile 2019-05"),
        (
            "profile: 2018-07-classic\noverrides: {snat_ports_per_vm: 64}\n",
            "0 s is 0 s; 2 VMs, counted twice, but snat_ports_per_vm=64 whatever is counted",
        ),
    ],
)
def test_a_redeployment_begins_is_told_of_and_ends(monkeypatch: pytest.MonkeyPatch, more: str, said: str) -> None:
    network = parse(_TEXT + more, "f")
    done: list[bool] = []

    def perform(_lab: str, operation: Operation, _say: object) -> apply.Outcome:
        nonlocal network
        network = changed(network, operation)
        done.append(network.cloud_services[0].redeploying)
        return apply.Outcome(built=False, changed=2)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(operate, "perform", perform)
    monkeypatch.setattr(operate, "network_of", lambda _lab: network)
    ran = CliRunner().invoke(cli, ["service", "redeploy", "a", "shop", "--hold", "0"])
    assert (ran.exit_code, done) == (0, [True, False])
    assert ran.stderr.splitlines() == [
        "a: service redeploy shop: 2 changes",
        f"a: shop: {said}",
        "a: service redeploy shop, its end: 2 changes",
    ]
    assert ran.stdout.split()[3] == "Set-AzureDeployment"


def test_a_redeployment_takes_no_time_below_none() -> None:
    ran = CliRunner().invoke(cli, ["service", "redeploy", "a", "shop", "--hold", "-1"])
    assert (ran.exit_code, "--hold" in ran.stderr) == (2, True)
