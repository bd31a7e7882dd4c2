"""Run a part of the tests with the lowest and the highest supported versions of torch and others.

    python tools/matrix.py                  every combination
    python tools/matrix.py highest          a part of them
    python tools/matrix.py --cuda lowest    also if torch brings NVIDIA's packages

Each combination has an environment of its own in `build/matrix`, in which the package is installed
as a wheel. Versions come from where pip is set up to look: with an index of CPU builds, as in the
README's *Install*, all combinations run on Linux, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "matrix"


@dataclass(frozen=True, slots=True)
class Combination:
    """Versions that are installed together.

    Attributes:
        name: name of the environment.
        torch, transformers: their versions.
        others_lowest: install the other dependencies in the lowest versions that are allowed, not
            in the highest.
    """

    name: str
    torch: str
    transformers: str
    others_lowest: bool = False


COMBINATIONS = (
    Combination("lowest", "2.8.0", "5.13.0", others_lowest=True),
    Combination("lowest-transformers", "2.13.0", "5.13.0", others_lowest=True),
    Combination("highest", "2.13.0", "5.24.0"),
    Combination("next-torch", "2.14.1", "5.24.0"),
)
"""The first has the lower bounds of pyproject.toml, `highest` the highest versions that it allows;
what is after it is not supported yet."""
TESTS = (
    "tests/unit/test_qwen3_asr.py",
    "tests/unit/test_loading.py",
    "tests/unit/test_reserved_cache.py",
    "tests/unit/test_adapter.py",
    "tests/unit/test_branches.py",
    "tests/unit/test_int8.py",
    "tests/unit/test_int8_checkpoint.py",
    "tests/unit/test_incremental.py",
    "tests/unit/test_stream_session.py",
    "tests/unit/test_router.py",
)
"""Tests of what depends on torch and transformers most."""
_TOOLS = ("hypothesis>=6.120", "peft>=0.17,<1", "pytest>=8.3")


class MatrixError(Exception):
    """A combination cannot be tested."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Test the selected combinations, and print a line for each; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [combination.name for combination in COMBINATIONS]
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"{', '.join(names)}; default: all"
    )
    parser.add_argument(
        "--cuda", action="store_true", help="also if torch brings NVIDIA's packages (gigabytes)"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names):
        parser.error(f"no combination {', '.join(sorted(unknown))}")
    lines = []
    failed = False
    for combination in COMBINATIONS:
        if options.names and combination.name not in options.names:
            continue
        start = time.monotonic()
        try:
            outcome = _test(combination, cuda=options.cuda)
        except MatrixError as error:
            outcome = str(error)
        failed |= not outcome.startswith(("passed", "left out"))
        versions = f"torch {combination.torch}, transformers {combination.transformers}"
        seconds = time.monotonic() - start
        lines.append(f"{combination.name:20} {versions:38} {seconds:4.0f} s  {outcome}")
    print("\n".join(lines))
    return int(failed)


def lower_bounds(requirements: Sequence[str]) -> dict[str, str]:
    """Return the lowest version of each requirement that states it as `>=`."""
    return {
        canonicalize_name(requirement.name): bound.version
        for requirement in map(Requirement, requirements)
        for bound in requirement.specifier
        if bound.operator == ">="
    }


def dependencies() -> list[str]:
    """Return the package's dependencies as pyproject.toml states them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def _test(combination: Combination, *, cuda: bool) -> str:
    """Install a combination, and return how its tests ended."""
    python = _environment(FOLDER / combination.name)
    torch = f"torch=={combination.torch}"
    if not cuda and (brought := _nvidia_packages(python, torch)):
        return f"left out: {torch} brings {brought[0]} and others; see --cuda"
    _pip(python, "install", "--quiet", torch)
    constraints = FOLDER / combination.name / "constraints.txt"
    constraints.write_text("\n".join(_constraints(combination)) + "\n", encoding="utf-8")
    # The wheel states which versions it allows, and some of these combinations are ahead of that.
    allowed = [
        requirement
        for requirement in dependencies()
        if Requirement(requirement).name not in ("torch", "transformers")
    ]
    pinned = f"transformers=={combination.transformers}"
    packages = [torch, pinned, *allowed, *_TOOLS]
    _pip(python, "install", "--quiet", "--constraint", str(constraints), *packages)
    _pip(python, "install", "--quiet", "--no-deps", "--force-reinstall", str(_wheel(python)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)  # the wheel is tested, not this checkout
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", *TESTS]
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    return "passed" if status == 0 else f"FAILED: pytest ended with status {status}"


def _constraints(combination: Combination) -> list[str]:
    """Return the exact versions of dependencies that a combination demands."""
    if not combination.others_lowest:
        return []
    bounds = lower_bounds(dependencies())
    return [f"{n}=={v}" for n, v in bounds.items() if n not in ("torch", "transformers")]


def _environment(folder: Path) -> str:
    """Return the interpreter of an environment, which is made if it does not exist."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
        _pip(str(python), "install", "--quiet", "--upgrade", "pip")
    return str(python)


def _nvidia_packages(python: str, requirement: str) -> list[str]:
    """Return which of NVIDIA's packages a version of torch would bring; nothing is installed.

    Raises:
        MatrixError: there is no such version.
    """
    report = FOLDER / "report.json"
    report.unlink(missing_ok=True)
    _pip(
        *(python, "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed"),
        *("--report", str(report), requirement),
    )
    (item,) = json.loads(report.read_text(encoding="utf-8"))["install"]
    needed = map(Requirement, item["metadata"].get("requires_dist", []))
    return [
        requirement.name
        for requirement in needed
        if requirement.name.startswith(("nvidia-", "cuda-"))
        and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
    ]


def _wheel(python: str) -> Path:
    """Return the wheel of this checkout, built anew."""
    folder = FOLDER / "wheel"
    for old in folder.glob("*.whl"):
        old.unlink()
    _pip(python, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def _pip(python: str, *arguments: str) -> None:
    """Run pip in an environment.

    Raises:
        MatrixError: it fails; its own message has been shown.
    """
    if subprocess.run([python, "-m", "pip", *arguments], check=False).returncode:
        raise MatrixError(f"FAILED: pip {arguments[0]} ended with an error")


if __name__ == "__main__":
    sys.exit(main())
