"""What holds for the plan of every network."""

import itertools
import json
from ipaddress import IPv4Network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lab import plan
from lab.azure import model
from lab.azure.model import Network
from lab.compile import compile as compile_network
from lab.errors import TopologyError
from lab.path import outbound_snat
from lab.plan import BUILTIN_CHAINS, Backends, HealthCheck, Jump, Rule, SourceNat, Terminal, difference, encode
from lab.runtime import show
from lab.topology import parse
from tests import strategies

some = settings(max_examples=120, deadline=None, derandomize=True)


def refusal(text: str) -> tuple[str, ...]:
    """Return the lines a text is refused with; none if it can be played."""
    try:
        network = parse(text, "f")
    except TopologyError as error:
        return error.lines
    compile_network(network)
    return ()


def rules_of(network: Network, chain: str) -> list[Rule]:
    return [rule for rule in compile_network(network).of(Rule) if (rule.table, rule.chain) == ("nat", chain)]


_DROP = str(Terminal("DROP"))


@some
@given(strategies.topologies())
def test_compiling_a_file_twice_gives_the_same_bytes(topology: dict[str, Any]) -> None:
    first, second = (encode(compile_network(parse(strategies.text_of(topology), "f"))) for _ in range(2))
    assert first == second


@some
@given(st.data())
def test_the_order_of_keys_is_irrelevant(data: st.DataObject) -> None:
    topology = data.draw(strategies.topologies())
    other = data.draw(strategies.shuffled(topology))
    first, second = (compile_network(parse(strategies.text_of(t), "f")) for t in (topology, other))
    assert encode(first) == encode(second)


@some
@given(strategies.networks())
def test_no_address_has_two_owners(network: Network) -> None:
    public = [address for address, _ in network.public_addresses()]
    public += [vnet.default_outbound_address for vnet in network.virtual_networks]
    private = [(vm.virtual_network, vm.private_ip_address) for vm in network.virtual_machines]
    assert len(set(public)) == len(public)
    assert len(set(private)) == len(private)


@some
@given(strategies.networks())
def test_snat_ranges_of_one_frontend_are_disjoint_and_inside_what_snat_may_use(network: Network) -> None:
    used: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for shares in outbound_snat.ranges(network).values():
        for share, protocol in itertools.product(shares, ("tcp", "udp")):
            if share.serves(protocol):
                used.setdefault((share.address, protocol), []).append((share.first, share.last))
    first_port, last_port = network.profile.snat_first_port, network.profile.snat_last_port
    for ranges in used.values():
        # Where ports are allocated on demand, all VMs may use all of them.
        ordered = sorted(set(ranges) if set(ranges) == {(first_port, last_port)} else ranges)
        assert all(last < first for (_, last), (first, _) in itertools.pairwise(ordered))
        assert ordered[0][0] >= first_port >= 1024
        assert ordered[-1][1] <= last_port <= 65535
        assert all(first <= last for first, last in ordered)


@some
@given(strategies.networks())
def test_every_vm_with_an_address_of_its_own_is_taken_before_any_shared_rule(network: Network) -> None:
    for vm in network.virtual_machines:
        if vm.instance_public_ip is None:
            continue
        rules = [r for r in rules_of(network, "POSTROUTING") if r.place == f"lb.{vm.virtual_network}"]
        first = next(r for r in rules if r.source and vm.private_ip_address in IPv4Network(r.source))
        assert (first.target, first.protocol) == (SourceNat(str(vm.instance_public_ip.address)), None)
        assert vm.name not in outbound_snat.ranges(network)


