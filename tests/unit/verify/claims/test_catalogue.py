"""The catalogue has every claim that a file of claims states, once."""

import pkgutil
from collections import Counter
from importlib import import_module

from lab.verify import claims
from lab.verify.claims import Claim, kit


def _stated() -> list[Claim]:
    """Return the claims of all files, whether they list them or not."""
    found = [
        *pkgutil.iter_modules(claims.__path__, "lab.verify.claims."),
        *pkgutil.iter_modules(kit.__path__, "lab.verify.claims.kit."),
    ]
    modules = [import_module(one.name) for one in found if not one.ispkg]
    stated = [value for module in modules for value in vars(module).values() if isinstance(value, Claim)]
    return list({id(one): one for one in stated}.values())


def test_a_claim_that_a_file_states_is_in_the_catalogue():
    known = {claim.id for claim in claims.CATALOGUE}
    assert [claim.id for claim in _stated() if claim.id not in known] == []


def test_a_claim_has_an_id_of_its_own():
    ids = Counter(claim.id for claim in claims.CATALOGUE)
    assert [claim for claim, times in ids.items() if times > 1] == []
    assert len(_stated()) == len(ids)
