"""Every claim names its facts, every fact has a mutation, and every mutation can be applied; scripts/mutate does it."""

import functools

import pytest

from lab import topology
from lab.verify import claims
from tests.mutations import CHECKOUT, Mutation, mutations

MUTATIONS = mutations()
FACTS = {claim.id: claim.facts for claim in claims.CATALOGUE}


@functools.cache
def _judged(mutation_topology: str, profile: str) -> frozenset[str]:
    """Return the claims that have a trial in a topology."""
    file = Mutation("", "", mutation_topology, "", "", "").topology_file
    network = topology.load(CHECKOUT / file, profile=profile or None)
    return frozenset(claim for claim, _ in claims.trials(network))


@pytest.mark.parametrize("claim", list(FACTS))
def test_a_claim_names_the_facts_that_it_states(claim: str):
    assert FACTS[claim], f"{claim} names no fact that its statement depends on"
    assert len(set(FACTS[claim])) == len(FACTS[claim])
    killers = {mutation.fact for mutation in MUTATIONS if mutation.claim == claim}
    assert set(FACTS[claim]) - killers == set(), f"{claim}: no mutation alters these facts"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_mutation_alters_one_place_of_the_product_and_a_trial_judges_it(mutation: Mutation):
    assert mutation.problem() == ""
    assert mutation.fact in FACTS.get(mutation.claim, ()), f"{mutation.claim} names no such fact"
    assert mutation.claim in _judged(mutation.topology, mutation.profile), "the claim has no trial in this topology"


def test_mutations_are_told_apart_by_their_text():
    assert len({str(mutation) for mutation in MUTATIONS}) == len(MUTATIONS)
