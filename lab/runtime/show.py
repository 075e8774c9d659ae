"""What a running lab looks like to its user, read from its record, plan and health; no privilege needed."""

import os
import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from lab.errors import LabError
from lab.kernel import apply, netns
from lab.kernel import drift as drifting
from lab.kernel.drift import Drift
from lab.kernel.state import (
    GatewayState,
    LabState,
    MemberHealth,
    Restarts,
    StateDir,
    StoppedVm,
    TunnelState,
    existing,
    holder,
    names,
)
from lab.plan import (
    NODE_INTERFACE,
    Address,
    CtTarget,
    Foreign,
    HealthCheck,
    Namespace,
    Plan,
    Program,
    Route,
    Rule,
    Server,
    SnatPolicy,
    SnatPool,
    SnatRange,
    SourceNat,
    Timeout,
    Tunnel,
    namespace,
)

#: How often the kernel is compared again, where a plan was replaced meanwhile; and how long to wait before.
_LOOKS, _LOOK_S = 20, 0.05


class Outbound(msgspec.Struct, frozen=True):
    """One translation that a VM's flows may be given, and who asked for it."""

    address: str
    ports: str
    how: str


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A VM or an outside host."""

    name: str
    role: str
    address: str
    secondary_addresses: tuple[str, ...] = ()  # of a VM with several network interfaces
    namespace: str
    there: bool
    power_state: str = ""  # of a VM: Started, Stopped or Deallocated
    services: tuple[str, ...]
    outbound: tuple[Outbound, ...]
    health: dict[str, MemberHealth]


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """A lab of this machine."""

    name: str
    state: str
    profile: str
    time_scale: int
    file: str
    created: float
    nodes: tuple[Node, ...]
    public_addresses: dict[str, str]
    agent: bool
    gateways: dict[str, GatewayState]
    virtual_networks: dict[str, str]  # the status of each, as the portal shows it
    differs: tuple[str, ...] | None = None  # from its plan; None: it was not compared, which takes root
    restarted: dict[str, Restarts] = {}  # what had ended, and was started again: the agent, servers, IKE daemons


#: What the platform's own address is for, in a why of outbound_snat; no name of a user's has a space.
_DEFAULT = "default address of "
_OWN = "instance_public_ip"
_NAT_GATEWAY = "nat_gateway"


def labs() -> list[Lab]:
    """Return all labs of this machine; one whose files cannot be read has the reason for its state."""
    return [_described(name) for name in names()]


def _described(name: str) -> Lab:
    try:
        return describe(name)
    except (LabError, msgspec.MsgspecError, OSError) as error:
        return Lab(
            name=name,
            state=f"cannot be read: {error}",
            profile="",
            time_scale=1,
            file="",
            created=0.0,
            nodes=(),
            public_addresses={},
            agent=False,
            gateways={},
            virtual_networks={},
        )


def describe(name: str) -> Lab:
    """Return one lab.

    Raises:
        UsageError: there is no such lab.

    """
    folder, record = existing(name)
    plan = folder.plan() if folder.plan_file.exists() else Plan(name, ())
    health = folder.health()
    agent = apply.agent_alive(record)
    gateways = folder.tunnels()
    return Lab(
        name=name,
        state=_state(record),
        profile=record.profile,
        time_scale=record.time_scale,
        file=record.file,
        created=record.created,
        nodes=_nodes(plan, health, record.absent),
        public_addresses=_public_addresses(plan),
        agent=agent,
        gateways=gateways if agent else {place: _unknown(state) for place, state in gateways.items()},
        virtual_networks={
            item.place.removeprefix("router."): "Created" if netns.exists(namespace(name, item.place)) else "missing"
            for item in plan.of(Namespace)
            if item.role == "router"
        },
        restarted=_restarted(folder, record, gateways),
    )


def compared(name: str) -> Lab:
    """Return one lab, compared with what the kernel has of it, so far as this process may read that.

    Raises:
        UsageError: there is no such lab.

    """
    described = describe(name)
    folder, record = existing(name)
    if os.geteuid() != 0 or record.state != "running":
        return described
    return msgspec.structs.replace(described, differs=_drift(folder)[1].lines())


def held(name: str) -> tuple[Plan, tuple[Foreign, ...]]:
    """Return what the kernel has of a lab's plan, and what beside it. Needs root.

    Raises:
        UsageError: there is no such lab.

    """
    folder, _ = existing(name)
    made, drift = _drift(folder)
    return drift.seen(made), drift.beside


def _drift(folder: StateDir) -> tuple[Plan, Drift]:
    """Return a lab's plan, and how the kernel differs from it.

    The agent and other commands write tables first, and the plan that they follow from after: what differs must do so
    still while no command is at work, under the same plan.
    """
    made = folder.plan()
    found = drifting.find(made)
    for _ in range(_LOOKS):
        if not found:
            break
        time.sleep(_LOOK_S)
        before, made = (made, found), folder.plan()
        found = drifting.find(made)
        if (made, found.lines()) == (before[0], before[1].lines()) and holder(folder.lab) is None:
            break
    return made, found


def _restarted(folder: StateDir, record: LabState, gateways: dict[str, GatewayState]) -> dict[str, Restarts]:
    found = {"agent": Restarts(record.restarts, record.restarted)} if record.restarts else {}
    found |= {
        f"{place} charon": Restarts(state.starts - 1, state.started)
        for place, state in gateways.items()
        if state.starts > 1
    }
    return found | folder.agent_state().restarted


def timers(name: str) -> list[tuple[str, float, float]]:
    """Return the times of a lab whose time is scaled: what, seconds in the documents, seconds here."""
    folder, record = existing(name)
    if record.time_scale == 1:
        return []
    plan = folder.plan()
    here = {f"probe {check.load_balancer}/{check.probe}": check.interval_s for check in plan.of(HealthCheck)}
    for policy in plan.of(SnatPolicy):
        here |= {"idle": policy.idle_s, "FIN": policy.fin_s, "RST": policy.rst_s}
    for tunnel in plan.of(Tunnel):
        here |= {"idle policy-based tunnel": tunnel.idle_s} if tunnel.idle_s else {}
    of_rules = sorted({(t.nominal_s, t.seconds) for t in plan.of(Timeout)})
    return [
        *((what, round(s * record.time_scale, 3), round(s, 3)) for what, s in sorted(here.items()) if s),
        *(("idle of rules", float(nominal_s), float(seconds)) for nominal_s, seconds in of_rules),
    ]


def idle_limit(plan: Plan, address: str, port: int, protocol: str) -> float:
    """Return how long a flow to an address and port may be idle at a load balancer: as its rule says, or as any may."""
    seconds = {(timeout.place, timeout.name): float(timeout.seconds) for timeout in plan.of(Timeout)}
    for rule in plan.of(Rule):
        meant = (rule.destination, rule.protocol) == (f"{address}/32", protocol)
        if isinstance(rule.target, CtTarget) and meant and port in (rule.destination_ports or (port,)):
            return seconds[rule.place, rule.target.timeout] if rule.target.timeout else _idle_s(plan)
    return _idle_s(plan)


def _idle_s(plan: Plan) -> float:
    return max((policy.idle_s for policy in plan.of(SnatPolicy)), default=0.0)


def _state(record: LabState) -> str:
    if record.state != "running":
        if (by := holder(record.lab)) is not None:
            return f"{record.state}, by {by}"
        return f"interrupted while {record.state}; `lab up` or `lab down` heals it"
    if not apply.is_whole(record):
        return "damaged: a namespace is missing; `lab up` heals it"
    wrong = apply.agent_trouble(record)
    missing = "servers, probes, repair of tunnels and SNAT ports for new flows are missing"
    return f"{missing}: {wrong}" if wrong else "running"


def _nodes(plan: Plan, health: dict[str, MemberHealth], absent: tuple[StoppedVm, ...]) -> tuple[Node, ...]:
    addresses = plan.addresses()
    others: dict[str, list[str]] = {}
    for item in plan.of(Address):
        if item.interface not in ("lo", NODE_INTERFACE):
            others.setdefault(item.place, []).append(item.address)
    services: dict[str, dict[str, None]] = {}
    for server in plan.of(Server):
        services.setdefault(server.place, {})[f"{server.kind}:{server.port}/{server.protocol}"] = None
    for program in plan.of(Program):
        bound = f":{program.port}/{program.protocol}" if program.port else ""
        services.setdefault(program.place, {})[f"exec {program.name}{bound}"] = None
    ways = outbound(plan)
    found = []
    for place in plan.of(Namespace):
        if place.role not in ("vm", "host", "site"):
            continue
        name, address = place.place, addresses[place.place]
        found.append(
            Node(
                name=name,
                role=place.role,
                address=address,
                secondary_addresses=tuple(others.get(name, ())),
                namespace=namespace(plan.lab, name),
                there=netns.exists(namespace(plan.lab, name)),
                power_state="Started" if place.role == "vm" else "",
                services=tuple(services.get(name, ())),
                outbound=ways.get(name, ()),
                health=_health_of(name, health),
            )
        )
    found += [
        Node(
            name=vm.name,
            role="vm",
            address=vm.address,
            namespace=namespace(plan.lab, vm.name),
            there=False,
            power_state=vm.power_state,
            services=(),
            outbound=ways.get(vm.name, ()),
            health=_health_of(vm.name, health),
        )
        for vm in absent
    ]
    return tuple(found)


def _health_of(node: str, health: dict[str, MemberHealth]) -> dict[str, MemberHealth]:
    return {key: state for key, state in health.items() if key.endswith(f"/{node}")}


def outbound(plan: Plan) -> dict[str, tuple[Outbound, ...]]:
    """Return what each VM's flows are seen with: an address of its own, or the ports that they may be given."""
    found = {
        rule.why.entity: (Outbound(rule.target.address, "unchanged", "instance-level public IP"),)
        for rule in plan.of(Rule)
        if rule.why.rule == _OWN and isinstance(rule.target, SourceNat)
    }
    shared = {
        pool.node: tuple(Outbound(r.address, f"{r.first}-{r.last}", _of_protocol(r, _kind(pool))) for r in pool.ranges)
        for pool in plan.of(SnatPool)
    }
    return {**shared, **found}


