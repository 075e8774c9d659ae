"""The words of every refusal of an operation on classic services; what is refused leaves nothing."""

import msgspec
import pytest

from lab.azure.cloud_services import MAX_ACL_RULES
from lab.azure.model import AclRule, EndpointProbe, Network
from lab.operations.base import Operation, Refused, changed
from lab.operations.cloud_service import AddService, AddVirtualMachine
from lab.operations.endpoint import AddEndpoint, RemoveEndpoint, SetEndpoint, SetLoadBalancedSet
from lab.operations.power import SetPower
from lab.operations.reserved_ip import AssociateIp, DisassociateIp, ReleaseIp, ReserveIp
from lab.operations.virtual_ip import AddVirtualIp, RemoveVirtualIp
from lab.topology import parse, parse_acl_rule

_RESERVED = "(virtual-networks-reserved-public-ip.md, 2016-02-10)"
_IDLE = "(load-balancer-tcp-idle-timeout.md, 2016-10-24)"
_ACL = "(virtual-networks-acl.md, 2016-03-15)"
_PROBES = "(schema-csdef-loadbalancerprobe.md, 2015-04-14)"
_SERVICE = "cloud_services.myService"

NETWORK = parse(
    """\
name: a
virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24, tiny: 10.1.9.0/29}}}
virtual_machines:
  {myVM1: {subnet: v/s}, myVM2: {subnet: v/s}, far: {}, free: {subnet: v/s}, t1: {subnet: v/tiny},
   t2: {subnet: v/tiny}, t3: {subnet: v/tiny}}
cloud_services:
  myService:
    virtual_machines: [myVM1, myVM2]
    virtual_ips: {Vip1: {}, Vip2: {}, Vip3: {}, Vip4: {}, Vip5: {reserved_ip: five}}
    endpoints:
      - {name: myEndpoint, virtual_machine: myVM1, local_port: 8080, public_port: 80, virtual_ip: Vip2}
      - {name: lb, virtual_machine: myVM1, local_port: 8181, public_port: 81, virtual_ip: Vip2, load_balanced_set: L}
      - {name: lb, virtual_machine: myVM2, local_port: 8181, public_port: 81, virtual_ip: Vip2, load_balanced_set: L}
  paas: {roles: {Web: {instances: 1, subnet: v/s}}}
  empty: {}
reserved_ips: {five: {}, spare: {}, east: {location: China East}}
""",
    "f",
)


def refused(operation: Operation, network: Network = NETWORK) -> list[str]:
    """Return the lines an operation is refused with, without its name."""
    with pytest.raises(Refused) as caught:
        changed(network, operation)
    return [line.removeprefix(f"{operation}: ") for line in str(caught.value).splitlines()]


