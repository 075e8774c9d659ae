"""lab/verify/verdict.py: words, summaries, exit status, JUnit."""

from xml.etree import ElementTree as ET

import msgspec
import pytest

from lab.verify import verdict
from lab.verify.verdict import Result, Word, exit_status, junit, report, worst


def result(word: Word, reason: str = "") -> Result:
    return Result(
        id="S1-1", statement="statement", source="source", topology="shop", profile="seeds", expected="expected",
        observed="observed <&>", verdict=word, reason=reason, seconds=0.25,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["HOLDS", "HOLDS"], "HOLDS"),
        (["HOLDS", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["INCONCLUSIVE", "CONTRADICTED", "HOLDS"], "CONTRADICTED"),
        (["NOT_RUN", "HOLDS"], "HOLDS"),
        ([], "NOT_RUN"),
    ],
)
def test_a_contradiction_counts_before_doubt_and_doubt_before_agreement(words: list[Word], word: Word) -> None:
    assert worst(words) == word


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["HOLDS"], 0), (["HOLDS", "CONTRADICTED", "INCONCLUSIVE"], 1), (["HOLDS", "INCONCLUSIVE"], 3),
        (["HOLDS", "NOT_RUN"], 3), ([], 3),
    ],
)  # fmt: skip
def test_the_exit_status_follows_the_worst_and_nothing_judged_is_no_success(words: list[Word], status: int) -> None:
    assert exit_status(report(map(result, words))) == status


def test_a_summary_counts_every_word() -> None:
    words: list[Word] = ["HOLDS", "HOLDS", "CONTRADICTED", "INCONCLUSIVE", "INCONCLUSIVE", "INCONCLUSIVE", "NOT_RUN"]
    wanted = {"holds": 2, "contradicted": 1, "inconclusive": 3, "not_run": 1}
    assert msgspec.to_builtins(report(map(result, words)).summary) == wanted


def test_a_report_is_the_object_that_tools_outside_are_written_against() -> None:
    made = msgspec.to_builtins(report([result("HOLDS")]))
    assert list(made) == ["results", "summary"]
    assert list(made["results"][0]) == [
        "id", "statement", "source", "topology", "profile", "expected", "observed", "verdict", "reason", "seconds",
            "evidence",
    ]  # fmt: skip


def test_junit_has_one_case_for_each_result_and_says_what_was_expected_and_seen() -> None:
    words: list[Word] = ["HOLDS", "CONTRADICTED", "INCONCLUSIVE", "NOT_RUN"]
    suite = ET.fromstring(junit(report(result(word, "why" if word != "NOT_RUN" else "") for word in words)))
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == dict.fromkeys(
        ("failures", "errors", "skipped"), "1"
    ) | {"tests": "4"}
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["error"], ["skipped"]]
    failure = suite[1][0]
    assert (failure.get("message"), failure.text) == ("why", "expected: expected\nobserved: observed <&>\n")
    assert suite[3][0].get("message") == "observed <&>"
    assert (suite[0].get("classname"), suite[0].get("name"), suite[0].get("time")) == ("shop", "S1-1", "0.250")


def test_every_word_has_its_place_in_the_order() -> None:
    assert set(verdict._ORDER) == set(Word.__args__)  # type: ignore[attr-defined]
