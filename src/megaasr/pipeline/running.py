"""Run the steps of a pipeline, except those that are finished and up to date."""

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
from typing import IO, Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import MegaASRError
from megaasr.hashing import file_sha256
from megaasr.locking import exclusive
from megaasr.pipeline.backups import archive_output, restore_output
from megaasr.pipeline.recipe import PlannedStep

STATE_FILE, LOGS, LOCK = "pipeline.json", "logs", ".pipeline.lock"
SCHEMA = 1


class StepFailedError(MegaASRError):
    """A step failed; the results of finished steps are kept."""


@dataclass(frozen=True, slots=True)
class CompletedStep:
    """Record of a finished step.

    Attributes:
        key: hash of the command and of all files that the step read.
        command: the command line.
        seconds: duration of the step, all attempts together.
        version: version of the package.
        made: SHA-256 of each file that the step made, by path.
        folder: the step's output folder; empty if it has none or it is unknown.
    """

    key: str
    command: str
    seconds: float
    version: str
    made: dict[str, str]
    folder: str = ""


@dataclass(frozen=True, slots=True)
class StepStatus:
    """Status of a step before a run.

    Attributes:
        step: the step.
        completed: record of the finished step; None if it has to be run.
        stale_reason: why the step has to be run; empty if it is up to date.
    """

    step: PlannedStep
    completed: CompletedStep | None
    stale_reason: str = ""


StepCallback = Callable[[PlannedStep, CompletedStep | None], None]
"""Called before a step runs, with None, and when it is finished or up to date, with its record."""