def add(**more: object) -> AddEndpoint:
    values = {"virtual_machine": "myVM1", "name": "new", "local_port": 99, "public_port": 99} | more
    return AddEndpoint(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operation", "line"),
    [
        # VIPs
        (AddVirtualIp("myServic", "V"),
         'cloud_services: no cloud service "myServic"; it must name one of the lab; did you mean "myService"?'),
        (AddVirtualIp("myService", "Vip2"),
         f"{_SERVICE}.virtual_ips.Vip2: is there already; a VIP's name is unique in its service; choose another"),
        (AddVirtualIp("myService", "-2"),
         (f'{_SERVICE}.virtual_ips: "-2"; a name begins with a letter or digit and has up to 80 letters, digits, dots, '
         "dashes, underscores and spaces, with no space at its end; choose another")),
        (AddVirtualIp("myService", "Vip6"),
         (f"{_SERVICE}.virtual_ips: 6 VIPs; a service has at most 5 VIPs "
         "(virtual-network-ip-addresses-overview-classic.md, 2016-02-11); remove some, or make two services")),
        (AddVirtualIp("paas", "Vip2"),
         ("cloud_services.paas.virtual_ips: 2 VIPs of a service with roles; several VIPs are for services of virtual "
         "machines only (Multiple VIPs, 2015-07-23, Limitations); keep one VIP")),
        (RemoveVirtualIp("myService", "Vip9"),
         f'{_SERVICE}.virtual_ips: no VIP "Vip9"; it must name one of "myService"; did you mean "Vip5"?'),
        (RemoveVirtualIp("myService", "Vip2"),
         (f'{_SERVICE}.virtual_ips.Vip2: 3 endpoints ("myEndpoint" of myVM1, "lb" of myVM1, "lb" of myVM2); a VIP can '
         "be removed only while no endpoint is associated with it (Multiple VIPs, 2015-07-23, remove a VIP); "
         "remove them, or move "
         "their sets to another VIP")),
        (RemoveVirtualIp("myService", "Vip1"),
         (f"{_SERVICE}.virtual_ips.Vip1: the default VIP; the name of the service leads to it, so it stays as long as "
         "myService (Multiple VIPs, 2015-07-23); remove another")),
        # endpoints
        (add(virtual_machine="myVM"),
         'virtual_machines: no virtual machine "myVM"; it must name one of the lab; did you mean "myVM2"?'),
        (add(virtual_machine="free"),
         ("virtual_machines.free: in no cloud service; endpoints are of VMs in a cloud service (Multiple VIPs, "
             "2015-07-23); known: "
         "Web_IN_0, myVM1, myVM2")),
        (add(virtual_machine="Web_IN_0"),
         ('virtual_machines.Web_IN_0: an instance of a role of "paas"; endpoints of a role are in the service '
         f"definition, whose change is an upgrade of the deployment {_IDLE}; change the file, then run `lab up FILE`")),
        (add(virtual_ip="Vip"), (f'{_SERVICE}.virtual_ips: no VIP "Vip"; it must name one of "myService"; did you mean '
         '"Vip5"?')),
        (add(name="myEndpoint"),
         (f'{_SERVICE}.endpoints.myEndpoint.name: a second endpoint "myEndpoint" of myVM1; an endpoint\'s name is '
         "unique at its VM; choose another name, or remove the first")),
        (add(public_port=80, virtual_ip="Vip2"),
         (f'{_SERVICE}.endpoints.new.public_port: 80/tcp of Vip2 is used by "myEndpoint" of myVM1; a port of a '
         f'VIP has one '
         "endpoint or one load-balanced set; choose another public port or VIP, or make both members of one set")),
        (add(local_port=8080),
         (f'{_SERVICE}.endpoints.new.local_port: myVM1:8080/tcp is also the target of "myEndpoint"; every endpoint '
         "needs its own port at the VM (load-balancer-multivip-overview.md, 2016-08-11); choose another local port")),
        (add(public_port=70000), f"{_SERVICE}.endpoints.new.public_port: 70000; a port is 1 to 65535; correct it"),
        (add(local_port=0), f"{_SERVICE}.endpoints.new.local_port: 0; a port is 1 to 65535; correct it"),
        (add(idle_timeout_min=3),
         (f"{_SERVICE}.endpoints.new.idle_timeout_in_minutes: 3; an idle timeout is 4 to 30 minutes {_IDLE}; use a "
         "value from 4 to 30")),
        (add(idle_timeout_min=31),
         (f"{_SERVICE}.endpoints.new.idle_timeout_in_minutes: 31; an idle timeout is 4 to 30 minutes {_IDLE}; use "
         f"a value "
         "from 4 to 30")),
        (add(load_balanced_set="L", idle_timeout_min=15),
         (f"{_SERVICE}.endpoints.new: an idle timeout of one member of a set (15); the timeout of a "
         f"load-balanced set is "
         f"set on the set {_IDLE}; leave it out, then: lab endpoint set-lb a myService L")),
        (add(probe="default"),
         (f"{_SERVICE}.endpoints.new: a probe of an endpoint that is in no set; only members of a load-balanced "
         f"set are "
         "probed (Multiple VIPs, 2015-07-23, load-balanced sets); name the set, or no probe")),
        (add(load_balanced_set="M", probe=EndpointProbe(protocol="Tcp", port=1, interval_s=4)),
         (f"{_SERVICE}.endpoints.new.probe.interval_in_seconds: 4; the shortest interval is 5 s {_PROBES}; use "
         "a longer one; --time-scale makes a lab's clock run faster")),
        (add(load_balanced_set="M", probe=EndpointProbe(protocol="Http", port=1, timeout_s=10)),
         (f"{_SERVICE}.endpoints.new.probe.timeout_in_seconds: 10; the shortest timeout is 11 s {_PROBES}; use "
         "a longer one; --time-scale makes a lab's clock run faster")),
        (add(load_balanced_set="M", probe=EndpointProbe(protocol="Tcp", port=1, path="/up")),
         (f'{_SERVICE}.endpoints.new.probe.path: "/up"; only an HTTP probe asks for a path; remove it, or '
         "choose HTTP")),
        (SetEndpoint(virtual_machine="myVM1", name="lb", idle_timeout_min=15, local_port=1),
         (f'{_SERVICE}.endpoints.lb: local_port, idle_timeout_in_minutes of one member of the set "L"; members of a '
         f"load-balanced set are alike, and changed as a whole {_IDLE}; change the set: lab endpoint set-lb a "
         f"myService L")),
        (SetEndpoint(virtual_machine="myVM2", name="lbs", acl=()),
         f'{_SERVICE}.endpoints: no endpoint "lbs" of myVM2; it must name one of myVM2; did you mean "lb"?'),
        (RemoveEndpoint("myVM2", "myEndpoint"),
         f'{_SERVICE}.endpoints: no endpoint "myEndpoint" of myVM2; it must name one of myVM2; known: lb'),
        (SetLoadBalancedSet(service="myService", load_balanced_set="N", virtual_ip="Vip1"),
         f'{_SERVICE}.endpoints: no load-balanced set "N"; it must name one of "myService"; known: L'),
        (SetLoadBalancedSet(service="myService", load_balanced_set="L", virtual_ip="Vip0"),
         f'{_SERVICE}.virtual_ips: no VIP "Vip0"; it must name one of "myService"; did you mean "Vip5"?'),
        # reserved addresses
        (ReserveIp(name="five", location="China North"),
         "reserved_ips.five: is there already; a name is given once; choose another"),
        (ReserveIp(name="n", location="China North", service="myVM1"),
         ("virtual_machines.myVM1: a virtual machine; a reserved address is a VIP's of a cloud service, never a "
         "VM's own "
         f"{_RESERVED}; name its service: myService")),
        (ReserveIp(name="n", location="China North", service="myService", virtual_ip="Vip3"),
         (f"{_SERVICE}.virtual_ips.Vip3: no address; what is reserved of a service is the address that its VIP has "
         f"{_RESERVED}; start a VM of the service, or reserve an address and associate it")),
        (ReserveIp(name="n", location="China North", service="empty"),
         ("cloud_services.empty.virtual_ips.Vip1: no address; what is reserved of a service is the address that "
         "its VIP "
         f"has {_RESERVED}; start a VM of the service, or reserve an address and associate it")),
        (ReserveIp(name="n", location="China East", service="paas"),
         ('cloud_services.paas.virtual_ips.Vip1.reserved_ip: "n" of China East for a service of China North; a '
         'reserved '
         f"address is for services of its own region {_RESERVED}; reserve one there")),
        (ReleaseIp("fiv"), 'reserved_ips: no reserved IP "fiv"; it must name one of the lab; did you mean "five"?'),
        (ReleaseIp("five"),
         (f'reserved_ips.five: in use by Vip5 of "myService"; a reserved address that is in use cannot be deleted '
         f"{_RESERVED}; take it from the service first: lab reserved-ip disassociate a five myService")),
        (AssociateIp("five", "paas"),
         ("reserved_ips.five: one address for myService/Vip5 and paas/Vip1; a reserved address is one VIP's "
         f"{_RESERVED}; reserve another")),
        (AssociateIp("spare", "free"),
         ("virtual_machines.free: a virtual machine; a reserved address is a VIP's of a cloud service, never a "
         "VM's own "
         f"{_RESERVED}; name a cloud service")),
        (AssociateIp("spare", "myService", "Vip5"),
         (f'{_SERVICE}.virtual_ips.Vip5: it has "five"; a VIP has one address {_RESERVED}; take that one from '
         f'it first: '
         "lab reserved-ip disassociate a five myService")),
        (AssociateIp("east", "paas"),
         ('cloud_services.paas.virtual_ips.Vip1.reserved_ip: "east" of China East for a service of China North; a '
         f"reserved address is for services of its own region {_RESERVED}; reserve one there")),
        (DisassociateIp("five", "paas"),
         (f'cloud_services.paas.virtual_ips: none has "five"; one must have it {_RESERVED}; it is in use by '
         f'"myService"')),
        (DisassociateIp("spare", "paas"),
         (f'cloud_services.paas.virtual_ips: none has "spare"; one must have it {_RESERVED}; it is in use by no '
         f'service')),
        # services and VMs
        (AddService(name="MYSERVICE", location="x"),
         ("cloud_services.MYSERVICE: is there already; the name of a service is a name in DNS, and given once; choose "
         "another")),
        (AddVirtualMachine(service="empty", name="myVM1"),
         "virtual_machines.myVM1: is there already; names of VMs are unique in the lab; choose another"),
        (AddVirtualMachine(service="empty", name="n", subnet="v/t"),
         'virtual_networks: no subnet "v/t"; it must name one of the lab; did you mean "v/tiny"?'),
        (AddVirtualMachine(service="empty", name="n", subnet="_platform/_platform"),
         'virtual_networks: no subnet "_platform/_platform"; it must name one of the lab; known: v/s, v/tiny'),
        (AddVirtualMachine(service="empty", name="n", subnet="v/tiny"),
         "virtual_networks.v.subnets.tiny: 10.1.9.0/29 has no address left; it has 3 for VMs; choose a larger subnet"),
        (AddVirtualMachine(service="myService", name="n"),
         (f"{_SERVICE}.virtual_machines: VMs of _platform, v; a cloud service cannot span virtual networks, "
         f"connected or "
         "not (VNet to VNet connection, 2015-05-15, What to know); make one service for each virtual network")),
        (AddVirtualMachine(service="paas", name="n", subnet="v/s"),
         ("cloud_services.paas.virtual_machines: virtual machines (n) beside roles; a cloud service holds "
         "virtual machines "
         "(IaaS) or roles (PaaS); make two services")),
        (AddVirtualMachine(service="paas", name="n", subnet="v/s", reserved_ip="spare"),
         (f"cloud_services.paas: VMs already (Web_IN_0); a reserved address comes with the first VM of a "
         f"service, or is associated "
         f"{_RESERVED}; leave it out, then: lab reserved-ip associate a spare paas")),
        (SetPower("myVM", "Stopped"),
         'virtual_machines: no virtual machine "myVM"; it must name one of the lab; did you mean "myVM2"?'),
    ],
)  # fmt: skip
def test_an_operation_that_breaks_a_rule_is_refused(operation: Operation, line: str) -> None:
    before = msgspec.json.encode(NETWORK, enc_hook=str)
    assert refused(operation) == [line]
    assert msgspec.json.encode(NETWORK, enc_hook=str) == before


