"""The load balancers of a template."""

from lab.azure.model import Frontend, HealthProbe, InboundNatRule, LoadBalancer, LoadBalancingRule, OutboundRule
from lab.formats.azure_template_parts import Body, Parts


def add(parts: Parts, lb: LoadBalancer) -> None:
    """Add a load balancer with its public IPs."""
    home = next((f.virtual_network for f in lb.frontends if f.private), "")
    members = lb.virtual_machines()
    home = home or next((vm.virtual_network for vm in parts.network.virtual_machines if vm.name in members), "")
    location = parts.location(home) if home else parts.location_where(lambda _: True)
    depends: list[str] = []
    properties: Body = {
        "frontendIPConfigurations": [_frontend(parts, lb, one, location, depends) for one in lb.frontends],
        "backendAddressPools": [{"name": parts.child("backendAddressPools", lb.name, one.name)} for one in lb.pools],
    }
    # A rule for all ports is one of each protocol in the model.
    rules = {rule.name: _rule(parts, lb, rule) for rule in lb.load_balancing_rules}
    for key, found in (
        ("probes", {one.name: _probe(one) for one in lb.probes}),
        ("loadBalancingRules", rules),
        ("inboundNatRules", {one.name: _nat_rule(parts, lb, one) for one in lb.inbound_nat_rules}),
        ("outboundRules", {one.name: _outbound_rule(parts, lb, one) for one in lb.outbound_rules}),
    ):
        if found:
            properties[key] = [
                {"name": parts.child(key, lb.name, name), "properties": body} for name, body in found.items()
            ]
    parts.add("loadBalancers", lb.name, location, properties, depends, sku=lb.sku)


def _reference(parts: Parts, lb: LoadBalancer, kind: str, name: str) -> Body:
    return {"id": parts.child_reference("loadBalancers", kind, lb.name, name)}


def _frontend(parts: Parts, lb: LoadBalancer, one: Frontend, location: str, depends: list[str]) -> Body:
    if one.private:
        depends.append(parts.reference("virtualNetworks", one.virtual_network))
        subnet = parts.child_reference("virtualNetworks", "subnets", one.virtual_network, one.subnet)
        body: Body = {"subnet": {"id": subnet}, "privateIPAllocationMethod": "Static"}
        body["privateIPAddress"] = str(one.address)
    else:
        address = None if one.dynamic else one.address
        reference = parts.public_ip(f"{lb.name}-{one.name}", location, address=address, sku=lb.sku)
        depends.append(reference)
        body = {"publicIPAddress": {"id": reference}}
    return {"name": parts.child("frontendIPConfigurations", lb.name, one.name), "properties": body}


def _probe(one: HealthProbe) -> Body:
    made: Body = {"protocol": one.protocol, "port": one.port}
    if one.protocol == "Http":
        made["requestPath"] = one.request_path
    if one.interval_s is not None:
        made["intervalInSeconds"] = one.interval_s
    made["numberOfProbes"] = one.number_of_probes
    if one.threshold is not None:
        made["probeThreshold"] = one.threshold
    if one.all_probed_up:
        made["noHealthyBackendsBehavior"] = "AllProbedUp"
    return made


def _rule(parts: Parts, lb: LoadBalancer, rule: LoadBalancingRule) -> Body:
    made: Body = {
        "frontendIPConfiguration": _reference(parts, lb, "frontendIPConfigurations", rule.frontend),
        "backendAddressPool": _reference(parts, lb, "backendAddressPools", rule.backend_pool),
    }
    if rule.probe is not None:
        made["probe"] = _reference(parts, lb, "probes", rule.probe)
    return made | {
        "protocol": rule.protocol.capitalize() if rule.ports else "All",
        "frontendPort": rule.frontend_port,
        "backendPort": rule.backend_port,
        "loadDistribution": rule.load_distribution,
        "idleTimeoutInMinutes": rule.idle_timeout_min,
        "enableFloatingIP": rule.floating_ip,
        "enableTcpReset": rule.tcp_reset,
        "disableOutboundSnat": rule.disable_outbound_snat,
    }


def _nat_rule(parts: Parts, lb: LoadBalancer, rule: InboundNatRule) -> Body:
    return {
        "frontendIPConfiguration": _reference(parts, lb, "frontendIPConfigurations", rule.frontend),
        "protocol": rule.protocol.capitalize(),
        "frontendPort": rule.frontend_port,
        "backendPort": rule.backend_port,
        "idleTimeoutInMinutes": rule.idle_timeout_min,
        "enableFloatingIP": rule.floating_ip,
        "enableTcpReset": rule.tcp_reset,
    }


def _outbound_rule(parts: Parts, lb: LoadBalancer, rule: OutboundRule) -> Body:
    protocol = "All" if len(rule.protocols) > 1 else rule.protocols[0].capitalize()
    return {
        "frontendIPConfigurations": [
            _reference(parts, lb, "frontendIPConfigurations", name) for name in rule.frontends
        ],
        "backendAddressPool": _reference(parts, lb, "backendAddressPools", rule.backend_pool),
        "protocol": protocol,
        "allocatedOutboundPorts": rule.ports,
        "idleTimeoutInMinutes": rule.idle_timeout_min,
        "enableTcpReset": rule.tcp_reset,
    }
