"""Count what a restructuring is meant to improve.

    python tools/code_counts.py              this checkout
    python tools/code_counts.py FOLDER       another one, for a comparison

Counted, with how it is counted:

- *private names*: bound names (variables, parameters, attributes, functions, classes) that stand in
  the left column of docs/glossary.md, see `PRIVATE_NAMES`;
- *fragments*: descriptions under `Args:` and `Attributes:` that cannot be understood without the
  name before them: they begin with a preposition or a relative word, or are a single word;
- *calls with five and more positional arguments*, *functions over 60 lines*, *lines*;
- *the path*: `mega-asr transcribe CLIP` and `MegaASR.transcribe` run under a profiler. Callables
  are the package's functions that are entered, modules those they belong to, returns the number of
  times that the first entry into a callable goes back to a module that was left, and calls back up
  the callables that are called from below by another module than their own, while a function of
  their module waits further up the stack.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRIVATE_NAMES = frozenset(
    [
        "said",
        "heard",
        "one",
        "some",
        "found",
        "at",
        "place",
        "places",
        "given",
        "known",
        "wanted",
        "thing",
        "those",
        "whole",
        "aside",
        "set_aside",
        "take_back",
        "turned",
        "settle_language",
        "examine",
        "drawn",
        "flat",
        "spread",
        "thin",
        "chances",
        "flags_of_unheard",
        "hearing",
        "hear",
        "listener",
        "caution",
        "piece",
        "pieces",
        "stretch",
        "_try",
        "_wish",
        "standing",
        "compared",
        "verdict",
        "which_is_better",
        "as_often_as_it_matters",
        "as_classifier",
        "routed_words",
        "share_of",
    ]
)
WRITTEN_FIELDS = frozenset({"pieces", "stretch", "thin"})
"""Fields of files that exist (transcripts, manifests, recipes): their names cannot change."""
FRAGMENT = re.compile(
    r"(of|about|from|that|which|for|to|in|on|as|with|without|before|after|by|at|whose|where|when)\b"
)
MAX_LINES = 60
MAX_POSITIONAL = 4
_TRACER = """
import json, os, sys

entered, upward, seen = [], [], set()

def profile(frame, event, argument):
    if event != "call":
        return
    code = frame.f_code
    is_function = code.co_flags & 1 and "<" not in code.co_name  # not the body of a class
    if not (is_function and "megaasr" in code.co_filename):
        return
    module = code.co_filename.rpartition("megaasr" + os.sep)[2]
    key = (module, code.co_qualname)
    if key in seen:
        return
    seen.add(key)
    entered.append(key)
    callers, caller = [], frame.f_back
    while caller is not None:
        if "megaasr" in caller.f_code.co_filename:
            callers.append(caller.f_code.co_filename.rpartition("megaasr" + os.sep)[2])
        caller = caller.f_back
    if callers and callers[0] != module and module in callers:
        upward.append(key)

*_, way, clip = sys.argv
if way == "library":
    from megaasr import MegaASR
    asr = MegaASR.load("tiny")
    sys.setprofile(profile)
    asr.transcribe(clip)
else:
    from megaasr.cli.main import main
    sys.argv = ["mega-asr", "transcribe", clip]
    sys.setprofile(profile)
    try:
        main()
    except SystemExit:
        pass
sys.setprofile(None)
print("\\nTRACE" + json.dumps([entered, upward]))
"""


def main() -> int:
    """Print the counts; return the exit status."""
    parser = argparse.ArgumentParser(description="Count what a restructuring is meant to improve.")
    parser.add_argument("root", type=Path, nargs="?", default=ROOT, help="checkout to count in")
    parser.add_argument("--list", action="store_true", help="list where private names are bound")
    options = parser.parse_args()
    sources = sorted((options.root / "src").rglob("*.py"))
    tests = sorted((options.root / "tests").rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in [*sources, *tests]}
    for label, paths in (("source", sources), ("tests", tests)):
        names = Counter(
            name for path in paths for name, _ in bound_names(trees[path]) if is_private(name)
        )
        print(f"private names bound in {label}: {sum(names.values())}")
        if names:
            print("  " + ", ".join(f"{name} {count}" for name, count in names.most_common(12)))
    if options.list:
        for path in [*sources, *tests]:
            for name, line in bound_names(trees[path]):
                if is_private(name):
                    print(f"  {path.relative_to(options.root)}:{line}: {name}")
    descriptions = [text for path in sources for text in parameter_descriptions(trees[path])]
    fragments = [text for text in descriptions if is_fragment(text)]
    print(f"descriptions of parameters: {len(descriptions)}, of which fragments: {len(fragments)}")
    calls = [node for path in sources for node in long_calls(trees[path])]
    print(f"calls with five and more positional arguments: {len(calls)}")
    functions = [node for path in sources for node in long_functions(trees[path])]
    print(f"functions over {MAX_LINES} lines: {len(functions)}")
    for label, paths in (("source", sources), ("tests", tests)):
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        print(f"lines of {label}: {lines} in {len(paths)} files")
    for way in ("command", "library"):
        print(f"path of transcribing a clip, {way}: {trace(options.root, way)}")
    return 0


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that a module binds, with their lines, except fields of written files."""
    fields = {
        id(statement.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id in WRITTEN_FIELDS
    }
    for node in ast.walk(tree):
        if id(node) in fields:
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def is_private(name: str) -> bool:
    """Return whether a name stands in the glossary's left column."""
    return name.lower() in PRIVATE_NAMES or name.lower().lstrip("_") in PRIVATE_NAMES


def parameter_descriptions(tree: ast.AST) -> Iterator[str]:
    """Yield the first line of every description under `Args:` and `Attributes:`."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if not isinstance(node, documented):
            continue
        section = ""
        for line in (ast.get_docstring(node) or "").splitlines():
            if re.fullmatch(r"[A-Z]\w+:", line):
                section = line
            entry = re.fullmatch(r" {4}([\w*, ]+): (.+)", line)
            if entry and section in ("Args:", "Attributes:"):
                yield entry[2]


def is_fragment(description: str) -> bool:
    """Return whether a description needs the name before it to be understood."""
    return bool(FRAGMENT.match(description)) or len(description.split()) == 1


def long_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls with five and more positional arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) > MAX_POSITIONAL:
            yield node


def long_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions over 60 lines, their docstrings included."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_LINES:
            yield node


def trace(root: Path, way: str) -> str:
    """Return what is entered while one clip is transcribed by the command or by the library."""
    clip = root / "src" / "megaasr" / "cli" / "demo_clips" / "1-clean.flac"
    command = [sys.executable, "-c", _TRACER, way, str(clip)]
    environment = {"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=root, env=environment
    )
    if "\nTRACE" not in done.stdout:
        return f"failed: {done.stderr.strip().splitlines()[-1:]}"
    entered, upward = json.loads(done.stdout.rpartition("\nTRACE")[2])
    modules = [module for module, _ in entered]
    visits = [module for i, module in enumerate(modules) if i == 0 or modules[i - 1] != module]
    returns = len(visits) - len(set(visits))
    return (
        f"{len(entered)} callables in {len(set(modules))} modules, {returns} returns, "
        f"{len(upward)} calls back up" + "".join(f"; {module} {name}" for module, name in upward)
    )


if __name__ == "__main__":
    raise SystemExit(main())
