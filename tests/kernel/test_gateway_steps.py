"""VNet to VNet connection, 2015-05-15 in its own order of steps, on a running lab.

With the commands that stand for them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.kernel.state import StateDir
from tests import rootlab

pytestmark = pytest.mark.root

#: One network of the document; the other is created. At 240 times the documents' speed a gateway takes 4 s.
BEGINNING = """\
name: steps
virtual_networks:
  VNet1: {location: China North, address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}
  VNet2: {location: China East, address_space: [10.2.0.0/16], subnets: {front: 10.2.0.0/24}}
virtual_machines:
  vm1: {subnet: VNet1/front, private_ip_address: 10.1.0.4, services: [http:80]}
  vm2: {subnet: VNet2/front, private_ip_address: 10.2.0.4, services: [http:80]}
overrides: {time_scale: 240}
"""


def gateway(network: str) -> dict[str, Any]:
    (shown,) = json.loads(rootlab.ok("gateway", "show", "steps", network, "-o", "json"))["gateways"]
    return dict(shown)


def refused(*words: str) -> str:
    done = rootlab.run(*words)
    assert done.returncode == 2, done
    return done.stderr.strip()


def test_the_document_from_the_first_step_to_the_last(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, BEGINNING):
        # Add local networks, with placeholders for addresses that do not exist yet.
        rootlab.ok("local-network", "add", "steps", "VNet1", "--address-space", "10.1.0.0/16", "--address", "5.4.3.1")
        rootlab.ok("local-network", "add", "steps", "VNet2", "--address-space", "10.2.0.0/16", "--address", "5.4.3.2")
        # Connect each to the other, and add gateway subnets: without one there is no gateway.
        rootlab.ok("gateway", "connect", "steps", "VNet1", "VNet2")
        rootlab.ok("gateway", "connect", "steps", "VNet2", "VNet1")
        words = ("gateway", "create", "steps", "VNet1", "--routing", "dynamic")
        assert 'vpn_gateways.VNet1: "VNet1" has no subnet "GatewaySubnet"' in refused(*words)
        rootlab.ok("network", "subnet", "steps", "VNet1", "GatewaySubnet", "10.1.255.0/27")
        rootlab.ok("network", "subnet", "steps", "VNet2", "GatewaySubnet", "10.2.255.0/27")
        # Create both gateways, neither waiting for the other.
        assert "VNet1: Creating, until" in rootlab.run(*words).stderr
        rootlab.ok("gateway", "create", "steps", "VNet2", "--routing", "dynamic")
        building = gateway("VNet1")
        assert (building["Status"], building["State"], building["VipAddress"]) == ("Creating", "Provisioning", "")
        assert "(HTTP 409)" in refused(*words)
        rootlab.wait_until(lambda: gateway("VNet1")["State"] == "Provisioned", "built", lambda: gateway("VNet1"))
        rootlab.wait_until(lambda: gateway("VNet2")["State"] == "Provisioned", "built", lambda: gateway("VNet2"))
        addresses = {name: gateway(name)["VipAddress"] for name in ("VNet1", "VNet2")}
        assert all(addresses.values())
        # Placeholders do not connect.
        wanted = "no answer from 5.4.3.2"
        rootlab.wait_until(
            lambda: [c["Reason"] for c in gateway("VNet1")["Connections"]] == [wanted], wanted, lambda: gateway("VNet1")
        )
        # Edit the local networks: each gets its own gateway's address.
        for name, address in addresses.items():
            rootlab.ok("local-network", "set", "steps", name, "--address", address)
        # Keys: different ones do not connect, the same ones do.
        rootlab.ok("gateway", "key", "set", "steps", "VNet1", "VNet2", "--key", "A1b2C3D4")
        rootlab.wait_until(
            lambda: gateway("VNet2")["Connections"][0]["Reason"].startswith("AUTHENTICATION_FAILED"), "unequal keys",
            lambda: gateway("VNet2"),
        )  # fmt: skip
        rootlab.ok("gateway", "key", "set", "steps", "VNet2", "VNet1", "--key", "A1b2C3D4")
        for name in addresses:
            rootlab.wait_until(lambda n=name: gateway(n)["Status"] == "Connected", name, lambda n=name: gateway(n))
        seen = rootlab.ask("steps", "vm1", "http://10.2.0.4/")
        assert (seen["node"], seen["client_address"]) == ("vm2", "10.1.0.4")
        # Disconnect, connect, delete.
        rootlab.ok("gateway", "disconnect", "steps", "VNet1", "VNet2")
        (connection,) = gateway("VNet1")["Connections"]
        assert (connection["ConnectivityState"], connection["Reason"]) == ("NotConnected", "disconnected by its owner")
        assert rootlab.inside("steps", "vm1", "curl", "-m1", "http://10.2.0.4/").status != 0
        rootlab.ok("gateway", "connect", "steps", "VNet1", "VNet2")
        rootlab.wait_until(lambda: gateway("VNet1")["Status"] == "Connected", "again", lambda: gateway("VNet1"))
        rootlab.ok("gateway", "delete", "steps", "VNet1")
        assert "(NotProvisioned)" in refused("gateway", "show", "steps", "VNet1")
        assert "HTTP 404" in refused("gateway", "delete", "steps", "VNet1")
        assert rootlab.inside("steps", "vm1", "curl", "-m1", "http://10.2.0.4/").status != 0
    assert rootlab.leftovers("steps") == []


def test_up_says_what_of_the_commands_it_takes_back(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, BEGINNING):
        file = tmp_path / "steps.lab.yaml"
        assert rootlab.run("up", file).stderr == ""
        rootlab.ok("network", "subnet", "steps", "VNet1", "GatewaySubnet", "10.1.255.0/27")
        rootlab.ok("network", "subnet", "steps", "VNet2", "GatewaySubnet", "10.2.255.0/27")
        rootlab.ok("gateway", "create", "steps", "VNet1", "--routing", "dynamic")
        rootlab.ok("local-network", "add", "steps", "far", "--address-space", "10.9.0.0/16", "--address", "5.4.3.2")
        rootlab.ok("local-network", "add", "steps", "lost", "--address-space", "10.8.0.0/16", "--address", "5.4.3.3")
        rootlab.ok("gateway", "connect", "steps", "VNet1", "far")
        rootlab.ok("gateway", "key", "set", "steps", "VNet1", "far", "--key", "A1b2C3D4")
        rootlab.ok("gateway", "delete", "steps", "VNet1")
        # What the file has by now is not taken back, nor what is gone already.
        file.write_text(BEGINNING.replace("front: 10.2.0.0/24", "front: 10.2.0.0/24, GatewaySubnet: 10.2.255.0/27"))
        done = rootlab.run("up", file)
        assert done.returncode == 0
        assert done.stderr == (
            "steps: taken back: connections.VNet1 to far, local_networks.far, local_networks.lost, "
            f"virtual_networks.VNet1.subnets.GatewaySubnet; commands made this, and {file} does not have it; "
            "what shall stay must be in the file\n"
        )
        assert rootlab.run("up", file).stderr == ""


def test_a_network_that_is_added_while_a_lab_runs(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, BEGINNING):
        words = [
            "network",
            "add",
            "steps",
            "VNet3",
            "--address-space",
            "10.3.0.0/16",
            "--subnet",
            "GatewaySubnet=10.3.9.0/27",
        ]
        rootlab.ok(*words)
        assert json.loads(rootlab.ok("show", "steps", "-o", "json"))["virtual_networks"]["VNet3"] == "Created"
        assert "is there already" in refused(*words)
        assert "overlap" in refused("network", "subnet", "steps", "VNet3", "more", "10.3.9.0/28")


def test_a_gateway_that_a_file_does_not_have_is_gone_after_up_even_if_its_agent_died(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, BEGINNING):
        rootlab.ok("network", "subnet", "steps", "VNet1", "GatewaySubnet", "10.1.255.0/27")
        rootlab.ok("gateway", "create", "steps", "VNet1", "--routing", "dynamic")
        rootlab.wait_until(lambda: gateway("VNet1")["Status"] == "Connecting", "built", lambda: gateway("VNet1"))
        rootlab.end_agent("steps")
        rootlab.wait_until(lambda: gateway("VNet1")["Status"] == "Unknown", "no agent", lambda: gateway("VNet1"))
        rootlab.ok("up", tmp_path / "steps.lab.yaml")
        assert "gw.VNet1" not in rootlab.ok("show", "steps")
        assert rootlab.ok("gateway", "show", "steps") == "no gateway (NotProvisioned)\n"


def test_a_command_that_finds_its_agent_dead_starts_it_again(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, BEGINNING):
        rootlab.end_agent("steps")
        rootlab.wait_until(lambda: "the agent does not run" in rootlab.ok("show", "steps"), "no agent")
        rootlab.ok("network", "subnet", "steps", "VNet1", "GatewaySubnet", "10.1.255.0/27")
        assert rootlab.ok("show", "steps").startswith("steps: running; ")
        assert rootlab.ask("steps", "vm1", "http://10.1.0.4/")["node"] == "vm1"


def test_what_is_refused_names_the_reason_and_changes_nothing(tmp_path: Path) -> None:
    with rootlab.running(tmp_path, BEGINNING):
        before = StateDir("steps").network_file.read_bytes()
        rootlab_errors = {
            (
                "gateway",
                "key",
                "set",
                "steps",
                "VNet1",
                "VNet2",
                "--key",
                "x" * 129,
            ): "a key of 129 characters, not shown here",
            (
                "gateway",
                "key",
                "set",
                "steps",
                "VNet1",
                "VNet2",
                "--key",
                "A1b2",
            ): 'no connection of "VNet1" to "VNet2"',
            ("gateway", "connect", "steps", "VNet1", "nowhere"): 'no local network "nowhere"',
            ("gateway", "create", "steps", "VNet9", "--routing", "dynamic"): 'no virtual network "VNet9"; ',
            (
                "local-network",
                "add",
                "steps",
                "s",
                "--address-space",
                "10.9.0.1/16",
                "--address",
                "5.4.3.2",
            ): "host bits",
            (
                "local-network",
                "add",
                "steps",
                "s",
                "--address-space",
                "10.9.0.0/16",
                "--address",
                "here",
            ): "is no IPv4 address",
            ("local-network", "add", "steps", "s", "--address-space", "10.9.0.0/16"): "which may be a placeholder",
        }
        for words, reason in rootlab_errors.items():
            said = refused(*words)
            assert reason in said
            assert "x" * 129 not in said
        assert StateDir("steps").network_file.read_bytes() == before
