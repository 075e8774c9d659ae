"""lab/azure/profile.py: the table of revisions. Figures are written down here a second time, from the documents."""

import pytest

from lab.azure import profile
from lab.azure.profile import TABLE, Profile, resolve


def test_a_revision_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(KeyError, match="2019-01"):
        resolve("2019-01")


def test_a_blank_cell_is_taken_from_the_newest_earlier_revision() -> None:
    assert "binding_basic" not in TABLE["2026-07"]
    assert resolve("2026-07").sources["binding_basic"] == resolve("2018-12").sources["binding_basic"]
    assert (resolve("2017-09").tcp_reuse, resolve("2018-02").tcp_reuse) == ("destination address", "destination")


def test_the_revisions_are_in_the_order_of_their_dates() -> None:
    """claims.md C.1: each row is a revision that can be chosen."""
    assert profile.NAMES == (
        "seeds", "2016-10", "2017-05a", "2017-05b", "2017-09", "2018-02", "2018-07-classic", "2018-12", "2019-05",
        "2020-06", "2020-10", "2022-03", "2026-07",
    )  # fmt: skip
    assert sorted(TABLE) == list(TABLE)


def test_a_cell_of_a_newer_revision_is_not_taken_by_an_older_one() -> None:
    assert resolve("2017-05b").binding("Standard") == {"load_balancing_rule", "inbound_nat_rule"}
    assert resolve("2018-12").binding("Standard") == {"load_balancing_rule"}
    assert resolve("2018-12").binding("Basic") == {"load_balancing_rule", "inbound_nat_rule"}


def values(name: str, *but: str) -> dict[str, object]:
    found = resolve(name)
    return {f: getattr(found, f) for f in Profile.__struct_fields__ if f not in {"name", "sources", *but}}


def test_the_default_plays_seed_002_and_what_seed_001_found_about_links() -> None:
    seeds, second, first = resolve("seeds"), resolve("2017-05b"), resolve("2018-12")
    kinds = ("standard_", "internal_", "ha_", "nsg_", "probe_", "all_down_")
    groups = [f for f in Profile.__struct_fields__ if f.startswith(kinds)]
    links = ("binding_basic", "binding_standard", *groups)
    assert (seeds.name, values("seeds", *links)) == ("seeds", values("2017-05b", *links))
    same = [f for f in links if f != "nsg_protocols"]  # the seeds do not restrict what a security rule may name
    assert [getattr(seeds, f) for f in same] == [getattr(first, f) for f in same]
    assert seeds.nsg_protocols == first.nsg_protocols | {"Icmp"}
    own = {f: seeds.sources[f] for f in links}
    assert seeds.sources == second.sources | {f: first.sources[f] for f in same} | {
        "nsg_protocols": own["nsg_protocols"]
    }


#: claims.md C.1 and B.1: address or tuple that a TCP port is unique for, the same for UDP, each protocol its own
#: ports, the first and the last port, the order, blocks, FIN of which side, seconds after it, seconds after RST.
REVISIONS = {
    "2016-10": ("destination address", "destination address", False, 1025, 65535, "random", 0, "both", 0, 0),
    "2017-05a": ("destination address", "destination address", False, 1025, 65535, "random", 0, "both", 0, 0),
    "2017-05b": ("destination address", "destination address", False, 1025, 65535, "random", 0, "both", 0, 0),
    "2017-09": ("destination address", "destination address", False, 1025, 65535, "random", 0, "both", 0, 0),
    "2018-02": ("destination", "destination", False, 1025, 65535, "random", 0, "both", 0, 0),
    "2018-07-classic": ("destination", "destination", False, 1025, 65535, "random", 0, "both", 240, 15),
    "2018-12": ("destination", "destination", False, 1024, 65023, "random", 0, "both", 240, 15),
    "2019-05": ("destination", "nothing", True, 1024, 65023, "random", 0, "either", 240, 15),
    "2020-06": ("destination", "nothing", True, 1024, 65023, "lowest", 0, "either", 240, 15),
    "2020-10": ("destination", "destination address", True, 1024, 65023, "lowest", 8, "either", 240, 15),
    "2022-03": ("destination", "destination address", True, 1024, 65023, "lowest", 8, "both", 0, 0),
    "2026-07": ("destination", "destination address", True, 1024, 65023, "lowest", 8, "both", 0, 0),
}


