"""Design notes name what exists; workflows and issue forms are what GitHub can read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # a dependency of transformers

ROOT = Path(__file__).parents[2]
NOTES = sorted((ROOT / "docs" / "design").glob("*.md"))
FORMS = [
    ROOT / ".github/ISSUE_TEMPLATE" / f"{n}.yml" for n in ("bug", "feature", "wrong-transcript")
]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SOURCE_FOLDERS = ("src", "tests", "benchmarks")
_CODE = re.compile(r"`([^`\s]+)`")
_PATH = re.compile(
    r"(?P<path>[\w./-]+(?:/|\.(?:py|h|c|md|toml|yml|html)))(?:::(?P<test>\w+))?(?:\[.*\])?"
)


def cited(text: str) -> list[tuple[str, str | None]]:
    """Return the (path, test) that a page names in code spans."""
    matches = (_PATH.fullmatch(span) for span in _CODE.findall(text))
    return [(match["path"], match["test"]) for match in matches if match]


def problem(path: str, test: str | None) -> str | None:
    """Return what is wrong with a citation: a path from the root or the package, or a file name."""
    candidates = [ROOT / path, ROOT / "src" / "megaasr" / path]
    if "/" not in path:
        candidates += [p for folder in SOURCE_FOLDERS for p in (ROOT / folder).rglob(path)]
    existing = next((candidate for candidate in candidates if candidate.exists()), None)
    if existing is None:
        return f"{path} does not exist"
    if test and not re.search(rf"^def {test}\(", existing.read_text("utf-8"), re.MULTILINE):
        return f"{path} has no {test}"
    return None


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("note", NOTES, ids=lambda path: path.stem)
def test_design_notes_name_files_and_tests_that_exist(note: Path) -> None:
    citations = cited(note.read_text(encoding="utf-8"))
    assert any(path.startswith("tests/") for path, _ in citations), "no test holds the decision"
    problems = [message for citation in citations if (message := problem(*citation))]
    assert not problems


def test_a_citation_of_what_is_gone_is_noticed() -> None:
    text = "`model/gone.py`, `tests/unit/test_adapter.py::test_gone`, `gone.h`, `model/geometry.py`"
    assert [problem(*citation) for citation in cited(text)] == [
        "model/gone.py does not exist",
        "tests/unit/test_adapter.py has no test_gone",
        "gone.h does not exist",
        None,
    ]


def test_every_design_note_is_linked_from_contributing() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\((docs/design/[^)#]+)\)", contributing)
    assert sorted(linked) == [note.relative_to(ROOT).as_posix() for note in NOTES]


def test_links_of_project_pages_lead_somewhere() -> None:
    for page in [*NOTES, ROOT / "SECURITY.md", ROOT / "CODE_OF_CONDUCT.md"]:
        for link in re.findall(r"\]\(([^)#:]+?)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_read_only_and_end(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as a truth value
    assert set(triggers) == {"push", "pull_request"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
                assert "checkout" not in step["uses"] or not step["with"]["persist-credentials"]


def test_the_matrix_is_what_the_package_claims() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    prefix = "Programming Language :: Python :: "
    versions = [line.removeprefix(prefix) for line in project["classifiers"] if prefix in line]
    matrix = load(ROOT / ".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python-version"] == versions
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}


def test_the_check_workflow_runs_what_make_check_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.split("\ncheck:")[1].split("\n\n")[0]
    tools = re.findall(r"\$\(BIN\)/(.+)", recipe)
    assert len(tools) == 4
    steps = load(ROOT / ".github/workflows/check.yml")["jobs"]["check"]["steps"]
    script = "\n".join(step.get("run", "") for step in steps).replace(" --output-format=github", "")
    assert [tool for tool in tools if tool not in script.splitlines()] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_complete(path: Path) -> None:
    form = load(path)
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)
    if path.stem in ("bug", "wrong-transcript"):
        assert any("mega-asr --version" in str(field["attributes"]) for field in fields)


def test_hooks_run_tools_of_the_environment() -> None:
    (local,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    developers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    distributions = {"ruff": "ruff", "mypy": "mypy", "lint-imports": "import-linter"}
    for hook in local["hooks"]:
        program, *arguments = hook["entry"].split()
        tool = arguments[1] if arguments else program.removeprefix(".venv/bin/")
        assert program.startswith(".venv/bin/")
        assert f'"{distributions[tool]}>=' in developers
