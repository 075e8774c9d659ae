"""The results of `lab verify` as one page that needs no network, and as Markdown for a comment."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from lab.pictures import plot
from lab.verify.verdict import Report, Result

#: The verdicts in the order in which a reader wants them, with their words on the page.
WORDS = {
    "CONTRADICTED": "contradicted",
    "INCONCLUSIVE": "inconclusive",
    "NOT_RUN": "not run",
    "HOLDS": "hold",
}


def page(done: Report, pictures: Mapping[str, str], facts: Mapping[str, str]) -> str:
    """Return the page of a run.

    Args:
        done: the results.
        pictures: SVG by the name of a topology; one without is left out.
        facts: what was the case in the run, such as the version of the kernel.

    """
    around = jinja2.Environment(
        loader=jinja2.PackageLoader("lab", "pictures"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    shown = {name: Markup(drawn[drawn.index("<svg") :]) for name, drawn in pictures.items()}  # noqa: S704 - ours
    parts = [
        {"name": name, "results": results, "counts": counts(results), "picture": shown.get(name)}
        for name, results in by_topology(done.results).items()
    ]
    return around.get_template("report.html.j2").render(
        parts=parts, counts=counts(done.results), facts=facts, words=WORDS, total=len(done.results), plot=plot.ports
    )


def markdown(done: Report) -> str:
    """Return what a comment on a change says: how many of each verdict, and each result that does not hold."""
    found = counts(done.results)
    lines = [f"**lab verify**: {', '.join(f'{number} {WORDS[word]}' for word, number in found.items() if number)}", ""]
    open_ = [result for result in done.results if result.verdict != "HOLDS"]
    if open_:
        lines += ["| verdict | claim | topology | expected | observed | why |", "|---|---|---|---|---|---|"]
        lines += [_row(result) for result in open_]
    return "\n".join(lines) + "\n"


def by_topology(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return results by topology, in their order."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.topology, []).append(result)
    return found


def counts(results: Iterable[Result]) -> dict[str, int]:
    """Return how many results there are of each verdict, in the order of ``WORDS``."""
    found: Counter[Any] = Counter(result.verdict for result in results)
    return {word: found[word] for word in WORDS}


def _row(result: Result) -> str:
    cells = (result.verdict, result.id, result.topology, result.expected, result.observed, result.reason)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"
