"""Pages on wide screens, on telephones and on paper: nothing is cut, curves are told apart."""

from __future__ import annotations

import base64
import itertools
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megaasr.audio import Waveform, write
from megaasr.records import Attempt, Segment, Transcript
from megaasr.report.benchmark_page import benchmark_page
from megaasr.report.branches_page import branches_page
from megaasr.report.sounds import SoundSearch
from megaasr.score.assembly import SystemPredictions, assemble
from megaasr.score.branches import BranchComparison, compare_branches, score_branches
from megaasr.score.predictions import Prediction
from megaasr.score.summary import ScoringSettings
from megaasr.score.test_set import TestClip, TestSetFile
from megaasr.simulate.scenarios import scenario_names

SYSTEMS = ("base", "robust", "routed", "oracle", "openai whisper small", "peer-two", "peer-three")
TEXT = "the harbour was quiet when we reached it and nobody could say where boats had gone"
WORDS = TEXT.split()


def drop_words(words: list[str], share: float, chance: random.Random) -> str:
    return " ".join(word if chance.random() > share else chance.choice(WORDS) for word in words)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of seven systems, one of them an oracle."""
    folder = tmp_path_factory.mktemp("layout")
    chance, names = random.Random(4), scenario_names()
    clips = [
        TestClip(
            id=f"clip-{index:04d}",
            audio=f"{index}.flac",
            text=" ".join(chance.choice(WORDS) for _ in range(9)),
            language="en",
            scenario=names[index % len(names)],
            severity=(index % 10) / 10,
            category=names[index % len(names)].split("+")[0],
            duration_s=2.0,
        )
        for index in range(120)
    ]
    tone = np.sin(np.arange(16_000) * 0.1).astype(np.float32) / 4
    for clip in clips:
        write(folder / clip.audio, Waveform(tone, 16_000))
    systems = []
    for number, name in enumerate(SYSTEMS):
        kind = "oracle" if name == "oracle" else "megaasr"
        share = 0.02 if name == "oracle" else 0.1 + 0.03 * number
        predictions = {
            clip.id: Prediction(
                drop_words(clip.text.split(), share * (0.5 + (clip.severity or 0)), chance),
                duration_s=2.0,
                seconds=0.1,
            )
            for clip in clips
        }
        systems.append(SystemPredictions(name, kind, predictions))
    test_set = TestSetFile(folder / "set.jsonl", folder, "simulated", tuple(clips))
    result = assemble(test_set, systems, ScoringSettings(replications=200), "mega-asr bench")
    path = folder / "index.html"
    path.write_text(benchmark_page([result], SoundSearch(folder)), encoding="utf-8")
    return path


def branches(reference: str | None, audio: str, count: int) -> BranchComparison:
    base, robust = "the harbour was quite when", "a harbour was quiet when we reached it"
    segments = tuple(
        Segment(
            30.0 * number,
            30.0 * number + 28,
            robust,
            "en",
            route="robust",
            degraded_probability=0.8,
            confidence=0.45,
            attempts=(Attempt("base", 0.0, 1, base, -0.3), Attempt("robust", 0.0, 1, robust, -0.2)),
        )
        for number in range(count)
    )
    transcript = Transcript(" ".join([robust] * count), "en", 30.0 * count, "m", segments)
    clip = None if reference is None else TestClip("a", audio, reference, "en")
    return compare_branches(transcript, audio, clip)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of `mega-asr compare` with and without references, one of a long recording."""
    text = "the harbour was quiet when we reached it"
    recordings = [
        branches(text, "short.wav", 1),
        branches(" ".join([text] * 3), "long.wav", 3),
        branches(None, "unlabelled-recording-with-a-rather-long-name.wav", 2),
    ]
    sound = Waveform(np.zeros(16_000, np.float32), 16_000)
    scores = score_branches(recordings, 0.5, replications=200)
    path = tmp_path_factory.mktemp("compare") / "compare.html"
    page = branches_page(recordings, scores, "tiny", 0.5, lambda _: sound)
    path.write_text(page, encoding="utf-8")
    return path


# Elements that reach beyond the window, apart from what can be scrolled to.
OVERFLOWING = """
const scrolls = (element) => element
  && (element.matches(".scroll") || scrolls(element.parentElement));
return [...document.querySelectorAll("body *")]
  .filter((element) => element.checkVisibility() && !scrolls(element.parentElement))
  .filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width && (box.right > innerWidth + 0.5 || box.left < -0.5);
  })
  .map((element) => `${element.tagName} ${element.className} ${element.textContent.slice(0, 40)}`);
"""
CUT_TABLES = """
return [...document.querySelectorAll(".scroll")].filter((e) => e.checkVisibility())
  .filter((e) => e.scrollWidth > e.clientWidth + 1)
  .map((e) => `${e.scrollWidth} > ${e.clientWidth}: ${e.textContent.slice(0, 60)}`);
"""


