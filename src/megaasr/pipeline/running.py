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
from typing import IO, Any

from megaasr.atomic import write_atomically
from megaasr.errors import MegaASRError
from megaasr.hashing import file_sha256
from megaasr.locking import exclusive
from megaasr.pipeline.aside import set_aside, take_back
from megaasr.pipeline.recipe import Step

STATE_FILE, LOGS, LOCK = "pipeline.json", "logs", ".pipeline.lock"
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
        folder: that it was told to write into; empty if there is none or it is not known.
    """

    key: str
    command: str
    seconds: float
    version: str
    made: dict[str, str]
    folder: str = ""


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
        self._lock: int | None = None  # held while it runs, and by the step

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

        A step that was run or begun with another command or other inputs starts anew; what it made
        then is kept beside, in `FOLDER.before`, and comes back if it is wanted again.

        Args:
            report: called before a step with None, and after it (or where it need not be run)
                with how it was done.

        Raises:
            StepFailedError: a step failed.
            MegaASRError: another process is at work in the folder.
        """
        with _alone(self.out) as self._lock:
            self._done = self._read()  # another run may have ended since the plan was shown
            for step in self.steps:
                self._do(step, report)

    def _do(self, step: Step, report: Callable[[Step, Done | None], None]) -> None:
        if not self._why(step, set()):
            report(step, self._done[step.name])
            return
        key, began = self._key(step), time.monotonic()
        if self._change_folders(step, key) and not self._why(step, set()):
            report(step, self._done[step.name])
            return
        report(step, None)
        spent = self._spent(step, key)
        with self._sitting(step, key, spent, began):
            command = self._start(step)
            absent = [path for path in step.makes if not path.exists()]
            if absent:
                raise StepFailedError(f"step {step.name} did not make {absent[0]}")
            seconds = round(spent + time.monotonic() - began, 1)
            made = {self._short(path): self._sha256(path) for path in step.makes}
            folder = self._folder(step)
            self._done[step.name] = Done(key, command, seconds, self._version, made, folder)
            self._write()
        report(step, self._done[step.name])

    def _change_folders(self, step: Step, key: str) -> bool:
        """Set aside what a step made for another key, since its command would refuse to go on with
        it; tell whether what it made for this key came back, finished."""
        folder = step.folder(self.out)
        writers = [one for one in self.steps if one.folder(self.out) == folder]
        # Of several steps that write into one folder the first makes it, the others add to it.
        if folder is None or writers[0] != step:
            return False
        begun, done = self._sat(step), self._done.get(step.name)
        before = begun.get("key") or (done.key if done else key)
        where = begun.get("folder") or (done.folder if done else "")
        if before != key and folder.is_dir() and where in {"", self._folder(step)}:
            finished = asdict(done) if done and done.key == before else None
            set_aside(folder, before, finished)
            self._sat_file(step).unlink(missing_ok=True)
        known = take_back(folder, key)
        if known is not None:
            self._done[step.name] = Done(**known)
            self._write()
        return known is not None

    def _note(self, process: int) -> None:
        """Say who holds the folder; in place, since the file is what is locked."""
        (self.out / LOCK).write_text(f"process {process}", encoding="utf-8")

    def _folder(self, step: Step) -> str:
        folder = step.folder(self.out)
        return "" if folder is None else self._short(folder)

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
            "arguments": list(step.arguments),
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
            began = lines.tell()
            command = [*program, *step.command(self.out)]
            status = _run_and_end_together(command, lines, environment, self._lock, self._note)
        if status:
            raise StepFailedError(
                f"step {step.name} failed (status {status}); {log} says:\n{_reason(log, began)}"
            )
        return step.shown(self.out)

    @contextmanager
    def _sitting(self, step: Step, key: str, spent: float, began: float) -> Iterator[None]:
        """Keep what a sitting that does not finish is for, and its time, for the next one."""
        path = self._sat_file(step)
        path.parent.mkdir(parents=True, exist_ok=True)

        def note(seconds: float) -> None:
            known = {"key": key, "seconds": seconds, "folder": self._folder(step)}
            write_atomically(path, json.dumps(known))

        note(spent)  # a kill tells nobody
        try:
            yield
        except BaseException:
            note(spent + time.monotonic() - began)
            raise
        path.unlink(missing_ok=True)

    def _spent(self, step: Step, key: str) -> float:
        known = self._sat(step)
        return float(known["seconds"]) if known.get("key") == key else 0.0

    def _sat(self, step: Step) -> dict[str, Any]:
        """Return key and seconds of sittings that did not finish; empty if there were none."""
        try:
            known = json.loads(self._sat_file(step).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _sat_file(self, step: Step) -> Path:
        return self.out / LOGS / f"{step.name}.seconds.json"

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
        """Return a path in which the folder of the run has no place, so that it may be moved."""
        if path.is_relative_to(self.out):
            return f"{{out}}/{path.relative_to(self.out).as_posix()}"
        return path.as_posix()

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


def _reason(log: Path, began: int) -> str:
    """Return what a sitting said of its failure: its errors, or else its last lines."""
    with log.open("rb") as content:
        content.seek(began)
        lines = content.read().decode("utf-8", errors="replace").strip().splitlines()
    errors = dict.fromkeys(one for one in lines if one.startswith("mega-asr: error:"))
    return "\n".join(errors or lines[-3:])


@contextmanager
def _alone(out: Path) -> Iterator[int | None]:
    """Keep the folder of a run for this process and the step that it runs.

    The step inherits the lock: if this process is killed, the folder stays taken until the step
    ends, too (one of several processes: until their launcher does).

    Raises:
        MegaASRError: another run is at work there, or a step that outlived one.
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


def _run_and_end_together(
    command: Sequence[str],
    log: IO[bytes],
    environment: Mapping[str, str],
    lock: int | None,
    began: Callable[[int], object],
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
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=() if lock is None else (lock,),
        )
        try:
            began(process.pid)
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
