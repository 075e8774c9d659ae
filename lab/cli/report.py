"""``lab report``: results of `lab verify`, of one run or of the parts of one, as a page."""

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.output import print_json, to_file
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.verify.verdict import Report

_SUFFIXES = {".html": "html", ".htm": "html", ".json": "json", ".xml": "junit", ".md": "markdown"}


@click.command("report")
@click.argument(
    "results", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="RESULTS..."
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["html", "json", "junit", "markdown"]),
    help="The form of the report.  [default: by the suffix of -w, or html]",
)
@click.option("-w", "--write", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
def report(results: tuple[Path, ...], output: str | None, write: Path | None) -> None:
    """Make one page of what `lab verify -o json` printed: each claim, what was expected and what was observed.

    RESULTS are files of one run, or of its parts (`lab verify --shard`), which are put together. The page needs no
    network: pictures of bundled topologies, and of those beside a RESULTS file, are in it. It reads well on a phone,
    in print and in the dark.

    \b
    Example:
      lab report results.json -w report.html     # of: sudo lab verify -o json > results.json
      lab report part1.json part2.json -o markdown
    """
    from lab.verify import verdict

    done = _read(results)
    kind = output or (_SUFFIXES.get(write.suffix.lower(), "html") if write is not None else "html")
    if kind == "json" and write is None:
        print_json(done)
        return
    if kind == "html":
        words = _page(done, results)
    elif kind == "markdown":
        from lab.pictures.report import markdown

        words = markdown(done)
    else:
        import msgspec

        words = verdict.junit(done) if kind == "junit" else str(msgspec.json.encode(done), "utf-8") + "\n"
    if write is None:
        click.echo(words, nl=False)
    else:
        with to_file(write):
            write.write_text(words, encoding="utf-8")


def _read(files: tuple[Path, ...]) -> "Report":
    """Return the results of files, put together.

    Raises:
        UsageError: a file holds none; all such files at once.

    """
    import msgspec

    from lab.verify import verdict

    found: list[verdict.Result] = []
    problems: list[str] = []
    for file in files:
        try:
            found += msgspec.json.decode(file.read_bytes(), type=verdict.Report).results
        except OSError as error:
            problems.append(f"{file}: {error.strerror}; it must be a file of results; run `lab verify -o json`")
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            problems.append(f"{file}: {error}; it must be what `lab verify -o json` prints; write that into a file")
    if problems:
        raise UsageError("\n".join(problems))
    return verdict.report(found)


def _page(done: "Report", files: tuple[Path, ...]) -> str:
    import graphviz

    from lab import __version__, topology
    from lab.errors import LabError
    from lab.pictures import diagram, dot
    from lab.pictures import report as pages

    folders = dict.fromkeys((*(file.resolve().parent for file in files), topology.BUNDLED))
    pictures = {}
    for name in pages.by_topology(done.results):
        file = next((at for folder in folders if (at := folder / f"{name}.lab.yaml").is_file()), None)
        if file is not None:
            try:
                pictures[name] = dot.svg(diagram.diagram(topology.load(file)))
            except (LabError, graphviz.ExecutableNotFound):
                continue  # a page without this picture says as much
    return pages.page(done, pictures, {"lab": __version__, "made on": platform.platform()})


COMMANDS: tuple[click.Command, ...] = (report,)
