"""``scripts/mutate``: judge each claim with the product altered in one fact of its statement."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from lab.verify import claims
from tests.mutations import CHECKOUT, Mutation, general, mutations

_DEADLINE_S = 900.0
#: A /run, a network and processes of its own: several labs of one name run side by side, and end with this command.
_ALONE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_IN_OWN_RUN = 'mount -t tmpfs tmpfs /run && exec "$@"'
KILLED, SURVIVED, NOT_JUDGED, NOT_APPLIED = "killed", "survived", "not judged", "could not apply"


class Outcome(msgspec.Struct, frozen=True):
    """What came of a mutation, or of the product as it is."""

    key: str
    word: str
    reason: str = ""


def _verify(tree: Path, topology: Path, profile: str, only: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the verdict and the reason of each claim, judged by the product of a tree."""
    words = [word for claim in only for word in ("--claim", claim)]
    words += ["--profile", profile] if profile else []
    lab = [sys.executable, "-P", "-m", "lab", "verify", str(tree / topology), "-o", "json", *words]
    done = subprocess.run(
        [*_ALONE, "sh", "-c", _IN_OWN_RUN, "sh", *lab],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    try:
        results = json.loads(done.stdout)["results"]
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return dict.fromkeys(only, ("NOT_RUN", f"lab verify: exit {done.returncode}: {last}"))
    return {result["id"]: (result["verdict"], result["reason"] or result["observed"]) for result in results}


def _judge(mutation: Mutation) -> Outcome:
    """Judge a mutation's claim with the mutated product."""
    key = str(mutation)
    if problem := mutation.problem():
        return Outcome(key, NOT_APPLIED, problem)
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tree = Path(folder)
        # With the compiled files: only what is altered is compiled again.
        shutil.copytree(CHECKOUT / "lab", tree / "lab")
        for file in {mutation.topology_file, Path(mutation.file)}:
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            (tree / file).unlink(missing_ok=True)
            shutil.copyfile(CHECKOUT / file, tree / file)
        altered = tree / mutation.file
        altered.write_text(altered.read_text().replace(mutation.old, mutation.new))
        try:
            found = _verify(tree, mutation.topology_file, mutation.profile, [mutation.claim])
        except subprocess.TimeoutExpired:
            return Outcome(key, NOT_JUDGED, f"it took more than {_DEADLINE_S:g} s")
    verdict, reason = found.get(mutation.claim, ("NOT_RUN", "the claim does not apply to the topology"))
    return Outcome(key, {"CONTRADICTED": KILLED, "HOLDS": SURVIVED}.get(verdict, NOT_JUDGED), reason)


def _control(chosen: Sequence[Mutation]) -> list[str]:
    """Judge the claims with the product as it is; return those that do not hold."""
    groups: dict[tuple[Path, str], set[str]] = {}
    for mutation in chosen:
        groups.setdefault((mutation.topology_file, mutation.profile), set()).add(mutation.claim)
    wrong = []
    for (topology, profile), wanted in groups.items():
        for claim, (verdict, reason) in sorted(_verify(CHECKOUT, topology, profile, sorted(wanted)).items()):
            if verdict != "HOLDS":
                wrong.append(f"{claim} in {topology} {profile}: {verdict} as it is: {reason}")
    return wrong


def _report(chosen: Sequence[Mutation], outcomes: dict[str, Outcome], ids: Sequence[str]) -> list[str]:
    """Return the lines about facts that no mutation killed, by claim, and the percentages of each group of claims."""
    killed = {(m.claim, m.fact) for m in chosen if (o := outcomes.get(str(m))) is not None and o.word == KILLED}
    lines, counted, missed = [], Counter[str](), Counter[str]()
    for claim in claims.CATALOGUE:
        if ids and not any(_named(claim.id, name) for name in ids):
            continue
        without = [fact for fact in claim.facts if (claim.id, fact) not in killed]
        group = "the seeds' claims" if claim.id.startswith("S") else "all other claims"
        counted[group] += max(1, len(claim.facts))
        missed[group] += len(without) if claim.facts else 1
        lines += [f"{claim.id}: {fact}" for fact in without]
        lines += [] if claim.facts else [f"{claim.id}: names no fact"]
    sums = [
        f"{group}: {missed[group]} of {all_of_it} facts without a killer, {100 * missed[group] / all_of_it:.1f} %"
        for group, all_of_it in sorted(counted.items())
    ]
    return ["", "Facts without a killer:", *(lines or ["none"]), "", *sums]


def _read(results: Path | None) -> dict[str, Outcome]:
    if results is None or not results.exists():
        return {}
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in results.read_bytes().splitlines()]
    return {outcome.key: outcome for outcome in outcomes}


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/mutate",
        description="Alter one fact of a claim in a copy of the product, and judge the claim: it must be CONTRADICTED.",
        epilog="Example: sudo scripts/mutate --claim S1-3 --claim S2- --report",
    )
    parser.add_argument(
        "--claim", action="append", default=[], metavar="ID", help="a claim, or the beginning of its ID"
    )
    parser.add_argument("--list", action="store_true", help="print the mutations, and run nothing")
    parser.add_argument("--report", action="store_true", help="print the facts that no mutation killed")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="keep outcomes here; those there are not run again"
    )
    parser.add_argument("--no-control", action="store_true", help="do not judge the claims with the product as it is")
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N", help="so many side by side (default 2)")
    parser.add_argument(
        "--general", action="store_true", help="try mutants of any line of the rules against the tests without root"
    )
    parser.add_argument("--sample", type=int, default=40, metavar="N", help="so many mutants (default 40)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which mutants are the sample (default 1)")
    return parser.parse_args(arguments)


