"""The report's tables, charts, diffs and page say what the result says, and texts stay texts."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from example_results import example_result
from megaasr.errors import UsageError
from megaasr.report.benchmark_page import BehindBaseline, benchmark_page
from megaasr.report.benchmark_tables import break_down, failures, headline, overview
from megaasr.report.charts import ChartLine, line_chart
from megaasr.report.clip_cards import SHOWN, Cards
from megaasr.report.clip_list import inert_json
from megaasr.report.condition_tables import category_table, heat_map
from megaasr.report.published import published_results
from megaasr.report.sounds import SoundSearch
from megaasr.report.tables import Cell, Table, plain_markdown
from megaasr.report.word_diff import html_diff
from megaasr.score.result import Result
from megaasr.simulate.scenarios import CLEAN, scenario_names

HOSTILE = "</script><img src=x onerror=alert(1)> | \"'`*_[a](b) &amp;\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sounds")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return example_result(folder)


def texts(table: Table) -> list[list[str]]:
    return [[cell if isinstance(cell, str) else cell.text for cell in row] for row in table.rows]


def column(table: Table, name: str) -> list[str]:
    index = list(table.head).index(name)
    return [row[index] for row in texts(table)]


def test_every_row_has_a_cell_for_each_column(result: Result) -> None:
    tables = [headline(result, "bench"), category_table(result), failures(result, "bench")]
    tables += [heat_map(result, "base", "bench"), break_down(result, "route", "bench")]
    tables += [overview([result, result])]
    for table in tables:
        assert table is not None
        assert {len(row) for row in table.rows} == {len(table.head)}


def test_the_headline_is_the_pooled_rate_and_its_comparison(result: Result) -> None:
    table = headline(result, "bench")
    clips = [clip.hypotheses["robust"].errors("bench") for clip in result.clips]
    rate = sum(c.errors for c in clips) / sum(c.reference_length for c in clips)
    assert column(table, "error rate %")[1] == f"{100 * rate:.2f}"
    assert column(table, "points against base")[0] == "baseline"
    comparison = next(c for c in result.comparisons if (c.by, c.system) == ("overall", "robust"))
    assert column(table, "points against base")[1].startswith(
        f"{100 * comparison.difference:+.2f} ("
    )
    assert column(table, "significant") == ["–", "yes", "yes"]
    assert column(table, "failed clips") == [str(system.failed) for system in result.systems]
    failing = sum(bool(clip.hypotheses["base"].failures) for clip in result.clips)
    assert column(table, "clips with a text failure %")[0] == f"{failing / 2:.1f}"
    assert "p below 0.05" in table.caption


def test_a_chance_difference_is_not_called_significant(result: Result) -> None:
    rows = [c.model_copy(update={"p_value": 0.05}) for c in result.comparisons]
    changed = result.model_copy(update={"comparisons": tuple(rows)})
    assert column(headline(changed, "bench"), "significant") == ["–", "no", "no"]


def test_one_system_has_no_comparison(folder: Path) -> None:
    table = headline(example_result(folder, clips=20, systems=("base",), sounds=0), "bench")
    assert "significant" not in table.head
    assert "significant" not in table.caption


@pytest.mark.parametrize(
    ("measure", "name"),
    [("WER", "Word error rate"), ("CER", "Character error"), ("mixed", "Error rate (words and ch")],
)
def test_the_measure_is_named(result: Result, measure: str, name: str) -> None:
    changed = result.model_copy(update={"measure": measure})
    assert headline(changed, "bench").caption.startswith(name)


def test_the_heat_map_has_a_square_for_each_of_the_54(result: Result) -> None:
    table = heat_map(result, "robust", "bench")
    assert table is not None
    squares = [cell for row in table.rows for cell in row[1:] if isinstance(cell, Cell)]
    scenario_cells = [cell for cell in squares if cell.note]
    assert len(squares) == 64
    assert {cell.note.partition(":")[0] for cell in scenario_cells} == {CLEAN, *scenario_names()}
    rates = {g.name: g.rates["robust"]["bench"].rate for g in result.groups_by("scenario")}
    for cell in scenario_cells:
        assert float(cell.text) == pytest.approx(100 * rates[cell.note.partition(":")[0]], abs=0.51)


def test_the_colours_of_all_maps_mean_the_same(result: Result) -> None:
    top = 0
    for system in ("base", "robust", "routed"):
        table = heat_map(result, system, "bench")
        assert table is not None
        heats = {
            cell.text: cell.heat
            for row in table.rows
            for cell in row[1:]
            if isinstance(cell, Cell) and cell.heat is not None
        }
        ranked = sorted(heats, key=float)
        assert [heats[text] for text in ranked] == sorted(heats[text] for text in ranked)
        top = max(top, *heats.values())
    assert top == 10


def test_published_figures_stand_beside_the_bench_only(result: Result, folder: Path) -> None:
    table = category_table(result)
    assert table is not None
    assert table.head == ("system", *next(iter(published_results().values())))
    assert "not measured here" in table.caption
    names = column(table, "system")
    assert names[7:10] == ["Mega-ASR (published)", "Mega-ASR + router (published)", names[9]]
    assert names[9:] == [f"{system} (measured here)" for system in ("base", "robust", "routed")]
    assert column(table, "noise")[8] == "6.12 / 8.09"
    simulated = category_table(example_result(folder, kind="simulated", sounds=0))
    assert simulated is not None
    assert column(simulated, "system") == ["base", "robust", "routed"]
    assert simulated.head[1] == "clean"
    assert column(simulated, "noise") == column(table, "noise")[9:]
    few = result.model_copy(
        update={"groups": tuple(g for g in result.groups if g.name.startswith(("noise", "echo")))}
    )
    small = category_table(few)
    assert small is not None
    assert column(small, "system") == ["base", "robust", "routed"]


def test_stars_stand_only_where_there_was_a_test(result: Result) -> None:
    severity, snr = break_down(result, "severity", "bench"), break_down(result, "snr", "bench")
    assert severity is not None
    assert snr is not None
    assert "* p below" in severity.caption
    assert any("*" in cell for row in texts(severity) for cell in row)
    assert "*" not in snr.caption + "".join(cell for row in texts(snr) for cell in row)
    assert break_down(result, "nothing", "bench") is None


def test_tables_are_inert_in_html_and_markdown() -> None:
    table = Table(HOSTILE, (HOSTILE, "b"), [[Cell(HOSTILE, HOSTILE), HOSTILE]])
    root = Xml.fromstring(table.html().replace("<wbr>", ""))
    tags = ["div", "table", "caption", "span", "thead", "tbody", "tr", "th", "td"]
    assert {element.tag for element in root.iter()} == set(tags)
    assert root.findtext(".//td") == HOSTILE
    lines = table.markdown().splitlines()
    assert len(lines) == 5
    for line in lines[2:]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert not re.search(r"(?<!\\)[<`*_\[]", lines[4])


def test_markdown_shows_what_was_given() -> None:
    assert re.sub(r"\\(.)", r"\1", plain_markdown("a_b*c <d> | e")) == "a_b*c <d> | e"


def chart_element(lines: list[ChartLine]) -> Xml.Element:
    html = line_chart("rates <in> %", "severity", ["0 to 0.5", "0.5 to 1"], lines)
    return Xml.fromstring(html)


def test_twelve_lines_of_a_chart_can_be_told_apart() -> None:
    chart = line_chart("t", "a", ["x"], [ChartLine(str(n), [1.0], [None]) for n in range(12)])
    keys = re.findall(r'<svg class="(key s\d)".*?(<path class="mark.*?/>)', chart)
    assert len(set(keys)) == 12


def test_a_chart_has_a_line_marks_and_a_label_for_each_system() -> None:
    lines = [ChartLine(f"s{n}", [10.0 * n, 20.0], [(5.0, 15.0), (10.0, 40.0)]) for n in range(6)]
    chart = chart_element(lines)
    (svg, caption) = chart
    assert svg.get("aria-label") == "rates <in> %"
    groups = [g for g in svg if g.tag == "g" and any(p.get("class") == "mark" for p in g)]
    marks = [[p.get("d") for p in g if p.get("class") == "mark"] for g in groups]
    assert [len(element) for element in marks] == [2] * 6
    # Told apart without colour: the shape after the place is another for each.
    assert len({re.sub(r"M[-\d. ]+", "", element[0] or "", count=1) for element in marks}) == 6
    bands = [element for element in svg if (element.get("class") or "").startswith("band")]
    assert bands == []  # those of six systems would cover each other
    few = chart_element(lines[:3])[0]
    assert len([e for e in few if (e.get("class") or "").startswith("band")]) == 3
    labels = [e for e in svg.iter("text") if e.get("class") == "label"]
    assert sorted(str(label.text) for label in labels) == [f"s{n}" for n in range(6)]
    heights = sorted(float(label.get("y") or 0) for label in labels)
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 16  # none covers another
    assert len(chart_element(lines[:1])[0].findall(".//text[@class='label']")) == 0
    assert [("".join(li.itertext())).strip() for li in caption.iter("li")] == [
        line.name for line in lines
    ]


def test_higher_values_are_drawn_higher_and_gaps_are_left_out() -> None:
    chart = chart_element(
        [
            ChartLine("a", [10.0, 20.0], [None, None]),
            ChartLine("b", [None, 5.0], [None, (1.0, 9.0)]),
        ]
    )
    paths = [p.get("d") or "" for p in chart.iter("path") if p.get("class") == "line"]
    rising = [float(pair.split()[1]) for pair in paths[0][1:].split("L")]
    assert rising[0] > rising[1]
    assert len(paths[1].split("L")) == 1


def test_a_diff_marks_what_is_wrong() -> None:
    diff = html_diff("one two three four", "one too three five four", "en", "bench")
    assert diff == "one <del>two</del> <ins>too</ins> three <ins>five</ins> four"
    assert html_diff("one two", "two", "en", "bench") == "<del>one</del> two"
    assert html_diff("今天好", "今好", "zh", "bench") == "今<del>天</del>好"
    assert html_diff("", "", "en", "bench") == "<em>nothing</em>"


@pytest.mark.parametrize("language", ["en", "zh", None])
def test_a_diff_is_inert(language: str | None) -> None:
    diff = html_diff("one & two", HOSTILE, language, "default")
    assert set(re.findall(r"</?(\w+)", diff)) <= {"del", "ins"}


def test_json_cannot_leave_its_element() -> None:
    data = {HOSTILE: [HOSTILE, "\u2028\u2029<!--"]}
    text = inert_json(data)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == data


def test_cards_are_ranked_and_have_sound_where_there_is_some(folder: Path, result: Result) -> None:
    cards = Cards(result, "bench", SoundSearch(folder), prefix="r0")
    worst = cards.worst()
    assert "the system with the lowest one" in worst
    ids = re.findall(r"<h4>(.*?)</h4>", worst)
    by_id = {clip.id: clip.hypotheses["robust"].errors("bench").rate for clip in result.clips}
    assert [by_id[clip_id] for clip_id in ids] == sorted(by_id.values(), reverse=True)[:SHOWN]
    has_sound = sum(int(clip_id.rpartition("/")[2]) < 20 for clip_id in ids)
    assert worst.count('src="data:audio/flac;base64,') == has_sound
    assert worst.count("The sound was not found") == SHOWN - has_sound
    changed = cards.most_changed()
    repeated = set(re.findall(r"<h4>(.*?)</h4>", changed)) & set(ids)
    assert repeated
    assert changed.count("among the worst clips") == len(repeated)
    anchors = re.findall(r'<article id="(.*?)"', worst + changed)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#(.*?)"', changed)) <= set(anchors)


def test_the_clips_behind_the_baseline_are_listed(folder: Path, result: Result) -> None:
    surplus = {
        clip.id: clip.hypotheses["robust"].errors("bench").errors
        - clip.hypotheses[result.baseline].errors("bench").errors
        for clip in result.clips
    }
    worse = [value for value in surplus.values() if value > 0]
    assert worse
    cards = Cards(result, "bench", SoundSearch(folder), prefix="r0")
    listed = cards.behind("robust", 4)
    ids = re.findall(r"<h4>(.*?)</h4>", listed)
    assert [surplus[clip_id] for clip_id in ids] == sorted(worse, reverse=True)[:4]
    assert f"{len(worse)} of {len(result.clips)}" in listed
    assert "among the clips behind the baseline" in cards.worst() + cards.most_changed()
    for system in ("nobody", result.baseline):
        with pytest.raises(UsageError, match="robust"):
            cards.behind(system, 4)
    assert "Behind the baseline" in benchmark_page(
        [result], SoundSearch(folder), BehindBaseline("robust", 4)
    )
    assert "Behind the baseline" not in benchmark_page([result], SoundSearch(folder))


def test_many_test_sets_share_the_cards(result: Result, folder: Path) -> None:
    assert (
        Cards(result, "bench", SoundSearch(folder), prefix="r0", parts=3).worst().count("<article")
        == SHOWN // 3
    )


def test_the_page_allows_its_own_style_and_script_only(result: Result, folder: Path) -> None:
    page = benchmark_page([result], SoundSearch(folder))
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    for kind in ("style", "script"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"\son\w+=|\sstyle=", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert set(re.findall(r'(?:src|href)="([a-z]+:|#)', page)) == {"data:", "#"}
    ids = re.findall(r'\sid="(.*?)"', page)
    assert len(ids) == len(set(ids))


def test_two_test_sets_have_a_table_of_both(folder: Path, result: Result) -> None:
    other = example_result(folder, clips=40, systems=("base",), sounds=0, name="other.jsonl")
    page = benchmark_page([result, other], SoundSearch(folder))
    assert "All test sets: error rate in % with interval" in page
    assert page.index("All test sets") < page.index("<h2>made-up.jsonl") < page.index("<h2>other")
    assert column(overview([result, other]), "system") == ["base", "robust", "routed"]
    assert texts(overview([result, other]))[2][2] == "–"


def test_a_result_without_clips_still_has_its_tables(folder: Path, result: Result) -> None:
    page = benchmark_page([result.without_clips()], SoundSearch(folder))
    assert "normaliser bench" in page
    assert "All clips</h3>" not in page
    assert "Worst clips" not in page
