"""What a topology cannot say of Azure: a line for each resource and property that is left out, and what it would do."""

from typing import Any

import msgspec

from lab.formats.azure_resources import Resource, shown


class LeftOut(msgspec.Struct, frozen=True):
    """Something of the input that is not in the topology."""

    place: str
    found: str
    effect: str
    #: It may change what is asked; a note does not.
    warning: bool = True
    #: Whether an answer about the way out may be wrong because of it.
    way_out: bool = False

    def __str__(self) -> str:
        if not self.warning:
            return f"{self.place}: {self.found}: {self.effect}"
        wrong = "the way out may be wrong" if self.way_out else "the way out is not affected"
        return f"{self.place}: {self.found}: {self.effect}; {wrong}"


class Effect(msgspec.Struct, frozen=True):
    """What something would have changed."""

    text: str
    warning: bool = True
    way_out: bool = False


def _note(text: str) -> Effect:
    return Effect(text, warning=False)


def _wrong(text: str) -> Effect:
    return Effect(text, way_out=True)


_GUEST = _note("inside the guest, or where it runs; no packet changes")
_DATA = _note("it describes, and carries no packet")
#: Types of which nothing is in a topology.
TYPES: dict[str, Effect] = {
    "microsoft.compute/availabilitysets": _note("VMs name it as their availability_set"),
    "microsoft.compute/virtualmachines/extensions": _GUEST,
    "microsoft.compute/virtualmachinescalesets/extensions": _GUEST,
    "microsoft.network/applicationgateways": _note("it is on a way in, over addresses of its own"),
    "microsoft.network/applicationgatewaywebapplicationfirewallpolicies": _DATA,
    "microsoft.network/applicationsecuritygroups": Effect("security rules that name it match nothing"),
    "microsoft.network/azurefirewalls": _wrong("flows that routes lead to it leave by its addresses"),
    "microsoft.network/bastionhosts": _note("it is a way in, over an address of its own"),
    "microsoft.network/ddosprotectionplans": _DATA,
    "microsoft.network/dnszones": _note("names of a zone are not resolved"),
    "microsoft.network/expressroutecircuits": _wrong("routes that it announces are not there"),
    "microsoft.network/firewallpolicies": _DATA,
    "microsoft.network/frontdoors": _note("it is on a way in, over addresses of its own"),
    "microsoft.network/networkwatchers": _DATA,
    "microsoft.network/networkwatchers/flowlogs": _DATA,
    "microsoft.network/privatednszones": _note("names of a zone are not resolved"),
    "microsoft.network/privateendpoints": Effect("the service has no address in the network"),
    "microsoft.network/publicipprefixes": _wrong("what it gives addresses to has others"),
    "microsoft.network/routetables": _wrong("flows that its routes match go another way"),
    "microsoft.network/trafficmanagerprofiles": _note("it answers names, and carries no packet"),
}
OTHER_NETWORK = _wrong("the vocabulary has no word for this type")
NO_NETWORK = _note("no part of the network")


def _words(text: str) -> list[str]:
    return text.split()


