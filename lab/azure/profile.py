"""Which revision of the documents is played: the values that differ between revisions.

``TABLE`` has one row per revision and one cell per value, each with its source. A cell that
a revision leaves blank is taken from the newest earlier revision that fills it. What never
differed between revisions stays in the rule that uses it.

The default row ``seeds`` plays the seed documents together: SNAT as Outbound connections, 2017-05-31 describes it,
its unnamed port counts from the table first printed on 2017-09-28, what binds a pool to
a frontend as tested in Source IP of outbound flows, 2018-12-11, and health probes by the text that Source IP of
outbound flows, 2018-12-11 was written with.

What the words of a cell mean for a packet is in ``path/snat_ports.py``.
"""

from typing import Literal

import msgspec

from lab.flow import FinClose, PortOrder, PortReuse

Sku = Literal["Basic", "Standard"]
Binding = Literal["backend_pool", "load_balancing_rule", "inbound_nat_rule"]
#: Ports of a frontend: the flows of all its VMs take them as they come, or each VM has its own from the start.
Allocation = Literal["on demand", "preallocated"]
#: What a VM without a load balancer may take of the platform's address: any port that is free, or as many as
#: a pool of the size of its availability set would give it.
DefaultAllocation = Literal["on demand", "as a pool"]
#: Which frontends a VM's flows take when it is linked to several: any of them; one that is picked for the VM;
#: any of them, each with the whole number of ports; one after the other as they fill up; any of them, with no
#: more ports in all than a pool of one gives on a single one.
Frontends = Literal["any", "one at random", "all multiply", "sequential", "capped"]
#: Which protocols the load-balancing rules of a pool have translated: both, whatever they say, or those that they name.
RuleProtocols = Literal["both", "named"]
#: When VMs of a Standard load balancer have the platform's address: whenever no frontend is theirs; only while no rule
#: names them or their pool; never, and then no other VM of their availability set has it.
StandardDefault = Literal["always", "without a rule", "never"]
SecurityProtocol = Literal["*", "Tcp", "Udp", "Icmp"]


#: As many results in a row as the probe says change a member's state, or one does.
ProbeThreshold = Literal["count", "one"]
#: An HTTP answer other than 200, or a reset, is a failure as silence is, or takes the member out at once.
HttpFailure = Literal["counts", "at once"]
#: When all members of a pool are down, established TCP flows end, go on, or go on if the pool has more than one.
AllDown = Literal["end", "go on", "go on if several"]


class Tier(msgspec.Struct, frozen=True):
    """Pools of up to ``pool_size`` machines give each of them ``ports`` SNAT ports."""

    pool_size: int
    ports: int


