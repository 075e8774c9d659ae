"""``lab verify``, ``claims``, ``doctor``: what holds, what is claimed, and what this machine can do."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.arguments import SUFFIX
from lab.cli.execution import interruptible, need_root
from lab.cli.options import output_option, profile_option, time_scale_option
from lab.cli.output import clip, print_json, print_table, progress
from lab.errors import LabError, MachineError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lab.verify.verdict import Report


BUNDLED = Path(__file__).resolve().parents[2] / "topologies"


@click.command("verify")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--claim", "only", multiple=True, metavar="ID", help="Judge only this claim; may be repeated.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write the results as JUnit XML to this file.")
@time_scale_option
@profile_option
@output_option
def verify_files(
    files: tuple[Path, ...],
    only: tuple[str, ...],
    junit: Path | None,
    time_scale: int | None,
    profile: str | None,
    output: str,
) -> None:
    """Bring topologies up, judge every claim and expectation that applies, take them down.

    Without FILE: all bundled topologies. A lab that runs already with the same plan is judged as it
    stands, altered rules included, and stays up; claims that need it changed come last, and write its
    rules again. What cannot be judged is NOT_RUN, with the reason. Needs root.

    \b
    Example:
      sudo lab verify
      sudo lab verify mine.lab.yaml -o json
      sudo lab verify source-ip.lab.yaml --claim S1-3
      sudo lab verify snat-2019.lab.yaml --profile 2022-03
    """
    from lab import topology
    from lab.verify import claims, runner, verdict

    chosen = files or tuple(sorted(BUNDLED.glob(f"*{SUFFIX}")))
    networks = [topology.load(file, time_scale=time_scale, profile=profile) for file in chosen]
    known = {c.id for c in claims.CATALOGUE} | {claim for n in networks for claim, _ in claims.trials(n)}
    for claim in only:
        if claim not in known:
            raise UsageError(f'no claim "{claim}"; {did_you_mean(claim, known)}; see `lab claims`')
    applying = {claim for n in networks for claim, _ in claims.trials(n, frozenset(only))}
    if elsewhere := [claim for claim in dict.fromkeys(only) if claim not in applying]:
        proved = _proved()
        for claim in elsewhere:
            click.echo(
                f"--claim {claim}: applies to none of these topologies; it is proved in {', '.join(proved[claim])}; "
                f"run `lab verify --claim {claim}`, without FILE",
                err=True,
            )
    if junit is not None and not junit.parent.is_dir():
        raise UsageError(f"{junit}: no folder {junit.parent}; the file's folder must be there; make it first")
    need_root()
    from lab.verify.probe import Prober

    results = []
    judged: set[object] = set()
    with interruptible(), progress() as say:
        for file, network in zip(chosen, networks, strict=True):
            try:
                with Prober() as prober:
                    results += runner.verify(
                        file,
                        prober,
                        say,
                        only=frozenset(only),
                        time_scale=time_scale,
                        profile=profile,
                        judged=judged,
                    )
            except MachineError:
                raise
            except LabError as error:
                results += runner.not_run(network, frozenset(only), str(error))
    done = verdict.report(results)
    if output == "json":
        print_json(done)
    else:
        _print_report(done)
    if junit is not None:
        junit.write_text(verdict.junit(done))
    sys.exit(verdict.exit_status(done))


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
@output_option
def claims_catalogue(claim: str | None, profiles: bool, diff: tuple[str, str] | None, output: str) -> None:
    """List what is claimed: statement, source, and the bundled topologies that prove it.

    \b
    Example:
      lab claims
      lab claims S1-3
      lab claims --diff 2018-02 2019-05
    """
    from lab.verify import claims

    if profiles or diff:
        _print_revisions(output, diff)
        return
    proved = _proved()
    chosen = [c for c in claims.CATALOGUE if claim in (None, c.id)]
    if not chosen:
        known = [c.id for c in claims.CATALOGUE]
        raise UsageError(f'no claim "{claim}"; {did_you_mean(str(claim), known)}')
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


def _proved() -> dict[str, list[str]]:
    """Return, of each claim that is proved, the names of the bundled topologies that do."""
    from lab import topology
    from lab.verify import claims

    proved: dict[str, list[str]] = {}
    for file in sorted(BUNDLED.glob(f"*{SUFFIX}")):
        network = topology.load(file)
        for found, _ in claims.trials(network):
            proved.setdefault(found, []).append(network.name)
    return proved


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
    """Say what this machine can and cannot do for a lab, and what would mend it.

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
        print_table(("", "WHAT", "FOUND", "NEEDED FOR", "TO MEND IT"), rows)
    if not all(f.ok for f in findings):
        sys.exit(MachineError.exit_code)


COMMANDS: tuple[click.Command, ...] = (verify_files, claims_catalogue, doctor)
