"""The report in a real browser: filters, hostile texts, keyboard, nothing fetched."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megaasr.audio import Waveform, write
from megaasr.report.benchmark_page import benchmark_page
from megaasr.score.assembly import SystemPredictions, assemble
from megaasr.score.predictions import Prediction
from megaasr.score.result import Result
from megaasr.score.summary import ScoringSettings
from megaasr.score.test_set import TestClip, TestSetFile
from megaasr.simulate.scenarios import scenario_names

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

# What would set a flag or leave its place if it were ever taken for markup.
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "</script><script>window.hacked = 3</script>",
    '"><svg onload="window.hacked = 4">',
    "</style><b id=planted>planted</b>",
    "${alert(1)} $title {{7*7}} \u2028 </title>",
)
CLIPS = 130


def example(folder: Path) -> Result:
    """A result of two systems, made by the real code from made-up words."""
    chance = random.Random(1)
    names = scenario_names()
    clips, base, robust = [], {}, {}
    for index in range(CLIPS):
        name = f"clip {index} {HOSTILE[index] if index < len(HOSTILE) else ''}"
        words = [chance.choice(["one", "two", "three", "four", "five"]) for _ in range(8)]
        clips.append(
            TestClip(
                id=name,
                audio=f"{index}.wav",
                text=" ".join(words),
                language="en",
                scenario=names[index % 54],
                severity=(index % 5 + 0.5) / 5,
                category="mixed",
                origin="simulated",
            )
        )
        kept = [word for word in words if chance.random() > 0.4]
        text = HOSTILE[index] if index < len(HOSTILE) else " ".join(kept)
        base[name] = Prediction(text, route="base", seconds=0.1, duration_s=1.0)
        robust[name] = Prediction(" ".join(words[:6]), route="robust", seconds=0.2, duration_s=1.0)
        tone = np.sin(np.arange(8_000) * 0.2).astype(np.float32) / 4
        write(folder / f"{index}.wav", Waveform(tone, 16_000))
    test_set = TestSetFile(folder / "a<b>&.jsonl", folder, "simulated", tuple(clips))
    systems = [
        SystemPredictions(HOSTILE[0], "megaasr", base),
        SystemPredictions("robust", "megaasr", robust),
    ]
    return assemble(test_set, systems, ScoringSettings(replications=200), HOSTILE[2])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    path = folder / "index.html"
    path.write_text(benchmark_page([example(folder)]), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.set_window_size(1200, 900)
    open_anew(browser, page)
    return browser


def open_anew(browser: Any, page: Path) -> None:
    """Open the page without the focus, filters and logs of an earlier test.

    Reloading it would do so, too, but under load the driver loses the page that it reloads.
    """
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get(page.as_uri())


def box(browser: Any, label: str) -> Any:
    return browser.find_element(
        By.XPATH,
        f"//label[starts-with(normalize-space(.), '{label}')]/*[self::select or self::input]",
    )


# A question for every cell would take the driver a hundred times as long.
CELLS = """
return [...document.querySelectorAll(".clips tbody tr")]
  .filter((row) => row.checkVisibility())
  .map((row) => [...row.querySelectorAll("th, td")].map((cell) => cell.innerText.trim()));
"""


def shown(browser: Any) -> list[list[str]]:
    rows: list[list[str]] = browser.execute_script(CELLS)
    return rows


def status(browser: Any) -> str:
    return str(browser.find_element(By.CSS_SELECTOR, ".clips [role=status]").text)


def test_hostile_texts_are_inert(opened: Any) -> None:
    assert opened.execute_script("return window.hacked") is None
    assert opened.find_elements(By.ID, "planted") == []
    assert opened.find_elements(By.CSS_SELECTOR, "svg[onload], img[onerror]") == []
    text = opened.find_element(By.TAG_NAME, "main").text
    for hostile in HOSTILE[:5]:
        assert hostile in text
    assert opened.title.startswith("Benchmark: a<b>&.jsonl")
    # The script ran, and nothing that the policy forbids was tried.
    assert status(opened).startswith("1 to 50 of 130 clips")
    assert [line for line in opened.get_log("browser") if line["level"] == "SEVERE"] == []


def test_nothing_is_fetched(opened: Any, page: Path) -> None:
    asked = [
        message["message"]
        for message in opened.get_log("performance")
        if '"Network.requestWillBeSent"' in message["message"]
    ]
    assert asked
    assert [m for m in asked if page.as_uri() not in m and '"data:' not in m] == []
    policy = opened.find_element(By.CSS_SELECTOR, "meta[http-equiv=Content-Security-Policy]")
    assert "default-src 'none'" in policy.get_attribute("content")
    assert "unsafe" not in policy.get_attribute("content")


def test_filters(opened: Any) -> None:
    Select(box(opened, "scenario")).select_by_visible_text("noise")
    rows = shown(opened)
    assert len(rows) == 3
    assert {row[1] for row in rows} == {"noise"}
    Select(box(opened, "scenario")).select_by_visible_text("all")
    box(opened, "words").send_keys("CLIP 77 ")
    assert [row[0].split()[:2] for row in shown(opened)] == [["clip", "77"]]
    box(opened, "words").send_keys("nowhere")
    assert shown(opened) == []
    assert status(opened) == "none of 130 clips"
    box(opened, "words").clear()
    box(opened, "words").send_keys(Keys.SPACE, Keys.BACKSPACE)
    Select(box(opened, "failure")).select_by_visible_text("hallucination")
    assert shown(opened)
    assert all("hallucination" in row[5] for row in shown(opened))


def test_systems_and_order(opened: Any) -> None:
    Select(box(opened, "system")).select_by_visible_text("robust")
    assert {row[3] for row in shown(opened)} == {"2 of 8"}
    assert all(row[7] == " ".join(row[6].split()[:6]) for row in shown(opened))
    Select(box(opened, "order")).select_by_visible_text("as in the test set")
    assert shown(opened)[7][0] == "clip 7"
    Select(box(opened, "route")).select_by_visible_text("base")
    assert shown(opened) == []


def test_order_by_the_difference_to_the_baseline(opened: Any) -> None:
    Select(box(opened, "system")).select_by_visible_text("robust")
    Select(box(opened, "order")).select_by_visible_text(f"most better than {HOSTILE[0]}")
    gains = [int(row[4]) - int(row[3].split()[0]) for row in shown(opened)]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 3


def test_one_heat_map_at_a_time(opened: Any) -> None:
    def visible() -> list[str]:
        maps = opened.find_elements(By.CSS_SELECTOR, ".choice caption")
        return [caption.text.partition(": ")[0] for caption in maps if caption.text]

    assert visible() == [HOSTILE[0]]
    Select(box(opened, "map of")).select_by_visible_text("robust")
    assert visible() == ["robust"]


def test_pages(opened: Any) -> None:
    next_page = opened.find_element(By.XPATH, "//button[.='next']")
    previous_page = opened.find_element(By.XPATH, "//button[.='previous']")
    assert not previous_page.is_enabled()
    next_page.click()
    next_page.click()
    assert status(opened) == "101 to 130 of 130 clips (130 in all)"
    assert not next_page.is_enabled()
    previous_page.click()
    assert status(opened).startswith("51 to 100")


FOLLOW_FOCUS = """
window.focused = [];
document.addEventListener("focusin", ({target}) => window.focused.push(
  [target.tagName.toLowerCase(), target.getAttribute("role") || ""]));