def _of_protocol(ports: SnatRange, kind: str) -> str:
    return f"{kind}, {ports.protocol} only" if ports.protocol else kind


def _kind(pool: SnatPool) -> str:
    if pool.why.rule == _NAT_GATEWAY:
        return "NAT gateway"
    return "default SNAT" if _is_default(pool) else "SNAT"


def _is_default(pool: SnatPool) -> bool:
    return pool.why.entity.startswith(_DEFAULT)


def _public_addresses(plan: Plan) -> dict[str, str]:
    """Return the public addresses that count as the user's, with what they belong to.

    The platform's default address is not among them (Outbound connections, 2017-05-31, standalone VM).
    """
    return {
        route.destination.removesuffix("/32"): route.why.entity
        for route in plan.of(Route)
        if route.place == "internet" and route.via is not None and not route.why.entity.startswith(_DEFAULT)
    }


# --- gateways in the documents' words -----------------------------------------------------------

#: Daemons go on without the agent, which alone asks them.
_NO_AGENT = "the agent does not run, so the state of tunnels is unknown; `lab up` starts it again"


def _unknown(state: GatewayState) -> GatewayState:
    """Return what is left of what an agent knew that has ended: addresses, counters, and when a tunnel came up last."""
    tunnels = {
        site: msgspec.structs.replace(
            tunnel,
            state="Unknown",
            reason=_NO_AGENT,
            event=0,
            message="",
            changed=0.0,
            version=0,
            local=(),
            remote=(),
            ike="",
            esp="",
            ike_rekey_s=0,
            esp_life_s=0,
        )
        for site, tunnel in state.tunnels.items()
    }
    return msgspec.structs.replace(state, pid=0, tunnels=tunnels, unknown=_NO_AGENT)


