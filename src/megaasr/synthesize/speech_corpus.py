"""Make the corpus of `small` list by list, so that training can start while the corpus grows.

Each list (`train-000.jsonl`, `dev.jsonl`, …) appears when its last clip is finished; `train.jsonl`
has the finished parts in order. Resumable, and the same bytes for any number of workers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from megaasr import strict_json
from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.errors import MegaASRError, RecordError, SynthesisError, UsageError
from megaasr.folder_claim import FolderClaim, locked_folder
from megaasr.hashing import file_sha256
from megaasr.progress import OnAudioProgress
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.synthesize.corpus import (
    RECIPE_FILE,
    ClipFailure,
    bounded_map,
    cached_duration_s,
    clip_path,
    join_clips,
    manifest_record,
)
from megaasr.synthesize.engines import require_engines
from megaasr.synthesize.nonspeech import draw_nonspeech
from megaasr.synthesize.plan import PlannedClip, random_stream
from megaasr.synthesize.speakers import Speakers
from megaasr.synthesize.speech_plan import SpeechPlan, SpeechRecipe, part_name, plan_speech
from megaasr.synthesize.text_sentences import read_sentences

MAX_CLIP_S = 30.0
"""Maximum length of a clip in seconds."""

MIN_WORD_S = 0.1
"""Minimum time per word in seconds; a clip that is shorter lacks some of its words."""

# Fields that the clips do not depend on: the size of the corpus, and paths.
_FREE_FIELDS = frozenset({"parts", "sentences", "engines"})


@dataclass(slots=True)
class _Progress:
    """Finished and failed clips of all lists."""

    total: int
    report: OnAudioProgress
    done: int = 0
    audio_s: float = 0.0
    failures: list[ClipFailure] = field(default_factory=list)

    def add(self, seconds: float, clips: int = 1) -> None:
        self.done += clips
        self.audio_s += seconds
        self.report(self.done, self.total, self.audio_s)


def synthesize_speech(
    recipe: SpeechRecipe,
    output: Path,
    *,
    workers: int | None = None,
    on_progress: OnAudioProgress = lambda done, total, audio_s: None,
) -> list[ClipFailure]:
    """Make every missing list.

    Args:
        recipe: recipe of the corpus; a larger `parts` than before extends an existing corpus.
        output: folder of the corpus; refused if it holds a corpus of other sentences or of a recipe
            that makes other clips, or if another process is working in it.
        workers: number of clips made in parallel; None for the number of processor cores.
        on_progress: called with the number of finished clips, the total number, and the seconds of
            audio so far.

    Returns:
        The clips that failed, which the next run tries again; all others are in the lists.

    Raises:
        UsageError: the folder is refused, or the sentences do not suffice.
        RecordError: a line of the sentences is not a record.
        SynthesisError: an engine is missing.
    """
    sentences = read_sentences(recipe.sentences)
    used = [recipe.shares, *map(recipe.shares_of, range(recipe.parts))]
    if any(shares.kokoro or shares.hibari for shares in used):
        require_engines(recipe.engines)
    _claim(output, recipe)
    with (
        locked_folder(output, UsageError),
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
    ):
        plan = plan_speech(recipe, sentences)
        lists = {name: plan.clips(name) for name in plan.lists()}
        progress = _Progress(sum(map(len, lists.values())), on_progress)
        maker = _ClipMaker(recipe.seed, output, Speakers(recipe.engines))
        for name, clips in lists.items():
            _make_list(name, clips, maker, pool=pool, progress=progress)
            _write_views(output, name, plan)
    return progress.failures


def _claim(output: Path, recipe: SpeechRecipe) -> None:
    """Claim the folder for everything that the clips depend on, see `FolderClaim`."""
    # Without defaults: a field that was added since the corpus was begun has not changed it.
    inputs = recipe.model_dump(mode="json", exclude=set(_FREE_FIELDS), exclude_defaults=True)
    inputs["sentences_sha256"] = file_sha256(recipe.sentences)
    claim = FolderClaim(output, RECIPE_FILE, "holds a corpus of another recipe")
    claim.claim(strict_json.dumps(inputs, indent=2, ensure_ascii=False) + "\n")


def _make_list(
    name: str,
    clips: Sequence[PlannedClip],
    maker: _ClipMaker,
    *,
    pool: ThreadPoolExecutor,
    progress: _Progress,
) -> None:
    """Make the clips of a list and write its manifest, unless it is complete already."""
    manifest = maker.output / f"{name}.jsonl"
    if (seconds := _complete_s(manifest, clips)) is not None:
        progress.add(seconds, len(clips))
        return
    durations: dict[str, float] = {}
    # Joined clips consist of other clips, so they are made last.
    for batch in ([c for c in clips if not c.parts], [c for c in clips if c.parts]):
        for clip, result in bounded_map(pool, maker.make, batch):
            if isinstance(result, MegaASRError):
                progress.failures.append(ClipFailure(clip.id, str(result)))
                progress.add(0.0)
            else:
                durations[clip.id] = result
                progress.add(result)
    finished = [clip for clip in clips if clip.id in durations]
    write_manifest(manifest, (manifest_record(clip, durations[clip.id]) for clip in finished))


def _complete_s(manifest: Path, clips: Sequence[PlannedClip]) -> float | None:
    """Return the seconds of audio of a list if it is complete, else None."""
    if not manifest.is_file():
        return None
    try:
        utterances = list(read_manifest(manifest))
    except RecordError:
        return None
    if [utterance.id for utterance in utterances] != [clip.id for clip in clips]:
        return None
    if not all((manifest.parent / utterance.audio).is_file() for utterance in utterances):
        return None
    return sum(float(utterance.extra["duration_s"]) for utterance in utterances)


def _write_views(output: Path, name: str, plan: SpeechPlan) -> None:
    """Write the lists derived from others: all training parts, and test clips by held-out voice."""
    if name.startswith("train-"):
        parts = [output / f"{part_name(number)}.jsonl" for number in range(plan.recipe.parts)]
        ready = [path for path in parts if path.is_file()]
        write_manifest(output / "train.jsonl", (u for path in ready for u in read_manifest(path)))
    if name == "test":
        held_out = [
            u for u in read_manifest(output / "test.jsonl") if u.extra.get("held_out_voice")
        ]
        for engine in sorted({_engine(utterance) for utterance in held_out}):
            spoken = (utterance for utterance in held_out if _engine(utterance) == engine)
            write_manifest(output / f"test-held-out-{engine}.jsonl", spoken)


def _engine(utterance: Utterance) -> str:
    return str(utterance.extra["speaker"]).partition(":")[0]


@dataclass(frozen=True, slots=True)
class _ClipMaker:
    """Makes the clips of a corpus; threads may share it."""

    seed: int
    output: Path
    speakers: Speakers

    def make(self, clip: PlannedClip) -> tuple[PlannedClip, float | MegaASRError]:
        """Make a clip unless its file is complete already; return its length or the error."""
        path = self.output / clip_path(clip.id)
        try:
            if cached_s := cached_duration_s(path):
                return clip, cached_s
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = self._samples(clip, path)
            files.write(path, Waveform(samples, SAMPLE_RATE))
        except MegaASRError as error:
            return clip, error
        return clip, len(samples) / SAMPLE_RATE

    def _samples(self, clip: PlannedClip, path: Path) -> Samples:
        rng = random_stream(self.seed, f"{clip.id}-sound")
        if clip.parts:
            samples = join_clips(clip, self.seed, self.output)
        elif clip.voice is None:
            samples = draw_nonspeech(rng)
        else:
            synthesised, rate = self.speakers.speak(
                clip.text, clip.voice, rng, path.with_name(f".{clip.id}.wav")
            )
            speech = files.resample(synthesised, rate, SAMPLE_RATE)
            _check_length(clip, len(speech) / SAMPLE_RATE)
            samples = _with_pauses(speech, clip.pauses_s, rng)
        if len(samples) > MAX_CLIP_S * SAMPLE_RATE:
            raise SynthesisError(
                f"{len(samples) / SAMPLE_RATE:.1f} s are more than the {MAX_CLIP_S:g} s that a "
                f"clip may have: {clip.text!r}"
            )
        return samples


def _check_length(clip: PlannedClip, seconds: float) -> None:
    words = len(clip.text.split())
    if clip.voice is not None and seconds < MIN_WORD_S * words:
        raise SynthesisError(
            f"{clip.voice.speaker} gave {seconds:.2f} s for {words} words, too short to hold "
            f"them all: {clip.text!r}"
        )


def _with_pauses(speech: Samples, pauses_s: tuple[float, ...], rng: np.random.Generator) -> Samples:
    """Add silence before and after the speech, over a faint noise floor (-100 to -66 dB)."""
    before, after = (round(pause * SAMPLE_RATE) for pause in pauses_s)
    samples = np.pad(speech, (before, after))
    floor = rng.normal(0.0, 10 ** rng.uniform(-5.0, -3.3), samples.size)
    return np.clip(samples + floor, -1.0, 1.0).astype(np.float32)
