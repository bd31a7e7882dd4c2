"""Clips, noises and files for the simulator's benchmark, and each system's job on them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.clips import RATE, joined
from megaasr.audio import Waveform, read, write
from megaasr.audio.waveform import Samples
from megaasr.simulate.draw import Draw
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.positions import Compounds
from megaasr.simulate.primitives import EchoDelay, Resources, Reverberation
from megaasr.simulate.scenarios import scenario_names
from megaasr.simulate.simulator import Simulator

Task = tuple[Path, str, str, Path]
"""A clip's file, its id, the scenario, and where the result goes."""

Job = Callable[[], object]
_SEED = 0
_CHUNK = 6


class Stage:
    """What every system works on; made once."""

    def __init__(self, folder: Path, lengths_s: Sequence[float], clips: int) -> None:
        """Make clips of the given lengths, one after the other, and keep them in memory."""
        self._folder = folder
        self.clips: list[Samples] = [
            joined(lengths_s[index % len(lengths_s)], index + 1)[index] for index in range(clips)
        ]
        self._waveforms = [Waveform(clip, RATE) for clip in self.clips]
        self.audio_s = sum(len(clip) for clip in self.clips) / RATE
        self._simulator = Simulator(compounds=Compounds.LITERAL)

    def make_noises(self, number: int, length_s: float) -> None:
        """Write a folder of noises of different colours, and store them as users do."""
        self._noises = self._folder / "noises"
        self._noises.mkdir()
        for index in range(number):
            white = np.random.default_rng(index).standard_normal(round(length_s * RATE))
            spectrum = np.fft.rfft(white)
            spectrum[1:] /= np.arange(1, len(spectrum)) ** (index / number)
            noise = np.fft.irfft(spectrum, len(white))
            _write(self._noises / f"{index}.wav", 0.5 * noise / np.abs(noise).max())
        pool = NoisePool.from_folders([self._noises], self._folder / "store")
        self._simulator = Simulator(noise=pool, compounds=Compounds.LITERAL)

    def ours(self, scenario: str) -> None:
        """Draw and degrade every clip."""
        for index, waveform in enumerate(self._waveforms):
            self._simulator.apply(waveform, self._draw(scenario, index))

    def _draw(self, scenario: str, clip: int) -> Draw:
        """Decide about one clip; severities are spread evenly, the same in every scenario."""
        return self._simulator.draw(
            seed=_SEED,
            scenario=scenario,
            severity=(clip + 0.5) / len(self.clips),
            utterance=str(clip),
        )

    def peers(self, names: Sequence[str]) -> dict[str, Callable[[str], Job]]:
        """Return for each peer what makes its job of a scenario."""
        jobs: dict[str, Callable[[str], Job]] = {}
        if "reference" in names:
            self._reference = self._reference_stack()
            jobs["reference"] = self._reference_job
        if "audiomentations" in names:
            from benchmarks.augmentation_stack import conditions

            rooms, echoes = self._impulse_responses()
            functions = conditions(self._noises, rooms, echoes)
            jobs["audiomentations"] = lambda name: partial(_each, functions[name], self.clips)
        return jobs

    def _reference_stack(self) -> Any:
        from benchmarks.reference_stack import ReferenceStack

        noises = {
            f"noises/{file.name}": soundfile.read(file, dtype="float32")[0]
            for file in self._noises.iterdir()
        }
        return ReferenceStack(noises)

    def _reference_job(self, scenario: str) -> Job:
        draws = [self._draw(scenario, index) for index in range(len(self.clips))]

        def job() -> None:
            for clip, draw in zip(self.clips, draws, strict=True):
                self._reference.degrade(clip, draw.steps)

        return job

    def _impulse_responses(self) -> tuple[Path, Path]:
        """Write what our reverb and echo make of an impulse, for a peer that has neither."""
        rooms, echoes = self._folder / "rooms", self._folder / "echoes"
        for folder in (rooms, echoes):
            folder.mkdir()
        for index, share in enumerate((0.0, 0.33, 0.67, 1.0)):
            reverb = Reverberation(
                condition="echo",
                room_size=0.4 + 0.5 * share,
                damping=0.6,
                wet_level=0.5,
                dry_level=0.4,
            )
            echo = EchoDelay(condition="echo", delay_s=0.1 + 0.2 * share, feedback=0.4, mix=0.25)
            for folder, effect, length_s in ((rooms, reverb, 1.5 + share), (echoes, echo, 1.5)):
                impulse = np.zeros(round(length_s * RATE), np.float32)
                impulse[0] = 1.0
                effect.apply(impulse, Resources(self._simulator.noise))
                _write(folder / f"{index}.wav", 0.9 * impulse / np.abs(impulse).max())
        return rooms, echoes

    def file_tasks(self, rounds: int) -> list[Task]:
        """Write the clips as FLAC, and give every scenario to one of them in each round."""
        paths = []
        for index, waveform in enumerate(self._waveforms):
            paths.append(self._folder / f"clip-{index}.flac")
            write(paths[index], waveform)
        out = self._folder / "degraded"
        out.mkdir()
        names = [name for _ in range(rounds) for name in scenario_names()]
        return [
            (paths[index % len(paths)], f"clip-{index}", name, out / f"{index}.flac")
            for index, name in enumerate(names)
        ]

    def task_audio_s(self, tasks: Sequence[Task]) -> float:
        """Return the seconds of audio in all tasks."""
        return float(sum(soundfile.info(path).duration for path, *_ in tasks))

    def ours_files(self, tasks: Sequence[Task]) -> None:
        """Do all tasks in this process."""
        degrade_files(self._simulator, tasks)

    def reference_files(self, tasks: Sequence[Task]) -> Job:
        """Return the same tasks as a job of the reference, with the draws made before."""
        draws = [self._simulator.draw(seed=_SEED, scenario=t[2], utterance=t[1]) for t in tasks]

        def job() -> None:
            for (path, _, _, target), draw in zip(tasks, draws, strict=True):
                clip, rate = soundfile.read(path, dtype="float32")
                degraded = self._reference.degrade(clip, draw.steps)
                soundfile.write(target, degraded, rate, subtype="PCM_16")

        return job

    @contextmanager
    def workers(self, count: int) -> Iterator[Callable[[Sequence[Task]], None]]:
        """Return what does tasks in so many worker processes, which stay while it is used."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context) as pool:

            def do(tasks: Sequence[Task]) -> None:
                chunks = [tasks[index : index + _CHUNK] for index in range(0, len(tasks), _CHUNK)]
                for _ in pool.map(partial(degrade_files, self._simulator), chunks):
                    pass

            yield do


def degrade_files(simulator: Simulator, tasks: Sequence[Task]) -> None:
    """Read, draw, degrade and write."""
    for path, utterance, scenario, target in tasks:
        draw = simulator.draw(seed=_SEED, scenario=scenario, utterance=utterance)
        write(target, simulator.apply(read(path), draw).waveform)


def _each(degrade: Callable[[Samples], Samples], clips: Sequence[Samples]) -> None:
    for clip in clips:
        degrade(clip)


def _write(path: Path, samples: Any) -> None:
    soundfile.write(path, np.asarray(samples, np.float32), RATE, subtype="PCM_16")
