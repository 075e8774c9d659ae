"""The page of results in a real browser: no console error, nothing wider than a phone, and texts that stand out."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import topology
from lab.pictures import diagram, dot
from lab.pictures.report import page
from lab.verify import verdict
from lab.verify.evidence import Evidence, Sample

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine; install the package chromium")

#: Opens all that is folded, and leaves what it measures in the document.
_MEASURE = """<script>
document.querySelectorAll("details").forEach(fold => fold.open = true);
const channels = text => text.match(/[\\d.]+/g).map(Number);
const light = rgb => rgb.slice(0, 3).map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
const shape = of => of.closest(".node")?.querySelector("path") ?? of.closest("svg")?.querySelector(".graph > polygon");
const ground = of => { const under = of.closest("svg") && shape(of);
  if (under) return channels(getComputedStyle(under).fill);
  for (; of; of = of.parentElement) { const c = channels(getComputedStyle(of).backgroundColor);
  if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
const texts = [...document.querySelectorAll("main *")].filter(one => !one.closest("title, style"));
const found = [];
for (const one of texts) {
  if (![...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
  const style = getComputedStyle(one), drawn = one.namespaceURI.endsWith("svg");
  const pair = [light(channels(drawn ? style.fill : style.color)), light(ground(one))].sort((a, b) => a - b);
  const contrast = (pair[1] + .05) / (pair[0] + .05);
  found.push({tag: one.tagName, text: one.textContent.trim().slice(0, 40), contrast});
}
const out = document.createElement("script"); out.type = "application/json"; out.id = "measured";
out.textContent = JSON.stringify({found, wide: document.documentElement.scrollWidth, window: innerWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches});
parent.document.body.append(out);
</script></body>"""


def _page() -> str:
    seen = Evidence(
        subject="web1 <b>",
        seen=("tcp 10.1.0.4:4000 to 198.51.100.10:80: at node far 40.1.2.3:1024 to 198.51.100.10:80" * 2, "x" * 139),
        ports=tuple(Sample(number / 10, number, 8) for number in range(9)),
    )
    words: tuple[verdict.Word, ...] = ("HOLDS", "CONTRADICTED", "INCONCLUSIVE", "NOT_RUN")
    results = [
        verdict.Result(
            id=f"S1-{number}", statement="A statement.", source="A document", topology="mine", profile="seeds",
            expected="expected", observed="observed", verdict=word, reason="why", seconds=1.0, evidence=(seen,),
        )
        for number, word in enumerate(words)
    ]  # fmt: skip
    drawn = '<svg width="575pt" height="20pt" viewBox="0 0 575 20"><text y="15" fill="currentColor">wide</text></svg>'
    return page(verdict.report(results), {"mine": drawn}, {"lab": "0.1.0"})


def _measured(page: str, script: str, scheme: str, width: int, folder: Path) -> dict[str, Any]:
    """Return what a script leaves in the document, of a page in a frame so wide; nothing is said to the console.

    A frame, since no window is as narrow as a phone.
    """
    inner = html.escape(page.replace("</body>", script))
    outer = f'<iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{inner}"></iframe>'
    file = folder / "page.html"
    file.write_text(f"<!DOCTYPE html><style>:root {{ color-scheme: light dark }}</style><body>{outer}</body>")
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
            "--enable-logging=stderr", "--window-size=1500,900", "--dump-dom", file.as_uri(),
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    text = re.search(r'id="measured">(.*?)</script>', done.stdout)
    assert text is not None
    found: dict[str, Any] = json.loads(text[1])
    assert found["dark"] == (scheme == "dark")
    return found


@pytest.mark.parametrize(("width", "scheme"), [(380, "dark"), (380, "light"), (1400, "dark"), (1400, "light")])
def test_the_page_reads_well(width: int, scheme: str, tmp_path: Path) -> None:
    measured = _measured(_page(), _MEASURE, scheme, width, tmp_path)
    assert measured["wide"] <= measured["window"] == width
    assert len(measured["found"]) > 60
    assert [one for one in measured["found"] if one["contrast"] < 4.5] == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_card_of_a_picture_reads_well(scheme: str, tmp_path: Path) -> None:
    if shutil.which("dot") is None:
        pytest.skip("no Graphviz on this machine; install the package graphviz")
    network = topology.load(topology.BUNDLED / "nat-gateway.lab.yaml")
    drawn = dot.svg(diagram.diagram(network))
    head = '<!DOCTYPE html><meta name="color-scheme" content="light dark">'
    shown = f"{head}<main>{drawn[drawn.index('<svg') :]}</main></body>"
    measured = _measured(shown, _MEASURE, scheme, 1400, tmp_path)
    assert "busy1" in {one["text"] for one in measured["found"]}
    assert [one for one in measured["found"] if one["contrast"] < 4.5] == []
