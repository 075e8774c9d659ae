"""lab/profile.py: the table of revisions. Figures are written down here a second time, from the documents."""

import pytest

from lab import profile
from lab.profile import TABLE, Profile, resolve


def test_a_revision_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(KeyError, match="2019-01"):
        resolve("2019-01")


def test_a_blank_cell_is_taken_from_the_newest_earlier_revision() -> None:
    assert resolve("2018-12").port_tiers == resolve("2017-05b").port_tiers


def test_a_cell_of_a_newer_revision_is_not_taken_by_an_older_one() -> None:
    assert resolve("2017-05b").binding("Standard") == {"load_balancing_rule", "inbound_nat_rule"}
    assert resolve("2018-12").binding("Standard") == {"load_balancing_rule"}
    assert resolve("2018-12").binding("Basic") == {"load_balancing_rule", "inbound_nat_rule"}


def test_the_default_plays_the_newest_revision_under_its_own_name() -> None:
    seeds, newest = resolve("seeds"), resolve("2018-12")
    assert (seeds.name, newest.name) == ("seeds", "2018-12")
    assert {f: getattr(seeds, f) for f in Profile.__struct_fields__ if f != "name"} == {
        f: getattr(newest, f) for f in Profile.__struct_fields__ if f != "name"
    }


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
    assert (seeds.snat_first_port, seeds.snat_last_port) == (1024, 65535)
    assert seeds.idle_timeout_s == 240
    assert (seeds.probe_min_interval_s, seeds.probe_min_count, seeds.probe_max_s) == (5, 2, 120)
    assert seeds.rule_idle_min == (4, 30)


def test_every_cell_names_a_source_with_its_date() -> None:
    for row in TABLE.values():
        for name, cell in row.items():
            assert "(20" in cell.source, name


@pytest.mark.parametrize("name", profile.NAMES)
def test_every_value_of_every_revision_has_a_source(name: str) -> None:
    found = resolve(name)
    assert set(found.sources) == set(Profile.__struct_fields__) - {"name", "sources"}