def open_at(browser: Any, path: Path, width: int) -> None:
    browser.get(path.as_uri())
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


@pytest.fixture(autouse=True)
def normal_window(browser: Any) -> Any:
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_nothing_reaches_beyond_the_window(
    browser: Any, request: pytest.FixtureRequest, name: str, width: int
) -> None:
    open_at(browser, request.getfixturevalue(name), width)
    wide, window = browser.execute_script(
        "return [document.documentElement.scrollWidth, innerWidth]"
    )
    assert window == width
    assert wide <= window
    assert browser.execute_script(OVERFLOWING) == []


def test_no_table_is_cut_on_a_wide_screen(browser: Any, report: Path, comparison: Path) -> None:
    for page in (report, comparison):
        open_at(browser, page, 1300)
        assert browser.execute_script(CUT_TABLES) == []


def test_the_texts_of_a_comparison_are_seen_on_a_telephone(browser: Any, comparison: Path) -> None:
    open_at(browser, comparison, 400)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('article dd')].filter((e) => e.checkVisibility())"
        ".map((e) => [e.innerText, e.getBoundingClientRect().width])"
    )
    texts = [text for text, _ in boxes]
    assert min(width for _, width in boxes) > 250
    # Against the reference: what is missing, a space, and what is wrong.
    assert "the a harbour was quiet when we reached it" in texts
    assert "the harbour was quiet quite when we reached it" in texts


def test_wrong_words_have_the_colour_of_errors_and_differences_another(
    browser: Any, comparison: Path
) -> None:
    open_at(browser, comparison, 1300)
    colours = browser.execute_script(
        "return ['del', 'ins'].map((n) => getComputedStyle(document.querySelector(n)).color)"
    )
    assert colours[0] == colours[1]
    red, green, blue = map(int, re.findall(r"\d+", colours[0])[:3])
    assert red > 2 * green
    assert red > 2 * blue
    marked = browser.execute_script(
        "return [...document.querySelectorAll('mark')].map((e) => "
        "[e.innerText, e.closest('article').querySelector('h3').innerText])"
    )
    assert {text for text, _ in marked} == {"the", "quite", "a", "quiet", "we", "reached", "it"}
    assert {name for _, name in marked} == {"unlabelled-recording-with-a-rather-long-name.wav"}


def test_curves_of_seven_systems_have_names_beside_them(browser: Any, report: Path) -> None:
    open_at(browser, report, 1300)
    styles = browser.execute_script(
        "return [...document.querySelector('.chart svg').querySelectorAll('g .line')]"
        ".map((e) => [getComputedStyle(e).stroke, getComputedStyle(e).strokeDasharray])"
    )
    assert len(styles) == len({colour for colour, _ in styles}) == len(SYSTEMS)
    assert len({dash for _, dash in styles}) == len(SYSTEMS)
    labels = browser.execute_script(
        "return [...document.querySelector('.chart svg').querySelectorAll('.label')]"
        ".map((e) => [e, e.getBoundingClientRect()])"
        ".map(([e, box]) => [e.textContent, box.top, box.right])"
    )
    assert {"base", "robust", "routed", "oracle"} < {text for text, _, _ in labels}
    tops = sorted(top for _, top, _ in labels)
    assert min(b - a for a, b in itertools.pairwise(tops)) > 8
    right = browser.execute_script(
        "return document.querySelector('.chart svg').getBoundingClientRect().right"
    )
    assert max(edge for _, _, edge in labels) <= right


def test_an_oracle_is_no_best_system(browser: Any, report: Path) -> None:
    open_at(browser, report, 1300)
    text = browser.find_element("tag name", "main").text
    assert "The clips with the highest error rates of base, the system with the lowest one" in text


def test_no_heading_ends_a_printed_page(browser: Any, report: Path) -> None:
    browser.get(report.as_uri())
    margin_in, least_in = 0.4, 0.8  # above the bottom of the text there is room for two lines
    for height_in in (8.0, 9.0, 9.7, 10.4, 11.0, 11.7, 12.5):  # so that headings fall everywhere
        printed = browser.execute_cdp_cmd(
            "Page.printToPDF",
            {
                "paperWidth": 8.27,
                "paperHeight": height_in,
                "generateTaggedPDF": True,
                "generateDocumentOutline": True,
            },
        )
        # The outline has an entry for every heading, with its top in points from below.
        content = base64.b64decode(printed["data"])
        tops = [float(y) for y in re.findall(rb"/Dest \[\d+ 0 R /XYZ [\d.]+ ([\d.]+)", content)]
        assert len(tops) > 8
        assert min(tops) > 72 * (margin_in + least_in), height_in
