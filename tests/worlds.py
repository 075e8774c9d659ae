"""Small named networks. Each is a function; what its docstring does not say is not in it."""

from lab.azure.model import Network
from lab.topology import parse

_OUTSIDE = """
internet:
  far: {address: 198.51.100.20, services: [http:80, udp:9000]}
  client: {address: 198.51.100.30}
"""
_VNET = """
virtual_networks:
  vnet1: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24, back: 10.1.1.0/24}}
"""


def network(text: str, name: str = "world") -> Network:
    """Return the network of a YAML text without its name."""
    return parse(f"name: {name}\n{text}", "world.lab.yaml")


def one_vm() -> Network:
    """One VM, which stands alone."""
    return network(_OUTSIDE + _VNET + "virtual_machines: {vm: {subnet: vnet1/front, services: [http:80]}}")


def one_vm_with_public_ip() -> Network:
    """One VM with an address of its own and a DNS label."""
    own = "{name: ip, address: 104.43.142.188, domain_name_label: shop}"
    vm = f"{{subnet: vnet1/front, services: [http:80], instance_public_ip: {own}}}"
    return network(f"{_OUTSIDE}{_VNET}virtual_machines: {{vm: {vm}}}")


def pool_without_rule() -> Network:
    """A VM in a backend pool that no rule names, and one that stands alone."""
    return network(
        f"""{_OUTSIDE}{_VNET}
virtual_machines: {{pooled: {{subnet: vnet1/front}}, alone: {{subnet: vnet1/front}}}}
load_balancers:
  lb1: {{frontend_ip_configurations: {{public: 40.1.1.1}}, backend_address_pools: {{pool: [pooled]}}}}
"""
    )


def nat_rule_only(sku: str = "Basic") -> Network:
    """A VM bound to a frontend by an inbound NAT rule, 50001 to 22, and by nothing else."""
    return network(
        f"""{_OUTSIDE}{_VNET}
virtual_machines: {{vm: {{subnet: vnet1/front, services: [ssh:22]}}}}
load_balancers:
  lb1:
    sku: {sku}
    frontend_ip_configurations: {{public: 40.1.1.1}}
    inbound_nat_rules: {{ssh: {{frontend: public, virtual_machine: vm, frontend_port: 50001, backend_port: 22}}}}
"""
    )


def load_balanced(
    count: int,
    *,
    probe_port: int = 80,
    distribution: str = "Default",
    time_scale: int = 1,
    snat_ports: int | None = None,
) -> Network:
    """VMs web1, web2, … behind port 80 of one frontend; they listen on 80."""
    names = [f"web{number}" for number in range(1, count + 1)]
    machines = "".join(f"  {name}: {{subnet: v/s, services: [http:80]}}\n" for name in names)
    overrides = f"time_scale: {time_scale}" + (f", snat_ports_per_vm: {snat_ports}" if snat_ports else "")
    return network(
        f"""{_OUTSIDE}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/16}}}}}}
virtual_machines:
{machines}
load_balancers:
  lb1:
    frontend_ip_configurations: {{public: 40.1.1.1}}
    backend_address_pools: {{pool: [{", ".join(names)}]}}
    probes: {{alive: {{protocol: Http, port: {probe_port}, interval_in_seconds: 5, number_of_probes: 2}}}}
    load_balancing_rules:
      web: {{frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80,
            load_distribution: {distribution}}}
overrides: {{{overrides}}}
"""
    )


def balanced(count: int, *, profile: str, sku: str = "Standard", frontends: int = 1, snat_ports: int = 0) -> Network:
    """VMs web1, web2, … and as many frontends 40.1.1.1, 40.1.1.2, … as asked for, a rule from each of these to all VMs.

    Rule n is for TCP port 79 + n of frontend n, and of the VMs; there is one for UDP beside it.
    """
    names = [f"web{number}" for number in range(1, count + 1)]
    rules = "".join(
        f"      {r}{n}: {{frontend: f{n}, backend_pool: pool, probe: p, protocol: {protocol}, "
        f"frontend_port: {p}, backend_port: {p}}}\n"
        for n, p in enumerate(range(80, 80 + frontends), start=1)
        for r, protocol in (("r", "Tcp"), ("u", "Udp"))
    )
    return network(
        f"""{_OUTSIDE}
profile: {profile}
virtual_networks: {{v: {{address_space: [10.1.0.0/16], subnets: {{s: 10.1.0.0/16}}}}}}
virtual_machines: {{{", ".join(f"{name}: {{subnet: v/s}}" for name in names)}}}
load_balancers:
  lb1:
    sku: {sku}
    frontend_ip_configurations: {{{", ".join(f"f{n}: 40.1.1.{n}" for n in range(1, frontends + 1))}}}
    backend_address_pools: {{pool: [{", ".join(names)}]}}
    probes: {{p: {{port: 80}}}}
    load_balancing_rules:
{rules}
overrides: {{{f"snat_ports_per_vm: {snat_ports}" if snat_ports else ""}}}
"""
    )


