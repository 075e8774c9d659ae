"""The words of every refusal that concerns cloud services, their VIPs and endpoints, and reserved addresses."""

import pytest

from lab.topology import parse
from tests.unit.refusals import said

_HEAD = """\
name: a
virtual_networks:
  v:
    address_space: [10.1.0.0/16]
    subnets: {s: 10.1.0.0/24, g: {address_prefix: 10.1.1.0/24, network_security_group: n}}
  w: {address_space: [10.2.0.0/16], subnets: {s: 10.2.0.0/24}}
network_security_groups: {n: []}
virtual_machines: {vm: {subnet: v/s}, web: {subnet: v/s}, far: {subnet: w/s}, guarded: {subnet: v/g}}
"""  # eight lines


def _endpoints(*endpoints: str, vms: str = "vm, web") -> str:
    """Return a service whose endpoints are on the lines 13, 14 and on."""
    lines = "".join(f"      - {{{endpoint}}}\n" for endpoint in endpoints)
    return f"cloud_services:\n  shop:\n    virtual_machines: [{vms}]\n    endpoints:\n{lines}".replace(
        "shop:\n", "shop:\n", 1
    )


_WEB = "name: a, virtual_machine: vm, local_port: 80, public_port: 80"
_MEMBER = "name: a, load_balanced_set: s, virtual_machine: %s, local_port: %d, public_port: 80"
_PROBED = _MEMBER % ("vm", 80) + ", probe: %s"
_PROBES = "(schema-csdef-loadbalancerprobe.md, 2015-04-14)"
_DENY = "{order: %d, action: deny, remote_subnet: 10.0.0.%d/32}"
_LIMITS = "(virtual-network-ip-addresses-overview-classic.md, 2016-02-11)"
_RESERVED = "(virtual-networks-reserved-public-ip.md, 2016-02-10)"
_ACL = "(virtual-networks-acl.md, 2016-03-15)"
_SET = (
    'members of a load-balanced set ("s") have all but their names alike '
    "(load-balancer-custom-probe-overview.md, 2016-10-24)"
)
_AS_A_WHOLE = "make them alike, or change the set as a whole"


def _acl(*rules: str) -> str:
    return f", acl: [{', '.join(rules)}]"


