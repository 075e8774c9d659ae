"""lab/cli: exit statuses, messages, and what JSON holds. Nothing here needs root, and nothing here makes a lab."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import __version__, cli
from lab.azure import profile
from lab.verify import claims
from tests import unprivileged
from tests.unit.conftest import Done, Run
from tests.unit.refusals import MACHINE

CHECKOUT = Path(__file__).parents[3]
BUNDLED = sorted((CHECKOUT / "topologies").glob("*.lab.yaml"))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "a.lab.yaml").write_text(MACHINE)
    return Path("a.lab.yaml")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "bad.lab.yaml").write_text("name: B\nprofil: x\n")
    return Path("bad.lab.yaml")


_BAD = [
    (
        'bad.lab.yaml:1: name: "B"; a lab\'s name begins with a lower-case letter and has up to 20 lower-case letters, '
        "digits and dashes; correct it"
    ),
    (
        'bad.lab.yaml:2: profil: unknown key "profil"; keys are those of the vocabulary, or begin with "x-"; '
        'did you mean "profile"?'
    ),
]

# --- check ------------------------------------------------------------------------------------


def test_check_says_what_a_good_file_holds(lab: Run, good: Path) -> None:
    assert lab("check", good) == Done(0, "a.lab.yaml: ok: a, 1 VM, 0 outside hosts\n", "")


def test_check_of_a_bad_file_ends_with_2_and_every_problem_on_standard_error(lab: Run, bad: Path) -> None:
    assert lab("check", bad) == Done(2, "", "\n".join(_BAD) + "\n")


def test_check_goes_on_after_a_bad_file_and_a_missing_one(lab: Run, good: Path, bad: Path) -> None:
    done = lab("check", bad, "none.lab.yaml", good)
    assert (done.status, done.out) == (2, "a.lab.yaml: ok: a, 1 VM, 0 outside hosts\n")
    missing = "none.lab.yaml: no such file; a topology file is needed; known: a.lab.yaml, bad.lab.yaml"
    assert done.err.splitlines() == [*_BAD, missing]


def test_check_as_json_has_an_object_for_each_file(lab: Run, good: Path, bad: Path) -> None:
    done = lab("check", good, bad, "-o", "json")
    assert done.status == 2
    assert json.loads(done.out) == {
        "files": [
            {"file": "a.lab.yaml", "ok": True, "name": "a", "vms": 1, "hosts": 0},
            {"file": "bad.lab.yaml", "ok": False, "problems": _BAD},
        ]
    }


@pytest.mark.parametrize("file", BUNDLED, ids=lambda file: file.name)
def test_every_bundled_topology_checks(lab: Run, file: Path) -> None:
    assert lab("check", file).status == 0


# --- which file -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "plan"])
def test_without_file_the_only_topology_of_the_folder_is_taken(lab: Run, good: Path, command: str) -> None:
    assert lab(command) == lab(command, good)


@pytest.mark.parametrize("command", ["check", "plan", "up"])
@pytest.mark.parametrize(("count", "what"), [(0, "no"), (2, "2")])
def test_without_file_there_must_be_exactly_one(lab: Run, tmp_path: Path, command: str, count: int, what: str) -> None:
    for number in range(count):
        (tmp_path / f"{number}.lab.yaml").write_text(MACHINE)
    wanted = f"{tmp_path}: {what} *.lab.yaml here; without FILE there must be exactly one; name a FILE\n"
    assert lab(command) == Done(2, "", wanted)


# --- plan -------------------------------------------------------------------------------------


def test_plan_names_every_place_and_the_why_of_every_item(lab: Run, good: Path) -> None:
    done = lab("plan", good)
    assert done.status == 0
    places = [line for line in done.out.splitlines() if not line.startswith(" ")]
    assert places == ["internet", "lb.v", "router.v", "vm"]
    assert all("  # " in line for line in done.out.splitlines() if line.startswith(" "))


def test_plan_as_json_is_the_lab_and_its_items(lab: Run, good: Path) -> None:
    made = json.loads(lab("plan", good, "-o", "json").out)
    assert list(made) == ["lab", "items"]
    assert made["lab"] == "a"
    assert {item["type"] for item in made["items"]} >= {"place", "wire", "address", "route", "rule", "sysctl"}
    assert all({"type", "place", "why"} <= item.keys() for item in made["items"])


def test_plan_of_a_bad_file_ends_with_2(lab: Run, bad: Path) -> None:
    assert lab("plan", bad) == Done(2, "", "\n".join(_BAD) + "\n")


def test_plan_as_a_difference_needs_the_lab_to_be_up(lab: Run, good: Path) -> None:
    assert lab("plan", good, "--diff") == Done(
        2, "", 'no lab "a"; a lab must be up first; none is defined; see `lab list`\n'
    )


def timers(plan: str) -> set[str]:
    return {line.split("#")[0].strip() for line in plan.splitlines() if "conntrack_udp_timeout " in line}


def test_a_time_scale_makes_timers_run_faster(lab: Run, good: Path) -> None:
    assert timers(lab("plan", good, "--time-scale", "60").out) == {"sysctl net.netfilter.nf_conntrack_udp_timeout = 4"}


def test_options_are_read_from_the_environment_too(lab: Run, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PLAN_TIME_SCALE", "120")
    assert timers(lab("plan", good).out) == {"sysctl net.netfilter.nf_conntrack_udp_timeout = 2"}
    monkeypatch.setenv("LAB_PLAN_OUTPUT", "json")
    assert json.loads(lab("plan", good).out)["lab"] == "a"


def test_a_bad_value_from_the_environment_is_refused_as_from_the_command_line(
    lab: Run, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_UP_TIME_SCALE", "241")
    done = lab("up", good)
    assert done.status == 2
    assert "Invalid value for '--time-scale'" in done.err
    assert "241 is not in the range 1<=x<=240" in done.err


# --- schema, claims, list, show ---------------------------------------------------------------


def test_schema_prints_a_json_schema(lab: Run) -> None:
    assert json.loads(lab("schema").out)["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_claims_lists_the_catalogue(lab: Run) -> None:
    done = lab("claims")
    assert done.status == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["CLAIM", *(claim.id for claim in claims.CATALOGUE)]


def test_claims_as_json_has_every_claim_with_where_it_is_proved(lab: Run) -> None:
    listed = json.loads(lab("claims", "-o", "json").out)["claims"]
    assert [claim["id"] for claim in listed] == [claim.id for claim in claims.CATALOGUE]
    assert all(list(claim) == ["id", "statement", "source", "profiles", "proved_in"] for claim in listed)
    proved = {claim["id"]: claim["proved_in"] for claim in listed}
    assert {"multivip", "source-ip"} <= set(proved["S1-3"])


def test_claims_of_one_id_shows_that_claim(lab: Run) -> None:
    listed = json.loads(lab("claims", "S1-3", "-o", "json").out)["claims"]
    assert [claim["id"] for claim in listed] == ["S1-3"]
    assert "Source IP of outbound flows (2018-12-11), test 1" in lab("claims", "S1-3").out


def test_a_claim_that_is_not_in_the_catalogue_is_named_with_the_nearest(lab: Run) -> None:
    assert lab("claims", "S1-33") == Done(2, "", 'no claim "S1-33"; did you mean "S1-3"?\n')


def test_list_says_that_no_lab_is_up(lab: Run) -> None:
    assert lab("list") == Done(0, "no lab is up\n", "")
    assert json.loads(lab("list", "-o", "json").out) == {"labs": []}


@pytest.mark.parametrize("command", [["show", "shop"], ["inspect", "shop"], ["exec", "shop", "vm", "--", "true"],
                                     ["shell", "shop", "vm"]], ids=lambda command: command[0])  # fmt: skip
def test_a_lab_that_is_not_up_is_an_error_of_the_request(lab: Run, command: list[str]) -> None:
    assert lab(*command) == Done(2, "", 'no lab "shop"; a lab must be up first; none is defined; see `lab list`\n')


# --- root, manners ----------------------------------------------------------------------------


_NEEDS_ROOT = f"user {unprivileged.USER}: network namespaces need root; nothing was made; run it again with sudo\n"


@pytest.mark.parametrize("command", ["up", "deploy", "verify"])
def test_what_makes_namespaces_needs_root(lab: Run, good: Path, command: str) -> None:
    assert lab(command, good) == Done(4, "", _NEEDS_ROOT)


@pytest.mark.parametrize("command", ["down", "destroy"])
def test_what_removes_namespaces_needs_root(lab: Run, command: str) -> None:
    assert lab(command, "a") == Done(4, "", _NEEDS_ROOT)


@pytest.mark.parametrize("command", ["up", "verify"])
def test_a_bad_file_is_refused_before_root_is_asked_for(lab: Run, bad: Path, command: str) -> None:
    assert lab(command, bad) == Done(2, "", "\n".join(_BAD) + "\n")


def test_verify_of_a_claim_that_is_not_known_is_refused_with_the_nearest(lab: Run, good: Path) -> None:
    assert lab("verify", good, "--claim", "S1-33") == Done(
        2, "", 'no claim "S1-33"; did you mean "S1-3"?; see `lab claims`\n'
    )


def test_verify_of_claims_that_do_not_apply_says_where_they_do(lab: Run, good: Path) -> None:
    source_ip = CHECKOUT / "topologies" / "source-ip.lab.yaml"
    done = lab("verify", good, source_ip, "--claim", "N-SN-2", "--claim", "S1-3", "--claim", "N-SN-7")
    assert (done.status, done.out) == (4, "")  # all that can be said without root
    assert done.err.splitlines()[:-1] == [
        (
            "--claim N-SN-2: applies to none of these topologies; it is proved in snat-2017; "
            "run `lab verify --claim N-SN-2`, without FILE"
        ),
        (
            "--claim N-SN-7: applies to none of these topologies; it is proved in snat-2019, snat-2020; "
            "run `lab verify --claim N-SN-7`, without FILE"
        ),
    ]


@pytest.mark.parametrize("arguments", [[], ["a", "--all"]])
def test_down_needs_names_or_all_and_never_both(lab: Run, arguments: list[str]) -> None:
    assert lab("down", *arguments) == Done(2, "", "lab down: needs names of labs, or --all and none; see `lab list`\n")


@pytest.mark.parametrize("name", ["../etc", ".", ".a.lock", "/etc", ""])
def test_down_takes_no_name_that_leads_out_of_the_labs_folder(
    lab: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert lab("down", name) == Done(2, "", f'lab down: "{name}" is not the name of a lab; see `lab list`\n')


def test_a_command_that_was_taken_away_names_what_does_the_same(lab: Run) -> None:
    done = lab("check-flow", "nsg", "client", "web1:80")
    assert done.status == 2
    assert "use `lab explain LAB|FILE FROM TO:PORT`" in done.err


def test_an_unknown_command_gets_a_suggestion(lab: Run) -> None:
    done = lab("verfy")
    assert done.status == 2
    assert done.err.splitlines()[-1] == 'Error: no command "verfy"; did you mean "verify"?'


def test_an_alias_is_suggested_too(lab: Run) -> None:
    assert lab("deply").err.splitlines()[-1] == 'Error: no command "deply"; did you mean "deploy"?'


def test_an_unknown_option_is_an_error_of_the_request(lab: Run) -> None:
    done = lab("check", "--colour")
    assert (done.status, "No such option" in done.err) == (2, True)


@pytest.mark.parametrize(("alias", "command"), [("deploy", "up"), ("destroy", "down"), ("inspect", "show")])
def test_an_alias_has_the_help_of_its_command(lab: Run, alias: str, command: str) -> None:
    said, wanted = lab(alias, "--help"), lab(command, "--help")
    assert said.status == 0
    assert said.out.split("\n", 1)[1] == wanted.out.split("\n", 1)[1]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_every_command_and_the_exit_statuses(lab: Run, option: str) -> None:
    done = lab(option)
    assert done.status == 0
    assert done.out.startswith("Usage: lab [OPTIONS] COMMAND [ARGS]...")
    assert all(f"\n  {name} " in done.out for name in cli.cli.commands)
    assert "Exit status: 0 done, nothing contradicted" in done.out


def test_the_version_is_said(lab: Run) -> None:
    assert lab("--version") == Done(0, f"lab, version {__version__}\n", "")


# --- as a program -----------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code that any user may read: the checkout may lie where only root may look."""
    root = tmp_path_factory.mktemp("copy")
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)
    shutil.copytree(CHECKOUT / "lab", root / "lab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "topologies", root / "topologies")
    return root


def test_verify_by_a_user_without_root_ends_with_4_and_says_what_to_do(copy: Path) -> None:
    done = unprivileged.run("verify", env={**os.environ, "PYTHONPATH": str(copy)}, cwd=copy)
    user = unprivileged.USER if os.geteuid() == 0 else os.geteuid()
    wanted = f"user {user}: network namespaces need root; nothing was made; run it again with sudo\n"
    assert Done(done.returncode, done.stdout, done.stderr) == Done(4, "", wanted)


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    program = f"{sys.executable} -P -m lab plan {BUNDLED[0]} | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize("first", profile.NAMES)
def test_the_difference_of_any_two_revisions_can_be_told(lab: Run, first: str) -> None:
    """Whatever the type of a cell: sets of words or of ports, limits that are not there."""
    for second in profile.NAMES:
        for words in ((), ("-o", "json")):
            assert lab("claims", "--diff", first, second, *words).status == 0


def test_the_difference_of_two_revisions_says_what_changed_of_probes(lab: Run) -> None:
    said = lab("claims", "--diff", "2018-12", "2026-07").out
    cells = {line.split()[0]: line.split() for line in said.splitlines() if line.startswith(("probe_", "all_down_"))}
    assert cells["probe_interval_s"][1:3] == ["15", "5"]
    assert cells["probe_max_s"][1:3] == ["120", "none"]
    assert cells["probe_http_refused"][1:4] == ["none", "19,", "21,"]
    assert "min_interval_s" not in said


def test_the_difference_of_two_revisions_has_the_text_that_says_each_value(lab: Run) -> None:
    said = lab("claims", "--diff", "2018-02", "2019-05").out.splitlines()
    head, row = (line for line in said if line.startswith(("CELL", "nsg_priority")))
    assert re.split(" {2,}", head) == ["CELL", "2018-02", "2019-05", "SOURCE OF 2018-02", "SOURCE OF 2019-05"]
    assert re.split(" {2,}", row) == [
        "nsg_priority",
        "100, 65535",
        "100, 4096",
        "virtual-networks-nsg.md (2016-02-11)",
        "security-overview.md (2018-07-20)",
    ]
    found = json.loads(lab("claims", "--diff", "2018-02", "2019-05", "-o", "json").out)["cells"]
    (cell,) = (c for c in found if c["cell"] == "nsg_priority")
    assert cell["sources"] == {
        "2018-02": "virtual-networks-nsg.md (2016-02-11)",
        "2019-05": "security-overview.md (2018-07-20)",
    }


@pytest.mark.parametrize("part", ["0/4", "5/4", "1", "x/2", "1/2/3", ""])
def test_a_part_that_is_none_is_refused(lab: Run, part: str) -> None:
    done = lab("verify", "--shard", part)
    assert done.status == 2
    assert f'"{part}" is no part; it must be I/N with I from 1 to N, as in 2/4' in done.err


def test_more_parts_than_topologies_are_refused(lab: Run) -> None:
    done = lab("verify", str(BUNDLED[0]), "--shard", "2/2")
    wanted = "--shard 2/2: 1 topologies; N must not be more; use fewer parts\n"
    assert done == Done(2, "", wanted)


def test_parts_are_all_of_the_topologies_and_each_once(lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.verify import schedule

    read: list[str] = []

    def note(files: Any, *_: Any, **__: Any) -> list[Any]:
        read.extend(file.name for file in files)
        return []

    monkeypatch.setattr(schedule, "read", note)
    monkeypatch.setattr(schedule, "judge", lambda *_: [])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for part in (1, 2, 3):
        lab("verify", "--shard", f"{part}/3")
    assert sorted(read) == sorted(file.name for file in BUNDLED)
