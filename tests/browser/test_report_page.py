"""The report page in a real browser, headless Chromium: it fits a phone, its charts are legible, nothing in it runs."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cards import asked, explained, finding, gate, make_card
from polydistill.cell import Gate
from polydistill.report import render

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no `chromium` on PATH"),
]
PHONE, DESKTOP = 390, 1280
HOSTILE = "<img src=x onerror=\"parent.postMessage(1, '*')\"><script>parent.ran = true</script>"
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 6

# The page stands in a frame, since a window cannot be as narrow as a phone; the frame shares the outer page's origin.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0"><pre id="found"></pre><script>
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement, width = page.defaultView.innerWidth;
  const texts = [...page.querySelectorAll("svg.chart text")];
  const size = text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
  const inScroller = element => element.closest(".scroll, svg");
  const outside = [...page.body.querySelectorAll("*")].filter(
    element => !inScroller(element) && element.getBoundingClientRect().right > width + 1);
  const covered = [];
  for (const chart of page.querySelectorAll("svg.chart")) {
    const boxes = [...chart.querySelectorAll("text")].map(text => text.getBoundingClientRect());
    boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
      if (a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom) covered.push(i);
    }));
  }
  document.getElementById("found").textContent = JSON.stringify({
    ran: window.ran === true || messages > 0,
    page_width: root.scrollWidth,
    outside: outside.map(element => element.outerHTML.slice(0, 80)),
    smallest_chart_text: Math.min(...texts.map(size)),
    chart_texts_that_overlap: covered.length,
    fetched: page.defaultView.performance.getEntriesByType("resource").map(entry => entry.name),
    charts: page.querySelectorAll("svg.chart").length,
    drawn: [...page.querySelectorAll("svg.chart")].every(chart => chart.getBoundingClientRect().height > 50),
    synthetic: getComputedStyle(page.querySelector("svg.chart path[style*='--synthetic']")).stroke,
  });
}
let messages = 0;
addEventListener("message", () => messages += 1);
</script><iframe style="border:0;width:WIDTHpx;height:900px" onload="measure(this)" srcdoc="PAGE"></iframe>"""


def look(folder: Path, page: str, width: int) -> dict[str, Any]:
    """Open the page in a frame of that width (CSS pixels); return what the script of FRAME finds in it."""
    outer = folder / "frame.html"
    outer.write_text(FRAME.replace("WIDTH", str(width)).replace("PAGE", html.escape(page)), encoding="utf-8")
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *(f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--dump-dom", outer.as_uri()),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True).stdout
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[:500]
    content: dict[str, Any] = json.loads(html.unescape(found[1]))
    return content


@pytest.fixture(scope="module")
def page() -> str:
    sizes = {10: 0.38, 20: 0.51, 50: 0.69, 100: 0.77, 200: 0.81, 500: 0.85, 900: 0.865, 1000: 0.87, 2000: 0.88}
    hard = [finding("near_duplicate", 9, (HOSTILE, LONG), ("short", "")), finding("markup", 1, (LONG, HOSTILE))]
    causes = [{"reason": HOSTILE, "count": 9}, {"reason": LONG, "count": 1}]
    faults = [explained("no_verdict", 7, LONG)]
    dear = [asked("generate", 1_204_000, failed=10, failures=causes), asked("revise", 1_200_000, faults=faults)]
    agreement = {
        "pairs": [{"checks": [HOSTILE, LONG], "texts": 123_456, "found": [234_567, 345_678]}],
        "alone": [{"reason": LONG, "count": 9}],
    }
    missed = gate(0.3, 0.1, passed=False, action="stop", examples=[{"text": LONG, "label": LONG, "detail": HOSTILE}])
    worst = make_card("sl", rejected=hard, marked=hard, agreement=agreement, warnings=[LONG], asked=dear)
    gates = {**worst.diversity.gates, "near_duplicates": Gate.model_validate(missed)}
    cards = [
        worst.model_copy(update={"diversity": worst.diversity.model_copy(update={"gates": gates})}),
        make_card("sw", synthetic=sizes, human=sizes),
        make_card(
            "ar", teacher=None, human={}, overtakes=None, rejected=[finding("markup", 1, ("موعد مع الطبيب", ""))]
        ),
        make_card("pt-BR", "topic", synthetic={50: 0.7}, human={}, overtakes=50, language_name="Portuguese (Brazil)"),
    ]
    return render(cards)


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("folded", [True, False])
def test_fits_the_width(page: str, tmp_path: Path, width: int, folded: bool) -> None:
    found = look(tmp_path, page if folded else page.replace("<details>", "<details open>"), width)
    assert found["outside"] == []
    assert found["page_width"] <= width


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_charts_are_drawn_and_legible(page: str, tmp_path: Path, width: int) -> None:
    found = look(tmp_path, page, width)
    assert found["charts"] == 5  # four curves, and an overview of the task with three languages
    assert found["drawn"]
    assert found["smallest_chart_text"] >= 11
    assert found["chart_texts_that_overlap"] == 0
    assert found["synthetic"] == "rgb(0, 103, 168)"


def test_nothing_runs_and_nothing_is_fetched(page: str, tmp_path: Path) -> None:
    # Without the page's own policy, which would hide both.
    bare, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    assert policies == 1
    found = look(tmp_path, bare, PHONE)
    assert not found["ran"]
    assert found["fetched"] == []