def gateway(name: str, state: GatewayState, now: float) -> dict[str, Any]:
    """Return a gateway as Get-AzureVNetGateway and Get-AzureVnetConnection show it; ``now`` in seconds (epoch).

    Before it is built it has no address to show (VNet to VNet connection, 2015-05-15, creating a gateway).
    """
    routing, _, sku = state.kind.partition(" ")
    built = state.ready_at <= now
    newest = max(state.tunnels.values(), key=lambda t: t.changed, default=None)
    return {
        "VNetName": name.removeprefix("gw."),
        "GatewayType": routing,
        "GatewaySKU": sku,
        "State": "Provisioned" if built else "Provisioning",
        "Status": status(state, now),
        "VipAddress": state.address if built else "",
        "DefaultSite": "",
        "LastEvent": _event(newest),
        "Esp": state.esp,
        "Connections": [_connection(site, tunnel) for site, tunnel in state.tunnels.items()],
    }


def status(state: GatewayState, now: float) -> str:
    """Return what the portal shows of a gateway: Creating, Connecting, Connected or NotConnected; or Unknown."""
    if state.unknown:
        return "Unknown"
    if state.ready_at > now:
        return "Creating"
    found = {tunnel.state for tunnel in state.tunnels.values()}
    if not found or "Connecting" in found:
        return "Connecting"
    return "Connected" if found == {"Connected"} else "NotConnected"


def _connection(site: str, tunnel: TunnelState) -> dict[str, Any]:
    return {
        "ConnectivityState": tunnel.state,
        "EgressBytesTransferred": tunnel.egress,
        "IngressBytesTransferred": tunnel.ingress,
        "LastConnectionEstablished": _stamp(tunnel.established),
        "LastEventID": tunnel.event,
        "LastEventMessage": tunnel.message,
        "LastEventTimeStamp": _stamp(tunnel.changed),
        "LocalNetworkSiteName": site,
        "OperationDescription": "Get-AzureVNetConnection",
        "OperationId": "",
        "OperationStatus": "Succeeded",
        "Reason": tunnel.reason,
        "VPNDeviceAddress": tunnel.peer,
        "IkeVersion": tunnel.version,
        "LocalSelectors": list(tunnel.local),
        "RemoteSelectors": list(tunnel.remote),
        "IkeAlgorithms": tunnel.ike,
        "EspAlgorithms": tunnel.esp,
        "IkeRekeySeconds": tunnel.ike_rekey_s,
        "EspLifetimeSeconds": tunnel.esp_life_s,
    }


def operation(number: str, request: str) -> dict[str, str]:
    """Return how an operation of a gateway ended, as Set-AzureVNetGatewayKey prints it; one that fails is an error."""
    return {
        "Error": "",
        "HttpStatusCode": "OK",
        "Id": number,
        "Status": "Successful",
        "RequestId": request,
        "StatusCode": "OK",
    }


def _event(tunnel: TunnelState | None) -> dict[str, Any]:
    if tunnel is None:
        return {"Timestamp": "", "Id": 0, "Message": "", "Data": ""}
    return {"Timestamp": _stamp(tunnel.changed), "Id": tunnel.event, "Message": tunnel.message, "Data": tunnel.reason}


def _stamp(seconds: float | None) -> str:
    """Return a time as the documents print it: UTC, to the second."""
    return "" if not seconds else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
