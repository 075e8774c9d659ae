"""The page of results: everything that was judged is on it, as text, and it can be read by every reader."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from lab import cli
from lab.pictures.report import WORDS, markdown, page
from lab.verify import verdict

_VOID = {"meta", "br"}


class _Reader(HTMLParser):
    """Reads a page: its text, its tags, and what it would fetch; every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.said.append(" ".join(data.split()))


def _result(number: int, word: verdict.Word, **fields: str) -> verdict.Result:
    given = {"reason": "" if word == "HOLDS" else f"why {number}", "topology": "source-ip", **fields}
    return verdict.Result(
        id=f"S1-{number}",
        statement=f"statement {number}",
        source=f"document {number}",
        profile="2018-12",
        expected=f"expected {number}",
        observed=fields.get("observed", f"observed {number}"),
        verdict=word,
        reason=given["reason"],
        topology=given["topology"],
        seconds=1.25,
    )


_DONE = verdict.report([_result(1, "HOLDS"), _result(2, "CONTRADICTED"), _result(3, "NOT_RUN", topology="mine")])


def test_every_result_is_on_the_page_and_those_that_do_not_hold_are_open():
    text = page(_DONE, {}, {"lab": "0.1.0"})
    read = _Reader(text)
    for number in (1, 2, 3):
        wanted = {f"statement {number}", f"document {number}", f"expected {number}", f"observed {number}"}
        assert wanted <= {part for said in read.said for part in (said, said.removeprefix("S1-1 "))}
    assert {"why 2", "why 3", "source-ip", "mine", "lab: 0.1.0"} <= set(read.said)
    assert (text.count("<details open>"), text.count("<details>")) == (2, 1)


def test_what_was_observed_is_text_whatever_it_is():
    done = verdict.report([_result(1, "HOLDS", observed='<script>alert("1")</script> & more')])
    read = _Reader(page(done, {}, {}))
    assert "script" not in read.tags
    assert '<script>alert("1")</script> & more' in read.said


def test_the_page_fetches_nothing_and_has_its_pictures():
    drawn = '<?xml version="1.0"?>\n<svg viewBox="0 0 1 1"><text>web1</text></svg>'
    read = _Reader(page(_DONE, {"source-ip": drawn}, {}))
    assert read.fetched == []
    assert "web1" in read.said
    assert read.tags.count("svg") == 1


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(scheme: str):
    """A contrast of at least 4.5 to 1 (WCAG 2.2, success criterion 1.4.3)."""
    text = page(_DONE, {}, {})
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light if scheme == "light" else dark.split("body {")[0]))
    for ink in ("ink", "soft", *WORDS):
        for ground in ("page", "card"):
            pair = sorted((_luminance(colours[ink]), _luminance(colours[ground])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ink, ground)


def test_a_comment_has_a_line_for_each_result_that_does_not_hold():
    done = verdict.report([*_DONE.results, _result(4, "INCONCLUSIVE", observed="a|b\nc")])
    assert markdown(done).splitlines() == [
        "**lab verify**: 1 contradicted, 1 inconclusive, 1 not run, 1 hold",
        "",
        "| verdict | claim | topology | expected | observed | why |",
        "|---|---|---|---|---|---|",
        "| CONTRADICTED | S1-2 | source-ip | expected 2 | observed 2 | why 2 |",
        "| NOT_RUN | S1-3 | mine | expected 3 | observed 3 | why 3 |",
        r"| INCONCLUSIVE | S1-4 | source-ip | expected 4 | a\|b c | why 4 |",
    ]


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.cli, ["report", *map(str, words)])


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Write the results as two parts of a run."""
    files = [tmp_path / "part1.json", tmp_path / "part2.json"]
    for file, results in zip(files, (_DONE.results[:1], _DONE.results[1:]), strict=True):
        file.write_bytes(msgspec.json.encode(verdict.report(results)))
    return files


def test_parts_of_a_run_are_put_together(parts: list[Path]):
    done = _run(*parts, "-o", "json")
    assert json.loads(done.stdout) == json.loads(msgspec.json.encode(_DONE))


@pytest.mark.parametrize(
    ("name", "start"),
    [("all.html", "<!DOCTYPE html>"), ("all.xml", "<"), ("all.md", "**lab verify**"), ("all.json", "{")],
)
def test_the_suffix_of_the_file_chooses_the_form(parts: list[Path], name: str, start: str):
    file = parts[0].parent / name
    assert (_run(*parts, "-w", file).exit_code, file.read_text()[: len(start)]) == (0, start)


def test_the_page_of_a_bundled_topology_has_its_picture(parts: list[Path]):
    read = _Reader(_run(*parts).stdout)
    assert read.tags.count("svg") == 1  # of source-ip; there is no file of the other
    assert {"test2vm", "lb-natrule"} <= set(read.said)


def test_files_that_hold_no_results_are_refused_all_at_once(parts: list[Path]):
    wrong = parts[0].parent / "wrong.json"
    wrong.write_text('{"labs": []}')
    done = _run(parts[0], wrong, parts[0].parent / "gone.json")
    said = str(done.exception).splitlines()
    assert [line.split(": ")[0] for line in said] == [str(wrong), str(parts[0].parent / "gone.json")]
    assert all("`lab verify -o json`" in line for line in said)
