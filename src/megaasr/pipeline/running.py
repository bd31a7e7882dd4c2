"""Run the steps of a pipeline; what is done and unchanged is not done again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from megaasr.atomic import write_atomically
from megaasr.errors import MegaASRError
from megaasr.hashing import file_sha256
from megaasr.pipeline.recipe import Step

STATE_FILE, LOGS = "pipeline.json", "logs"
SCHEMA = 1


class StepFailedError(MegaASRError):
    """A step ended with an error; what is done stays done."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was run.

    Attributes:
        key: hash of its command and of everything that it read.
        command: as it was run.
        seconds: that it took, all sittings together.
        version: of the package.
        made: SHA-256 of each file that it made.
    """

    key: str
    command: str
    seconds: float
    version: str
    made: dict[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a step stands.

    Attributes:
        step: what it does.
        done: how it was run, if its result still holds.
        why: why it has to be run, else.
    """

    step: Step
    done: Done | None
    why: str = ""


class Pipeline:
    """The steps of a run in its folder.

    Args:
        steps: in order.
        out: folder; `pipeline.json` in it says what is done.
        version: of the package, noted down.
    """

    def __init__(self, steps: Sequence[Step], out: Path, version: str) -> None:
        self.steps, self.out, self._version = tuple(steps), out, version
        self._done = self._read()
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def standing(self) -> list[Standing]:
        """Tell which steps have to be run, and why; a step after one of them has to, too."""
        found: list[Standing] = []
        changed: set[Path] = set()
        for step in self.steps:
            why = self._why(step, changed)
            found.append(Standing(step, None if why else self._done[step.name], why))
            if why:
                changed.update(step.makes)
        return found

    def run(self, report: Callable[[Step, Done | None], None]) -> None:
        """Run what has to be run; each step goes on where it was stopped, if it was.

        Args:
            report: called before a step with None, and after it (or where it need not be run)
                with how it was done.

        Raises:
            StepFailedError: a step failed.
        """
        for step in self.steps:
            if not self._why(step, set()):
                report(step, self._done[step.name])
                continue
            report(step, None)
            key, began = self._key(step), time.monotonic()
            spent = self._spent(step, key)
            with self._sitting(step, key, spent, began):
                command = self._start(step)
            absent = [path for path in step.makes if not path.exists()]
            if absent:
                raise StepFailedError(f"step {step.name} did not make {absent[0]}")
            seconds = round(spent + time.monotonic() - began, 1)
            made = {self._short(path): self._sha256(path) for path in step.makes}
            self._done[step.name] = Done(key, command, seconds, self._version, made)
            self._write()
            report(step, self._done[step.name])

    def _why(self, step: Step, changed: set[Path]) -> str:
        """Return why a step has to be run; empty if its result holds."""
        done = self._done.get(step.name)
        if done is None:
            return "not done yet"
        for path in step.reads:
            if path in changed:
                return f"{self._short(path)} will change"
        for path in step.makes:
            if not path.exists():
                return f"{self._short(path)} is gone"
            if done.made.get(self._short(path)) != self._sha256(path):
                return f"{self._short(path)} was changed by somebody"
        if done.key != self._key(step):
            return "its command or what it reads has changed"
        return ""

    def _key(self, step: Step) -> str:
        """Return what decides about a step's result, as a hash."""
        content = {
            "arguments": [self._without_place(one) for one in step.arguments],
            "processes": step.processes,
            "reads": [
                [self._short(path), self._sha256(path) if path.exists() else None]
                for path in step.reads
            ],
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _start(self, step: Step) -> str:
        program = [sys.executable, "-m", "megaasr"]
        if step.processes > 1:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            program = [*launcher, "--nproc-per-node", str(step.processes), "-m", "megaasr"]
        log = self.out / LOGS / f"{step.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        if step.processes > 1:  # two processes with all threads each would slow each other down
            environment.setdefault("OMP_NUM_THREADS", "1")
        with log.open("ab") as lines:
            status = _run_and_end_together([*program, *step.arguments], lines, environment)
        if status:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise StepFailedError(
                f"step {step.name} failed (status {status}); {log} ends with:\n" + "\n".join(last)
            )
        return f"mega-asr {' '.join(step.arguments)}"

    @contextmanager
    def _sitting(self, step: Step, key: str, spent: float, began: float) -> Iterator[None]:
        """Keep the time of a sitting that does not finish, for the next one."""
        path = self.out / LOGS / f"{step.name}.seconds.json"
        try:
            yield
        except BaseException:
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = spent + time.monotonic() - began
            write_atomically(path, json.dumps({"key": key, "seconds": seconds}))
            raise
        path.unlink(missing_ok=True)

    def _spent(self, step: Step, key: str) -> float:
        try:
            text = (self.out / LOGS / f"{step.name}.seconds.json").read_text(encoding="utf-8")
            known = json.loads(text)
        except (OSError, ValueError):
            return 0.0
        return float(known["seconds"]) if known.get("key") == key else 0.0

    def _sha256(self, path: Path) -> str:
        status = path.stat()
        place = (path, status.st_size, status.st_mtime_ns)
        if place not in self._hashes:
            if path.is_dir():
                names = sorted(one.relative_to(path).as_posix() for one in path.rglob("*"))
                self._hashes[place] = hashlib.sha256("\n".join(names).encode()).hexdigest()
            else:
                self._hashes[place] = file_sha256(path)
        return self._hashes[place]

    def _short(self, path: Path) -> str:
        return self._without_place(path.as_posix())

    def _without_place(self, text: str) -> str:
        """Return a text in which the folder of the run has no place, so that it may be moved."""
        return text.replace(self.out.as_posix(), "{out}")

    def _read(self) -> dict[str, Done]:
        try:
            found = json.loads((self.out / STATE_FILE).read_text(encoding="utf-8"))
            if found["schema"] != SCHEMA:
                return {}
            return {name: Done(**done) for name, done in found["steps"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise MegaASRError(f"{self.out / STATE_FILE} is damaged: {error}") from error

    def _write(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        steps = {name: asdict(done) for name, done in self._done.items()}
        text = json.dumps({"schema": SCHEMA, "steps": steps}, indent=1, ensure_ascii=False)
        write_atomically(self.out / STATE_FILE, text + "\n")


def _run_and_end_together(
    command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]
) -> int:
    """Run a command and return its exit status; what ends this process ends the command too.

    A terminal sends Ctrl-C to both, but `kill` or a batch system's SIGTERM reaches this process
    alone: the command would work on, and write into the folder while the next sitting does.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()  # others may not decide
    before = signal.signal(signal.SIGTERM, end) if main else None
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
