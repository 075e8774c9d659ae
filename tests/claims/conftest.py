"""What the tests share that alter a lab by hand."""

from collections.abc import Iterator

import pytest

from lab.verify.probe import Prober
from tests.sabotage import Labs


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    with Prober() as prober:
        made = Labs(tmp_path_factory.mktemp("sabotage"), prober)
        try:
            yield made
        finally:
            made.stop()
