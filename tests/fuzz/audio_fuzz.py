"""Fuzz `megaasr.audio` with damaged, joined and disguised recordings, and compare it with ffmpeg.

Every input is decoded in a child process, so that a crash of a C library costs one input:

    python tests/fuzz/audio_fuzz.py --inputs 5000 --output results.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from audio_bases import Base, make_bases
from audio_mutations import MUTATIONS, mutated
from audio_worker import WRONG

LIMIT_S = 20.0
START_LIMIT_S = 300.0


class Worker:
    """A child process that is started again after a crash or a hang."""

    def __init__(self, seed: int, folder: Path, limit_s: float) -> None:
        self._command = [sys.executable, str(Path(__file__).with_name("audio_worker.py"))]
        self._command += [str(seed), str(folder)]
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, index: int) -> dict[str, Any]:
        """Return the result for an input; its outcome is `died` or `hang` if there is none."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"index": index}).encode() + b"\n")
        process.stdin.flush()
        line = self._line(process, self._limit_s)
        if line:
            result: dict[str, Any] = json.loads(line)
            return result
        hung = line is None
        process.kill()
        process.communicate()
        self._process = None
        return {"index": index, "outcome": "hang" if hung else "died", "rc": process.returncode}

    def close(self) -> int:
        """End the child, and return its exit status, which shows crashes at exit."""
        if self._process is None:
            return 0
        self._process.communicate(timeout=START_LIMIT_S)
        return self._process.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process = process
        if not self._line(process, START_LIMIT_S):
            raise RuntimeError("a worker of the fuzzer did not start")
        return process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], limit_s: float) -> bytes | None:
        """Return the next line; b"" if the process has ended, None after the time limit."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            return process.stdout.readline() if selector.select(limit_s) else None


def fuzz(
    indices: Sequence[int], seed: int, folder: Path, *, workers: int = 2, limit_s: float = LIMIT_S
) -> Iterator[dict[str, Any]]:
    """Yield the results of inputs as they come; finally one for each child that crashed at exit."""
    bases = make_bases(folder / "bases")
    waiting = list(reversed(indices))
    lock, done = Lock(), []
    finished: list[dict[str, Any]] = done

    def serve(worker: Worker) -> None:
        while True:
            with lock:
                if not waiting:
                    break
                index = waiting.pop()
            result = worker.ask(index)
            with lock:
                finished.append(_completed(result, bases, seed))
        if status := worker.close():
            with lock:
                finished.append({"index": -1, "outcome": "died", "rc": status, "at_exit": True})

    threads = [Thread(target=serve, args=(Worker(seed, folder, limit_s),)) for _ in range(workers)]
    for thread in threads:
        thread.start()
    count = 0
    while any(thread.is_alive() for thread in threads) or count < len(finished):
        threads[0].join(0.05)
        for thread in threads[1:]:
            thread.join(0.01)
        while count < len(finished):
            yield finished[count]
            count += 1


def _completed(result: dict[str, Any], bases: list[Base], seed: int) -> dict[str, Any]:
    if "base" not in result:
        base, mutation, _ = mutated(bases, seed, result["index"])
        result |= {"base": base.name, "container": base.container, "mutation": mutation}
    return result


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the counts of the outcomes by mutation and by container, as Markdown."""
    outcomes = sorted({result["outcome"] for result in results})
    lines = []
    for key, names in (
        ("mutation", list(MUTATIONS)),
        ("container", sorted({result.get("container", "exit") for result in results})),
    ):
        lines += [f"| {key} | inputs | {' | '.join(outcomes)} |"]
        lines += ["|---|" + "---:|" * (len(outcomes) + 1)]
        for name in names:
            counts = Counter(r["outcome"] for r in results if r.get(key, "exit") == name)
            if counts:
                cells = [str(counts[outcome] or "") for outcome in outcomes]
                lines.append(f"| {name} | {counts.total()} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Run the fuzzer; the exit status is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="index of the first input")
    parser.add_argument("--only", help="comma-separated indices, instead of --inputs")
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--nice", type=int, default=10, help="added to the niceness")
    parser.add_argument("--folder", type=Path, help="keeps the whole recordings between runs")
    parser.add_argument("--output", type=Path, help="JSON lines with all results")
    options = parser.parse_args()
    os.nice(options.nice)
    indices: Sequence[int] = range(options.first, options.first + options.inputs)
    if options.only:
        indices = [int(index) for index in options.only.split(",")]
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        keywords = {"workers": options.workers, "limit_s": options.limit_s}
        for result in fuzz(indices, options.seed, folder, **keywords):
            results.append(result)
            if result["outcome"] in WRONG:
                print(json.dumps(result), file=sys.stderr, flush=True)
            if options.output is not None:
                with options.output.open("a") as output:
                    output.write(json.dumps(result) + "\n")
    print(table(results))
    wrong = sum(result["outcome"] in WRONG for result in results)
    print(f"{len(results)} inputs, {wrong} wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