@pytest.mark.parametrize(
    ("more", "different"),
    [
        ({"local_port": 8182}, "local_port, probe"),
        ({"probe": "none"}, "probe"),
        ({"probe": EndpointProbe(protocol="Tcp", port=9)}, "probe"),
        ({"load_distribution": "SourceIP"}, "load_balancer_distribution"),
        ({"public_port": 82}, "public_port"),
    ],
)
def test_members_of_a_set_are_alike(more: dict[str, object], different: str) -> None:
    alone = changed(NETWORK, RemoveEndpoint("myVM2", "lb"))
    values = {"local_port": 8181, "public_port": 81, "virtual_ip": "Vip2", "probe": "default"} | more
    problems = refused(add(virtual_machine="myVM2", name="lb2", load_balanced_set="L", **values), alone)
    shown = "local_port" if different.startswith("local_port") else different
    assert len(problems) == 1
    assert f'"lb2" of myVM2 differs from "lb" of myVM1 in {shown}' in problems[0]
    assert 'members of a load-balanced set ("L") have all but their names alike' in problems[0]


def test_an_endpoint_has_fifty_access_rules_each_with_its_order() -> None:
    rules = tuple(parse_acl_rule({"order": n, "action": "deny", "remote_subnet": "175.1.0.1/24"}) for n in range(51))
    assert str(rules[0].remote_subnet) == "175.1.0.0/24"
    operation = SetEndpoint(virtual_machine="myVM1", name="myEndpoint", acl=rules)
    assert refused(operation) == [
        (
            f"{_SERVICE}.endpoints.myEndpoint.acl: 51 rules; an endpoint has at most {MAX_ACL_RULES} access rules "
            f"{_ACL}; use larger subnets"
        )
    ]
    twice: tuple[AclRule, ...] = (rules[0], rules[0])
    assert refused(SetEndpoint(virtual_machine="myVM1", name="myEndpoint", acl=twice)) == [
        (
            f"{_SERVICE}.endpoints.myEndpoint.acl: 2 rules of order 0; the rule with the lowest order decides, so each "
            f"needs its own "
            f"{_ACL}; give each another order"
        )
    ]
    changed(NETWORK, SetEndpoint(virtual_machine="myVM1", name="myEndpoint", acl=rules[:50]))