#: Of any resource: no packet changes for these.
_HARMLESS = frozenset(
    _words(
        "id name type location tags etag resourceguid provisioningstate resourcegroup zones zone apiversion "
        "kind place extendedlocation managedby plan identity tenantid subscriptionid systemdata creationtime "
        "timecreated dependson comments metadata uniqueid linkedpublicipaddress subscription"
    )
)
_IP_CONFIGURATION = {
    "privateipaddressversion": Effect("only IPv4 is played"),
    "applicationgatewaybackendaddresspools": _note("the gateway's way in is not played"),
    "applicationsecuritygroups": Effect("security rules that name the group match nothing"),
    "virtualnetworktaps": _DATA,
    "gatewayloadbalancer": _wrong("flows do not go through the gateway load balancer"),
}
#: Properties that the vocabulary lacks, by what has them.
PROPERTIES: dict[str, dict[str, Effect]] = {
    "virtual network": {
        "encryption": _DATA,
        "enableddosprotection": _DATA,
        "ddosprotectionplan": _DATA,
        "enablevmprotection": _DATA,
        "flowtimeoutinminutes": Effect("idle flows end at other times"),
        "bgpcommunities": _wrong("routes that it announces are not there"),
        "subnets": _DATA,
    },
    "subnet": {
        "routetable": _wrong("flows that its routes match go another way"),
        "delegations": _DATA,
        "serviceendpoints": _wrong("flows to these services keep their private source address"),
        "serviceendpointpolicies": Effect("services that a policy shuts off are reached"),
        "privateendpointnetworkpolicies": _DATA,
        "privatelinkservicenetworkpolicies": _DATA,
        "applicationgatewayipconfigurations": _DATA,
        "ipallocations": _DATA,
        "addressprefixes": Effect("a subnet has one range of IPv4 addresses, the first"),
    },
    "network interface": {
        "enableipforwarding": _wrong("the VM passes no flows of others on"),
        "dnssettings": Effect("the VM asks the network's DNS servers"),
        "enableacceleratednetworking": _DATA,
        "auxiliarymode": _DATA,
        "auxiliarysku": _DATA,
        "disabletcpstatetracking": Effect("flows are tracked"),
    },
    "ip configuration": _IP_CONFIGURATION,
    "public IP": {
        "dnssettings": _note("the name is not resolved"),
        "publicipprefix": _note("the address need not be of the prefix"),
        "ddossettings": _DATA,
        "iptags": Effect("the address is routed in another way"),
        "natgateway": _wrong("flows leave by the NAT gateway's addresses alone, which is not in the files"),
    },
    "load balancer": {"outboundnatrules": _wrong("these rules give no way out")},
    "frontend": {
        "gatewayloadbalancer": _wrong("flows do not go through the gateway load balancer"),
    },
    "pool": {
        "tunnelinterfaces": _wrong("flows do not go through the gateway load balancer"),
        "drainperiodinseconds": _DATA,
        "syncmode": _DATA,
    },
    "rule": {},
    "probe": {},
    "security group": {"flushconnection": Effect("flows that run are not cut when rules change")},
    "security rule": {"description": _DATA},
    "virtual machine": {
        "applicationprofile": _GUEST,
        "priority": _GUEST,
        "evictionpolicy": _GUEST,
        "billingprofile": _GUEST,
    },
    "VPN gateway": {
        "enablebgp": _wrong("routes that BGP would learn are not there"),
        "active": Effect("one tunnel of two is played"),
        "activeactive": Effect("one tunnel of two is played"),
        "vpnclientconfiguration": Effect("clients do not dial in"),
        "customroutes": _wrong("routes that it announces are not there"),
        "gatewaydefaultsite": _wrong("flows to the Internet go through the tunnel"),
        "natrules": Effect("addresses inside tunnels are not translated"),
        "enablednsforwarding": _DATA,
    },
    "local network": {"fqdn": Effect("the device has no address"), "bgpsettings": _DATA},
    "connection": {
        "enablebgp": _wrong("routes that BGP would learn are not there"),
        "ipsecpolicies": Effect("the tunnel has the default policies"),
        "trafficselectorpolicies": Effect("the tunnel carries the whole address spaces"),
        "usepolicybasedtrafficselectors": Effect("the tunnel carries the whole address spaces"),
        "sharedkey": _note("the key is left out as a secret; give the connection a shared_key"),
        "authorizationkey": _note("the key is left out as a secret"),
        "egressnatrules": Effect("addresses inside tunnels are not translated"),
        "ingressnatrules": Effect("addresses inside tunnels are not translated"),
    },
}
_QUIET = {
    "virtual machine": frozenset(
        _words(
            "vmid hardwareprofile osprofile storageprofile diagnosticsprofile securityprofile licensetype "
            "instanceview virtualmachinescaleset additionalcapabilities proximityplacementgroup host hostgroup "
            "extensions resources scheduledeventsprofile userdata platformfaultdomain networkprofile "
            "availabilityset powerstate publicips fqdns privateips macaddresses osname osdisk"
        )
    ),
    "network interface": frozenset(
        _words(
            "virtualmachine macaddress primary vnetencryptionsupported hostedworkloads tapconfigurations nictype "
            "allowport25out defaultoutboundconnectivityenabled migrationphase internaldomainnamesuffix"
        )
    ),
    "subnet": frozenset(_words("ipconfigurations purpose ipconfigurationprofiles resourcenavigationlinks")),
    "peering": frozenset(
        _words(
            "peeringstate peeringsynclevel remoteaddressspace remotevirtualnetworkaddressspace localaddressspace "
            "localvirtualnetworkaddressspace remotebgpcommunities remotevirtualnetworkencryption "
            "donotverifyremotegateways"
        )
    ),
    "public IP": frozenset(
        _words(
            "ipconfiguration publicipallocationmethod publicipaddressversion sku ipaddress idletimeoutinminutes "
            "deleteoption migrationphase"
        )
    ),
    "ip configuration": frozenset(("privateipallocationmethod", "primary", "privatelinkconnectionproperties")),
    "frontend": frozenset(
        _words(
            "privateipallocationmethod privateipaddressversion loadbalancingrules inboundnatrules outboundrules "
            "inboundnatpools"
        )
    ),
    "pool": frozenset(_words("loadbalancingrules outboundrule outboundrules backendipconfigurations inboundnatrules")),
    "probe": frozenset(("loadbalancingrules",)),
    "rule": frozenset(("backendipconfiguration", "backendaddresspools")),
    "security group": frozenset(_words("defaultsecurityrules networkinterfaces subnets")),
    "VPN gateway": frozenset(_words("sku vpngatewaygeneration bgpsettings allowremotevnettraffic")),
    "connection": frozenset(
        _words(
            "connectionstatus ingressbytestransferred egressbytestransferred routingweight connectionprotocol "
            "tunnelconnectionstatus dpdtimeoutseconds connectionmode uselocalazureipaddress "
            "expressroutegatewaybypass"
        )
    ),
}


def of_type(resource: Resource) -> LeftOut:
    """Return the line of a resource whose type is not played."""
    effect = TYPES.get(resource.type)
    if effect is None:
        effect = OTHER_NETWORK if resource.type.startswith("microsoft.network/") else NO_NETWORK
    return _line(resource.title, shown(resource.type), effect)


def of_properties(where: str, what: str, body: dict[str, Any], taken: str) -> list[LeftOut]:
    """Return a line for each property that was not taken and that changes something, or may."""
    known = PROPERTIES.get(what, {})
    skipped = _HARMLESS | _QUIET.get(what, frozenset()) | frozenset(taken.split())
    found = []
    for key, value in body.items():
        absent = value is None or value is False or value in ("", [], {}, "IPv4", "Enabled", "Disabled")
        if key in skipped or absent:
            continue
        effect = known.get(key, Effect("the vocabulary has no word for this property"))
        if effect is not _DATA and effect is not _GUEST:
            found.append(_line(where, shown(key), effect))
    return found


def _line(place: str, found: str, effect: Effect) -> LeftOut:
    return LeftOut(place=place, found=found, effect=effect.text, warning=effect.warning, way_out=effect.way_out)