"""


def test_everything_is_reached_by_keyboard(opened: Any) -> None:
    opened.execute_script(FOLLOW_FOCUS)
    focused: list[list[str]] = []
    for _ in range(6):
        ActionChains(opened).send_keys(Keys.TAB * 50).perform()
        focused = opened.execute_script("return window.focused")
        if ["button", ""] in focused:
            break
    assert ["button", ""] in focused
    seen = {(tag, role) for tag, role in focused[: focused.index(["button", ""])]}
    assert {("a", ""), ("div", "region"), ("audio", ""), ("select", ""), ("input", "")} <= seen


def test_tables_and_headings_say_what_they_are(opened: Any) -> None:
    for table in opened.find_elements(By.TAG_NAME, "table"):
        caption = table.find_element(By.TAG_NAME, "caption")
        assert caption.get_attribute("textContent")  # some are hidden until they are chosen
        assert table.find_elements(By.CSS_SELECTOR, "thead th[scope=col]")
    levels = [
        int(heading.tag_name[1]) for heading in opened.find_elements(By.CSS_SELECTOR, "h1,h2,h3,h4")
    ]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    for picture in opened.find_elements(By.TAG_NAME, "img"):
        assert picture.get_attribute("alt")
    assert len(opened.find_elements(By.CSS_SELECTOR, "audio[src^='data:audio/flac']")) > 4


def test_narrow_screens_scroll_tables_not_the_page(opened: Any) -> None:
    phone = {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    width, seen = opened.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= seen == 400


def test_tables_fit_on_paper(opened: Any) -> None:
    paper = {"width": 720, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    widths = opened.execute_script(
        "return [...document.querySelectorAll('table')].map((t) => t.getBoundingClientRect().right)"
    )
    maps = [element.is_displayed() for element in opened.find_elements(By.CSS_SELECTOR, ".choice")]
    players = [element.is_displayed() for element in opened.find_elements(By.TAG_NAME, "audio")]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert max(widths) <= 720
    assert maps == [True, True]
    assert not any(players)


def test_dark_mode_has_another_background(opened: Any) -> None:
    def colour(scheme: str) -> str:
        feature = [{"name": "prefers-color-scheme", "value": scheme}]
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
        return str(opened.execute_script("return getComputedStyle(document.body).backgroundColor"))

    assert colour("dark") != colour("light")


CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const shade = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (element) => {
  const [r, g, b, a = 1] = parse(getComputedStyle(element).backgroundColor);
  if (a === 1 || !element.parentElement) return [r, g, b];
  return behind(element.parentElement).map((c, at) => a * [r, g, b][at] + (1 - a) * c);
};
return [...document.querySelectorAll(arguments[0])].map((element) => {
  const found = [shade(parse(getComputedStyle(element).color)), shade(behind(element))];
  return (Math.max(...found) + 0.05) / (Math.min(...found) + 0.05);
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(opened: Any, scheme: str) -> None:
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    texts = "a, p, h1, h2, h3, h4, th, td, caption, dt, dd, del, ins, small, label, select, summary"
    ratios = opened.execute_script(CONTRAST, texts)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(ratios) > 300
    assert min(ratios) >= 4.5  # WCAG 2, level AA


def test_the_tables_need_no_script(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        text = browser.find_element(By.TAG_NAME, "main").text
        assert "Word error rate in %" in text
        assert "This list needs JavaScript." in text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