class Cell(msgspec.Struct, frozen=True):
    """A value and the text it comes from."""

    value: object
    source: str


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of the documents, every cell filled."""

    name: str
    #: What links a VM to a frontend for outbound flows, per SKU of the load balancer.
    binding_basic: frozenset[Binding]
    binding_standard: frozenset[Binding]
    #: What a Standard load balancer's rules translate, and when its VMs have the platform's address.
    standard_protocols: RuleProtocols
    standard_default: StandardDefault
    #: Members of an internal Standard load balancer that nothing else gives one have the platform's address.
    internal_standard_default: bool
    #: HA-ports rules are known.
    ha_ports: bool
    #: Outbound rules are known, and load-balancing rules that translate nothing; the idle timeout that one may have.
    outbound_rules: bool
    outbound_idle_min: tuple[int, int]
    #: How the ports of a frontend, and of the platform's own address, are shared out.
    allocation_basic: Allocation
    allocation_standard: Allocation
    default_allocation: DefaultAllocation
    #: SNAT ports of each VM by size of its pool, smallest pool first.
    port_tiers: tuple[Tier, ...]
    #: VMs of a cloud service that is being redeployed count twice for these.
    redeploying_counts_twice: bool
    #: First and last port of a public address that SNAT may use.
    snat_first_port: int
    snat_last_port: int
    #: Rules on a frontend take their ports out of what SNAT may use, in aligned blocks of so many; 0: they do not.
    rule_block: int
    #: What two flows must have different to share a port.
    tcp_reuse: PortReuse
    udp_reuse: PortReuse
    #: TCP and UDP have as many ports each, instead of sharing them.
    port_per_protocol: bool
    #: Which of the free ports the next flow takes.
    port_order: PortOrder
    #: Which frontend a flow takes when several are linked to its VM.
    frontends_basic: Frontends
    frontends_standard: Frontends
    #: When a closed TCP flow's port comes back: what counts as closed by FIN, and the seconds after it and after RST.
    fin_close: FinClose
    fin_s: int
    rst_s: int
    #: A flow without packets for this long gives its SNAT port back; seconds.
    idle_timeout_s: int
    #: Interval of a health probe that names none, and how long an HTTP probe waits for its answer; seconds.
    probe_interval_s: int
    probe_http_timeout_s: int
    #: Smallest interval of a health probe in seconds, smallest number of probes, and the most that the two
    #: multiplied may come to; None: any.
    probe_min_interval_s: int
    probe_min_count: int
    probe_max_s: int | None
    #: Ports that an HTTP probe may not be sent to.
    probe_http_refused: frozenset[int]
    #: A load-balancing rule must name a probe.
    probe_required: bool
    #: How many results in a row change what is known of a member, and what an HTTP answer that is not 200, or a
    #: reset in its place, does.
    probe_threshold: ProbeThreshold
    probe_http_failure: HttpFailure
    #: What becomes of established TCP flows when all members are down.
    all_down_basic: AllDown
    all_down_standard: AllDown
    #: Idle timeout that a load-balancing rule or inbound NAT rule may ask for; minutes.
    rule_idle_min: tuple[int, int]
    #: Network security groups: first and last priority of a rule, the protocols a rule may name, most rules of a
    #: group and most groups, and the names of the default rules (``security_groups.DEFAULTS``, in its order).
    nsg_priority: tuple[int, int]
    nsg_protocols: frozenset[SecurityProtocol]
    nsg_max_rules: int
    nsg_max_groups: int
    nsg_default_names: tuple[str, str, str, str, str, str]
    #: Rules apply to what comes from the platform's own address: they can block its health probes.
    nsg_filters_platform: bool
    #: What a Standard load balancer sends to a VM needs a group that lets it in.
    nsg_required_standard: bool
    #: Instance-level public IPs: most of a subscription, and the idle timeout that one may ask for, in minutes.
    public_ips_max: int
    public_ip_idle_min: tuple[int, int]
    #: Only an instance-level public IP carries fragments out of a virtual network.
    fragments_need_own_address: bool
    #: Reserved addresses of a subscription.
    reserved_ips_max: int
    #: NAT gateways are known; the ports of an address, and how long one is held after FIN, after RST and after a UDP
    #: flow was idle for too long, how long a flow may be half open, and how long a UDP flow idle; seconds.
    nat_gateways: bool
    nat_first_port: int
    nat_fin_s: int
    nat_rst_s: int
    nat_half_open_s: int
    nat_udp_s: int
    nat_udp_idle_s: int
    #: Idle timeout of TCP flows that a NAT gateway may ask for; minutes.
    nat_idle_min: tuple[int, int]
    #: A subnet may be private; and those that do not say it give their VMs the platform's address.
    private_subnets: bool
    default_outbound_access: bool
    sources: dict[str, str]

    def binding(self, sku: Sku) -> frozenset[Binding]:
        """Return the kinds of rule that link a VM to a frontend of a load balancer of ``sku``."""
        return self.binding_standard if sku == "Standard" else self.binding_basic

    def protocol_counts(self, sku: Sku) -> bool:
        """Tell whether a rule of a load balancer of ``sku`` has only flows of its own protocol translated."""
        return sku == "Standard" and self.standard_protocols == "named"

    def allocation(self, sku: Sku) -> Allocation:
        """Return how a load balancer of ``sku`` shares out the ports of its frontends."""
        return self.allocation_standard if sku == "Standard" else self.allocation_basic

    def frontends(self, sku: Sku) -> Frontends:
        """Return which of several frontends of a load balancer of ``sku`` a flow takes."""
        return self.frontends_standard if sku == "Standard" else self.frontends_basic

    def all_down(self, sku: Sku, members: int) -> bool:
        """Return whether TCP flows end when all of so many members of a load balancer of ``sku`` are down."""
        found = self.all_down_standard if sku == "Standard" else self.all_down_basic
        return found == "end" or (found == "go on if several" and members < 2)

    def ports_per_vm(self, pool_size: int) -> int | None:
        """Return the SNAT ports each of ``pool_size`` VMs gets, None for a pool that is too large."""
        return next((tier.ports for tier in self.port_tiers if pool_size <= tier.pool_size), None)


_RULES = frozenset[Binding]({"load_balancing_rule", "inbound_nat_rule"})
_TIERS_TO_400 = (Tier(50, 1024), Tier(100, 512), Tier(200, 256), Tier(400, 128))
_TIERS_TO_1000 = (*_TIERS_TO_400, Tier(800, 64), Tier(1000, 32))

_SOURCE_IP_2018 = "Source IP of outbound flows, tests 1 and 2 (2018-12-11)"
_OUTBOUND_2017 = "Outbound connections (2017-05-31)"
_OUTBOUND = "load-balancer-outbound-connections.md"
_OUTBOUND_2016_10 = f"{_OUTBOUND} (2016-10-31)"
_OUTBOUND_2017_05 = f"English revision of {_OUTBOUND} (2017-05-31)"
_STANDARD_2017_09 = "load-balancer-standard-overview.md (2017-09-28)"
_OUTBOUND_2018_02 = f"{_OUTBOUND} (2018-02-05)"
_OUTBOUND_2018_03 = f"{_OUTBOUND} (2018-03-21)"
_OUTBOUND_2018_08 = f"{_OUTBOUND} (2018-08-27)"
_CLASSIC_2018_07 = "load-balancer-outbound-connections-classic.md (2018-07-13)"
_RULES_2018_09 = "load-balancer-outbound-rules-overview.md (2018-09-24)"
_OUTBOUND_2019_05 = f"{_OUTBOUND} (2019-05-02)"
_OUTBOUND_2020_06 = f"{_OUTBOUND} (2020-06-24)"
_OUTBOUND_2020_10 = f"{_OUTBOUND} (2020-10-13)"
_OUTBOUND_2022_03 = f"{_OUTBOUND} (2022-03-01)"
_OUTBOUND_2026_07 = f"{_OUTBOUND} (2026-07-07)"

#: Oldest revision first.
TABLE: dict[str, dict[str, Cell]] = {
    "2016-10": {
        "binding_basic": Cell(_RULES | {"backend_pool"}, _OUTBOUND_2016_10 + ": it requires no rule"),
        "binding_standard": Cell(_RULES | {"backend_pool"}, _OUTBOUND_2016_10 + ": before there was a Standard one"),
        "standard_protocols": Cell("both", _OUTBOUND_2016_10 + ": before there was a Standard one"),
        "standard_default": Cell("always", _OUTBOUND_2016_10 + ": before there was a Standard one"),
        "internal_standard_default": Cell(value=True, source=_OUTBOUND_2016_10 + ": before there was a Standard one"),
        "ha_ports": Cell(value=False, source=_STANDARD_2017_09 + ": the first to tell of them"),
        "outbound_rules": Cell(value=False, source=_RULES_2018_09 + ": the first to tell of them"),
        "outbound_idle_min": Cell((4, 66), _RULES_2018_09),
        "allocation_basic": Cell("on demand", _OUTBOUND_2016_10 + ": ports are allocated dynamically"),
        "allocation_standard": Cell("on demand", _OUTBOUND_2016_10 + ": before there was a Standard one"),
        "default_allocation": Cell("on demand", _OUTBOUND_2016_10 + ": ports are allocated dynamically"),
        "port_tiers": Cell(_TIERS_TO_1000, _STANDARD_2017_09 + "; not used before ports are preallocated"),
        "redeploying_counts_twice": Cell(value=False, source=_OUTBOUND_2016_10 + ": nothing is said of redeploying"),
        "snat_first_port": Cell(1025, _OUTBOUND_2017_05 + ": 65,535 - 1,024 = 64,511 ports"),
        "snat_last_port": Cell(65535, _OUTBOUND_2017_05),
        "rule_block": Cell(0, _OUTBOUND_2016_10 + ": nothing is said of ports that rules take"),
        "tcp_reuse": Cell("destination address", _OUTBOUND_2016_10 + ": a port for each flow to one destination IP"),
        "udp_reuse": Cell("destination address", _OUTBOUND_2016_10 + ": flows, whatever their protocol"),
        "port_per_protocol": Cell(value=False, source=_OUTBOUND_2016_10 + ": flows, whatever their protocol"),
        "port_order": Cell("random", _OUTBOUND_2016_10 + ": no order is promised"),
        "frontends_basic": Cell("any", _OUTBOUND_2017 + ", Limitations; not said before"),
        "frontends_standard": Cell("any", _OUTBOUND_2017 + ", Limitations; before there was a Standard one"),
        "fin_close": Cell("both", _OUTBOUND_2016_10 + ": a port is released with its flow"),
        "fin_s": Cell(0, _OUTBOUND_2016_10 + ": no time after the end of a flow"),
        "rst_s": Cell(0, _OUTBOUND_2016_10 + ": no time after the end of a flow"),
        "idle_timeout_s": Cell(240, _OUTBOUND_2016_10 + ": 4-minute idle timeout"),
        "rule_idle_min": Cell((4, 30), "load-balancer-tcp-idle-timeout.md (2016-10-24)"),
        "fragments_need_own_address": Cell(value=False, source=_OUTBOUND_2016_10 + ": nothing is said of fragments"),
    },
    "2017-05a": {
        "binding_basic": Cell(_RULES, _OUTBOUND_2017_05 + ": a rule that links frontend and pool; it names no kind"),
        "binding_standard": Cell(_RULES, _OUTBOUND_2017_05 + ": written before there was a Standard load balancer"),
        "frontends_basic": Cell("any", _OUTBOUND_2017_05 + ", Limitations: any of the addresses is a candidate"),
    },
    "2017-05b": {
        "binding_basic": Cell(
            _RULES, _OUTBOUND_2017 + ": a rule that links frontend and pool; it names no kind of rule"
        ),
        "binding_standard": Cell(_RULES, _OUTBOUND_2017 + ": written before there was a Standard load balancer"),
        "allocation_basic": Cell(
            "preallocated", _OUTBOUND_2017 + ": the number of ports depends on the size of the pool"
        ),
        "allocation_standard": Cell(
            "preallocated", _OUTBOUND_2017 + ": the number of ports depends on the pool's size"
        ),
        "port_tiers": Cell(
            _TIERS_TO_1000, _OUTBOUND_2017 + ": by pool size, figures unnamed; figures of " + _STANDARD_2017_09
        ),
        "tcp_reuse": Cell("destination address", _OUTBOUND_2017 + ": each flow to one destination IP takes one port"),
        "udp_reuse": Cell("destination address", _OUTBOUND_2017 + ": flows, whatever their protocol"),
        "frontends_basic": Cell("any", _OUTBOUND_2017 + ", Limitations: any of the addresses is a candidate"),
        "idle_timeout_s": Cell(240, _OUTBOUND_2017 + ": 4-minute idle timeout"),
    },
    "2017-09": {
        "standard_protocols": Cell("both", _STANDARD_2017_09 + ": it names no protocol"),
        "standard_default": Cell("always", _STANDARD_2017_09 + ": only an internal one takes the default away"),
        "internal_standard_default": Cell(
            value=False, source=_STANDARD_2017_09 + ": an internal one takes the default address away"
        ),
        "ha_ports": Cell(value=True, source=_STANDARD_2017_09 + ": HA ports of an internal Standard one"),
        "allocation_basic": Cell("on demand", _STANDARD_2017_09 + ", table of SKUs: on-demand"),
        "allocation_standard": Cell("preallocated", _STANDARD_2017_09 + ", table of SKUs: preallocated"),
        "port_tiers": Cell(_TIERS_TO_1000, _STANDARD_2017_09),
        "frontends_standard": Cell("any", _STANDARD_2017_09 + ": any, which may be reduced"),
    },
    "2018-02": {
        "standard_protocols": Cell("named", _OUTBOUND_2018_03 + ": only TCP if there is only a rule for TCP"),
        "standard_default": Cell("always", _OUTBOUND_2018_03 + ": without a rule, as a standalone VM"),
        "allocation_basic": Cell("preallocated", _OUTBOUND_2018_02 + ": the table is for all load balancers"),
        "port_tiers": Cell(_TIERS_TO_1000, _OUTBOUND_2018_02),
        "tcp_reuse": Cell(
            "destination", _OUTBOUND_2018_02 + ": one port per flow to one IP address, port and protocol"
        ),
        "udp_reuse": Cell("destination", _OUTBOUND_2018_02 + ": UDP is treated as TCP"),
        "frontends_basic": Cell("one at random", _OUTBOUND_2018_02 + ": one of them, picked at random"),
        "frontends_standard": Cell("all multiply", _OUTBOUND_2018_03 + ": all at once, each with the table's ports"),
    },
    "2018-07-classic": {
        "port_tiers": Cell(_TIERS_TO_400, _CLASSIC_2018_07 + ": the table ends at 400"),
        "redeploying_counts_twice": Cell(
            value=True, source=_CLASSIC_2018_07 + ": a pool may be reported as up to twice as large for a while"
        ),
        "fin_close": Cell("both", _CLASSIC_2018_07 + ": after FIN of both sides"),
        "fin_s": Cell(240, _CLASSIC_2018_07),
        "rst_s": Cell(15, _CLASSIC_2018_07),
    },
    "2018-12": {
        "binding_basic": Cell(_RULES, _SOURCE_IP_2018 + ": a load-balancing rule or an inbound NAT rule"),
        "binding_standard": Cell(
            frozenset[Binding]({"load_balancing_rule"}),
            _RULES_2018_09 + ": only inbound NAT rules, no outbound NAT",
        ),
        "outbound_rules": Cell(value=True, source=_RULES_2018_09),
        "standard_default": Cell(
            "without a rule",
            f"{_RULES_2018_09}: none where rules do not translate; {_OUTBOUND_2018_08}: as a standalone VM without one",
        ),
        "redeploying_counts_twice": Cell(
            value=False,
            source=_OUTBOUND_2018_02
            + ", which Source IP of outbound flows, 2018-12-11 links to: nothing is said of redeploying",
        ),
        "snat_first_port": Cell(1024, _RULES_2018_09 + ": 64,000 ports for each frontend"),
        "snat_last_port": Cell(65023, _RULES_2018_09 + ": 64,000 ports for each frontend"),
    },
    "2019-05": {
        "standard_protocols": Cell("named", _OUTBOUND_2019_05 + ": only TCP if there is only a rule for TCP"),
        "standard_default": Cell(
            "never", _OUTBOUND_2019_05 + ": scenario 3 is not there for a Standard SKU, nor for its availability set"
        ),
        "default_allocation": Cell(
            "as a pool", _OUTBOUND_2019_05 + ": a pool of one, or of the size of its availability set"
        ),
        "port_tiers": Cell(_TIERS_TO_1000, _OUTBOUND_2019_05),
        "udp_reuse": Cell("nothing", _OUTBOUND_2019_05 + ": port-restricted cone NAT, one port per flow"),
        "port_per_protocol": Cell(value=True, source=_OUTBOUND_2019_05 + ": as many ports for UDP as for TCP"),
        "frontends_basic": Cell("one at random", _OUTBOUND_2019_05),
        "frontends_standard": Cell("all multiply", _OUTBOUND_2019_05 + ": all at once, each with the table's ports"),
        "fin_close": Cell("either", _OUTBOUND_2019_05 + ": after FIN of either side"),
        "fin_s": Cell(240, _OUTBOUND_2019_05),
        "rst_s": Cell(15, _OUTBOUND_2019_05),
    },
    "2020-06": {
        "outbound_idle_min": Cell((4, 120), _OUTBOUND_2020_06 + ": 4 to 120 minutes"),
        "port_order": Cell("lowest", _OUTBOUND_2020_06 + ": the first port that is available is taken"),
    },
    "2020-10": {
        "rule_block": Cell(8, _OUTBOUND_2020_10 + ": each rule's port takes a block of eight"),
        "udp_reuse": Cell("destination address", _OUTBOUND_2020_10 + ": one port per destination IP for UDP"),
    },
    "2022-03": {
        "frontends_standard": Cell("sequential", _OUTBOUND_2022_03 + ": one at a time, until its 64,000 are used"),
        "fin_close": Cell("both", _OUTBOUND_2022_03 + ": closing is said to release a port, without a time"),
        "fin_s": Cell(0, _OUTBOUND_2022_03 + ": closing timers are no longer printed; only the idle timeout is"),
        "rst_s": Cell(0, _OUTBOUND_2022_03 + ": closing timers are no longer printed; only the idle timeout is"),
        "fragments_need_own_address": Cell(value=True, source=_OUTBOUND_2022_03 + ": IP fragments are dropped"),
    },
    "2026-07": {
        "frontends_standard": Cell("capped", _OUTBOUND_2026_07 + ": MIN(table x frontends, 1,024), any of them"),
        "rule_idle_min": Cell((4, 100), "load-balancer-tcp-idle-timeout.md (2025-02-12)"),
    },
}

_GROUPS_2016_02 = "virtual-networks-nsg.md (2016-02-11)"
_GROUPS_2018_07 = "security-overview.md (2018-07-20)"
_GROUPS_2025_07 = "network-security-group-how-it-works.md (2025-07-15)"

#: The cells of network security groups, by the date of the text; they hold for every revision that is not older.
#: Their documents were revised on days of their own, so they have no place in the rows above.
SECURITY_GROUPS: dict[str, dict[str, Cell]] = {
    "2016-02": {
        "nsg_priority": Cell((100, 65535), _GROUPS_2016_02),
        "nsg_protocols": Cell(frozenset[SecurityProtocol]({"*", "Tcp", "Udp"}), _GROUPS_2016_02),
        "nsg_max_rules": Cell(200, _GROUPS_2016_02 + ": limits"),
        "nsg_max_groups": Cell(100, _GROUPS_2016_02 + ": limits"),
        "nsg_default_names": Cell(
            (
                "ALLOW VNET INBOUND", "ALLOW AZURE LOAD BALANCER INBOUND", "DENY ALL INBOUND",
                "ALLOW VNET OUTBOUND", "ALLOW INTERNET OUTBOUND", "DENY ALL OUTBOUND",
            ),
            _GROUPS_2016_02 + ": default rules",
        ),
        "nsg_filters_platform": Cell(
            value=True, source="Outbound connections (2017-05-31), SNAT and security groups: a group can block probes"
        ),
        "nsg_required_standard": Cell(False, _GROUPS_2016_02 + ": written before there was a Standard load balancer"),
    },
    "2017-09": {"nsg_required_standard": Cell(True, _STANDARD_2017_09 + ": closed unless a group lets it in")},
    "2018-07": {
        "nsg_priority": Cell((100, 4096), _GROUPS_2018_07),
        "nsg_max_rules": Cell(1000, "azure-subscription-service-limits.md (2018-07): rules of a group, 200 before"),
        "nsg_default_names": Cell(
            (
                "AllowVnetInBound", "AllowAzureLoadBalancerInBound", "DenyAllInbound",
                "AllowVnetOutBound", "AllowInternetOutBound", "DenyAllOutBound",
            ),
            _GROUPS_2018_07 + ": default rules",
        ),
    },
    "2025-07": {
        "nsg_protocols": Cell(frozenset[SecurityProtocol]({"*", "Tcp", "Udp", "Icmp"}), _GROUPS_2025_07),
        "nsg_filters_platform": Cell(False, _GROUPS_2025_07 + ": 168.63.129.16 is not filtered"),
    },
}  # fmt: skip
_ADDRESSES_2016_02 = "virtual-network-ip-addresses-overview-classic.md (2016-02-11): limits"
_ADDRESSES_2022_12 = "azure-virtual-network-limits.md (2022-12-05)"

#: The limits of public addresses, dated as those of security groups are.
PUBLIC_ADDRESSES: dict[str, dict[str, Cell]] = {
    "2016-02": {
        "reserved_ips_max": Cell(20, _ADDRESSES_2016_02),
        "public_ips_max": Cell(5, "Instance level public IP (2016-02-10): up to 5 of a subscription"),
        "public_ip_idle_min": Cell((4, 30), "load-balancer-tcp-idle-timeout.md (2016-10-24)"),
    },
    "2022-12": {
        "reserved_ips_max": Cell(500, _ADDRESSES_2022_12),
        "public_ips_max": Cell(500, _ADDRESSES_2022_12),
    },
}
_PROBES = "load-balancer-custom-probe-overview.md"
_PROBES_2016_10 = f"{_PROBES} (2016-10-24)"
_PROBES_2018_09 = f"{_PROBES} (2018-09-04)"
_PROBES_2023_10 = f"{_PROBES} (2023-10-10)"

#: The cells of health probes, likewise.
PROBES: dict[str, dict[str, Cell]] = {
    "2016-10": {
        "probe_interval_s": Cell(15, _PROBES_2016_10),
        "probe_http_timeout_s": Cell(31, _PROBES_2016_10),
        "probe_min_interval_s": Cell(5, _PROBES_2018_09 + "; earlier revisions print no minimum"),
        "probe_min_count": Cell(2, _PROBES_2018_09 + "; earlier revisions print no minimum"),
        "probe_max_s": Cell(None, _PROBES_2016_10 + ": it prints no maximum"),
        "probe_http_refused": Cell(frozenset[int](), _PROBES_2016_10 + ": it names no port that is refused"),
        "probe_required": Cell(True, _SOURCE_IP_2018 + ": a probe must be defined first"),
        "probe_threshold": Cell("count", _PROBES_2016_10 + ": SuccessFailCount results in a row"),
        "probe_http_failure": Cell("counts", _PROBES_2016_10 + ": any answer but 200 is a failure"),
        "all_down_basic": Cell("end", _PROBES_2018_09 + "; earlier revisions do not say"),
        "all_down_standard": Cell("go on", _PROBES_2018_09 + "; earlier revisions do not say"),
    },
    "2018-09": {
        "probe_max_s": Cell(120, _PROBES_2018_09),
        "probe_threshold": Cell("count", _PROBES_2018_09 + ": SuccessFailCount results in a row"),
        "probe_http_failure": Cell("at once", _PROBES_2018_09 + ": any answer but 200, or a reset, marks it down"),
        "all_down_basic": Cell("end", _PROBES_2018_09),
        "all_down_standard": Cell("go on", _PROBES_2018_09),
    },
    "2023-10": {
        "probe_interval_s": Cell(5, _PROBES_2023_10),
        "probe_http_timeout_s": Cell(30, _PROBES_2023_10),
        "probe_max_s": Cell(None, _PROBES_2023_10 + ": the maximum is no longer printed"),
        "probe_http_refused": Cell(frozenset({19, 21, 25, 70, 110, 119, 143, 220, 993}), _PROBES_2023_10),
        "probe_required": Cell(False, _PROBES_2023_10 + ": the portal alone insists on a probe"),
        "probe_threshold": Cell("one", _PROBES_2023_10 + ": one success brings a member up, one failure down"),
        "all_down_basic": Cell("end", _PROBES_2023_10),
        "all_down_standard": Cell("go on if several", _PROBES_2023_10 + ": if the pool has more than one member"),
    },
}

_NAT_2022_02 = "nat-gateway-resource.md (2022-02-25)"
_NAT_2023_07 = "nat-gateway-resource.md (2023-07-10)"
_DEFAULT_2025_12 = "default-outbound-access.md (2025-12-03)"

#: The cells of NAT gateways and private subnets, likewise.
NAT_GATEWAYS: dict[str, dict[str, Cell]] = {
    "2016-10": {
        "nat_gateways": Cell(False, _NAT_2022_02 + ": the first revision of it that is played"),
        "nat_first_port": Cell(1024, _NAT_2022_02 + ": 64,512 ports of each address"),
        "nat_fin_s": Cell(65, _NAT_2022_02 + ": timers"),
        "nat_rst_s": Cell(20, _NAT_2022_02 + ": timers"),
        "nat_half_open_s": Cell(25, _NAT_2022_02 + ": timers"),
        "nat_udp_s": Cell(65, _NAT_2022_02 + ": timers"),
        "nat_udp_idle_s": Cell(240, _NAT_2022_02 + ": timers"),
        "nat_idle_min": Cell((4, 120), _NAT_2022_02 + ": timers"),
        "private_subnets": Cell(False, _DEFAULT_2025_12 + ": the first revision of it that is played"),
        "default_outbound_access": Cell(True, "default-outbound-access.md (2022-03-02): where nothing else is there"),
    },
    "2022-02": {"nat_gateways": Cell(True, _NAT_2022_02)},
    "2023-07": {
        "nat_gateways": Cell(True, _NAT_2023_07),
        "nat_rst_s": Cell(16, _NAT_2023_07 + ": timers"),
        "nat_half_open_s": Cell(30, _NAT_2023_07 + ": timers"),
    },
    "2025-12": {"private_subnets": Cell(True, _DEFAULT_2025_12)},
    "2026-04": {
        "default_outbound_access": Cell(
            False, _DEFAULT_2025_12 + ": new virtual networks have private subnets after 2026-03-31"
        ),
    },
}

#: What the seeds, played together, do not restrict and a later revision allows.
_OF_SEEDS = {"nsg_protocols": SECURITY_GROUPS["2025-07"]["nsg_protocols"]}

#: The default: Outbound connections, 2017-05-31, and what Source IP of outbound flows, 2018-12-11 adds to it.
SEEDS = "seeds"
_SEEDS_BASE, _SEEDS_BINDING = "2017-05b", "2018-12"
NAMES = (SEEDS, *TABLE)


def resolve(name: str) -> Profile:
    """Return the profile of a revision.

    Raises:
        KeyError: no such revision.

    """
    cells = _cells(_SEEDS_BASE if name == SEEDS else name)
    if name == SEEDS:
        newest = _cells(_SEEDS_BINDING)
        taken = ("binding_", "standard_", "internal_", "ha_", "nsg_", "probe_", "all_down_")
        cells |= {key: cell for key, cell in newest.items() if key.startswith(taken)} | _OF_SEEDS
    values = {key: cell.value for key, cell in cells.items()}
    sources = {key: cell.source for key, cell in cells.items()}
    return msgspec.convert({"name": name, "sources": sources, **values}, Profile)


def _cells(last: str) -> dict[str, Cell]:
    if last not in TABLE:
        raise KeyError(last)
    cells: dict[str, Cell] = {}
    for revision, row in TABLE.items():
        cells |= row
        if revision == last:
            break
    for table in (SECURITY_GROUPS, PROBES, PUBLIC_ADDRESSES, NAT_GATEWAYS):
        for dated, row in table.items():
            cells |= row if dated <= last else {}
    return cells
