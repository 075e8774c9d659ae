"""Topology texts with the endpoints of a service of two VMs."""


def service_file(*endpoints: str) -> str:
    """Return a file with a service of two VMs, a and b."""
    lines = "".join(f"      - {{{endpoint}}}\n" for endpoint in endpoints)
    return f"""\
name: refused
virtual_networks: {{v: {{address_space: [10.0.0.0/16], subnets: {{s: 10.0.0.0/24}}}}}}
virtual_machines: {{a: {{subnet: v/s}}, b: {{subnet: v/s}}}}
cloud_services:
  shop:
    virtual_machines: [a, b]
    endpoints:
{lines}"""


def set_member(vm: str, more: str) -> str:
    """Return an endpoint of the set x at a VM; ``more``: further keys of it."""
    return f"name: e, load_balanced_set: x, virtual_machine: {vm}, local_port: 80, public_port: 80{more}"
