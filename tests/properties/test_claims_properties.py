"""Whatever a valid file has, the claims that apply to it can be told: no shape of it ends in an error."""

import pytest
from hypothesis import given, settings

from lab import topology
from lab.azure.model import Network
from lab.verify import claims
from tests.strategies import networks

SETS = """\
name: sets
internet: {far: {address: 198.51.100.10}}
virtual_networks: {v: {address_space: [10.0.0.0/16], subnets: {s: 10.0.0.0/24}}}
virtual_machines: {a: {subnet: v/s, services: [http:80]}, b: {subnet: v/s}}
cloud_services:
  shop:
    virtual_machines: [a, b]
    endpoints:
      - {name: e, load_balanced_set: x, virtual_machine: a, protocol: tcp, local_port: 80, public_port: 80PROBE}
      - {name: e, load_balanced_set: x, virtual_machine: b, protocol: tcp, local_port: 80, public_port: 80PROBE}
"""


@settings(max_examples=25)
@given(networks())
def test_the_trials_of_any_network_can_be_told(network: Network):
    for _, found in claims.trials(network):
        assert found


@pytest.mark.parametrize("probe", ["", ", probe: {port: 80}", ", probe: default"])
def test_sets_of_one_kind_alone_are_no_error(probe: str):
    """A claim that compares sets with a probe and without has nothing to say of a file with one of them."""
    network = topology.parse(SETS.replace("PROBE", probe), "f")
    assert "N-HP-5" not in dict(claims.trials(network))
