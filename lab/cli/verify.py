"""``lab verify``, ``claims``, ``doctor``: what holds, what is claimed, and what this machine can do."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.arguments import SUFFIX
from lab.cli.execution import interruptible, need_root
from lab.cli.options import output_option, profile_option, time_scale_option, wait_option
from lab.cli.output import clip, live_line, print_json, print_table
from lab.errors import MachineError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.verify.verdict import Report


def _shard(_ctx: click.Context, _option: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """Read I/N."""
    if text is None:
        return None
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise click.BadParameter(f'"{text}" is no part; it must be I/N with I from 1 to N, as in 2/4')
    return int(first), int(count)


@click.command("verify")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--claim", "only", multiple=True, metavar="ID", help="Judge only this claim; may be repeated.")
@click.option("--expect", "own_only", is_flag=True, help="Judge just what the files themselves expect.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write the results as JUnit XML to this file.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Judge so many topologies at once; by default 3 for each processor, if there is memory for them.",
)
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Judge only part I of N of the topologies: each of N machines judges one part.",
)
@time_scale_option
@profile_option
@wait_option
@output_option
def verify_files(
    files: tuple[Path, ...],
    only: tuple[str, ...],
    own_only: bool,
    junit: Path | None,
    jobs: int | None,
    shard: tuple[int, int] | None,
    time_scale: int | None,
    profile: str | None,
    output: str,
) -> None:
    """Bring topologies up, judge every claim and expectation that applies, take them down.

    Without FILE: all bundled topologies. Several are judged at once, and the results are in the order of the
    files. A check that no topology has a say in, of a file that must be refused, is judged once.

    What a file itself expects (`expect`) stands first in the results, and is judged alone with --expect.

    A lab that runs already with the same plan is judged as it stands, altered rules included, and stays up;
    claims that need it changed come last, and write its rules again. What cannot be judged is NOT_RUN, with
    the reason. Needs root.

    \b
    Example:
      sudo lab verify
      sudo lab verify mine.lab.yaml -o json
      sudo lab verify mine.lab.yaml --expect
      sudo lab verify source-ip.lab.yaml --claim S1-3
      sudo lab verify snat-2019.lab.yaml --profile 2022-03
      sudo lab verify --shard 1/4 --jobs 2 --junit part1.xml
    """
    from lab import topology
    from lab.verify import schedule, verdict

    chosen = files or tuple(sorted(topology.BUNDLED.glob(f"*{SUFFIX}")))
    if shard is not None:
        part, count = shard
        if part > len(chosen):
            raise UsageError(f"--shard {part}/{count}: {len(chosen)} topologies; N must not be more; use fewer parts")
        chosen = chosen[part - 1 :: count]
    with live_line() as say:
        topologies = schedule.read(
            chosen, frozenset(only), say, time_scale=time_scale, profile=profile, own_only=own_only
        )
    if own_only and not any(one.planned for one in topologies):
        named = ", ".join(str(one.file) for one in topologies)
        raise UsageError(f"{named}: nothing is expected; with --expect a file must say what is; add it under `expect`")
    _say_elsewhere(only, {claim for one in topologies for claim, _ in one.planned})
    if junit is not None and not junit.parent.is_dir():
        raise UsageError(f"{junit}: no folder {junit.parent}; the file's folder must be there; make it first")
    need_root()
    with interruptible(), live_line() as say:
        results = schedule.judge(topologies, jobs or schedule.carried(), lambda state: say(str(state)))
    done = verdict.report(results)
    if junit is not None:
        junit.write_text(verdict.junit(done))
    if output == "json":
        print_json(done)
    else:
        _print_report(done)
    sys.exit(verdict.exit_status(done))


def _say_elsewhere(only: tuple[str, ...], applying: set[str]) -> None:
    """Say which of the claims that were asked for apply to none of the topologies, and where they are proved.

    Raises:
        UsageError: there is no such claim.

    """
    from lab.verify import claims

    elsewhere = [claim for claim in dict.fromkeys(only) if claim not in applying]
    known = {c.id for c in claims.CATALOGUE} | applying
    for claim in elsewhere:
        if claim not in known:
            raise UsageError(f'no claim "{claim}"; {did_you_mean(claim, known)}; see `lab claims`')
    proved = _proved(frozenset(elsewhere)) if elsewhere else {}
    for claim in elsewhere:
        places = ", ".join(proved.get(claim, ())) or "no bundled topology"
        click.echo(
            f"--claim {claim}: applies to none of these topologies; it is proved in {places}; "
            f"run `lab verify --claim {claim}`, without FILE",
            err=True,
        )


def _print_report(done: "Report") -> None:
    rows = [(r.verdict, r.id, r.topology, r.profile, clip(r.reason or r.observed, 110)) for r in done.results]
    print_table(("VERDICT", "CLAIM", "TOPOLOGY", "PROFILE", "OBSERVED"), rows, empty="no claim applies")
    for result in done.results:
        if result.verdict != "HOLDS":
            click.echo(f"\n{result.verdict} {result.id} in {result.topology}: {result.statement}")
            click.echo(f"  source    {result.source}")
            click.echo(f"  expected  {result.expected}")
            click.echo(f"  observed  {result.observed}")
            click.echo(f"  because   {result.reason}")
    s = done.summary
    click.echo(f"\n{s.holds} hold, {s.contradicted} contradicted, {s.inconclusive} inconclusive, {s.not_run} not run")


@click.command("claims")
@click.argument("claim", required=False, metavar="[ID]")
@click.option("--profiles", is_flag=True, help="List the revisions of the documents, oldest first, instead.")
@click.option(
    "--diff", nargs=2, metavar="P1 P2", help="What changed between two revisions, with the text that says so."
)
@click.option("--coverage", is_flag=True, help="List every statement of the documents, and how far it is proved.")
@output_option
def claims_catalogue(
    claim: str | None, profiles: bool, diff: tuple[str, str] | None, coverage: bool, output: str
) -> None:
    """List what is claimed: statement, source, and the bundled topologies that prove it.

    \b
    Example:
      lab claims
      lab claims S1-3
      lab claims --coverage
      lab claims --diff 2018-02 2019-05
    """
    from lab.verify import claims

    if coverage:
        _print_coverage(claim, output)
        return
    if profiles or diff:
        _print_revisions(output, diff)
        return
    chosen = [c for c in claims.CATALOGUE if claim in (None, c.id)]
    if not chosen:
        known = [c.id for c in claims.CATALOGUE]
        raise UsageError(f'no claim "{claim}"; {did_you_mean(str(claim), known)}')
    proved = _proved(frozenset({claim} if claim else ()))
    listed = [
        {
            "id": c.id,
            "statement": c.statement,
            "source": c.source,
            "profiles": list(c.profiles) or ["all"],
            "proved_in": proved.get(c.id, []),
        }
        for c in chosen
    ]
    if output == "json":
        print_json({"claims": listed})
    elif claim is not None:
        print_table((claim, ""), [(key, _words(value)) for key, value in listed[0].items()])
    else:
        rows = [(_words(c["id"]), _words(c["statement"]), _words(c["proved_in"])) for c in listed]
        print_table(("CLAIM", "STATEMENT", "PROVED IN"), rows)


def _proved(only: frozenset[str]) -> dict[str, list[str]]:
    """Return, of each claim that is proved, the names of the bundled topologies that do; ``only`` empty: of all."""
    from lab import topology
    from lab.verify import claims

    proved: dict[str, list[str]] = {}
    for file in sorted(topology.BUNDLED.glob(f"*{SUFFIX}")):
        network = topology.load(file)
        for found, _ in claims.trials(network, only):
            proved.setdefault(found, []).append(network.name)
    return proved


def _print_coverage(only: str | None, output: str) -> None:
    """List the statements of the documents, each with its state and what is missing of it."""
    import msgspec

    from lab.verify.claims import coverage

    everything = coverage.statements()
    listed = [one for one in everything if only in (None, one.id)]
    if not listed:
        raise UsageError(f'no statement "{only}"; {did_you_mean(str(only), [one.id for one in everything])}')
    states: tuple[coverage.State, ...] = ("proved", "refusal", "partial", "absent")
    summary = {state: sum(one.state == state for one in listed) for state in states}
    if output == "json":
        proved = _proved(frozenset(one.id for one in listed))
        found = [{**msgspec.structs.asdict(one), "proved_in": proved.get(one.id, [])} for one in listed]
        print_json({"statements": found, "summary": summary})
        return
    by = {one.id: f"proved by {', '.join(one.proved_by)}" for one in listed if one.proved_by}
    rows = [
        (one.id, one.state, one.statement, "; ".join(filter(None, (by.get(one.id), one.missing)))) for one in listed
    ]
    print_table(("STATEMENT", "STATE", "WHAT IT SAYS", "MISSING"), rows)
    click.echo(f"\n{', '.join(f'{number} {state}' for state, number in summary.items())}")


def _print_revisions(output: str, diff: tuple[str, str] | None) -> None:
    """List the revisions, or the cells and claims in which two of them differ."""
    from lab.azure import profile
    from lab.verify import claims

    if diff is None:
        if output == "json":
            print_json({"profiles": list(profile.NAMES)})
        else:
            named = [(name, f"{len(profile.TABLE.get(name, {}))} cells of its own") for name in profile.NAMES]
            print_table(("PROFILE", ""), named)
        return
    for name in diff:
        if name not in profile.NAMES:
            raise UsageError(f'no revision "{name}"; {did_you_mean(name, profile.NAMES)}; see `lab claims --profiles`')
    first, second = (profile.resolve(name) for name in diff)
    cells: list[dict[str, Any]] = [
        {
            "cell": cell,
            **{p.name: _cell_text(getattr(p, cell)) for p in (first, second)},
            "sources": {p.name: p.sources[cell] for p in (first, second)},
        }
        for cell in sorted(second.sources)
        if getattr(first, cell) != getattr(second, cell)
    ]
    stated = [{c.id for c in claims.CATALOGUE if not c.profiles or name in c.profiles} for name in diff]
    only = {name: sorted(mine - other) for name, mine, other in zip(diff, stated, reversed(stated), strict=True)}
    if output == "json":
        print_json({"cells": cells, "claims_only_in": only})
        return
    rows = [(c["cell"], *(c[name] for name in diff), *(c["sources"][name] for name in diff)) for c in cells]
    print_table(("CELL", *diff, *(f"SOURCE OF {name}" for name in diff)), rows, empty="no cell differs")
    for name, ids in only.items():
        click.echo(f"only {name} states {', '.join(ids) or 'no claim of its own'}")


def _cell_text(value: object) -> str:
    """Say the value of a cell."""
    if value is None:
        return "none"
    if isinstance(value, frozenset):
        return ", ".join(map(str, sorted(value))) or "none"
    if isinstance(value, tuple):
        tiers = [f"{t.ports} to {t.pool_size} VMs" if hasattr(t, "ports") else str(t) for t in value]
        return ", ".join(tiers)
    return str(value)


def _words(value: object) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


@click.command()
@output_option
def doctor(output: str) -> None:
    """Check whether this machine can run a lab, and print how to fix what is missing.

    \b
    Example:
      sudo lab doctor
    """
    from lab.runtime import doctor as doctoring

    findings = doctoring.examine()
    if output == "json":
        print_json({"findings": findings})
    else:
        rows = [("ok" if f.ok else "LACKS", f.what, f.found, f.needed_for, f.mend) for f in findings]
        print_table(("", "WHAT", "FOUND", "NEEDED FOR", "TO FIX IT"), rows)
    if not all(f.ok for f in findings):
        sys.exit(MachineError.exit_code)


COMMANDS: tuple[click.Command, ...] = (verify_files, claims_catalogue, doctor)
