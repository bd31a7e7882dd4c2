"""How hard simulated recordings are: a system's errors on clips degraded in every wanted way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import ModelError
from megaasr.score.predictions import System, read_log
from megaasr.score.systems import InferenceOptions, SystemSpec, load_system
from megaasr.score.test_set import TestClip
from megaasr.simulate.corpus.worker_processes import run_tasks
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.positions import Compounds
from megaasr.simulate.simulator import Simulator
from megaasr.text.error_rate import count_errors

NORMALIZER = "bench"


@dataclass(frozen=True, slots=True)
class Cell:
    """A way to degrade clips.

    Attributes:
        scenario: canonical name of the scenario, or `clean`.
        position: where the parameters stand in their ranges, -1 (mild) to 1 (hard).
        compounds: ranges of the parameters.
        part: part of the clips that is degraded, `fit` or `check`.
        copies: number of times that each clip is degraded, with other noises and losses each time.
    """

    scenario: str
    position: float
    compounds: Compounds = Compounds.CALIBRATED
    part: str = "fit"
    copies: int = 1


@dataclass(frozen=True, slots=True)
class CellErrors:
    """Errors of a system on the clips of a cell.

    Attributes:
        errors: word errors of each degraded clip, at most as many as its reference has words, so
            that a system that repeats itself endlessly on one clip does not outweigh all others.
        words: words of its reference.
    """

    errors: tuple[int, ...]
    words: tuple[int, ...]

    @property
    def rate(self) -> float:
        """Error rate, 0 to 1."""
        return sum(self.errors) / sum(self.words)


@dataclass(frozen=True)
class CellWorker:
    """Degrades and transcribes the clips of a cell; called in worker processes.

    Attributes:
        spec: the system.
        options: language, device and network access of the system.
        root: folder that audio paths are relative to.
        parts: clips of each part, by its name.
        seed: seed of the degradation; a clip meets the same noise in every cell of a scenario.
        noise: pool of noises, by default those of the dev split.
    """

    spec: SystemSpec
    options: InferenceOptions
    root: Path
    parts: dict[str, tuple[TestClip, ...]]
    seed: int
    noise: NoisePool = field(default_factory=lambda: NoisePool(split="dev"))

    def __call__(self, cell: Cell, send: Callable[[None], None]) -> tuple[Cell, CellErrors]:
        """Return the cell with its errors; nothing is sent on the way.

        Raises:
            ModelError: the system failed on a clip, which says nothing about difficulty.
        """
        simulator = Simulator(self.noise, compounds=cell.compounds, position=cell.position)
        clips = zip(self.parts[cell.part], self._waveforms[cell.part], strict=True)
        counts = []
        for (clip, waveform), copy_index in product(clips, range(cell.copies)):
            draw = simulator.draw(
                seed=self.seed,
                scenario=cell.scenario,
                severity=max(0.0, cell.position),
                utterance=clip.id,
                copy_index=copy_index,
            )
            (prediction,) = self._system.predict([simulator.apply(waveform, draw).waveform])
            if prediction.error is not None:
                raise ModelError(
                    f"{self.spec.name} could not transcribe {clip.audio} in {cell.scenario} at "
                    f"position {cell.position:g}: {prediction.error}; mend that and run the same "
                    "command again, it continues"
                )
            counts.append(
                count_errors(
                    clip.text, prediction.text, language=clip.language, normalizer=NORMALIZER
                )
            )
        words = tuple(count.reference_length for count in counts)
        errors = tuple(min(count.errors, count.reference_length) for count in counts)
        return cell, CellErrors(errors, words)

    def __getstate__(self) -> dict[str, Any]:
        # Without the loaded system, which cannot be pickled: another process loads its own.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _system(self) -> System:
        system = load_system(self.spec, self.options)
        system.prepare()
        return system

    @cached_property
    def _waveforms(self) -> dict[str, list[Waveform]]:
        return {
            name: [read_clip(self.root, clip.audio) for clip in clips]
            for name, clips in self.parts.items()
        }


class CellLog:
    """The measured cells of a folder; a killed measurement continues after the last whole cell.

    Args:
        path: a JSONL file with a cell per line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cells: dict[Cell, CellErrors] = {}
        for record in read_log(path, lambda record: {"scenario", "errors"} <= record.keys()):
            counts = CellErrors(tuple(record.pop("errors")), tuple(record.pop("words")))
            compounds = Compounds(record.pop("compounds"))
            self._cells[Cell(compounds=compounds, **record)] = counts

    def __getitem__(self, cell: Cell) -> CellErrors:
        """Return the errors of a measured cell."""
        return self._cells[cell]

    def measure(
        self,
        cells: Iterable[Cell],
        worker: CellWorker,
        *,
        workers: int,
        on_cell: Callable[[Cell], None] = lambda cell: None,
    ) -> None:
        """Measure the cells that are missing.

        Args:
            cells: cells that are wanted.
            worker: measures a cell.
            workers: number of processes; 1 to measure in this process.
            on_cell: called with every cell when it has been measured.
        """

        def add(result: tuple[Cell, CellErrors]) -> None:
            cell, counts = result
            line = strict_json.dumps({**asdict(cell), **asdict(counts)})
            with self._path.open("a", encoding="utf-8") as log:
                log.write(f"{line}\n")
            self._cells[cell] = counts
            on_cell(cell)

        missing = [cell for cell in dict.fromkeys(cells) if cell not in self._cells]
        if missing:
            run_tasks(
                worker,
                missing,
                workers=min(workers, len(missing)),
                on_message=lambda message: None,
                on_result=add,
            )


def pooled_rate(cells: Sequence[CellErrors]) -> float:
    """Return the mean error rate of cells, each with the same weight, 0 to 1."""
    return sum(cell.rate for cell in cells) / len(cells)