def several_frontends() -> Network:
    """VM `many` linked to three frontends of one load balancer."""
    rules = "".join(
        f"      r{n}: {{frontend: f{n}, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: {79 + n}}}\n"
        for n in (1, 2, 3)
    )
    return network(
        f"""{_OUTSIDE}{_VNET}
virtual_machines: {{many: {{subnet: vnet1/back, services: [http:80]}}}}
load_balancers:
  lb1:
    frontend_ip_configurations: {{f1: 40.1.1.1, f2: 40.1.1.2, f3: 40.1.1.3}}
    backend_address_pools: {{pool: [many]}}
    probes: {{alive: {{port: 80}}}}
    load_balancing_rules:
{rules}"""
    )


def two_networks() -> Network:
    """Two virtual networks with the same address space, a VM in each, and no load balancer."""
    vnet = "{address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}"
    return network(
        f"{_OUTSIDE}virtual_networks: {{v1: {vnet}, v2: {vnet}}}\n"
        "virtual_machines: {a: {subnet: v1/s}, b: {subnet: v2/s}}"
    )


def three_ways_out() -> Network:
    """One VM of each row of Outbound connections (2017-05-31) table: `own`, `web` behind a frontend, `alone`.

    A name server outside.
    """
    return network(
        """
internet:
  far: {address: 198.51.100.20, services: [http:80, ssh:22]}
  resolver: {address: 208.67.222.222, services: [dns:53]}
  client: {address: 198.51.100.30}
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}
virtual_machines:
  own: {subnet: v/s, services: [http:80], instance_public_ip: {name: ip, address: 104.43.142.188}}
  web: {subnet: v/s, services: [http:80]}
  web2: {subnet: v/s, services: [http:80]}
  alone: {subnet: v/s}
load_balancers:
  lb1:
    frontend_ip_configurations: {public: 40.1.1.1}
    backend_address_pools: {pool: [web, web2]}
    probes: {alive: {port: 80}}
    load_balancing_rules:
      web: {frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}
"""
    )


def healthy_and_sick() -> Network:
    """VM `well` behind one load balancer, and `sick`, whose probe's port nobody listens on, behind another."""
    balancer = """
  lb-%s:
    frontend_ip_configurations: {public: 40.1.1.%d}
    backend_address_pools: {pool: [%s]}
    probes: {alive: {port: %d}}
    load_balancing_rules:
      web: {frontend: public, backend_pool: pool, probe: alive, frontend_port: 80, backend_port: 80}"""
    return network(
        f"""{_OUTSIDE}{_VNET}
virtual_machines:
  well: {{subnet: vnet1/front, services: [http:80]}}
  sick: {{subnet: vnet1/front, services: [http:80]}}
load_balancers:{balancer % ("well", 1, "well", 80)}{balancer % ("sick", 2, "sick", 8080)}
"""
    )


def guarded() -> Network:
    """VM `web` in a subnet that lets the internet in to port 80 and nothing out to it, and `db` without a group."""
    return network(
        f"""{_OUTSIDE}
virtual_networks:
  v:
    address_space: [10.1.0.0/16]
    subnets: {{s: {{address_prefix: 10.1.0.0/24, network_security_group: front}}, t: 10.1.1.0/24}}
virtual_machines:
  web: {{subnet: v/s, services: [http:80], instance_public_ip: {{name: ip, address: 104.43.142.188}}}}
  db: {{subnet: v/t, services: [tcp:1433]}}
network_security_groups:
  front:
    - {{name: allow-http, priority: 100, direction: Inbound, access: Allow, protocol: Tcp,
       source_address_prefix: Internet, destination_port_range: 80}}
    - {{name: no-internet, priority: 100, direction: Outbound, access: Deny, destination_address_prefix: Internet}}
"""
    )


def classic(more: str = "", *, services: str = "") -> Network:
    """Service `shop` of vm1 and vm2: 80 of Vip1 leads to vm1:8080, 81 of Vip2 to 8181 of both; Vip3 has no endpoint.

    ``more``: further endpoints, as lines of a YAML list. ``services``: other keys of the file.
    """
    of_set = "name: lb, load_balanced_set: set, virtual_ip: Vip2, local_port: 8181, public_port: 81"
    return network(
        f"""{_OUTSIDE}{_VNET}
virtual_machines: {{vm1: {{subnet: vnet1/front}}, vm2: {{subnet: vnet1/front}}}}
cloud_services:
  shop:
    virtual_machines: [vm1, vm2]
    virtual_ips: {{Vip1: {{address: 40.1.1.1}}, Vip2: {{address: 40.1.1.2}}, Vip3: {{}}}}
    endpoints:
      - {{name: web, virtual_machine: vm1, local_port: 8080, public_port: 80}}
      - {{{of_set}, virtual_machine: vm1}}
      - {{{of_set}, virtual_machine: vm2}}
{more}
{services}
"""
    )
