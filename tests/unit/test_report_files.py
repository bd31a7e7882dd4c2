"""What the report writes: the command's two files, and the sections of a README."""

from __future__ import annotations

from pathlib import Path

import pytest

from example_results import example_result
from megaasr.cli.main import main
from megaasr.report.readme import fill, kept_as, sections


def test_the_command_writes_page_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = example_result(tmp_path)
    (tmp_path / "result.json").write_text(result.to_json(), encoding="utf-8")
    arguments = ["report", str(tmp_path / "result.json"), "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as done:
        main([*arguments, "--baseline", "routed"])
    assert done.value.code == 0
    assert "1 test set(s)" in capsys.readouterr().out
    assert "points against routed" in (tmp_path / "out" / "index.html").read_text()
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert "| robust | 15.73 |" in tables
    for expected in ("Severity:", "Category:", "Clips with a failure", "points against routed"):
        assert expected in tables
    with pytest.raises(SystemExit) as refused:
        main([*arguments, "--baseline", "nobody"])
    assert refused.value.code == 2


def test_a_short_section_shows_the_result_of_the_whole_one() -> None:
    text = "<!-- bench short:start -->\n<!-- bench short:end -->\n"
    assert sections(text) == ["bench short"]
    assert [kept_as(name) for name in (*sections(text), "bench")] == ["bench", "bench"]
    assert fill(text, "bench short", "new") == text.replace("start -->\n", "start -->\nnew\n")


def test_sections_of_a_readme_are_filled_by_name() -> None:
    text = (
        "a\n<!-- tiny:start -->\nold\n<!-- tiny:end -->\n<!-- bench:start -->\n<!-- bench:end -->\n"
    )
    assert sections(text) == ["tiny", "bench"]
    filled = fill(text, "bench", r"| \1 |")
    assert filled == text.replace("bench:start -->\n", "bench:start -->\n| \\1 |\n")
    assert fill(filled, "bench", r"| \1 |") == filled
    with pytest.raises(ValueError, match="other:start"):
        fill(text, "other", "")
    with pytest.raises(ValueError, match="tiny:start"):
        fill("<!-- tiny:end --> <!-- tiny:start -->\n", "tiny", "")
