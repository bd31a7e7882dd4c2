"""`tools/matrix.py` tests what the package claims to support."""

from __future__ import annotations

import importlib.util
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def matrix() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("matrix_tool", ROOT / "tools" / "matrix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["matrix_tool"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["matrix_tool"]


def requirement(matrix: ModuleType, name: str) -> Requirement:
    return next(r for r in map(Requirement, matrix.dependencies()) if r.name == name)


def next_minor(version: str) -> str:
    major, minor, *_ = version.split(".")
    return f"{major}.{int(minor) + 1}.0"


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_the_bounds_of_the_package_are_tested(matrix: ModuleType, package: str) -> None:
    combinations = {c.name: getattr(c, package) for c in matrix.COMBINATIONS}
    allowed = requirement(matrix, package).specifier
    lowest = matrix.lower_bounds(matrix.dependencies())[package]
    assert combinations["lowest"].removesuffix(".0") == lowest
    assert allowed.contains(combinations["highest"])
    assert not allowed.contains(next_minor(combinations["highest"]))


def test_every_dependency_has_a_lower_bound_to_test(matrix: ModuleType) -> None:
    names = {r.name for r in map(Requirement, matrix.dependencies())}
    assert set(matrix.lower_bounds(matrix.dependencies())) == names


def test_the_tests_exist(matrix: ModuleType) -> None:
    assert [path for path in matrix.TESTS if not (ROOT / path).is_file()] == []


def test_a_torch_that_brings_gigabytes_is_noticed(
    matrix: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = {
        "7.1": f'nvidia-nccl-cu13==2; sys_platform == "{sys.platform}"',
        "7.2": 'nvidia-nccl-cu13==2; sys_platform == "amiga"',
        "7.3": "sympy",
    }
    for version, requirement in needed.items():
        information = f"torch-{version}.dist-info"
        with zipfile.ZipFile(tmp_path / f"torch-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(
                f"{information}/METADATA",
                f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n"
                f"Requires-Dist: {requirement}\n",
            )
            wheel.writestr(
                f"{information}/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            wheel.writestr(f"{information}/RECORD", "")
    monkeypatch.setattr(matrix, "FOLDER", tmp_path)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    brought = {v: matrix._nvidia_packages(sys.executable, f"torch=={v}") for v in needed}
    assert brought == {"7.1": ["nvidia-nccl-cu13"], "7.2": [], "7.3": []}
    with pytest.raises(matrix.MatrixError, match="pip install ended with an error"):
        matrix._nvidia_packages(sys.executable, "torch==7.4")


def test_names_of_nothing_are_refused(
    matrix: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        matrix.main(["newest"])
    assert ended.value.code == 2
    assert "no combination newest" in capsys.readouterr().err