def _general(asked: argparse.Namespace) -> int:
    """Try a sample of the mutants; 0: the tests noticed all of them, 1: they did not."""
    chosen = general.sample(asked.sample, asked.seed)
    if asked.list:
        print("\n".join(mutant.key for mutant in chosen))
        return 0
    outcomes = general.run(chosen, asked.results, asked.jobs)
    survived = [key for key, noticed in outcomes if not noticed]
    print(f"{len(outcomes)} of {len(general.mutants())} mutants tried, {len(survived)} survived")
    if asked.report:
        print("\n".join(general.report()))
    return 1 if survived else 0


def main(words: Sequence[str]) -> int:
    """Run the mutations that were asked for; 0: all were killed, 1: some were not, 2: one could not be applied."""
    asked = _arguments(words)
    if asked.general:
        return _general(asked)
    chosen = [m for m in mutations() if not asked.claim or any(_named(m.claim, name) for name in asked.claim)]
    if asked.list:
        for mutation in chosen:
            print(mutation)
        return 0
    outcomes = _read(asked.results)
    todo = [m for m in chosen if str(m) not in outcomes]
    if todo and os.geteuid() != 0:
        print("scripts/mutate: labs need root; run: sudo scripts/mutate", file=sys.stderr)
        return 4
    wrong = [] if asked.no_control else _control(todo)
    for line in wrong:
        print(line)
    with ThreadPoolExecutor(max_workers=asked.jobs) as pool:
        for mutation, outcome in zip(todo, pool.map(_judge, todo), strict=True):
            outcomes[outcome.key] = outcome
            print(f"{outcome.word}: {mutation}\n    {outcome.reason}", flush=True)
            if asked.results is not None and outcome.word in {KILLED, SURVIVED}:
                with asked.results.open("ab") as kept:
                    kept.write(msgspec.json.encode(outcome) + b"\n")
    words_of = Counter(outcomes[str(m)].word for m in chosen)
    print(", ".join(f"{words_of[word]} {word}" for word in (KILLED, SURVIVED, NOT_JUDGED, NOT_APPLIED)))
    if asked.report:
        print("\n".join([*_report(chosen, outcomes, asked.claim), *general.report()]))
    if words_of[NOT_APPLIED]:
        return 2
    return 1 if wrong or words_of[SURVIVED] or words_of[NOT_JUDGED] else 0


def _named(claim: str, name: str) -> bool:
    """Tell whether a claim is meant: by its ID, or by the beginning of it that ends with a hyphen."""
    return claim == name or (name.endswith("-") and claim.startswith(name))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
