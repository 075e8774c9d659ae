"""`lab export azure`: where its output goes, what it tells, and that `lab import azure` takes it back."""

import json
from pathlib import Path

from tests.unit.conftest import Run


def test_the_template_is_the_output_and_what_it_lacks_is_told(lab: Run) -> None:
    done = lab("export", "azure", "outbound.lab.yaml")
    assert done.status == 0
    assert json.loads(done.out)["metadata"] == {"lab": {"name": "outbound", "profile": "seeds"}}
    lines = done.err.splitlines()
    assert all(line.startswith("not in the template: ") for line in lines)
    assert "not in the template: internet.other: an outside host, which is no resource of Azure" in lines


def test_a_file_is_written_and_imported_under_its_own_name_and_revision(lab: Run) -> None:
    assert lab("export", "azure", "nat-gateway.lab.yaml", "-o", "t.json").out == ""
    assert lab("import", "azure", "t.json", "-o", "back.lab.yaml").status == 0
    text = Path("back.lab.yaml").read_text()
    assert "\nname: nat-gateway\nprofile: 2022-03\n" in text
    assert lab("export", "azure", "back.lab.yaml", "-o", "u.json").status == 0
    assert lab("import", "azure", "u.json", "-o", "again.lab.yaml").status == 0
    assert lab("outbound", "again.lab.yaml", "-o", "csv").out == lab("outbound", "back.lab.yaml", "-o", "csv").out


def test_a_wrong_request_ends_with_2(lab: Run) -> None:
    done = lab("export", "azure", "outbound.lab.yaml", "-o", "no/such/folder/t.json")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert lab("export", "azure", "missing.lab.yaml").status == 2
