"""What each key of a topology says, for editors and for the reference: one sentence a key.

``tests/unit/topology/test_descriptions.py`` holds that no key of the schema is without one, and that none is here
that is no key.
"""

from typing import Any

_SERVICES = (
    "Servers that run in it: KIND:PORT with http, https, tcp, udp, dns, ssh or ftp; or a program of yours as a mapping"
)
_NSG = "The network security group that filters its traffic"
_SUBNET = "The subnet that it is placed in, as NETWORK/SUBNET"
_IDLE = "Minutes after which a flow without traffic is over"
_RESET = "Whether both ends are told by a TCP reset that an idle flow is over"
_FLOATING = "Whether the frontend's address stays the destination up to the guest (direct server return)"
_FRONTEND = "The frontend that it receives at, by name"
_PROTOCOL = "Tcp or Udp"

DESCRIPTIONS: dict[str, dict[str, str]] = {
    "PrivateFrontend": {
        "subnet": "The subnet that its address is in, as NETWORK/SUBNET",
        "private_ip_address": "Its address; left out, one is allocated",
    },
    "Topology": {
        "name": "The lab's name: lower-case letters, digits and dashes, up to 20",
        "profile": "The revision of the documents that is played; `lab claims --profiles` lists them",
        "internet": "Hosts outside Azure, by name",
        "virtual_networks": "Virtual networks, by name",
        "virtual_machines": "Virtual machines, by name",
        "load_balancers": "Load balancers of the Resource Manager model, by name",
        "cloud_services": "Classic cloud services, by name",
        "reserved_ips": "Reserved public addresses, by name",
        "nat_gateways": "NAT gateways, by name",
        "vpn_gateways": "VPN gateways, each by the name of its virtual network",
        "local_networks": "What tunnels lead to, by name: sites, or other virtual networks",
        "connections": "Tunnels from virtual networks to local networks",
        "network_security_groups": "Network security groups by name, each a list of rules",
        "overrides": "Departures from the documents, for experiments; they are named in every verdict",
        "expect": "What you believe of flows and programs; `lab verify` judges it by packets",
    },
    "AclRule": {
        "order": "Rules with a lower number are asked first",
        "action": "permit or deny",
        "remote_subnet": "The clients that it is for, as a prefix",
        "description": "Words for the reader",
    },
    "CloudService": {
        "location": "The region that it is in",
        "subscription": "The subscription that it belongs to",
        "virtual_machines": "The VMs that it has, by name",
        "roles": "Roles of a PaaS service, by name; a number alone says how many instances",
        "virtual_ips": "Its VIPs, by name; left out, there is one, Vip1",
        "default_virtual_ip": "The VIP that its name leads to; left out, the first by name",
        "endpoints": "Public ports of its VIPs",
        "redeploying": "Whether its VMs count twice for SNAT ports, as during a redeployment",
    },
    "Connection": {
        "virtual_network": "The virtual network whose gateway begins the tunnel",
        "local_network": "The local network that the tunnel leads to",
        "shared_key": "The key that both ends have: letters and digits; left out, one is made",
    },
    "Endpoint": {
        "name": "Its name, unique in the service",
        "virtual_machine": "The VM that it leads to; of this and `role`, one",
        "role": "The role whose instances it leads to; of this and `virtual_machine`, one",
        "protocol": "tcp or udp",
        "local_port": "The port of the VM",
        "public_port": "The port of the VIP; left out, a free one",
        "virtual_ip": "The VIP that it is on; left out, the default one",
        "load_balanced_set": "The load-balanced set that it is a member of",
        "probe": "How a member of a set is probed: default, none, or a mapping",
        "idle_timeout_in_minutes": _IDLE,
        "load_balancer_distribution": "What chooses a member: none (all five values), sourceIP or sourceIPProtocol",
        "direct_server_return": _FLOATING,
        "acl": "Who may use it: rules in the order of their numbers",
    },
    "EndpointProbe": {
        "protocol": "tcp or http",
        "port": "The port that is asked; left out, the local port",
        "path": "What an HTTP probe asks for",
        "interval_in_seconds": "Seconds from one probe to the next",
        "timeout_in_seconds": "Seconds without a success after which a member is down",
    },
    "Expectation": {
        "from": "The node that begins, or that runs the program",
        "to": "Where a flow goes: NODE:PORT/PROTOCOL or ADDRESS:PORT/PROTOCOL",
        "run": "A program that is run in the node, as a list of arguments; no shell reads it",
        "exit_status": "How the program must end; left out, 0",
        "output": "A text that the program's standard output must have in it",
        "output_matches": "A regular expression that must match somewhere in the program's standard output",
        "timeout_in_seconds": "Seconds after which the program is ended and the expectation contradicted; left out, 10",
        "source_ip": "The source address that the far side must see",
        "source_port": "The source port, or range of them, that the far side must see",
        "answered_by": "The nodes that answer: every answer is one of these, and each is seen",
        "outcome": "answered, refused or timeout",
        "claim": "The claim that this belongs to, or a name of yours for it",
    },
    "Host": {"address": "Its public address", "services": _SERVICES},
    "InboundNatRule": {
        "frontend": _FRONTEND,
        "virtual_machine": "The VM that it leads to",
        "protocol": _PROTOCOL,
        "frontend_port": "The port of the frontend",
        "backend_port": "The port of the VM",
        "idle_timeout_in_minutes": _IDLE,
        "enable_floating_ip": _FLOATING,
        "enable_tcp_reset": _RESET,
    },
    "Peering": {
        "remote_virtual_network": "The virtual network at the other end, by name",
        "allow_virtual_network_access": "Whether the two may reach each other",
        "allow_forwarded_traffic": "Whether what the other network forwards, and did not begin, is let in",
        "allow_gateway_transit": "Whether the other network may use the gateway of this one",
        "use_remote_gateways": "Whether tunnels of the other network's gateway are used",
    },
    "InstancePublicIp": {
        "name": "The name of the public IP",
        "address": "The address; left out, one is allocated",
        "domain_name_label": "Its name in DNS, below the region's domain",
        "idle_timeout_in_minutes": _IDLE,
        "sku": "Basic or Standard",
    },
    "LoadBalancer": {
        "sku": "Basic or Standard",
        "frontend_ip_configurations": "Its public or private addresses, by name; one left out is allocated",
        "backend_address_pools": "Pools, by name, each a list of VMs; membership alone binds nothing",
        "probes": "How members are asked for their health, by name",
        "load_balancing_rules": "Rules that spread a frontend's port over a pool, by name",
        "inbound_nat_rules": "Rules that lead a frontend's port to one VM, by name",
        "outbound_rules": "Rules of a Standard load balancer for the ways out of a pool, by name",
    },
    "LoadBalancingRule": {
        "frontend": _FRONTEND,
        "backend_pool": "The pool that it spreads over, by name",
        "probe": "The probe that members must answer, by name; left out, all are taken to be up",
        "protocol": _PROTOCOL,
        "frontend_port": "The port of the frontend",
        "backend_port": "The port of the members",
        "load_distribution": "By what a flow's member is chosen: Default (five values), SourceIP, SourceIPProtocol",
        "idle_timeout_in_minutes": _IDLE,
        "enable_floating_ip": _FLOATING,
        "enable_tcp_reset": _RESET,
        "disable_outbound_snat": "Whether it leaves the pool's way out alone",
    },
    "LocalNetwork": {
        "address_space": "The ranges behind it, as prefixes",
        "vpn_gateway": "The gateway of this file at its end; of this and `vpn_gateway_address`, one",
        "vpn_gateway_address": "The public address of its VPN device; of this and `vpn_gateway`, one",
        "vpn_device": "Has the lab play the VPN device of a site",
    },
    "NatGateway": {
        "sku": "Standard",
        "public_ip_addresses": "The public addresses that its subnets leave by",
        "public_ip_prefixes": "Ranges of public addresses that its subnets leave by",
        "idle_timeout_in_minutes": _IDLE,
    },
    "NetworkInterface": {
        "subnet": _SUBNET,
        "private_ip_address": "Its address; left out, one is allocated",
        "network_security_group": _NSG,
        "primary": "Whether it is the primary interface; left out everywhere, the first by name is",
    },
    "OutboundRule": {
        "frontends": "The frontends that flows leave by, by name",
        "backend_pool": "The pool whose VMs it is for, by name",
        "protocol": "Tcp, Udp or All",
        "allocated_outbound_ports": "SNAT ports of each VM and frontend; 0: by the documents' table",
        "idle_timeout_in_minutes": _IDLE,
        "enable_tcp_reset": _RESET,
    },
    "Overrides": {
        "nat_gateway_ports": "SNAT ports of each address of a NAT gateway, instead of the documents' number",
        "snat_ports_per_vm": "SNAT ports of each VM, instead of the documents' table",
        "time_scale": "Every timer of the documents runs so many times faster",
    },
    "Probe": {
        "protocol": "Tcp or Http",
        "port": "The port of the member that is asked",
        "request_path": "What an HTTP probe asks for",
        "interval_in_seconds": "Seconds from one probe to the next; left out, as the profile says",
        "number_of_probes": "Failures in a row after which a member is down",
        "probe_threshold": "Successes or failures in a row after which a member is up or down, in later revisions",
        "no_healthy_backends_behavior": "What becomes of new flows when every member is down",
    },
    "Program": {
        "name": "What its log is called; left out, its program's name",
        "exec": "The program and its arguments, as a list; no shell reads it",
        "port": "The port that it listens on: what is predicted and shown of the node",
        "protocol": "tcp or udp, of the port",
        "env": "Variables of its environment, besides LAB_NAME, LAB_NODE and LAB_FILES",
        "cwd": "The folder that it starts in, from that of the topology file",
        "ready": "When it is ready: bound to a port, or after a time such as 2s; left out, when bound to its port",
        "restart": "Whether it is started again when it ends: always or never",
    },
    "ReservedIp": {
        "address": "The address; left out, one is allocated",
        "location": "The region that it is for",
        "label": "Words for the reader",
    },
    "Role": {
        "instances": "How many instances it has, each a VM of its own",
        "subnet": _SUBNET,
        "services": "Servers that run in each instance: KIND:PORT with http, https, tcp, udp, dns, ssh or ftp",
        "instance_public_ip": "A public address of each instance's own",
    },
    "SecurityRule": {
        "name": "Its name, unique in the group",
        "priority": "Rules with a lower number are asked first: 100 to 4096",
        "direction": "Inbound or Outbound",
        "access": "Allow or Deny",
        "protocol": "Tcp, Udp, Icmp or *",
        "source_address_prefix": "The senders: a prefix, an address, a service tag or *",
        "source_address_prefixes": "The senders, as a list",
        "source_port_range": "The senders' ports: a port, a range or *",
        "source_port_ranges": "The senders' ports, as a list",
        "destination_address_prefix": "The receivers: a prefix, an address, a service tag or *",
        "destination_address_prefixes": "The receivers, as a list",
        "destination_port_range": "The receivers' ports: a port, a range or *",
        "destination_port_ranges": "The receivers' ports, as a list",
    },
    "Subnet": {
        "address_prefix": "Its range, within the network's address space",
        "network_security_group": _NSG,
        "nat_gateway": "The NAT gateway that its VMs leave by",
        "default_outbound_access": "Whether its VMs may leave by the platform's default address",
    },
    "VirtualIp": {
        "reserved_ip": "The reserved address that it has, by name",
        "address": "Its address; left out, one is allocated",
    },
    "VirtualMachine": {
        "subnet": _SUBNET,
        "private_ip_address": "Its address; left out, one is allocated",
        "network_interfaces": "Several interfaces, by name, instead of one",
        "services": _SERVICES,
        "instance_public_ip": "A public address of its own, which goes before every load balancer",
        "availability_set": "The availability set that it is in",
        "size": "What its size is called; it changes nothing here",
        "network_security_group": _NSG,
        "loopback_addresses": "Frontends' addresses that its guest has, as rules with floating IP ask for",
    },
    "VirtualNetwork": {
        "location": "The region that it is in",
        "subscription": "The subscription that it belongs to",
        "address_space": "Its ranges, as prefixes",
        "subnets": "Its subnets, by name; a prefix alone is the short form",
        "dns_servers": "The resolvers of its VMs; left out, Azure's own",
        "peerings": "Its halves of peerings with other virtual networks, by name; each needs the other half as well",
    },
    "VpnDevice": {
        "private_ip_address": "Its address on the site's side; left out, the fourth of the site's first range",
        "services": "Servers that run in it: KIND:PORT with http, https, tcp, udp, dns, ssh or ftp",
    },
    "VpnGateway": {
        "routing": "dynamic (route-based) or static (policy-based)",
        "sku": "Basic, Standard or HighPerformance",
        "address": "Its public address; left out, one is allocated",
        "bandwidth": "unlimited, or documented: as slow as the documents say",
    },
}


def describe(schema: dict[str, Any]) -> None:
    """Give every key of a schema its description."""
    for name, part in {"Topology": schema, **schema["definitions"]}.items():
        for key, rule in part.get("properties", {}).items():
            said = DESCRIPTIONS.get(name, {}).get(key)
            if said is not None:
                rule["description"] = said
