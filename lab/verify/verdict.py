"""What was observed is held against what the documents say; the answer is one of four words."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal
from xml.etree import ElementTree as ET

import msgspec

from lab.verify.evidence import Evidence

Word = Literal["HOLDS", "CONTRADICTED", "INCONCLUSIVE", "NOT_RUN"]
#: Worst last.
_ORDER: tuple[Word, ...] = ("NOT_RUN", "HOLDS", "INCONCLUSIVE", "CONTRADICTED")


class Judgement(msgspec.Struct, frozen=True):
    """One trial's answer: the verdict, what was observed, and why if it does not hold."""

    verdict: Word
    observed: str
    reason: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One claim in one topology."""

    id: str
    statement: str
    source: str
    topology: str
    profile: str
    expected: str
    observed: str
    verdict: Word
    reason: str
    seconds: float
    evidence: tuple[Evidence, ...] = ()


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How many results there are of each word."""

    holds: int
    contradicted: int
    inconclusive: int
    not_run: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All results of a run."""

    results: tuple[Result, ...]
    summary: Summary


def worst(words: Iterable[Word]) -> Word:
    """Return the word that counts for all: a contradiction before doubt, doubt before agreement."""
    return max(words, key=_ORDER.index, default="NOT_RUN")


def report(results: Iterable[Result]) -> Report:
    """Return results with their summary."""
    listed = tuple(results)
    count = Counter(result.verdict for result in listed)
    summary = Summary(
        holds=count["HOLDS"],
        contradicted=count["CONTRADICTED"],
        inconclusive=count["INCONCLUSIVE"],
        not_run=count["NOT_RUN"],
    )
    return Report(results=listed, summary=summary)


def exit_status(done: Report) -> int:
    """Return 1 if anything is contradicted, 3 if anything could not be judged, else 0."""
    if done.summary.contradicted:
        return 1
    return 3 if done.summary.inconclusive or done.summary.not_run or not done.results else 0


def junit(done: Report) -> str:
    """Return a report as JUnit XML, for CI systems that show such."""
    suite = ET.Element(
        "testsuite",
        name="lab verify",
        tests=str(len(done.results)),
        failures=str(done.summary.contradicted),
        errors=str(done.summary.inconclusive),
        skipped=str(done.summary.not_run),
    )
    kinds = {"CONTRADICTED": "failure", "INCONCLUSIVE": "error", "NOT_RUN": "skipped"}
    for result in done.results:
        case = ET.SubElement(suite, "testcase", classname=result.topology, name=result.id, time=f"{result.seconds:.3f}")
        if result.verdict in kinds:
            child = ET.SubElement(case, kinds[result.verdict], message=result.reason or result.observed)
            child.text = f"expected: {result.expected}\nobserved: {result.observed}\n"
    return ET.tostring(suite, encoding="unicode") + "\n"
