"""`lab init`: a topology to begin with, which is right, says what an editor needs, and overwrites nothing."""

import json
import re
from pathlib import Path

import pytest
import yaml

from lab import topology
from lab.predict import explain
from lab.predict.forecast import Service
from tests import rootlab


@pytest.mark.parametrize(("place", "file"), [("", "my-firm.lab.yaml"), ("x", "x/x.lab.yaml"), ("a.lab.yaml",) * 2])
def test_what_is_written_is_right_and_named_after_its_place(
    place: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "My Firm"
    home.mkdir()
    monkeypatch.chdir(home)
    rootlab.ok("init", *([place] if place else []))
    rootlab.ok("check", home / file)
    text = (home / file).read_text()
    first, *_ = text.splitlines()
    modeline = re.fullmatch(r"# yaml-language-server: \$schema=\./(.+)", first)
    assert modeline is not None
    schema = (home / file).with_name(modeline[1])
    assert json.loads(schema.read_text()) == topology.schema()
    assert set(yaml.safe_load(text)) <= set(topology.schema()["properties"])
    network = topology.load(home / file)
    assert network.name == Path(file).name.removesuffix(".lab.yaml")
    said = explain.explain(network, "web1", "partner", Service("tcp", 443))
    assert [str(address) for address in said.way_out.addresses] == ["40.1.2.3"]
    assert len(network.expectations) == 4


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file, schema = tmp_path / "a.lab.yaml", tmp_path / "lab.schema.json"
    file.write_text("mine")
    refused = rootlab.run("init", file)
    assert (refused.returncode, file.read_text(), schema.exists()) == (2, "mine", False)
    assert "no file is overwritten; name another FILE" in refused.stderr
    schema.write_text("{}")
    refused = rootlab.run("init", tmp_path / "b.lab.yaml")
    assert (refused.returncode, schema.read_text()) == (2, "{}")
    assert not (tmp_path / "b.lab.yaml").exists()
    assert rootlab.run("init", tmp_path / "c.yaml").returncode == 2
