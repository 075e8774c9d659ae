"""What changes for flows, as a comment on a change (Markdown) and as test results (JUnit)."""

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from msgspec import structs

from lab.predict.whatif import Change

_SOURCE = "source address"


def together(changes: Sequence[Change]) -> list[tuple[Change, list[int]]]:
    """Return changes that differ in their sender alone as one, with the numbers of all."""
    alike: dict[Change, list[int]] = {}
    for number, change in enumerate(changes):
        key = change if change.what == "there" else structs.replace(change, sender="")
        alike.setdefault(key, []).append(number)
    return list(alike.items())


def flows(changes: Sequence[Change], change: Change, numbers: Sequence[int]) -> str:
    """Return the flows that a change is about, in words."""
    senders = ", ".join(changes[number].sender for number in numbers)
    services = f", {', '.join(map(str, change.services))}" if change.services else ""
    return senders + (f" to {change.to}{services}" if change.what != "there" else "")


def markdown(changes: Sequence[Change]) -> str:
    """Return a comment: first what outside hosts see otherwise, then every difference with its reason."""
    if not changes:
        return "**lab whatif**: nothing changes for any flow\n"
    grouped = together(changes)
    lines = [f"**lab whatif**: {len(grouped)} {'difference' if len(grouped) == 1 else 'differences'}", ""]
    seen = [(change, numbers) for change, numbers in grouped if change.what == _SOURCE]
    for change, numbers in seen:
        senders = ", ".join(changes[number].sender for number in numbers)
        lines.append(
            f"- {_cell(change.to)} sees `{change.after.value}` instead of `{change.before.value}` of {senders}"
        )
    lines += [""] if seen else []
    lines += ["| flows | what | before | after | because |", "|---|---|---|---|---|"]
    for change, numbers in grouped:
        words = (flows(changes, change, numbers), change.what, change.before.value, change.after.value, change.reason)
        lines.append(f"| {' | '.join(map(_cell, words))} |")
    return "\n".join(lines) + "\n"


def junit(changes: Sequence[Change]) -> str:
    """Return a test suite in which each difference is a failed test."""
    suite = ET.Element("testsuite", name="lab whatif", tests=str(max(1, len(changes))), failures=str(len(changes)))
    for name, failure in _cases(changes):
        case = ET.SubElement(suite, "testcase", classname="lab.whatif", name=name)
        if failure:
            ET.SubElement(case, "failure", message=failure)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _cases(changes: Sequence[Change]) -> Iterator[tuple[str, str]]:
    if not changes:
        yield "nothing changes for any flow", ""
    for change, numbers in together(changes):
        for number in numbers:
            one = changes[number]
            told = f"{one.before.value} -> {one.after.value}" + (f"; because: {one.reason}" if one.reason else "")
            yield f"{flows(changes, change, [number])}: {one.what}", told


def _cell(words: str) -> str:
    return words.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
