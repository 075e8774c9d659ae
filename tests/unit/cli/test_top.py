"""``lab top``: what is on the screen, how it ends, and what it costs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from rich.console import Console

from lab.cli import top
from lab.errors import UsageError
from lab.runtime import overview
from lab.runtime.overview import Down, Overview, PortRow, TunnelRow

_EVENT = {
    "TimeGenerated": "2026-12-01T04:14:51Z", "FrontendIP": "40.1.2.3", "HealthEventType": "SnatPortExhaustion",
    "Severity": "Critical",
    "lab": {"virtualMachine": "web1", "portsInUse": 64, "portsAllocated": 64, "protocol": "tcp"},
}  # fmt: skip


def _row(number: int, fullest: int) -> PortRow:
    return PortRow(
        vm=f"web{number}", address="40.1.2.3", protocol="tcp", allocated=64, flows=fullest, fullest=fullest,
        peak=fullest, refused=0,
    )  # fmt: skip


def _seen(vms: int = 3) -> Overview:
    return Overview(
        lab="shop", state="running", profile="seeds", time_scale=60, vms=vms, stopped=1, hosts=2, flows=70, refused=4,
        given=90, ports=tuple(_row(number, max(0, 64 - number)) for number in range(vms)), members=2,
        down=(Down(member="lb1/alive/web1", since=time.time() - 130, reason="Tcp 10.0.0.4:80: connection refused"),),
        tunnels=(TunnelRow(network="gw.v1", site="s2", state="Connected", reason="", ingress=1234, egress=0),),
        events=(_EVENT,),
    )  # fmt: skip


def _text(seen: Overview, rows: int = 20) -> list[str]:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(top.frame(seen, rows))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_frame_has_all_that_matters_in_80_columns() -> None:
    lines = _text(_seen())
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("shop  running; profile seeds, time 1:60; ")
    assert lines[1] == "3 VMs, 1 stopped, 2 outside hosts; flows with a SNAT port 70, given 90, refused 4"[:80].rstrip()
    assert "web0  40.1.2.3  tcp           64       64    64     64        0" in lines
    assert "1 of 2 pool members are up" in lines
    assert "down for 2 min: lb1/alive/web1: Tcp 10.0.0.4:80: connection refused" in lines
    assert "gw.v1    s2    Connected  -       1,234    0" in lines
    assert lines[-1].startswith("2026-12-01T04:14:51Z  40.1.2.3         SnatPortExhaustion (Critical); 64")


def test_rows_that_do_not_fit_are_counted() -> None:
    lines = _text(_seen(vms=1000), rows=5)
    assert "… and 995 more" in lines
    assert len(lines) < 30


@contextmanager
def _typed(words: list[str]) -> Iterator[Callable[[float], str]]:
    yield lambda _seconds: words.pop(0)


@pytest.mark.parametrize("last", ["q", "Q"])
def test_it_looks_until_q_is_typed_and_goes_on_while_the_lab_is_down(
    last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top, "_keys", lambda: _typed(["", "x", last]))
    looks: list[Any] = [_seen(), UsageError('no lab "shop"'), _seen()]

    def look() -> Overview:
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    top._watch(look, 0.1)
    assert looks == []


def test_a_frame_of_1000_vms_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one look each 2 s, 3 % of a processor is 60 ms."""
    seen = _seen(vms=1000)
    began = time.process_time()
    for _ in range(5):
        _text(seen, rows=20)
    assert (time.process_time() - began) / 5 < 0.06


def test_what_has_not_changed_is_not_read_again(tmp_path: Any) -> None:
    file, reads = tmp_path / "plan.json", []
    cache = overview.Cache()

    def read() -> str:
        reads.append(file.read_text())
        return reads[-1]

    assert cache.get(file, read) is None
    file.write_text("one")
    assert [cache.get(file, read) for _ in range(3)] == ["one"] * 3
    file.write_text("three")
    assert (cache.get(file, read), reads) == ("three", ["one", "three"])


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d"), (-5, "0 s")]
)
def test_moments_are_said_in_one_unit(seconds: int, said: str) -> None:
    assert overview.ago(1000.0, 1000.0 + seconds) == said


def test_an_overview_is_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(_seen()))["ports"][0]["vm"] == "web0"
