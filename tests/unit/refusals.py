"""What a bad topology is answered with, for the tests of messages."""

import pytest

from lab.errors import TopologyError
from lab.topology import parse

#: Beginnings of files; the numbers of their lines are 1, 2 and on.
NETWORK = """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
"""
MACHINE = NETWORK + "virtual_machines: {vm: {subnet: v/s}}\n"
BALANCER = (
    MACHINE
    + """\
load_balancers:
  lb:
    frontend_ip_configurations: {public: 40.1.1.1}
    backend_address_pools: {pool: [vm]}
    probes: {alive: {port: 80, interval_in_seconds: 5}}
"""
)


def said(text: str) -> list[str]:
    """Return the lines a topology called `f` is refused with."""
    with pytest.raises(TopologyError) as caught:
        parse(text, "f")
    return list(caught.value.lines)