@some
@given(strategies.networks())
def test_every_vm_is_seen_from_an_address_that_leads_back_to_its_network_or_is_shut_in(network: Network) -> None:
    made = compile_network(network)
    dropped = {(r.place, r.source, r.protocol) for r in made.of(Rule) if r.table == "mangle" and str(r.target) == _DROP}
    routes = {(r.destination, r.interface) for r in made.of(plan.Route) if r.place == "internet"}
    for vm in network.virtual_machines:
        edge = f"lb.{vm.virtual_network}"
        seen = show.outbound(made).get(vm.name, ())
        shut = {(edge, f"{vm.private_ip_address}/32", protocol) for protocol in ("tcp", "udp")}
        assert seen or shut <= dropped
        assert {(f"{o.address}/32", plan.interface_to(edge)) for o in seen} <= routes


@some
@given(strategies.networks())
def test_every_chain_is_entered_from_one_rule_and_every_jump_leads_to_rules(network: Network) -> None:
    rules = list(compile_network(network).of(Rule))
    entered = [(r.place, r.table, r.target.chain) for r in rules if isinstance(r.target, Jump)]
    translating = [entry for entry in entered if entry[1] == "nat"]  # a security group guards many VMs by one chain
    assert len(set(translating)) == len(translating)
    written = {(r.place, r.table, r.chain) for r in rules if r.chain not in BUILTIN_CHAINS}
    assert written <= set(entered)


@some
@given(strategies.networks())
def test_names_fit_the_kernel(network: Network) -> None:
    made = compile_network(network)
    assert all(len(w.interface) <= 15 and len(w.peer_interface) <= 15 for w in made.of(plan.VethPair))
    assert all(len(r.chain) <= 28 for r in made.of(Rule))
    assert all(len(str(i.why)) <= 255 for i in made.items)


@some
@given(strategies.networks())
def test_a_plan_and_its_network_survive_being_written_down(network: Network) -> None:
    made = compile_network(network)
    assert plan.decode(encode(made)) == made
    assert compile_network(model.decode(model.encode(network))) == made


@some
@given(strategies.networks(), strategies.networks())
def test_a_difference_applied_to_the_old_items_gives_the_new(old: Network, new: Network) -> None:
    before, after = compile_network(old), compile_network(new)
    change = difference(before, after)
    assert (set(before.items) - set(change.gone)) | set(change.new) == set(after.items)
    assert set(change.gone) <= set(before.items)
    assert set(change.new) <= set(after.items)
    assert bool(change) == (before.items != after.items)


@some
@given(st.data())
def test_who_is_down_changes_nothing_but_where_new_inbound_flows_go(data: st.DataObject) -> None:
    """Source IP of outbound flows, 2018-12-11, test 2: for outbound flows alone, the probe need not be healthy."""
    network = data.draw(strategies.networks())
    whole = compile_network(network)
    keys = [check.key for check in whole.of(HealthCheck)]
    down = frozenset(data.draw(st.sets(st.sampled_from(keys)))) if keys else frozenset()
    less = compile_network(network, down)
    changed = set(whole.items) ^ set(less.items)
    assert {(type(i), i.why.rule) for i in changed} <= {
        (Rule, "load_balancer"),
        (Rule, "internal_load_balancer"),
        (Rule, "floating_ip"),
    }
    gone = {check.address for check in whole.of(HealthCheck)} if down == set(keys) else set()
    # Who is behind another frontend without a probe is always up there.
    gone -= {member.address for backends in whole.of(Backends) for member in backends.members if not member.check}
    targets = {r.target.address for r in less.of(Rule) if r.why.rule == "load_balancer" and r.mark is not None
               and isinstance(r.target, plan.DestinationNat)}  # fmt: skip
    assert not gone & targets


@settings(max_examples=800, deadline=None, derandomize=True)
@given(strategies.broken())
def test_a_file_is_played_or_refused_and_never_ends_in_a_traceback(topology: dict[str, Any]) -> None:
    lines = refusal(json.dumps(topology))
    assert all(line.startswith("f:") for line in lines)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet=st.characters(codec="utf-8")) | st.text(alphabet=" \n-:[]{}&*ab'\"|>#!%@,?"))
def test_any_text_is_refused_with_lines_and_never_ends_in_a_traceback(text: str) -> None:
    assert refusal(text)
