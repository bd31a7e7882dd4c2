"""Record what the package does, so that a restructuring can be shown to change nothing.

    python tools/behaviour.py BEFORE --inputs FOLDER...      on the old commit
    python tools/behaviour.py AFTER --inputs FOLDER...       on the new one
    diff -r BEFORE AFTER

Transcribes the demo clips and every recording in the input folders with `tiny` in all formats,
degrades twenty clips, and makes the report of every kept result. All outputs, messages and exit
statuses are files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "src" / "megaasr" / "cli" / "demo_clips"
SCENARIOS = ("noise", "far_field", "obstructed", "echo", "recording", "distortion", "dropout")
SIMULATED = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Record everything into one folder; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("--inputs", type=Path, nargs="*", default=[], help="folders of recordings")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True)
    transcribe(options.output, [DEMO, *options.inputs])
    simulate(options.output)
    report(options.output)
    return 0


def run(output: Path, name: str, *arguments: str) -> None:
    """Run one command; keep its exit status and messages in `NAME.log`."""
    command = [sys.executable, "-m", "megaasr", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shown = " ".join(arguments).replace(str(output.resolve()), "OUT").replace(str(output), "OUT")
    log = f"{shown}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
    (output / f"{name}.log").write_text(log.replace(str(output), "OUT"), encoding="utf-8")


def transcribe(output: Path, folders: Sequence[Path]) -> None:
    """Every format of every recording, and the text on the screen."""
    for number, folder in enumerate(folders):
        target = output / f"transcripts-{number}"
        files = (str(folder), "--recursive", "--model", "tiny")
        run(output, f"transcribe-{number}", "transcribe", *files, "-o", str(target), "-f", "all")
        run(output, f"screen-{number}", "transcribe", *files, "--json-lines")
        (target / ".mega-asr.jsonl").unlink(missing_ok=True)  # holds file times


def simulate(output: Path) -> None:
    """Twenty degraded clips, by scenario and severity."""
    clips = sorted(DEMO.glob("*-clean.flac"))
    for number in range(SIMULATED):
        scenario = SCENARIOS[number % len(SCENARIOS)]
        if number % 3 == 2:
            scenario = f"{scenario}+noise" if scenario != "noise" else "echo+noise"
        clip = clips[number % len(clips)]
        target = output / f"simulated-{number:02d}.flac"
        options = ("--scenario", scenario, "--severity", f"{(number % 5) / 5 + 0.1:.1f}")
        run(
            output,
            f"simulate-{number:02d}",
            *("simulate", "apply", str(clip), str(target), *options, "--seed", str(number)),
        )


def report(output: Path) -> None:
    """Page and tables of every result that is kept in the repository."""
    for result in sorted((ROOT / "docs" / "results").glob("*.json")):
        target = output / f"report-{result.stem}"
        run(output, f"report-{result.stem}", "report", str(result), "-o", str(target))


if __name__ == "__main__":
    sys.exit(main())