@pytest.mark.parametrize("name", TABLE)
def test_ports_are_given_out_and_come_back_as_the_revision_says(name: str) -> None:
    found = resolve(name)
    assert (
        found.tcp_reuse, found.udp_reuse, found.port_per_protocol, found.snat_first_port, found.snat_last_port,
        found.port_order, found.rule_block, found.fin_close, found.fin_s, found.rst_s,
    ) == REVISIONS[name]  # fmt: skip
    assert found.idle_timeout_s == 240


#: claims.md C.1, N-SN-2, N-SN-6 and N-SN-12: how ports are shared out, for Basic, Standard and the platform's address,
#: and which of several frontends is taken, for Basic and Standard.
SHARING = {
    "2016-10": ("on demand", "on demand", "on demand", "any", "any"),
    "2017-05a": ("on demand", "on demand", "on demand", "any", "any"),
    "2017-05b": ("preallocated", "preallocated", "on demand", "any", "any"),
    "2017-09": ("on demand", "preallocated", "on demand", "any", "any"),
    "2018-02": ("preallocated", "preallocated", "on demand", "one at random", "all multiply"),
    "2018-07-classic": ("preallocated", "preallocated", "on demand", "one at random", "all multiply"),
    "2018-12": ("preallocated", "preallocated", "on demand", "one at random", "all multiply"),
    "2019-05": ("preallocated", "preallocated", "as a pool", "one at random", "all multiply"),
    "2020-06": ("preallocated", "preallocated", "as a pool", "one at random", "all multiply"),
    "2020-10": ("preallocated", "preallocated", "as a pool", "one at random", "all multiply"),
    "2022-03": ("preallocated", "preallocated", "as a pool", "one at random", "sequential"),
    "2026-07": ("preallocated", "preallocated", "as a pool", "one at random", "capped"),
}


@pytest.mark.parametrize("name", TABLE)
def test_ports_are_shared_out_as_the_revision_says(name: str) -> None:
    found = resolve(name)
    assert (
        found.allocation("Basic"), found.allocation("Standard"), found.default_allocation,
        found.frontends("Basic"), found.frontends("Standard"),
    ) == SHARING[name]  # fmt: skip


#: Outbound (2018-03-21, 2018-08-27, 2019-05-02), outbound rules (2018-09-24): the protocols that a Standard load
#: balancer's rule has translated, and when its VMs have the platform's address.
STANDARD = {
    **dict.fromkeys(("2016-10", "2017-05a", "2017-05b", "2017-09"), ("both", "always")),
    **dict.fromkeys(("2018-02", "2018-07-classic"), ("named", "always")),
    **dict.fromkeys(("2018-12", "seeds"), ("named", "without a rule")),
    **dict.fromkeys(("2019-05", "2020-06", "2020-10", "2022-03", "2026-07"), ("named", "never")),
}


@pytest.mark.parametrize("name", profile.NAMES)
def test_a_standard_load_balancer_is_played_as_the_revision_says(name: str) -> None:
    found = resolve(name)
    assert (found.standard_protocols, found.standard_default) == STANDARD[name]
    assert not found.protocol_counts("Basic")


def test_a_pool_alone_links_in_the_oldest_revision_only() -> None:
    """N-SN-15."""
    linked = {name for name in TABLE for sku in ("Basic", "Standard") if "backend_pool" in resolve(name).binding(sku)}
    assert linked == {"2016-10"}


def test_the_classic_table_ends_at_400() -> None:
    """load-balancer-outbound-connections-classic.md (2018-07-13)."""
    assert [resolve("2018-07-classic").ports_per_vm(size) for size in (1, 400, 401)] == [1024, 128, None]


def test_only_the_classic_page_counts_a_service_twice_while_it_is_redeployed() -> None:
    """N-SN-5: load-balancer-outbound-connections-classic.md (2018-07-13)."""
    assert {name for name in profile.NAMES if resolve(name).redeploying_counts_twice} == {"2018-07-classic"}


