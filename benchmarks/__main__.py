"""`python -m benchmarks`: measure, save as JSON, show as Markdown."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    NAMES,
    ON_DEVICE,
    WITHOUT_MODEL,
    BenchmarkError,
    Settings,
    benchmark,
    results,
)
from benchmarks.timing import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the selected benchmarks; return the exit status."""
    command_line = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    options = parser.parse_args(command_line)
    if options.write_docs and options.names:
        parser.error("--write-docs runs no benchmark; name none")
    if options.threads is not None:  # before torch is imported, here and in every child
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)
    try:
        if options.write_docs:
            results.write_docs(options.docs, results.read(options.output or results.LATEST))
            return 0
        _run(options, shlex.join(["python", "-m", "benchmarks", *command_line]))
    except BenchmarkError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, command: str) -> None:
    names = [name for name in NAMES if name in options.names] or _all_names(options)
    output: Path | None = options.output or (None if options.quick else results.LATEST)
    if output is not None and output.exists():
        results.read(output)  # a file of another kind is noticed before hours of measuring
    needs_model = not WITHOUT_MODEL.issuperset(names)
    folder = _find(options.model) if needs_model else None
    settings = Settings(options.quick, folder, options.device)
    entries = {}
    for name in names:
        start = time.monotonic()
        entries[name] = _measured(name, settings, options.model, command)
        say(f"{name}: done in {time.monotonic() - start:.0f} s")
        if output is not None:
            results.add(output, entries[name])
    print(results.render(entries))
    if output is not None:
        say(f"saved to {output}")


def _all_names(options: argparse.Namespace) -> list[str]:
    """Return the benchmarks to run if none is named: all that can run on the device."""
    if options.quick or options.device.startswith("cuda"):
        return list(NAMES)
    say("gpu is left out: it needs --device cuda")
    return [name for name in NAMES if name != "gpu"]


def _measured(name: str, settings: Settings, model: str, command: str) -> results.Entry:
    """Run one benchmark, and record everything that its numbers depend on."""
    from benchmarks import machine

    host = machine.machine()
    if (host["busy_cores"] or 0) > results.BUSY_CORES:
        say(f"{name}: other work keeps {host['busy_cores']:g} cores busy; the result will say so")
    used, rows = benchmark(name).run(settings)
    uses_model = name not in WITHOUT_MODEL
    return {
        "benchmark": name,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "quick": settings.quick,
        "machine": host,
        "accelerator": machine.accelerator(settings.device)
        if uses_model or name in ON_DEVICE
        else None,
        "versions": machine.versions(),
        "model": machine.model(model, settings.folder) if uses_model else None,
        "settings": dict(used),
        "rows": rows,
    }


def _find(model: str) -> Path:
    """Return the model's folder."""
    from megaasr.errors import MegaASRError
    from megaasr.model.hub import find_model
    from megaasr.model.loading import check_layout

    try:
        folder = find_model(model)
        check_layout(folder)
    except MegaASRError as error:
        raise BenchmarkError(str(error)) from error
    return folder.resolve()


def _benchmark_name(name: str) -> str:
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"no benchmark {name!r}; there are {', '.join(NAMES)}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        type=_benchmark_name,
        metavar="name",
        help=f"benchmarks to run: {', '.join(NAMES)}; default: all",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small inputs, single runs, to check that it works (saved with --output only)",
    )
    parser.add_argument(
        "--model", default="tiny", help="tiny, a folder or a hub name; default: tiny"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps; default: cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="JSON file to add the results to; default: benchmarks/results/latest.json",
    )
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="measure nothing; write the results of --output into docs/benchmarks.md",
    )
    parser.add_argument("--docs", type=Path, default=results.DOCS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
