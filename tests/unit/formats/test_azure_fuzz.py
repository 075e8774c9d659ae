"""Broken templates are imported or refused, whatever is broken: no traceback, in time, with advice."""

import os
from pathlib import Path

import pytest

from lab.formats import azure_files
from tests.fuzz import azure as fuzz


def test_broken_inputs_are_imported_or_refused() -> None:
    assert fuzz.run(range(10_000 if "LAB_RANDOM_EXAMPLES" in os.environ else 300)) == []


def test_a_number_is_always_the_same_input_and_most_inputs_differ() -> None:
    assert fuzz.mutant(7) == fuzz.mutant(7)
    assert len({files[0][1] for _, files in map(fuzz.mutant, range(40))}) > 30


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda _texts: 1 // 0, "ZeroDivisionError at test_azure_fuzz.py"),
        (lambda _texts: (_ for _ in ()).throw(fuzz.TopologyError(["a.json: wrong"])), "without advice: a.json: wrong"),
    ],
)
def test_what_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch, does: object, words: str) -> None:
    monkeypatch.setattr(azure_files, "read", does)
    assert words in str(fuzz.fault([(Path("a.json"), b"{}")], probes=False))


def test_what_takes_too_long_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0)
    assert "it took" in str(fuzz.fault([*fuzz.mutant(0)[1]], probes=False))


def test_a_nested_template_that_is_too_large_is_told_with_its_place_once() -> None:
    body: object = [{"type": "a.b/c", "name": "x", "copy": {"name": "c", "count": 10**9}}]
    for _ in range(3):
        nested = {"properties": {"template": {"contentVersion": "1.0.0.0", "resources": body}}}
        body = [{"type": "Microsoft.Resources/deployments", "name": "n", **nested}]
    text = fuzz.json.dumps({"contentVersion": "1.0.0.0", "resources": body})
    with pytest.raises(fuzz.TopologyError) as told:
        azure_files.read([(Path("a.json"), text)])
    assert told.value.lines[0].startswith("a.json: resources[0].template.resources[0].template.resources[0]")
    assert told.value.lines[0].count("resources[0]") == 4