class Pipeline:
    """A pipeline in its run folder.

    Args:
        steps: the steps in order.
        out: the run's folder; `pipeline.json` in it records the finished steps.
        version: version of the package, for the record.
    """

    def __init__(self, steps: Sequence[PlannedStep], out: Path, version: str) -> None:
        self.steps, self.out, self._version = tuple(steps), out, version
        self._completed = self._read_state()
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._lock: int | None = None  # held by a run, and inherited by its step

    def status(self) -> list[StepStatus]:
        """Return which steps have to be run, and why; those that read a stale step's files, too."""
        statuses: list[StepStatus] = []
        changing: set[Path] = set()
        for step in self.steps:
            reason = self._stale_reason(step, changing)
            completed = None if reason else self._completed[step.name]
            statuses.append(StepStatus(step, completed, reason))
            if reason:
                changing.update(step.makes)
        return statuses

    def run(self, on_step: StepCallback) -> None:
        """Run the steps that are not up to date; an interrupted step resumes.

        A step whose command or inputs changed starts anew. Its previous output is kept beside it as
        `FOLDER.before`, and is restored if command and inputs are the same again.

        Args:
            on_step: called before and after each step.

        Raises:
            StepFailedError: a step failed.
            MegaASRError: another process is running in the folder.
        """
        with _exclusive_run(self.out) as self._lock:
            self._completed = self._read_state()  # another run may have ended since the plan
            for step in self.steps:
                self._run_step(step, on_step)

    def _run_step(self, step: PlannedStep, on_step: StepCallback) -> None:
        if not self._stale_reason(step, set()):
            on_step(step, self._completed[step.name])
            return
        key, started = self._key(step), time.monotonic()
        if self._swap_output(step, key) and not self._stale_reason(step, set()):
            on_step(step, self._completed[step.name])
            return
        on_step(step, None)
        elapsed = self._elapsed(step, key)
        with self._attempt(step, key, elapsed, started):
            command = self._execute(step)
            missing = [path for path in step.makes if not path.exists()]
            if missing:
                raise StepFailedError(f"step {step.name} did not make {missing[0]}")
            seconds = round(elapsed + time.monotonic() - started, 1)
            made = {self._portable(path): self._sha256(path) for path in step.makes}
            self._completed[step.name] = CompletedStep(
                key=key,
                command=command,
                seconds=seconds,
                version=self._version,
                made=made,
                folder=self._output_folder(step),
            )
            self._write_state()
        on_step(step, self._completed[step.name])

    def _swap_output(self, step: PlannedStep, key: str) -> bool:
        """Archive output that a step made for another key, which its command would refuse to
        continue, and restore output made for this key; return whether that was finished."""
        folder = step.output_folder(self.out)
        writers = [other for other in self.steps if other.output_folder(self.out) == folder]
        # Of several steps that write into one folder, the first makes it, the others add to it.
        if folder is None or writers[0] != step:
            return False
        attempt, completed = self._read_attempt(step), self._completed.get(step.name)
        previous_key = attempt.get("key") or (completed.key if completed else key)
        recorded_folder = attempt.get("folder") or (completed.folder if completed else "")
        same_folder = recorded_folder in {"", self._output_folder(step)}
        if previous_key != key and folder.is_dir() and same_folder:
            finished = asdict(completed) if completed and completed.key == previous_key else None
            archive_output(folder, previous_key, finished)
            self._attempt_file(step).unlink(missing_ok=True)
        restored = restore_output(folder, key)
        if restored is not None:
            self._completed[step.name] = CompletedStep(**restored)
            self._write_state()
        return restored is not None

    def _record_owner(self, process: int) -> None:
        """Write who holds the folder into the locked file itself, so that the lock stays."""
        (self.out / LOCK).write_text(f"process {process}", encoding="utf-8")

    def _output_folder(self, step: PlannedStep) -> str:
        folder = step.output_folder(self.out)
        return "" if folder is None else self._portable(folder)

    def _stale_reason(self, step: PlannedStep, changing: set[Path]) -> str:
        """Return why a step has to be run; empty if it is up to date.

        Args:
            step: the step.
            changing: files that earlier steps will make anew.
        """
        completed = self._completed.get(step.name)
        if completed is None:
            return "not done yet"
        for path in step.reads:
            if path in changing:
                return f"{self._portable(path)} will change"
        for path in step.makes:
            if not path.exists():
                return f"{self._portable(path)} is gone"
            if completed.made.get(self._portable(path)) != self._sha256(path):
                return f"{self._portable(path)} was changed by somebody"
        if completed.key != self._key(step):
            return "its command or what it reads has changed"
        return ""

    def _key(self, step: PlannedStep) -> str:
        """Return a hash of everything that determines a step's result."""
        content = {
            "arguments": list(step.arguments),
            "processes": step.processes,
            "reads": [
                [self._portable(path), self._sha256(path) if path.exists() else None]
                for path in step.reads
            ],
        }
        return hashlib.sha256(strict_json.dumps(content).encode()).hexdigest()

    def _execute(self, step: PlannedStep) -> str:
        """Run a step's command and return its command line."""
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
            start = lines.tell()
            command = [*program, *step.command(self.out)]
            status = _run_command(command, lines, environment, self._lock, self._record_owner)
        if status:
            raise StepFailedError(
                f"step {step.name} failed (status {status}); {log} says:\n"
                f"{_failure_reason(log, start)}"
            )
        return step.command_line(self.out)

    @contextmanager
    def _attempt(
        self, step: PlannedStep, key: str, elapsed: float, started: float
    ) -> Iterator[None]:
        """Record key and duration of an attempt that does not finish, for the next attempt."""
        path = self._attempt_file(step)
        path.parent.mkdir(parents=True, exist_ok=True)

        def record(seconds: float) -> None:
            content = {"key": key, "seconds": seconds, "folder": self._output_folder(step)}
            write_atomically(path, strict_json.dumps(content))

        record(elapsed)  # before the step, since SIGKILL leaves no time afterwards
        try:
            yield
        except BaseException:
            record(elapsed + time.monotonic() - started)
            raise
        path.unlink(missing_ok=True)

    def _elapsed(self, step: PlannedStep, key: str) -> float:
        """Return the seconds that unfinished attempts with this key took."""
        attempt = self._read_attempt(step)
        return float(attempt["seconds"]) if attempt.get("key") == key else 0.0

    def _read_attempt(self, step: PlannedStep) -> dict[str, Any]:
        """Return key, seconds and folder of the unfinished attempts; empty if there are none."""
        try:
            attempt = json.loads(self._attempt_file(step).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return attempt if isinstance(attempt, dict) else {}

    def _attempt_file(self, step: PlannedStep) -> Path:
        return self.out / LOGS / f"{step.name}.seconds.json"

    def _sha256(self, path: Path) -> str:
        """Return the hash of a file, or of the names in a folder; cached by size and time."""
        status = path.stat()
        version = (path, status.st_size, status.st_mtime_ns)
        if version not in self._hashes:
            if path.is_dir():
                names = sorted(entry.relative_to(path).as_posix() for entry in path.rglob("*"))
                self._hashes[version] = hashlib.sha256("\n".join(names).encode()).hexdigest()
            else:
                self._hashes[version] = file_sha256(path)
        return self._hashes[version]

    def _portable(self, path: Path) -> str:
        """Return a path with `{out}` for the run's folder, which may be moved."""
        if path.is_relative_to(self.out):
            return f"{{out}}/{path.relative_to(self.out).as_posix()}"
        return path.as_posix()

    def _read_state(self) -> dict[str, CompletedStep]:
        try:
            state = json.loads((self.out / STATE_FILE).read_text(encoding="utf-8"))
            if state["schema"] != SCHEMA:
                return {}
            return {name: CompletedStep(**record) for name, record in state["steps"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise MegaASRError(f"{self.out / STATE_FILE} is damaged: {error}") from error

    def _write_state(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        steps = {name: asdict(completed) for name, completed in self._completed.items()}
        text = strict_json.dumps({"schema": SCHEMA, "steps": steps}, indent=1, ensure_ascii=False)
        write_atomically(self.out / STATE_FILE, text + "\n")


def _failure_reason(log: Path, start: int) -> str:
    """Return the errors that an attempt logged, or its last lines if it logged none.

    Args:
        log: the step's log file.
        start: position in bytes where the attempt's lines begin.
    """
    with log.open("rb") as content:
        content.seek(start)
        lines = content.read().decode("utf-8", errors="replace").strip().splitlines()
    errors = dict.fromkeys(line for line in lines if line.startswith("mega-asr: error:"))
    return "\n".join(errors or lines[-3:])


@contextmanager
def _exclusive_run(out: Path) -> Iterator[int | None]:
    """Reserve a run's folder for this process and its steps; yield the lock's file descriptor.

    The step inherits the lock: if this process is killed, the folder stays reserved until the step
    ends (with several processes: until their launcher ends).

    Raises:
        MegaASRError: another run, or a step that outlived its run, holds the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / LOCK
    path.touch()
    busy = MegaASRError(
        f"another run is at work in {out}, or a step of one that was killed "
        f"({path.read_text(encoding='utf-8') or 'unknown process'}); wait until it ends, or end it"
    )
    with exclusive(path, busy) as lock:
        yield lock


def _run_command(
    command: Sequence[str],
    log: IO[bytes],
    environment: Mapping[str, str],
    lock: int | None,
    on_start: Callable[[int], object],
) -> int:
    """Run a command and return its exit status; the command ends when this process is terminated.

    A terminal sends Ctrl-C to both processes, but `kill` and batch systems send SIGTERM to this one
    alone: the command would continue, and write into the folder at the same time as the next
    attempt.

    Args:
        command: program and arguments.
        log: file for standard output and standard error.
        environment: the command's environment variables.
        lock: file descriptor that the command inherits; None for none.
        on_start: called with the command's process id.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # Only the main thread may set signal handlers.
    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, terminate) if is_main else None
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=() if lock is None else (lock,),
        )
        try:
            on_start(process.pid)
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, previous)