@pytest.mark.parametrize(
    ("pool", "ports"),
    # load-balancer-standard-overview.md (2017-09-28), the table of preallocated ports.
    [(1, 1024), (50, 1024), (51, 512), (100, 512), (101, 256), (200, 256), (201, 128), (400, 128), (401, 64),
     (800, 64), (801, 32), (1000, 32), (1001, None)],
)  # fmt: skip
def test_snat_ports_follow_the_size_of_the_pool(pool: int, ports: int | None) -> None:
    assert resolve("seeds").ports_per_vm(pool) == ports


def test_the_seeds_play_the_figures_of_their_documents() -> None:
    seeds = resolve("seeds")
    assert seeds.snat_last_port - seeds.snat_first_port + 1 == 64511  # N-SN-3
    assert seeds.idle_timeout_s == 240
    assert (seeds.probe_min_interval_s, seeds.probe_min_count, seeds.probe_max_s) == (5, 2, 120)
    assert seeds.rule_idle_min == (4, 30)


@pytest.mark.parametrize(
    ("name", "priorities", "rules", "first_default"),
    # virtual-networks-nsg.md (2016-02-11) and security-overview.md (2018-07-20).
    [("2017-05b", (100, 65535), 200, "ALLOW VNET INBOUND"), ("2018-12", (100, 4096), 1000, "AllowVnetInBound")],
)
def test_security_groups_follow_the_date_of_their_own_documents(
    name: str, priorities: tuple[int, int], rules: int, first_default: str
) -> None:
    found = resolve(name)
    assert (found.nsg_priority, found.nsg_max_rules, found.nsg_default_names[0]) == (priorities, rules, first_default)
    assert found.nsg_protocols == {"*", "Tcp", "Udp"}


#: claims.md C-8: default interval, HTTP timeout, most of interval times count, results in a row, a wrong HTTP answer,
#: a rule needs a probe, and what becomes of TCP flows with all members down, Basic and Standard.
PROBING = {
    "2016-10": (15, 31, None, "count", "counts", True, "end", "go on"),
    "2018-07-classic": (15, 31, None, "count", "counts", True, "end", "go on"),
    "2018-12": (15, 31, 120, "count", "at once", True, "end", "go on"),
    "seeds": (15, 31, 120, "count", "at once", True, "end", "go on"),
    "2022-03": (15, 31, 120, "count", "at once", True, "end", "go on"),
    "2026-07": (5, 30, None, "one", "at once", False, "end", "go on if several"),
}


@pytest.mark.parametrize("name", PROBING)
def test_probes_follow_the_date_of_their_own_document(name: str) -> None:
    found = resolve(name)
    assert (
        found.probe_interval_s, found.probe_http_timeout_s, found.probe_max_s, found.probe_threshold,
        found.probe_http_failure, found.probe_required, found.all_down_basic, found.all_down_standard,
    ) == PROBING[name]  # fmt: skip
    assert (found.probe_min_interval_s, found.probe_min_count) == (5, 2)


def test_http_probes_of_some_ports_are_refused_since_2023() -> None:
    assert resolve("2022-03").probe_http_refused == set()
    assert resolve("2026-07").probe_http_refused == {19, 21, 25, 70, 110, 119, 143, 220, 993}


def test_a_standard_pool_of_one_ends_its_flows_in_later_revisions() -> None:
    assert [resolve("2026-07").all_down("Standard", members) for members in (1, 2)] == [True, False]
    assert [resolve("seeds").all_down("Standard", members) for members in (1, 2)] == [False, False]
    assert [resolve("seeds").all_down("Basic", members) for members in (1, 2)] == [True, True]


def test_every_cell_names_a_source_with_its_date() -> None:
    for row in (*TABLE.values(), *profile.SECURITY_GROUPS.values(), *profile.PROBES.values()):
        for name, cell in row.items():
            assert "(20" in cell.source, name


@pytest.mark.parametrize("name", profile.NAMES)
def test_every_value_of_every_revision_has_a_source(name: str) -> None:
    found = resolve(name)
    assert set(found.sources) == set(Profile.__struct_fields__) - {"name", "sources"}