#: Parts of a file after its eighth line, and the one thing that is said of each.
REFUSALS = {
    "a load balancer of the same name": (
        "load_balancers: {shop: {frontend_ip_configurations: {f: }}}\ncloud_services: {shop: {}}\n",
        (
            'f:10: cloud_services.shop: "shop" is also under load_balancers; a cloud service is a load balancer '
            "too, and "
            "their names are unique; rename one of the two"
        ),
    ),
    "VMs of two networks": (
        "cloud_services: {shop: {virtual_machines: [vm, far]}}\n",
        (
            "f:9: cloud_services.shop.virtual_machines: VMs of v, w; a cloud service cannot span virtual networks, "
            "connected "
            "or not (VNet to VNet connection, 2015-05-15, What to know); make one service for each virtual network"
        ),
    ),
    "VMs beside roles": (
        "cloud_services: {shop: {virtual_machines: [vm], roles: {Web: {subnet: v/s}}}}\n",
        (
            "f:9: cloud_services.shop.virtual_machines: virtual machines (vm) beside roles; a cloud service "
            "holds virtual "
            "machines (IaaS) or roles (PaaS); make two services"
        ),
    ),
    "several VIPs of a service with roles": (
        "cloud_services: {shop: {roles: {Web: {subnet: v/s}}, virtual_ips: {A: {}, B: {}}}}\n",
        (
            "f:9: cloud_services.shop.virtual_ips: 2 VIPs of a service with roles; several VIPs are for services of "
            "virtual "
            "machines only (Multiple VIPs, 2015-07-23, Limitations); keep one VIP"
        ),
    ),
    "six VIPs": (
        "cloud_services: {shop: {virtual_ips: {A: {}, B: {}, C: {}, D: {}, E: {}, F: {}}}}\n",
        (
            f"f:9: cloud_services.shop.virtual_ips: 6 VIPs; a service has at most 5 VIPs {_LIMITS}; remove some, or "
            f"make two "
            "services"
        ),
    ),
    "a second endpoint of a name": (
        _endpoints(_WEB, _WEB.replace("80", "81")),
        (
            'f:14: cloud_services.shop.endpoints.1.name: a second endpoint "a" of vm; an endpoint\'s name is unique '
            "at its VM; "
            "choose another name, or remove the first"
        ),
    ),
    "a port of a VIP twice": (
        _endpoints(_WEB, _WEB.replace("name: a, virtual_machine: vm", "name: b, virtual_machine: web")),
        (
            'f:14: cloud_services.shop.endpoints.1.public_port: 80/tcp of Vip1 is used by "a" of vm; a port of a VIP '
            "has one "
            "endpoint or one load-balanced set; choose another public port or VIP, or make both members of one set"
        ),
    ),
    "a port of a VM twice": (
        _endpoints(_WEB, _WEB.replace("name: a", "name: b").replace("public_port: 80", "public_port: 81")),
        (
            'f:14: cloud_services.shop.endpoints.1.local_port: vm:80/tcp is also the target of "a"; every endpoint '
            "needs its "
            "own port at the VM (load-balancer-multivip-overview.md, 2016-08-11); choose another local port"
        ),
    ),
    "an idle timeout of 3 minutes": (
        _endpoints(_WEB + ", idle_timeout_in_minutes: 3"),
        (
            "f:13: cloud_services.shop.endpoints.0.idle_timeout_in_minutes: 3; an idle timeout is 4 to 30 minutes "
            "(load-balancer-tcp-idle-timeout.md, 2016-10-24); use a value from 4 to 30"
        ),
    ),
    "an idle timeout of 31 minutes": (
        _endpoints(_WEB + ", idle_timeout_in_minutes: 31"),
        (
            "f:13: cloud_services.shop.endpoints.0.idle_timeout_in_minutes: 31; an idle timeout is 4 to 30 minutes "
            "(load-balancer-tcp-idle-timeout.md, 2016-10-24); use a value from 4 to 30"
        ),
    ),
    "direct server return to another port": (
        _endpoints(_WEB.replace("public_port: 80", "public_port: 81") + ", direct_server_return: true"),
        (
            "f:13: cloud_services.shop.endpoints.0.local_port: 80 for public port 81; with direct server return "
            "nothing is translated, so both are the same port (load-balancer-multivip-overview.md, 2016-08-11); "
            "use one port for both"
        ),
    ),
    "51 access rules": (
        _endpoints(_WEB + _acl(*(_DENY % (n, n) for n in range(51)))),
        (
            f"f:13: cloud_services.shop.endpoints.0.acl: 51 rules; an endpoint has at most 50 access rules {_ACL}; use "
            f"larger "
            "subnets"
        ),
    ),
    "two access rules of one order": (
        _endpoints(_WEB + _acl(_DENY % (1, 1), _DENY % (1, 2))),
        (
            "f:13: cloud_services.shop.endpoints.0.acl: 2 rules of order 1; the rule with the lowest order decides, "
            "so each "
            f"needs its own {_ACL}; give each another order"
        ),
    ),
    "an access list and a security group": (
        _endpoints(_WEB.replace("vm", "guarded") + _acl(_DENY % (1, 1)), vms="guarded"),
        (
            "f:13: cloud_services.shop.endpoints.0.acl: an access list beside the network security group of guarded; "
            "a VM has "
            "one or the other (virtual-networks-nsg.md, 2016-02-11); remove the list or the group"
        ),
    ),
    "an access list of another member, and a security group": (
        _endpoints(_MEMBER % ("vm", 80) + _acl(_DENY % (1, 1)), _MEMBER % ("guarded", 80), vms="vm, guarded"),
        (
            "f:14: cloud_services.shop.endpoints.1.acl: an access list beside the network security group of guarded; "
            "a VM has "
            "one or the other (virtual-networks-nsg.md, 2016-02-11); remove the list or the group"
        ),
    ),
    "members with other ports": (
        _endpoints(_MEMBER % ("vm", 80), _MEMBER % ("web", 81) + ", probe: {port: 80}"),
        (
            'f:14: cloud_services.shop.endpoints.1: "a" of web differs from "a" of vm in local_port; '
            f"{_SET}; {_AS_A_WHOLE}"
        ),
    ),
    "members with other probes": (
        _endpoints(_MEMBER % ("vm", 80) + ", probe: default", _MEMBER % ("web", 80) + ", probe: none"),
        f'f:14: cloud_services.shop.endpoints.1: "a" of web differs from "a" of vm in probe; {_SET}; {_AS_A_WHOLE}',
    ),
    "members with other timeouts and distributions": (
        _endpoints(
            _MEMBER % ("vm", 80),
            _MEMBER % ("web", 80) + ", idle_timeout_in_minutes: 9, load_balancer_distribution: sourceIP",
        ),
        (
            'f:14: cloud_services.shop.endpoints.1: "a" of web differs from "a" of vm in idle_timeout_in_minutes, '
            f"load_balancer_distribution; {_SET}; {_AS_A_WHOLE}"
        ),
    ),
    "members with other access lists": (
        _endpoints(_MEMBER % ("vm", 80) + _acl(_DENY % (1, 1)), _MEMBER % ("web", 80) + _acl(_DENY % (1, 2))),
        (
            f'f:12: cloud_services.shop.endpoints: 2 access lists in the set "s"; the list of one member is that of '
            f"all {_ACL}; "
            "give one member the list"
        ),
    ),
    "a VM in two services": (
        "cloud_services: {shop: {virtual_machines: [vm]}, mall: {virtual_machines: [vm]}}\n",
        (
            'f:9: cloud_services.shop.virtual_machines: "vm" is also in "mall"; a VM is in one cloud service, once; '
            "remove it "
            "from one of the two"
        ),
    ),
    "a VM twice in a service": (
        "cloud_services: {shop: {virtual_machines: [vm, vm]}}\n",
        (
            'f:9: cloud_services.shop.virtual_machines: "vm" is also in "shop"; a VM is in one cloud service, once; '
            "remove it "
            "from one of the two"
        ),
    ),
    "a VM of a service behind a load balancer": (
        (
            "cloud_services: {shop: {virtual_machines: [vm]}}\n"
            "load_balancers: {lb: {frontend_ip_configurations: {f: }, backend_address_pools: {p: [vm]}}}\n"
        ),
        (
            'f:10: load_balancers.lb: "vm" is in the cloud service "shop"; a VM is of the classic or of the Resource '
            "Manager "
            "model (Instance level public IP, 2016-02-10, Important); give it an endpoint instead, or take it "
            "out of the service"
        ),
    ),
    "21 reserved addresses": (
        f"reserved_ips: {{{', '.join(f'r{n}: {{}}' for n in range(21))}}}\n",
        (
            "f:9: reserved_ips: 21 reserved addresses; a subscription has at most 20 "
            "(virtual-network-ip-addresses-overview-classic.md (2016-02-11): limits); remove some"
        ),
    ),
    "a reserved address of two VIPs": (
        (
            "reserved_ips: {x: {}}\n"
            "cloud_services: {shop: {virtual_ips: {A: {reserved_ip: x}}}, mall: {virtual_ips: {A: {reserved_ip: x}}}}\n"
        ),
        (
            "f:9: reserved_ips.x: one address for mall/A and shop/A; a reserved address is one VIP's "
            f"{_RESERVED}; reserve another"
        ),
    ),
    "a reserved address of another region": (
        "reserved_ips: {x: {location: East US}}\ncloud_services: {shop: {virtual_ips: {A: {reserved_ip: x}}}}\n",
        (
            'f:10: cloud_services.shop.virtual_ips.A.reserved_ip: "x" of East US for a service of China North; a '
            "reserved "
            f"address is for services of its own region {_RESERVED}; reserve one there"
        ),
    ),
    "a reserved address that is not there": (
        "reserved_ips: {keepmy: {}}\ncloud_services: {shop: {virtual_ips: {A: {reserved_ip: keepme}}}}\n",
        (
            'f:10: cloud_services.shop.virtual_ips.A.reserved_ip: no reserved IP "keepme"; it must name a reserved IP '
            "of this "
            'file; did you mean "keepmy"?'
        ),
    ),
    "a reserved address and another one": (
        "reserved_ips: {x: {}}\ncloud_services: {shop: {virtual_ips: {A: {reserved_ip: x, address: 1.2.3.4}}}}\n",
        (
            'f:10: cloud_services.shop.virtual_ips.A.address: 1.2.3.4 beside the reserved address "x"; a VIP has the '
            "address "
            "that is reserved for it, or one of its own; remove one of the two"
        ),
    ),
    "a reserved address that a VM has": (
        "reserved_ips: {x: {address: 1.2.3.4}}\nload_balancers: {lb: {frontend_ip_configurations: {f: 1.2.3.4}}}\n",
        (
            "f:9: reserved_ips.x.address: 1.2.3.4 is also the address of "
            "load_balancers.lb.frontend_ip_configurations.f; an "
            "address has one owner; change one of the two, or leave it out to have one allocated"
        ),
    ),
    "a VM that is not there": (
        "cloud_services: {shop: {virtual_machines: [wep]}}\n",
        (
            'f:9: cloud_services.shop.virtual_machines.0: no virtual machine "wep"; it must name a virtual machine of '
            "this "
            'file; did you mean "web"?'
        ),
    ),
    "a default VIP that is not there": (
        "cloud_services: {shop: {default_virtual_ip: Vip2}}\n",
        (
            'f:9: cloud_services.shop.default_virtual_ip: no VIP "Vip2"; it must name a VIP of this file; did you mean '
            '"Vip1"?'
        ),
    ),
    "an endpoint on a VIP that is not there": (
        _endpoints(_WEB + ", virtual_ip: Vip9"),
        (
            'f:13: cloud_services.shop.endpoints.0.virtual_ip: no VIP "Vip9"; it must name a VIP of this file; did '
            "you mean "
            '"Vip1"?'
        ),
    ),
    "an endpoint to another service's VM": (
        _endpoints(_WEB.replace("vm", "far")),
        (
            'f:13: cloud_services.shop.endpoints.0.virtual_machine: no VM of the service "far"; it must name a '
            "VM of the "
            "service of this file; known: vm, web"
        ),
    ),
    "an endpoint to a role that is not there": (
        _endpoints("name: a, role: Web, local_port: 80"),
        (
            'f:13: cloud_services.shop.endpoints.0.role: no role of the service "Web"; it must name a role of the '
            "service of "
            "this file; none is defined"
        ),
    ),
    "an endpoint to nobody": (
        _endpoints("name: a, local_port: 80"),
        (
            "f:13: cloud_services.shop.endpoints.0: neither virtual_machine nor role; an endpoint leads to a VM of "
            "the service, "
            "or to a role; name one of them"
        ),
    ),
    "an endpoint to a VM and a role": (
        _endpoints(_WEB + ", role: Web"),
        (
            "f:13: cloud_services.shop.endpoints.0: both virtual_machine and role; an endpoint leads to a VM of the "
            "service, or "
            "to a role; name one of them"
        ),
    ),
    "a probe outside of a set": (
        _endpoints(_WEB + ", probe: default"),
        (
            "f:13: cloud_services.shop.endpoints.0.probe: a probe of an endpoint that is in no load-balanced set; "
            "only members "
            "of a set are probed (Multiple VIPs, 2015-07-23, load-balanced sets); name the set: "
            "load_balanced_set: NAME, or remove the "
            "probe"
        ),
    ),
    "a probe with a key that is not known": (
        _endpoints(_PROBED % "{protocol: http, path: /x, interval: 4}"),
        (
            'f:13: cloud_services.shop.endpoints.0.probe.interval: unknown key "interval"; keys are those of the '
            'vocabulary, or begin with "x-"; did you mean "interval_in_seconds"?'
        ),
    ),
    "a probe that is no word that is known": (
        _endpoints(_PROBED % "defualt"),
        (
            "f:13: cloud_services.shop.endpoints.0.probe: \"defualt\"; it must be 'default', 'none' or a mapping; "
            'did you mean "default"?'
        ),
    ),
    "a probe that is a list": (
        _endpoints(_PROBED % "[]"),
        (
            "f:13: cloud_services.shop.endpoints.0.probe: a list; it must be 'default', 'none' or a mapping; "
            "use one of them"
        ),
    ),
    "a path of a TCP probe": (
        _endpoints(_PROBED % "{path: /up}"),
        (
            'f:13: cloud_services.shop.endpoints.0.probe.path: "/up"; only an HTTP probe asks for a path; '
            "remove it, or choose HTTP"
        ),
    ),
    "a probe that comes too often": (
        _endpoints(_PROBED % "{interval_in_seconds: 4, timeout_in_seconds: 11}"),
        (
            "f:13: cloud_services.shop.endpoints.0.probe.interval_in_seconds: 4; the shortest interval is 5 s "
            f"{_PROBES}; use a longer one; --time-scale makes a lab's clock run faster"
        ),
    ),
    "a probe that is given up too early": (
        _endpoints(_PROBED % "{interval_in_seconds: 5, timeout_in_seconds: 10}"),
        (
            "f:13: cloud_services.shop.endpoints.0.probe.timeout_in_seconds: 10; the shortest timeout is 11 s "
            f"{_PROBES}; use a longer one; --time-scale makes a lab's clock run faster"
        ),
    ),
    "an instance with the name of a VM": (
        "cloud_services: {shop: {roles: {vm: {subnet: v/s}}}}\nvirtual_machines_: {}\n".replace(
            "virtual_machines_: {}\n", ""
        )
        + "internet: {vm_IN_0: {address: 1.2.3.4}}\n",
        (
            'f:9: cloud_services.shop.roles.vm: "vm_IN_0" is also under internet; a node\'s name must be unique in the '
            "lab, whatever "
            "its case; rename one of the two"
        ),
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_a_cloud_service_may_not_be_is_refused(what: str) -> None:
    text, line = REFUSALS[what]
    assert said(_HEAD + text) == [line]


def test_what_is_wrong_with_a_roles_endpoint_is_said_once_and_at_its_place() -> None:
    endpoint = "{name: %s, role: Web, local_port: %d, idle_timeout_in_minutes: %d}"
    text = (
        "cloud_services:\n  shop:\n    roles: {Web: {instances: 3, subnet: v/s}}\n    endpoints:\n"
        f"      - {endpoint % ('a', 80, 2)}\n      - {endpoint % ('b', 81, 5)}\n      - {endpoint % ('c', 82, 31)}\n"
    )
    assert [line.split(";")[0] for line in said(_HEAD + text)] == [
        "f:13: cloud_services.shop.endpoints.0.idle_timeout_in_minutes: 2",
        "f:15: cloud_services.shop.endpoints.2.idle_timeout_in_minutes: 31",
    ]


_ROLE = "cloud_services:\n  shop:\n    roles:\n      Web:\n        instances: 3\n"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("        instance_public_ip: {name: p, domain_name_label: a b}\n",
         ('f:14: cloud_services.shop.roles.Web.instance_public_ip.domain_name_label: "a b"; a label begins with a '
          "letter, ends with a letter or digit, and has up to 63 of them and dashes; correct it")),
        ("        instance_public_ip:\n          name: p\n          idle_timeout_in_minutes: 99\n",
         ("f:16: cloud_services.shop.roles.Web.instance_public_ip.idle_timeout_in_minutes: 99; an idle timeout is 4 to "
          "30 minutes (load-balancer-tcp-idle-timeout.md (2016-10-24)); use a value from 4 to 30")),
        ("        services: [http:80, tcp:80]\n",
         ("f:14: cloud_services.shop.roles.Web.services: 2 services on 80/tcp; one port has one service; give each its "
          "own port")),
        ("        subnet: v/t\n",
         ('f:14: cloud_services.shop.roles.Web.subnet: no subnet "v/t"; it must name a subnet of this file; did you '
          'mean "v/s"?')),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_roles_instances_is_said_once_and_where_the_role_says_it(more: str, line: str) -> None:
    assert said(_HEAD + _ROLE + more) == [line]


def test_two_roles_of_one_name_are_two_sets_of_vms_with_the_same_names() -> None:
    lines = said(_HEAD + "cloud_services: {mall: {roles: {Web: {subnet: v/s}}}, shop: {roles: {Web: {subnet: v/s}}}}\n")
    assert lines[0] == (
        'f:9: cloud_services.shop.roles.Web: "Web_IN_0" is the name of another VM; the instances of a role are '
        "VMs, and "
        "names of VMs are unique in the lab; rename the role"
    )


def test_an_endpoint_that_lacks_two_values_is_told_of_each_and_cut_once() -> None:
    assert said(_HEAD + _endpoints("virtual_machine: vm", _WEB)) == [
        'f:13: cloud_services.shop.endpoints.0: no "name"; "name" is required; add it',
        'f:13: cloud_services.shop.endpoints.0: no "local_port"; "local_port" is required; add it',
    ]


@pytest.mark.parametrize("direct", [0, 1], ids=["direct first", "direct last"])
def test_an_endpoint_with_direct_server_return_shares_a_port_of_its_vm_with_one_that_is_translated(direct: int) -> None:
    """The one ends at the VIP's address, the other at the VM's own (load-balancer-multivip-overview.md, 2016-08-11)."""
    both = [_WEB, _WEB.replace("name: a", "name: b") + ", virtual_ip: V2"]
    both[direct] += ", direct_server_return: true"
    text = _endpoints(*both).replace("    endpoints", "    virtual_ips: {Vip1: {}, V2: {}}\n    endpoints")
    parse(_HEAD + text.replace(both[0], both[0] + ", virtual_ip: Vip1"), "f")


def test_a_service_with_roles_has_one_reserved_address_as_the_schema_of_its_file_says() -> None:
    text = (
        _HEAD + "cloud_services: {shop: {roles: {W: 1}, virtual_ips: {A: {reserved_ip: x}, B: {reserved_ip: y}}}}\n"
        "reserved_ips: {x: {}, y: {}}\n"
    )
    assert (
        "f:9: cloud_services.shop.virtual_ips: 2 reserved addresses in one service with roles; its deployment has at "
        'most one (schema-cscfg-networkconfiguration.md, 2023-02-21); keep one: "x" of A or "y" of B'
    ) in said(text)
