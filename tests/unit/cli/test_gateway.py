"""`lab local-network` and `gateway key`: what a bad request is answered with, and how a key is read. No lab runs."""

import io
import sys
from pathlib import Path

import pytest

from lab.cli import arguments
from lab.errors import UsageError
from tests import rootlab


def test_a_local_network_is_not_set_to_nothing() -> None:
    done = rootlab.run("local-network", "set", "vnet-to-vnet", "site-VNet2")
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        (
            "local-network set site-VNet2: neither --address-space nor --address; one of them must change; "
            "add it, such as --address 203.0.113.2\n"
        ),
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [((), "neither --key nor --key-file"), (("--key", "A", "--key-file", "f"), "both --key and --key-file")],
)
def test_a_key_is_given_in_one_way(options: tuple[str, ...], found: str) -> None:
    done = rootlab.run("gateway", "key", "set", "none", "VNet1", "site-VNet2", *options)
    must = "one of them gives the key; name a file, or - for standard input"
    assert (done.returncode, done.stderr) == (2, f"gateway key set: {found}; {must}\n")


def test_the_help_says_who_sees_a_key() -> None:
    said = " ".join(rootlab.ok("gateway", "key", "set", "--help").split())
    assert "Other users see it in `ps`." in said
    assert "--key-file" in said


@pytest.mark.parametrize("text", ["A1b2C3D4\n", "A1b2C3D4", "A1b2C3D4\r\n"])
def test_a_key_is_read_from_a_file_or_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "key"
    file.write_bytes(text.encode())
    assert arguments.read_secret(file) == "A1b2C3D4"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert arguments.read_secret(Path("-")) == "A1b2C3D4"


@pytest.mark.parametrize(
    ("data", "found"), [(b"", "0 lines"), (b"hidden\nhidden\n", "2 lines"), (b"hidden\xff", "bytes that are not UTF-8")]
)
def test_a_file_that_holds_no_key_is_refused_and_not_shown(tmp_path: Path, data: bytes, found: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        arguments.read_secret(file)
    assert str(caught.value) == f"{file}: {found}; it must hold one line, the key; name another file"


def test_a_file_of_a_key_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory; it must hold one line, the key"):
        arguments.read_secret(tmp_path / "none")
