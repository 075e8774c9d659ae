"""lab/cli/explain.py: what the commands print, without a lab."""

import csv
import io
import json

from click.testing import CliRunner

from lab.cli import cli
from tests.rootlab import TOPOLOGIES

SOURCE_IP = str(TOPOLOGIES / "source-ip.lab.yaml")


def run(*arguments: str, exit_code: int = 0) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == exit_code, done.output + str(done.exception)
    return done.stdout


def test_outbound_names_the_address_and_the_reason_in_80_columns() -> None:
    lines = run("outbound", SOURCE_IP).splitlines()
    assert lines[0].split() == ["VM", "SEEN", "FROM", "PORTS", "WHY"]
    assert max(map(len, lines)) <= 80
    assert [line.split()[1] for line in lines if line.startswith("test2vm")] == ["40.125.161.55"]
    assert [line.partition("default: ")[2] for line in lines if line.startswith("poolonly")] == [
        "pool pool has no rule"
    ]


def test_outbound_as_csv_and_json_has_every_vm() -> None:
    rows = list(csv.DictReader(io.StringIO(run("outbound", SOURCE_IP, "-o", "csv"))))
    found = json.loads(run("outbound", SOURCE_IP, "-o", "json"))["outbound"]
    assert [row["vm"] for row in rows] == [way["vm"] for way in found]
    assert {row["vm"]: row["address"] for row in rows} == {w["vm"]: w["addresses"][0]["address"] for w in found}


def test_outbound_plays_another_revision_of_a_file() -> None:
    assert "40.125.161.58" in run("outbound", SOURCE_IP, "--profile", "2016-10")
    assert "40.125.161.58" not in run("outbound", SOURCE_IP)