def test_what_is_deallocated_is_not_stopped() -> None:
    off = changed(NETWORK, SetPower("myVM1", "Deallocated"))
    assert refused(SetPower("myVM1", "Stopped"), off) == [
        (
            "virtual_machines.myVM1: is deallocated; a VM that is stopped keeps what it was given, and this one "
            "has given it "
            "back; start it first: lab vm start a myVM1"
        )
    ]


def test_a_reserved_address_is_for_regional_networks() -> None:
    grouped = tuple(msgspec.structs.replace(v, affinity_group="ag") for v in NETWORK.virtual_networks)
    network = msgspec.structs.replace(NETWORK, virtual_networks=grouped)
    line = (
        'cloud_services.paas.virtual_ips.Vip1.reserved_ip: "spare" for VMs of "v", which is in the affinity '
        'group "ag"; '
        f"a reserved address is for VMs of regional virtual networks only {_RESERVED}; use a network with a location"
    )
    assert line in refused(AssociateIp("spare", "paas"), network)


def test_a_subscription_has_twenty_reserved_addresses() -> None:
    full = NETWORK
    for number in range(17):
        full = changed(full, ReserveIp(name=f"r{number}", location="China North"))
    assert refused(ReserveIp(name="more", location="China North"), full) == [
        (
            "reserved_ips: 21 reserved addresses; a subscription has at most 20 "
            "(virtual-network-ip-addresses-overview-classic.md (2016-02-11): limits); remove some"
        )
    ]
